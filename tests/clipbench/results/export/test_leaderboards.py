"""eval-results, every-eval-ever and mteb: each is read by its own library or schema, with every value that it has a
place for.
"""

import hashlib
import json
import re
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml  # type: ignore[import-untyped]
from huggingface_hub import parse_eval_result_entries

from clipbench.results.export.formats import export, format_of
from clipbench.results.export.mteb import main_metric
from clipbench.results.other_tools import open_results
from clipbench.results.record import DatasetRecord, Metric
from clipbench.results.run import Run
from tests.clipbench.results.export.conftest import MakeRun, Record
from tests.made import record_of


def acc(value: float, **facts: Any) -> Metric:
    bounds = {"low": value - 0.1, "high": value + 0.1, "n": 1000, "higher_is_better": True, "method": "Wilson", **facts}
    return Metric(value=value, **bounds)


# ----- eval-results


def test_huggingface_hub_reads_the_entries(make_run: MakeRun, record: Record) -> None:
    metrics = {"acc1": acc(0.625, chance=0.1, is_headline=True), "acc5": acc(0.9)}
    ours = [record("zero-shot", "hf:org/birds:small", metrics), record("zero-shot", "imagenet", metrics)]
    rendered = format_of("eval-results").render([make_run(evaluations=ours)])
    (entry,) = parse_eval_result_entries(yaml.safe_load(rendered.content))
    assert (entry.dataset_id, entry.task_id, entry.value) == ("org/birds", "small", 0.625)
    assert entry.notes == "zero-shot acc1 62.5 %; 95 % interval [52.5, 72.5]; chance 10.0 %; n 1,000; clipbench 9.1"
    assert (entry.date, entry.dataset_revision) == ("2026-11-24T12:00:00+00:00", None)  # "1" is no commit
    assert list(rendered.notes) == [
        "zero-shot@imagenet is left out: its data is not named as a data set of the Hub, hf:ORG/NAME"
    ]


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
"""Fields that version 0.3.0 of the schema requires, by object; its package needs Python 3.12, and is asked below."""


def test_the_shared_schema_holds_and_values_keep_their_intervals(make_run: MakeRun) -> None:
    rendered = format_of("every-eval-ever").render([make_run()])
    log = json.loads(rendered.content)
    acc1, ece = log["evaluation_results"]
    parts = {"": log, "result": acc1, **log, **acc1}
    assert all(set(names.split()) <= parts[part].keys() for part, names in REQUIRED.items())
    details = (parts["model_info"], parts["eval_library"], acc1["source_data"])
    texts = [text for detail in details for text in detail["additional_details"].values()]
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
        "modality-gap@scenes: gap, drop left out: neither direction is better, and the schema requires one"
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
    log = json.loads(format_of("every-eval-ever").render([make_run(model={"id": name, "embed_dim": 8})]).content)
    assert (log["model_info"]["name"], log["model_info"]["id"]) == (name, id)
    assert log["model_info"]["additional_details"] == {
        "embed_dim": "8",
        "deployment_type": deployment,
        "model_availability": availability,
    }


def test_a_value_beyond_its_unit_has_no_bounds(make_run: MakeRun, record: Record) -> None:
    run = make_run(evaluations=[record("mine", "birds", {"score": acc(3.0)})])
    (result,) = json.loads(format_of("every-eval-ever").render([run]).content)["evaluation_results"]
    assert (result["metric_config"]["min_score"], result["metric_config"]["max_score"]) == ("-Infinity", "Infinity")


SAMPLE_FIELDS = [
    "schema_version",
    "evaluation_id",
    "model_id",
    "evaluation_name",
    "evaluation_result_id",
    "sample_id",
    "sample_hash",
    "interaction_type",
    "input",
    "output",
    "answer_attribution",
    "evaluation",
]
"""Fields of an instance-level record that we write; all others are refused by the schema."""
CAPTION = "a secret caption"


def sampled_run(make_run: MakeRun, licence: str | None = "CC BY 4.0") -> Run:
    """Return a run with the samples of a classification, a search in both directions, and a composition."""
    tables: dict[str, dict[str, list[Any]]] = {
        "zero-shot": {
            "sample_id": ["a", "b", "c"],
            "image": ["0a", "0b", "0c"],
            "label": ["cat", "dog", CAPTION],
            "predicted": ["cat", "cat", CAPTION],
            "acc1": [1.0, 0.0, np.nan],
        },
        "retrieval": {
            "sample_id": ["t", "i"],
            "image": ["0a", "0a"],
            "caption": [CAPTION, CAPTION],
            "predicted_image": ["0b", ""],
            "predicted_caption": ["", "another"],
            "image_retrieval_recall@5": [1.0, np.nan],
            "text_retrieval_recall@1": [np.nan, 0.0],
        },
        "composition": {
            "sample_id": ["x", "y", "z"],
            "image": ["0a", "0b", "0c"],
            "caption": ["right"] * 3,
            "preferred": ["rival"] * 3,
            "micro/text_acc": [1.0, 0.0, 0.5],
            "micro/group_acc": [1.0, 0.0, 0.0],
        },
    }
    run = make_run(evaluations=[])
    (run.folder / "samples").mkdir()
    records = []
    for task, table in tables.items():
        pd.DataFrame(table).to_parquet(run.folder / f"samples/{task}.parquet")
        metrics = {
            name: Metric(value=float(np.nanmean(column)), n=1, higher_is_better=True, column=name)
            for name, column in table.items()
            if isinstance(column[0], float) or isinstance(column[-1], float)
        }
        metrics["median"] = Metric(value=1.0, unit="rank", higher_is_better=False)
        data = DatasetRecord(id="birds", n_samples=3, licence=licence)
        files = {"samples": f"samples/{task}.parquet"}
        records.append(record_of(task, data, metrics=metrics, files=files))
    return Run(run.folder, replace(run.result, evaluations=records))


