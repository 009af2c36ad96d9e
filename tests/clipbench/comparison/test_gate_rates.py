"""How often a gate fails and claims "within" by error, in the simulation behind the table of docs/ci.md."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest
import scipy.stats

pytestmark = pytest.mark.simulation
FILE = Path(__file__).parents[3] / "experiments" / "rates_gate.py"
N_DRAWS = [40, pytest.param(2000, marks=pytest.mark.slow)]
LAWS = [0, pytest.param(1, marks=pytest.mark.slow)]
"""Single hits, and hits of five captions per image, whose draws take four times as long."""


@pytest.fixture(scope="module")
def rates_gate() -> ModuleType:
    if not FILE.is_file():
        pytest.skip("the folder of experiments is not there")
    spec = importlib.util.spec_from_file_location("rates_gate", FILE)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("n_draws", N_DRAWS)
@pytest.mark.parametrize("law", LAWS)
def test_without_a_loss_the_gate_fails_in_one_of_twenty_at_most(rates_gate: ModuleType, law: int, n_draws: int) -> None:
    rates = rates_gate.simulate(rates_gate.Cell(rates_gate.LAWS[law], 2_000, 0.0), n_draws)
    assert rates.fails <= most(n_draws)


@pytest.mark.parametrize("n_draws", N_DRAWS)
@pytest.mark.parametrize("law", LAWS)
def test_a_loss_at_the_limit_is_within_it_in_one_of_twenty_at_most(
    rates_gate: ModuleType, law: int, n_draws: int
) -> None:
    rates = rates_gate.simulate(rates_gate.Cell(rates_gate.LAWS[law], 2_000, 1.0), n_draws)
    assert rates.within <= most(n_draws)


@pytest.mark.parametrize("n_draws", N_DRAWS)
def test_a_whole_interval_is_within_the_limit_only_if_the_loss_is_smaller(rates_gate: ModuleType, n_draws: int) -> None:
    """With 10,000 samples intervals are short enough for *equal*, which needs all of them within the limit."""
    of_times = {
        times: rates_gate.simulate(rates_gate.Cell(rates_gate.LAWS[0], 10_000, times), n_draws) for times in (0.0, 1.0)
    }
    assert of_times[0.0].inside > 0.5
    assert of_times[1.0].inside <= most(n_draws)
    assert of_times[1.0].equal <= most(n_draws)


def most(n_draws: int) -> float:
    """Return the fraction that an error rate of 5 % exceeds once in a hundred simulations."""
    return float(scipy.stats.binom.isf(0.01, n_draws, 0.05)) / n_draws
