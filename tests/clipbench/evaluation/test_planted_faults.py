"""Twelve faults planted around a model: how many doctor names without an expected score, and none of the model itself."""

import importlib.util
from pathlib import Path
from typing import Any

import pytest

from clipbench import load_model

SCRIPT = Path(__file__).parents[3] / "experiments" / "faults.py"
LEAST_NAMED = 10


def script() -> Any:
    if not SCRIPT.exists():
        pytest.skip("experiments/ is not part of the source distribution")
    spec = importlib.util.spec_from_file_location("planted_faults", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
def test_doctor_names_at_least_ten_of_twelve_planted_faults_and_none_of_the_model_itself(tmp_path: Path) -> None:
    faults = script()
    parts = faults.reading_case_and_padding(faults.parts_of(load_model("tiny")))
    records = list(faults.results(parts, *faults.scenes_of(tmp_path), shows_parts=True))
    states = {record["fault"]: record["state"] for record in records}
    assert len(states) == 13 and states.pop("none") == "-"
    items = [fault for fault, state in states.items() if state == "named"]
    assert len(items) >= LEAST_NAMED, records
    assert "-" not in states.values(), records
