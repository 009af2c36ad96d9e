"""Measure how often intervals of differences over classes, of calibration errors and of nDCG cover and exclude 0.

    python experiments/rates_differences.py                      # half an hour
    python experiments/rates_differences.py --simulations 100 --only recall

Each simulation draws hits, or predictions, of two models on the same samples and compares them as ``clipbench compare``
does. A line has the coverage, the share of intervals that exclude 0 (the false alarms, where nothing differs), the
share that do so in the wrong direction, and the median width.
"""

import argparse
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import product
from typing import Any

import numpy as np

from clipbench.metrics.classification import macro_f1, mean_per_class_recall
from clipbench.results.record import Metric
from clipbench.stats.clusters import cluster_codes
from clipbench.stats.differences import PairedTest, paired_difference
from clipbench.stats.estimators import Estimator
from clipbench_tasks.mixed_retrieval import MixedRetrieval
from rates_pairs import Search
from rates_worlds import EFFECTS

Rows = np.ndarray
Design = tuple[str, float, Callable[[np.random.Generator], PairedTest]]
"""Name of what is simulated, the true difference, and one simulation."""

SIZES = {
    "8 classes of 2, 2 of 40": ([2] * 8 + [40] * 2, [(0.02, 0.02), (0.0, 0.02), (0.02, 0.12)]),
    "20 classes of 2 to 60": (
        np.round(np.geomspace(2, 60, 20)).astype(int).tolist(),
        [(0.03, 0.03), (0.0, 0.03), (0.05, 0.15)],
    ),
    "10 classes of 10": ([10] * 10, [(0.03, 0.03), (0.0, 0.03), (0.05, 0.2)]),
    "10 classes of 30": ([30] * 10, [(0.01, 0.01), (0.0, 0.01), (0.05, 0.2)]),
    "100 classes of 10": ([10] * 100, [(0.05, 0.05), (0.0, 0.003), (0.02, 0.06)]),
}
"""Samples of each class, and the chances of a gain and of a loss: of no, a small and a large difference."""
ALIKE = 0.7
"""Chance of a sample to do what its cluster does."""


def compared(
    named: Estimator, values: Sequence[float], tables: list[dict[str, Rows]], clusters: Rows | None
) -> PairedTest:
    one, other = (Metric(value=value, statistic=named.record()) for value in values)
    rng = np.random.default_rng(0)
    return paired_difference(one, other, before=tables[0], after=tables[1], clusters=clusters, rng=rng)


def recalls(n_clustered: int) -> Iterator[Design]:
    """Yield differences of mean per-class recall, of samples in clusters of one class or on their own."""
    named = Estimator("mean_over_parts", ("hit", "class"))
    for name, (sizes, changes) in SIZES.items():
        labels = np.repeat(np.arange(len(sizes)), np.array(sizes) * n_clustered)
        clusters = np.arange(len(labels)) // n_clustered

        def one(
            rng: np.random.Generator, gain: float, loss: float, labels: Rows = labels, clusters: Rows = clusters
        ) -> PairedTest:
            own, of_cluster = rng.random(len(labels)), rng.random(len(labels))[clusters]
            chance = np.where(rng.random(len(labels)) < ALIKE, of_cluster, own) if n_clustered > 1 else own
            hits = [(chance >= gain).astype(float), np.where(chance < gain, 1.0, chance < 1 - loss)]
            before, after = (mean_per_class_recall(each, labels) for each in hits)
            tables = [{"hit": each, "class": labels.astype(float)} for each in hits]
            return compared(named, (before, after), tables, None if n_clustered == 1 else clusters)

        of = f", clusters of {n_clustered}" if n_clustered > 1 else ""
        for gain, loss in changes:
            title = f"recall, {name}{of}, {gain:.1%} gained, {loss:.1%} lost"
            yield title, gain - loss, partial(one, gain=gain, loss=loss)


def f1_scores() -> Iterator[Design]:
    """Yield differences of macro F1: some predictions are drawn anew, and of the candidate some are lost."""
    named = Estimator("macro_f1", ("predicted", "class"))
    for n, n_classes, right, anew, lost in [
        (100, 50, 0.7, 0.03, 0.0),
        (200, 100, 0.7, 0.02, 0.0),
        (250, 10, 0.7, 0.04, 0.0),
        (1000, 10, 0.7, 0.1, 0.0),
        (100, 50, 0.9, 0.0, 0.03),
        (200, 100, 0.8, 0.02, 0.1),
        (1000, 100, 0.8, 0.03, 0.05),
    ]:

        def drawn(
            rng: np.random.Generator,
            n: int,
            n_classes: int = n_classes,
            right: float = right,
            anew: float = anew,
            lost: float = lost,
        ) -> tuple[Rows, tuple[Rows, Rows], tuple[float, float]]:
            labels = np.arange(n) % n_classes
            predicted = np.where(rng.random((3, n)) < right, labels, rng.integers(0, n_classes, (3, n)))
            is_anew = rng.random(n) < anew
            before, after = (np.where(is_anew, each, predicted[0]) for each in predicted[1:])
            after = np.where(rng.random(n) < lost, rng.integers(0, n_classes, n), after)
            return labels, (before, after), (macro_f1(before, labels).value, macro_f1(after, labels).value)

        def one(rng: np.random.Generator, n: int = n, drawn: Callable[..., Any] = drawn) -> PairedTest:
            labels, both, values = drawn(rng, n)
            return compared(named, values, [{"predicted": each, "class": labels} for each in both], None)

        before, after = drawn(np.random.default_rng(1), 400_000)[2]
        title = f"macro F1, n = {n}, {n_classes} classes, {anew:.0%} anew, {lost:.0%} lost"
        yield title, after - before if lost else 0.0, one


