"""Samples that two models judge differently, both ways: their small images, and what each model said of them."""

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from clipbench.comparison.records import Comparison, Difference
from clipbench.results import numbers as fmt
from clipbench.results.run import Run
from clipbench_reports.drawing.svg import shorten
from clipbench_reports.galleries.images import PageBudget, address
from clipbench_reports.page.text import sentence_case

if TYPE_CHECKING:
    import pandas

N_SHOWN = 12
"""Samples of one way that are shown; ids of more stand below."""
MAX_IDS = 1000
"""Of one way that stand below: pages of large data sets stay small."""
MAX_LETTERS = 160
"""Of a caption, a few lines; the whole one is in the sample table."""

OF_SAMPLE = ("label", "object", "word", "written")
"""Columns that say what a sample is, the same in all runs."""
OF_MODEL = {
    "predicted": r".*",
    "read": r"reading_acc",
    "caption": r"(?!image_acc).*",
    "preferred": r"(text|group)_acc",
    "text_margin": r"(text|group)_acc",
    "asked_caption": r"image_acc",
    "image_margin": r"(image|group)_acc",
}
"""Columns that say what a model made of a sample, with the metrics, by the end of their names, that they explain.

Of several true captions, and of several images, a row names those that its model came nearest to failing with.
"""
TERMS = {
    "label": "True class",
    "predicted": "Taken for",
    "object": "Object",
    "word": "Label says",
    "written": "Written",
    "read": "Read as",
    "caption": "Caption",
    "preferred": "Preferred",
    "asked_caption": "Asked for",
    "chosen_caption": "Came first",
    "text_margin": "Margin, captions",
    "image_margin": "Margin, images",
}
"""What these columns are called beside a sample's image."""
CHOSEN = {"preferred": ("caption", "text_margin"), "preferred_image": ("right_image", "image_margin")}
"""Columns of the best false option, with that of the right one, and with the margin by which the right one won."""


@dataclass(frozen=True, kw_only=True)
class Thumbnail:
    """A small image."""

    address: str
    """Nothing where neither run kept one or the page has no more room."""
    alt: str
    role: str = ""
    """Which it is, where a sample has several."""


@dataclass(frozen=True, kw_only=True)
class Said:
    """A column of a sample in both runs; a text is empty where it is not known."""

    term: str
    before: str
    now: str

    @property
    def is_same(self) -> bool:
        """Whether one text says it all."""
        return self.before == self.now


@dataclass(frozen=True, kw_only=True)
class Sample:
    """A sample that changed."""

    id: str
    images: Sequence[Thumbnail]
    said: Sequence[Said]


@dataclass(frozen=True, kw_only=True)
class Way:
    """The samples that changed in one way."""

    title: str
    shown: Sequence[Sample]
    ids: Sequence[str]
    """Of all, those that changed most first."""

    @property
    def listed(self) -> Sequence[str]:
        """The ids that are listed."""
        return self.ids[:MAX_IDS]

    @property
    def n_left(self) -> int:
        """How many ids are not."""
        return len(self.ids) - len(self.listed)


@dataclass(frozen=True, kw_only=True)
class Flipped:
    """What changed in one metric."""

    evaluation: str
    metric: str
    verdict: str
    ways: Sequence[Way]


def flipped(comparison: Comparison, base: Run, candidate: Run, room: PageBudget) -> Iterator[Flipped]:
    """Return the samples that changed, by metric: those of significant differences first.

    Args:
        room: for the images of the whole page.
    """
    tables: dict[str, _Tables] = {}
    order = {"worse": 0, "better": 1}
    for each in sorted(comparison.differences, key=lambda each: order.get(each.verdict, 2)):
        if each.flips is None or not (each.flips.gained or each.flips.lost):
            continue
        if each.evaluation not in tables:
            tables[each.evaluation] = _Tables.of(each.evaluation, base, candidate)
        found = tables[each.evaluation]
        ways = [
            Way(title=title, shown=[found.sample(name, each.name, room) for name in ids[:N_SHOWN]], ids=ids)
            for title, ids in _ways(each)
            if ids
        ]
        yield Flipped(evaluation=each.evaluation, metric=each.name, verdict=each.verdict, ways=ways)


def _ways(each: Difference) -> list[tuple[str, Sequence[str]]]:
    """Return both ways a sample may change, the loss first; flips are by value, whatever direction is better."""
    assert each.flips is not None, each
    gained, lost = each.flips.gained, each.flips.lost
    if each.base.higher_is_better is None:
        return [("Less than before", lost), ("More than before", gained)]
    worse, better = (lost, gained) if each.base.higher_is_better else (gained, lost)
    return [("Wrong now, right before", worse), ("Right now, wrong before", better)]


