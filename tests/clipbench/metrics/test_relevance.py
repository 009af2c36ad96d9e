"""Judged relevance against trec_eval, against every order that ties could stand in, and against values worked by
hand.
"""

from collections.abc import Mapping
from itertools import permutations

import numpy as np
import pytest
from scipy.special import digamma

from clipbench.metrics import _search
from clipbench.metrics.ranking import Ranks
from clipbench.metrics.relevance import (
    Levels,
    Relevant,
    average_precision_at_r,
    chance_levels,
    judged_answers,
    ndcg_at_k,
    ndcg_with_unjudged_at_k,
    r_precision,
    reciprocal_rank,
    relevant_documents,
    relevant_recall_at_k,
    unjudged_at_k,
)
from clipbench.metrics.similarity import unit

Values = Mapping[str, float]


def of_ranking(grades: np.ndarray) -> Values:
    """The definitions, of documents in an order without ties."""
    ranked, ideal = np.maximum(grades, 0), np.sort(np.maximum(grades, 0))[::-1]
    discounts = 1 / np.log2(np.arange(len(grades)) + 2)
    is_relevant = grades > 0
    n = int(is_relevant.sum())
    precision = np.cumsum(is_relevant) / np.arange(1, len(grades) + 1)
    return {
        **{f"ndcg@{k}": (ranked * discounts)[:k].sum() / (ideal * discounts)[:k].sum() for k in (1, 3, 10)},
        **{f"recall@{k}": is_relevant[:k].sum() / n for k in (1, 3, 10)},
        "map@R": (precision * is_relevant)[:n].sum() / n,
        "r_precision": precision[n - 1],
        "mrr": 1 / (1 + is_relevant.argmax()),
    }


def measured(levels: Levels, relevant: Relevant, ranks: Ranks) -> dict[str, np.ndarray]:
    return {
        **{f"ndcg@{k}": ndcg_at_k(levels, relevant, k) for k in (1, 3, 10)},
        **{f"recall@{k}": relevant_recall_at_k(levels, relevant, k) for k in (1, 3, 10)},
        "map@R": average_precision_at_r(levels, relevant),
        "r_precision": r_precision(levels, relevant),
        "mrr": reciprocal_rank(ranks),
    }


def of_vectors(queries: np.ndarray, documents: np.ndarray, grades: np.ndarray) -> dict[str, np.ndarray]:
    query, document = np.nonzero(np.ones_like(grades))
    relevant, asked = relevant_documents(query, document, grades[query, document])
    levels, answers = judged_answers(queries[asked], documents, relevant)
    return measured(levels, relevant, answers.ranks)


def test_equal_to_trec_eval_on_a_thousand_rankings_without_ties() -> None:
    trec = pytest.importorskip("pytrec_eval", reason="trec_eval's own code, in pytrec-eval-terrier")
    draws = np.random.default_rng(0)
    queries, documents = (unit(draws.standard_normal((n, 8)).astype(np.float32)) for n in (1000, 60))
    grades = draws.integers(-1, 4, (1000, 60)) * (draws.random((1000, 60)) < draws.random((1000, 1)) * 0.4)
    grades[:, 0] = np.maximum(grades[:, 0], 1)  # each has a relevant document
    scores = (queries.astype(np.float64) @ documents.astype(np.float64).T).astype(np.float32)
    assert all(len(set(line)) == len(line) for line in scores.tolist())
    qrels = {f"q{q}": {f"d{d}": int(grade) for d, grade in enumerate(line)} for q, line in enumerate(grades)}
    run = {f"q{q}": {f"d{d}": float(score) for d, score in enumerate(line)} for q, line in enumerate(scores)}
    names = {
        f"{theirs}_{k}": f"{ours}@{k}"
        for theirs, ours in (("ndcg_cut", "ndcg"), ("recall", "recall"))
        for k in (1, 3, 10)
    }
    names |= {"Rprec": "r_precision"}
    measures = {
        "ndcg_cut.1,3,10",
        "recall.1,3,10",
        "recip_rank",
        "Rprec",
        f"map_cut.{','.join(map(str, range(1, 61)))}",
    }
    theirs = trec.RelevanceEvaluator(qrels, measures).evaluate(run)
    vectors = of_vectors(queries, documents, grades)
    of_query = [theirs[f"q{q}"] for q in range(1000)]
    for name, ours in names.items():
        np.testing.assert_allclose(vectors[ours], [value[name] for value in of_query], atol=1e-12, err_msg=ours)
    np.testing.assert_allclose(vectors["mrr"], [value["recip_rank"] for value in of_query], atol=1e-12)
    n_relevant = (grades > 0).sum(axis=1)
    at_r = [value[f"map_cut_{n}"] for value, n in zip(of_query, n_relevant, strict=True)]
    np.testing.assert_allclose(vectors["map@R"], at_r, atol=1e-12)


