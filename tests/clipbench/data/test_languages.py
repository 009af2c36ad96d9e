"""Captions and class names in many languages: each form fetched, read, and scored by language and over all."""

import json
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path, PurePath
from typing import Any

import numpy as np
import pytest
from PIL import Image

import clipbench as cb
from clipbench.cli.main import main
from clipbench.data import DataOptions, Dataset
from clipbench.data.catalogue.entries import OWN_CATALOGUE, catalogue
from clipbench.data.catalogue.needs import Use, find_needs
from clipbench.data.dataset_loading import load_data
from clipbench.data.subset import random_subset
from clipbench.errors import DataError, Unavailable, UsageError
from tests import miniatures

Load = Callable[..., Dataset]


@pytest.fixture
def load(hub: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, library_cache: Path) -> Iterator[Load]:
    """Fetches miniatures of some data sets, and loads the first."""
    monkeypatch.chdir(tmp_path)

    def get(*names: str, **options: str) -> Dataset:
        (tmp_path / "catalogue.toml").write_text(miniatures.mirror(hub, names, n=12), encoding="utf-8")
        monkeypatch.setenv(OWN_CATALOGUE, str(tmp_path / "catalogue.toml"))
        catalogue.cache_clear()
        with pytest.raises(SystemExit) as end:
            main(["data", "get", *names, "--data-root", "data"])
        assert end.value.code == 0
        return load_data(names[0], DataOptions(data_root=Path("data"), options=options))

    yield get
    catalogue.cache_clear()


class Knowing:
    """A model that knows an image by its pixels, and the captions of all images in some languages."""

    def __init__(self, dataset: Dataset, known: tuple[str, ...]) -> None:
        assert dataset.captions is not None and dataset.caption_image is not None
        owners = zip(dataset.captions, dataset.caption_image.tolist(), strict=True)
        self._image_of = {caption: row for caption, row in owners if caption.split()[0] in known}
        self._row = {image.open().convert("RGB").tobytes(): row for row, image in enumerate(dataset.images)}
        self._n = len(dataset)

    def encode_images(self, images: list[Image.Image]) -> np.ndarray:
        return np.eye(self._n)[[self._row.get(image.tobytes(), 0) for image in images]]

    def encode_texts(self, texts: list[str]) -> np.ndarray:
        return np.array(
            [np.eye(self._n)[self._image_of[text]] if text in self._image_of else np.ones(self._n) for text in texts]
        )


@pytest.mark.parametrize(
    ("name", "languages", "n_captions"),
    [
        ("xm3600", ["de", "en", "sw"], 72),
        ("xm3600-first", ["de", "en", "sw"], 36),
        ("xtd-10", ["de", "en", "es", "fr", "it", "jp", "ko", "pl", "ru", "tr", "zh"], 132),
        ("flickr30k-200", ["deu_Latn", "eng_Latn", "swh_Latn"], 36),
    ],
)
def test_captions_are_scored_by_language_and_over_all(
    load: Load, name: str, languages: list[str], n_captions: int
) -> None:
    dataset = load(name)
    assert (dataset.id, len(dataset), len(dataset.captions or ())) == (name, 12, n_captions)
    run = cb.run(Knowing(dataset, tuple(languages[:1])), f"retrieval@{name}", data_root="data")
    evaluation = run.result.evaluations[0]
    slices = evaluation.slices["language"]
    english = next(language for language in languages if language.startswith("en"))
    assert {name: (group.value, group.n) for name, group in slices.groups[english].items()} == {
        name: (group.value, group.n) for name, group in evaluation.metrics.items() if group.value is not None
    }
    for direction in ("image_retrieval", "text_retrieval"):
        values = {language: metrics[f"{direction}_recall@1"].value for language, metrics in slices.groups.items()}
        assert sorted(values) == languages
        assert values.pop(languages[0]) == 1.0 and max(filter(None, values.values())) < 0.2
        mean = slices.mean[f"{direction}_recall@1"]
        assert mean.value == pytest.approx((1 + sum(filter(None, values.values()))) / len(languages))
    assert slices.worst_group["image_retrieval_recall@1"] != languages[0]
    alone = load_data(name, DataOptions(data_root=Path("data"), options={"language": languages[0]}))
    assert not alone.groups and len(alone.captions or ()) == n_captions / len(languages)


