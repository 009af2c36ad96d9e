"""Measure how often the extra loss of a candidate is claimed where there is none, and how often intervals cover it; and
how often the intervals of the worst loss, of the spread of templates and of the severity of half the loss do; and how
often an explanation claims a disturbance where there is no difference.

    python experiments/rates_perturbation.py > runs/perturbation.log    # an hour on one core
    python experiments/rates_perturbation.py --only extra --simulations 100

Of each sample, both models have a strength, which they share in part, and a sensitivity to the disturbance. A copy is
right if the strength exceeds the sensitivity times the severity, and noise of the copy. Slopes are solved so that the
mean losses are those of the law in a population of 200,000 samples.
"""

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import product
from statistics import NormalDist

import numpy as np

from clipbench.results.record import Metric
from clipbench.stats.differences import PairedTest, paired_difference
from clipbench.stats.groups import Grouping, judge_groups
from clipbench.stats.intervals import Interval
from clipbench_tasks.perturbation.measures import SEVERITIES, HalfLoss, LargestMean, template_differences

POPULATION = 200_000
STEPS = np.array(SEVERITIES, float) / SEVERITIES[-1]
N_DISTURBANCES = 15
SHARED_VARIANCE = 0.7
"""Share of the variance of strengths that both models have in common."""


@dataclass(frozen=True)
class Law:
    """The law of one model's credits."""

    accuracy: float
    """Of the clean samples."""
    loss: float
    """Mean over the five severities."""
    noise: float = 0.0
    """Standard deviation of what a copy adds to the strength."""
    slope: float = 0.0

    @cache  # noqa: B019
    def solved(self, n_each: int) -> "Law":
        """Return the law with the slope that gives its loss."""
        if not self.loss:
            return self
        low, high = 0.0, 60.0
        for _ in range(18):
            slope = (low + high) / 2
            of_one = replace(self, slope=slope)
            loss = losses(draw(np.random.default_rng(7), POPULATION, (of_one,), n_each))[0].mean()
            low, high = (slope, high) if loss < self.loss else (low, slope)
        return replace(self, slope=low)


