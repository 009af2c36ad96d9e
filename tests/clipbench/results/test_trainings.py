"""Runs that are of checkpoints of one training."""

from pathlib import Path
from typing import Any

import pytest

from clipbench.results.matching import is_one_training, trainings
from clipbench.results.run import Run
from tests.made import result_of


def run_of(ref: str, step: int | None, **model: Any) -> Run:
    known = {"ref": ref, "step": step, "fingerprint": f"{ref} {step}", "embed_dim": 8, **model}
    return Run(Path(ref), result_of(model=known))


@pytest.mark.parametrize(
    ("runs", "is_one"),
    [
        ([run_of("logs/step-10", 10), run_of("logs/step-20", 20)], True),
        ([run_of("logs/epoch_1.pt as ViT-B-32", 1), run_of("logs/epoch_2.pt as ViT-B-32", 2)], True),
        ([run_of("mine", 10), run_of("mine", 20)], True),  # a model in memory, watched through its training
        ([run_of("one/step-10", 10), run_of("other/step-20", 20)], False),
        ([run_of("one.pt", 10), run_of("other.pt", 20)], False),  # two models of one folder
        ([run_of("logs/step-10", 10), run_of("logs/step-20", 20, embed_dim=16)], False),
        ([run_of("logs/step-10", 10), run_of("logs/step-10", 10, fingerprint="other")], False),
        ([run_of("logs/step-10", 10), run_of("logs/last", None)], False),
        ([run_of("logs/step-10", 10)], False),
    ],
)
def test_runs_are_of_one_training_where_their_models_differ_in_the_step_alone(runs: list[Run], is_one: bool) -> None:
    assert is_one_training(runs) == is_one


def test_each_run_has_the_training_that_its_model_is_of() -> None:
    first, second, other, unknown = trainings(
        [run_of("a/step-1", 1), run_of("a/step-2", 2), run_of("b/step-1", 1), run_of("c", None)]
    )
    assert first == second != other and first is not None and unknown is None
