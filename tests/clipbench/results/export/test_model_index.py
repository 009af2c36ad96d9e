"""model-index: huggingface_hub reads the YAML as a model card's, and finds every value of the run in it."""

from collections.abc import Callable

import pytest
import yaml  # type: ignore[import-untyped]
from huggingface_hub import ModelCard

from clipbench.errors import UsageError
from clipbench.results.export import FORMATS
from clipbench.results.record import DatasetRecord, EvaluationRecord, Metric
from clipbench.results.run import Run

MakeRun = Callable[..., Run]
Record = Callable[..., EvaluationRecord]
render = FORMATS["model-index"].render


def card(*runs: Run) -> ModelCard:
    return ModelCard(f"---\nlicense: mit\n{render(runs).content.decode()}---\n# A model\n")


def test_the_card_holds_every_value(make_run: MakeRun) -> None:
    data = card(make_run()).data
    assert data.model_name == "vit-b-32" and data.license == "mit"
    found = {(each.task_name, each.metric_name): each for each in data.eval_results}
    assert {key: each.metric_value for key, each in found.items()} == {
        ("zero-shot@imagenet", "acc1"): 0.625,
        ("zero-shot@imagenet", "ece"): 0.07,
        ("modality-gap@scenes", "gap"): 0.8514,
        ("modality-gap@scenes", "drop"): -0.1,
    }
    acc1 = found["zero-shot@imagenet", "acc1"]
    assert (acc1.task_type, acc1.metric_type) == ("zero-shot-image-classification", "accuracy")
    assert (acc1.dataset_type, acc1.dataset_name, acc1.dataset_split) == ("imagenet", "imagenet", "test")
    assert acc1.dataset_revision == "1" and acc1.dataset_args["params"] == {"ks": [1, 5]}
    assert (acc1.metric_args["low"], acc1.metric_args["high"], acc1.metric_args["n"]) == (0.5, 0.75, 1000)
    assert found["zero-shot@imagenet", "ece"].metric_args["reason"] == "no interval: too few samples"


def test_the_card_can_be_written_again_by_huggingface_hub(make_run: MakeRun) -> None:
    again = ModelCard(str(card(make_run())))
    assert len(again.data.eval_results) == 4


def test_what_has_no_value_is_a_comment_and_a_note(make_run: MakeRun) -> None:
    rendered = render([make_run()])
    comments = [line for line in rendered.content.decode().splitlines() if line.startswith("#")]
    assert list(rendered.notes) == [
        "zero-shot@imagenet acc5 is left out, undefined: of only 3 classes",
        "retrieval@coco is left out, unavailable: no folder coco: clipbench data get coco",
    ]
    assert comments[-2:] == [f"# {note}" for note in rendered.notes]
    assert comments[1] == "# vit-b-32: fingerprint f00, seed 3, 2026-11-24 12:00 UTC, clipbench 9.1"


def test_a_data_set_of_the_hub_is_named_as_there(make_run: MakeRun, record: Record) -> None:
    dataset = DatasetRecord(id="hf:org/birds:small", split="validation", n_samples=3)
    run = make_run(evaluations=[record("zero-shot", "", {"acc1": Metric(value=1.0, n=3)}, dataset=dataset)])
    (entry,) = yaml.safe_load(render([run]).content)["model-index"][0]["results"]
    found = {key: entry["dataset"][key] for key in ("name", "type", "config", "split")}
    assert found == {"name": dataset.id, "type": "org/birds", "config": "small", "split": "validation"}


def test_hostile_names_are_data_and_no_yaml(make_run: MakeRun, record: Record, hostile: str) -> None:
    metrics = {hostile: Metric(value=0.5, n=3), "lost": Metric(value=None, reason=f"{hostile}\nname: evil")}
    run = make_run(evaluations=[record(hostile, hostile, metrics)], model={"ref": hostile})
    data = yaml.safe_load(render([run]).content)
    assert list(data) == ["model-index"] and data["model-index"][0]["name"] == hostile
    (result,) = data["model-index"][0]["results"]
    assert result["dataset"]["name"] == hostile and result["metrics"][0]["name"] == hostile


def test_runs_of_one_model_share_a_card_and_others_are_refused(make_run: MakeRun, record: Record) -> None:
    more = make_run("two", evaluations=[record("retrieval", "flickr30k", {"r": Metric(value=0.5, n=3)})])
    assert len(card(make_run("one"), more).data.eval_results) == 5
    other = make_run("three", model={"ref": "tiny", "fingerprint": "other"})
    with pytest.raises(
        UsageError, match="a model card describes one model, and the 2 runs are of several: vit-b-32, tiny"
    ):
        render([more, other])


def test_a_run_without_values_is_refused(make_run: MakeRun, record: Record) -> None:
    run = make_run(evaluations=[record("retrieval", "coco", {}, status="failed", reason="x")])
    with pytest.raises(
        UsageError, match="no value of vit-b-32 to put on a model card: retrieval@coco is left out, failed: x"
    ):
        render([run])
