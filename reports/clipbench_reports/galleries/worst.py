"""The gallery of any task: the samples that failed by the widest margin."""

from clipbench.results import numbers as fmt
from clipbench.results.titles import readable
from clipbench_reports.galleries.gallery import (
    Fact,
    Failing,
    Gallery,
    gallery,
    nearest,
    one_image,
    words,
)
from clipbench_reports.galleries.images import PageBudget
from clipbench_reports.page.evidence import Evidence, NotAsked

MAX_FACTS = 4
"""Columns of words that are shown of a sample whose task says nothing of them."""


def worst_samples(evidence: Evidence, budget: PageBudget) -> Gallery:
    """Return the samples with a negative margin, the least first, with what their columns of words say.

    Raises:
        NotAsked: samples have no image or no margin.
        MissingEvidence: no margin is negative.
    """
    if not (evidence.has_column("image") and evidence.has_column("margin")):
        raise NotAsked("image and margin")
    ids, margin = words(evidence, "sample_id"), evidence.numbers("margin")
    said = {name: column for name in evidence.columns if name not in _NO_FACTS and (column := words(evidence, name))}
    shown = [name for name, column in said.items() if any(column) and not name.endswith("_image")][:MAX_FACTS]

    def facts(row: int) -> list[Fact]:
        known = [Fact(readable(name), said[name][row]) for name in shown]
        return [*known, Fact("Margin", "", fmt.number(float(margin[row]), "margin")), Fact("Sample", ids[row])]

    failing = Failing(
        title="Samples that failed",
        note="Margin: how far the sample is from failing, as its task measures it.",
        wrong=margin < 0,
        margin=margin,
        facts=facts,
        images=one_image(evidence, lambda row: f"The image of sample {ids[row]}."),
        ids=ids,
        nearest=nearest(evidence),
    )
    return gallery(failing, budget)


_NO_FACTS = ("sample_id", "image", "cluster")
