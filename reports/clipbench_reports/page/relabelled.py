"""The difference by other labels on the page of a comparison, with the images that change it."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from markupsafe import Markup

from clipbench.comparison.formats import difference_tables as tables
from clipbench.comparison.new_labels import METRIC
from clipbench.comparison.records import Comparison
from clipbench.comparison.relabelled import ChangedImage, Relabelled
from clipbench.results import numbers as fmt
from clipbench.results.run import Run
from clipbench.results.table import as_html
from clipbench_reports.galleries import Fact, Gallery, PageBudget
from clipbench_reports.page.flipped import N_SEARCHED, N_SHOWN, PairedTables

MOST_LISTED = 100
"""Images of the table. JSON has all."""


def relabelled_parts(
    comparison: Comparison, evaluation: str, runs: Sequence[Run], budget: PageBudget
) -> list[dict[str, Any]]:
    """Return the differences of an evaluation by other labels, with the images that change them.

    Args:
        comparison: of two runs.
        evaluation: its name.
        runs: the base and the candidate.
        budget: of the images of the page.
    """
    parts = []
    for part in comparison.relabelled:
        if part.evaluation != evaluation:
            continue
        galleries = []
        if part.changed:
            galleries = list(_galleries(part, PairedTables(evaluation, *runs), budget))
        listed_changes = part.changed[:MOST_LISTED]
        parts.append(
            {
                "sentence": part.sentence,
                "counts": part.counts,
                "table": Markup(as_html(tables.relabelled_table(part), "likeness")),
                "galleries": galleries,
                "changed": Markup(as_html(tables.changed_table(listed_changes), "likeness")),
                "n_changed": len(part.changed),
                "n_left": len(part.changed) - len(listed_changes),
            }
        )
    return parts


def _galleries(part: Relabelled, pair: PairedTables, budget: PageBudget) -> Iterator[Gallery]:
    """Yield the images that raise the difference, then those that lower it."""
    raising = [image for image in part.changed if image.by_new > image.by_recorded]
    lowering = [image for image in part.changed if image.by_new < image.by_recorded]
    titles = ("Better for the candidate by the new labels", "Worse for the candidate by the new labels")
    for title, images in zip(titles, (raising, lowering), strict=True):
        if images:
            by_id = {image.id: image for image in images}
            samples = pair.samples([*by_id][:N_SEARCHED], METRIC, N_SHOWN, budget)
            failures = [replace(sample, facts=list(_facts(by_id[sample.id]))) for sample in samples]
            note = f"{fmt.counted(len(images), 'image')}: those with a small copy first."
            yield Gallery(title=title, note=note, failures=failures)


def _facts(image: ChangedImage) -> Iterator[Fact]:
    yield Fact("Recorded", ", ".join(image.recorded)).cut()
    yield Fact("New labels", ", ".join(image.labels)).cut()
    for term, name in (("Base", image.base), ("Candidate", image.candidate)):
        yield Fact(term, f"{name}, {_judgement(name, image)}").cut()


def _judgement(name: str, image: ChangedImage) -> str:
    """Return by which labels a prediction is right."""
    if name in image.recorded and name in image.labels:
        return "right by both"
    if name in image.labels:
        return "right by the new labels"
    return "right by the recorded label" if name in image.recorded else "wrong by both"