def archived(run: Run) -> tuple[str, dict[str, Any], list[dict[str, Any]], list[str]]:
    """Return the path of the metrics in the archive, their log, the instance-level records, and notes."""
    render = format_of("every-eval-ever").render_folder
    assert render is not None
    rendered = render([run])
    (path,) = (name for name in rendered.parts if name.endswith(".json"))
    samples = rendered.parts.get(path.replace(".json", "_samples.jsonl"), b"")
    return (
        path,
        json.loads(rendered.parts[path]),
        [json.loads(line) for line in samples.splitlines()],
        [*rendered.notes],
    )


def test_a_folder_has_the_records_of_samples_where_the_archive_looks_for_them(make_run: MakeRun) -> None:
    run = sampled_run(make_run)
    path, log, records, notes = archived(run)
    pattern = (
        r"data/clipbench/open_clip/ViT-B-32-quickgelu_openai/[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f-]{16}"
    )
    assert re.fullmatch(rf"{pattern}\.json", path) and archived(run)[0] == path
    rendered = format_of("every-eval-ever").render_folder([run])  # type: ignore[misc]
    content = rendered.parts[path.replace(".json", "_samples.jsonl")]
    assert log["detailed_evaluation_results"] == {
        "format": "jsonl",
        "file_path": path.replace(".json", "_samples.jsonl"),
        "hash_algorithm": "sha256",
        "checksum": hashlib.sha256(content).hexdigest(),
        "total_rows": len(records),
    }
    assert {*records[0]} == {*SAMPLE_FIELDS} and all({*record} == {*records[0]} for record in records)
    results = {result["evaluation_result_id"]: result["score_details"]["score"] for result in log["evaluation_results"]}
    scores: dict[str, list[float]] = {}
    for record in records:
        assert (record["evaluation_id"], record["model_id"]) == (log["evaluation_id"], log["model_info"]["id"])
        scores.setdefault(record["evaluation_result_id"], []).append(record["evaluation"]["score"])
    assert {name: np.mean(values) for name, values in scores.items()} == {name: results[name] for name in scores}
    assert "zero-shot@birds: no samples of median, which are not means over samples" in notes
    cat = records[0]
    canonical = '{"raw":"image blake2b-128:0a","reference":["cat"]}'
    assert cat["sample_hash"] == hashlib.sha256(canonical.encode()).hexdigest()
    assert cat["evaluation"] == {"score": 1.0, "is_correct": True}


def test_a_record_has_the_question_the_right_answer_and_the_answer_that_the_sample_keeps(make_run: MakeRun) -> None:
    _, _, records, _ = archived(sampled_run(make_run))
    image = "image blake2b-128:0"
    result = {
        (record["evaluation_result_id"].partition("/")[2], record["sample_id"]): (
            record["input"]["raw"],
            record["input"]["reference"],
            record["output"]["raw"],
        )
        for record in records
    }
    assert result["acc1", "b"] == (f"{image}b", ["dog"], ["cat"]) and ("acc1", "c") not in result
    assert result["image_retrieval_recall@5", "t"] == (CAPTION, [f"{image}a"], [f"{image}b"])
    assert result["text_retrieval_recall@1", "i"] == (f"{image}a", [CAPTION], ["another"])
    assert [result["micro/text_acc", name][2] for name in "xyz"] == [["right"], ["rival"], []]
    assert result["micro/group_acc", "y"] == ("sample y", [], [])
    attributions = [record["answer_attribution"] for record in records]
    assert attributions[0][0]["extracted_value"] == "cat" and attributions[0][0]["source"] == "output.raw"


@pytest.mark.parametrize("licence", [None, "research only", "CC BY-NC 4.0", "MIT; gated: ask", "images: Flickr terms"])
def test_texts_that_may_not_be_published_are_hashes_and_a_note_says_so(make_run: MakeRun, licence: str | None) -> None:
    run = sampled_run(make_run, licence)
    _, _, records, notes = archived(run)
    text = json.dumps(records)
    assert CAPTION not in text and '"cat"' not in text and "rival" not in text
    digest = hashlib.sha256(CAPTION.encode()).hexdigest()
    assert f"text sha256:{digest}" in text
    reason = licence or "it is not recorded"
    note = f"hashes replace the texts of the data, whose licence does not allow publishing them ({reason})"
    assert [f"{task}@birds: {note}" in notes for task in ("zero-shot", "retrieval", "composition")] == [True] * 3
    assert CAPTION in json.dumps(archived(sampled_run(lambda **facts: make_run("open", **facts)))[2])


