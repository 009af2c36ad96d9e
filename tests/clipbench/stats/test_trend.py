"""The line of accuracies on shifted data: against scipy's regression, and how often intervals of residuals hold the
truth.
"""

import numpy as np
import pytest
from scipy.special import expit, logit
from scipy.stats import linregress, t

from clipbench.errors import DataError
from clipbench.stats.intervals import wilson
from clipbench.stats.trend import Bounded, Trend


def test_the_line_is_that_of_least_squares_on_logits() -> None:
    rng = np.random.default_rng(0)
    original = rng.uniform(0.2, 0.9, 40)
    shifted = expit(0.9 * logit(original) - 0.5 + rng.normal(0, 0.1, 40))
    line, oracle = Trend.fit(original, shifted), linregress(logit(original), logit(shifted))
    assert (line.slope, line.intercept) == pytest.approx((oracle.slope, oracle.intercept))
    half = (
        t.ppf(0.975, 38) * oracle.intercept_stderr
    )  # where the line crosses the axis, its doubt is that of its intercept
    assert line.band(0.5) == pytest.approx((expit(oracle.intercept - half), expit(oracle.intercept + half)))


def test_what_has_no_logit_is_left_out() -> None:
    original = np.array([0.0, 0.3, 0.4, 0.5, 0.6, 0.7, np.nan, 1.0, 0.8])
    shifted = np.array([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.5, 0.9, 0.0])
    assert Trend.fit(original, shifted).n == 5


def test_an_accuracy_without_a_logit_has_no_residual() -> None:
    line = Trend.fit(np.linspace(0.2, 0.8, 9), np.linspace(0.1, 0.7, 9) ** 1.1)
    with pytest.raises(DataError, match="an accuracy of 1 has no logit"):
        line.residual(Bounded(1.0, 0.9, 1.0), Bounded(0.5, 0.4, 0.6))


@pytest.mark.parametrize(("n_images", "n_models", "at"), [(500, 85, 0.63), (10_000, 12, 0.75), (10_000, 85, 0.08)])
def test_the_interval_of_a_residual_covers_the_true_one(n_images: int, n_models: int, at: float) -> None:
    """Simulate models around a line, and one that truly lies 5 points above it: near the others, or far beyond them."""
    rng, n_trials, covered = np.random.default_rng(1), 300, 0
    originals = np.linspace(0.55, 0.85, n_models)
    true = expit(0.92 * logit(at) - 0.5) + 0.05
    for _ in range(n_trials):
        shifted = expit(0.92 * logit(originals) - 0.5 + rng.normal(0, 0.05, n_models))
        line = Trend.fit(*(rng.binomial(n_images, share) / n_images for share in (originals, shifted)))
        one, other = (float(rng.binomial(n_images, share)) for share in (at, true))
        bounded = (Bounded(hits / n_images, *wilson(hits, n_images)[:2]) for hits in (one, other))  # type: ignore[arg-type]
        _, interval = line.residual(*bounded)
        assert interval.low is not None and interval.high is not None
        covered += interval.low <= 0.05 <= interval.high
    assert 0.92 <= covered / n_trials <= 0.99