@dataclass(frozen=True)
class _Tables:
    """The samples of an evaluation in both runs, by id."""

    runs: Sequence[Run]
    tables: "Sequence[pandas.DataFrame]"
    is_sure: bool
    """Whether the task was asked once: of several ways to ask, the name does not tell which one is meant."""

    @classmethod
    def of(cls, evaluation: str, *runs: Run) -> "_Tables":
        named = [
            [each for each in run.result.evaluations if (each.name, each.status) == (evaluation, "ok")] for run in runs
        ]
        tables = [
            run.samples(found[0]).drop_duplicates("sample_id").set_index("sample_id")
            for run, found in zip(runs, named, strict=True)
        ]
        return cls(runs, tables, is_sure=all(len(found) == 1 for found in named))

    def sample(self, name: str, metric: str, room: PageBudget) -> Sample:
        """Return a sample with what explains a metric of it."""
        images = list(self._images(name, metric))
        is_shown = any(each.address for each in images) and room.take(*(each.address for each in images))
        if not is_shown:
            images = [Thumbnail(address="", alt="")]
        return Sample(id=name, images=images, said=list(self._said(name, metric)) if self.is_sure else [])

    def _said(self, name: str, metric: str) -> Iterator[Said]:
        subset, _, end = metric.rpartition("/")
        told = [column for column, explained in OF_MODEL.items() if re.match(explained, end)]
        rank = self._rank(metric)
        for column in (*OF_SAMPLE, *told, *([rank, "chosen_caption"] if rank else [])):
            before, now = self._both(name, column, subset)
            if column in OF_SAMPLE:
                before, now = before or now, now or before
            if before or now:
                yield Said(term=self._term(name, column, rank), before=before, now=now)

    def _term(self, name: str, column: str, rank: str) -> str:
        """Return what a column is called; of captions to choose from, one is true."""
        if column == rank:
            return "Rank"
        return "True" if column == "caption" and any(self._both(name, "preferred", "")) else TERMS[column]

    def _images(self, name: str, metric: str) -> Iterator[Thumbnail]:
        """Yield the image that was right, and that which was chosen in its place, each once."""
        columns = {"": "image"}
        if self.is_sure and self._rank(metric) and any(self._both(name, "chosen_image", "")):
            columns = {"right": "image", "first": "chosen_image"}
        elif self.is_sure and re.search(r"\bimage_acc", metric) and any(self._both(name, "right_image", "")):
            columns = {"right": "right_image", "preferred": "preferred_image"}
        roles: dict[str, list[str]] = {}
        for word, column in columns.items():
            before, now = self._both(name, column, "")
            if before == now:
                roles.setdefault(now, []).append(word)
                continue
            for digest, when in ((before, "before"), (now, "now")):
                if digest:
                    roles.setdefault(digest, []).append(f"{word} {when}".strip())
        for digest, found in roles.items():
            role = sentence_case(", ".join(found))
            alt = f"Image of {name}" + (f": {role.lower()}" if role else "")
            yield Thumbnail(address=self._address(digest), alt=alt, role=role)

    def _address(self, digest: str) -> str:
        return next(filter(None, (address(run, digest) for run in self.runs)), "")

    def _rank(self, metric: str) -> str:
        """Return the column of the ranks that a recall counts; nothing for other metrics."""
        found = re.fullmatch(r"(.*)_recall@[0-9]+", metric)
        column = f"{found[1]}_rank" if found else ""
        return column if column in self.tables[0] else ""

    def _both(self, name: str, column: str, subset: str) -> tuple[str, str]:
        """Return a column of a sample in both runs, that of the metric's label set where it has its own."""
        before, now = (_chosen(table, name, column, subset) for table in self.tables)
        return before, now


def _chosen(table: "pandas.DataFrame", name: str, column: str, subset: str) -> str:
    """Return a cell as it is read; of the best false option only where it was preferred, else the right one."""
    if column in CHOSEN:
        right, margin = CHOSEN[column]
        known = _cell(table, name, margin)
        if not isinstance(known, float) or not math.isfinite(known):
            return ""
        column = right if known > 0 else column
    return _words(table, name, column, subset)


def _words(table: "pandas.DataFrame", name: str, column: str, subset: str) -> str:
    """Return a cell as it is read; nothing where the table has none."""
    own = f"{subset}/{column}"
    value = _cell(table, name, own if own in table else column)
    if isinstance(value, str):
        return shorten(value, MAX_LETTERS)
    if value is None or not math.isfinite(value):
        return ""
    return fmt.number(value, "cosine") if column.endswith("margin") else fmt.significant(value)


def _cell(table: "pandas.DataFrame", name: str, column: str) -> str | float | None:
    """Return a text or a number; None where the table has neither."""
    if column not in table or name not in table.index:
        return None
    value = table.at[name, column]
    if isinstance(value, str):
        return value
    return float(value) if isinstance(value, float | int | np.number) else None
