"""The window of the text tower in the figures of long captions, and the reason why there may be nothing to draw."""

from clipbench_reports.drawing.marks import Mark, Rule
from clipbench_reports.page.evidence import Evidence


def context_of(evidence: Evidence) -> int | None:
    """Return how many tokens the text tower takes, where the run knows."""
    context = evidence.run.result.model.get("context_length")
    return context if isinstance(context, int) else None


def reason_of(evidence: Evidence) -> str:
    """Return why the tokens of captions could not be counted."""
    length = evidence.evaluation.metrics.get("effective_length")
    return (length.reason if length is not None else None) or "the run does not say why"


def window(context: int | None) -> list[Mark]:
    """Return an upright line at the end of the window; nothing where it is not known."""
    return [] if context is None else [Rule(at=context, axis="x", role="ink", name="end of the window")]
