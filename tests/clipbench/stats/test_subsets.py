"""Sums of random subsets: against a product with the weights."""

import numpy as np
import pytest

from clipbench.stats.subsets import ByteSums, SubsetSums


@pytest.mark.parametrize("n", [0, 1, 8, 9, 600])
def test_sums_of_subsets_are_those_of_a_product(n: int) -> None:
    rng = np.random.default_rng(n)
    units, columns, weights = rng.integers(0, 50, n), rng.integers(0, 3, n), rng.standard_normal(n)
    table = np.zeros((50, 4))
    np.add.at(table, (units, columns), weights)
    is_in = rng.random((20, 50)) < 0.5
    assert SubsetSums(units, columns, weights, 4).of(is_in) == pytest.approx(is_in @ table)


def test_a_bit_stands_for_a_weight_the_lowest_first() -> None:
    weights = np.random.default_rng(0).standard_normal(700)
    is_in = np.random.default_rng(1).random((9, 700)) < 0.5
    rows = np.packbits(is_in, axis=1, bitorder="little")
    assert ByteSums(weights).of(rows) == pytest.approx(is_in @ weights)
