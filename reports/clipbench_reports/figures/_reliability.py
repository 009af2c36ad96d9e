"""The reliability diagram: whether a model's confidence can be believed."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64

from clipbench.results import numbers as fmt
from clipbench_reports.drawing.marks import Bars, Chart, Line, Panel, fraction_axis
from clipbench_reports.drawing.models import Series, Statement, chart, facets
from clipbench_reports.figures._figure import curve_line
from clipbench_reports.page.evidence import Evidence, MissingEvidence, ModelEvidence, PlottedCurve, read_each

N_BINS = 20


class _Reliability(NamedTuple):
    curve: PlottedCurve
    confidence: Float64[np.ndarray, " n"]
    right: Float64[np.ndarray, " n"]


def reliability(models: Sequence[ModelEvidence]) -> Chart:
    """Return accuracy against confidence, over the distribution of confidence.

    Raises:
        MissingEvidence: no run kept a reliability curve and the confidence of its samples.
    """
    found = read_each(models, _read)
    diagonal = Line(
        xs=[0, 1],
        ys=[0, 1],
        role="ink",
        name="perfectly calibrated",
        is_dashed=True,
        is_reference=True,
        of="accuracy",
    )
    series = [
        Series("samples", "ink", found.map(_bars)),
        Series("accuracy", "ink", found.map(lambda each: curve_line(each.curve))),
    ]
    plane = Panel(x=fraction_axis("Confidence, %"), y=fraction_axis("Accuracy; samples, %"))
    return chart(
        [facets(plane, series, found, references=found.map(lambda _: [diagonal]))],
        found.map(_claim),
        found,
        reading="Each dot is a bin of samples of like confidence. Below the dashed line the model is too sure, above it "
        "not sure enough. The columns are how the samples spread over confidence, in percent of all.",
    )


def _read(evidence: Evidence) -> _Reliability:
    curve = evidence.curve("reliability")
    confidence, right = (evidence.column(name).astype(np.float64) for name in ("confidence", "acc1"))
    known = np.isfinite(confidence) & np.isfinite(right)
    if not known.any():
        raise MissingEvidence("no sample has both a confidence and a score")
    return _Reliability(curve, confidence[known], right[known])


def _bars(found: _Reliability) -> Bars:
    counts, edges = np.histogram(found.confidence, bins=N_BINS, range=(0, 1))
    return Bars(edges=edges.tolist(), counts=(counts / len(found.confidence)).tolist(), role="ink")


def _claim(found: _Reliability) -> Statement:
    sure, right = (fmt.percent(float(values.mean())) for values in (found.confidence, found.right))
    points = zip(found.curve.x, found.curve.y, strict=True)
    pairs = ", ".join(f"{fmt.percent(x)} → {fmt.percent(y)}" for x, y in points)
    return Statement(
        title=f"On average it is {sure} % sure, and right in {right} %.",
        subject="Sure and right on average",
        value=f"{sure} and {right} %",
        detail=f"Confidence → accuracy by bin, in percent: {pairs}.",
    )
