"""An explanation of two finished runs, with what the store holds of the images of their samples."""

from pathlib import Path

from clipbench.comparison.explanation import ExplainOptions, Side, explain
from clipbench.comparison.explanation_records import Explanation


def explain_runs(
    base: Side, candidate: Side, *, metric: str | None = None, columns: Path | None = None, seed: int = 0
) -> Explanation:
    """Return where the candidate got worse; ``comparison.explanation`` says how."""
    return explain(base, candidate, ExplainOptions(metric=metric, columns=columns, seed=seed))
