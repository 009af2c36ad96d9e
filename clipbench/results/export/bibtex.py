"""``bibtex``: clipbench, the data sets that runs measured, and the sources of their metrics and figures."""

import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path

from clipbench.errors import ClipbenchError
from clipbench.results.export.formats import ExportFormat, RenderedExport
from clipbench.results.metric_name import MetricName
from clipbench.results.record import finished_evaluations
from clipbench.results.run import Run, all_evaluations
from clipbench.results.table.latex import escape
from clipbench.untrusted.reading import read_toml
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
WORKS = Path(__file__).with_name("works.toml")


@dataclass(frozen=True, kw_only=True)
class Work:
    """A publication that defines metrics or figures."""

    cite: str
    """The citation in the form of the catalogue."""
    metrics: Sequence[str] = ()
    """Patterns of ``task/metric``."""
    figures: Sequence[str] = ()
    """Names that ``clipbench plot`` takes, of figures with these metrics."""
    data: Sequence[str] = ()
    """Data sets without which the metrics do not need it. Empty for any data."""


@cache
def works() -> Sequence[Work]:
    """Return the publications of metrics and figures."""
    return [Work(**entry) for entry in read_toml(WORKS, ClipbenchError)["works"]]


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
    """Return an entry for clipbench and one per publication of the data, the metrics and their figures.

    A comment per data set lists its keys, and a comment per publication what it is the source of.
    """
    citations = {
        one_line(record.dataset.id): record.dataset.cite
        for run in runs
        for record in finished_evaluations(run.result)
        if record.dataset.id != "scenes"  # which clipbench draws
    }
    cited = {data: publications(cite) for data, cite in citations.items() if cite}
    comments = [f"% {data}: {', '.join(map(_key, publications))}" for data, publications in cited.items()]
    entries = {_key(fields): fields for publications in cited.values() for fields in publications}
    for work, metrics in _cited_works(runs):
        (fields,) = publications(work.cite)
        entries[_key(fields)] = fields
        figures = f", figure {', '.join(work.figures)}" if work.figures else ""
        comments.append(f"% {', '.join(metrics)}{figures}: {_key(fields)}")
    parts = [
        "\n".join(["% Made by `clipbench export --to bibtex`.", *comments]),
        _entry("clipbench", {**SOFTWARE, "note": f"version {runs[0].result.clipbench_version}"}),
        *(_entry(key, work) for key, work in entries.items()),
    ]
    content = ("\n\n".join(parts) + "\n").encode(errors="replace")
    notes = [f"{data}: no citation is recorded, cite its source" for data, cite in citations.items() if not cite]
    return RenderedExport(content=content, notes=notes)


def _cited_works(runs: Sequence[Run]) -> Iterator[tuple[Work, list[str]]]:
    """Yield the publications of the metrics of the runs, with the names of these metrics."""
    for work in works():
        names = dict[str, None]()
        for record in all_evaluations(runs):
            if work.data and record.dataset.id not in work.data:
                continue
            for name in record.metrics:
                pattern_name = MetricName(record.name, name).without_data
                if any(fnmatchcase(pattern_name, pattern) for pattern in work.metrics):
                    names[pattern_name] = None
        if names:
            yield work, [*names]


def _key(work: Mapping[str, str]) -> str:
    """Return the first author, the year and the title, in plain characters."""
    author = work.get("author", "").partition(" and ")[0]
    words = unicodedata.normalize("NFKD", f"{author} {work.get('year', '')} {work['title']}").encode("ascii", "ignore")
    return "-".join(re.findall(r"\w+", words.decode().lower())[:8])


def _entry(key: str, fields: Mapping[str, str]) -> str:
    """Return an entry; a second pair of braces keeps the capitals of a title."""
    escaped = {name: text if name == "author" else escape(text) for name, text in fields.items()}
    escaped["title"] = f"{{{escaped['title']}}}"
    lines = [f"@misc{{{key}"]
    for name, text in escaped.items():
        lines.append(f"  {name} = {{{text}}}")
    return ",\n".join(lines) + "\n}"


FORMAT = ExportFormat(suffixes=(".bib",), render=bibtex)
