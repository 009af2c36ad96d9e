"""Samples that two models judge differently, both ways: their small images, and the answers of both models."""

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np

from clipbench.comparison.metric_difference import Difference
from clipbench.comparison.records import Comparison
from clipbench.results import numbers as fmt
from clipbench.results.metric_name import base_name, split_evaluation, split_subset
from clipbench.results.run import Run
from clipbench.results.titles import readable, within_sentence
from clipbench_reports.galleries import MAX_WHOLE, Fact, Failure, Gallery, GalleryImage, PageBudget, address
from clipbench_reports.sections.section import SampleColumn, SampleImage, SampleSource, load_section
from clipbench_reports.text import isolated, sentence_case, shorten

if TYPE_CHECKING:
    import pandas

N_SHOWN, N_SEARCHED = 12, 48
"""Samples per direction that are shown, and samples per direction that are searched for images: those with an image
come first.
"""
MAX_IDS = 1000
"""Ids per direction that are listed below, so that pages of large data sets stay small."""
MAX_BESIDE = 140
"""Characters of a text that changed, and of the text before it."""

OWN_IMAGE = SampleImage(name="image")
MAX_PLAIN = 4
"""Columns of words that are shown where the task's section does not say which."""


def flipped_samples(comparison: Comparison, base: Run, candidate: Run, budget: PageBudget) -> Iterator[dict[str, Any]]:
    """Yield the metrics whose samples changed: significant differences first, then headlines, then others.

    A metric has its evaluation, title and verdict, and the directions in which samples changed. A direction has a
    gallery of its first samples, all ids with the largest changes first, the listed ids, and the number of the rest.
    """
    tables_by_evaluation: dict[str, PairedTables] = {}
    order = {"worse": 0, "better": 1}
    changed = [
        difference
        for difference in comparison.differences
        if difference.flips is not None and any(vars(difference.flips).values())
    ]
    changed.sort(key=lambda difference: (order.get(difference.verdict, 2), not difference.candidate.is_headline))
    for difference in changed:
        tables = tables_by_evaluation.get(difference.evaluation)
        if tables is None:
            tables = PairedTables(difference.evaluation, base, candidate)
            tables_by_evaluation[difference.evaluation] = tables
        ways = []
        for title, ids in _flip_directions(difference):
            if ids:
                gallery = _gallery(title, difference, ids, tables, budget)
                n_left = max(0, len(ids) - MAX_IDS)
                ways.append({"gallery": gallery, "ids": ids, "listed": ids[:MAX_IDS], "n_left": n_left})
        yield {
            "evaluation": difference.evaluation,
            "title": difference.title,
            "verdict": difference.verdict,
            "ways": ways,
        }


def _gallery(
    title: str, difference: Difference, ids: Sequence[str], pair: "PairedTables", budget: PageBudget
) -> Gallery:
    n_samples = fmt.counted(len(ids), "sample")
    note = f"{n_samples} of {within_sentence(difference.title)}: those with an image first, by the size of the change."
    samples = pair.samples(ids[:N_SEARCHED], difference.name, N_SHOWN, budget)
    return Gallery(title=title, note=note, failures=samples)


def _flip_directions(difference: Difference) -> list[tuple[str, Sequence[str]]]:
    """Return the ways a sample may change, the loss first. Flips are by value, whatever direction is better."""
    flips = difference.flips
    assert flips is not None, difference
    if difference.base.higher_is_better is None:
        return [
            ("Less than before", flips.lost + flips.part_lost),
            ("More than before", flips.gained + flips.part_gained),
        ]
    worse, better, partly_worse, partly_better = flips.lost, flips.gained, flips.part_lost, flips.part_gained
    if not difference.base.higher_is_better:
        worse, better, partly_worse, partly_better = better, worse, partly_better, partly_worse
    return [
        ("Wrong now, right before", worse),
        ("Right now, wrong before", better),
        ("Worse in part (ties)", partly_worse),
        ("Better in part (ties)", partly_better),
    ]


