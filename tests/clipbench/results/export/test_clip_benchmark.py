"""clip_benchmark: the entries are those that CLIP_benchmark 1.6.2 writes, and what it cannot hold is said."""

import json
from pathlib import Path

import pytest

from clipbench.comparison.compare_runs import compare
from clipbench.results.export.formats import format_of
from clipbench.results.other_tools import Values, open_results
from clipbench.results.record import Metric
from tests.clipbench.results.export.conftest import MakeRun, Record

render = format_of("clip_benchmark").render


def fractions(**values: float | None) -> dict[str, Metric]:
    return {name: Metric(value=value, n=10, reason=None if value else "why") for name, value in values.items()}


def test_subsets_are_data_sets_of_their_own_and_means_over_them_are_not(make_run: MakeRun, record: Record) -> None:
    metrics = {f"{subset}/text_acc": value for subset, value in (("macro", 0.6), ("micro", 0.7), ("swap_att", 0.8))}
    run = make_run(evaluations=[record("composition", "sugarcrepe", fractions(**metrics))])
    (entry,) = json.loads(render([run]).content)
    assert entry["dataset"] == "sugar_crepe/swap_att" and entry["task"] == "image_caption_selection"
    # With one image, the choice of the caption is all that can be wrong there.
    assert entry["metrics"] == {"text_acc": 0.8, "acc": 0.8}
    (name,) = render([run]).parts
    assert name == "sugar_crepe_swap_att_openai_ViT-B-32-quickgelu_en_image_caption_selection.json"


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


def test_what_is_read_back_has_the_names_and_values_that_the_run_had(
    make_run: MakeRun, record: Record, tmp_path: Path
) -> None:
    both = fractions(text_acc=0.3, image_acc=0.2, group_acc=0.1)
    result = [
        record("zero-shot", "scenes", fractions(**{"kind/acc1": 0.9, "kind/acc5": 1.0, "colour_kind/acc1": 0.8})),
        record("zero-shot", "cifar-10", fractions(acc1=0.5, mean_per_class_recall=0.4)),
        record("zero-shot", "hf:org/birds", fractions(**{"kind/acc1": 0.7})),
        record("retrieval", "coco", fractions(**{"image_retrieval_recall@1": 0.3, "text_retrieval_recall@10": 0.6})),
        record("composition", "scenes", {f"{s}/{n}": m for s in ("swap_att", "count") for n, m in both.items()}),
        record("composition", "sugarcrepe", fractions(**{"add_att/text_acc": 0.6, "swap_obj/text_acc": 0.7})),
        record("composition", "winoground", both),
        record("composition", "my/folder", fractions(**{"a/text_acc": 0.25})),
    ]
    run = make_run(evaluations=result)
    rendered = render([run])
    (tmp_path / "all.json").write_bytes(rendered.content)
    (tmp_path / "each").mkdir()
    for name, content in rendered.parts.items():
        (tmp_path / "each" / name).write_bytes(content)
    expected = {name: metric.value for name, metric in run.metrics.items()}
    for place in ("all.json", "each"):
        back = open_results(tmp_path / place)
        assert isinstance(back, Values) and back.values == expected and back.notes == []
        assert {difference.value for difference in compare(run, back).differences} == {0.0}
    assert rendered.notes == []


def test_a_name_that_is_not_read_back_is_told(make_run: MakeRun, record: Record) -> None:
    run = make_run(evaluations=[record("zero-shot", "hf:clip-benchmark/wds_vtab-cifar10", fractions(acc1=0.5))])
    (note,) = render([run]).notes
    assert (
        note == "zero-shot@hf:clip-benchmark/wds_vtab-cifar10 is named vtab/cifar10 in CLIP_benchmark and read back as"
        " zero-shot@cifar-10"
    )


def test_file_names_stay_in_their_folder(make_run: MakeRun, record: Record, hostile: str) -> None:
    result = [record("zero-shot", data, fractions(acc1=0.5)) for data in ("../../etc", hostile)]
    names = list(render([make_run(evaluations=result)]).parts)
    assert len(names) == 2 and not any(set("/\\\n\0") & set(name) or name.startswith(".") for name in names)
