"""``bibtex``: clipbench and the data sets that runs measured, for the bibliography of a paper."""

import re
import unicodedata
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from clipbench.results.export.formats import ExportFormat, RenderedExport
from clipbench.results.run import Run, distinct_names
from clipbench.results.table.latex import escape
from clipbench.untrusted.terminal import one_line

TITLE = "clipbench: evaluation and diagnostics for CLIP-style dual encoders"
AUTHOR = "The clipbench developers"
GENERATED = "scenes"
"""Data that clipbench draws: the entry of clipbench cites them."""
_NAME = r"\w[\w'’-]*(?: [A-Z][\w'’-]*){0,2}"
CITATION = re.compile(
    rf"(?P<authors>{_NAME} et al\.|(?:{_NAME}, )*{_NAME} and {_NAME}|{_NAME}), (?P<title>.+?),"
    r" (?P<venue>(?:\d{4}, )?[^,]*\d[^,]*)"
)
"""A citation of the catalogue: family names, title, and venue with its year."""


class Publication(NamedTuple):
    """A publication that a data set cites."""

    authors: str
    """Family names as BibTeX separates them; empty if the citation has another form."""
    title: str
    venue: str

    @property
    def year(self) -> str:
        """The year of the venue; empty if there is none."""
        years = re.findall(r"\b(?:19|20)\d\d\b", re.sub(r"arXiv:\S+", "", self.venue))
        return years[-1] if years else ""

    @property
    def key(self) -> str:
        """Family name of the first author, year, and first word of the title."""
        family = self.authors.partition(" and ")[0]
        return f"{_ascii(family)}{self.year}{_ascii(self.title.split()[0])}" or "data"

    @property
    def fields(self) -> dict[str, str]:
        """The fields of the entry, the first one its type."""
        journal = re.fullmatch(r"(.*(?:\d|Transactions.*)) \(\d{4}\)", self.venue)
        arxiv = re.search(r"arXiv:(\d{4}\.\d{4,5})", self.venue)
        if arxiv:
            published = {"type": "misc", "eprint": arxiv[1], "archivePrefix": "arXiv"}
        elif journal:
            published = {"type": "article", "journal": journal[1]}
        elif self.venue:
            published = {"type": "inproceedings", "booktitle": self.venue}
        else:
            published = {"type": "misc"}
        return {**published, "author": self.authors, "title": self.title, "year": self.year}


def publications(citation: str) -> list[Publication]:
    """Return the publications of a citation of the catalogue.

    Example:
        >>> publications("Ma and Van Gool, Cats, Dogs, ICCV 2011; split of Li et al., Birds, 2020, arXiv:2001.00001")
        ... # doctest: +NORMALIZE_WHITESPACE
        [Publication(authors='Ma and {Van Gool}', title='Cats, Dogs', venue='ICCV 2011'),
         Publication(authors='Li and others', title='Birds', venue='2020, arXiv:2001.00001')]
    """
    first, *more = one_line(citation).split("; ")
    return [_publication(part) for part in (first, *(re.sub(r"^[\w ]+? of (?=[A-Z])", "", part) for part in more))]


def _publication(text: str) -> Publication:
    match = CITATION.fullmatch(text)
    if match is None:
        return Publication(authors="", title=text, venue="")
    names = re.split(r", | and ", match["authors"].removesuffix(" et al."))
    braced = [f"{{{name}}}" if " " in name else name for name in names]
    others = ["others"] if match["authors"].endswith(" et al.") else []
    return Publication(" and ".join(braced + others), match["title"], match["venue"])


def _ascii(text: str) -> str:
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    return re.sub(r"[^a-z0-9]", "", plain.lower())


def bibtex(runs: Sequence[Run]) -> RenderedExport:
    """Return an entry for clipbench and one per publication, with a comment per data set that lists its keys."""
    citations = {
        record.dataset.id: record.dataset.cite
        for run in runs
        for record in run.result.evaluations
        if record.status == "ok" and record.dataset.id != GENERATED
    }
    notes = [
        f"{one_line(data)}: no citation is recorded, cite its source" for data, cite in citations.items() if not cite
    ]
    cited = {data: publications(cite) for data, cite in citations.items() if cite}
    works = list(dict.fromkeys(work for listed in cited.values() for work in listed))
    keys = dict(zip(works, distinct_names([work.key for work in works]), strict=True))
    comments = [f"% {one_line(data)}: {', '.join(keys[work] for work in listed)}" for data, listed in cited.items()]
    parts = [
        "\n".join(["% Made by clipbench export --to bibtex.", *comments]),
        _software(runs),
        *(_entry(key, work.fields) for work, key in keys.items()),
    ]
    return RenderedExport(content=("\n\n".join(parts) + "\n").encode("utf-8", errors="replace"), notes=notes)


def _software(runs: Sequence[Run]) -> str:
    versions = ", ".join(sorted({run.result.clipbench_version for run in runs}))
    return _entry(
        "clipbench", {"type": "misc", "author": f"{{{AUTHOR}}}", "title": TITLE, "note": f"version {versions}"}
    )


def _entry(key: str, fields: Mapping[str, str]) -> str:
    """Return an entry; braces keep the capitals of a title."""
    lines = [f"@{fields['type']}{{{key}"]
    for name, value in fields.items():
        if name != "type" and value:
            text = value if name == "author" else escape(value)
            lines.append(f"  {name} = {{{{{text}}}}}" if name == "title" else f"  {name} = {{{text}}}")
    return ",\n".join(lines) + "\n}"


FORMAT = ExportFormat(suffixes=(".bib",), render=bibtex)
