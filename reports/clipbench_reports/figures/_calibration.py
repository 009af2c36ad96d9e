"""The calibration of cosines: the probability of a match within a modality and across the two."""

from collections.abc import Sequence

import numpy as np

from clipbench.results import numbers as fmt
from clipbench_reports.drawing.marks import Chart, Panel, Role, fraction_axis, nice_axis
from clipbench_reports.drawing.models import Layer, Statement, facet_chart
from clipbench_reports.figures._figure import curve_line, lines_of, why_lacking
from clipbench_reports.page.evidence import Evidence, MissingEvidence, ModelEvidence, read_each

KINDS: dict[str, tuple[str, Role]] = {
    "match_by_cosine_image_text": ("image–text", "ink"),
    "match_by_cosine_text_text": ("text–text", "text"),
    "match_by_cosine_image_image": ("image–image", "image"),
}
"""The curves, with the name and the role of each."""


def similarity_calibration(models: Sequence[ModelEvidence]) -> Chart:
    """Return the probability of a match by cosine: of an image and a text, of two texts, of two images.

    Raises:
        MissingEvidence: no kind of match was measured.
    """
    by_model = read_each(models, _read)
    cosines = [x for line in lines_of(by_model) for x in line.xs]
    plane = Panel(x=nice_axis(cosines, "Cosine"), y=fraction_axis("Probability of a match, %"))
    return facet_chart(
        plane,
        by_model,
        reading="The probability that two items belong together, by their cosine, for one match drawn for each non-match. "
        "Where the lines lie apart, one threshold on the cosine cannot serve searches within a modality and across.",
    )


def _read(evidence: Evidence) -> Layer:
    lines = [curve_line(curve, KINDS[name][1], KINDS[name][0]) for name, curve in evidence.curves(KINDS).items()]
    if not lines:
        raise MissingEvidence(
            f"the probability of a match by cosine: {why_lacking(evidence, 'similarity_calibration_error')}"
        )
    even = [_even(line.xs, line.ys) for line in lines]
    middles = ", ".join(f"{line.name} at {cosine}" for line, cosine in zip(lines, even, strict=True))
    error = evidence.evaluation.metrics.get("similarity_calibration_error")
    known = "" if error is None or error.value is None else f" Cosine calibration error {fmt.percent(error.value)} pp."
    statement = Statement(
        title=f"A match becomes more likely than not: {middles}.{known}",
        subject=f"Cosine at which a match becomes more likely than not, {lines[0].name}",
        value=even[0],
    )
    return Layer(lines, statement)


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
