"""How few dimensions make the gap, and what is left without them."""

from dataclasses import replace

from clipbench.results import numbers as fmt
from clipbench.results.record import Curve
from clipbench_reports.drawing.marks import Chart, Line, Mark, Panel, Role, Rule, fraction_axis, log_axis, percent_axis
from clipbench_reports.figures._figure import curve_line, why_lacking
from clipbench_reports.page.evidence import Evidence, MissingEvidence

RECALLS: dict[str, tuple[str, Role]] = {
    "image_retrieval_recall@1_by_ablation": ("recall@1, caption → image", "image"),
    "text_retrieval_recall@1_by_ablation": ("recall@1, image → caption", "text"),
}
SHARE = "gap_share_by_dimensions"
DRAWN = frozenset(
    {
        "gap_spectrum",
        SHARE,
        "separability_by_dimensions",
        "gap_by_ablation",
        *RECALLS,
    }
)
"""Curves that this figure shows."""


def spectrum(evidence: Evidence) -> Chart:
    """Return how the gap is spread over dimensions, and gap and recall when the dimensions that carry most are removed.

    Raises:
        MissingEvidence: the run kept no spectrum.
    """
    if SHARE not in evidence.evaluation.curves:
        raise MissingEvidence(f"the run kept no spectrum of the gap: {why_lacking(evidence, 'gap_dimensions')}")
    share = evidence.curve(SHARE)
    return Chart(
        title=f"{_carried(share)}{_loss(evidence)}.",
        panels=[_concentration(evidence, share), _ablation(evidence, share.x[-1])],
        reading="Above: dimensions in the order of their share of the squared distance of the two means, added up; and how "
        "many vectors a linear classifier tells right by so many dimensions, on pairs it has not seen. Below: what is "
        "left of the gap, and recall@1, when the dimensions that carry most are removed from all vectors, which are "
        "then put at unit length again; on the left edge, nothing is removed.",
        subject="Dimensions that carry 90 % of the squared gap",
        value=f"{fmt.count(_needed(share))} of {fmt.count(share.x[-1])}",
    )


def _carried(share: Curve) -> str:
    """Return how many dimensions carry 90 % of the squared gap."""
    needed = _needed(share)
    carry = "carries" if needed == 1 else "carry"
    return f"{fmt.counted(int(needed), 'dimension')} of {fmt.count(share.x[-1])} {carry} 90 % of the squared gap"


def _needed(share: Curve) -> float:
    return next((x for x, y in zip(share.x, share.y, strict=True) if y >= 0.9), share.x[-1])


def _loss(evidence: Evidence) -> str:
    """Return what removing dimensions does to the gap and to recall, where that was measured."""
    name = "image_retrieval_recall@1_by_ablation"
    if "gap_by_ablation" not in evidence.evaluation.curves or name not in evidence.evaluation.curves:
        return ""
    gap, recall = evidence.curve("gap_by_ablation"), evidence.curve(name)
    half = next((k for k, y in enumerate(gap.y) if y <= gap.y[0] / 2), len(gap.y) - 1)
    return (
        f"; without the first {fmt.count(gap.x[half])} the gap is {fmt.number(gap.y[half], 'distance')} instead of "
        f"{fmt.number(gap.y[0], 'distance')}, and recall@1 of images {fmt.percent(recall.y[half])} instead of "
        f"{fmt.percent(recall.y[0])} %"
    )


def _concentration(evidence: Evidence, share: Curve) -> Panel:
    name = "share of the squared gap"
    marks: list[Mark] = [curve_line(share, "ink", name)]
    if "separability_by_dimensions" in evidence.evaluation.curves:
        told = evidence.curve("separability_by_dimensions")
        marks.append(curve_line(told, "pair", "told by a linear classifier"))
    marks.append(Rule(at=0.9, axis="y", role="chance", name="90 %", of=name))
    return Panel(x=log_axis([1, share.x[-1]], "Dimensions kept"), y=fraction_axis("Share, %"), marks=marks, aspect=0.45)


def _ablation(evidence: Evidence, n_dimensions: float) -> Panel:
    """Return the panel of what is left; the point with nothing removed stands at the edge of the logarithmic axis."""
    curves = evidence.evaluation.curves
    marks: list[Mark] = []
    if "gap_by_ablation" in curves:
        gap = evidence.curve("gap_by_ablation")
        relative = [y / gap.y[0] for y in gap.y] if gap.y[0] else gap.y
        marks.append(_from_the_edge(replace(gap, y=relative), "gap, of the whole", "ink"))
    for name, (words, role) in RECALLS.items():
        if name in curves:
            marks.append(_from_the_edge(evidence.curve(name), words, role))
    highest = max((y for mark in marks if isinstance(mark, Line) for y in mark.ys), default=1.0)
    y = fraction_axis("Left, %") if highest <= 1 else percent_axis([0, highest], "Left, %")
    x = log_axis([0.5, max(2.0, n_dimensions)], "Dimensions removed")
    return Panel(x=replace(x, names=["0", *x.words[1:]]), y=y, marks=marks, aspect=0.45)


def _from_the_edge(curve: Curve, name: str, role: Role) -> Line:
    return curve_line(replace(curve, x=[x or 0.5 for x in curve.x]), role, name)
