"""The samples of an evaluation, of one run or of two side by side: filtered, searched, sorted, a page of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from jaxtyping import Bool, Float64, Int64

from clipbench.errors import ClipbenchError, NotComparable
from clipbench.results import numbers as fmt
from clipbench.results.matching import match
from clipbench.results.record import EvaluationRecord
from clipbench.results.run import Run
from clipbench.results.titles import readable
from clipbench.untrusted.reading import shortened
from clipbench_reports.galleries.images import address
from clipbench_reports.sections.loading import load_section

if TYPE_CHECKING:
    import pandas

PAGE = 50
"""Samples of a page."""
MAX_LETTERS, MAX_WORDS = 160, 4
"""Letters of a text in the list, and texts of a sample there."""
MARGIN = "margin"
FILTERS = {
    "all": "All",
    "wrong": "Wrong",
    "tie": "Tie",
    "right": "Right",
}
"""Samples of one run: the margin is below 0, 0, or above it."""
PAIRED_FILTERS = {
    "all": "All",
    "lost": "Wrong in B, right in A",
    "gained": "Right in B, wrong in A",
    "flipped": "Flipped",
    "tie": "Tie",
    "wrong": "Wrong in both",
}
"""Samples of two runs; one is flipped where it is right, tied or wrong in the one and another of these in the other."""
SORTS = {"margin": "Margin", "change": "Change, B less A", "row": "Order of the data"}


class SampleChoice(NamedTuple):
    """The search, filter and order that a reader chose for the samples."""

    words: str = ""
    show: str = "all"
    by: str = ""
    """The column of the margin."""
    sort: str = "margin"
    is_falling: bool = False


class Sample(NamedTuple):
    """A sample of a list."""

    row: int
    id: str
    image: str
    """A ``data:`` address, or nothing where no run kept a small copy."""
    words: Sequence[tuple[str, str]]
    margins: Sequence[str]
    state: str
    """``right``, ``tie`` or ``wrong`` in the last run; nothing where it has no margin."""


class Cell(NamedTuple):
    """A column of a sample, in each run."""

    name: str
    values: Sequence[str]


@dataclass(frozen=True)
class Samples:
    """The samples of an evaluation in one run, or in two, row by row the same."""

    runs: Sequence[Run]
    records: Sequence[EvaluationRecord]
    tables: "Sequence[pandas.DataFrame]"
    notes: Sequence[str] = ()

    def __len__(self) -> int:
        return len(self.tables[0])

    @cached_property
    def margins(self) -> list[str]:
        """Columns that say how far a sample is from failing: of the whole sample, or of one label set."""
        return [name for name in self.tables[0].columns if str(name).rpartition("/")[2] == MARGIN]

    @property
    def filters(self) -> dict[str, str]:
        """The filters that may be asked for, and their names."""
        if not self.margins:
            return {"all": "All"}
        return FILTERS if len(self.runs) == 1 else PAIRED_FILTERS

    def rows(self, asked: SampleChoice) -> Int64[np.ndarray, " n"]:
        """Return the rows that pass filter and search, in the order that is asked for; without a margin they are last."""
        margins = self.margin(asked.by)
        kept = self.passing(asked.show, margins)
        if words := asked.words.casefold().split():
            kept = kept & np.logical_and.reduce([self._has(word) for word in words])
        rows = np.flatnonzero(kept)
        if asked.sort == "row":
            return rows[::-1] if asked.is_falling else rows
        key = margins[-1] - margins[0] if asked.sort == "change" else margins[-1]
        key = -key[rows] if asked.is_falling else key[rows]
        return rows[np.argsort(key, kind="stable")]

    def passing(self, show: str, margins: Sequence[Float64[np.ndarray, " n"]]) -> Bool[np.ndarray, " n"]:
        """Return which samples pass a filter; those without a margin pass none but ``all``."""
        first, last = np.sign(margins[0]), np.sign(margins[-1])
        is_known = ~np.isnan(first + last)
        masks = {
            "wrong": (first < 0) & (last < 0),
            "right": (first > 0) & (last > 0),
            "tie": is_known & ((first == 0) | (last == 0)),
            "lost": (first > 0) & (last < 0),
            "gained": (first < 0) & (last > 0),
            "flipped": is_known & (first != last),
        }
        return masks.get(show, np.ones(len(self), bool))

    def counts(self, by: str) -> dict[str, str]:
        """Return how many samples pass each filter."""
        margins = self.margin(by)
        return {show: fmt.count(int(self.passing(show, margins).sum())) for show in self.filters}

    def sample(self, row: int, by: str) -> Sample:
        """Return a sample as a list shows it."""
        margins = [margin[row] for margin in self.margin(by)]
        known = [margin for margin in margins if not np.isnan(margin)]
        return Sample(
            row=row,
            id=shortened(self.text("sample_id", row) or f"row {row}", MAX_LETTERS),
            image=self.image(row, "image", is_small=True),
            words=self._words(row, by.rpartition("/")[0]),
            margins=[fmt.number(None if np.isnan(margin) else float(margin), "margin") for margin in margins],
            state=("wrong", "tie", "right")[1 + int(np.sign(known[-1]))] if known else "",
        )

    def cells(self, row: int) -> list[Cell]:
        """Return all that the tables say of a sample; content hashes of images are left to the images."""
        names = [name for name in self.tables[0].columns if not _is_image(name)]
        cells = [Cell(readable(str(name)), [_text(_at(table, name, row)) for table in self.tables]) for name in names]
        return [cell for cell in cells if any(cell.values)]

    def images(self, row: int) -> list[tuple[str, str]]:
        """Return the images of a sample, each with its part: a ``data:`` address, or nothing where none was kept."""
        names = [str(name) for name in self.tables[0].columns if _is_image(name) and self.text(str(name), row)]
        return [(readable(name), self.image(row, name)) for name in names]

    def image(self, row: int, column: str, *, is_small: bool = False) -> str:
        """Return the ``data:`` address of an image of a sample; nothing where no run kept one."""
        found = (
            address(run, _text(_at(table, column, row)), is_small=is_small)
            for run, table in zip(self.runs, self.tables, strict=True)
        )
        return next(filter(None, found), "")

    def text(self, column: str, row: int) -> str:
        """Return a cell of the first run as text; nothing where there is none."""
        return _text(_at(self.tables[0], column, row))

    def margin(self, column: str) -> list[Float64[np.ndarray, " n"]]:
        """Return a column as numbers, of each run; NaN for what is none."""
        import pandas

        if column not in self._margins:
            self._margins[column] = [
                pandas.to_numeric(table[column], errors="coerce").to_numpy(np.float64)
                if column in table.columns
                else np.full(len(self), np.nan)
                for table in self.tables
            ]
        return self._margins[column]

    def _words(self, row: int, label_set: str) -> list[tuple[str, str]]:
        """Return the texts that the task's section shows of a sample, or the first ones; those of a label set where it is one."""
        found = []
        for name, title in self._titles.items():
            own = f"{label_set}/{name}"
            column = own if own in self._texts else name
            if column in self._texts and column not in ("sample_id", "cluster") and not _is_image(column):
                values = dict.fromkeys(filter(None, (_text(_at(table, column, row)) for table in self.tables)))
                found.append((title, shortened(" → ".join(values), MAX_LETTERS)))
        return [each for each in found if each[1]][:MAX_WORDS]

    @cached_property
    def _margins(self) -> dict[str, list[Float64[np.ndarray, " n"]]]:
        return {}

    @cached_property
    def _titles(self) -> dict[str, str]:
        """The columns whose texts a list shows, and their titles."""
        named = load_section(self.records[0].task).section.sample_columns
        return {each.name: each.title for each in named} or {name: readable(name) for name in self._texts}

    @cached_property
    def _texts(self) -> list[str]:
        import pandas

        table = self.tables[0]
        return [
            str(name)
            for name in table.columns
            if pandas.api.types.is_string_dtype(table[name]) or table[name].dtype == object
        ]

    @cached_property
    def _haystacks(self) -> "list[pandas.Series]":
        """All texts of the samples in small letters."""
        return [
            table[name].astype("str").str.casefold()
            for table in self.tables
            for name in self._texts
            if name in table.columns and not _is_image(name)
        ]

    def _has(self, word: str) -> Bool[np.ndarray, " n"]:
        found = np.zeros(len(self), bool)
        for each in self._haystacks:
            found |= each.str.contains(word, regex=False).to_numpy(bool, na_value=False)
        return found