def calibration_errors() -> Iterator[Design]:
    """Yield differences of calibration errors of even confidences, .1 to 1."""
    named = Estimator("expected_calibration_error", ("confidence", "hit"))
    for n in (100, 300, 1000):
        for errors in [(0.0, 0.0), (0.1, 0.1), (0.0, 0.03), (0.0, 0.1)]:

            def one(rng: np.random.Generator, n: int = n, errors: tuple[float, float] = errors) -> PairedTest:
                confidence, shared, tables = rng.uniform(0.1, 1, n), rng.random(n), []
                for error in errors:
                    own = np.clip(confidence + 0.05 * rng.standard_normal(n), 0.1, 1)
                    chance = np.where(rng.random(n) < ALIKE, shared, rng.random(n))
                    tables.append({"confidence": own, "hit": (chance < np.maximum(own - error, 0)).astype(float)})
                return compared(named, (named(tables[0]), named(tables[1])), tables, None)

            yield f"calibration error, n = {n}, truly {errors[0]} and {errors[1]}", errors[1] - errors[0], one


def unlike_calibration_errors() -> Iterator[Design]:
    """Yield differences of calibration errors of models that differ in accuracy, and in how far their confidences
    spread.
    """
    named = Estimator("expected_calibration_error", ("confidence", "hit"))
    errors = [(0.055, 0.055), (0.055, 0.047), (0.05, 0.15)]
    for accuracies, n, (first, second) in product([(0.38, 0.62), (0.5, 0.5)], (350, 2000), errors):

        def one(
            rng: np.random.Generator,
            n: int = n,
            models: Sequence[tuple[float, float, float]] = (
                (accuracies[0], first, 0.32),
                (accuracies[1], second, 0.05),
            ),
        ) -> PairedTest:
            shared, tables = rng.random(n), []
            for accuracy, error, reach in models:
                confidence = accuracy + error + reach * rng.uniform(-1, 1, n)
                chance = np.where(rng.random(n) < ALIKE, shared, rng.random(n))
                tables.append({"confidence": confidence, "hit": (chance < confidence - error).astype(float)})
            return compared(named, (named(tables[0]), named(tables[1])), tables, None)

        title = (
            f"calibration error, n = {n}, accuracies {accuracies[0]} and {accuracies[1]}, truly {first} and {second}"
        )
        yield title, second - first, one


def mixed_retrieval() -> Iterator[Design]:
    """Yield differences of nDCG where captions look for captions, of two exchangeable models."""
    name = "texts=100/ndcg@10"
    for (n_images, n_each), effect in product([(25, 2), (20, 5), (100, 2), (100, 5)], EFFECTS):

        def one(
            rng: np.random.Generator, n_images: int = n_images, n_each: int = n_each, effect: str = effect
        ) -> PairedTest:
            drawn = Search(n_each=n_each).draw(rng, n_images * n_each, effect, n_models=2)
            found = [MixedRetrieval().evaluate(drawn.dataset, each, np.random.default_rng(0)) for each in drawn.models]
            tables = [{name: each.samples[name].astype(np.float64)} for each in found]
            one, other = (Metric(value=float(each[name].mean()), column=name) for each in tables)
            clusters = cluster_codes(found[0].samples["cluster"])
            return paired_difference(one, other, before=tables[0], after=tables[1], clusters=clusters, rng=rng)

        yield f"nDCG, {n_images} images with {n_each} captions, {effect}", 0.0, one


DESIGNS = {
    "recall": lambda: recalls(1),
    "clusters": lambda: recalls(4),
    "macro-f1": f1_scores,
    "calibration": calibration_errors,
    "unlike-calibration": unlike_calibration_errors,
    "ndcg": mixed_retrieval,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--simulations", type=int, default=1_000)
    parser.add_argument("--only", choices=DESIGNS, nargs="+", default=list(DESIGNS))
    options = parser.parse_args()
    for title, truth, one in (design for name in options.only for design in DESIGNS[name]()):
        rng = np.random.default_rng(0)
        bounds = np.array([one(rng).interval[:2] for _ in range(options.simulations)], float)
        covers = (bounds[:, 0] <= truth + 1e-9) & (truth - 1e-9 <= bounds[:, 1])
        excludes = (bounds[:, 0] > 0) | (bounds[:, 1] < 0)
        wrong = excludes & (np.sign(bounds.sum(axis=1)) == -np.sign(truth))
        width = np.median(bounds[:, 1] - bounds[:, 0])
        rates = (
            f"covers {covers.mean():.3f}, excludes 0 {excludes.mean():.3f}, in the wrong direction {wrong.mean():.3f}"
        )
        print(f"{title}: {rates}, width {width:.3f}", flush=True)


if __name__ == "__main__":
    main()
