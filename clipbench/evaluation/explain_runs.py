"""An explanation of two finished runs, with the measured inputs of their images from the cache."""

from pathlib import Path

from clipbench.comparison.explanation import ExplainOptions, Side, explain
from clipbench.comparison.explanation_records import Explanation
from clipbench.models.encoding.image_inputs import stored_image_inputs


def explain_runs(
    base: Side, candidate: Side, *, metric: str | None = None, columns: Path | None = None, seed: int = 0
) -> Explanation:
    """Return where the candidate got worse, by ``comparison.explanation``."""
    options = ExplainOptions(metric=metric, columns=columns, seed=seed, image_inputs=stored_image_inputs)
    return explain(base, candidate, options)
