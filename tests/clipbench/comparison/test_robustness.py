"""Effective robustness of runs: the published lines, both baselines, and what is missing."""

from dataclasses import replace
from pathlib import Path

import pytest

import clipbench as cb
from clipbench.comparison.robustness import SHIFTS, reference
from clipbench.errors import ClipbenchError, DataError, UsageError
from clipbench.results.record import EvaluationRecord, Metric
from clipbench.results.reference_models import open_clip_results
from clipbench.results.run import Run
from tests.made import record_of, result_of

VIT_B_32 = "ViT-B-32-quickgelu/openai"


def run_of(accuracies: dict[str, float], half: float = 0.004) -> Run:
    metrics = {
        data: {"acc1": Metric(value=share, low=max(0.0, share - half), high=min(1.0, share + half))}
        for data, share in accuracies.items()
    }
    records = [record_of(data=data, metrics=of_data, accuracy="acc1") for data, of_data in metrics.items()]
    return Run(Path("runs/vit"), result_of(*records, model={"ref": "vit-b-32"}))


def published(*data: str) -> dict[str, float]:
    return {name: open_clip_results()[VIT_B_32][f"zero-shot@{name}/acc1"] for name in ("imagenet", *data)}


@pytest.mark.parametrize(
    ("data", "slope", "intercept", "n"),
    [
        ("imagenetv2", 0.92323, -0.49769, 85),
        # As others fitted them to the same models, to all digits before the accuracies were rounded.
        ("imagenet-sketch", 1.0709154135668684, -2.370072912552283, 85),
        ("imagenet-r", 0.9115905266235703, -1.5999151525728197, 80),
        ("objectnet", 1.1993, -2.0243, 85),
    ],
)
def test_the_lines_of_standard_models_are_the_published_ones(data: str, slope: float, intercept: float, n: int) -> None:
    line = reference("standard", data)
    assert line is not None and line.trend.n == n
    assert (line.trend.slope, line.trend.intercept) == pytest.approx((slope, intercept), abs=1e-4)


def test_a_clip_model_lies_above_the_line_of_standard_models_and_near_that_of_others() -> None:
    shifts = [data for data in SHIFTS if data != "imagenet-a"]
    frame = cb.effective_robustness(run_of(published(*SHIFTS)))
    assert list(frame["data"]) == shifts and set(frame["model"]) == {"vit-b-32"}
    assert dict(zip(shifts, frame["value"].round(3), strict=True)) == {
        "imagenetv2": 0.058, "imagenet-sketch": 0.279, "imagenet-r": 0.444, "objectnet": 0.24
    }  # fmt: skip
    assert (frame["low"] < frame["value"]).all() and (frame["value"] < frame["high"]).all() and (frame["low"] > 0).all()
    assert frame["is_within"].all()
    beside = cb.effective_robustness(run_of(published(*SHIFTS)), baseline="open_clip")
    assert list(beside["data"]) == list(SHIFTS)
    assert (beside["value"].abs() < 3 * beside["scatter"]).all()
    assert (beside["n_models"] == 90).all()  # of 91; one was fine-tuned to other data


def test_a_model_below_all_reference_models_is_said_to_be() -> None:
    (row,) = cb.effective_robustness(run_of({"imagenet": 0.1, "imagenetv2": 0.08})).to_dict("records")
    assert not row["is_within"]


def test_data_of_the_hub_count_by_their_repository() -> None:
    ids = {"hf:clip-benchmark/wds_imagenet1k": 0.63, "hf:clip-benchmark/wds_imagenet_sketch": 0.42}
    assert list(cb.effective_robustness(run_of(ids))["data"]) == ["imagenet-sketch"]


def test_what_is_missing_is_said() -> None:
    with pytest.raises(
        ClipbenchError,
        match=r"^run runs/vit has no effective robustness against the baseline standard: got a top-1 accuracy with an"
        r" interval on imagenet, imagenet-a, expected one on imagenet and on one of imagenetv2, imagenet-sketch,"
        r" imagenet-r, objectnet\. Measure a task that has it, such as zero-shot, on them\.$",
    ):
        cb.effective_robustness(run_of({"imagenet": 0.6, "imagenet-a": 0.3}))
    with pytest.raises(UsageError, match=r"unknown baseline 'openclip': did you mean 'open_clip'"):
        cb.effective_robustness(run_of({"imagenet": 0.6, "imagenetv2": 0.5}), baseline="openclip")
    with pytest.raises(DataError, match="vit-b-32 on imagenet: an accuracy of 1 has no logit"):
        cb.effective_robustness(run_of({"imagenet": 1.0, "imagenetv2": 0.5}))


def test_the_accuracy_of_any_task_counts_and_of_several_that_on_most_data() -> None:
    def records(task: str, accuracies: dict[str, float]) -> list[EvaluationRecord]:
        return [
            record_of(task, data, metrics={"top1": Metric(value=share, low=share - 0.01, high=share + 0.01)},
                      accuracy="top1")
            for data, share in accuracies.items()
        ]  # fmt: skip

    few = records("probe", {"imagenet": 0.7, "imagenetv2": 0.6})
    many = records("neighbours", {"imagenet": 0.5, "imagenetv2": 0.4, "imagenet-r": 0.3})
    other = [replace(record, accuracy="") for record in records("other", dict.fromkeys(("imagenet", *SHIFTS), 0.6))]
    run = Run(Path("runs/vit"), result_of(*few, *many, *other, model={"ref": "vit-b-32"}))
    frame = cb.effective_robustness(run)
    assert dict(zip(frame["data"], frame["shifted"], strict=True)) == {"imagenetv2": 0.4, "imagenet-r": 0.3}


def test_no_runs_are_refused() -> None:
    with pytest.raises(UsageError, match="no runs: expected one or more"):
        cb.effective_robustness(baseline="typo")
