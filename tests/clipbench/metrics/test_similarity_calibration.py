"""Match probabilities by cosine against loops, isotonic regression, and mixtures whose answer is known."""

from collections.abc import Sequence

import numpy as np
import pytest
from sklearn.isotonic import IsotonicRegression

from clipbench.metrics import similarity as arrays
from clipbench.metrics.similarity import unit
from clipbench.metrics.similarity_calibration import (
    FINE_BINS,
    MatchCounts,
    expected_noise,
    match_counts,
    match_probabilities,
)


def vectors(n: int, seed: int, dim: int = 5) -> np.ndarray:
    return unit(np.random.default_rng(seed).standard_normal((n, dim)).astype(np.float32))


def counted(cosines: np.ndarray) -> np.ndarray:
    """Return cosines in the fine bins."""
    return np.histogram(np.clip(cosines, -1, 1), bins=np.linspace(-1, 1, FINE_BINS + 1))[0]


def kind(
    match: float, other: float, *, spread: float = 0.1, n: int = 1_000_000, n_others: int = 1_000_000, seed: int = 0
) -> MatchCounts:
    draws = np.random.default_rng(seed)
    return MatchCounts(counted(draws.normal(match, spread, n)), counted(draws.normal(other, spread, n_others)))


def few(values: dict[int, int], others: dict[int, int], n_fine: int = 8) -> MatchCounts:
    def row(held: dict[int, int]) -> np.ndarray:
        return np.array([held.get(index, 0) for index in range(n_fine)], np.int64)

    return MatchCounts(row(values), row(others))


# Counts ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("block_elements", [1, 100, 1 << 23])
@pytest.mark.parametrize("is_same", [False, True])
def test_every_pair_is_counted_once_as_a_match_or_not(
    is_same: bool, block_elements: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arrays, "BLOCK_ELEMENTS", block_elements)
    left = vectors(23, 0)
    right = left if is_same else vectors(17, 1)
    left_groups = np.arange(23) % 4
    right_groups = left_groups if is_same else np.arange(17) % 5
    result = match_counts(left, right, left_groups=left_groups, right_groups=right_groups, is_same=is_same)
    expected = np.zeros((2, FINE_BINS), np.int64)
    for i in range(23):
        for j in range(i + 1 if is_same else 0, len(right)):
            cosine = np.float32(sum(float(a) * float(b) for a, b in zip(left[i], right[j], strict=True)))
            smallest = min(int((float(cosine) + 1) / 2 * FINE_BINS), FINE_BINS - 1)
            expected[int(left_groups[i] == right_groups[j]), smallest] += 1
    np.testing.assert_array_equal(result.matches, expected[1])
    np.testing.assert_array_equal(result.non_matches, expected[0])
    assert result.matches.sum() + result.non_matches.sum() == (23 * 22 / 2 if is_same else 23 * 17)


# Probabilities and errors ---------------------------------------------------------------------------------------------


def test_even_odds_whatever_the_numbers() -> None:
    """9 of 10 matches and 2 of 1,000 others at place 6: .9 / (.9 + .002); at place 1, .1 / (.1 + .998)."""
    probabilities = match_probabilities({"a": few({1: 1, 6: 9}, {1: 998, 6: 2})}, n_bins=4)
    assert probabilities.probability["a"].tolist() == pytest.approx([0.1 / 1.098, 0.9 / 0.902])
    assert probabilities.cosine["a"].tolist() == pytest.approx(
        [-0.625, 0.625]
    )  # the middles of places 1 and 6 of eight
    assert probabilities.pooled.tolist() == pytest.approx(probabilities.probability["a"].tolist())
    assert probabilities.error == probabilities.errors["a"] == pytest.approx(0, abs=1e-15)


def test_the_error_is_the_mean_distance_over_a_kind_s_own_cosines() -> None:
    """Both kinds in both bins: a has P 1/4 and 3/4, b has 0 and 1; the pool has 1/8 and 7/8."""
    kinds = {"a": few({1: 1, 6: 3}, {1: 3, 6: 1}), "b": few({6: 5}, {1: 5})}
    probabilities = match_probabilities(kinds, n_bins=2)
    assert probabilities.pooled.tolist() == pytest.approx([1 / 8, 7 / 8])
    assert probabilities.errors == pytest.approx({"a": 1 / 8, "b": 1 / 8})


def test_kinds_of_one_meaning_have_hardly_an_error() -> None:
    probabilities = match_probabilities({"a": kind(0.45, 0.3, seed=0), "b": kind(0.45, 0.3, seed=1)})
    assert probabilities.error < 2 * 0.45 / 1000


