"""What happens when images and texts are moved: along the gap, or by a correction made afterwards."""

import math
from collections.abc import Mapping
from typing import NamedTuple

from clipbench.results import numbers as fmt
from clipbench_reports.drawing.marks import Chart, Mark, Panel, Role, Rule, nice_axis, percent_axis, tight_axis
from clipbench_reports.figures._figure import curve_line, why_lacking
from clipbench_reports.page.evidence import Evidence, MissingEvidence

SHIFTS: dict[str, tuple[str, Role, bool]] = {
    "shift_both": ("both moved by half", "ink", False),
    "shift_image": ("images moved", "image", False),
    "shift_text": ("texts moved", "text", False),
}
CORRECTIONS: dict[str, tuple[str, Role, bool]] = {
    "centring": ("centred", "ink", False),
    "standardising": ("standardised", "pair", False),
    "collapse": ("centred, length kept", "ink", True),
}
"""Ways to move vectors: the words, the role and whether the line is dashed."""


class _Moved(NamedTuple):
    """A family of ways to move vectors."""

    ways: Mapping[str, tuple[str, Role, bool]]
    label: str
    """Of the axis that says how far."""
    marks_gap: bool


class Quantity(NamedTuple):
    """What is measured anew after the vectors were moved."""

    label: str
    is_percent: bool


QUANTITIES = {
    "gap": Quantity("Gap", False),
    "loss": Quantity("Contrastive loss", False),
    "image_retrieval_recall@1": Quantity("Image retrieval R@1, %", True),
    "text_retrieval_recall@1": Quantity("Text retrieval R@1, %", True),
    "acc1": Quantity("Zero-shot acc1, %", True),
}
"""Each has a panel; recall at more than the first place is in the result only."""

MOVED = frozenset(
    f"{quantity}_by_{way}"
    for way in (*SHIFTS, *CORRECTIONS)
    for quantity in (*QUANTITIES, *(f"{side}_retrieval_recall@{k}" for side in ("image", "text") for k in (5, 10)))
)
"""Curves that these figures show, or that are more of the same; each of zero-shot has the name of its label set before it."""


def shift(evidence: Evidence) -> Chart:
    """Return gap, loss, recall and accuracy as the modalities are moved along the gap vector (Liang et al., 2022).

    Raises:
        MissingEvidence: the run holds no such curves.
    """
    found = _panels(evidence, _Moved(SHIFTS, "Distance moved", marks_gap=True))
    return Chart(
        title=_closing(evidence),
        panels=found,
        n_columns=2,
        reading="Vectors are moved along the unit gap vector by the distance on the axis, towards each other to the right, "
        "and put at unit length again; all is then scored anew, the loss over all pairs shown at the model’s own "
        "temperature.",
        subject="The smallest gap that is reached where both are moved, and the gap as it is",
        value=" and ".join(fmt.number(value, "distance") for value in _gaps(evidence)),
    )


def corrections(evidence: Evidence) -> Chart:
    """Return gap, loss, recall and accuracy under corrections that are fitted on one half, scored on the other.

    Raises:
        MissingEvidence: the run holds no such curves.
    """
    found = _panels(evidence, _Moved(CORRECTIONS, "Strength of the correction", marks_gap=False))
    recall = evidence.curve("image_retrieval_recall@1_by_centring")
    before, after = fmt.percent(recall.y[0]), fmt.percent(recall.y[-1])
    did = (
        f"leaves recall@1 of images at {after}"
        if before == after
        else f"takes recall@1 of images from {before} to {after}"
    )
    return Chart(
        title=f"Centring each modality {did} %.",
        panels=found,
        n_columns=2,
        reading="The mean of each modality (and its spread by dimension, where vectors are standardised) is taken from one "
        "half of the pairs, subtracted in part or, at 1, in whole from the other half, which is then scored anew. "
        "Centred and standardised vectors are put at unit length again; where the length is kept, scores are dot "
        "products.",
        subject="Recall@1 of images before and after centring each modality",
        value=f"{before} and {after} %",
    )


def _closing(evidence: Evidence) -> str:
    """Return how small the gap becomes, and where the loss is least, both modalities being moved."""
    gap, loss = (_finite(evidence, f"{name}_by_shift_both") for name in ("gap", "loss"))
    if 0.0 not in gap or 0.0 not in loss:
        raise MissingEvidence("the gap or the loss is not known where nothing is moved")
    best = min(loss, key=lambda x: (loss[x], abs(x)))
    here = fmt.number(loss[0.0], "nats")
    end = ", the farthest that was tried" if best in (min(loss), max(loss)) else ""
    where = (
        f"{fmt.significant(best)}{end} ({fmt.number(loss[best], 'nats')}; unmoved {here})"
        if best
        else f"0, unmoved ({here})"
    )
    return (
        f"Both moved, the gap of {fmt.number(gap[0.0], 'distance')} becomes {fmt.number(min(gap.values()), 'distance')} at the "
        f"smallest; of the distances tried, the loss is least at {where}."
    )


def _gaps(evidence: Evidence) -> tuple[float, float]:
    """Return the smallest gap that is reached, both modalities being moved, and the gap of nothing moved."""
    gap = _finite(evidence, "gap_by_shift_both")
    return min(gap.values()), gap[0.0]


def _finite(evidence: Evidence, name: str) -> dict[float, float]:
    """Return the finite heights of a curve, by distance."""
    curve = evidence.curve(name)
    return {x: y for x, y in zip(curve.x, curve.y, strict=True) if math.isfinite(y)}


def _panels(evidence: Evidence, moved: _Moved) -> list[Panel]:
    """Return a panel a quantity, and one a label set for zero-shot accuracy."""
    curves, end = evidence.evaluation.curves, f"_by_{next(iter(moved.ways))}"
    if f"gap{end}" not in curves:
        raise MissingEvidence(f"the run holds no curves by {moved.label.lower()}: {why_lacking(evidence, 'gap')}")
    names = {name: name for name in QUANTITIES}
    names |= {name.removesuffix(end): "acc1" for name in curves if name.endswith(f"/acc1{end}")}
    found = [(name, quantity) for name, quantity in names.items() if f"{name}{end}" in curves]
    return [_panel(evidence, moved, name, QUANTITIES[quantity]) for name, quantity in found]


def _panel(evidence: Evidence, moved: _Moved, name: str, quantity: Quantity) -> Panel:
    lines = [
        curve_line(evidence.curve(f"{name}_by_{way}"), role, words, is_dashed=is_dashed)
        for way, (words, role, is_dashed) in moved.ways.items()
        if f"{name}_by_{way}" in evidence.evaluation.curves
    ]
    values = [y for line in lines for y in line.ys]
    return Panel(
        x=tight_axis([x for line in lines for x in line.xs], moved.label),
        y=(percent_axis if quantity.is_percent else nice_axis)(values, quantity.label),
        marks=[*_uprights(evidence, moved), *lines],
        title=f"Label set {name.rpartition('/')[0]}" if "/" in name else "",
    )


def _uprights(evidence: Evidence, moved: _Moved) -> list[Mark]:
    if not moved.marks_gap:
        return []
    gap = evidence.evaluation.metrics.get("gap")
    places, name = ([0, gap.value], "unmoved, and moved by the gap") if gap and gap.value else ([0], "unmoved")
    return [Rule(at=place, axis="x", role="chance", name=name) for place in places]
