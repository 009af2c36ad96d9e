"""An approximate index and its loss in relevance: HNSW at three settings, a filter, a fused list, and a lost group.

    pip install faiss-cpu
    python experiments/served_index.py FOLDER     # writes the data and the lists, then compare them:
    clipbench run --model rankings:FOLDER/exact.jsonl ... --data FOLDER/data --tasks retrieval --out FOLDER/runs

100,000 documents and 1,000 queries, each with one relevant document. Documents of the group ``new`` came after the index
was built, so that no setting finds them. ``FOLDER/nearest`` has the same queries, judged by the exact first ten: recall
of it is the recall of the index.
"""

import argparse
import csv
import json
from pathlib import Path

import numpy as np

N_DOCUMENTS, N_QUERIES, DIM, N_CENTRES = 100_000, 1_000, 64, 2_000
DEPTH = 10
SEARCHES = (8, 32, 128)
"""Settings of the index: ``efSearch``, the candidates that a query keeps."""
NEW = 0.05
"""Fraction of the documents that the index does not have yet."""
IN_STOCK = 0.02
"""Fraction of the documents that a filter leaves."""
NOISE = 1.3
"""Length of a query's difference from its relevant document."""


def vectors(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return unit vectors of the documents and the queries, and the row of each query's relevant document."""
    centres = rng.normal(size=(N_CENTRES, DIM))
    documents = centres[rng.integers(0, N_CENTRES, N_DOCUMENTS)] + 0.7 * rng.normal(size=(N_DOCUMENTS, DIM))
    relevant = rng.choice(N_DOCUMENTS, N_QUERIES, replace=False)
    noise = rng.normal(size=(N_QUERIES, DIM)) / np.sqrt(DIM)
    queries = documents[relevant] + NOISE * np.linalg.norm(documents[relevant], axis=1, keepdims=True) * noise
    documents, queries = (side / np.linalg.norm(side, axis=1, keepdims=True) for side in (documents, queries))
    return documents.astype(np.float32), queries.astype(np.float32), relevant


def write_data(folder: Path, judged: list[list[int]]) -> None:
    """Write queries and documents as texts, with the relevant documents of each query."""
    (folder / "qrels").mkdir(parents=True)
    with (folder / "corpus.jsonl").open("w", encoding="utf-8") as file:
        file.writelines(json.dumps({"_id": f"d{row}", "text": f"document {row}"}) + "\n" for row in range(N_DOCUMENTS))
    with (folder / "queries.jsonl").open("w", encoding="utf-8") as file:
        file.writelines(json.dumps({"_id": f"q{row}", "text": f"query {row}"}) + "\n" for row in range(N_QUERIES))
    lines = [f"q{query}\td{document}\t1" for query, documents in enumerate(judged) for document in documents]
    (folder / "qrels/test.tsv").write_text("\n".join(["query-id\tcorpus-id\tscore", *lines]), encoding="utf-8")


def write_lists(file: Path, rows: np.ndarray) -> None:
    """Write the first rows of each query, -1 for what an index did not find."""
    with file.open("w", encoding="utf-8") as output:
        for query, documents in enumerate(rows.tolist()):
            names = [f"d{row}" for row in documents if row >= 0][:DEPTH]
            output.write(json.dumps({"query": f"q{query}", "results": names}) + "\n")


def first_rows(scores: np.ndarray, n: int = 100) -> np.ndarray:
    """Return the rows of the n highest scores of each query, the highest first."""
    first = np.argpartition(-scores, n, axis=1)[:, :n]
    return np.take_along_axis(first, np.argsort(-np.take_along_axis(scores, first, axis=1), axis=1), axis=1)


def fuse(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return the results of two lists by the sum of their reciprocal ranks."""
    fused = []
    for lists in zip(first.tolist(), second.tolist(), strict=True):
        score: dict[int, float] = {}
        for rows in lists:
            for rank, row in enumerate(rows):
                score[row] = score.get(row, 0.0) + 1 / (60 + rank)
        fused.append(sorted(score, key=score.__getitem__, reverse=True)[:DEPTH])
    return np.array(fused)


def main() -> None:
    """Write data and lists."""
    import faiss  # type: ignore[import-not-found]  # no dependency of the project

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    folder: Path = parser.parse_args().folder
    rng = np.random.default_rng(0)
    documents, queries, relevant = vectors(rng)
    exact = first_rows(queries @ documents.T)
    write_data(folder / "data", relevant[:, None].tolist())
    write_data(folder / "nearest", exact[:, :DEPTH].tolist())
    write_lists(folder / "exact.jsonl", exact)

    is_new = rng.random(N_DOCUMENTS) < NEW
    indexed = np.flatnonzero(~is_new)
    index = faiss.IndexHNSWFlat(DIM, 16, faiss.METRIC_INNER_PRODUCT)
    index.hnsw.efConstruction = 80
    index.add(documents[indexed])
    for n_kept in SEARCHES:
        index.hnsw.efSearch = n_kept
        _, found = index.search(queries, 100)
        rows = np.where(found >= 0, indexed[found], -1)
        write_lists(folder / f"hnsw-{n_kept}.jsonl", rows)

    # The filter leaves few documents: of the first 100 that the index finds, or before the search.
    is_left = rng.random(N_DOCUMENTS) < IN_STOCK
    is_left[relevant] = True  # every query could be answered
    after = [[row for row in found if row >= 0 and is_left[row]][:DEPTH] for found in rows.tolist()]
    write_lists(folder / "filtered-after.jsonl", np.array([row + [-1] * (DEPTH - len(row)) for row in after]))
    scores = queries @ documents.T
    scores[:, ~is_left] = -np.inf
    write_lists(folder / "filtered-before.jsonl", first_rows(scores))

    # A second search has half of the dimensions of all documents, the new ones too.
    second = first_rows(queries[:, : DIM // 2] @ documents[:, : DIM // 2].T)
    write_lists(folder / "fused.jsonl", fuse(rows, second))
    with (folder / "groups.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "added"])
        writer.writerows((f"q{query}", "new" if is_new[row] else "old") for query, row in enumerate(relevant.tolist()))


if __name__ == "__main__":
    main()
