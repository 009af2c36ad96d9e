"""Whether a cosine means the same within a modality and across the two."""

from clipbench_reports import format as fmt
from clipbench_reports.drawing import Figure, Panel, Role, fraction_axis, nice_axis
from clipbench_reports.evidence import Evidence, Lacking
from clipbench_reports.figures._figure import curve_line

KINDS: dict[str, tuple[str, Role]] = {
    "match_by_cosine_image_text": ("image–text", "ink"),
    "match_by_cosine_text_text": ("text–text", "text"),
    "match_by_cosine_image_image": ("image–image", "image"),
}
"""Curves, with the words and the role of each."""


def similarity_calibration(evidence: Evidence) -> Figure:
    """Return how probable a match is at a cosine: of an image and a text, of two texts, of two images.

    Raises:
        Lacking: no kind of match was measured.
    """
    known = [name for name in KINDS if name in evidence.evaluation.curves]
    error = evidence.evaluation.metrics.get("similarity_calibration_error")
    if not known:
        reason = error.reason if error is not None and error.reason else "the run holds no such curves"
        raise Lacking(f"the probability of a match by cosine ({reason})")
    lines = [curve_line(evidence.curve(name), KINDS[name][1], KINDS[name][0]) for name in known]
    middles = ", ".join(f"{line.name} at {_half(list(line.xs), list(line.ys))}" for line in lines)
    value = error.value if error is not None else None
    return Figure(
        title=f"A match is as likely as not: {middles}."
        + ("" if value is None else f" The same cosine is worth {fmt.percent(value)} points more or less by kind."),
        panels=[
            Panel(
                x=nice_axis([x for line in lines for x in line.xs], "Cosine"),
                y=fraction_axis("Probability of a match, %"),
                marks=lines,
            )
        ],
        reading="For one match drawn for each non-match: how probable it is, at a cosine, that the two belong together. Where "
        "the lines lie apart, one threshold on the cosine cannot serve searches within a modality and across.",
    )


def _half(xs: list[float], ys: list[float]) -> str:
    """Return the least cosine at which a match is as likely as not."""
    return next((fmt.significant(x) for x, y in zip(xs, ys, strict=True) if y >= 0.5), "no cosine")
