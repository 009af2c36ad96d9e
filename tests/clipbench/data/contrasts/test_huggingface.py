"""Contrasts in Hugging Face data sets: rows that hold their images."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clipbench.data import Contrast, DataOptions, Dataset, load_data
from clipbench.errors import DataError, Unavailable

datasets = pytest.importorskip("datasets")
pytestmark = pytest.mark.usefixtures("library_cache", "no_hub")


def image_cell(colour: int) -> dict[str, object]:
    file = io.BytesIO()
    Image.new("RGB", (4, 4), (colour, 0, 0)).save(file, "png")
    return {"bytes": file.getvalue(), "path": None}


def saved(folder: Path, columns: dict[str, list[object]], *images: str) -> Path:
    """Write one parquet file in which some columns are images."""
    table = datasets.Dataset.from_dict(columns)
    for name in images:
        table = table.cast_column(name, datasets.Image())
    table.to_parquet(str(folder / "test.parquet"))
    return folder


def read(folder: Path, *, allow_partial: bool = False) -> Dataset:
    return load_data(str(folder), DataOptions(allow_partial=allow_partial))


def test_winoground_is_read_with_both_images_of_each_row(tmp_path: Path) -> None:
    columns: dict[str, list[object]] = {
        "id": [0, 1],
        "image_0": [image_cell(10), image_cell(30)],
        "image_1": [image_cell(20), image_cell(40)],
        "caption_0": ["some plants surrounding a lightbulb", "a b"],
        "caption_1": ["a lightbulb surrounding some plants", "b a"],
        "collapsed_tag": ["Object", "Relation"],
    }
    found = read(saved(tmp_path, columns, "image_0", "image_1"))
    own = ((True, False), (False, True))
    assert found.contrasts is not None and found.contrasts[1] == Contrast("1", "", (2, 3), ("a b", "b a"), own)
    assert list(found.image_ids) == ["0/image_0", "0/image_1", "1/image_0", "1/image_1"]
    assert [int(np.asarray(image.open())[0, 0, 0]) for image in found.images] == [10, 20, 30, 40]
    assert found.split == "test"


def test_bivlc_and_sugarcrepe_are_told_apart_by_the_negative_image(tmp_path: Path) -> None:
    columns: dict[str, list[object]] = {"image": [image_cell(1)], "caption": ["c"], "negative_caption": ["n"]}
    both: dict[str, list[object]] = {"negative_image": [image_cell(2)], "type": ["add"]}
    for name, more in (("with", both), ("without", {})):
        (tmp_path / name).mkdir()
        images = [column for column in ("image", "negative_image") if column in {**columns, **more}]
        saved(tmp_path / name, {**columns, **more}, *images)
    assert [
        (len(read(tmp_path / name)), (read(tmp_path / name).contrasts or [])[0].subset) for name in ("with", "without")
    ] == [
        (2, "add"),
        (1, ""),
    ]


def test_a_row_may_name_its_subset_and_group(tmp_path: Path) -> None:
    columns: dict[str, list[object]] = {"image": [image_cell(1)], "true": ["c"], "false": ["n"]}
    found = read(saved(tmp_path, {**columns, "subset": ["near"], "group": ["g"]}, "image"))
    assert found.contrasts == [Contrast("0", "near", (0,), ("c", "n"), ((True, False),), "g")]


def test_a_row_without_its_image_is_left_out_only_when_asked(tmp_path: Path) -> None:
    columns: dict[str, list[object]] = {
        "image": [image_cell(1), None],
        "caption": ["c", "d"],
        "negative_caption": ["n", "m"],
    }
    saved(tmp_path, columns, "image")
    with pytest.raises(Unavailable, match="has 1 of 2 images"):
        read(tmp_path)
    assert [each.id for each in read(tmp_path, allow_partial=True).contrasts or ()] == ["0"]


def test_an_empty_caption_is_named_by_its_row(tmp_path: Path) -> None:
    columns: dict[str, list[object]] = {
        "image": [image_cell(1), image_cell(2)],
        "caption": ["c", ""],
        "negative_caption": ["n", "m"],
    }
    saved(tmp_path, columns, "image")
    with pytest.raises(DataError, match="row 1: expected a text, got ''"):
        read(tmp_path)