def test_a_shifted_kind_has_an_error_that_grows_with_the_shift() -> None:
    errors = [
        match_probabilities({"a": kind(0.45, 0.3), "b": kind(0.45 + by, 0.3 + by, seed=1)}).error
        for by in (0.0, 0.05, 0.15, 0.5)
    ]
    assert errors == sorted(errors) and errors[-1] > 0.1


def test_kinds_that_share_no_cosine_are_not_called_calibrated() -> None:
    """A wide gap: matches of kind a are farther than what is no match of kind b, and no threshold serves both.

    The pool cannot tell them apart, and says 1/2 for half the mass of each kind, where a has 1 and b has 0.
    """
    apart = {"a": kind(0.3, 0.1, spread=0.01), "b": kind(0.8, 0.6, spread=0.01, seed=1)}
    probabilities = match_probabilities(apart, n_bins=16)  # four masses of a quarter: no bin holds parts of two
    assert probabilities.errors == pytest.approx({"a": 0.25, "b": 0.25}, abs=1e-3)


def test_the_pool_is_the_isotonic_regression_of_the_kinds() -> None:
    draws = np.random.default_rng(5)
    kinds = {name: MatchCounts(*draws.integers(0, 9, (2, 40))) for name in "abc"}
    probabilities = match_probabilities(kinds, n_bins=12)
    # The bins, from their definition: a fine bin goes where the middle of its mass falls.
    shares = np.array(
        [[kind.matches / kind.matches.sum(), kind.non_matches / kind.non_matches.sum()] for kind in kinds.values()]
    )
    mass = shares.sum(axis=(0, 1)) / 6
    values = ((np.cumsum(mass) - mass / 2) * 12).astype(int)
    binned = np.array([[[row[values == b].sum() for b in np.unique(values)] for row in kind] for kind in shares])
    weight = binned.sum(axis=(0, 1)) / 2
    raw = binned[:, 0].sum(axis=0) / (2 * weight)
    assert (np.diff(raw) < 0).any(), "else this would say nothing of isotonic regression"
    expected = IsotonicRegression().fit(np.arange(len(raw)), raw, sample_weight=weight).predict(np.arange(len(raw)))
    np.testing.assert_allclose(probabilities.pooled, expected, atol=1e-12)
    for (matches, others), name in zip(binned, kinds, strict=True):
        p = matches / (matches + others)
        np.testing.assert_allclose(probabilities.probability[name], p, atol=1e-12)
        by_hand = sum((m + o) / 2 * abs(kind - q) for m, o, kind, q in zip(matches, others, p, expected, strict=True))
        assert probabilities.errors[name] == pytest.approx(by_hand, abs=1e-12)


def test_bins_hold_equal_mass() -> None:
    kinds = {"a": kind(0.45, 0.3), "b": kind(0.6, 0.2, seed=1)}
    probabilities = match_probabilities(kinds, n_bins=15)
    assert len(probabilities.pooled) == 15
    assert (np.diff(probabilities.pooled) >= -1e-12).all()
    assert (np.diff(probabilities.cosine["a"]) > 0).all()


@pytest.mark.parametrize(
    "n_matches", [100, pytest.param(1_000, marks=pytest.mark.slow), pytest.param(10_000, marks=pytest.mark.slow)]
)
def test_noise_of_kinds_of_one_size_is_what_the_docstring_says(n_matches: int) -> None:
    assert noise_of_one_meaning([n_matches] * 3).mean() == pytest.approx(0.45 / np.sqrt(n_matches), rel=0.2)


@pytest.mark.parametrize(
    "sizes",
    [
        (300, 300),
        (1_000, 100, 100),
        *(pytest.param(each, marks=pytest.mark.slow) for each in ((100, 10_000, 10_000), (2_000, 2_000, 50_000))),
    ],
)
def test_the_expected_noise_is_what_kinds_of_one_meaning_show(sizes: tuple[int, ...]) -> None:
    expected = expected_noise({str(row): n for row, n in enumerate(sizes)})
    np.testing.assert_allclose(noise_of_one_meaning(sizes), list(expected.values()), rtol=0.2)


def noise_of_one_meaning(sizes: Sequence[int]) -> np.ndarray:
    """Return the mean error of each of some kinds that differ by chance only, with many more others than matches."""
    errors = []
    for seed in range(24):
        kinds = {str(row): kind(0.45, 0.3, n=n, n_others=200_000, seed=10 * seed + row) for row, n in enumerate(sizes)}
        errors.append(list(match_probabilities(kinds).errors.values()))
    return np.mean(errors, axis=0)
