"""The section of the report on length bias: a figure, a table, a gallery and a sentence."""

from collections.abc import Sequence

import numpy as np

from clipbench import EvaluationRecord
from clipbench_reports import (
    Chart,
    Dots,
    Evidence,
    FactColumn,
    Finding,
    Gallery,
    Layer,
    ModelEvidence,
    PageBudget,
    Panel,
    Plot,
    Rule,
    Section,
    Statement,
    Table,
    claim,
    columns,
    facet_chart,
    gallery,
    nice_axis,
    one_image,
    read_each,
)

N_GROUPS = 3


def findings(evaluation: EvaluationRecord) -> list[Finding]:
    """Return how often the longest caption wins."""
    wins = evaluation.metrics["longest_wins"]
    return [claim("The longest caption beats an image's own in {value} of {n} cases", wins)]


def lead_by_length(models: Sequence[ModelEvidence]) -> Chart:
    """Return the lead of each caption over the longest, against its length, for one model or several."""
    result = read_each(models, _read)
    dots = [mark for layer in result.all for mark in layer.marks if isinstance(mark, Dots)]
    plane = Panel(
        x=nice_axis([x for mark in dots for x in mark.xs], "Letters of the caption"),
        y=nice_axis([0.0, *(y for mark in dots for y in mark.ys)], "Lead, cosine"),
    )
    return facet_chart(
        plane,
        result,
        reading="Each dot is a caption; below the line the longest of all captions is nearer to the image.",
    )


def _read(evidence: Evidence) -> Layer:
    letters, lead = evidence.column("n_letters").tolist(), evidence.column("margin").tolist()
    beaten = f"{100 * np.mean(np.array(lead) < 0):.1f} %"
    statement = Statement(
        subject="Captions that score below the longest",
        value=beaten,
    )
    dots = Dots(xs=letters, ys=lead, role="text", name="captions")
    return Layer([Rule(at=0, axis="y", role="chance"), dots], statement)


def wins_by_length(evidence: Evidence) -> Table:
    """Return how often the longest caption wins against short and long captions."""
    letters, wins = evidence.column("n_letters"), evidence.column("longest_wins")
    groups = [group for group in np.array_split(np.argsort(letters, kind="stable"), N_GROUPS) if len(group)]
    return Table(
        title="Longest caption wins, by the length of the caption",
        facts="Captions in three groups of one size, the shortest first.",
        columns=columns("Letters", numbers=["Longest wins, %", "n"]),
        rows=[
            [
                f"{letters[group].min():.0f} to {letters[group].max():.0f}",
                f"{100 * wins[group].mean():.1f}",
                str(len(group)),
            ]
            for group in groups
        ],
    )


def beaten(evidence: Evidence, budget: PageBudget) -> Gallery:
    """Return the images for which the longest caption was preferred to their own."""
    return gallery(
        evidence,
        budget,
        title="Images whose caption lost to the longest",
        note="Margin: the cosine of the image's own caption minus the cosine of the longest.",
        wrong=evidence.column("margin") < 0,
        margin="margin",
        facts=[
            FactColumn("Caption", "caption"),
            FactColumn("Preferred", "longest_caption"),
            FactColumn("Margin", score="margin"),
        ],
        images=one_image(evidence, "An image of {caption}."),
    )


PLOTS = {
    "length-bias": Plot(
        summary="the lead of each caption over the longest, by its length",
        definition="Lead: the cosine of an image with a caption, minus its cosine with the longest of all.",
        draws=(lead_by_length,),
    )
}

SECTION = Section(
    figures=(lead_by_length,), galleries=(beaten,), tables=(wins_by_length,), findings=findings, plots=PLOTS
)
