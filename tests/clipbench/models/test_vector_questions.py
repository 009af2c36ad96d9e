"""Items of an embeddings folder for text-in-image and long-caption: equal to a model with the same vectors."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import clipbench as cb
from clipbench.cli.main import main
from clipbench.metrics.similarity import unit
from clipbench_tasks.caption_prefixes import Prefixes
from clipbench_tasks.long_caption import LongCaption
from tests.clipbench.models.test_vector_items import folder_of

CLASSES = ["cap", "dog", "mug", "pear", "sock"]
"""In the order of the alphabet, as a manifest has them."""
DIM = 6
N_OBJECTS, N_CAPTIONS = 12, 16


def vector_of(content: str) -> np.ndarray:
    return np.random.default_rng([*content.encode()]).normal(size=DIM).astype(np.float32)


class Encoder:
    """Vectors of the content of images and texts, which are the same in whatever batch."""

    logit_scale = None

    def encode_images(self, images: Sequence[Image.Image]) -> np.ndarray:
        return np.stack([vector_of(str(image.getpixel((0, 0)))) for image in images])

    def encode_texts(self, texts: Sequence[str]) -> np.ndarray:
        return np.stack([vector_of(text) for text in texts])

    def count_tokens(self, texts: Sequence[str]) -> np.ndarray:
        return np.array([2 + len(text.split()) for text in texts])


def image_vectors(folder: Path, names: Sequence[str]) -> np.ndarray:
    """Write an image per name, and return its vectors."""
    images = [Image.new("RGB", (8, 8), (number, 7, 9)) for number in range(len(names))]
    for name, image in zip(names, images, strict=True):
        image.save(folder / name)
    return Encoder().encode_images(images)


def values(run: cb.Run) -> dict[str, tuple[float | None, float | None, float | None]]:
    metrics = run.result.evaluations[0].metrics
    return {name: (metric.value, metric.low, metric.high) for name, metric in metrics.items()}


def assert_equal_where_defined(one: cb.Run, other: cb.Run) -> set[str]:
    """Check the metrics and baselines that both define, and return their names."""
    expected = values(other)
    shared = {name for name, (value, *_) in values(one).items() if value is not None and expected[name][0] is not None}
    assert {name: values(one)[name] for name in shared} == {name: expected[name] for name in shared}
    return shared


def attack_items(*, has_blank: bool = True) -> tuple[list[str], list[dict[str, Any]]]:
    """Return the images of some objects with their kinds, and the items of their rows."""
    names: list[str] = []
    items: list[dict[str, Any]] = []
    for number in range(N_OBJECTS):
        label, word = number % len(CLASSES), (number + 1 + number // 5) % len(CLASSES)
        label = label if label != word else (label + 2) % len(CLASSES)
        item: dict[str, Any] = {"id": f"{number}-attacked.png", "classes": [0, 1, 2, 3, 4], "label": label}
        item |= {"word": word, "object": CLASSES[label]}
        for kind in ("attacked", "clean", *(["blank"] if has_blank else [])):
            item[kind] = len(names)
            names.append(f"{number}-{kind}.png")
        items.append(item)
    return names, items


def test_attacks_and_a_model_of_the_same_vectors_agree_to_the_last_bit(tmp_path: Path) -> None:
    names, items = attack_items()
    images = image_vectors(tmp_path, names)
    rows = ["path,object,text,attack,set,note"]
    for number, item in enumerate(items):
        thing, word = CLASSES[item["label"]], CLASSES[item["word"]]
        rows += [f"{number}-attacked.png,{thing},{word},1,{number},", f"{number}-clean.png,{thing},,0,{number},"]
        rows.append(f"{number}-blank.png,{thing},,0,{number},blank")
    (tmp_path / "manifest.csv").write_text("\n".join(rows))
    by_model = cb.run(Encoder(), ["text-in-image"], data=str(tmp_path / "manifest.csv"), out=tmp_path / "model")
    prompts = Encoder().encode_texts([f"a photo of a {name}." for name in CLASSES])
    by_rows = cb.run(f"embeddings:{folder_of(tmp_path / 'x', images, prompts, items)}", ["text-in-image"])

    assert by_model.result.evaluations[0].status == "ok"
    shared = assert_equal_where_defined(by_rows, by_model)
    assert {"attack_success", "drop", "drop_from_blank", "clean_two_way_acc", "attacked_acc"} <= shared
    one, two = (run.samples("text-in-image").set_index("sample_id") for run in (by_rows, by_model))
    columns = ["target_cosine", "predicted_cosine", "attacked_margin", "fooled", "right"]
    np.testing.assert_array_equal(one[columns], two.loc[one.index, columns])


def test_images_that_no_item_has_are_undefined_with_the_reason(tmp_path: Path) -> None:
    names, items = attack_items(has_blank=False)
    items = [item | {"clean": None} for item in items]
    images, texts = image_vectors(tmp_path, names), Encoder().encode_texts(CLASSES)
    run = cb.run(cb.vectors(images=images, texts=texts, items=items), "all")
    (record,) = [record for record in run.result.evaluations if record.task == "text-in-image"]
    assert record.metrics["attack_success"].value is not None and "drop_from_blank" not in record.metrics
    for name in ("clean_acc", "drop"):
        assert record.metrics[name].reason == "the data has no clean images of the objects"
    cosines = unit(images[[item["attacked"] for item in items]]) @ unit(texts).T
    is_fooled = cosines.argmax(axis=1) == [item["word"] for item in items]
    assert record.metrics["attack_success"].value == is_fooled.mean()
    assert "retrieval" not in {record.task for record in run.result.evaluations}


def long_captions() -> list[str]:
    rng = np.random.default_rng(0)
    words = ["old", "red", "mug", "on", "the", "left", "of", "a", "tall", "lamp", "behind", "two", "dogs"]
    return [" ".join([f"photo {n}", *rng.choice(words, rng.integers(6, 60))]) for n in range(N_CAPTIONS)]


def caption_items(captions: Sequence[str]) -> tuple[list[str], list[dict[str, Any]]]:
    """Return the distinct beginnings of captions at the lengths of the task, and items that name their rows."""
    prefixes = Prefixes(captions, Encoder().count_tokens)
    rows: dict[str, int] = {}
    items = []
    for number, caption in enumerate(captions):
        n_tokens = int(prefixes.n_tokens[number])
        tokens = [n for n in LongCaption().tokens if n < n_tokens]
        texts = [*(prefixes.truncate(n)[number] for n in tokens), caption]
        result = [rows.setdefault(text, len(rows)) for text in texts]
        items.append({"id": f"{number}.png#0", "image": number, "captions": result, "tokens": [*tokens, n_tokens]})
    return [*rows], items


def test_long_captions_and_a_model_of_the_same_vectors_agree_to_the_last_bit(tmp_path: Path) -> None:
    captions = long_captions()
    names = [f"{number}.png" for number in range(N_CAPTIONS)]
    images = image_vectors(tmp_path, names)
    lines = ["image,caption", *(f"{name},{caption}" for name, caption in zip(names, captions, strict=True))]
    (tmp_path / "captions.csv").write_text("\n".join(lines))
    by_model = cb.run(Encoder(), ["long-caption"], data=str(tmp_path / "captions.csv"), out=tmp_path / "model")
    texts, items = caption_items(captions)
    folder = folder_of(tmp_path / "x", images, Encoder().encode_texts(texts), items)
    np.save(folder / "image_ids.npy", np.array(names))
    by_rows = cb.run(f"embeddings:{folder}", ["long-caption"])

    shared = assert_equal_where_defined(by_rows, by_model)
    assert {"caption_tokens", "image_retrieval_recall@1", "text_retrieval_recall@5"} <= shared
    curves = [run.result.evaluations[0].curves for run in (by_rows, by_model)]
    for name in ("image_retrieval_recall@1_by_tokens", "text_retrieval_recall@1_by_tokens"):
        assert len(curves[0][name].x) > 6 and curves[0][name] == curves[1][name]
    truncated = by_rows.result.evaluations[0].metrics["truncated_fraction"]
    assert truncated.reason == "the model does not say how many tokens it takes"


def test_lengths_that_not_all_items_have_are_not_measured() -> None:
    images, texts = np.eye(2, 4, dtype=np.float32), np.eye(4, dtype=np.float32)
    items = [
        {"id": "a", "image": 0, "captions": [0, 1], "tokens": [10, 34]},
        {"id": "b", "image": 1, "captions": [2, 3], "tokens": [12, 30]},
    ]
    record = cb.run(cb.vectors(images=images, texts=texts, items=items), "long-caption").result.evaluations[0]
    reason = "no length is held of every caption: items have 10, 12, 30 and 34 tokens, expected some lengths in all"
    assert str(record.metrics["effective_length"].reason).startswith(reason)
    assert record.metrics["caption_tokens"].value == 32


ATTACK: Mapping[str, Any] = {"id": "a", "clean": 0, "attacked": 1, "classes": [0, 1, 2], "label": 0, "word": 2}
LONG: Mapping[str, Any] = {"id": "a", "image": 0, "captions": [0, 1], "tokens": [10, 20]}
SWAPPED: Mapping[str, Any] = {"id": "c", "images": [0, 1], "captions": [0, 1], "truth": [[1, 0], [0, 1]]}
WRONG: dict[str, tuple[list[Mapping[str, Any]], str]] = {
    "an image that is not there": ([{**ATTACK, "attacked": 4}], "line 1: attacked names row 4, expected rows from 0"),
    "a class that is not there": ([{**ATTACK, "word": 3}], "word names position 3, expected positions in classes from"),
    "a row that is true": (
        [{**ATTACK, "attacked": True}],
        "line 1: attacked names row True, expected rows from 0 to 3",
    ),
    "a label that is false": (
        [{**ATTACK, "label": False}],
        "label names position False, expected positions in classes",
    ),
    "tokens that are true": (
        [{**LONG, "tokens": [True, 10]}],
        "tokens is [True, 10], expected rising numbers from 1 up",
    ),
    "a word by its name": ([{**ATTACK, "word": "dog"}], "word names position 'dog', expected positions in classes"),
    "its own name": ([{**ATTACK, "word": 0}], "is attacked by its own name"),
    "other classes": ([ATTACK, {**ATTACK, "id": "b", "classes": [0, 1]}], "line 2: classes differ from the classes of"),
    "a class twice": ([{**ATTACK, "classes": [0, 1, 1]}], "classes name row 1 twice"),
    "no word": ([{k: v for k, v in ATTACK.items() if k != "word"}], "line 1: no field 'word': got id, clean"),
    "a typo": ([{**ATTACK, "cleen": 0}], "unknown key 'cleen': did you mean 'clean'?"),
    "an object of another type": ([{**ATTACK, "object": [1]}], "object is [1], expected a text or an integer"),
    "an attack twice": ([ATTACK, ATTACK], "the item 'a' twice"),
    "two tasks": ([SWAPPED, ATTACK], "line 2: got an item of text-in-image after items of composition: expected"),
    "no tokens": ([{k: v for k, v in LONG.items() if k != "tokens"}], "line 1: no field 'tokens': got id, image"),
    "too few tokens": ([{**LONG, "tokens": [10]}], "tokens is [10], expected a list of 2, one per caption"),
    "falling tokens": ([{**LONG, "tokens": [20, 10]}], "tokens is [20, 10], expected rising numbers from 1 up"),
    "tokens of 0": ([{**LONG, "tokens": [0, 10]}], "tokens is [0, 10], expected rising numbers from 1 up"),
    "tokens that no array holds": (
        [{**LONG, "tokens": [1, 10**30]}],
        "expected rising numbers from 1 up to 2,147,483,647",
    ),
    "a text that is not there": ([{**LONG, "captions": [0, 9]}], "captions names row 9, expected rows from 0 to 3"),
    "a list of images": ([{**LONG, "image": [0]}], "image names row [0], expected rows from 0 to 3"),
    "a caption twice": ([LONG, LONG], "the caption id 'a' twice"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_wrong_items_end_in_one_line(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    items, message = WRONG[kind]
    vectors = np.eye(4, dtype=np.float32)
    folder_of(tmp_path / "wrong", vectors, vectors, items)
    monkeypatch.chdir(tmp_path)
    task = "long-caption" if "image" in items[0] else "text-in-image"
    with pytest.raises(SystemExit) as end:
        main(["run", "--model", "embeddings:wrong", "--tasks", task, "--out", "run", "--quiet"])
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("clipbench: ")]
    assert end.value.code == 2 and len(lines) == 1 and message in lines[0], lines


@pytest.mark.parametrize(
    ("item", "array", "fault"),
    [
        (ATTACK, "labels", "labels and the attacks of the items both say what the classes are: expected only one"),
        (LONG, "text_to_image", "text_to_image and the items both say which image a text belongs to"),
    ],
)
def test_arrays_and_items_may_not_say_the_same(item: Mapping[str, Any], array: str, fault: str) -> None:
    vectors = np.eye(4, dtype=np.float32)
    arrays = {array: np.zeros(4, np.int64), "class_texts": vectors} if array == "labels" else {array: np.arange(4)}
    with pytest.raises(cb.ClipbenchError, match=fault):
        cb.vectors(images=vectors, texts=vectors, items=[item], **arrays)
