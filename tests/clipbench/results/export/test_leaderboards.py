"""eval-results, every-eval-ever and mteb: each is read by its own library or schema, with every value that it has a place for."""

import json
import re
import runpy
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas
import pytest
import yaml  # type: ignore[import-untyped]
from huggingface_hub import parse_eval_result_entries
from PIL import Image

from clipbench.errors import UsageError
from clipbench.results.export import FORMATS, export
from clipbench.results.export.mteb import main_metric
from clipbench.results.other_tool_names import MIEB, mieb_metric
from clipbench.results.other_tools import open_results
from clipbench.results.record import EvaluationRecord, Metric
from clipbench.results.run import Run

MakeRun = Callable[..., Run]
Record = Callable[..., EvaluationRecord]


def acc(value: float, **facts: Any) -> Metric:
    given = {"low": value - 0.1, "high": value + 0.1, "n": 1000, "higher_is_better": True, "method": "Wilson", **facts}
    return Metric(value=value, **given)


# ----- eval-results


def test_huggingface_hub_reads_the_entries(make_run: MakeRun, record: Record) -> None:
    metrics = {"acc1": acc(0.625, chance=0.1, is_headline=True), "acc5": acc(0.9)}
    ours = [record("zero-shot", "hf:org/birds:small", metrics), record("zero-shot", "imagenet", metrics)]
    rendered = FORMATS["eval-results"].render([make_run(evaluations=ours)])
    (entry,) = parse_eval_result_entries(yaml.safe_load(rendered.content))
    assert (entry.dataset_id, entry.task_id, entry.value) == ("org/birds", "small", 0.625)
    assert entry.notes == "zero-shot acc1 62.5 %; 95 % interval [52.5, 72.5]; chance 10.0 %; n 1,000; clipbench 9.1"
    assert (entry.date, entry.dataset_revision) == ("2026-11-24T12:00:00+00:00", None)  # "1" is no commit
    assert list(rendered.notes) == [
        "zero-shot@imagenet is left out: its data are not named as a data set of the Hub, hf:ORG/NAME"
    ]


def test_a_benchmark_has_one_value(make_run: MakeRun, record: Record) -> None:
    metrics = {name: acc(0.5, is_headline=True) for name in ("image_retrieval_recall@1", "text_retrieval_recall@1")}
    rendered = FORMATS["eval-results"].render([make_run(evaluations=[record("retrieval", "hf:org/birds", metrics)])])
    (entry,) = parse_eval_result_entries(yaml.safe_load(rendered.content))
    assert (entry.task_id, str(entry.notes).split()[1]) == ("default", "image_retrieval_recall@1")
    (note,) = rendered.notes
    assert note.endswith("text_retrieval_recall@1 is left out: a task of a benchmark has one value")


# ----- every-eval-ever


REQUIRED = {
    "": "schema_version evaluation_id retrieved_timestamp source_metadata model_info eval_library evaluation_results",
    "source_metadata": "source_type source_organization_name evaluator_relationship",
    "model_info": "name id additional_details",
    "eval_library": "name version",
    "result": "evaluation_name source_data metric_config score_details",
    "metric_config": "lower_is_better min_score max_score",
    "source_data": "dataset_name source_type",
}
"""What version 0.3.0 of the schema requires, by object; its package needs Python 3.12, and is asked itself below."""


def test_the_shared_schema_holds_and_values_keep_their_intervals(make_run: MakeRun) -> None:
    rendered = FORMATS["every-eval-ever"].render([make_run()])
    log = json.loads(rendered.content)
    acc1, ece = log["evaluation_results"]
    parts = {"": log, "result": acc1, **log, **acc1}
    assert all(set(names.split()) <= parts[part].keys() for part, names in REQUIRED.items())
    details = (parts["model_info"], parts["eval_library"], acc1["source_data"])
    texts = [text for each in details for text in each["additional_details"].values()]
    assert all(isinstance(text, str) for text in [*texts, *acc1["score_details"]["details"].values()])
    assert log["schema_version"] == "0.3.0"
    assert acc1["score_details"]["score"] == 0.625 and acc1["evaluation_result_id"] == "zero-shot@imagenet/acc1"
    bounds = {"lower": 0.5, "upper": 0.75, "confidence_level": 0.95, "method": "Wilson"}
    assert acc1["score_details"]["uncertainty"] == {"confidence_interval": bounds, "num_samples": 1000}
    assert (acc1["metric_config"]["min_score"], acc1["metric_config"]["max_score"]) == (0, 1)
    assert acc1["metric_config"]["metric_id"] == "accuracy" and not acc1["metric_config"]["lower_is_better"]
    assert ece["metric_config"]["lower_is_better"] and "uncertainty" not in ece["score_details"]
    assert ece["score_details"]["details"]["reason"] == "no interval: too few samples"
    assert log["retrieved_timestamp"] == f"{datetime(2026, 11, 24, 12, tzinfo=UTC).timestamp():.0f}"
    assert rendered.notes[-1] == (
        "modality-gap@scenes: gap, drop left out: neither direction is better, and the schema asks for one"
    )