class Classifier:
    """A model that sorts images by chance, or as they are labelled for those who ask in a language that it knows."""

    def __init__(self, dataset: Dataset, words: dict[str, int]) -> None:
        assert dataset.labels is not None
        self._label = {
            image.open().convert("RGB").tobytes(): label
            for image, label in zip(dataset.images, dataset.labels.tolist(), strict=True)
        }
        self._words = words

    def encode_images(self, images: list[Image.Image]) -> np.ndarray:
        return np.eye(7)[[self._label.get(image.tobytes(), 6) for image in images]]

    def encode_texts(self, texts: list[str]) -> np.ndarray:
        return np.array([np.eye(7)[next((n for word, n in self._words.items() if word in text), 6)] for text in texts])


def test_babel_imagenet_is_imagenet_with_the_classes_of_each_language_as_slices(load: Load) -> None:
    dataset = load("babel-imagenet", "imagenet")
    german, swahili = (dataset.label_slices["language"][name] for name in ("de", "sw"))
    assert sorted(dataset.label_slices["language"]) == ["de", "sw"], "English is the whole, Breton has no templates"
    assert (german.class_names, german.templates) == (
        ("Apfel", "Kerze", "Feder"),
        ("ein Foto von  {c} .", "viele  {c} ."),
    )
    assert dataset.labels is not None
    assert [german.labels[dataset.labels == name].tolist() for name in range(6)] == [
        [0, 0],
        [-1, -1],
        [1, 1],
        [-1, -1],
        [-1, -1],
        [2, 2],
    ]
    part = random_subset(dataset, 6, np.random.default_rng(0))
    assert len(part.take_classes(part.label_slices["language"]["sw"])) == 3

    words = {"Apfel": 0, "Kerze": 2, "Feder": 5, "apple": 0, "bridge": 1, "candle": 2}
    run = cb.run(Classifier(dataset, words), "zero-shot@babel-imagenet", data_root="data")
    evaluation = run.result.evaluations[0]
    assert evaluation.dataset.id == "babel-imagenet"
    slices = evaluation.slices["language"]
    of_language = {language: metrics["acc1"] for language, metrics in slices.groups.items()}
    assert (of_language["de"].value, of_language["de"].n) == (1.0, 6)
    assert of_language["de"].chance == pytest.approx(1 / 3)
    assert of_language["sw"].value == pytest.approx(1 / 3), "all classes are alike"
    assert evaluation.metrics["acc1"].value == pytest.approx((3 + 3 / 6) / 6)
    assert slices.mean["acc1"].value == pytest.approx(2 / 3) and slices.worst_group["acc1"] == "sw"
    assert swahili.labels.max() == 2


def test_tables_of_classes_that_are_malformed_are_one_line(load: Load) -> None:
    load("babel-imagenet", "imagenet")
    entries = ('[[0, 6], ["a", "b"]]', '[[0, 0], ["a", "b"]]', "[[0], []]", '[3, ["a"]]', "3")
    for table in ("[]", *(f'{{"DE": {entry}}}' for entry in entries)):
        Path("data/babel-imagenet/babel_imagenet-298.json").write_text(table)
        with pytest.raises(DataError, match=r"babel_imagenet-298\.json"):
            load_data("babel-imagenet", DataOptions(data_root=Path("data"), options={"language": "de"}))


