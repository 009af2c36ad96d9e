"""How numbers are written: a value, its bounds and its neighbours alike, whatever their size and sign."""

import re

import numpy as np
import pytest

from clipbench.results.numbers import (
    DECIMALS,
    NONE,
    ascii_signs,
    change,
    change_interval,
    interval,
    number,
    p_value,
    quantity,
    significant,
)
from clipbench.results.record import Metric

UNITS = [*DECIMALS, "cosine", "distance", "nats", "metres"]


def decimals(text: str) -> int:
    return len(text.partition(".")[2])


@pytest.mark.parametrize("unit", UNITS)
def test_value_and_bounds_have_the_same_decimals_and_are_the_rounded_numbers(unit: str) -> None:
    scale = 100 if unit in ("fraction", "difference") else 1
    for value in np.random.default_rng(0).normal(scale=3, size=200).tolist():
        bounds = interval(Metric(value=value, low=value - 0.1, high=value + 1e-6, unit=unit))
        texts = [number(value, unit), *bounds.strip("[]").split(", ")]
        assert len(set(map(decimals, texts))) == 1, texts
        for text, exact in zip(texts, (value, value - 0.1, value + 1e-6), strict=True):
            assert float(ascii_signs(text).replace(",", "")) == pytest.approx(
                scale * exact, abs=0.51 * 10 ** -decimals(text)
            )


@pytest.mark.parametrize("write", [lambda x: number(x, "cosine"), lambda x: change(x, "fraction"), significant])
def test_no_zero_has_a_sign_and_no_hyphen_stands_for_a_minus(write: object) -> None:
    assert callable(write)
    for value in (0.0, -0.0, -1e-9, 1e-9, -0.5, -1234.5):
        text = write(value)
        assert "-" not in text
        assert text.startswith("−") == (value < -1e-4 or (write is significant and value < 0))


def test_what_is_no_number_is_a_dash_and_has_no_unit() -> None:
    assert {quantity(None, "fraction"), change(float("nan"), "fraction"), number(float("inf"), "rank")} == {NONE}
    assert {interval(Metric(value=None)), change_interval(None, None, "cosine"), p_value(None)} == {NONE}


def test_a_change_of_fractions_is_in_percentage_points_with_a_decimal_more_than_the_values() -> None:
    assert (quantity(0.5, "fraction"), change(0.0125, "fraction")) == ("50.0 %", "+1.25 pp")
    assert (quantity(0.5, "cosine"), change(0.0125, "cosine")) == ("0.5000", "+0.0125")
    assert change_interval(-0.01, 0.02, "fraction") == "[−1.00, +2.00]"


def test_ascii_leaves_names_alone() -> None:
    assert ascii_signs("zero-shot −1.0") == "zero-shot -1.0"


def test_p_values_have_two_digits_and_never_round_to_zero() -> None:
    for p in (0.0, 1e-12, 0.00009, 0.0499, 0.0501, 0.5):
        text = p_value(p)
        assert re.fullmatch(r"<0\.0001|0\.\d+", text) and float(text.strip("<")) > 0
        assert float(text.strip("<")) == pytest.approx(p, rel=0.05, abs=1e-4)
