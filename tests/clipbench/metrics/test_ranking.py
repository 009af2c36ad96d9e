"""Ranks against the full matrix, and rank statistics against every order that a coin could give."""

import tracemalloc
from collections.abc import Callable
from itertools import combinations, permutations
from typing import NamedTuple

import numpy as np
import pytest
import scipy.stats

from clipbench.errors import DataError
from clipbench.metrics import _search, ranking, threads
from clipbench.metrics.ranking import (
    Answers,
    Ranks,
    answers_with_distractors,
    chance_recall_at_k,
    cross_answers,
    cross_ranks,
    expected_rank,
    expected_recall_at_k,
    group_answers,
    recall_at_k,
)
from clipbench.metrics.similarity import scores_of_pairs, unit
from tests.made import published_vectors, tied_vectors, unit_vectors

Make = Callable[[int, int, int], np.ndarray]


class Tiles(NamedTuple):
    """Size of the tiles of products, how many pairs of one are listed rather than counted, and threads."""

    side: int
    few: float
    n_threads: int = 1

    def use(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(_search, "TILE", self.side)
        monkeypatch.setattr(_search, "ROW_TILES", 3)
        monkeypatch.setattr(_search, "FEW", self.few)
        monkeypatch.setattr(threads, "n_threads", lambda: self.n_threads)


TILES = [Tiles(7, 32), Tiles(16, 1e-9, 2), Tiles(16, 1e9), Tiles(11, 4, 3), Tiles(512, 32, 2)]


def pairing(n_images: int, n_texts: int, seed: int) -> np.ndarray:
    """Rows of images in no order, each at least once."""
    draws = np.random.default_rng(seed)
    extra = draws.integers(n_images, size=n_texts - n_images)
    return draws.permutation(np.concatenate([np.arange(n_images), extra]))


def one_rank(scores: np.ndarray, positives: np.ndarray) -> tuple[int, int, int]:
    best = max(scores[positives])
    score = scores[~positives]
    return int(sum(score > best)), int(sum(score == best)), int(sum(scores[positives] == best))


def naive_cross_ranks(images: np.ndarray, texts: np.ndarray, text_image: np.ndarray) -> tuple[Ranks, Ranks]:
    scores = (images.astype(np.float64) @ texts.astype(np.float64).T).astype(np.float32)
    by_image = [one_rank(scores[row], text_image == row) for row in range(len(images))]
    by_text = [one_rank(scores[:, row], np.arange(len(images)) == text_image[row]) for row in range(len(texts))]
    return Ranks(*np.array(by_image).T), Ranks(*np.array(by_text).T)


def naive_group_ranks(vectors: np.ndarray, groups: np.ndarray) -> tuple[np.ndarray, Ranks, np.ndarray]:
    scores = (vectors.astype(np.float64) @ vectors.astype(np.float64).T).astype(np.float32)
    result, queries, n_positives = [], [], []
    for row in range(len(vectors)):
        rows = np.delete(np.arange(len(vectors)), row)
        positives = groups[rows] == groups[row]
        if positives.any():
            queries.append(row)
            n_positives.append(positives.sum())
            result.append(one_rank(scores[row, rows], positives))
    return np.array(queries), Ranks(*np.array(result).T), np.array(n_positives)


def one_answer(scores: np.ndarray, positives: np.ndarray) -> tuple[int, float, int, float]:
    """The best positive and what came first, of equals the first, as a reader of the whole list would say."""
    ordered = sorted(range(len(scores)), key=lambda item: (-scores[item], item))
    right = next(item for item in ordered if positives[item])
    return right, scores[right], ordered[0], scores[ordered[0]]


def assert_answers(answers: Answers, expected: list[tuple[int, float, int, float]]) -> None:
    for name, column in zip(("right", "right_score", "first", "first_score"), zip(*expected, strict=True), strict=True):
        np.testing.assert_array_equal(getattr(answers, name), column, err_msg=name)


def assert_same(ranks: Ranks, expected: Ranks) -> None:
    for name, left, right in zip(Ranks._fields, ranks, expected, strict=True):
        np.testing.assert_array_equal(left, right, err_msg=name)


def ranks(better: int, tied: int, tied_positives: int) -> Ranks:
    return Ranks(np.array([better]), np.array([tied]), np.array([tied_positives]))


def assert_cross_answers(images: np.ndarray, texts: np.ndarray, text_image: np.ndarray) -> None:
    """Assert that ranks are those of the full matrix, and what came first what the sorted matrix has first."""
    scores = (images.astype(np.float64) @ texts.astype(np.float64).T).astype(np.float32)
    by_image, by_text = cross_answers(images, texts, text_image)
    for result, ranks in zip((by_image, by_text), naive_cross_ranks(images, texts, text_image), strict=True):
        assert_same(result.ranks, ranks)
    assert_answers(by_image, [one_answer(scores[row], text_image == row) for row in range(len(images))])
    is_own_text = [np.arange(len(images)) == image for image in text_image]
    assert_answers(by_text, [one_answer(scores[:, row], is_own_text[row]) for row in range(len(texts))])


@pytest.mark.parametrize("make", [tied_vectors, unit_vectors])
@pytest.mark.parametrize(
    ("n_images", "n_texts", "dim"), [(1, 1, 3), (1, 5, 3), (30, 30, 4), (30, 80, 5), (40, 200, 5), (60, 90, 33)]
)
@pytest.mark.parametrize("tiles", TILES)
def test_answers_across_kinds_agree_with_the_full_matrix(
    make: Make, n_images: int, n_texts: int, dim: int, tiles: Tiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiles.use(monkeypatch)
    assert_cross_answers(make(n_images, dim, 0), make(n_texts, dim, 1), pairing(n_images, n_texts, 2))


@pytest.mark.parametrize("make", [tied_vectors, unit_vectors])
@pytest.mark.parametrize(("n", "n_groups", "dim"), [(2, 1, 3), (50, 7, 4), (50, 40, 5), (60, 25, 4), (120, 12, 33)])
@pytest.mark.parametrize("tiles", TILES)
def test_answers_within_one_kind_agree_with_the_full_matrix_and_are_never_the_query_itself(
    make: Make, n: int, n_groups: int, dim: int, tiles: Tiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiles.use(monkeypatch)
    vectors, groups = make(n, dim, 3), np.random.default_rng(4).integers(n_groups, size=n) * 10 - 5
    result, (queries, ranks, n_positives) = group_answers(vectors, groups), naive_group_ranks(vectors, groups)
    assert_same(result[1].ranks, ranks)
    np.testing.assert_array_equal(result[0], queries)
    np.testing.assert_array_equal(result[2], n_positives)
    scores = (vectors.astype(np.float64) @ vectors.astype(np.float64).T).astype(np.float32)
    np.fill_diagonal(scores, -9)
    mates = (groups[:, None] == groups[None, :]) & ~np.eye(n, dtype=bool)
    assert_answers(result[1], [one_answer(scores[row], mates[row]) for row in result[0]])


def assert_those(answers: Answers, of_all: Answers, rows: np.ndarray) -> None:
    assert_same(answers.ranks, Ranks(*(rank[rows] for rank in of_all.ranks)))
    for name, left, right in zip(Answers._fields[1:], answers[1:], of_all[1:], strict=True):
        np.testing.assert_array_equal(left, right[rows], err_msg=name)


@pytest.mark.parametrize("make", [tied_vectors, unit_vectors])
@pytest.mark.parametrize("sizes", [(1, 5, 3), (30, 30, 4), (30, 80, 5), (60, 90, 33)])
@pytest.mark.parametrize("share", [0, 0.2, 1])
@pytest.mark.parametrize("tiles", TILES)
def test_some_queries_have_the_answers_that_they_have_among_all(
    make: Make, sizes: tuple[int, int, int], share: float, tiles: Tiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiles.use(monkeypatch)
    n_images, n_texts, dim = sizes
    draws = np.random.default_rng(5)
    images, texts, text_image = make(n_images, dim, 0), make(n_texts, dim, 1), pairing(n_images, n_texts, 2)
    asked = draws.permutation(n_images)[: round(share * n_images)], draws.permutation(n_texts)[: round(share * n_texts)]
    for result, of_all, rows in zip(
        cross_answers(images, texts, text_image, asked), cross_answers(images, texts, text_image), asked, strict=True
    ):
        assert_those(result, of_all, rows)
    some, whole = group_answers(texts, text_image, np.sort(asked[1])), group_answers(texts, text_image)
    is_asked = np.isin(whole[0], asked[1])
    np.testing.assert_array_equal(some[0], whole[0][is_asked])
    np.testing.assert_array_equal(some[2], whole[2][is_asked])
    assert_those(some[1], whole[1], np.flatnonzero(is_asked))


@pytest.mark.parametrize("make", [tied_vectors, unit_vectors])
@pytest.mark.parametrize("tiles", TILES)
def test_more_items_change_answers_as_if_they_had_been_there(
    make: Make, tiles: Tiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiles.use(monkeypatch)
    images, texts, more, owner = make(20, 4, 0), make(40, 4, 1), make(70, 4, 2), pairing(20, 40, 3)
    _, answers = cross_answers(images, texts, owner)
    whole, among = answers_with_distractors(answers, texts, more, 20)
    _, expected = cross_answers(
        np.concatenate([images, more]), np.concatenate([texts, more]), np.r_[owner, 20 + np.arange(70)]
    )
    assert_those(whole, expected, np.arange(40))
    assert (among.better + answers.ranks.better).tolist() == whole.ranks.better.tolist()


@pytest.mark.parametrize("make", [tied_vectors, unit_vectors])
@pytest.mark.parametrize("n", [0, 1, 3, 8, 9])
def test_recall_over_drawn_items_is_the_mean_over_all_subsets(make: Make, n: int) -> None:
    images, texts, more, rows = make(10, 2, 0), make(10, 2, 1), make(9, 2, 2), np.arange(10)
    _, answers = cross_answers(images, texts, rows)
    _, among = answers_with_distractors(answers, texts, more, 10)
    assert (among.tied > 0).any() == (make is tied_vectors)
    own, added = texts @ images.T, texts @ more.T
    right = own[rows, rows][:, None]
    for k in (1, 2, 5):
        recalls = []
        for subset in map(list, combinations(range(9), n)):
            scores = np.concatenate([own, added[:, subset]], axis=1)
            counts = (scores > right).sum(axis=1), (scores == right).sum(axis=1) - 1
            recalls.append(recall_at_k(Ranks(*counts, np.ones(10, int)), k))
        result = expected_recall_at_k(answers.ranks, among, n_distractors=9, n=n, k=k)
        np.testing.assert_allclose(result, np.mean(recalls, axis=0), atol=1e-12)


def test_of_equals_the_first_in_the_data_is_named_and_a_hit_is_its_own_first() -> None:
    constant = unit(np.ones((1, 8), np.float32))
    by_image, by_text = cross_answers(constant.repeat(3, axis=0), constant.repeat(4, axis=0), np.array([2, 0, 1, 0]))
    assert by_image.right.tolist() == [1, 2, 0] and by_image.first.tolist() == [0, 0, 0]
    assert by_text.right.tolist() == [2, 0, 1, 0] and by_text.first.tolist() == [0, 0, 0, 0]
    axes = np.eye(4, dtype=np.float32)
    for result in cross_answers(axes, axes, np.arange(4)):
        np.testing.assert_array_equal(result.first, result.right)
        np.testing.assert_array_equal(result.first_score, result.right_score)


def test_groups_of_one_are_no_queries_but_stay_in_the_gallery() -> None:
    vectors = np.array([[1, 0], [0.5, 0], [0.75, 0]], np.float32)
    result = group_answers(vectors, np.array([1, 1, 2]))
    np.testing.assert_array_equal(result[0], [0, 1])
    np.testing.assert_array_equal(result[1].ranks.better, [1, 0])


@pytest.mark.parametrize("k", [1, 2, 3, 5, 100])
@pytest.mark.parametrize(("better", "tied", "positives"), [(0, 0, 1), (0, 3, 1), (1, 3, 2), (2, 2, 3), (4, 1, 1)])
def test_rank_statistics_are_means_over_all_orders_of_the_tied(better: int, tied: int, positives: int, k: int) -> None:
    orders = list(permutations([False] * tied + [True] * positives))
    first = np.array([better + 1 + order.index(True) for order in orders])
    assert recall_at_k(ranks(better, tied, positives), k)[0] == pytest.approx((first <= k).mean(), abs=1e-14)
    assert expected_rank(ranks(better, tied, positives))[0] == pytest.approx(first.mean(), abs=1e-14)


@pytest.mark.parametrize("k", [1, 5, 10, 1000])
@pytest.mark.parametrize(("tied", "positives"), [(24_995, 5), (49_000, 1_000), (9, 1)])
def test_recall_in_large_ties_is_hypergeometric(tied: int, positives: int, k: int) -> None:
    smallest = min(k, tied + positives)
    expected = 1 - scipy.stats.hypergeom.pmf(0, tied + positives, positives, smallest)
    assert recall_at_k(ranks(0, tied, positives), k)[0] == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("k", [1, 5, 10])
def test_a_constant_model_scores_exactly_chance(k: int) -> None:
    constant = unit(np.random.default_rng(0).standard_normal((1, 64)).astype(np.float32))
    text_image = pairing(50, 210, 1)
    by_image, by_text = cross_ranks(constant.repeat(50, axis=0), constant.repeat(210, axis=0), text_image)
    n_texts = np.bincount(text_image)
    assert recall_at_k(by_image, k).mean() == chance_recall_at_k(n_texts, 210, k)
    assert recall_at_k(by_text, k).mean() == chance_recall_at_k(np.ones(210, np.int64), 50, k)
    assert_same(by_image, Ranks(0 * n_texts, 210 - n_texts, n_texts))
    groups = group_answers(constant.repeat(50, axis=0), np.arange(50) // 5)
    assert recall_at_k(groups[1].ranks, k).mean() == chance_recall_at_k(groups[2], 49, k)


@pytest.mark.parametrize("few", [32, 1e-9])
def test_zeros_tie_although_their_products_have_no_error(few: float, monkeypatch: pytest.MonkeyPatch) -> None:
    Tiles(4, few).use(monkeypatch)
    zeros = np.zeros((9, 3), np.float32)
    for result in (*cross_ranks(zeros, zeros, np.arange(9)), group_answers(zeros, np.arange(9) // 9)[1].ranks):
        assert not result.better.any() and set(result.tied + result.tied_positives) <= {8, 9}


def test_a_positive_does_not_beat_itself_where_two_sums_differ_in_the_last_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    """As they may for vectors that are not from ``unit``."""

    def a_bit_lower(left: np.ndarray, right: np.ndarray, pairs: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
        return np.nextafter(scores_of_pairs(left, right, pairs), np.float32(-2))

    monkeypatch.setattr(ranking, "scores_of_pairs", a_bit_lower)
    monkeypatch.setattr(_search, "scores_of_pairs", a_bit_lower)
    axes = np.eye(4, dtype=np.float32)
    for result in cross_ranks(axes, axes, np.arange(4)):
        assert_same(result, Ranks(np.zeros(4, np.int64), np.zeros(4, np.int64), np.ones(4, np.int64)))


@pytest.mark.parametrize("tiles", TILES)
@pytest.mark.parametrize("by", [0.0, 2.0**-26, 1e-7, 1e-6, 1e-3])
def test_scores_closer_than_the_error_of_a_product_are_told_apart(
    by: float, tiles: Tiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Copies of the right texts, and texts that differ from them by less than float32 products can tell, among
    others.
    """
    tiles.use(monkeypatch)
    images = unit_vectors(12, 64, 0)
    noise = np.random.default_rng(1).standard_normal((60, 64)).astype(np.float32)
    near = unit(images.repeat(5, axis=0) + np.float32(by) * noise)
    texts = np.concatenate([near, unit_vectors(30, 64, 2), images[:6]])
    text_image = np.concatenate([np.random.default_rng(3).permutation(60) % 12, np.arange(36) % 12])
    assert_cross_answers(images, texts, text_image)


def test_one_caption_a_thousand_times_is_no_more_work_than_it_must_be(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every pair with it ties for the first place: scored one by one they would take as much memory as all vectors of
    all pairs.
    """
    scored = []

    def counted(left: np.ndarray, right: np.ndarray, pairs: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
        scored.append(len(pairs[0]))
        return scores_of_pairs(left, right, pairs)

    monkeypatch.setattr(ranking, "scores_of_pairs", counted)
    monkeypatch.setattr(_search, "scores_of_pairs", counted)
    images = unit(unit_vectors(50, 16, 0) + np.float32(1))
    texts = np.concatenate([unit(np.ones((1, 16), np.float32)).repeat(1000, axis=0), unit_vectors(50, 16, 1)])
    by_image, _ = cross_ranks(images, texts, np.concatenate([np.arange(1000) % 50, np.arange(50)]))
    assert set(by_image.tied) == {980} and set(by_image.tied_positives) == {20}
    assert sum(scored) < 1050 + 2 * 1050


def test_real_vectors_give_the_known_recalls() -> None:
    images, texts = published_vectors("features_clip")
    by_image, by_text = cross_ranks(images, texts, np.arange(500))
    assert [recall_at_k(by_image, k).mean() for k in (1, 5, 10)] == pytest.approx([0.552, 0.808, 0.892], abs=1e-12)
    assert [recall_at_k(by_text, k).mean() for k in (1, 5, 10)] == pytest.approx([0.506, 0.766, 0.862], abs=1e-12)


def test_there_may_be_neither_images_nor_texts() -> None:
    nothing = np.zeros((0, 4), np.float32)
    for result in cross_answers(nothing, nothing, np.zeros(0, np.int64)):
        assert not any(map(len, (*result.ranks, result.right, result.right_score, result.first, result.first_score)))


def test_more_than_a_byte_can_count_are_counted() -> None:
    """All other texts are above each image's own, and all but one of the images above each text's own."""
    images = unit(np.array([[1, 0], *[[1, 1]] * 299], np.float32))
    texts = unit(np.array([[0, 1], *[[1, 0]] * 299], np.float32))
    by_image, by_text = cross_ranks(images, texts, np.arange(300))
    for result, expected in zip((by_image, by_text), naive_cross_ranks(images, texts, np.arange(300)), strict=True):
        assert_same(result, expected)
    assert by_text.better[0] == by_image.better[0] == 299


def test_the_full_matrix_is_never_held(monkeypatch: pytest.MonkeyPatch) -> None:
    Tiles(128, 32, 2).use(monkeypatch)
    images, texts = unit_vectors(600, 16, 0), unit_vectors(1400, 16, 1)
    tracemalloc.start()
    cross_ranks(images, texts, pairing(600, 1400, 2))
    group_answers(texts, np.arange(1400) // 2)
    cross_answers(images, texts, pairing(600, 1400, 2), (np.arange(500), np.arange(1000)))
    group_answers(texts, np.arange(1400) // 2, np.arange(1000))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1.5e6  # the matrices have 3.4 and 7.8 MB in float32


@pytest.mark.parametrize(
    ("owners", "message"),
    [
        ([0, 1, -1, 2], "text 2 belongs to image -1: expected 0 to 2"),
        ([0, 1, 3, 2], "text 2 belongs to image 3: expected 0 to 2"),
        ([0, 0, 2, 2], "image 1 has no text: expected at least one for each"),
    ],
)
def test_owners_that_do_not_fit_are_refused(owners: list[int], message: str) -> None:
    with pytest.raises(DataError, match=message):
        cross_ranks(tied_vectors(3, 2, 0), tied_vectors(4, 2, 1), np.array(owners))
