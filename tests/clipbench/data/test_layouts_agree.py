"""The same images, labels and captions, however they lie on disk."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from clipbench.data import DataOptions, Dataset
from clipbench.data.dataset_loading import load_data
from tests.clipbench.data.conftest import ImageBytes, labels_of, owners_of
from tests.miniatures import shard_of

datasets = pytest.importorskip("datasets")
pytestmark = pytest.mark.usefixtures("library_cache", "no_hub", "closed_images")  # loading opens no image

LABELS = [0, 0, 1, 1, 2]
NAMES = ["cat", "dog", "small bird"]
CAPTIONS = [["one", "another"], ["two"], ["three", "trois, 3"], ["four"], ['"five"']]


Writer = Callable[[Path, ImageBytes], str]


def _tar(folder: Path, contents: list[dict[str, bytes]]) -> None:
    (folder / "test").mkdir()
    (folder / "test" / "nshards.txt").write_text("2")
    for shard, rows in enumerate((range(3), range(3, 5))):
        samples = [contents[row] for row in rows]
        (folder / "test" / f"{shard}.tar").write_bytes(shard_of(samples, start=rows[0]))


def _files(folder: Path, image_bytes: ImageBytes) -> list[str]:
    names = [f"{NAMES[label].replace(' ', '_')}/{row}.png" for row, label in enumerate(LABELS)]
    for row, name in enumerate(names):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(image_bytes(row))
    return names


def _table(image_bytes: ImageBytes, **columns: object) -> object:
    images = [{"bytes": image_bytes(row), "path": None} for row in range(5)]
    column = datasets.Dataset.from_dict({"image": images, **columns}).cast_column("image", datasets.Image())
    return column if "label" not in columns else column.cast_column("label", datasets.ClassLabel(names=NAMES))


def folder_labels(folder: Path, image_bytes: ImageBytes) -> str:
    _files(folder, image_bytes)
    return str(folder)


def manifest_labels(folder: Path, image_bytes: ImageBytes) -> str:
    rows = [f"{name},{NAMES[label]}" for name, label in zip(_files(folder, image_bytes), LABELS, strict=True)]
    (folder / "list.csv").write_text("\n".join(["path,label", *rows]))
    return str(folder / "list.csv")


def shard_labels(folder: Path, image_bytes: ImageBytes) -> str:
    _tar(folder, [{"png": image_bytes(row), "cls": b"%d" % label} for row, label in enumerate(LABELS)])
    (folder / "classnames.txt").write_text("\n".join(NAMES))
    return str(folder)


def saved_labels(folder: Path, image_bytes: ImageBytes) -> str:
    _table(image_bytes, label=LABELS).save_to_disk(str(folder / "saved"))  # type: ignore[attr-defined]
    return str(folder / "saved")


def parquet_labels(folder: Path, image_bytes: ImageBytes) -> str:
    _table(image_bytes, label=LABELS).to_parquet(str(folder / "test.parquet"))  # type: ignore[attr-defined]
    return f"hf:{folder}"


def rows_captions(folder: Path, image_bytes: ImageBytes) -> str:
    pairs = zip(_files(folder, image_bytes), CAPTIONS, strict=True)
    rows = [json.dumps({"file_name": name, "text": text}) for name, texts in pairs for text in texts]
    (folder / "metadata.jsonl").write_text("\n".join(rows))
    return str(folder)


def lists_captions(folder: Path, image_bytes: ImageBytes) -> str:
    pairs = zip(_files(folder, image_bytes), CAPTIONS, strict=True)
    (folder / "x.json").write_text(json.dumps([{"image": name, "captions": texts} for name, texts in pairs]))
    return str(folder / "x.json")


def shard_captions(folder: Path, image_bytes: ImageBytes) -> str:
    _tar(folder, [{"png": image_bytes(row), "txt": "\n".join(texts).encode()} for row, texts in enumerate(CAPTIONS)])
    (folder / "dataset_type.txt").write_text("retrieval")
    return str(folder)


def shard_captions_by_library(folder: Path, image_bytes: ImageBytes) -> str:
    return f"hf:{shard_captions(folder, image_bytes)}"


def saved_captions(folder: Path, image_bytes: ImageBytes) -> str:
    _table(image_bytes, captions=CAPTIONS).save_to_disk(str(folder / "saved"))  # type: ignore[attr-defined]
    return str(folder / "saved")


def parquet_captions(folder: Path, image_bytes: ImageBytes) -> str:
    _table(image_bytes, caption=CAPTIONS).to_parquet(str(folder / "test.parquet"))  # type: ignore[attr-defined]
    return str(folder)


def load(write: Writer, folder: Path, image_bytes: ImageBytes) -> Dataset:
    dataset = load_data(write(folder, image_bytes), DataOptions())
    from clipbench.data.images import content_digest

    assert [ref.digest() for ref in dataset.images] == [content_digest(image_bytes(row)) for row in range(5)]
    return dataset


@pytest.mark.parametrize("write", [folder_labels, manifest_labels, shard_labels, saved_labels, parquet_labels])
def test_labels_are_the_same_in_every_layout(write: Writer, tmp_path: Path, image_bytes: ImageBytes) -> None:
    dataset = load(write, tmp_path, image_bytes)
    assert (labels_of(dataset), dataset.class_names, dataset.captions) == (LABELS, tuple(NAMES), None)


@pytest.mark.parametrize(
    "write",
    [rows_captions, lists_captions, shard_captions, shard_captions_by_library, saved_captions, parquet_captions],
)
def test_captions_are_the_same_in_every_layout(write: Writer, tmp_path: Path, image_bytes: ImageBytes) -> None:
    dataset = load(write, tmp_path, image_bytes)
    assert dataset.captions == [text for texts in CAPTIONS for text in texts]
    assert owners_of(dataset) == [row for row, texts in enumerate(CAPTIONS) for _ in texts]
    assert dataset.labels is None
