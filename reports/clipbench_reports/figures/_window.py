"""What the figures of long captions share: the window of the text tower, and why there may be nothing to draw."""

from markupsafe import Markup

from clipbench_reports.evidence import Evidence
from clipbench_reports.format import Number
from clipbench_reports.svg import Plot, text

TOP = 30
"""Space over a plot for the labels of its upright lines, in pixels."""


def context_of(evidence: Evidence) -> int | None:
    """Return how many tokens the text tower takes, where the run knows."""
    context = evidence.run.result.model.get("context_length")
    return context if isinstance(context, int) else None


def reason_of(evidence: Evidence) -> str:
    """Return why the tokens of captions could not be counted."""
    length = evidence.evaluation.metrics.get("effective_length")
    return (length.reason if length is not None else None) or "the run does not say why"


def upright(plot: Plot, x: Number, words: str, anchor: str) -> Markup:
    """Return a dotted line from foot to head, with its label over it."""
    at, _ = plot.at(x, plot.y.low)
    line = plot.line([x, x], [plot.y.low, plot.y.high], "chance")
    return Markup("").join([line, text(words, at, plot.top - 10, css="soft", anchor=anchor)])
