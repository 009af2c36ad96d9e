"""choice: credit against all orders of the tied scores, written out; shapes of each benchmark; what is undefined."""

from itertools import permutations

import numpy as np
import pytest
from sklearn.metrics import jaccard_score

from clipbench.errors import DataError
from clipbench.metrics.choice import chance_choices, choices, contrast_scores

WINO = np.eye(2, dtype=bool)


def strict(scores: np.ndarray, truth: np.ndarray) -> tuple[bool, bool]:
    """Whether text and image are right, by the definition, for scores without ties."""
    text = all(scores[i, a] > scores[i, b] for i in range(len(truth)) for a, b in pairs(truth[i]))
    image = all(scores[a, c] > scores[b, c] for c in range(truth.shape[1]) for a, b in pairs(truth[:, c]))
    return text, image


def pairs(line: np.ndarray) -> list[tuple[int, int]]:
    return [(int(a), int(b)) for a in np.flatnonzero(line) for b in np.flatnonzero(~line)]


def by_all_orders(scores: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Mean of text, image and both over all orders in which scores that are equal can be put."""
    outcomes = []
    for order in permutations(range(scores.size)):
        broken = scores.astype(np.float64) + 1e-6 * np.array(order).reshape(scores.shape)
        text, image = strict(broken, truth)
        outcomes.append((text, image, text and image))
    return np.mean(outcomes, axis=0)


@pytest.mark.parametrize(
    "truth",
    [
        [[True, False]],
        [[True, True, False]],
        [[True], [False], [True]],
        [[True, False], [False, True]],
        [[True, False, False], [False, True, False]],
        [[True, True, False], [False, True, True]],
        [[True, False, False, False, False]],
        [[True, False], [False, True], [False, False]],
    ],
)
def test_credit_is_the_mean_over_all_orders_of_what_is_tied(truth: list[list[bool]]) -> None:
    expected = np.array(truth)
    draws = np.random.default_rng(sum(map(len, truth)))
    scores = draws.integers(-1, 2, (12, *expected.shape)).astype(np.float32)
    result = choices(scores, expected)
    has_text = any(0 < sum(row) < len(row) for row in truth)
    has_image = any(0 < sum(column) < len(column) for column in zip(*truth, strict=True))
    for row, score in enumerate(scores):
        text, image, group = by_all_orders(score, expected)
        assert result.text[row] == pytest.approx(text, abs=1e-12) if has_text else np.isnan(result.text[row])
        assert result.image[row] == pytest.approx(image, abs=1e-12) if has_image else np.isnan(result.image[row])
        both = has_text and has_image
        assert result.group[row] == pytest.approx(group, abs=1e-12) if both else np.isnan(result.group[row])


@pytest.mark.parametrize(
    ("truth", "text", "image", "group"),
    [
        ([[1, 0]], 1 / 2, None, None),  # SugarCrepe
        ([[1, 1, 0]], 1 / 3, None, None),  # SugarCrepe++
        ([[1, 0, 0, 0, 0]], 1 / 5, None, None),  # ARO's order sets
        ([[1, 0], [0, 1]], 1 / 4, 1 / 4, 1 / 6),  # Winoground
        ([[1], [1], [0], [1]], None, 1 / 4, None),  # NLVR: three true images above a false one
        ([[1], [1], [0], [0]], None, 1 / 6, None),
    ],
)
def test_chance_is_what_the_papers_say(
    truth: list[list[int]], text: float | None, image: float | None, group: float | None
) -> None:
    chances = chance_choices(np.array(truth, bool))
    for value, expected in ((chances.text, text), (chances.image, image), (chances.group, group)):
        assert np.isnan(value[0]) if expected is None else value[0] == pytest.approx(expected, abs=1e-15)


def test_pairs_and_margins_are_those_of_the_image_or_caption_that_is_asked() -> None:
    scores = np.array([[[0.5, 0.25], [0.25, 0.125]]], np.float32)
    result = choices(scores, WINO)
    assert result.text_pairs.tolist() == [0.5] and result.text_margin.tolist() == [-0.125]  # the second image is wrong
    assert result.image_pairs.tolist() == [0.5] and result.image_margin.tolist() == [-0.125]
    assert result.group.tolist() == [0.0]


@pytest.mark.parametrize("n_true", [1, 3, 5])
def test_the_jaccard_index_is_that_of_the_highest_and_the_mean_over_all_orders_of_ties(n_true: int) -> None:
    draws = np.random.default_rng(0)
    truth = np.arange(6)[:, None] < n_true
    for scores in (draws.standard_normal((8, 6, 1)), draws.integers(0, 3, (8, 6, 1)), np.zeros((1, 6, 1))):
        expected = []
        for item in scores[:, :, 0]:
            orders = [sorted(order, key=lambda k: -item[k]) for order in permutations(range(6))]
            chosen = [np.isin(np.arange(6), order[:n_true]) for order in orders]
            expected.append(np.mean([jaccard_score(truth[:, 0], each) for each in distinct(chosen)]))
        assert choices(scores.astype(np.float32), truth).image_jaccard == pytest.approx(expected)


def distinct(chosen: list[np.ndarray]) -> list[np.ndarray]:
    """Each choice once: all are equally often."""
    return [np.array(array) for array in {tuple(array.tolist()) for array in chosen}]


def test_many_candidates_that_all_tie_cost_nothing() -> None:
    truth = np.zeros((1, 200), bool)
    truth[0, 7] = True
    assert chance_choices(truth).text[0] == pytest.approx(1 / 200, abs=1e-15)


def test_a_group_of_ten_ties_is_exact_and_one_of_twenty_is_refused() -> None:
    assert 0 < chance_choices(np.eye(10, dtype=bool)).group[0] < chance_choices(np.eye(9, dtype=bool)).group[0]
    with pytest.raises(DataError, match="a group of 20 images and 20 captions has 20 tied true entries"):
        chance_choices(np.eye(20, dtype=bool))


@pytest.mark.parametrize("truth", [[[True, True]], [[False], [False]]])
def test_nothing_to_choose_is_an_error(truth: list[list[bool]]) -> None:
    with pytest.raises(DataError, match="nothing to choose"):
        chance_choices(np.array(truth))


def test_scores_of_contrasts_are_dot_products_in_their_order() -> None:
    draws = np.random.default_rng(3)
    images, texts = draws.standard_normal((5, 4)).astype(np.float32), draws.standard_normal((6, 4)).astype(np.float32)
    image_rows, text_rows = draws.integers(0, 5, (3000, 2)), draws.integers(0, 6, (3000, 3))
    scores = contrast_scores(images, texts, image_rows, text_rows)
    for n in (0, 1023, 1024, 2999):
        for i in range(2):
            for c in range(3):
                expected = float(
                    images[image_rows[n, i]].astype(np.float64) @ texts[text_rows[n, c]].astype(np.float64)
                )
                assert scores[n, i, c] == pytest.approx(expected, abs=1e-6)


def test_a_thousand_tied_images_have_the_mean_overlap_of_random_order() -> None:
    truth = np.repeat([True, False], 600)[:, None]
    result = choices(np.zeros((1, 1200, 1), np.float32), truth).image_jaccard[0]
    assert result == pytest.approx(1 / 3, abs=1e-3)  # 300 of 600 are hit, of 900 in all
