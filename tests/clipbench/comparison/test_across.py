"""One quantity against another over many models: which numbers are found, what is left out, and what is refused."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

import clipbench as cb
from clipbench.errors import ClipbenchError, UsageError
from clipbench.results.record import DatasetRecord, Metric, PriceRecord, TowerRecord
from clipbench.results.run import Run
from tests.made import record_of, result_of

COCO = DatasetRecord(id="coco", fingerprint="f", n_samples=100)


def run_of(name: str, gap: float | None, recall: float, *, data: DatasetRecord = COCO, **model: object) -> Run:
    metrics = {
        "modality-gap": {"gap": Metric(value=gap, unit="distance", title="Modality gap", reason="one pair")},
        "retrieval": {"mrr": Metric(value=recall, low=recall - 0.01, high=recall + 0.01, title="MRR")},
    }
    records = [record_of(task, data, metrics=of_task) for task, of_task in metrics.items()]
    return Run(Path(f"runs/{name}"), result_of(*records, model={"ref": name, **model}))


def models(n: int) -> list[Run]:
    rng = np.random.default_rng(0)
    return [
        run_of(f"m{k}", gap, 0.9 - gap / 2 + rng.normal(0, 0.05), n_parameters=int(1e6 * rng.uniform(1, 9)))
        for k, gap in enumerate(rng.uniform(0.2, 1.2, n).tolist())
    ]


def test_models_are_placed_by_both_metrics_with_their_correlation() -> None:
    runs = models(24)
    result = cb.across(*runs, x="gap", y="retrieval/mrr")
    frame = result.frame()
    assert list(frame.columns) == ["model", "x", "x_low", "x_high", "y", "y_low", "y_high", "parameters"]
    assert list(frame["model"]) == [f"m{k}" for k in range(24)]
    assert result.correlation.value == pytest.approx(stats.spearmanr(frame["x"], frame["y"]).statistic)
    low, high, method = result.correlation.interval
    assert low is not None and high is not None and low < result.correlation.value < high < 0
    assert method == "percentile bootstrap over 24 points"
    assert result.given_parameters is not None and result.given_parameters.interval.low is not None
    assert (result.x_title, result.y_title) == ("Modality gap", "MRR")
    again = cb.across(*runs, x="modality-gap@coco/gap", y="mrr")
    assert again.points == result.points
    named = cb.across(*runs[1:], run_of("caf\udce9", 0.5, 0.5), x="gap", y="retrieval/mrr")
    assert named.frame()["model"].iloc[-1] == "caf?"


def test_models_without_a_value_are_left_out_with_the_reason() -> None:
    bare = run_of("bare", 0.5, 0.5)
    bare = replace(bare, result=replace(bare.result, evaluations=bare.result.evaluations[:1]))
    result = cb.across(*models(3), run_of("one", None, 0.5), bare, x="gap", y="mrr")
    assert len(result.points) == 3
    assert result.left_out == ["one: gap is undefined (one pair)", "bare: no mrr"]
    with pytest.raises(
        UsageError, match=r"^2 of 3 runs have both gap and mrr: expected at least 3 models \(bare: no mrr\)$"
    ):
        cb.across(*models(2), bare, x="gap", y="mrr")


def test_checkpoints_of_one_training_have_no_interval_and_no_test() -> None:
    runs = [run_of(f"training/step-{k}", 1 - k / 10, k / 10, step=k) for k in range(10)]
    result = cb.across(*runs, x="gap", y="mrr")
    assert result.are_checkpoints and result.correlation.value == pytest.approx(-1)
    assert result.correlation.interval == (None, None, "checkpoints of one training are not independent models")
    assert result.correlation.p is None and result.given_parameters is None


def test_runs_of_other_samples_and_names_of_several_metrics_are_refused() -> None:
    other = run_of("other", 0.5, 0.5, data=replace(COCO, fingerprint="g", n_samples=90))
    with pytest.raises(ClipbenchError, match=r"modality-gap@coco differs between runs/m0 and runs/other \(.*\)"):
        cb.across(*models(3), other, x="gap", y="mrr")
    runs = models(3)
    flickr = [replace(evaluation, dataset=replace(COCO, id="flickr")) for evaluation in runs[0].result.evaluations]
    two = replace(runs[0], result=replace(runs[0].result, evaluations=[*runs[0].result.evaluations, *flickr]))
    with pytest.raises(
        UsageError,
        match="has 'gap' in several tasks: use a full name, modality-gap@coco/gap or modality-gap@flickr/gap",
    ):
        cb.across(two, *runs[1:], x="gap", y="mrr")
    assert len(cb.across(two, *runs[1:], x="gap", y="mrr", data="coco").points) == 3
    with pytest.raises(UsageError, match="no run has a value of step"):  # and not that gap is there several times
        cb.across(two, *runs[1:], x="gap", y="step", data="coco")
    with pytest.raises(UsageError, match=r"^no run is of the data set 'coca': did you mean 'coco'\?$"):
        cb.across(*runs, x="gap", y="mrr", data="coca")
    with pytest.raises(UsageError, match=r"^no run has 'acc1' on flickr: known: "):
        cb.across(two, *runs[1:], x="gap", y="acc1", data="flickr")
    with pytest.raises(
        UsageError, match=r"^x = gap and y = modality-gap/gap are the same quantity: expected two different ones$"
    ):
        cb.across(*runs, x="gap", y="modality-gap/gap")
    with pytest.raises(UsageError, match=r"^no runs: expected three or more"):
        cb.across(x="gap", y="mrr")


def priced(flops: list[float], recalls: list[float], *, higher_is_better: bool | None = True) -> list[Run]:
    """Models by gigaflops of an image and recall."""
    made = []
    for k, (work, recall) in enumerate(zip(flops, recalls, strict=True)):
        run = run_of(f"m{k}", 0.5, recall, n_parameters=10**k, embed_dim=8)
        towers = {"image": TowerRecord(flops=int(1e9 * work), items_per_second=100 / work)}
        records = [
            replace(
                evaluation,
                metrics={n: replace(m, higher_is_better=higher_is_better) for n, m in evaluation.metrics.items()},
            )
            for evaluation in run.result.evaluations
        ]
        made.append(replace(run, result=replace(run.result, towers=towers, evaluations=records)))
    return made


def test_the_front_are_the_models_that_no_other_beats_in_price_and_quality() -> None:
    runs = priced([4, 1, 2, 2, 3, 8], [0.9, 0.5, 0.7, 0.6, 0.7, 0.9])
    result = cb.across(*runs, x="image_flops", y="mrr")
    assert result.x_title == "GFLOPs of one image" and [point.x.value for point in result.points] == [4, 1, 2, 2, 3, 8]
    assert result.front == ["m1", "m2", "m0"]
    assert result.frame()["on_front"].tolist() == [True, True, True, False, False, False]
    assert cb.across(*runs, x="mrr", y="image_flops").front == result.front
    assert cb.across(*runs, x="image_per_second", y="mrr").front == result.front
    worse = priced([4, 1, 2], [0.9, 0.5, 0.7], higher_is_better=False)
    assert cb.across(*worse, x="image_flops", y="mrr").front == ["m1"]


@pytest.mark.parametrize(("x", "y"), [("gap", "mrr"), ("image_flops", "parameters"), ("step", "mrr")])
def test_there_is_no_front_without_a_price_and_a_quality(x: str, y: str) -> None:
    runs = [replace(each, result=replace(each.result, model={**each.result.model, "step": k}))
            for k, each in enumerate(priced([4, 1, 2], [0.9, 0.5, 0.7]))]  # fmt: skip
    assert cb.across(*runs, x=x, y=y).front is None
    neither = priced([4, 1, 2], [0.9, 0.5, 0.7], higher_is_better=None)
    assert cb.across(*neither, x="image_flops", y="mrr").front is None


def test_speed_and_memory_are_said_to_be_of_a_machine_and_which_facts_of_it_differ() -> None:
    def timed(k: int, run: Run, **environment: object) -> Run:
        tower = TowerRecord(
            items_per_second=50, peak_bytes=10**9 + k, flops=1, n_timed=1000 * k, n_processes=1 + k // 2
        )
        return replace(run, result=replace(run.result, towers={"image": tower}, environment=environment))

    own, alike = "Speed and memory are of a run's machine as well as of its model", {"device": "cpu", "python": "3.11"}
    runs = [timed(k, run, **alike) for k, run in enumerate(models(3))]
    assert cb.across(*runs[:1], *runs[:1], *runs[:1], x="image_memory", y="mrr").notes == [f"{own}."]
    assert cb.across(*runs, x="image_flops", y="mrr").notes == []
    assert cb.across(*runs, x="mrr", y="image_per_second").notes == [
        f"{own}, and these runs differ in number of processes.",
        "Speed measured over fewer than 1,000 items, including start-up time: m0.",
    ]
    other = timed(1, models(4)[3], device="cuda", python="3.12")
    assert cb.across(*runs[1:], other, x="image_memory", y="mrr").notes == [
        f"{own}, and these runs differ in device, number of processes."
    ]


def test_the_price_of_a_query_is_a_cost_of_a_machine() -> None:
    runs = []
    for k, run in enumerate(priced([1, 1, 1], [0.9, 0.5, 0.7])):
        machine = {"cpu": "Xeon", "threads": str(k // 2)}
        price = PriceRecord(load_seconds=1.0, text_p50=(0.03, 0.01, 0.04)[k], vector_bytes=32, machine=machine)
        runs.append(replace(run, result=replace(run.result, price=price)))
    result = cb.across(*runs, x="text_p50", y="mrr")
    assert result.x_title == "Milliseconds of one text, median" and result.front == ["m1", "m0"]
    assert [point.x.value for point in result.points] == pytest.approx([30, 10, 40])
    assert result.notes == [
        "Speed and memory are of a run's machine as well as of its model, and these runs differ in threads."
    ]
    with pytest.raises(cb.ClipbenchError, match="did you mean text_p50 or image_p50"):
        cb.across(*runs, x="p50", y="mrr")
    with pytest.raises(cb.ClipbenchError, match=r"the run took no price: `clipbench run --price` does"):
        cb.across(*models(3), x="text_p50", y="mrr")


def test_a_model_of_several_runs_is_said_to_be_counted_as_often() -> None:
    runs = [run_of(f"m{k}", k / 10, k / 10, fingerprint=print_) for k, print_ in enumerate("abca")]
    assert cb.across(*runs, x="gap", y="mrr").notes == [
        "m0, m3 are runs of one model: the correlation counts it 2 times."
    ]
    assert cb.across(*runs[:3], x="gap", y="mrr").notes == []