def read_samples(runs: Sequence[Run], evaluation: str) -> Samples:
    """Return the samples of an evaluation, ``task@data``, of one run or of two.

    Raises:
        NotComparable: the two are not of the same samples.
        ClipbenchError: a run has no such samples, or they are damaged.
    """
    records = [run.evaluation(evaluation) for run in runs]
    same = match(*records)
    if not same.is_same:
        raise NotComparable(f"these are not the same samples: {same.reason}")
    tables = [run.samples(record) for run, record in zip(runs, records, strict=True)]
    for table, run in zip(tables, runs, strict=True):
        if not table.columns.is_unique or (len(tables) > 1 and "sample_id" not in table.columns):
            raise ClipbenchError(f"the samples in {run.folder} have no column sample_id, or two of a name")
    notes = list(same.notes)
    if len(tables) > 1:
        first, other = (table.drop_duplicates("sample_id").set_index("sample_id", drop=False) for table in tables)
        n_alone = len(first.index.symmetric_difference(other.index))
        notes += [f"{fmt.counted(n_alone, 'sample')} of one run alone: not shown"] if n_alone else []
        shared = first.index[first.index.isin(other.index)]
        tables = [each.loc[shared].reset_index(drop=True) for each in (first, other)]
    return Samples(runs, records, tables, notes)


def _is_image(name: object) -> bool:
    return str(name) == "image" or str(name).endswith("_image")


def _at(table: "pandas.DataFrame", column: object, row: int) -> object:
    return table[column].iat[row] if column in table.columns else None


def _text(value: object) -> str:
    """Return a cell as it is read; nothing for what is missing."""
    if isinstance(value, float | np.floating):
        return "" if np.isnan(value) else fmt.significant(float(value))
    return "" if value is None else str(value)
