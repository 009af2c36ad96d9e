"""Samples that two models judge differently, both ways: their small images, and what each model said of them."""

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from clipbench.comparison.records import Comparison, Difference
from clipbench.results import numbers as fmt
from clipbench.results.run import Run
from clipbench.results.titles import readable, within_sentence
from clipbench_reports.galleries import MAX_WHOLE, Fact, Failure, Gallery, GalleryImage, PageBudget, address
from clipbench_reports.sections.section import SampleColumn, SampleImage, load_section
from clipbench_reports.text import isolated, sentence_case, shorten

if TYPE_CHECKING:
    import pandas

N_SHOWN, N_SEARCHED = 12, 48
"""Samples of one way that are shown, with ids of more below; and those among which the ones with an image come
first.
"""
MAX_IDS = 1000
"""Ids of one way that stand below, so that pages of large data sets stay small."""
MAX_BESIDE = 140
"""Letters of a text that are shown beside what it was before."""

OWN_IMAGE = SampleImage(name="image")
MAX_PLAIN = 4
"""Columns of words that are shown where the task's section does not say which."""


def flipped(comparison: Comparison, base: Run, candidate: Run, budget: PageBudget) -> Iterator[dict[str, Any]]:
    """Yield the metrics of which samples changed: those of significant differences first, and headlines before others.

    Each has the evaluation, the metric's title, the verdict, and the ways in which samples changed: a gallery of the
    first of them, all ids with the largest changes first, those that are listed, and the number of those that are not.
    """
    tables: dict[str, PairedTables] = {}
    order = {"worse": 0, "better": 1}
    changed = [each for each in comparison.differences if each.flips is not None and any(vars(each.flips).values())]
    for each in sorted(changed, key=lambda each: (order.get(each.verdict, 2), not each.candidate.is_headline)):
        if each.evaluation not in tables:
            tables[each.evaluation] = PairedTables(each.evaluation, base, candidate)
        ways = [
            {
                "gallery": _gallery(title, each, ids, tables[each.evaluation], budget),
                "ids": ids,
                "listed": ids[:MAX_IDS],
                "n_left": max(0, len(ids) - MAX_IDS),
            }
            for title, ids in _ways(each)
            if ids
        ]
        yield {"evaluation": each.evaluation, "title": each.title, "verdict": each.verdict, "ways": ways}


def _gallery(
    title: str, difference: Difference, ids: Sequence[str], pair: "PairedTables", budget: PageBudget
) -> Gallery:
    found = {name: list(pair.images_of(name, difference.name)) for name in ids[:N_SEARCHED]}
    shown = sorted(found, key=lambda name: not all(image.address for image in found[name]))[:N_SHOWN]
    samples = [pair.sample(name, difference.name, found[name], budget) for name in shown]
    if not any(image.address for sample in samples for image in sample.images):
        samples = [replace(sample, images=[]) for sample in samples]
    n_samples = fmt.counted(len(ids), "sample")
    note = (
        f"{n_samples} of {within_sentence(difference.title)}; those that changed most come first, if their image was"
        " kept."
    )
    return Gallery(title=title, note=note, failures=samples)


def _ways(each: Difference) -> list[tuple[str, Sequence[str]]]:
    """Return the ways a sample may change, the loss first; flips are by value, whatever direction is better."""
    assert each.flips is not None, each
    whole, part = (each.flips.lost, each.flips.gained), (each.flips.part_lost, each.flips.part_gained)
    if each.base.higher_is_better is None:
        return [("Less than before", whole[0] + part[0]), ("More than before", whole[1] + part[1])]
    sign = 1 if each.base.higher_is_better else -1
    titles = ("Wrong now, right before", "Right now, wrong before", "Worse in part (ties)", "Better in part (ties)")
    return list(zip(titles, [*whole[::sign], *part[::sign]], strict=True))


