"""Compositional benchmarks in the form in which they are published: a model that knows all scores 1, one that knows
nothing the chance that the catalogue gives."""

import csv
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
import pytest
from PIL import Image

from clipbench.cli import main
from clipbench.data import Contrast, DataOptions, Dataset, ImageRef
from clipbench.data.catalogue.entries import OWN_CATALOGUE, catalogue
from clipbench.data.dataset_loading import load_data
from clipbench.errors import DataError
from clipbench.models.protocol import Embedder
from clipbench.results.record import Metric
from clipbench.stats.measures import Mean
from clipbench.testing import FixedEmbedder
from clipbench_tasks.composition.scoring import all_of_pair_and_set
from clipbench_tasks.composition.task import Composition
from tests import miniatures
from tests.made import ConstantEmbedder

OWN = ((True, False), (False, True))
SIDES = {"on": "on a", "under": "under a", "left_of": "to the left of a", "right_of": "to the right of a"}


class Knowing(FixedEmbedder):
    """Each text has an axis of its own, and each image points along all that are true of it."""

    def __init__(self, dataset: Dataset) -> None:
        super().__init__({"x": [1.0]}, {})
        self.contrasts = dataset.contrasts or ()
        self.n_images = len(dataset)
        self.axis = {
            text: k for k, text in enumerate(sorted({t for contrast in self.contrasts for t in contrast.captions}))
        }

    def images(self, images: Sequence[ImageRef]) -> np.ndarray:
        vectors = np.zeros((self.n_images, len(self.axis) + 1), np.float32)
        vectors[:, -1] = 1e-3  # of an image of which nothing is true
        for contrast in self.contrasts:
            for image, caption in np.argwhere(contrast.truth):
                vectors[contrast.images[image], self.axis[contrast.captions[caption]]] = 1
        return vectors

    def texts(self, texts: Sequence[str]) -> np.ndarray:
        vectors = np.zeros((len(texts), len(self.axis) + 1), np.float32)
        for row, text in enumerate(texts):
            if text in self.axis:  # a shuffled caption is none of the data's
                vectors[row, self.axis[text]] = 1
        return vectors + np.float32(1e-6)


def scores(dataset: Dataset, embedder: Embedder) -> dict[str, Metric]:
    evaluation = Composition().evaluate(dataset, embedder, np.random.default_rng(0))
    return {
        name: measure.metric(evaluation.samples, np.random.default_rng(0))
        for name, measure in evaluation.measures.items()
    }


def put(folder: Path, *names: str) -> None:
    """Write images, each of another colour."""
    for number, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (30, 30), (7 * number % 256, 90, 20)).save(folder / name)


