"""clip_benchmark: the entries are those that CLIP_benchmark 1.6.2 writes, and what it cannot hold is said."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from clipbench.comparison.compare import compare
from clipbench.data.catalogue.entries import catalogue
from clipbench.errors import UsageError
from clipbench.results.export import FORMATS
from clipbench.results.export.clip_benchmark import DATASETS
from clipbench.results.other_tools import Values, open_results
from clipbench.results.record import EvaluationRecord, Metric
from clipbench.results.run import Run

MakeRun = Callable[..., Run]
Record = Callable[..., EvaluationRecord]
render = FORMATS["clip_benchmark"].render


def fractions(**values: float | None) -> dict[str, Metric]:
    return {name: Metric(value=value, n=10, reason=None if value else "why") for name, value in values.items()}


def as_csv_row(entry: dict[str, Any]) -> dict[str, Any]:
    """Return what `clip_benchmark build` makes of a file: a row of its CSV."""
    row = {**entry["metrics"], **entry}
    del row["metrics"]
    return {**row, "model_fullname": row["model"] + " " + row["pretrained"]}


def test_a_classification_is_what_clip_benchmark_writes(make_run: MakeRun) -> None:
    rendered = render([make_run()])
    expected = {
        "dataset": "imagenet1k",
        "model": "ViT-B-32-quickgelu",
        "pretrained": "openai",
        "task": "zeroshot_classification",
        "metrics": {"acc1": 0.625, "acc5": None},
        "language": "en",
    }
    (name,) = rendered.parts
    assert name == "imagenet1k_openai_ViT-B-32-quickgelu_en_zeroshot_classification.json"
    assert json.loads(rendered.parts[name]) == expected and json.loads(rendered.content) == [expected]
    assert list(json.loads(rendered.parts[name])) == list(expected)
    assert as_csv_row(expected)["model_fullname"] == "ViT-B-32-quickgelu openai"


def test_what_it_has_no_place_for_is_said(make_run: MakeRun) -> None:
    assert render([make_run()]).notes == [
        "zero-shot@imagenet: ece left out: CLIP_benchmark has no such metric",
        "zero-shot@imagenet acc5 is null, undefined: of only 3 classes",
        "retrieval@coco is left out, unavailable: no folder coco: clipbench data get coco",
        "modality-gap@scenes is left out: CLIP_benchmark has no such task",
    ]


def test_recall_has_its_names(make_run: MakeRun, record: Record) -> None:
    names = {"image_retrieval_recall@1": 0.3, "text_retrieval_recall@5": 0.5}
    others = {"image_retrieval_median_rank": 4.0, "image_image_retrieval_recall@1": 0.2}
    run = make_run(evaluations=[record("retrieval", "coco", fractions(**names, **others))])
    (entry,) = json.loads(render([run]).content)
    assert (entry["dataset"], entry["task"]) == ("mscoco_captions", "zeroshot_retrieval")
    assert entry["metrics"] == names
    assert all(name in " ".join(render([run]).notes) for name in others)


def test_subsets_are_data_sets_of_their_own_and_means_over_them_are_not(make_run: MakeRun, record: Record) -> None:
    metrics = {f"{subset}/text_acc": value for subset, value in (("macro", 0.6), ("micro", 0.7), ("swap_att", 0.8))}
    run = make_run(evaluations=[record("composition", "sugarcrepe", fractions(**metrics))])
    (entry,) = json.loads(render([run]).content)
    assert entry["dataset"] == "sugar_crepe/swap_att" and entry["task"] == "image_caption_selection"
    # With one image, the choice of the caption is all that can be wrong there.
    assert entry["metrics"] == {"text_acc": 0.8, "acc": 0.8}
    (name,) = render([run]).parts
    assert name == "sugar_crepe_swap_att_openai_ViT-B-32-quickgelu_en_image_caption_selection.json"


def test_both_choices_right_is_called_acc(make_run: MakeRun, record: Record) -> None:
    metrics = fractions(text_acc=0.3, image_acc=0.2, group_acc=0.1)
    run = make_run(evaluations=[record("composition", "winoground", metrics)])
    (entry,) = json.loads(render([run]).content)
    assert entry["metrics"] == {"text_acc": 0.3, "image_acc": 0.2, "acc": 0.1}


def test_names_of_data_sets_are_those_of_the_copies_that_clip_benchmark_reads() -> None:
    hub = {
        name: re.sub("^vtab-", "vtab/", source.hub.removeprefix("clip-benchmark/wds_"))
        for name, entry in catalogue().items()
        for source in entry.sources
        if source.hub and source.hub.startswith("clip-benchmark/wds_")
    }
    assert len(hub) > 10
    assert {name: DATASETS.get(name, name) for name in hub} == hub


@pytest.mark.parametrize(
    ("id", "model", "pretrained"),
    [
        ("open_clip:ViT-B-32/laion2b_s34b_b79k", "ViT-B-32", "laion2b_s34b_b79k"),
        ("hf-hub:org/repo", "hf-hub:org/repo", ""),
        ("runs/a b/epoch_3.pt as ViT-B-16", "ViT-B-16", "runs/a b/epoch_3.pt"),
        ("bundled:tiny", "bundled:tiny", ""),
    ],
)
def test_a_model_is_named_as_there(make_run: MakeRun, id: str, model: str, pretrained: str) -> None:
    (entry,) = json.loads(render([make_run(model={"id": id})]).content)
    assert (entry["model"], entry["pretrained"]) == (model, pretrained)


def test_a_data_set_of_the_hub_loses_what_stands_before_its_name(make_run: MakeRun, record: Record) -> None:
    data = "hf:clip-benchmark/wds_vtab-cifar10"
    run = make_run(evaluations=[record("zero-shot", data, fractions(acc1=0.5))])
    assert json.loads(render([run]).content)[0]["dataset"] == "vtab/cifar10"


def test_what_is_read_back_has_the_names_and_values_that_the_run_had(
    make_run: MakeRun, record: Record, tmp_path: Path
) -> None:
    both = fractions(text_acc=0.3, image_acc=0.2, group_acc=0.1)
    found = [
        record("zero-shot", "scenes", fractions(**{"kind/acc1": 0.9, "kind/acc5": 1.0, "colour_kind/acc1": 0.8})),
        record("zero-shot", "cifar-10", fractions(acc1=0.5, mean_per_class_recall=0.4)),
        record("zero-shot", "hf:org/birds", fractions(**{"kind/acc1": 0.7})),
        record("retrieval", "coco", fractions(**{"image_retrieval_recall@1": 0.3, "text_retrieval_recall@10": 0.6})),
        record("composition", "scenes", {f"{s}/{n}": m for s in ("swap_att", "count") for n, m in both.items()}),
        record("composition", "sugarcrepe", fractions(**{"add_att/text_acc": 0.6, "swap_obj/text_acc": 0.7})),
        record("composition", "winoground", both),
        record("composition", "my/folder", fractions(**{"a/text_acc": 0.25})),
    ]
    run = make_run(evaluations=found)
    rendered = render([run])
    (tmp_path / "all.json").write_bytes(rendered.content)
    (tmp_path / "each").mkdir()
    for name, content in rendered.parts.items():
        (tmp_path / "each" / name).write_bytes(content)
    expected = {name: metric.value for name, metric in run.metrics.items()}
    for place in ("all.json", "each"):
        back = open_results(tmp_path / place)
        assert isinstance(back, Values) and back.values == expected and back.notes == []
        assert {each.value for each in compare(run, back).differences} == {0.0}
    assert rendered.notes == []


def test_a_name_that_is_not_read_back_is_told(make_run: MakeRun, record: Record) -> None:
    run = make_run(evaluations=[record("zero-shot", "hf:clip-benchmark/wds_vtab-cifar10", fractions(acc1=0.5))])
    (note,) = render([run]).notes
    assert note == (
        "zero-shot@hf:clip-benchmark/wds_vtab-cifar10 is named vtab/cifar10 in CLIP_benchmark and read back as zero-shot@cifar-10"
    )


def test_file_names_stay_in_their_folder(make_run: MakeRun, record: Record, hostile: str) -> None:
    found = [record("zero-shot", data, fractions(acc1=0.5)) for data in ("../../etc", hostile)]
    names = list(render([make_run(evaluations=found)]).parts)
    assert len(names) == 2 and not any(set("/\\\n\0") & set(name) or name.startswith(".") for name in names)


def test_results_of_one_name_are_refused(make_run: MakeRun) -> None:
    with pytest.raises(UsageError, match=r"two results would both be named imagenet1k_openai_ViT-B-32-quickgelu"):
        render([make_run("one"), make_run("two")])


def test_runs_that_it_knows_nothing_of_are_refused(make_run: MakeRun, record: Record) -> None:
    run = make_run(evaluations=[record("modality-gap", "coco", fractions(gap=0.5))])
    with pytest.raises(
        UsageError, match=r"no result of a task that CLIP_benchmark has \(.*modality-gap@coco is left out"
    ):
        render([run])