class PairedTables:
    """The samples of an evaluation in two runs, with their images and what each model said of them."""

    def __init__(self, evaluation: str, *runs: Run) -> None:
        named = [
            [each for each in run.result.evaluations if (each.name, each.status) == (evaluation, "ok")] for run in runs
        ]
        self.runs = runs
        self.tables = [
            run.samples(namesakes[0]).drop_duplicates("sample_id").set_index("sample_id")
            for run, namesakes in zip(runs, named, strict=True)
        ]
        section = load_section(named[0][0].task).section
        self.columns = section.sample_columns or _plain_columns(self.tables)
        self.images = section.sample_images
        self.is_sure = all(len(namesakes) == 1 for namesakes in named)
        """True where the task was run once on the data: of several times, the name does not tell which is meant."""

    def sample(self, name: str, metric: str, images: list[GalleryImage], budget: PageBudget) -> Failure:
        """Return a sample with what explains a metric of it."""
        if not budget.take(*(each.address for each in images)):
            images = [GalleryImage(address="", alt="")]
        return Failure(id=name, images=images, facts=list(self._facts(name, metric)) if self.is_sure else [])

    def _facts(self, name: str, metric: str) -> Iterator[Fact]:
        subset, _, end = metric.rpartition("/")
        for column in self.columns:
            if not re.fullmatch(column.metrics, end):
                continue
            before, now = self._both(name, column, subset)
            if column.is_of_sample:
                before, now = before or now, now or before
            if before == now != "":
                yield Fact(column.title, now).cut()
            elif before or now:
                short = _from_to(shorten(before, MAX_BESIDE), shorten(now, MAX_BESIDE))
                yield Fact(column.title, short, whole=_from_to(before, now)).cut()

    def images_of(self, name: str, metric: str) -> Iterator[GalleryImage]:
        """Yield the images that explain a metric of a sample, each once; its own where the section names none."""
        end = metric.rpartition("/")[2]
        asked = [each for each in self.images if self.is_sure and re.fullmatch(each.metrics, end)]
        is_known = all(any(self._both(name, each, "")) for each in asked)
        roles: dict[str, list[str]] = {}
        for image in asked if asked and is_known else [OWN_IMAGE]:
            before, now = self._both(name, image, "")
            if before == now:
                roles.setdefault(now, []).append(image.role)
                continue
            for digest, when in ((before, "before"), (now, "now")):
                if digest:
                    roles.setdefault(digest, []).append(f"{image.role} {when}".strip())
        for digest, parts in roles.items():
            role = sentence_case(", ".join(parts))
            alt = f"Image of {name}" + (f": {role.lower()}" if role else "")
            at = next(filter(None, (address(run, digest) for run in self.runs)), "")  # either run may have kept it
            yield GalleryImage(address=at, alt=alt, role=role)

    def _both(self, name: str, of: SampleColumn | SampleImage, subset: str) -> list[str]:
        """Return a column of a sample in both runs, that of the metric's label set where it has its own."""
        return [_chosen(table, name, of, subset) for table in self.tables]


def _from_to(before: str, now: str) -> str:
    """Return what was and what is, neither of which can turn the direction of the other; a dash where it is not
    known.
    """
    return " → ".join(isolated(text) if text else fmt.NONE for text in (before, now))


def _plain_columns(tables: "Sequence[pandas.DataFrame]") -> list[SampleColumn]:
    """Return the first columns of words that both tables have, other than those with the content hashes of images."""
    shared = [name for name in tables[0].columns if name in tables[1].columns and not re.fullmatch("(.*_)?image", name)]
    words = [
        name for name in shared if name != "cluster" and tables[0][name].map(lambda value: isinstance(value, str)).any()
    ]
    return [SampleColumn(name=name, title=readable(name)) for name in words[:MAX_PLAIN]]


def _chosen(table: "pandas.DataFrame", name: str, of: SampleColumn | SampleImage, subset: str) -> str:
    """Return a cell as it is read; of the best false option only where it was preferred, else the right one."""
    column = of.name
    if of.margin:
        known = _cell(table, name, of.margin)
        if not isinstance(known, float):
            return ""
        column = of.right if known > 0 else column
    own = f"{subset}/{column}"
    value = _cell(table, name, own if own in table else column)
    if value is None or isinstance(value, str):
        return shorten(value or "", MAX_WHOLE)
    return fmt.number(value, "cosine") if column.endswith("margin") else fmt.significant(value)


def _cell(table: "pandas.DataFrame", name: str, column: str) -> str | float | None:
    """Return a text or a finite number; None where the table has neither."""
    value = table.at[name, column] if column in table and name in table.index else None
    if isinstance(value, float | int | np.number):
        return float(value) if math.isfinite(value) else None
    return value if isinstance(value, str) else None
