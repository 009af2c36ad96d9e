"""Whether a model's confidence can be believed."""

import numpy as np
from jaxtyping import Float64

from clipbench.results import numbers as fmt
from clipbench_reports.drawing.marks import Bars, Chart, Line, Mark, Panel, fraction_axis
from clipbench_reports.figures._figure import curve_line
from clipbench_reports.page.evidence import Evidence, MissingEvidence

N_BINS = 20


def reliability(evidence: Evidence) -> Chart:
    """Return accuracy against confidence, over the distribution of confidence.

    Raises:
        MissingEvidence: the run kept no reliability curve or no confidence of its samples.
    """
    curve = evidence.curve("reliability")
    confidence = evidence.column("confidence").astype(np.float64)
    right = evidence.column("acc1").astype(np.float64)
    kept = np.isfinite(confidence) & np.isfinite(right)
    if not kept.any():
        raise MissingEvidence("no sample has both a confidence and a score")
    marks: list[Mark] = [
        _bars(confidence[kept]),
        Line(
            xs=[0, 1],
            ys=[0, 1],
            role="ink",
            name="perfectly calibrated",
            is_dashed=True,
            is_reference=True,
            of="accuracy",
        ),
        curve_line(curve, "ink", "accuracy"),
    ]
    return Chart(
        title=f"On average it is {fmt.percent(float(confidence[kept].mean()))} % sure, "
        f"and right in {fmt.percent(float(right[kept].mean()))} %.",
        panels=[Panel(x=fraction_axis("Confidence, %"), y=fraction_axis("Accuracy; samples, %"), marks=marks)],
        reading="Each dot is a bin of samples of like confidence. Below the dashed line the model is too sure, above it "
        "not sure enough. The columns are how the samples spread over confidence, in percent of all.",
        detail=_detail(curve.x, curve.y),
        subject="Sure and right on average",
        value=f"{fmt.percent(float(confidence[kept].mean()))} and {fmt.percent(float(right[kept].mean()))} %",
    )


def _bars(confidence: Float64[np.ndarray, " n"]) -> Bars:
    counts, edges = np.histogram(confidence, bins=N_BINS, range=(0, 1))
    return Bars(edges=edges.tolist(), counts=(counts / len(confidence)).tolist(), role="ink", name="samples")


def _detail(xs: list[float], ys: list[float]) -> str:
    pairs = ", ".join(f"{fmt.percent(x)} → {fmt.percent(y)}" for x, y in zip(xs, ys, strict=True))
    return f"Confidence → accuracy by bin, in percent: {pairs}."
