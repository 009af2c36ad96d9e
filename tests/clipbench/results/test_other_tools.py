"""Files of other toolkits: each value under the name that it has here, and what is wrong with a file in one line."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from clipbench.comparison.compare_runs import VALUES_ONLY, compare
from clipbench.errors import ClipbenchError, UsageError
from clipbench.results.other_tools import Values, open_results, read_values
from clipbench.results.record import Metric
from clipbench.results.run import Run
from tests.made import record_of, result_of

CLIP_BENCHMARK = {
    "dataset": "wds/imagenet1k",
    "model": "ViT-B-32",
    "pretrained": "laion2b_s34b_b79k",
    "task": "zeroshot_classification",
    "metrics": {"acc1": 0.665, "acc5": 0.89844, "mean_per_class_recall": 0.66506},
    "language": "en",
}
TABLE = """acc1,acc5,mean_per_class_recall,dataset,model,pretrained,task,mean_average_precision,image_retrieval_recall@5,text_retrieval_recall@5,model_fullname
0.6334,0.8878,0.6328,imagenet1k,ViT-B-32,openai,zeroshot_classification,,,,ViT-B-32 openai
0.7067,,0.7068,renderedsst2,ViT-L-14,openai,zeroshot_classification,,,,ViT-L-14 openai
,,,flickr30k,ViT-B-32,openai,zeroshot_retrieval,,0.8338,0.949,ViT-B-32 openai
,,,voc2007_multilabel,ViT-B-32,openai,zeroshot_classification,0.7601,,,ViT-B-32 openai
"""
DATACOMP = [
    {"key": "imagenet1k", "dataset": "ImageNet 1k", "metrics": {"acc1": 0.2, "acc5": 0.4, "main_metric": 0.2}},
    {"key": "vtab/svhn", "dataset": "SVHN", "metrics": {"acc1": 0.1, "main_metric": 0.1}},
    {
        "key": "retrieval/flickr_1k_test_image_text_retrieval",
        "dataset": "Flickr",
        "metrics": {"image_retrieval_recall@1": 0.3, "text_retrieval_recall@1": 0.4, "mean_recall@1": 0.35},
    },
    {"key": "misc/winogavil", "dataset": "WinoGAViL", "metrics": {"jaccard_score_10-12": 0.4, "avg_jaccard": None}},
]
OPEN_CLIP = [
    {"imagenet-zeroshot-val-top1": 0.1, "imagenet-zeroshot-val-top5": 0.3, "epoch": 1},
    {
        "image_to_text_mean_rank": 40.2,
        "image_to_text_median_rank": 7.0,
        "image_to_text_R@1": 0.21,
        "text_to_image_R@10": 0.62,
        "clip_val_loss": 1.9,
        "imagenet-zeroshot-val-top1": 0.15,
        "imagenet-zeroshot-val-top5": 0.35,
        "epoch": 2,
        "num_samples": 5000,
    },
]
Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def written(content: Any, name: str = "result of others.json") -> Path:
        path = tmp_path / name
        lines = content if isinstance(content, list) else [content]
        text = content if isinstance(content, str) else "\n".join(json.dumps(line) for line in lines)
        path.write_text(text, encoding="utf-8")
        return path

    return written


def mieb(task: str, *entries: dict[str, Any], **splits: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "dataset_revision": "b54c9af",
        "task_name": task,
        "mteb_version": "2.12.32",
        "scores": {"test": list(entries)} if entries else splits,
        "evaluation_time": 12.5,
        "kg_co2_emissions": None,
    }


def test_a_nan_of_clip_benchmark_is_said_and_is_no_value(write: Write) -> None:
    path = write({**CLIP_BENCHMARK, "metrics": {"acc1": 0.6, "acc5": float("nan")}})
    assert "NaN" in path.read_text()
    values = read_values(path)
    assert values.values == {"zero-shot@imagenet/acc1": 0.6}
    assert values.notes == [f"zero-shot@imagenet/acc5 has no value in {path} (nan)"]


def test_a_table_of_several_models_is_read_one_model_at_a_time(write: Write) -> None:
    path = write(TABLE, "benchmark.csv")
    values = read_values(Path(f"{path}#ViT-B-32 openai"))
    assert values.label == "ViT-B-32 openai"
    assert values.values == {
        "zero-shot@imagenet/acc1": 0.6334,
        "zero-shot@imagenet/acc5": 0.8878,
        "zero-shot@imagenet/mean_per_class_recall": 0.6328,
        "retrieval@flickr30k/image_retrieval_recall@5": 0.8338,
        "retrieval@flickr30k/text_retrieval_recall@5": 0.949,
        "zero-shot@voc2007_multilabel/mean_average_precision": 0.7601,
    }
    with pytest.raises(UsageError, match=r"csv holds 2 models: name one as .*csv#MODEL \(ViT-B-32 openai, ViT-L-14 op"):
        read_values(path)
    with pytest.raises(UsageError, match=r"csv has no model 'vit-b-32 openai': did you mean 'ViT-B-32 openai'\?$"):
        read_values(Path(f"{path}#vit-b-32 openai"))


def test_datacomp_s_lines_are_one_model(write: Write) -> None:
    path = write(DATACOMP, "eval_results.jsonl")
    values = read_values(path)
    assert values.label == str(path)
    assert values.values == {
        "zero-shot@imagenet/acc1": 0.2,
        "zero-shot@imagenet/acc5": 0.4,
        "zero-shot@imagenet/main_metric": 0.2,
        "zero-shot@svhn/acc1": 0.1,
        "zero-shot@svhn/main_metric": 0.1,
        "retrieval@flickr30k/image_retrieval_recall@1": 0.3,
        "retrieval@flickr30k/text_retrieval_recall@1": 0.4,
        "retrieval@flickr30k/mean_recall@1": 0.35,
        "misc@winogavil/jaccard_score_10-12": 0.4,
    }
    assert values.notes == [f"misc@winogavil/avg_jaccard has no value in {path} (null)"]


def test_the_last_evaluation_of_a_training_counts(write: Write) -> None:
    path = write(OPEN_CLIP, "results.jsonl")
    values = read_values(path)
    assert values.values == {
        "retrieval@validation/text_retrieval_mean_rank": 40.2,
        "retrieval@validation/text_retrieval_median_rank": 7.0,
        "retrieval@validation/text_retrieval_recall@1": 0.21,
        "retrieval@validation/image_retrieval_recall@10": 0.62,
        "training@validation/clip_val_loss": 1.9,
        "zero-shot@imagenet/acc1": 0.15,
        "zero-shot@imagenet/acc5": 0.35,
    }
    assert values.notes == [f"{path} logs 2 evaluations: the last (epoch 2) is compared"]
    assert read_values(write(OPEN_CLIP[1], "one.jsonl")).notes == []


def test_mieb_s_recall_is_not_ours_but_its_hit_rate_is(write: Write) -> None:
    scores = {
        "recall_at_1": 0.109,
        "hit_rate_at_1": 0.554,
        "cv_recall_at_1": 0.55401,  # the older name, rounded
        "main_score": 0.7,
        "hf_subset": "default",
        "languages": ["eng-Latn"],
    }
    values = read_values(write(mieb("MSCOCOI2TRetrieval", scores)))
    assert values.values == {
        "retrieval@coco/text_retrieval_recall_at_1": 0.109,
        "retrieval@coco/text_retrieval_recall@1": 0.554,
        "retrieval@coco/text_retrieval_main_score": 0.7,
    }
    old = read_values(write(mieb("Flickr30kT2IRetrieval", {"cv_recall_at_5": 0.8})))
    assert old.values == {"retrieval@flickr30k/image_retrieval_recall@5": 0.8}


def test_what_mieb_gives_every_model_is_no_value(write: Write) -> None:
    scores = {"text_acc": 0.76, "image_acc": 0.0, "accuracy": 0.0}
    values = read_values(write(mieb("SugarCrepe", scores)))
    assert values.values == {"composition@sugarcrepe/micro/text_acc": 0.76}
    assert len(values.notes) == 2 and all("whatever the model" in note for note in values.notes)


@pytest.mark.parametrize(
    ("content", "name", "message"),
    [
        ("{", "a.json", r"a\.json is not JSON: Expecting property name.*; expected a run folder, or results of C"),
        ('{"key": "a", "metrics": {}}\n{"key', "a.jsonl", r"a\.jsonl is not JSON: Unterminated string"),
        ("", "a.jsonl", r"a\.jsonl holds no JSON objects: expected"),
        ("[1, 2]", "a.json", r"a\.json holds no JSON objects: expected"),
        ('{"loss": 3, "step": 4}', "a.json", r"a\.json is not a results file that clipbench knows \(its keys: loss, step\); expected"),
        ('{"schema_version": "2.0"}', "a.json", r"a\.json is the result\.json of a run under another name: name the run's folder"),
        ("a,b\n1,2\n", "a.csv", r"a\.csv is not a results file that clipbench knows \(its keys: metrics\); expected"),
        ("", "a.csv", r"a\.csv is not a results file that clipbench knows \(its keys: none\); expected"),
        ('{"key": "mnist", "metrics": 5}', "a.json", r"a\.json looks like a file of DataComp, but is malformed \('int' ob"),
        ('{"task_name": "T", "scores": {"test": 3}}', "a.json", r"looks like a file of MIEB, but is malformed"),
        ('{"key": "mnist", "metrics": {"note": "x"}}', "a.json", r"a\.json holds no value: expected"),
    ],
)  # fmt: skip
def test_a_file_that_cannot_be_read_is_one_line(content: str, name: str, message: str, write: Write) -> None:
    with pytest.raises(ClipbenchError, match=message) as caught:
        read_values(write(content, name))
    assert "\n" not in str(caught.value)


def test_two_values_of_one_name_are_refused(write: Write) -> None:
    twice = [DATACOMP[1], {"key": "svhn", "metrics": {"acc1": 0.9}}]
    with pytest.raises(
        ClipbenchError, match=r"has two values of zero-shot@svhn/acc1: got 0\.1 and 0\.9, expected one$"
    ):
        read_values(write(twice, "eval_results.jsonl"))
    assert read_values(write([DATACOMP[1], DATACOMP[1]], "eval_results.jsonl")).values["zero-shot@svhn/acc1"] == 0.1


def run_of(folder: Path, **values: float) -> Run:
    metrics = {
        name: Metric(value=value, low=value - 0.01, high=value + 0.01, n=50_000, higher_is_better=True)
        for name, value in values.items()
    }
    return Run(folder, result_of(record_of(data="imagenet", metrics=metrics), model={}))


RETRIEVAL = {
    **CLIP_BENCHMARK,
    "dataset": "wds/mscoco_captions",
    "task": "zeroshot_retrieval",
    "metrics": {"image_retrieval_recall@5": 0.65, "text_retrieval_recall@5": 0.8},
}


def test_the_files_of_a_folder_are_one_model_s_values(tmp_path: Path, write: Write) -> None:
    write(CLIP_BENCHMARK, "imagenet1k.json")
    write(RETRIEVAL, "coco.json")
    write(CLIP_BENCHMARK, "the same again.json")
    write("a log", "log.txt")
    results = open_results(tmp_path)
    assert isinstance(results, Values) and results.label == "ViT-B-32 laion2b_s34b_b79k"
    assert results.values == {
        "retrieval@coco/image_retrieval_recall@5": 0.65,
        "retrieval@coco/text_retrieval_recall@5": 0.8,
        "zero-shot@imagenet/acc1": 0.665,
        "zero-shot@imagenet/acc5": 0.89844,
        "zero-shot@imagenet/mean_per_class_recall": 0.66506,
    }


def test_two_files_of_a_folder_must_not_contradict_each_other(tmp_path: Path, write: Write) -> None:
    write(CLIP_BENCHMARK, "one.json")
    write({**CLIP_BENCHMARK, "metrics": {"acc1": 0.7}}, "other.json")
    text = r"one\.json and .*other\.json have different values of zero-shot@imagenet/acc1: got 0\.665 and 0\.7, expected one$"
    with pytest.raises(ClipbenchError, match=text):
        open_results(tmp_path)


def test_of_a_folder_of_several_models_one_is_named(tmp_path: Path, write: Write) -> None:
    write(CLIP_BENCHMARK, "one.json")
    write({**CLIP_BENCHMARK, "pretrained": "openai", "metrics": {"acc1": 0.7}}, "other.json")
    with pytest.raises(
        UsageError, match=r"holds 2 models: name one as .*#MODEL \(ViT-B-32 laion2b_s34b_b79k, ViT-B-32 o"
    ):
        open_results(tmp_path)
    results = open_results(Path(f"{tmp_path}#ViT-B-32 openai"))
    assert isinstance(results, Values) and results.values == {"zero-shot@imagenet/acc1": 0.7}
    assert not results.notes
    assert results.label == "ViT-B-32 openai"
    with pytest.raises(UsageError, match=r"has no model 'ViT-B-32 opnai': did you mean 'ViT-B-32 openai'"):
        open_results(Path(f"{tmp_path}#ViT-B-32 opnai"))


def test_a_run_is_held_beside_values_without_interval_or_test(tmp_path: Path, write: Write) -> None:
    theirs = read_values(write(CLIP_BENCHMARK))
    comparison = compare(theirs, run_of(tmp_path, acc1=0.7, ece=0.1))
    assert (comparison.base, comparison.candidate) == ("ViT-B-32 laion2b_s34b_b79k", str(tmp_path))
    (difference,) = comparison.differences
    assert (difference.evaluation, difference.name) == ("zero-shot@imagenet", "acc1")
    assert difference.value == pytest.approx(0.035)
    assert (difference.low, difference.high, difference.p_value, difference.detectable) == (None, None, None, None)
    assert (difference.test, difference.verdict) == ("no test: only values are known", "not tested")
    assert difference.base.value == 0.665 and difference.base.higher_is_better is True
    assert difference.candidate.n == 50_000  # of a run, all stays known
    assert comparison.notes == [
        VALUES_ONLY,
        "only ViT-B-32 laion2b_s34b_b79k has zero-shot@imagenet/acc5, zero-shot@imagenet/mean_per_class_recall",
        f"only {tmp_path} has zero-shot@imagenet/ece",
    ]
