"""Whether a cosine means the same within a modality and across the two."""

import numpy as np

from clipbench.results import numbers as fmt
from clipbench_reports.drawing.marks import Chart, Panel, Role, fraction_axis, nice_axis
from clipbench_reports.figures._figure import curve_line, why_lacking
from clipbench_reports.page.evidence import Evidence, MissingEvidence

KINDS: dict[str, tuple[str, Role]] = {
    "match_by_cosine_image_text": ("image–text", "ink"),
    "match_by_cosine_text_text": ("text–text", "text"),
    "match_by_cosine_image_image": ("image–image", "image"),
}
"""Curves, with the words and the role of each."""


def similarity_calibration(evidence: Evidence) -> Chart:
    """Return how probable a match is at a cosine: of an image and a text, of two texts, of two images.

    Raises:
        MissingEvidence: no kind of match was measured.
    """
    known = [name for name in KINDS if name in evidence.evaluation.curves]
    error = evidence.evaluation.metrics.get("similarity_calibration_error")
    if not known:
        raise MissingEvidence(
            f"the probability of a match by cosine: {why_lacking(evidence, 'similarity_calibration_error')}"
        )
    lines = [curve_line(evidence.curve(name), KINDS[name][1], KINDS[name][0]) for name in known]
    middles = ", ".join(f"{line.name} at {_even(list(line.xs), list(line.ys))}" for line in lines)
    value = error.value if error is not None else None
    return Chart(
        title=f"A match becomes more likely than not: {middles}."
        + ("" if value is None else f" By kind, a cosine is worth {fmt.percent(value)} pp more or less on average."),
        panels=[
            Panel(
                x=nice_axis([x for line in lines for x in line.xs], "Cosine"),
                y=fraction_axis("Probability of a match, %"),
                marks=lines,
            )
        ],
        reading="For one match drawn for each non-match: how probable it is, at a cosine, that the two belong together. Where "
        "the lines lie apart, one threshold on the cosine cannot serve searches within a modality and across.",
        subject=f"Cosine at which a match becomes more likely than not, {lines[0].name}",
        value=_even(list(lines[0].xs), list(lines[0].ys)),
    )


def _even(xs: list[float], ys: list[float]) -> str:
    """Return the cosine at which a line crosses one half, upwards; none where it crosses it more than once, or never.

    Example:
        >>> _even([0.0, 0.2], [0.1, 0.9]), _even([0.0, 0.1, 0.2], [0.6, 0.4, 0.6]), _even([0.0, 0.1], [0.6, 0.7])
        ('0.1000', 'no one cosine', 'no one cosine')
    """
    steps = [k for k in range(1, len(ys)) if (ys[k - 1] >= 0.5) != (ys[k] >= 0.5)]
    if len(steps) != 1 or ys[0] >= 0.5:
        return "no one cosine"
    k = steps[0]
    return fmt.number(float(np.interp(0.5, ys[k - 1 : k + 1], xs[k - 1 : k + 1])), "cosine")