@pytest.mark.parametrize(
    ("name", "id", "deployment", "availability"),
    [
        ("hf:org/clip@abc", "org/clip", "self_deployed", "open_weights"),
        ("open_clip:ViT-B-32/openai", "open_clip/ViT-B-32/openai", "self_deployed", "open_weights"),
        ("api:http://here", "api/http://here", "externally_managed", "unknown"),
        ("bundled:tiny", "bundled/tiny", "self_deployed", "unknown"),
    ],
)
def test_a_model_is_named_as_on_the_hub(
    make_run: MakeRun, name: str, id: str, deployment: str, availability: str
) -> None:
    log = json.loads(FORMATS["every-eval-ever"].render([make_run(model={"id": name, "embed_dim": 8})]).content)
    assert (log["model_info"]["name"], log["model_info"]["id"]) == (name, id)
    assert log["model_info"]["additional_details"] == {
        "embed_dim": "8",
        "deployment_type": deployment,
        "model_availability": availability,
    }


def test_a_value_beyond_its_unit_has_no_bounds(make_run: MakeRun, record: Record) -> None:
    run = make_run(evaluations=[record("mine", "birds", {"score": acc(3.0)})])
    (found,) = json.loads(FORMATS["every-eval-ever"].render([run]).content)["evaluation_results"]
    assert (found["metric_config"]["min_score"], found["metric_config"]["max_score"]) == ("-Infinity", "Infinity")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_the_package_of_the_schema_takes_it(make_run: MakeRun, record: Record) -> None:
    types = pytest.importorskip("every_eval_ever.eval_types", reason="needs every-eval-ever, which needs Python 3.12")
    hub = record("zero-shot", "hf:org/birds:small", {"acc1": acc(0.6), "rank": acc(3.0, unit="rank"), "odd": acc(3.0)})
    for run in (make_run("one"), make_run("two", evaluations=[hub])):
        types.EvaluationLog.model_validate(json.loads(FORMATS["every-eval-ever"].render([run]).content))


# ----- mteb


def mieb_run(make_run: MakeRun, record: Record) -> Run:
    recalls = {f"{side}_retrieval_recall@{k}": acc(k / 20) for side in ("image", "text") for k in (1, 5)}
    return make_run(
        evaluations=[
            record("zero-shot", "imagenet", {"acc1": acc(0.6), "ece": Metric(value=0.1)}, seconds={"load": 1.5}),
            record("retrieval", "coco", recalls),
            record("composition", "sugarcrepe", {"micro/text_acc": acc(0.7), "add_att/text_acc": acc(0.8)}),
            record("composition", "winoground", {"text_acc": acc(0.3), "image_acc": acc(0.25), "group_acc": acc(0.2)}),
            record("composition", "aro-vg-relation", {"vg_relation/text_acc": acc(0.55)}),
            record("modality-gap", "coco", {"gap": Metric(value=0.8, unit="distance")}),
        ]
    )


def test_a_file_of_mteb_has_the_fields_that_its_reader_asks_for(
    make_run: MakeRun, record: Record, tmp_path: Path
) -> None:
    """The fields of ``mteb.TaskResult`` 2.26.24, which is too large to install for this; below it reads the files itself."""
    run = mieb_run(make_run, record)
    done = export([run.folder], "mteb", tmp_path / "theirs")
    fields = {"dataset_revision", "task_name", "mteb_version", "scores", "evaluation_time", "kg_co2_emissions", "date"}
    found = {path.stem: json.loads(path.read_text()) for path in (tmp_path / "theirs").iterdir()}
    assert all(set(each) == fields for each in found.values())
    assert {name: each["scores"]["test"][0]["main_score"] for name, each in found.items()} == {
        "Imagenet1kZeroShot": 0.6,
        "MSCOCOI2TRetrieval": None,
        "MSCOCOT2IRetrieval": None,
        "SugarCrepe": 0.7,
        "Winoground": 0.2,
        "AROVisualRelation": 0.55,
    }
    scores = found["MSCOCOI2TRetrieval"]["scores"]["test"][0]
    assert (scores["hit_rate_at_1"], scores["hit_rate_at_5"], scores["hf_subset"]) == (0.05, 0.25, "default")
    kept = scores["clipbench"]["hit_rate_at_5"]
    assert (kept["low"], kept["high"], kept["n"]) == (0.15, 0.35, 1000)
    assert found["Imagenet1kZeroShot"]["evaluation_time"] == 1.5
    assert "MSCOCOI2TRetrieval: main_score is null, as ndcg_at_10 was not measured" in done.notes
    assert "modality-gap@coco is left out: mteb has no task on the same data" in done.notes