def write_table(file: Path, rows: Sequence[Mapping[str, object]]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w", newline="") as out:
        writer = csv.DictWriter(out, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


# By hand, as their authors' files are ---------------------------------------------------------------------------------


def whats_up(folder: Path, objects: Sequence[tuple[str, str]] = (("mug", "table"), ("hat", "chair"))) -> None:
    rows = []
    for first, last in objects:
        captions = {side: f"A {first} {words} {last}" for side, words in SIDES.items()}
        for side in SIDES:
            name = f"controlled_images/{first}_{side}_{last}.jpeg"
            other_captions = [captions[other] for other in SIDES if other != side]
            rows.append({"image_path": f"data/{name}", "caption_options": [captions[side], *other_captions]})
            put(folder, name)
    (folder / "controlled_images_dataset.json").write_text(json.dumps(rows))
    put(folder, "val2017/000000000139.jpg", "vg_images/71.jpg")
    (folder / "coco_qa_one_obj.json").write_text(json.dumps([[139, "a cat on the left", "a cat on the right"]]))
    (folder / "vg_qa_two_obj.json").write_text(json.dumps([["71", "a cup left of a can", "a cup right of a can"]]))


def cola(folder: Path) -> None:
    text = "https://cs-people.bu.edu/array/data/vg_gqa_images"
    put(folder / "images", "1.jpg", "2.jpg", "3.jpg")
    rows = [[f"{text}/1.jpg", "red cup on box", f"{text}/2.jpg", "cup on red box"],
            [f"{text}/3.jpg", "old man, young dog", f"{text}/1.jpg", "young man, old dog"]]  # fmt: skip
    (folder / "COLA_multiobjects_matching_benchmark.json").write_text(json.dumps(rows))


def svo_probes(folder: Path) -> None:
    put(folder / "images", *(f"{number}.jpg" for number in range(1, 7)))
    urls = {"pos_url": "http://x/a.jpg", "neg_url": "http://x/b.jpg"}
    rows = [{"sentence": f"A girl sits {k}.", "pos_triplet": "girl,sit,grass", "neg_triplet": "girl,lie,grass", **urls,
             "pos_image_id": 2 * k + 1, "neg_image_id": 2 * k + 2,
             "subj_neg": k == 0, "verb_neg": k > 0, "obj_neg": k == 2} for k in range(3)]  # fmt: skip
    write_table(folder / "svo_probes.csv", rows)


def negbench(folder: Path) -> None:
    put(folder / "val2017", "000000000001.jpg", "000000000002.jpg")
    rows = [{"correct_answer": k, **{f"caption_{c}": f"cat {k} {c}" for c in range(4)},
             "correct_answer_template": template, "image_path": f"/home/them/val2017/{k + 1:012}.jpg"}
            for k, template in enumerate(("positive", "negative"))]  # fmt: skip
    write_table(folder / "COCO_val_mcq_llama3.1_rephrased.csv", rows)


def vl_checklist(folder: Path) -> None:
    put(folder, "vg/VG_100K/1.jpg", "swig/skiing_1.jpg")
    files = {"Attribute/vaw/color": "VG_100K/1.jpg", "Attribute/vg/color": "VG_100K/1.jpg", "Relation/swig_action": "skiing_1.jpg",
             "Object/Size/vg_size/vg_obj_small": "VG_100K/1.jpg",
             "Object/Location/swig_location/swig_tool/swig_tool_mid": "skiing_1.jpg"}  # fmt: skip
    for name, image in files.items():
        file = folder / "data" / f"{name}.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps([[image, {"POS": [f"true {name}", "and"], "NEG": [f"false {name}", "or"]}]]))
    (folder / "data/Object/Size/vg_size/vg_subj_small.json").write_text("[]")


BY_HAND: dict[str, Callable[[Path], None]] = {
    "whatsup": whats_up, "cola": cola, "svo-probes": svo_probes, "negbench-coco": negbench, "negbench-voc": negbench,
    "vl-checklist": vl_checklist,
}  # fmt: skip
FETCHED = ("mmvp-vlm", "countbench", "crepe", "crepe-systematicity", "spec", "winogavil")
SIZES = {"whatsup": 10, "cola": 2, "svo-probes": 2, "negbench-coco": 2, "negbench-voc": 2,
         "vl-checklist": 5, "mmvp-vlm": 8, "countbench": 8, "crepe": 48,
         "crepe-systematicity": 48, "spec": 32, "winogavil": 8}  # fmt: skip
"""Items of each."""


@pytest.fixture
def benchmark(
    hub: Any, library_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[str], Dataset]]:
    def get(name: str) -> Dataset:
        (tmp_path / "catalogue.toml").write_text(miniatures.mirror(hub, [name], n=8))
        monkeypatch.setenv(OWN_CATALOGUE, str(tmp_path / "catalogue.toml"))
        catalogue.cache_clear()
        if name in BY_HAND:
            (tmp_path / "data" / name).mkdir(parents=True)
            BY_HAND[name](tmp_path / "data" / name)
        else:
            with pytest.raises(SystemExit) as end:
                main(["data", "get", name, "--data-root", str(tmp_path / "data")])
            assert end.value.code == 0
        return load_data(name, DataOptions(data_root=tmp_path / "data"))

    yield get
    catalogue.cache_clear()


@pytest.mark.parametrize("name", [*BY_HAND, *FETCHED])
def test_each_is_read_and_scored_from_chance_to_all(name: str, benchmark: Callable[[str], Dataset]) -> None:
    dataset = benchmark(name)
    assert len(dataset.contrasts or ()) == SIZES[name]
    best, none = (scores(dataset, embedder) for embedder in (Knowing(dataset), ConstantEmbedder()))
    is_score = {text: metric.chance is not None for text, metric in best.items()}
    assert {best[text].value for text in best if is_score[text] and not text.startswith("word_order")} == {1.0}
    for text, metric in none.items():
        if is_score[text]:
            assert metric.value == pytest.approx(metric.chance), text
    for score, chance in catalogue()[name].chance.items():
        (value,) = {round(none[text].value or 0, 4) for text in (score, f"micro/{score}") if text in none}
        assert value == pytest.approx(chance, abs=5e-5)


@pytest.mark.parametrize("rows", [["1,A,x", "2,B,y"], ["1,A,x"]])
def test_a_pair_of_mmvp_needs_both_rows(tmp_path: Path, rows: list[str]) -> None:
    (tmp_path / "Questions.csv").write_text("\n".join(["Question ID,Type,Statement", *rows]))
    with pytest.raises(
        DataError,
        match=r"two rows of one Type, got 'A' and 'B'|the last item is incomplete: got 1 of 2 rows of MMVP-VLM",
    ):
        load_data(str(tmp_path), DataOptions())


def test_whats_up_scores_images_pairs_and_sets(tmp_path: Path) -> None:
    whats_up(tmp_path)
    dataset = load_data(str(tmp_path), DataOptions())
    assert {contrast.subset for contrast in dataset.contrasts or ()} == {
        "controlled_a",
        "coco_qa_one_obj",
        "vg_qa_two_obj",
    }
    wrong = Knowing(dataset)
    axes = wrong.axis["A hat under a chair"], wrong.axis["A hat on a chair"]
    vectors = wrong.images(dataset.images)
    row = list(dataset.image_ids).index("controlled_images/hat_under_chair.jpeg")
    vectors[row, list(axes)] = 0, 1  # one of eight images prefers another caption
    wrong.images = lambda images: vectors  # type: ignore[method-assign]
    metrics = scores(dataset, wrong)
    expected = {"text_acc": 7 / 8, "pair_acc": 3 / 4, "set_acc": 1 / 2}
    for name, value in expected.items():
        assert metrics[f"controlled_a/{name}"].value == pytest.approx(value)
    chances = {name: metrics[f"controlled_a/{name}"].chance for name in expected}
    assert chances == pytest.approx({"text_acc": 1 / 4, "pair_acc": 1 / 16, "set_acc": 1 / 256})
    # The images of a set are one cluster; sets have no mean over groups of their own.
    evaluation = Composition().evaluate(dataset, wrong, np.random.default_rng(0))
    assert len(set(evaluation.samples["cluster"])) == 2 + 2
    assert not any("macro_text" in name for name in metrics)


@pytest.mark.slow
@pytest.mark.parametrize("n", [25, 100, 1000])
@pytest.mark.parametrize(("right", "alike"), [(0.25, 0.0), (0.5, 0.4), (0.9, 0.4)], ids=["chance", "small", "large"])
def test_intervals_of_pair_and_set_accuracy_hold(n: int, right: float, alike: float) -> None:
    """Draw n images, four a set, each with its caption found as often as said, and those of a set alike."""
    rng, n_sets, n_tables = np.random.default_rng(n), n // 4, 1000
    contrasts = [
        Contrast(f"{k}", "controlled_a", (k,), (f"a cup {[*SIDES.values()][k % 4]} table", "x", "y", "z"),
                 ((True, False, False, False),), group=f"{k // 4}")
        for k in range(4 * n_sets)
    ]  # fmt: skip
    law = NormalDist()
    of_sets = law.inv_cdf(right) - np.sqrt(alike) * rng.standard_normal(200_000)
    chances = np.array([law.cdf(each) for each in of_sets / np.sqrt(1 - alike)])
    truth, held = {"pair_acc": (chances**2).mean(), "set_acc": (chances**4).mean()}, Counter[str]()
    clusters = np.repeat(np.arange(n_sets), 4)
    for _ in range(n_tables):
        shared = np.repeat(rng.standard_normal(n_sets), 4)
        scores = np.sqrt(alike) * shared + np.sqrt(1 - alike) * rng.standard_normal(4 * n_sets)
        hits = (scores < law.inv_cdf(right)).astype(np.float64)
        for name, column in all_of_pair_and_set(contrasts, hits).items():
            metric = Mean(column=name).metric({name: column, "cluster": clusters}, rng)
            assert metric.low is not None and metric.high is not None
            held[name] += metric.low <= truth[name] <= metric.high
    assert min(held.values()) >= 0.92 * n_tables, held


def test_a_set_that_is_not_whole_has_no_set_score(tmp_path: Path) -> None:
    whats_up(tmp_path)
    dataset = load_data(str(tmp_path), DataOptions())
    items = [contrast for contrast in dataset.contrasts or () if "hat under" not in contrast.captions[0]]
    part = Dataset(id="p", images=dataset.images, image_ids=dataset.image_ids, contrasts=items)
    metrics = scores(part, Knowing(part))
    assert (metrics["controlled_a/pair_acc"].n, metrics["controlled_a/set_acc"].n) == (3, 1)


@pytest.mark.parametrize(
    ("text", "number", "first_false"),
    [
        ("Set of THREE cups", 3, "Set of TWO cups"),
        ("Three cups on three trays", 3, "Two cups on three trays"),
        ("3 cups", 3, "2 cups"),
        ("ten often tender", 10, "two often tender"),
    ],
)
def test_countbench_replaces_the_number_as_it_is_written(
    tmp_path: Path, text: str, number: int, first_false: str
) -> None:
    put(tmp_path, "1.jpg")
    row = {"image": "1.jpg", "image_url": "http://x/1.jpg", "text": text, "number": number}
    (tmp_path / "test.json").write_text(json.dumps([row, {**row, "text": "cups"}]))
    dataset = load_data(str(tmp_path), DataOptions())
    (result,) = dataset.contrasts or ()  # a caption without its number is no question
    assert result.captions[:2] == (text, first_false) and len(set(result.captions)) == 9
    assert "1 of 2 items are not scored" in dataset.notes[0]


def test_cola_reads_rows_without_names(tmp_path: Path) -> None:
    cola(tmp_path)
    dataset = load_data(str(tmp_path), DataOptions())
    assert (dataset.contrasts or ())[0] == Contrast("0", "", (0, 1), ("red cup on box", "cup on red box"), OWN)


def test_svo_probes_leaves_out_what_differs_in_several(tmp_path: Path) -> None:
    svo_probes(tmp_path)
    first, second = load_data(str(tmp_path), DataOptions()).contrasts or ()
    assert first == Contrast("subj_neg/0", "subj_neg", (0, 1), ("A girl sits 0.",), ((True,), (False,)))
    assert second.subset == "verb_neg"


def test_crepe_is_averaged_over_complexities(benchmark: Callable[[str], Dataset]) -> None:
    dataset = benchmark("crepe")
    first = (dataset.contrasts or ())[0]
    assert (first.id, first.subset, first.group) == ("atom/4/0", "atom", "4")
    assert dataset.images[first.images[0]].open().size == (24, 20)
    assert {"atom/text_acc", "swap/macro_text_acc", "macro/text_acc"} <= set(scores(dataset, Knowing(dataset)))


def test_spec_asks_in_both_directions(benchmark: Callable[[str], Dataset]) -> None:
    dataset = benchmark("spec")
    by_id = {contrast.id: contrast for contrast in dataset.contrasts or ()}
    assert by_id["count/image2text/1"].is_true == ((False, True),)
    assert by_id["count/text2image/1"].is_true == ((False,), (True,))
    assert dataset.image_ids[by_id["existence/image2text/0"].images[0]] == "existence/images/0_a.jpg"
    assert {"count/text_acc", "count/image_acc", "macro/image_acc"} <= set(scores(dataset, Knowing(dataset)))


def test_vl_checklist_is_known_by_its_folders(tmp_path: Path) -> None:
    vl_checklist(tmp_path)
    dataset = load_data(str(tmp_path), DataOptions())
    assert [(contrast.subset, contrast.group) for contrast in dataset.contrasts or ()] == [
        ("Attribute_color", "vaw/color"),
        ("Attribute_color", "vg/color"),
        ("Relation_action", "swig/swig_action"),
        ("Object_Size_small", "vg/vg_obj_small"),
        ("Object_Location_mid", "swig/swig_tool_mid"),
    ]
    assert (dataset.contrasts or ())[1].captions == ("true Attribute/vg/color", "false Attribute/vg/color")
    assert list(dataset.image_ids) == ["vg/VG_100K/1.jpg", "swig/skiing_1.jpg"]


def test_rows_without_names_of_another_file_are_no_contrasts(tmp_path: Path) -> None:
    put(tmp_path / "cat", "1.jpg")
    put(tmp_path / "dog", "2.jpg")
    (tmp_path / "counts.json").write_text(json.dumps([[1, "a", "b"], [2, "c", "d"]]))
    assert load_data(str(tmp_path), DataOptions()).contrasts is None


def test_crepe_s_systematicity_has_a_subset_for_each_training_set_split_and_kind(
    benchmark: Callable[[str], Dataset],
) -> None:
    dataset = benchmark("crepe-systematicity")
    assert sorted({contrast.subset for contrast in dataset.contrasts or ()}) == [
        f"laion_{split}_{kind}" for split in ("seen", "unseen") for kind in ("atom", "combined", "comp")
    ]
    atom, comp, both = (dataset.contrasts or ())[:3]
    assert [len(contrast.captions) for contrast in (atom, comp, both)] == [3, 2, 4] and atom.images == both.images
    assert {atom.captions[0], *atom.captions[1:], *comp.captions[1:]} == set(both.captions)
