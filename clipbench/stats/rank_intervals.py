"""Ranks of models on the same samples, with intervals that contain the true ranks of all models at once. All pure.

A model's rank is one more than the number of models that are better. Its interval counts only what tests show: a model
is at best one rank below those that are shown to be better, and at worst one above those that are shown to be worse.
The intervals contain all true ranks if no test makes a false claim, so that the tests of all pairs are one family
(Mogstad, Romano, Shaikh and Wilhelm, Review of Economic Studies 91 (2024)).

Each pair has the test of a mean that may be skewed (``stats.mean_law``). Its correction takes the largest of all pairs,
step by step from the surest pair down, under normal laws with the correlations of the pairs. So models that are nearly
copies of each other cost no power, as they do with a correction for the number of pairs. experiments/coverage.md has
simulated rates.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float64, Int64

from clipbench.metrics.similarity import Pairs
from clipbench.stats.clusters import NEGLIGIBLE, Clusters, Values, cluster_codes, cluster_sums
from clipbench.stats.groups import step_down_p_values
from clipbench.stats.intervals import SHARES, Interval, applicable_range, mean_interval
from clipbench.stats.mean_law import MeanLaws, law_of_mean
from clipbench.stats.significance import ALPHA

N_DRAWS = 5_000
"""Draws of the largest of all pairs: a p-value has a step of 1 / 5,001, enough for 20 tasks together."""
MIN_NEW_TASKS = 6
"""Tasks that a statement about new tasks needs."""


class RankBounds(NamedTuple):
    """The rank of each model, and the ranks that are possible for it."""

    rank: Float64[np.ndarray, " n_models"]
    """Rank by value. Equal models share the mean of their ranks."""
    low: Int64[np.ndarray, " n_models"]
    """Best rank that is possible."""
    high: Int64[np.ndarray, " n_models"]


def model_pairs(n_models: int) -> Pairs:
    """Return the rows and columns of all pairs of models, each pair once."""
    first, second = np.triu_indices(n_models, 1)
    return first, second


def pair_p_values(
    credits: Float64[np.ndarray, "n n_models"], clusters: Clusters, rng: np.random.Generator, *, n_draws: int = N_DRAWS
) -> Float64[np.ndarray, " n_pairs"]:
    """Return the p-values of the difference of each pair of models, corrected over all pairs.

    Args:
        credits: of each sample and model.
        clusters: the cluster of each sample, None if each sample is its own.
        rng: draws the largest of all pairs.

    Example:
        >>> credits = np.repeat([[1.0, 1.0, 0.0], [0.0, 0.0, 0.0]], [12, 8], axis=0)
        >>> p_values = pair_p_values(credits, None, np.random.default_rng(0))
        >>> (p_values < 0.01).tolist()  # the first two models are equal, both are better than the third
        [False, True, True]
    """
    from scipy.special import ndtr

    first, second = model_pairs(credits.shape[1])
    largest = None if applicable_range(SHARES, credits.ravel()) is None else 1.0
    changes = credits[:, first] - credits[:, second]
    laws = (_law(column, clusters, largest) for column in changes.T)
    sizes = np.concatenate([part.sizes() for part in MeanLaws.stacks(laws)])
    drawn = np.abs(_drawn_pairs(credits, clusters, rng, n_draws))
    return np.maximum(2 * ndtr(-sizes), step_down_p_values(sizes, drawn))


def _law(changes: Values, clusters: Clusters, largest: float | None) -> MeanLaws:
    mean = float(changes.mean())
    return law_of_mean(mean, changes - mean, cluster_codes(clusters), largest=largest)


def _drawn_pairs(
    credits: Float64[np.ndarray, "n n_models"], clusters: Clusters, rng: np.random.Generator, n_draws: int
) -> Float[np.ndarray, "n_pairs n_draws"]:
    """Return normal differences of all pairs, each with a variance of 1, that correlate as the models' do."""
    sums = np.column_stack([cluster_sums(column - column.mean(), clusters) for column in credits.T])
    products = sums.T @ sums
    spread, directions = np.linalg.eigh(products)
    totals = directions * np.sqrt(np.maximum(spread, 0.0)) @ rng.standard_normal((len(spread), n_draws))
    first, second = model_pairs(len(spread))
    variances = products[first, first] + products[second, second] - 2 * products[first, second]
    return (totals[first] - totals[second]) / np.sqrt(np.maximum(variances, NEGLIGIBLE))[:, None]


def rank_bounds(
    skill: Float64[np.ndarray, " n_models"], p_values: Float64[np.ndarray, " n_pairs"], *, alpha: float = ALPHA
) -> RankBounds:
    """Return the ranks of models with the bounds that tests of all pairs support.

    Args:
        skill: value of each model, the higher the better.
        p_values: of all pairs in the order of ``model_pairs``, corrected over them; NaN if a pair was not tested.
        alpha: chance that any bound is wrong.

    Example:
        >>> bounds = rank_bounds(np.array([0.9, 0.7, 0.7, 0.2]), np.array([0.01, 0.2, 0.001, 1.0, 0.01, 0.01]))
        >>> bounds.rank.tolist(), bounds.low.tolist(), bounds.high.tolist()
        ([1.0, 2.5, 2.5, 4.0], [1, 2, 1, 4], [2, 3, 3, 4])
    """
    from scipy.stats import rankdata

    n_models = len(skill)
    is_better = skill[:, None] > skill
    is_shown = np.zeros((n_models, n_models), np.bool)
    first, second = model_pairs(n_models)
    is_shown[first, second] = is_shown[second, first] = p_values <= alpha
    return RankBounds(
        rank=np.asarray(rankdata(-skill)),
        low=1 + (is_better & is_shown).sum(axis=0),
        high=n_models - (is_better & is_shown).sum(axis=1),
    )


def new_task_interval(ranks: Float64[np.ndarray, " n_tasks"], n_models: int, *, alpha: float = ALPHA) -> Interval:
    """Return the interval of a model's mean rank over all tasks of which these are a sample.

    It is the interval of the mean fraction of other models that are better, which is between 0 and 1. The intervals of
    all models contain their means at once, by Bonferroni's correction.

    Args:
        ranks: of the model on each task, at least ``MIN_NEW_TASKS``.
    """
    if len(ranks) < MIN_NEW_TASKS:
        return Interval(None, None, f"fewer than {MIN_NEW_TASKS} tasks")
    low, high, method = mean_interval((ranks - 1) / (n_models - 1), confidence=1 - alpha / n_models)
    assert low is not None and high is not None, ranks
    return Interval(1 + (n_models - 1) * low, 1 + (n_models - 1) * high, method)
