"""The dimensions that carry the modality gap, and what is left without them."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from clipbench.results import numbers as fmt
from clipbench_reports.drawing.marks import Chart, Line, Mark, Panel, Role, Rule, fraction_axis, log_axis, percent_axis
from clipbench_reports.drawing.models import Panels, Statement, chart, facets
from clipbench_reports.figures._figure import curve_line, why_lacking
from clipbench_reports.page.evidence import ByModel, Evidence, MissingEvidence, ModelEvidence, PlottedCurve, read_each

SHARE, LEFT = "gap_share_by_dimensions", "gap_by_ablation"
KEPT: dict[str, tuple[Role, str]] = {
    SHARE: ("ink", "share of the squared gap"),
    "separability_by_dimensions": ("pair", "accuracy of a linear classifier"),
}
REMOVED: dict[str, tuple[Role, str]] = {
    LEFT: ("ink", "gap, of the whole"),
    "image_retrieval_recall@1_by_ablation": ("image", "recall@1, text → image"),
    "text_retrieval_recall@1_by_ablation": ("text", "recall@1, image → text"),
}
DRAWN = frozenset({"gap_spectrum", *KEPT, *REMOVED})
"""Curves that this figure shows."""


def spectrum(models: Sequence[ModelEvidence]) -> Chart:
    """Return how the gap is spread over dimensions, and gap and recall when the dimensions that carry most are removed.

    Raises:
        MissingEvidence: no run kept a spectrum.
    """
    by_model = read_each(models, _read)
    return chart(
        [_concentration(by_model), _ablation(by_model)],
        by_model.map(_state),
        by_model,
        reading="Above: the cumulative share of the squared distance of the two centroids, by dimensions in the order of "
        "their shares; and the accuracy of a linear classifier of the modality on so many dimensions, on held-out pairs. "
        "Below: the gap and recall@1 when the dimensions that carry most of the gap are removed from all vectors, which "
        "are then normalized again; on the left edge, nothing is removed.",
    )


def _read(evidence: Evidence) -> dict[str, PlottedCurve]:
    curves = evidence.curves([*KEPT, *REMOVED])
    if SHARE not in curves:
        raise MissingEvidence(f"the run kept no spectrum of the gap: {why_lacking(evidence, 'gap_dimensions')}")
    return curves


def _concentration(by_model: ByModel[dict[str, PlottedCurve]]) -> Panels:
    most = Rule(at=0.9, axis="y", role="chance", name="90 %", of=KEPT[SHARE][1])
    n_dimensions = max(curves[SHARE].x[-1] for curves in by_model.all)
    plane = Panel(x=log_axis([1, n_dimensions], "Dimensions kept"), y=fraction_axis("Share, %"), aspect=0.45)

    def marks(curves: Mapping[str, PlottedCurve]) -> list[Mark]:
        return [*(curve_line(curves[name], *KEPT[name]) for name in KEPT if name in curves), most]

    return facets(plane, by_model.map(marks), by_model)


def _ablation(by_model: ByModel[dict[str, PlottedCurve]]) -> Panels:
    """Return the panel of what is left; the point with nothing removed stands at the edge of the logarithmic axis."""

    def lines(curves: Mapping[str, PlottedCurve]) -> list[Line]:
        made = []
        for name, (role, words) in REMOVED.items():
            if name in curves:
                curve = curves[name]
                whole = curve.y[0] or 1.0 if name == LEFT else 1.0
                moved = curve._replace(x=[x or 0.5 for x in curve.x], y=[y / whole for y in curve.y])
                made.append(curve_line(moved, role, words))
        return made

    drawn = by_model.map(lines)
    highest = max((y for own in drawn.values() for line in own for y in line.ys), default=1.0)
    x = log_axis([0.5, max(2.0, *(curves[SHARE].x[-1] for curves in by_model.all))], "Dimensions removed")
    y = fraction_axis("Remaining, %") if highest <= 1 else percent_axis([0, highest], "Remaining, %")
    return facets(Panel(x=replace(x, names=["0", *x.words[1:]]), y=y, aspect=0.45), drawn, by_model)


def _state(curves: Mapping[str, PlottedCurve]) -> Statement:
    """Return how many dimensions carry 90 % of the squared gap, and what is left without the first of them."""
    share, gap, recall = curves[SHARE], curves.get(LEFT), curves.get("image_retrieval_recall@1_by_ablation")
    needed, n = next((x for x, y in zip(share.x, share.y, strict=True) if y >= 0.9), share.x[-1]), share.x[-1]
    carry = "carries" if needed == 1 else "carry"
    title = f"{fmt.counted(int(needed), 'dimension')} of {fmt.count(n)} {carry} 90 % of the squared gap"
    if gap is not None and recall is not None:
        half = next((k for k, y in enumerate(gap.y) if y <= gap.y[0] / 2), len(gap.y) - 1)
        title += (
            f"; with all of them, and without the first {fmt.count(gap.x[half])}, the gap is "
            f"{fmt.number(gap.y[0], 'distance')} and {fmt.number(gap.y[half], 'distance')}, and text-to-image R@1 "
            f"{fmt.percent(recall.y[0])} and {fmt.percent(recall.y[half])} %"
        )
    return Statement(
        title=f"{title}.",
        subject="Dimensions that carry 90 % of the squared gap",
        value=f"{fmt.count(needed)} of {fmt.count(n)}",
    )