class PairedTables:
    """The samples of an evaluation in two runs, with their images and what each model said of them."""

    def __init__(self, evaluation_name: str, *runs: Run) -> None:
        self.runs = runs
        self.tables: list[pandas.DataFrame] = []
        self.is_sure = True
        """True if the task was run once on the data: otherwise, the name is ambiguous."""
        for run in runs:
            namesakes = [
                evaluation
                for evaluation in run.result.evaluations
                if evaluation.name == evaluation_name and evaluation.status == "ok"
            ]
            self.tables.append(run.samples(namesakes[0]).drop_duplicates("sample_id").set_index("sample_id"))
            self.is_sure = self.is_sure and len(namesakes) == 1
        section = load_section(split_evaluation(evaluation_name).task).section
        self.columns = section.sample_columns or _plain_columns(self.tables)
        self.images = section.sample_images

    def samples(self, names: Sequence[str], metric: str, n_shown: int, budget: PageBudget) -> list[Failure]:
        """Return the first samples with the facts that explain a metric, those whose images were kept before others."""
        images = {name: list(self.images_of(name, metric)) for name in names}
        has_all_copies = {name: all(image.address for image in copies) for name, copies in images.items()}
        shown_names = sorted(images, key=lambda name: not has_all_copies[name])[:n_shown]
        samples = [self._sample(name, metric, images[name], budget) for name in shown_names]
        has_images = any(image.address for sample in samples for image in sample.images)
        return samples if has_images else [replace(sample, images=[]) for sample in samples]

    def lacks_copies(self, names: Sequence[str], metric: str) -> bool:
        """Return whether a sample has an image of which neither run kept a small copy."""
        if not any(column.endswith("image") for column in self.tables[0].columns):
            return False
        images = chain.from_iterable(self.images_of(name, metric) for name in names)
        return any(not image.address for image in images)

    def _sample(self, name: str, metric: str, images: list[GalleryImage], budget: PageBudget) -> Failure:
        if not budget.take(*(image.address for image in images)):
            images = [GalleryImage(address="", alt="")]
        return Failure(id=name, images=images, facts=list(self._facts(name, metric)) if self.is_sure else [])

    def _facts(self, name: str, metric: str) -> Iterator[Fact]:
        subset, end = split_subset(metric)
        for column in self.columns:
            if not re.fullmatch(column.metrics, end):
                continue
            before, now = self._before_and_now(name, column, subset)
            if column.is_of_sample:
                before, now = before or now, now or before
            if before == now != "":
                yield Fact(column.title, now).cut()
            elif before or now:
                short = _from_to(shorten(before, MAX_BESIDE), shorten(now, MAX_BESIDE))
                yield Fact(column.title, short, full_words=_from_to(before, now)).cut()

    def images_of(self, name: str, metric: str) -> Iterator[GalleryImage]:
        """Yield the images that explain a metric of a sample, each once, or its own if the section names none."""
        end = base_name(metric)
        sample_images = []
        if self.is_sure:
            sample_images = [image for image in self.images if re.fullmatch(image.metrics, end)]
        are_recorded = all(any(self._before_and_now(name, sample_image, "")) for sample_image in sample_images)
        if not sample_images or not are_recorded:
            sample_images = [OWN_IMAGE]
        roles_by_digest: dict[str, list[str]] = {}
        for sample_image in sample_images:
            before, now = self._before_and_now(name, sample_image, "")
            if before == now:
                roles_by_digest.setdefault(now, []).append(sample_image.role)
                continue
            for digest, when in ((before, "before"), (now, "now")):
                if digest:
                    roles_by_digest.setdefault(digest, []).append(f"{sample_image.role} {when}".strip())
        for digest, roles in roles_by_digest.items():
            role = sentence_case(", ".join(roles))
            alt = f"Image of {name}: {role.lower()}" if role else f"Image of {name}"
            yield GalleryImage(address=self._address(digest), alt=alt, role=role)

    def _address(self, digest: str) -> str:
        """Return the address of a small copy, which either run may have kept, empty if neither has."""
        for run in self.runs:
            if kept := address(run, digest):
                return kept
        return ""

    def _before_and_now(self, name: str, source: SampleSource, subset: str) -> list[str]:
        """Return a cell of a sample in both runs. A column of the metric's label set has precedence."""
        return [_cell_text(table, name, source, subset) for table in self.tables]


def _from_to(before: str, now: str) -> str:
    """Return the texts before and now, with isolated directions, and a dash for a missing one."""
    old_text = isolated(before) if before else fmt.NONE
    new_text = isolated(now) if now else fmt.NONE
    return f"{old_text} → {new_text}"


def _plain_columns(tables: "Sequence[pandas.DataFrame]") -> list[SampleColumn]:
    """Return the first columns of words that both tables have, without the columns of image hashes."""
    first, second = tables
    columns = []
    for name in first.columns:
        is_shown = name in second.columns and name != "cluster" and not re.fullmatch("(.*_)?image", name)
        if is_shown and any(isinstance(cell, str) for cell in first[name]):
            columns.append(SampleColumn(name=name, title=readable(name)))
    return columns[:MAX_PLAIN]


def _cell_text(table: "pandas.DataFrame", name: str, source: SampleSource, subset: str) -> str:
    """Return the text of a cell. A column with a margin has the true option if the margin is positive."""
    column = source.name
    if source.margin:
        margin = _cell(table, name, source.margin)
        if not isinstance(margin, float):
            return ""
        column = source.right if margin > 0 else column
    subset_column = f"{subset}/{column}"
    value = _cell(table, name, subset_column if subset_column in table else column)
    if value is None or isinstance(value, str):
        return shorten(value or "", MAX_WHOLE)
    return fmt.number(value, "cosine") if column.endswith("margin") else fmt.significant(value)


def _cell(table: "pandas.DataFrame", name: str, column: str) -> str | float | None:
    """Return a text or a finite number, or None if the table has neither."""
    value = table.at[name, column] if column in table and name in table.index else None
    if isinstance(value, float | int | np.number):
        return float(value) if math.isfinite(value) else None
    return value if isinstance(value, str) else None
