"""The test of one metric of two models on the same samples, for each kind of metric."""

from collections.abc import Callable, Mapping
from functools import partial

import numpy as np
import pandas

from clipbench.comparison.align import Tables
from clipbench.comparison.metric_difference import Difference
from clipbench.comparison.paired_tests import difference
from clipbench.results.record import Metric
from clipbench.stats.estimators import Estimator
from clipbench.stats.intervals import STATISTIC_RESAMPLES
from clipbench.stats.significance import N_EXCHANGES
from rows import Reach, Row, in_turns, times

SAMPLES = {"small": 2_000, "default": 50_000, "full": 50_000}
CAPTIONS = 5
"""Samples of a cluster, such as the captions of an image."""
LENGTHS = [4.0, 8.0, 16.0, 32.0]


def samples(n: int, seed: int) -> pandas.DataFrame:
    """Return the samples of a model: hits, credits, ranks, cosines, confidences and influences."""
    rng = np.random.default_rng(seed)
    shared = np.random.default_rng(99).random(n)  # of both models: they are right about the same samples
    mixed = 0.8 * shared + 0.2 * rng.random(n) - 0.01 * seed
    table = {
        "hit": (mixed < 0.6).astype(float),
        "credit": np.round(1 - mixed, 2),
        "cosine": 0.3 - 0.2 * mixed,
        "rank": np.ceil(1000 * mixed**3),
        "confidence": np.clip(1 - mixed / 2, 0, 1),
        "influence": mixed - mixed.mean(),
        "part": np.floor(100 * shared),
        "squared": mixed**2 - (mixed**2).mean(),
    }
    table |= {f"hit@{length:g}": (mixed < 0.15 + length / 64).astype(float) for length in LENGTHS}
    return pandas.DataFrame(table, index=[f"sample {number:06d}" for number in range(n)])


def kinds() -> dict[str, Metric]:
    """Return a metric of each kind that has a test of its own."""

    def estimated(name: str, *columns: str, **parameters: object) -> Metric:
        return Metric(value=0.5, unit="rank", statistic=Estimator(name, columns, parameters).record())

    return {
        "hits": Metric(value=0.6, unit="fraction", column="hit"),
        "credits": Metric(value=0.6, unit="fraction", column="credit"),
        "cosines": Metric(value=0.2, unit="cosine", column="cosine"),
        "influences": Metric(value=0.5, unit="distance", influence="influence"),
        "mean over parts": estimated("mean_over_parts", "hit", "part"),
        "distance": Metric(value=0.5, unit="distance", influence="influence", squared_influence="squared", chance=0.1),
        "median": estimated("median", "rank"),
        "calibration error": estimated("expected_calibration_error", "confidence", "hit"),
        "length reached": estimated(
            "first_length_reaching", *(f"hit@{length:g}" for length in LENGTHS), lengths=LENGTHS, share=0.9
        ),
    }


def works(n: int) -> Mapping[str, Callable[[], object]]:
    """Return the comparison of each kind of metric, of independent samples and of clusters."""
    base, candidate = samples(n, 0), samples(n, 1)
    clusters = [f"image {number // CAPTIONS:06d}" for number in range(n)]
    independent = Tables(base, candidate)
    clustered = Tables(base.assign(cluster=clusters), candidate.assign(cluster=clusters))
    found = {name: partial(compared, metric, independent) for name, metric in kinds().items()}
    return found | {f"{name} in clusters": partial(compared, metric, clustered) for name, metric in kinds().items()}


def compared(metric: Metric, tables: Tables) -> Difference:
    """Return the difference of two models that have the same value of a metric, as ``clipbench compare`` does."""
    return difference((metric, metric), evaluation="bench", name="metric", tables=tables, seed=0, alpha=0.05)


def draws(n: int) -> None:
    """Draw what a statistic's interval and test are made of, and nothing else."""
    rng = np.random.default_rng(0)
    for _ in range(STATISTIC_RESAMPLES):
        np.bincount(rng.integers(n, size=n), minlength=n)
    numbers = np.empty(n)
    for _ in range(N_EXCHANGES):
        rng.random(out=numbers)


def measure(size: str) -> Row:
    n = SAMPLES[size]
    compared_kinds = works(n)
    compared_kinds["hits"]()  # loads what all kinds need
    timed = in_turns({**compared_kinds, "draws": partial(draws, n)}, rounds=3, warm_up=False)
    limit = timed.pop("draws")
    slowest = max(timed, key=lambda name: timed[name].median)
    return Row(
        what=f"comparison of {n:,} samples, the slowest of {len(timed)} kinds of metric",
        ours=timed[slowest],
        limit=limit,
        limit_is="drawing the random numbers of a statistic's resamples and exchanges",
        reaches=[
            Reach(what="s for the slowest kind", found=timed[slowest], at_most=1.0, is_judged=size != "small"),
            times("drawing the random numbers alone", timed[slowest], limit, at_most=2.5),
        ],
        notes=[
            f"{STATISTIC_RESAMPLES:,} resamples and up to {N_EXCHANGES:,} exchanges of a statistic",
            f"slowest: {slowest}; seconds: "
            + ", ".join(f"{name} {rounds.median:.2g}" for name, rounds in timed.items()),
        ],
    )