def test_a_single_file_has_no_samples_and_says_so(make_run: MakeRun) -> None:
    rendered = format_of("every-eval-ever").render([sampled_run(make_run)])
    assert "detailed_evaluation_results" not in json.loads(rendered.content)
    assert rendered.notes[0] == "samples are left out: a folder, -o FOLDER, has them too"


def test_a_run_without_samples_has_only_its_metrics(make_run: MakeRun, tmp_path: Path) -> None:
    run = make_run()
    path, log, records, notes = archived(run)
    assert not records and "detailed_evaluation_results" not in log
    assert "zero-shot@imagenet: no samples, the run kept none" in notes
    done = export([run.folder], "every-eval-ever", tmp_path / "archive")
    assert done.written == [tmp_path / "archive"] and json.loads((tmp_path / "archive" / path).read_bytes()) == log


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_the_package_of_the_schema_takes_the_samples(make_run: MakeRun) -> None:
    types = pytest.importorskip(
        "every_eval_ever.instance_level_types", reason="needs every-eval-ever, which needs Python 3.12"
    )
    _, _, records, _ = archived(sampled_run(make_run))
    for record in records:
        types.InstanceLevelEvaluationLog.model_validate(record)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_the_package_of_the_schema_takes_it(make_run: MakeRun, record: Record) -> None:
    types = pytest.importorskip("every_eval_ever.eval_types", reason="needs every-eval-ever, which needs Python 3.12")
    hub = record("zero-shot", "hf:org/birds:small", {"acc1": acc(0.6), "rank": acc(3.0, unit="rank"), "odd": acc(3.0)})
    for run in (make_run("one"), make_run("two", evaluations=[hub])):
        types.EvaluationLog.model_validate(json.loads(format_of("every-eval-ever").render([run]).content))


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
    """The fields of ``mteb.TaskResult`` 2.26.24, which is too large to install for this; below it reads the files
    itself.
    """
    run = mieb_run(make_run, record)
    done = export([run.folder], "mteb", tmp_path / "theirs")
    fields = {"dataset_revision", "task_name", "mteb_version", "scores", "evaluation_time", "kg_co2_emissions", "date"}
    result = {path.stem: json.loads(path.read_text()) for path in (tmp_path / "theirs").iterdir()}
    assert all(set(value) == fields for value in result.values())
    assert {name: value["scores"]["test"][0]["main_score"] for name, value in result.items()} == {
        "Imagenet1kZeroShot": 0.6,
        "MSCOCOI2TRetrieval": None,
        "MSCOCOT2IRetrieval": None,
        "SugarCrepe": 0.7,
        "Winoground": 0.2,
        "AROVisualRelation": 0.55,
    }
    scores = result["MSCOCOI2TRetrieval"]["scores"]["test"][0]
    assert (scores["hit_rate_at_1"], scores["hit_rate_at_5"], scores["hf_subset"]) == (0.05, 0.25, "default")
    score = scores["clipbench"]["hit_rate_at_5"]
    assert (score["low"], score["high"], score["n"]) == (0.15, 0.35, 1000)
    assert result["Imagenet1kZeroShot"]["evaluation_time"] == 1.5
    assert "MSCOCOI2TRetrieval: main_score is null, as ndcg_at_10 was not measured" in done.notes
    assert "modality-gap@coco is left out: mteb has no task on the same data" in done.notes


def test_what_is_written_for_mteb_is_read_back_by_our_names(make_run: MakeRun, record: Record, tmp_path: Path) -> None:
    run = mieb_run(make_run, record)
    export([run.folder], "mteb", tmp_path / "theirs")
    metrics = open_results(tmp_path / "theirs").metrics
    left_out = {"zero-shot@imagenet/ece", "composition@sugarcrepe/add_att/text_acc", "modality-gap@coco/gap"}
    # MIEB's image_acc of Winoground is a value, and of benchmarks with one image an artefact.
    ours = {name: metric.value for name, metric in run.metrics.items() if name not in left_out}
    assert {name: metrics[name].value for name in ours} == ours


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_mteb_reads_the_files(make_run: MakeRun, record: Record, tmp_path: Path) -> None:
    mteb = pytest.importorskip("mteb", reason="needs mteb")
    export([mieb_run(make_run, record).folder], "mteb", tmp_path / "theirs")
    for path in (tmp_path / "theirs").iterdir():
        result = mteb.results.TaskResult.from_disk(path)
        metadata = mteb.get_task(path.stem).metadata
        assert metadata.main_score == main_metric(path.stem) and metadata.eval_splits == list(result.scores)
        if "Retrieval" not in path.stem:
            assert result.get_score() > 0