def test_a_part_of_imagenet_has_languages_if_a_part_is_allowed(load: Load) -> None:
    load("babel-imagenet", "imagenet")
    Path("data/imagenet/test/1.tar").unlink()
    Path("data/imagenet/test/nshards.txt").write_text("1")
    shard = Path("data/imagenet/test/0.tar")  # an image of each class, and feathers are the last
    with tarfile.open(shard) as archive:
        members = {member.name: archive.extractfile(member) for member in archive}
        contents = {name: member.read() for name, member in members.items() if member is not None}
    last = PurePath(list(contents)[-1]).stem
    shard.write_bytes(miniatures.tar_of({name: contents[name] for name in contents if PurePath(name).stem != last}))

    german = DataOptions(data_root=Path("data"), options={"language": "de"})
    with pytest.raises(DataError, match=r"^data set imagenet lacks samples of 1 of its 6 classes, the first 'feather'"):
        load_data("babel-imagenet", german)
    dataset = load_data("babel-imagenet", replace(german, allow_partial=True))
    assert dataset.labels is not None
    assert (dataset.class_names, dataset.labels.tolist()) == (("Apfel", "Kerze", "Feder"), [0, 1])


def test_what_is_about_other_data_s_images_needs_these_too(tmp_path: Path) -> None:
    needs = find_needs({"babel-imagenet": Use(["zero-shot"], 50)}, tmp_path)
    assert [(need.entry.name, need.n_images) for need in needs] == [("babel-imagenet", 50), ("imagenet", 50)]
    needs = find_needs({"babel-imagenet": Use(["zero-shot"], 50), "imagenet": Use(["zero-shot"])}, tmp_path)
    assert {need.entry.name: need.n_images for need in needs} == {"babel-imagenet": 50, "imagenet": None}
    both = find_needs({"xm3600-first": Use(["retrieval"]), "xm3600": Use(["retrieval"])}, tmp_path)
    assert [need.entry.name for need in both] == ["xm3600-first"], "the same files"
    (tmp_path / "babel-imagenet").mkdir()
    with pytest.raises(Unavailable, match=r"data set 'imagenet' .* is not on this machine"):
        load_data("babel-imagenet", DataOptions(data_root=tmp_path))


