"""The reliability diagram: whether a model's confidence can be believed."""

from collections.abc import Sequence

import numpy as np

from clipbench.results import numbers as fmt
from clipbench_reports.drawing.marks import Bars, Chart, Line, Mark, Panel, fraction_axis
from clipbench_reports.drawing.models import Layer, Statement, facet_chart
from clipbench_reports.figures._figure import curve_line
from clipbench_reports.page.evidence import Evidence, MissingEvidence, ModelEvidence, read_each

N_BINS = 20


def reliability(models: Sequence[ModelEvidence]) -> Chart:
    """Return accuracy against confidence, over the distribution of confidence.

    Raises:
        MissingEvidence: no run kept a reliability curve and the confidence of its samples.
    """
    plane = Panel(x=fraction_axis("Confidence, %"), y=fraction_axis("Accuracy; samples, %"))
    return facet_chart(
        plane,
        read_each(models, _read),
        reading="Each dot is a bin of samples of similar confidence. Below the dashed line the model is overconfident, above "
        "it underconfident. The bars are the distribution of confidence, in percent of all samples.",
    )


def _read(evidence: Evidence) -> Layer:
    curve = evidence.curve("reliability")
    confidence, right = (evidence.column(name).astype(np.float64) for name in ("confidence", "acc1"))
    known = np.isfinite(confidence) & np.isfinite(right)
    if not known.any():
        raise MissingEvidence("no sample has both a confidence and a score")
    counts, edges = np.histogram(confidence[known], bins=N_BINS, range=(0, 1))
    marks: list[Mark] = [
        Bars(edges=edges.tolist(), counts=(counts / known.sum()).tolist(), role="ink", name="samples"),
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
    sure, accuracy = (fmt.percent(float(values[known].mean())) for values in (confidence, right))
    points = ", ".join(f"{fmt.percent(x)} → {fmt.percent(y)}" for x, y in zip(curve.x, curve.y, strict=True))
    statement = Statement(
        title=f"Mean confidence {sure} %, accuracy {accuracy} %.",
        subject="Mean confidence and accuracy",
        value=f"{sure} and {accuracy} %",
        detail=f"Confidence → accuracy by bin, in percent: {points}.",
    )
    return Layer(marks, statement)
