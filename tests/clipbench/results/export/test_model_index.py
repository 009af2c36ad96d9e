"""model-index: huggingface_hub reads the YAML as a model card's, and finds every value of the run in it."""

import pytest
import yaml  # type: ignore[import-untyped]
from huggingface_hub import ModelCard

from clipbench.errors import UsageError
from clipbench.results.export.formats import format_of
from clipbench.results.record import Metric
from clipbench.results.run import Run
from tests.clipbench.results.export.conftest import MakeRun, Record

render = format_of("model-index").render


def card(*runs: Run) -> ModelCard:
    return ModelCard(f"---\nlicense: mit\n{render(runs).content.decode()}---\n# A model\n")


def test_the_card_can_be_written_again_by_huggingface_hub(make_run: MakeRun) -> None:
    again = ModelCard(str(card(make_run())))
    assert len(again.data.eval_results) == 4


def test_hostile_names_are_data_and_no_yaml(make_run: MakeRun, record: Record, hostile: str) -> None:
    metrics = {hostile: Metric(value=0.5, n=3), "lost": Metric(value=None, reason=f"{hostile}\nname: evil")}
    run = make_run(evaluations=[record(hostile, hostile, metrics)], model={"ref": hostile})
    data = yaml.safe_load(render([run]).content)
    assert list(data) == ["model-index"] and data["model-index"][0]["name"] == hostile
    (result,) = data["model-index"][0]["results"]
    assert result["dataset"]["name"] == hostile and result["metrics"][0]["name"] == hostile


def test_runs_of_one_model_share_a_card_and_others_are_refused(make_run: MakeRun, record: Record) -> None:
    run = make_run("two", evaluations=[record("retrieval", "flickr30k", {"r": Metric(value=0.5, n=3)})])
    assert len(card(make_run("one"), run).data.eval_results) == 5
    other = make_run("three", model={"ref": "tiny", "fingerprint": "other"})
    with pytest.raises(
        UsageError, match="a model card describes one model, and the 2 runs are of several: vit-b-32, tiny"
    ):
        render([run, other])
