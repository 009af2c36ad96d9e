"""composition in the report: what the figures, the table and the sentences say of what a run holds."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from clipbench.results.record import DatasetRecord, EvaluationRecord, Metric
from clipbench.results.run import Run
from clipbench_reports.evidence.evidence import Evidence
from clipbench_reports.sections.composition import findings

MakeRun = Callable[..., Run]


def fraction(value: float, chance: float, n: int = 250, half: float = 0.05) -> Metric:
    return Metric(value=value, low=value - half, high=value + half, chance=chance, n=n, higher_is_better=True)


TITLES = {"swap_att": "Colours swapped"}
METRICS = {
    "macro/text_acc": fraction(0.5, 0.25),
    "micro/text_acc": fraction(0.5, 0.25, 500),
    "micro/image_acc": fraction(0.22, 0.25, 500),
    "swap_att/text_acc": fraction(0.27, 0.25),
    "swap_att/image_acc": fraction(0.21, 0.25),
    "swap_att/group_acc": fraction(0.1, 1 / 6),
    "count/text_acc": fraction(0.73, 0.25),
    "count/image_acc": fraction(0.6, 0.25),
    "twin_cosine": Metric(value=0.98, unit="cosine"),
    "other_cosine": Metric(value=0.2, unit="cosine"),
}


def samples(n: int = 40) -> dict[str, np.ndarray]:
    draws = np.random.default_rng(0)
    return {
        "sample_id": np.array([f"i{k}" for k in range(n)], object),
        "subset": np.array(["swap_att", "count"] * (n // 2), object),
        "caption": np.array([f"a red cup {k}" for k in range(n)], object),
        "preferred": np.array([f"a blue cup {k}" for k in range(n)], object),
        "text_margin": np.arange(-n // 2, n // 2) / 100,
        "swap_att/text_acc": np.where(np.arange(n) % 2 == 0, np.arange(n) >= n // 2, np.nan),
        "count/text_acc": np.where(np.arange(n) % 2 == 1, np.arange(n) >= n // 2, np.nan),
        "twin_cosine": draws.uniform(0.9, 1.0, n),
        "other_cosine": draws.uniform(-0.3, 0.6, n),
    }


def parts(**changes: Any) -> dict[str, Any]:
    return {"samples": samples(), "metrics": METRICS, "subsets": TITLES, **changes}


@pytest.fixture
def evidence(make_run: MakeRun) -> Callable[..., Evidence]:
    """Return a function that keeps the parts of one evaluation in a run and gives it as evidence."""

    def make(**changes: Any) -> Evidence:
        run = make_run({"composition@scenes": parts(**changes)})
        return Evidence(run, run.result.evaluations[0])

    return make


def record(metrics: dict[str, Metric]) -> EvaluationRecord:
    return EvaluationRecord(
        task="composition", task_version=1, params={}, dataset=DatasetRecord(id="d"), status="ok", metrics=metrics
    )


def test_sentences_say_the_whole_the_weak_subsets_and_the_twins() -> None:
    said = [(found.mark, found.text) for found in findings(record(METRICS))]
    assert said == [
        (
            "good",
            (
                "Puts the captions that are true of an image above the false ones in 50.0 % [45.0, 55.0]"
                " of 500 items; chance is 25.0 %."
            ),
        ),
        (
            "level",
            "Telling captions apart: inconclusive in “swap_att” (27.0 % [22.0, 32.0]; chance is 25.0 %).",
        ),
        (
            "level",
            (
                "Puts the images that a caption is true of above the others in 22.0 % [17.0, 27.0]"
                " of 500 items; chance is 25.0 %."
            ),
        ),
        ("level", "Telling images apart: inconclusive in “swap_att” (21.0 % [16.0, 26.0]; chance is 25.0 %)."),
        ("plain", "A caption and its false twin have cosine 0.9800 on average; a caption and an unrelated one 0.2000."),
    ]


def test_subsets_below_chance_are_said_to_be_below_it() -> None:
    below = METRICS | {"swap_att/text_acc": fraction(0.05, 0.25), "count/text_acc": fraction(0.27, 0.25)}
    said = [found.text for found in findings(record(below))]
    assert (
        "Telling captions apart: inconclusive in “count” (27.0 % [22.0, 32.0]; chance is 25.0 %);"
        " below chance in “swap_att” (5.0 % [0.0, 10.0]; chance is 25.0 %)."
    ) in said
    del below["count/text_acc"]
    said = [found.text for found in findings(record(below))]
    assert "Telling captions apart: below chance in “swap_att” (5.0 % [0.0, 10.0]; chance is 25.0 %)." in said
