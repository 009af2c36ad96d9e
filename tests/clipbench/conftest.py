"""Differences made by hand, for what is made of them."""

from collections.abc import Callable

import pytest

from clipbench.comparison.metric_difference import Difference, Flips, Verdict
from clipbench.results.record import Metric

MakeDifference = Callable[..., Difference]


@pytest.fixture(scope="session")
def difference() -> MakeDifference:
    """Return a function that makes the difference of two values, tested where a p-value is given."""

    def make(
        name: str,
        base: float,
        candidate: float,
        p: float | None = None,
        *,
        verdict: Verdict = "not shown",
        unit: str = "fraction",
        higher_is_better: bool | None = True,
        flips: Flips | None = None,
    ) -> Difference:
        evaluation, _, metric = name.partition("/")
        before, after = (
            Metric(value=value, n=100, unit=unit, higher_is_better=higher_is_better, column="credit")
            for value in (base, candidate)
        )
        value = candidate - base
        return Difference(
            evaluation=evaluation,
            name=metric,
            base=before,
            candidate=after,
            value=value,
            low=None if p is None else value - 0.01,
            high=None if p is None else value + 0.01,
            lower_bound=None if p is None else value - 0.008,
            upper_bound=None if p is None else value + 0.008,
            n=100,
            method="by hand",
            test="no test: by hand" if p is None else "by hand",
            p_value=p,
            p_adjusted=p,
            detectable=None if p is None else 0.02,
            verdict=verdict,
            flips=flips,
        )

    return make
