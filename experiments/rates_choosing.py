"""Error rate and queries of a choice between models that is looked at after every query: tables of
experiments/coverage.md.

    python experiments/rates_choosing.py PAIRS.npy     # images and texts of true pairs (2, n, dim); some minutes

Differences are of real queries: nDCG@10 of captions that look for their image, of models that keep half of the
dimensions of the vectors each. Without a difference, the models of a query are exchanged at random; with one, the sign
of a query's difference is drawn so that their mean is what is asked for.
"""

import argparse
from collections.abc import Mapping
from itertools import combinations
from pathlib import Path

import numpy as np
from scipy.stats import ttest_1samp

from clipbench.choosing.pool import Facts, Pool, Ranking
from clipbench.choosing.verdict import _unseen
from clipbench.stats.betting import log_wealth

ALPHA, LIST, MOST = 0.05, 300, 1_500
"""Level; queries of a list that is judged whole; queries after which a search is given up."""


def credits(vectors: np.ndarray, rng: np.random.Generator, n_models: int) -> np.ndarray:
    """Return nDCG@10 of each query and model (queries, models)."""
    found: list[np.ndarray] = []
    for _ in range(n_models):
        kept = rng.choice(vectors.shape[2], vectors.shape[2] // 2, replace=False)
        images, texts = (side / np.linalg.norm(side, axis=1, keepdims=True) for side in vectors[:, :, kept])
        scores = texts @ images.T
        rank = (scores > scores.diagonal()[:, None]).sum(axis=1) + 1
        found.append(np.where(rank <= 10, 1 / np.log2(rank + 1), 0.0))
    return np.array(found).T


def is_claimed(values: np.ndarray, n_pairs: int, total: int | None) -> np.ndarray:
    """Return after which queries a difference from 0 was shown at that time or before."""
    return np.maximum.accumulate(log_wealth(values, 0.0, total)) >= np.log(n_pairs / ALPHA)


LAWS: Mapping[str, tuple[float, float]] = {
    "2 % for each query": (1.0, 0.02),
    "5 % for a tenth": (0.1, 0.05),
    "30 % for a tenth": (0.1, 0.3),
    "a tenth has all": (0.1, 1.0),
    "50 % for a twentieth": (0.05, 0.5),
}
"""Share of the queries that have relevant photographs which no model found, and the share of these photographs."""


def unseen_coverage(share: float, relevant: float, n_queries: int, n: int, rng: np.random.Generator) -> float:
    """Return how often the interval of the photographs that no model found has the mean over future queries."""
    n_images, drawn = 980, [f"p{row}" for row in range(5)]
    ids = [f"q{row}" for row in range(n_queries)]
    facts = Facts(models={}, images="", n_images=n_images, content="", k=10, n_random=len(drawn), seed=0)
    pool = Pool(folder=Path(), facts=facts, queries={}, candidates=dict.fromkeys(ids, drawn), batches={}, images={})
    rankings = {query: Ranking(query=query, models={}, random=drawn) for query in ids}
    n_covered = 0
    for _ in range(n):
        n_relevant = rng.binomial(n_images, relevant, n_queries) * (rng.random(n_queries) < share)
        hits = rng.hypergeometric(n_relevant, n_images - n_relevant, len(drawn)).tolist()
        grades = {
            query: {image: int(row < n_hits) for row, image in enumerate(drawn)}
            for query, n_hits in zip(ids, hits, strict=True)
        }
        unseen = _unseen(pool, rankings, grades)
        n_covered += unseen is not None and unseen.low <= share * relevant * n_images <= unseen.high
    return n_covered / n


def main() -> None:
    """Print false choices, the queries that differences need, and the coverage of what no model found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pairs", type=Path)
    parser.add_argument("--simulations", type=int, default=2_000)
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    for law, (share, relevant) in LAWS.items():
        rates = [unseen_coverage(share, relevant, n, options.simulations, rng) for n in (10, 25, 50, 100, 300)]
        print("no model found,", law, [round(rate, 3) for rate in rates], flush=True)
    table = credits(np.load(options.pairs), rng, 5)
    for n_models in (2, 3, 5):
        pairs = list(combinations(range(n_models), 2))
        wrong = {"endless": 0, "list": 0, "t-tests": 0}
        for _ in range(options.simulations):
            rows = rng.permuted(table[rng.integers(len(table), size=MOST)][:, :n_models], axis=1)
            changes = [rows[:, a] - rows[:, b] for a, b in pairs]
            wrong["endless"] += any(is_claimed(each, len(pairs), None)[-1] for each in changes)
            # A list has no difference where each value comes with its opposite.
            listed = rng.permutation(np.concatenate([rows[: LIST // 2], rows[: LIST // 2, ::-1]]))
            of_list = [listed[:, a] - listed[:, -1 - a] for a in range(n_models // 2)]
            wrong["list"] += any(is_claimed(each, len(pairs), LIST)[:-1].any() for each in of_list)
            looks = [[float(ttest_1samp(each[:n], 0).pvalue) for n in range(20, 300, 20)] for each in changes]
            wrong["t-tests"] += any(np.nanmin(np.array(p)) <= ALPHA / len(pairs) for p in looks)
        print(n_models, {name: round(count / options.simulations, 4) for name, count in wrong.items()}, flush=True)
    spread = table[:, 0] - table[:, 1]
    print(f"differences: sd {spread.std():.3f}, {(spread != 0).mean():.0%} not 0")
    for points in (2, 5, 6, 10):
        stops: dict[str, list[float]] = {"endless": [], "list": []}
        fixed: list[list[bool]] = []
        for _ in range(options.simulations // 4):
            sizes = np.abs(spread[rng.integers(len(spread), size=20 * MOST if points < 5 else MOST)])
            right = (1 + points / 100 / sizes.mean()) / 2
            values = np.where(rng.random(len(sizes)) < right, sizes, -sizes)
            for name, total in (("endless", None), ("list", LIST)):
                seen = values if total is None else values[:total]
                shown = is_claimed(seen, 1, total)
                stops[name].append(int(shown.argmax()) + 1 if shown.any() else np.inf)
            fixed.append([bool(ttest_1samp(values[:n], 0).pvalue <= ALPHA) for n in (100, 150, 200, 300)])
        for name, found in stops.items():
            print(
                points, name, [float(each) for each in np.quantile(found, (0.5, 0.8, 0.9), method="higher")], flush=True
            )
        print(points, "found by a t-test of 100, 150, 200, 300", np.mean(fixed, axis=0).round(2).tolist(), flush=True)
        print(
            points,
            "found by the sequence",
            [float(np.mean(np.array(stops["endless"]) <= n)) for n in (100, 150, 200, 300)],
        )


if __name__ == "__main__":
    main()
