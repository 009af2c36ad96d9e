"""How often the gate fails finished result lists: pairs without a difference, and pairs of which one lost queries.

    python experiments/rates_rankings.py --draws 200     # ten minutes on two cores

Lists of 5 results, so that metrics of the first 10 are undefined. Each draw goes through ``rankings:FILE``, the task
retrieval and ``clipbench compare --max-drop 1pp``. In a pair without a difference, both sides rank by the same scores
with noise of their own. A planted loss replaces the lists of some queries by random ones, as a broken part of an index
would.
"""

import argparse
import json
import tempfile
from pathlib import Path
from typing import NamedTuple

import numpy as np

import clipbench as cb

N_QUERIES, N_DOCUMENTS, N_RELEVANT, DEPTH = 300, 400, 3, 5
SIGNAL, NOISE = 2.2, 0.6
"""Score of a relevant document, in standard deviations of all scores, and the noise of a side."""
LOST = 0.12
"""Fraction of the queries whose lists a planted loss replaces."""
LIMIT = "1pp"


class Rates(NamedTuple):
    """What the draws did."""

    status_1: float
    status_3: float
    worse: float
    better: float


def write_data(folder: Path) -> np.ndarray:
    """Write judged data, and return the relevant documents of each query, shape (n_queries, n_relevant)."""
    rng = np.random.default_rng(0)
    relevant = np.stack([rng.choice(N_DOCUMENTS, N_RELEVANT, replace=False) for _ in range(N_QUERIES)])
    (folder / "qrels").mkdir(parents=True)
    documents = [json.dumps({"_id": f"d{row}", "text": f"document {row}"}) for row in range(N_DOCUMENTS)]
    queries = [json.dumps({"_id": f"q{row}", "text": f"query {row}"}) for row in range(N_QUERIES)]
    lines = [f"q{query}\td{document}\t1" for query, row in enumerate(relevant.tolist()) for document in row]
    (folder / "corpus.jsonl").write_text("\n".join(documents), encoding="utf-8")
    (folder / "queries.jsonl").write_text("\n".join(queries), encoding="utf-8")
    (folder / "qrels/test.tsv").write_text("\n".join(["query-id\tcorpus-id\tscore", *lines]), encoding="utf-8")
    return relevant


def scores_of_pair(relevant: np.ndarray, rng: np.random.Generator, *, is_planted: bool) -> list[np.ndarray]:
    """Return the scores of base and candidate, each of shape (n_queries, n_documents)."""
    shared = rng.normal(size=(N_QUERIES, N_DOCUMENTS))
    shared[np.arange(N_QUERIES)[:, None], relevant] += SIGNAL * rng.random((N_QUERIES, 1)) * 2
    base, candidate = (shared + NOISE * rng.normal(size=shared.shape) for _ in range(2))
    if is_planted:
        lost = rng.choice(N_QUERIES, round(LOST * N_QUERIES), replace=False)
        candidate[lost] = rng.normal(size=(len(lost), N_DOCUMENTS))
    return [base, candidate]


def run_of(scores: np.ndarray, data: Path, folder: Path) -> cb.Run:
    """Return the run of the first results by their scores."""
    file = folder.with_suffix(".jsonl")
    first = np.argsort(-scores, axis=1)[:, :DEPTH].tolist()
    lines = [
        json.dumps({"query": f"q{row}", "results": [f"d{item}" for item in items]}) for row, items in enumerate(first)
    ]
    file.write_text("\n".join(lines), encoding="utf-8")
    return cb.run(f"rankings:{file}", "retrieval", data=str(data), thumbnails=0, preflight=False)


def simulate(relevant: np.ndarray, data: Path, folder: Path, n_draws: int, *, is_planted: bool) -> Rates:
    """Return the rates of one kind of pair."""
    rng = np.random.default_rng([1, is_planted])
    comparisons = []
    for draw in range(n_draws):
        pair = scores_of_pair(relevant, rng, is_planted=is_planted)
        runs = [run_of(scores, data, folder / f"{draw}-{side}") for side, scores in enumerate(pair)]
        comparisons.append(cb.compare(*runs, max_drop=LIMIT))
    statuses = np.array([comparison.exit_status for comparison in comparisons])
    verdicts = np.array([comparison.verdict for comparison in comparisons])
    rates = (statuses == 1, statuses == 3, verdicts == "worse", verdicts == "better")
    return Rates(*(float(rate.mean()) for rate in rates))


def main() -> None:
    """Print the rates of both kinds of pairs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=200)
    n_draws = parser.parse_args().draws
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        relevant = write_data(folder / "data")
        for is_planted in (False, True):
            rates = simulate(relevant, folder / "data", folder, n_draws, is_planted=is_planted)
            print("planted loss" if is_planted else "no difference", n_draws, rates, flush=True)


if __name__ == "__main__":
    main()