def test_what_is_written_for_mteb_is_read_back_by_our_names(make_run: MakeRun, record: Record, tmp_path: Path) -> None:
    run = mieb_run(make_run, record)
    export([run.folder], "mteb", tmp_path / "theirs")
    found = open_results(tmp_path / "theirs").metrics
    left_out = {"zero-shot@imagenet/ece", "composition@sugarcrepe/add_att/text_acc", "modality-gap@coco/gap"}
    # MIEB's image_acc of Winoground is a value, and of benchmarks with one image an artefact.
    ours = {name: metric.value for name, metric in run.metrics.items() if name not in left_out}
    assert {name: found[name].value for name in ours} == ours


def test_every_task_of_mieb_has_a_main_metric_that_is_ours_or_named() -> None:
    assert {main_metric(task) for task in MIEB} == {"accuracy", "ndcg_at_10", "text_acc"}
    assert mieb_metric("OxfordPetsZeroShot", "accuracy") == "acc1"


def test_what_mteb_does_not_have_is_told(make_run: MakeRun) -> None:
    with pytest.raises(UsageError, match="no value of vit-b-32 on a data set of the Hub: "):
        FORMATS["eval-results"].render([make_run()])
    one, other = make_run("one"), make_run("other", model={"ref": "other", "fingerprint": "x"})
    for name, what in {"mteb": "a folder of mteb's results", "every-eval-ever": "a file of Every Eval Ever"}.items():
        with pytest.raises(UsageError, match=f"{what} describes one model, and the 2 runs are of several"):
            FORMATS[name].render([one, other])


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_mteb_reads_the_files(make_run: MakeRun, record: Record, tmp_path: Path) -> None:
    mteb = pytest.importorskip("mteb", reason="needs mteb")
    export([mieb_run(make_run, record).folder], "mteb", tmp_path / "theirs")
    for path in (tmp_path / "theirs").iterdir():
        found = mteb.results.TaskResult.from_disk(path)
        metadata = mteb.get_task(path.stem).metadata
        assert metadata.main_score == main_metric(path.stem) and metadata.eval_splits == list(found.scores)
        if "Retrieval" not in path.stem:
            assert found.get_score() > 0


# ----- FiftyOne, by the recipe of the page


def test_the_recipe_for_fiftyone_makes_a_sample_of_each_image(
    make_run: MakeRun, record: Record, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    rows = []
    for name in ("blue", "red"):
        Path(f"birds/{name}").mkdir(parents=True)
        for k, predicted in ((1, name), (2, "red")):
            Image.new("RGB", (8, 8), name).save(f"birds/{name}/{k}.png")
            margin = 0.1 if predicted == name else -0.1
            rows.append({"sample_id": f"{name}/{k}.png", "label": name, "predicted": predicted, "margin": margin})
    files = {"samples": "samples.parquet"}
    run = make_run(evaluations=[record("zero-shot", "birds", {"acc1": acc(0.75)}, files=files)])
    pandas.DataFrame(rows).to_parquet(run.folder / "samples.parquet")
    Path("runs").mkdir()
    run.folder.rename("runs/birds")
    page = Path(__file__).parents[4] / "docs/export.md"
    (recipe,) = re.findall(r"^```python\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    samples: list[Any] = []
    dataset = SimpleNamespace(add_samples=samples.extend, sort_by=lambda name: name)
    parts = {"Sample": SimpleNamespace, "Classification": SimpleNamespace, "Dataset": lambda _: dataset}
    stub = SimpleNamespace(launch_app=samples.append, **parts)
    monkeypatch.setitem(sys.modules, "fiftyone", stub)
    Path("recipe.py").write_text(recipe)
    runpy.run_path("recipe.py")
    *made, last = samples
    assert last == "margin" and len(made) == 4 and all(Path(each.filepath).is_file() for each in made)
    wrong = [each for each in made if each.margin < 0]
    assert [(each.label.label, each.predicted.label) for each in wrong] == [("blue", "red")]
    assert Path(wrong[0].filepath) == (tmp_path / "birds/blue/2.png").resolve()
