"""Calibration: whether a model's confidence can be believed, and what a cosine says within a modality and across."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Float64

from clipbench.metrics import reliability as binned
from clipbench.results import numbers as fmt
from clipbench.results.numbers import Number
from clipbench_reports.drawing.marks import Bars, Chart, Line, Mark, Panel, Role, fraction_axis, nice_axis
from clipbench_reports.drawing.models import Layer, Statement, facet_chart
from clipbench_reports.figures._figure import curve_line, lines_of, why_lacking
from clipbench_reports.page.evidence import Evidence, MissingEvidence, ModelEvidence, PlottedCurve, read_each

N_BINS = 20
KINDS: dict[str, tuple[str, Role]] = {
    "match_by_cosine_image_text": ("image–text", "ink"),
    "match_by_cosine_text_text": ("text–text", "text"),
    "match_by_cosine_image_image": ("image–image", "image"),
}
"""The curves, with the name and the role of each."""


def reliability(models: Sequence[ModelEvidence]) -> Chart:
    """Return accuracy against confidence, over the distribution of confidence.

    Raises:
        MissingEvidence: no run kept a reliability curve and the confidence of its samples.
    """
    plane = Panel(x=fraction_axis("Confidence, %"), y=fraction_axis("Accuracy; samples, %"))
    return facet_chart(
        plane,
        read_each(models, _read_confidence),
        reading="Each dot is a bin of samples of similar confidence, as large as they are many. Below the dashed line the model is overconfident, above "
        "it underconfident. The bars are the distribution of confidence, in percent of all samples.",
    )


def _read_confidence(evidence: Evidence) -> Layer:
    if "reliability" not in evidence.evaluation.curves:
        raise MissingEvidence(f"the run holds no confidences: {why_lacking(evidence, 'ece')}")
    curve = evidence.curve("reliability")
    confidence, right = (evidence.numbers(name) for name in ("confidence", "acc1"))
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
        replace(curve_line(curve, "ink", "accuracy"), weights=_weights(curve, confidence[known], right[known])),
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


def _weights(
    curve: PlottedCurve, confidence: Float64[np.ndarray, " n"], right: Float64[np.ndarray, " n"]
) -> list[Number]:
    """Return the samples in each bin of a reliability curve; nothing where its bins are not those that samples make."""
    counts = binned(confidence, right).n_samples
    filled = counts[counts > 0].tolist()
    return filled if len(filled) == len(curve.x) else []


def similarity_calibration(models: Sequence[ModelEvidence]) -> Chart:
    """Return the probability of a match by cosine: of an image and a text, of two texts, of two images.

    Raises:
        MissingEvidence: no kind of match was measured.
    """
    by_model = read_each(models, _read_matches)
    cosines = [x for line in lines_of(by_model) for x in line.xs]
    plane = Panel(x=nice_axis(cosines, "Cosine"), y=fraction_axis("Probability of a match, %"))
    return facet_chart(
        plane,
        by_model,
        reading="The probability that two items belong together, by their cosine, for one match drawn for each non-match. "
        "Where the lines lie apart, one threshold on the cosine cannot serve searches within a modality and across.",
    )


def _read_matches(evidence: Evidence) -> Layer:
    lines = [curve_line(curve, KINDS[name][1], KINDS[name][0]) for name, curve in evidence.curves(KINDS).items()]
    if not lines:
        raise MissingEvidence(
            f"the probability of a match by cosine: {why_lacking(evidence, 'similarity_calibration_error')}"
        )
    even = [_even(line.xs, line.ys) for line in lines]
    middles = ", ".join(f"{line.name} {cosine}" for line, cosine in zip(lines, even, strict=True))
    error = evidence.evaluation.metrics.get("similarity_calibration_error")
    known = "" if error is None or error.value is None else f" Cosine calibration error {fmt.percent(error.value)} pp."
    statement = Statement(
        title=f"Cosine at which the probability of a match is one half: {middles}.{known}",
        subject=f"Cosine at which the probability of a match is one half, {lines[0].name}",
        value=even[0],
        reading=_without_line(evidence),
    )
    return Layer(lines, statement)


def _without_line(evidence: Evidence) -> str:
    """Return the kinds of pairs that have no line, with the reasons; nothing where all have one."""
    errors = {name: f"{name.removeprefix('match_by_cosine_')}_calibration_error" for name in KINDS}
    lacking = [
        f"{words}: {why_lacking(evidence, errors[name])}"
        for name, (words, _) in KINDS.items()
        if name not in evidence.evaluation.curves
    ]
    return f"No line for {'; '.join(lacking)}." if lacking else ""


def _even(xs: Sequence[float], ys: Sequence[float]) -> str:
    """Return the cosine at which a line crosses one half, upwards; none where it crosses it more than once, or never.

    Example:
        >>> _even([0.0, 0.2], [0.1, 0.9]), _even([0.0, 0.1, 0.2], [0.6, 0.4, 0.6]), _even([0.0, 0.1], [0.6, 0.7])
        ('0.1000', 'no single cosine', 'no single cosine')
    """
    steps = [k for k in range(1, len(ys)) if (ys[k - 1] >= 0.5) != (ys[k] >= 0.5)]
    if len(steps) != 1 or ys[0] >= 0.5:
        return "no single cosine"
    k = steps[0]
    return fmt.number(float(np.interp(0.5, ys[k - 1 : k + 1], xs[k - 1 : k + 1])), "cosine")