@pytest.mark.parametrize("seed", range(12))
def test_ties_are_the_mean_over_every_order_of_the_documents(seed: int) -> None:
    draws = np.random.default_rng(seed)
    scores, grades = draws.integers(0, 3, 6), draws.integers(0, 3, 6)
    grades[draws.integers(6)] = 1
    orders = [sorted(order, key=lambda d: -scores[d]) for order in permutations(range(6))]
    expected = [of_ranking(grades[list(order)]) for order in orders]
    documents = np.stack([scores / 4, np.zeros(6)], axis=1).astype(np.float32)
    vectors = of_vectors(np.array([[1, 0]], np.float32), documents, grades[None])
    for name, value in vectors.items():
        assert value[0] == pytest.approx(np.mean([ranking[name] for ranking in expected]), abs=1e-12), name


@pytest.mark.parametrize(("tile", "few"), [(7, 32), (16, 1e-9), (16, 1e9), (512, 32)])
def test_a_thousand_coarse_rankings_keep_their_bounds_and_agree_with_the_naive_levels(
    tile: int, few: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_search, "TILE", tile)
    monkeypatch.setattr(_search, "FEW", few)
    draws = np.random.default_rng(1)
    queries, documents = ((draws.integers(-2, 3, (n, 4)) / 4).astype(np.float32) for n in (100, 40))
    query, document = np.nonzero(draws.random((100, 40)) < 0.1)
    grade = draws.integers(1, 4, len(query))
    relevant, asked = relevant_documents(query, document, grade)
    judged = relevant.query * 40 + relevant.document
    without = [
        np.setdiff1d(draws.integers(0, 40, row % 3), judged[judged // 40 == row] % 40) for row in range(len(asked))
    ]
    levels, answers = judged_answers(queries[asked], documents, relevant, without=without)
    scores = (queries[asked].astype(np.float64) @ documents.astype(np.float64).T).astype(np.float32)
    for row, line in enumerate(scores):
        line[without[row]] = -np.inf
    rows = []
    for row, line in enumerate(scores):
        is_of_query = relevant.query == row
        graded = dict(zip(relevant.document[is_of_query].tolist(), relevant.grade[is_of_query].tolist(), strict=True))
        for score in sorted({line[d] for d in graded}, reverse=True):
            at = [graded[d] for d in graded if line[d] == score]
            rows.append((row, (line > score).sum(), (line == score).sum(), len(at), sum(at)))
    np.testing.assert_array_equal(np.stack(levels, axis=1), rows)
    assert all(
        (value >= 0).all() and (value <= 1 + 1e-12).all()
        for value in measured(levels, relevant, answers.ranks).values()
    )
    best = [max(line[relevant.document[relevant.query == row]]) for row, line in enumerate(scores)]
    np.testing.assert_array_equal(answers.right_score, best)
    np.testing.assert_array_equal(answers.first, scores.argmax(axis=1))


def test_values_worked_by_hand() -> None:
    # Places: grade 0, 2, 0, 1, and one more of grade 3 after the tenth.
    grades = np.array([0, 2, 0, 1, 0, 0, 0, 0, 0, 0, 3])
    documents = np.stack([np.linspace(1, 0.1, 11), np.zeros(11)], axis=1).astype(np.float32)
    vectors = of_vectors(np.array([[1, 0]], np.float32), documents, grades[None])
    ideal = 3 + 2 / np.log2(3) + 1 / 2
    assert vectors["ndcg@10"][0] == pytest.approx((2 / np.log2(3) + 1 / np.log2(5)) / ideal)
    assert vectors["ndcg@1"][0] == 0 and vectors["recall@10"][0] == pytest.approx(2 / 3)
    assert vectors["mrr"][0] == pytest.approx(1 / 2)
    assert vectors["map@R"][0] == pytest.approx(1 / 2 / 3)  # of the first three, the second is relevant


def test_a_query_that_is_a_document_does_not_find_itself() -> None:
    documents = np.array([[1, 0], [0.6, 0.8], [0, 1]], np.float32)
    relevant = Relevant(np.array([0, 1]), np.array([1, 1]), np.array([1, 1]))
    _, answers = judged_answers(documents[:2], documents, relevant, without=[np.array([0]), np.zeros(0, np.int64)])
    assert answers.first.tolist() == [1, 1] and answers.ranks.better.tolist() == [0, 0]
    _, answers = judged_answers(
        documents[:1], documents, Relevant(*np.array([[0], [2], [1]])), without=[np.array([0, 1])]
    )
    assert answers.first.tolist() == [2] and answers.ranks.better.tolist() == [0]


def test_of_a_large_tie_the_reciprocal_rank_is_the_mean_over_all_places() -> None:
    n, queries = 200_000, np.ones(2000, np.int64)
    ranks = reciprocal_rank(Ranks(3 * queries, (n - 1) * queries, queries))  # quick: equal queries are worked out once
    np.testing.assert_allclose(ranks, (digamma(n + 4) - digamma(4)) / n)


def test_chance_is_that_of_a_constant_model() -> None:
    relevant = Relevant(np.array([0, 0, 1]), np.array([0, 3, 2]), np.array([2, 1, 1]))
    vectors = np.tile(np.array([[0.5, 0.5]], np.float32), (6, 1))
    levels, _ = judged_answers(vectors[:2], vectors, relevant)
    for one, other in zip(levels, chance_levels(relevant, np.array([6, 6])), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("seed", range(20))
def test_ndcg_if_all_that_was_not_judged_is_relevant_is_that_of_the_data_with_these_judgements(seed: int) -> None:
    rng, k, n = np.random.default_rng(seed), 4, 9
    grades = np.where(rng.random(n) < 0.4, rng.integers(1, 4, n), 0)
    grades[rng.integers(n)] = 3
    is_judged = (rng.random(n) < 0.6) | (grades > 0)

    def of(rows: np.ndarray, grade: np.ndarray) -> tuple[Levels, Relevant]:
        """Return the levels of documents that stand at these places, without ties."""
        query, ones = np.zeros_like(rows), np.ones_like(rows)
        return Levels(query, rows, ones, ones, grade.astype(np.float64)), Relevant(query, rows, grade)

    right, judged = np.flatnonzero(grades), np.flatnonzero(is_judged)
    unjudged = unjudged_at_k(*of(judged, np.ones_like(judged)), np.array([n]), k)
    assert unjudged.round(9).tolist() == [(~is_judged[:k]).astype(float).tolist()]
    filled = np.where(is_judged | (np.arange(n) >= k), grades, 3)
    every = np.flatnonzero(filled)
    expected = ndcg_at_k(*of(every, filled[every]), k)
    assert ndcg_with_unjudged_at_k(*of(right, grades[right]), unjudged) == pytest.approx(expected)
