"""What the figures of long captions share: the window of the text tower, and why there may be nothing to draw."""

from markupsafe import Markup

from clipbench_reports.evidence import Evidence
from clipbench_reports.svg import Plot, text

TOP = 30
"""Space over a plot for the label of its upright line, in pixels."""


def context_of(evidence: Evidence) -> int | None:
    """Return how many tokens the text tower takes, where the run knows."""
    context = evidence.run.result.model.get("context_length")
    return context if isinstance(context, int) else None


def reason_of(evidence: Evidence) -> str:
    """Return why the tokens of captions could not be counted."""
    length = evidence.evaluation.metrics.get("effective_length")
    return (length.reason if length is not None else None) or "the run does not say why"


def window(plot: Plot, context: int | None) -> Markup:
    """Return a dotted upright line at the end of the window, with its label over it; nothing where it is not known."""
    if context is None:
        return Markup("")
    at, _ = plot.at(context, plot.y.low)
    line = plot.line([context, context], [plot.y.low, plot.y.high], "chance")
    return Markup("").join([line, text("window", at, plot.top - 10, css="soft", anchor="end")])
