"""The samples of an evaluation, of one run or of two side by side: filtered, searched, sorted."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from jaxtyping import Bool, Float64, Int64

from clipbench.errors import ClipbenchError, NotComparable
from clipbench.results import numbers as fmt
from clipbench.results.matching import match
from clipbench.results.metric_name import base_name, split_subset, subset_of
from clipbench.results.record import EvaluationRecord
from clipbench.results.run import Run
from clipbench.results.shown_samples import margin_units
from clipbench.results.titles import full_title, readable, subset_title, within_sentence
from clipbench.untrusted.reading import shortened
from clipbench_reports.evidence import PLAIN, Evidence
from clipbench_reports.galleries import Near, address, nearest
from clipbench_reports.sections.section import LoadedSection, SampleColumn, SampleImage, SampleSource, load_section
from clipbench_reports.text import sentence_case

if TYPE_CHECKING:
    import pandas

MAX_LETTERS, MAX_WORDS, MAX_ID = 160, 6, 2000
"""Letters of a text in the list, texts of a sample there, and letters of an id in the list of marked samples."""
PARTS_OF_INTERVALS = ("_influence", "_credit", "_part")
"""Ends of the columns that intervals are made of: they say nothing of a sample."""
MARGIN = "margin"
STATES = {-1: "wrong", 0: "tie", 1: "right"}
"""State of a sample, by the sign of its margin."""
FILTERS = {"all": "All", "wrong": "Wrong", "tie": "Tie", "right": "Right"}
"""Samples of one run."""
PAIRED_FILTERS = {
    "all": "All",
    "lost": "Wrong in B, right in A",
    "gained": "Right in B, wrong in A",
    "flipped": "Flipped",
    "tie": "Tie",
    "wrong": "Wrong in both",
}
"""Samples of two runs; one is flipped where it is right, tied or wrong in the one and another of these in the other."""
SORTS = {"margin": "Margin", "change": "Change, B minus A", "row": "Order of the data"}


class SampleChoice(NamedTuple):
    """The search, filter and order that a reader chose for the samples."""

    words: str = ""
    show: str = "all"
    by: str = ""
    """The column of the margin."""
    sort: str = "margin"
    is_falling: bool = False


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
        return [name for name in self.tables[0].columns if base_name(str(name)) == MARGIN]

    @property
    def filters(self) -> dict[str, str]:
        """The filters that may be asked for, and their names."""
        if not self.margins:
            return {"all": "All"}
        return FILTERS if len(self.runs) == 1 else PAIRED_FILTERS

    def rows(self, choice: SampleChoice) -> Int64[np.ndarray, " n"]:
        """Return the rows that pass filter and search, in the chosen order. Rows without a margin are last."""
        margins = self.margin(choice.by)
        passes = self.passing(choice.by).get(choice.show, np.ones(len(self), bool))
        for word in choice.words.casefold().split():
            passes = passes & np.any([texts.str.contains(word, regex=False) for texts in self._haystacks], axis=0)
        rows = np.flatnonzero(passes)
        if choice.sort == "row":
            return rows[::-1] if choice.is_falling else rows
        key = margins[-1] - margins[0] if choice.sort == "change" else margins[-1]
        key = -key[rows] if choice.is_falling else key[rows]
        return rows[np.argsort(key, kind="stable")]

    def passing(self, by: str) -> dict[str, Bool[np.ndarray, " n"]]:
        """Return which samples pass each filter. Samples without a margin pass none but ``all``."""
        margins = self.margin(by)
        first, last = np.sign(margins[0]), np.sign(margins[-1])
        is_known = ~np.isnan(first + last)
        masks = {
            "all": np.ones(len(self), bool),
            "wrong": (first < 0) & (last < 0),
            "right": (first > 0) & (last > 0),
            "tie": is_known & ((first == 0) | (last == 0)),
            "lost": (first > 0) & (last < 0),
            "gained": (first < 0) & (last > 0),
            "flipped": is_known & (first != last),
        }
        return {show: masks[show] for show in self.filters}

    def sample(self, row: int, by: str) -> dict[str, object]:
        """Return a sample as a list shows it; its state is that in the last run, nothing where it has no margin."""
        margins = [float(margin[row]) for margin in self.margin(by)]
        numbers = [margin for margin in margins if not np.isnan(margin)]
        return {
            "row": row,
            "id": shortened(self.text("sample_id", row) or f"row {row}", MAX_LETTERS),
            "whole_id": shortened(self.text("sample_id", row), MAX_ID),
            "images": self.images(row, is_small=True),
            "words": self._words(row, subset_of(by)),
            "unit": self._units[row],
            "margins": [fmt.significant(None if np.isnan(margin) else margin) for margin in margins],
            "state": STATES[int(np.sign(numbers[-1]))] if numbers else "",
        }

    def cells(self, row: int) -> list[tuple[str, list[str]]]:
        """Return the titles and values of a sample's words and numbers in the tables, one value per run."""
        names = [str(name) for name in self.tables[0].columns if not _is_image(name)]
        cells = [(self.title(name), self._texts(name, row)) for name in names if not name.endswith(PARTS_OF_INTERVALS)]
        return [(title, values) for title, values in cells if any(values)]

    def images(self, row: int, *, is_small: bool = False) -> list[tuple[str, str]]:
        """Return title and ``data:`` address of each distinct image of a sample, with empty ones if none was kept."""
        section_images = self._loaded.section.sample_images
        default_images = [] if any(image.name == "image" for image in section_images) else [SampleImage(name="image")]
        parts: dict[str, list[str]] = {}
        for image in (*default_images, *section_images):
            digests = self._cell_texts(image, row, "")
            for digest in filter(None, dict.fromkeys(digests)):
                run = "AB"[digests.index(digest)] if len(set(digests)) > 1 else ""
                parts.setdefault(digest, []).append(f"{image.role} {run}".strip())
        has_titles = len(parts) > 1
        titled_addresses = []
        for digest, roles in parts.items():
            distinct_roles = dict.fromkeys(role for role in roles if role)
            title = sentence_case(", ".join(distinct_roles)) if has_titles else ""
            addresses = [address(run, digest, is_small=is_small) for run in self.runs]
            kept = [image_address for image_address in addresses if image_address]
            titled_addresses.append((title, kept[0] if kept else ""))
        return titled_addresses

    def nearest(self, row: int) -> list[tuple[str, list[Near]]]:
        """Return the nearest neighbours of a sample by label set, which the first run keeps for its worst failures."""
        record, sample_id = self.records[0], self.text("sample_id", row)
        evidence = Evidence(self.runs[0], record)
        sets = {"": evidence, **{label_set: evidence.for_label_set(label_set) for label_set in self._label_sets}}
        neighbours = {subset_title(name, record.subsets): nearest(part)(sample_id) for name, part in sets.items()}
        return [(title, near) for title, near in neighbours.items() if near]

    def text(self, column: str, row: int) -> str:
        """Return a cell of the first run as text, empty if there is none."""
        return self._texts(column, row)[0]

    def margin(self, column: str) -> list[Float64[np.ndarray, " n"]]:
        """Return a column of each run as numbers, or NaN for other values."""
        import pandas

        margins = []
        for table in self.tables:
            if column in table.columns:
                margins.append(pandas.to_numeric(table[column], errors="coerce").to_numpy(np.float64))
            else:
                margins.append(np.full(len(self), np.nan))
        return margins

    def _texts(self, column: str, row: int) -> list[str]:
        """Return a cell of each run as text, empty if it is missing."""
        texts = []
        for table in self.tables:
            cell = table[column].iat[row] if column in table.columns else None
            metric = self.records[0].metrics.get(column)
            if isinstance(cell, float | np.floating):
                text = fmt.quantity(float(cell), metric.unit) if metric is not None else fmt.significant(float(cell))
                cell = None if np.isnan(cell) else text
            texts.append("" if cell is None else str(cell))
        return texts

    def _words(self, row: int, label_set: str) -> list[tuple[str, str]]:
        """Return the texts of a sample that the task's section shows, or the first ones, of one label set or of all."""
        texts: dict[str, str] = {}
        for column in self._loaded.section.sample_columns or self._plain_columns:
            for subset in [label_set] if label_set else ["", *self._label_sets]:
                name = f"{subset}/{column.name}" if subset and not label_set else column.name
                values = dict.fromkeys(filter(None, self._cell_texts(column, row, subset)))
                if values and (not subset_of(name) or name in self.tables[0].columns):
                    texts.setdefault(self.title(name, column.title), shortened(" → ".join(values), MAX_LETTERS))
        return list(texts.items())[:MAX_WORDS]

    def _cell_texts(self, column: SampleSource, row: int, label_set: str) -> list[str]:
        """Return a column's text in each run, or for an option's columns the text of the right one if it won."""
        texts = []
        for number, table in enumerate(self.tables):
            margin = table[column.margin].iat[row] if column.margin in table.columns else None
            name = column.right if isinstance(margin, float | np.floating) and margin > 0 else column.name
            subset_name = f"{label_set}/{name}"
            texts.append(self._texts(subset_name if subset_name in table.columns else name, row)[number])
        return texts

    def title(self, name: str, title: str = "") -> str:
        """Return the report's title of a column, with the title of its label set."""
        record, (subset, end) = self.records[0], split_subset(name)
        if name in record.metrics:
            return full_title(name, record.metrics[name], record.subsets)
        columns = self._loaded.section.sample_columns
        titles = [column.title for column in columns if column.name == end]
        own_title = title or (titles[0] if titles else readable(end))
        return f"{own_title} ({within_sentence(subset_title(subset, record.subsets))})" if subset else own_title

    @cached_property
    def _loaded(self) -> LoadedSection:
        return load_section(self.records[0].task)

    @cached_property
    def _units(self) -> list[str]:
        return margin_units(self.tables[-1])

    @cached_property
    def _label_sets(self) -> list[str]:
        return [label_set for label_set in self._loaded.label_sets(self.records[0]) if label_set != PLAIN]

    @cached_property
    def _plain_columns(self) -> list[SampleColumn]:
        return [
            SampleColumn(name=name, title=readable(name))
            for name in self._text_columns
            if name not in ("sample_id", "cluster")
        ]

    @cached_property
    def _text_columns(self) -> list[str]:
        texts = self.tables[0].select_dtypes(["object", "string"])
        return [str(name) for name in texts.columns if not _is_image(name)]

    @cached_property
    def _haystacks(self) -> "list[pandas.Series]":
        haystacks = []
        for table in self.tables:
            for name in self._text_columns:
                if name in table.columns:
                    haystacks.append(table[name].astype("str").fillna("").str.casefold())
        return haystacks


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
            raise ClipbenchError(
                f"the samples in {run.folder} have no column sample_id, or two columns with the same name"
            )
    notes = list(same.notes)
    if len(tables) > 1:
        first, other = (table.drop_duplicates("sample_id").set_index("sample_id", drop=False) for table in tables)
        n_alone = len(first.index.symmetric_difference(other.index))
        notes += [f"{fmt.counted(n_alone, 'sample')} only in one run: not shown"] if n_alone else []
        shared = first.index[first.index.isin(other.index)]
        tables = [indexed.loc[shared].reset_index(drop=True) for indexed in (first, other)]
    return Samples(runs, records, tables, notes)


def _is_image(name: object) -> bool:
    return str(name) == "image" or str(name).endswith("_image")
