"""Whether a model's confidence can be believed."""

import numpy as np

from clipbench_reports import format as fmt
from clipbench_reports.evidence import Evidence, Lacking
from clipbench_reports.figures._figure import Figure, figure
from clipbench_reports.svg import Plot, element, fraction_axis

N_BINS = 20
BAR_SHARE = 0.22
"""Height of the tallest confidence bar, as a share of the plot."""


def reliability(evidence: Evidence) -> Figure:
    """Return accuracy against confidence, over the distribution of confidence.

    Raises:
        Lacking: the run kept no reliability curve or no confidence of its samples.
    """
    curve = evidence.curve("reliability")
    confidence = evidence.column("confidence").astype(np.float64)
    right = evidence.column("acc1").astype(np.float64)
    kept = np.isfinite(confidence) & np.isfinite(right)
    if not kept.any():
        raise Lacking("no sample has both a confidence and a score")
    plot = Plot(x=fraction_axis("Confidence, %"), y=fraction_axis("Right, %"))
    children = [plot.frame(), _bars(plot, confidence[kept]), plot.line([0, 1], [0, 1], "chance")]
    if curve.low and curve.high:
        children.append(plot.band(curve.x, curve.low, curve.high, "ink"))
    children += [plot.line(curve.x, curve.y, "ink"), plot.dots(curve.x, curve.y, "ink")]
    return figure(
        f"On average it is {fmt.percent(float(confidence[kept].mean()))} % sure, "
        f"and right in {fmt.percent(float(right[kept].mean()))} %.",
        children,
        height=plot.height,
        reading="Each dot is a bin of samples of like confidence. On the dotted line confidence is accuracy; below it "
        "the model is too sure, above it not sure enough. Grey bars: how the samples spread over confidence.",
        detail=_detail(curve.x, curve.y),
    )


def _bars(plot: Plot, confidence: np.ndarray) -> str:
    shares, edges = np.histogram(confidence, bins=N_BINS, range=(0, 1))
    tallest = max(1, int(shares.max()))
    data = ""
    for share, low, high in zip(shares, edges[:-1], edges[1:], strict=True):
        if share:
            (left, top), (right, foot) = plot.at(low, BAR_SHARE * share / tallest), plot.at(high, 0)
            data += f"M{left + 0.5:.1f} {foot:.1f}V{top:.1f}H{right - 0.5:.1f}V{foot:.1f}Z"
    return element("path", d=data, css="bar")


def _detail(xs: list[float], ys: list[float]) -> str:
    pairs = ", ".join(f"{fmt.percent(x)} → {fmt.percent(y)}" for x, y in zip(xs, ys, strict=True))
    return f"Confidence → accuracy by bin, in percent: {pairs}."