def draw(rng: np.random.Generator, n: int, laws: Sequence[Law], n_each: int) -> np.ndarray:
    """Return credits of shape (models, severities, n); samples of a cluster share most of their strength."""
    n_clusters = -(-n // n_each)
    clustered = rng.standard_normal(n_clusters).repeat(n_each)[:n]
    own = rng.standard_normal(n)
    shared = clustered if n_each == 1 else np.sqrt(0.6) * clustered + np.sqrt(0.4) * own
    sensitivity = np.exp(0.7 * rng.standard_normal(n))
    credits = []
    for law in laws:
        strength = NormalDist().inv_cdf(law.accuracy) + np.sqrt(SHARED_VARIANCE) * shared
        strength = strength + np.sqrt(1 - SHARED_VARIANCE) * rng.standard_normal(n)
        copies = law.noise * rng.standard_normal((len(STEPS), n)) * (STEPS > 0)[:, None]
        credits.append(strength + copies > law.slope * STEPS[:, None] * sensitivity)
    return np.array(credits, float)


def losses(credits: np.ndarray) -> np.ndarray:
    """Return the loss of each sample of each model."""
    return credits[:, 0] - credits[:, 1:].mean(axis=1)


@cache
def true_extra_loss(base: Law, candidate: Law, n_each: int) -> float:
    """Return the candidate's extra loss in a large population."""
    before, after = losses(draw(np.random.default_rng(11), 500_000, (base, candidate), n_each)).mean(axis=1)
    return float(after - before)


def holds(bounded: Metric | Interval, truth: float) -> bool:
    """Return whether the bounds hold the truth."""
    assert bounded.low is not None and bounded.high is not None, bounded
    return bounded.low <= truth + 1e-9 and truth - 1e-9 <= bounded.high


def compare_losses(credits: np.ndarray, clusters: np.ndarray | None, rng: np.random.Generator) -> PairedTest:
    """Return the test of the candidate's extra loss, as ``clipbench compare`` makes it."""
    columns = losses(credits)
    base, candidate = (
        Metric(value=float(column.mean()), column="loss", unit="difference", higher_is_better=False)
        for column in columns
    )
    before, after = ({"loss": column} for column in columns)
    return paired_difference(base, candidate, before=before, after=after, clusters=clusters, rng=rng)


DIFFERENCES = {
    "alike": (Law(0.7, 0.15), Law(0.7, 0.15)),
    "clean .50 and .80": (Law(0.5, 0.15), Law(0.8, 0.15)),
    "clean .80 and .50": (Law(0.8, 0.15), Law(0.5, 0.15)),
    "noisier copies": (Law(0.7, 0.15), Law(0.7, 0.15, noise=1.0)),
    "clean .95 and .99, hardly a loss": (Law(0.95, 0.01), Law(0.99, 0.01)),
    "base loses nothing": (Law(0.7, 0.0), Law(0.7, 0.0)),
}
"""Laws of base and candidate without an extra loss, by how they differ."""
EXTRA = {"none": 0.0, "small": 0.02, "large": 0.15}


def extra_losses(n_simulations: int) -> Iterator[str]:
    """Yield rows of size, coverage and power of the extra loss."""
    yield "| Models | n | effect | coverage | p ≤ .05 | wrong direction |\n|---|--:|---|--:|--:|--:|"
    for (name, laws), n_each in product(DIFFERENCES.items(), (1, 5)):
        for (effect, extra), n in product(EXTRA.items(), (100, 300, 1000)):
            base, candidate = (law.solved(n_each) for law in (laws[0], replace(laws[1], loss=laws[1].loss + extra)))
            truth = true_extra_loss(base, candidate, n_each)
            rng, clusters = np.random.default_rng(0), None if n_each == 1 else np.arange(n) // n_each
            tests = [
                compare_losses(draw(rng, n, (base, candidate), n_each), clusters, rng) for _ in range(n_simulations)
            ]
            covers = [holds(test.interval, truth) for test in tests]
            is_claimed = np.array([test.p_value is not None and test.p_value <= 0.05 for test in tests])
            is_wrong = is_claimed & np.array([sum(test.interval.bounds) * truth < 0 for test in tests])
            title = f"{name}, clusters of {n_each}" if n_each > 1 else name
            yield (
                f"| {title} | {n:,} | {effect} ({truth:+.3f}) | {np.mean(covers):.3f} | {is_claimed.mean():.3f}"
                f" | {is_wrong.mean():.3f} |"
            )


def single_models(n_simulations: int) -> Iterator[str]:
    """Yield the coverage of the worst loss, the spread of templates and the severity of half the loss."""
    yield "| Value | n | truth | coverage |\n|---|--:|--:|--:|"
    for n, (title, mean_losses) in product(
        (100, 500),
        {
            "worst of 15 losses, all .1": [0.1] * 15,
            "worst of 15 losses, one .2": [0.2, *[0.1] * 14],
            "worst of 3 losses, all 0": [0.0] * 3,
        }.items(),
    ):
        laws, rng = [Law(0.7, loss).solved(1) for loss in mean_losses], np.random.default_rng(0)
        measure = LargestMean(columns=lambda samples: [*samples["losses"]], n_tests=len(laws))
        n_covered = 0
        for _ in range(n_simulations):
            columns = [losses(draw(rng, n, (law,), 1))[0] for law in laws]
            metric = measure.metric({"losses": np.array(columns), "cluster": np.arange(n), "image": np.arange(n)}, rng)
            n_covered += holds(metric, max(mean_losses))
        yield f"| {title} | {n:,} | {max(mean_losses)} | {n_covered / n_simulations:.3f} |"
    for n, means in product((100, 500), ((0.6,) * 5, (0.62, 0.6, 0.6, 0.6, 0.58), (0.8, 0.7, 0.6, 0.5, 0.4))):
        rng, n_covered, truth = np.random.default_rng(0), 0, max(means) - min(means)
        measure = LargestMean(columns=template_differences, n_tests=10, lower_limit=0.0)
        for _ in range(n_simulations):
            strength = rng.standard_normal(n)
            of_template = np.sqrt(0.8) * strength + np.sqrt(0.2) * rng.standard_normal((5, n))
            credits = (of_template < np.array([[NormalDist().inv_cdf(mean)] for mean in means])).astype(float)
            samples = {f"severity_{row}": credit for row, credit in enumerate(credits, 1)}
            samples |= {"condition": np.full(n, "template", object), "cluster": np.arange(n), "image": np.arange(n)}
            metric = measure.metric(samples, rng)
            n_covered += holds(metric, truth)
        yield f"| spread of 5 templates | {n:,} | {truth:.2f} | {n_covered / n_simulations:.3f} |"
    for n, loss in product((100, 500), (0.3, 0.45)):
        law, rng, covered = Law(0.7, loss).solved(1), np.random.default_rng(0), list[bool]()
        excess = (draw(np.random.default_rng(11), 500_000, (law,), 1)[0]).mean(axis=1)
        excess = (excess[0] + 0.1) / 2 - excess
        truth = float(np.interp(0.0, excess, SEVERITIES))
        half_loss = HalfLoss(name="blur", chance=0.1)
        for _ in range(n_simulations):
            credits = draw(rng, n, (law,), 1)[0]
            samples = {f"severity_{severity}": credit for severity, credit in zip(SEVERITIES, credits, strict=True)}
            samples |= {"condition": np.full(n, "blur", object), "cluster": np.arange(n)}
            metric = half_loss.metric(samples, rng)
            if metric.value is not None:
                covered.append(holds(metric, truth))
        title = f"severity of half the loss ({len(covered) / n_simulations:.2f} defined)"
        yield f"| {title} | {n:,} | {truth:.2f} | {np.mean(covered):.3f} |"


CHANGES = {
    "none, .01 to .3 flip": (0.0, np.geomspace(0.01, 0.3, N_DISTURBANCES)),
    "loss of .05 everywhere, .01 to .3 flip": (0.05, np.geomspace(0.01, 0.3, N_DISTURBANCES)),
}
"""Loss of each copy, and chances of a change in either direction by disturbance."""


def explanations(n_simulations: int) -> Iterator[str]:
    """Yield how often ``clipbench explain`` claims a disturbance or a class, and names the one that costs more."""
    yield "| Change | images | false: elsewhere | false: here | extra loss of .1 is named |\n|---|--:|--:|--:|--:|"
    for (name, (loss, flips)), n in product(CHANGES.items(), (60, 200)):
        image, disturbance = np.arange(n).repeat(N_DISTURBANCES), np.tile(np.arange(N_DISTURBANCES), n)
        rng, n_false, n_here, n_named = np.random.default_rng(0), 0, 0, 0
        groups = [np.flatnonzero(disturbance == row) for row in range(N_DISTURBANCES)]
        groups += [np.flatnonzero(image % 7 == row) for row in range(7)]
        grouping = Grouping.from_rows(groups, len(image), image)
        for extra in (0.0, 0.1):
            for _ in range(n_simulations):
                own, of_image = rng.random(len(image)), rng.random(n)[image]
                chance = np.where(rng.random(len(image)) < 0.6, of_image, own)
                lost = flips[disturbance] + loss + extra * (disturbance == N_DISTURBANCES // 2)
                changes = np.where(chance < lost, -1.0, np.where(chance > 1 - flips[disturbance], 1.0, 0.0))
                tests = judge_groups(changes, grouping, rng, n_draws=499)
                if extra:
                    n_named += int(tests.p_elsewhere[N_DISTURBANCES // 2] <= 0.05)
                else:
                    n_false += int((tests.p_elsewhere <= 0.05).any())
                    n_here += int(not loss and (tests.p_here <= 0.05).any())
        here = f"{n_here / n_simulations:.3f}" if not loss else "–"
        yield f"| {name} | {n} | {n_false / n_simulations:.3f} | {here} | {n_named / n_simulations:.3f} |"


TABLES = {"extra": extra_losses, "single": single_models, "explain": explanations}


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--simulations", type=int, default=500)
    parser.add_argument("--only", choices=TABLES, nargs="+", default=list(TABLES))
    options = parser.parse_args()
    for name in options.only:
        for line in TABLES[name](options.simulations):
            print(line, flush=True)


if __name__ == "__main__":
    main()
