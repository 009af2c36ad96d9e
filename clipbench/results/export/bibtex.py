"""``bibtex``: clipbench and the data sets that runs measured, for the bibliography of a paper."""

import re
import unicodedata
from collections.abc import Mapping, Sequence

from clipbench.results.export.formats import ExportFormat, RenderedExport
from clipbench.results.record import finished_evaluations
from clipbench.results.run import Run
from clipbench.results.table.latex import escape
from clipbench.untrusted.terminal import one_line

SOFTWARE = {
    "author": "{The clipbench developers}",
    "title": "clipbench: evaluation and diagnostics for CLIP-style dual encoders",
}
_NAME = r"\w[\w'’-]*(?: [A-Z][\w'’-]*){0,2}"
CITATION = re.compile(
    rf"(?P<authors>{_NAME} et al\.|(?:{_NAME}, )*{_NAME} and {_NAME}|{_NAME}), (?P<title>.+?),"
    r" (?:\d{4}, )?(?P<venue>[^,]*\d[^,]*)"
)
"""A citation of the catalogue: family names, title, and venue, with the year in it or before it."""


def publications(citation: str) -> list[dict[str, str]]:
    """Return the BibTeX fields of the publications in a citation of the catalogue.

    Example:
        >>> publications("Ma and Van Gool, Cats, Dogs, ICCV 2011; split of Li et al., Birds, 2020, arXiv:2101.00001")[1]
        {'author': 'Li and others', 'title': 'Birds', 'howpublished': 'arXiv:2101.00001', 'year': '2020'}
    """
    return [_fields(part) for part in re.split(r"; (?:[\w ]+? of )?(?=[A-Z])", one_line(citation))]


def _fields(text: str) -> dict[str, str]:
    match = CITATION.fullmatch(text)
    if match is None:
        return {"title": text}
    names = re.split(r", | and ", match["authors"].replace(" et al.", ", others"))
    authors = " and ".join(f"{{{name}}}" if " " in name else name for name in names)
    year = re.findall(r"(?<![:.\d])\d{4}(?![.\d])", text)[-1]  # and not the number of a preprint
    return {"author": authors, "title": match["title"], "howpublished": match["venue"], "year": year}


def bibtex(runs: Sequence[Run]) -> RenderedExport:
    """Return an entry for clipbench and one per publication, with a comment per data set that lists its keys."""
    citations = {
        one_line(record.dataset.id): record.dataset.cite
        for run in runs
        for record in finished_evaluations(run.result)
        if record.dataset.id != "scenes"  # which clipbench draws
    }
    cited = {data: publications(cite) for data, cite in citations.items() if cite}
    entries = {_key(work): work for works in cited.values() for work in works}
    comments = [f"% {data}: {', '.join(map(_key, works))}" for data, works in cited.items()]
    parts = [
        "\n".join(["% Made by clipbench export --to bibtex.", *comments]),
        _entry("clipbench", {**SOFTWARE, "note": f"version {runs[0].result.clipbench_version}"}),
        *(_entry(key, work) for key, work in entries.items()),
    ]
    content = ("\n\n".join(parts) + "\n").encode(errors="replace")
    notes = [f"{data}: no citation is recorded, cite its source" for data, cite in citations.items() if not cite]
    return RenderedExport(content=content, notes=notes)


def _key(work: Mapping[str, str]) -> str:
    """Return the first author, the year and the title, in plain characters."""
    author = work.get("author", "").partition(" and ")[0]
    words = unicodedata.normalize("NFKD", f"{author} {work.get('year', '')} {work['title']}").encode("ascii", "ignore")
    return "-".join(re.findall(r"\w+", words.decode().lower())[:8])


def _entry(key: str, fields: Mapping[str, str]) -> str:
    """Return an entry; a second pair of braces keeps the capitals of a title."""
    escaped = {name: text if name == "author" else escape(text) for name, text in fields.items()}
    escaped["title"] = f"{{{escaped['title']}}}"
    return ",\n".join([f"@misc{{{key}", *(f"  {name} = {{{text}}}" for name, text in escaped.items())]) + "\n}"


FORMAT = ExportFormat(suffixes=(".bib",), render=bibtex)
