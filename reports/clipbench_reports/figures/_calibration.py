"""Whether a cosine means the same within a modality and across the two."""

from collections.abc import Sequence

import numpy as np

from clipbench.results import numbers as fmt
from clipbench_reports.drawing.marks import Chart, Line, Panel, Role, fraction_axis, nice_axis
from clipbench_reports.drawing.models import Series, Statement, chart, facets
from clipbench_reports.figures._figure import curve_line, why_lacking
from clipbench_reports.page.evidence import Evidence, MissingEvidence, ModelEvidence, read_each

KINDS: dict[str, tuple[str, Role]] = {
    "match_by_cosine_image_text": ("image–text", "ink"),
    "match_by_cosine_text_text": ("text–text", "text"),
    "match_by_cosine_image_image": ("image–image", "image"),
}
"""Curves, with the words and the role of each."""


def similarity_calibration(models: Sequence[ModelEvidence]) -> Chart:
    """Return how probable a match is at a cosine: of an image and a text, of two texts, of two images.

    Raises:
        MissingEvidence: no kind of match was measured.
    """
    found = read_each(models, _read)
    lines = found.map(lambda each: each[0])
    series = [
        Series(words, role, {model: own[name] for model, own in lines.items() if name in own})
        for name, (words, role) in KINDS.items()
    ]
    cosines = [x for own in lines.values() for line in own.values() for x in line.xs]
    plane = Panel(x=nice_axis(cosines, "Cosine"), y=fraction_axis("Probability of a match, %"))
    return chart(
        [facets(plane, series, found)],
        found.map(lambda each: _claim(*each)),
        found,
        reading="For one match drawn for each non-match: how probable it is, at a cosine, that the two belong together. Where "
        "the lines lie apart, one threshold on the cosine cannot serve searches within a modality and across.",
    )


def _read(evidence: Evidence) -> tuple[dict[str, Line], float | None]:
    """Return the line of each kind of match that was measured, and the calibration error."""
    lines = {name: curve_line(evidence.curve(name)) for name in KINDS if name in evidence.evaluation.curves}
    if not lines:
        raise MissingEvidence(
            f"the probability of a match by cosine: {why_lacking(evidence, 'similarity_calibration_error')}"
        )
    error = evidence.evaluation.metrics.get("similarity_calibration_error")
    return lines, None if error is None else error.value


def _claim(lines: dict[str, Line], error: float | None) -> Statement:
    even = {KINDS[name][0]: _even(line.xs, line.ys) for name, line in lines.items()}
    title = (
        f"A match becomes more likely than not: {', '.join(f'{words} at {cosine}' for words, cosine in even.items())}."
    )
    if error is not None:
        title += f" By kind, a cosine is worth {fmt.percent(error)} pp more or less on average."
    first, cosine = next(iter(even.items()))
    return Statement(
        title=title, subject=f"Cosine at which a match becomes more likely than not, {first}", value=cosine
    )


def _even(xs: Sequence[float], ys: Sequence[float]) -> str:
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