def test_the_language_of_all_data_is_the_first_that_is_named(folder: Path) -> None:
    rows = [{"image/key": key, "en": {"caption": [key]}, "de": {"caption": [f"{key}."]}} for key in "ab"]
    (folder / "captions.jsonl").write_text("\n".join(map(json.dumps, rows)))
    result = {
        name: load_data(str(folder), DataOptions(options={"language": name} if name else {}))
        for name in ("", "en,de", "de,en")
    }
    assert [value.whole().captions for value in result.values()] == [["a", "b"], ["a", "b"], ["a.", "b."]]
    assert [value.main_slice for value in result.values()] == ["{language=en}/", "{language=en}/", "{language=de}/"]
    assert len({value.fingerprint(["x", "y"]) for value in result.values()}) == 2, "other metrics of all data"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two images, the captions of which a test writes."""
    (tmp_path / "images").mkdir()
    for name in ("a", "b"):
        Image.new("RGB", (4, 4)).save(tmp_path / "images" / f"{name}.jpg")
    return tmp_path


def test_blank_captions_are_left_out_and_counted(folder: Path) -> None:
    rows = [{"image/key": key, "en": {"caption": [key, " "]}, "de": {"caption": []}} for key in "ab"]
    (folder / "captions.jsonl").write_text("\n".join(map(json.dumps, rows)))
    dataset = load_data(str(folder), DataOptions())
    assert (dataset.captions, dataset.caption_ids) == (["a", "b"], ["a.jpg:en0", "b.jpg:en0"])
    assert dataset.notes == ("2 captions are blank and were left out",)
    with pytest.raises(UsageError, match=r"data_options={'captions': 'last'}: expected all or first"):
        load_data(str(folder), DataOptions(options={"captions": "last"}))


def test_captions_that_are_no_texts_or_too_few_are_one_line(folder: Path) -> None:
    (folder / "captions.jsonl").write_text('{"image/key": "a", "en": {"caption": "one"}}')
    (folder / "captions.jsonl").write_text('{"image/key": "a", "en": {"caption": []}}')
    with pytest.raises(DataError, match=r"holds no captions in any language"):
        load_data(str(folder), DataOptions())
    (folder / "captions.jsonl").write_text('{"image/key": "a", "en": {"caption": "one"}}')
    with pytest.raises(DataError, match=r"captions.jsonl, line 1, en: expected a list of texts as caption, got 'one'"):
        load_data(str(folder), DataOptions())
    (folder / "captions.jsonl").unlink()
    (folder / "filenames.txt").write_text("a.jpg\nb.jpg")
    (folder / "deu_Latn.txt").write_text("eins")
    with pytest.raises(DataError, match=r"has 1 captions in deu_Latn and 2 images: expected one caption per image"):
        load_data(str(folder), DataOptions())


def test_a_manifest_called_captions_is_still_one(folder: Path) -> None:
    (folder / "captions.jsonl").write_text('{"image": "images/a.jpg", "caption": "one"}')
    assert load_data(str(folder / "captions.jsonl"), DataOptions()).captions == ["one"]
    assert load_data(str(folder), DataOptions()).captions is None, "nor is its folder read as one of languages"


def test_fairface_is_classified_by_age_gender_and_race_and_sliced_by_them(load: Load) -> None:
    dataset = load("fairface")
    assert set(dataset.label_sets or {}) == {"age", "gender", "race"}
    run = cb.run(Coloured(dataset), "zero-shot@fairface", data_root="data")
    evaluation = run.result.evaluations[0]
    assert (evaluation.metrics["gender/acc1"].value, evaluation.metrics["gender/acc1"].chance) == (1.0, 0.5)
    of_race = evaluation.slices["race"]
    assert sorted(of_race.groups) == ["black", "indian", "white"] and of_race.mean["gender/acc1"].value == 1.0
    assert evaluation.slices["gender"].groups["man"]["gender/acc1"].n == 6


class Coloured:
    """A model that tells women from men."""

    def __init__(self, dataset: Dataset) -> None:
        labels = (dataset.label_sets or {})["gender"].labels.tolist()
        images = [image.open().convert("RGB").tobytes() for image in dataset.images]
        self._label = dict(zip(images, labels, strict=True))

    def encode_images(self, images: list[Image.Image]) -> np.ndarray:
        return np.eye(3)[[self._label.get(image.tobytes(), 2) for image in images]]

    def encode_texts(self, texts: list[str]) -> np.ndarray:
        return np.eye(3)[[{"a photo of a man": 0, "a photo of a woman": 1}.get(text, 2) for text in texts]]


def test_real_labels_are_fetched_and_measured_on_the_images_of_imagenet(load: Load) -> None:
    dataset = load("imagenet-real", "imagenet")
    assert dataset.id == "imagenet-real" and dataset.labels is None
    assert dataset.right_classes is not None and dataset.class_names is not None
    expected = [[] if row % 4 == 3 else sorted({row % 6, *([5] if row % 3 == 0 else [])}) for row in range(12)]
    by_key = dict(zip(dataset.image_ids, dataset.right_classes.tolist(), strict=True))
    assert [[label for label in by_key[f"s{row:07}"] if label >= 0] for row in range(12)] == expected
    run = cb.run("tiny", "zero-shot@imagenet-real", data_root="data")
    evaluation = run.result.evaluations[0]
    assert (evaluation.dataset.id, evaluation.metrics["acc1"].n) == ("imagenet-real", 9)
    assert "3 images without a right class left out" in evaluation.notes
    with pytest.raises(UsageError, match="no option 'language'"):
        load_data("imagenet-real", DataOptions(data_root=Path("data"), options={"language": "de"}))
