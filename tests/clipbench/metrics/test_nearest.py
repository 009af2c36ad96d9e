"""The nearest items of a query against a sort of all scores, ties and left-out items among them."""

import numpy as np
import pytest

from clipbench.metrics.similarity import nearest, score_blocks, unit


@pytest.mark.parametrize("coarse", [False, True])
@pytest.mark.parametrize("is_own", [False, True])
def test_the_nearest_are_the_first_of_all_scores_sorted(coarse: bool, is_own: bool) -> None:
    rng = np.random.default_rng(0)
    for n, k in ((3, 5), (40, 5), (300, 1)):
        raw = rng.integers(1, 3, (n, 4)) if coarse else rng.normal(size=(n, 4))
        items = unit(raw.astype(np.float32))
        own = np.arange(n)[: min(n, 12)] if is_own else None
        queries = items[: min(n, 12)]
        ((_, scores),) = score_blocks(queries, items)
        if own is not None:
            scores[own, own] = -np.inf
        expected = np.argsort(-scores, axis=1, kind="stable")[:, : min(k, n - is_own)]
        rows, result = nearest(queries, items, k, without=None if own is None else list(own[:, None]))
        np.testing.assert_array_equal(rows, expected)
        np.testing.assert_array_equal(result, np.take_along_axis(scores, expected, axis=1))


def test_the_nearest_is_found_behind_many_that_are_nearly_as_near() -> None:
    items = np.repeat(unit(np.array([[1.0, 2.004]], np.float32)), 2001, axis=0)
    items[-1] = query = unit(np.array([[1, 2]], np.float32))[0]
    assert nearest(query[None], items, 2)[0].tolist() == [[2000, 0]]


def test_any_number_of_items_is_left_out_for_each_query() -> None:
    items = unit(np.array([[1, 0], [1, 0.2], [1, 0.3], [1, 0.7]], np.float32))
    rows, _ = nearest(items[:2], items, 4, without=[np.array([0, 2]), np.zeros(0, np.int64)])
    assert rows.tolist() == [[1, 3], [1, 2]]
