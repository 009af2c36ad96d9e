"""Krippendorff's alpha: against the value that he printed, and by hand."""

import pytest

from clipbench.stats.agreement import ordinal_alpha


def test_the_value_is_that_of_the_published_example() -> None:
    """Four observers, twelve units, grades 1 to 5, some missing: Krippendorff (2011), section D, prints 0.815."""
    observers = ["123321412...", "1233224125.3", ".3332342251.", "12332441251."]
    units = [[int(grade) for grade in unit if grade != "."] for unit in zip(*observers, strict=True)]
    assert ordinal_alpha(units) == pytest.approx(0.815, abs=5e-4)


@pytest.mark.parametrize(
    ("units", "expected"),
    [
        ([[0, 0], [3, 3]], 1.0),
        ([[0, 1], [1, 0]], -0.5),  # observed 1; expected 2 * 2 * 2 / (4 * 3) = 2 / 3
        ([[0], [1], [2, 2]], None),
        ([[1, 1], [1, 1, 1]], None),
        ([], None),
    ],
)
def test_values_by_hand(units: list[list[int]], expected: float | None) -> None:
    assert ordinal_alpha(units) == (expected if expected is None else pytest.approx(expected))
