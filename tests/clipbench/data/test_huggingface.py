"""Hugging Face folders: splits, columns and types, with images left encoded."""

import io
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from clipbench.data import huggingface_data
from clipbench.data.dataset import DataOptions, Dataset, check
from clipbench.data.dataset_loading import load_data
from clipbench.data.images import content_digest
from clipbench.errors import BadImage, DataError, Unavailable, UsageError
from tests.clipbench.data.conftest import ImageBytes, labels_of, owners_of

datasets = pytest.importorskip("datasets")
pytestmark = pytest.mark.usefixtures("library_cache", "no_hub")


def load(path: Path, *, allow_partial: bool = False, config: str | None = None, **options: str) -> Dataset:
    data_options = DataOptions(allow_partial=allow_partial, options=options)
    return check(huggingface_data.load_folder(path, data_options, "data", config=config), allow_partial=allow_partial)


def table(columns: dict[str, list[Any]], image_bytes: ImageBytes, *, image: str = "image", **types: Any) -> Any:
    """A table whose image column holds images 0, 1, ...; columns without a type are typed by their values."""
    n_rows = len(next(iter(columns.values())))
    images = [{"bytes": image_bytes(number), "path": None} for number in range(n_rows)]
    record = datasets.Dataset.from_dict({image: images, **columns})
    for name, kind in {image: datasets.Image(), **types}.items():
        record = record.cast_column(name, kind)
    return record


def labelled(image_bytes: ImageBytes, n: int = 4) -> Any:
    return table({"label": [0, 1, 1, 0][:n]}, image_bytes, label=datasets.ClassLabel(names=["tabby_cat", "dog"]))


def save(made: Any, path: Path) -> Path:
    made.save_to_disk(str(path))
    return path


def test_a_saved_table_gives_encoded_images_and_class_names(tmp_path: Path, image_bytes: ImageBytes) -> None:
    dataset = load(save(labelled(image_bytes), tmp_path / "saved"))
    assert dataset.class_names == ("tabby cat", "dog")
    assert "spaces for underscores ('tabby cat')" in dataset.notes[0]
    assert labels_of(dataset) == [0, 1, 1, 0]
    assert dataset.image_ids == ["0", "1", "2", "3"]
    assert [ref.digest() for ref in dataset.images] == [content_digest(image_bytes(number)) for number in range(4)]
    assert (dataset.images[2].name, dataset.revision) == ("data, row 2", None)


def test_of_several_splits_test_is_read_then_validation(tmp_path: Path, image_bytes: ImageBytes) -> None:
    splits = {
        "train": labelled(image_bytes, 4),
        "validation": labelled(image_bytes, 3),
        "test": labelled(image_bytes, 2),
    }
    path = save(datasets.DatasetDict(splits), tmp_path / "all")
    assert (load(path).split, len(load(path))) == ("test", 2)
    assert len(load(path, split="train")) == 4
    del splits["test"]
    assert load(save(datasets.DatasetDict(splits), tmp_path / "some")).split == "validation"
    del splits["validation"]
    assert load(save(datasets.DatasetDict(splits), tmp_path / "one")).split == "train"


def test_parquet_files_convert_only_the_split_that_is_read(
    tmp_path: Path, library_cache: Path, image_bytes: ImageBytes
) -> None:
    for split in ("train", "test"):
        (tmp_path / "data").mkdir(exist_ok=True)
        labelled(image_bytes).to_parquet(str(tmp_path / "data" / f"{split}-00000-of-00001.parquet"))
    dataset = load(tmp_path)
    assert (dataset.split, dataset.class_names, len(dataset)) == ("test", ("tabby cat", "dog"), 4)
    assert [path.stem.rpartition("-")[2] for path in library_cache.rglob("*.arrow")] == ["test"]
    assert load(tmp_path, split="train").split == "train"


def test_configurations_are_named_or_listed(tmp_path: Path, image_bytes: ImageBytes) -> None:
    for config, n in (("small", 2), ("large", 4)):
        (tmp_path / config).mkdir()
        labelled(image_bytes, n).to_parquet(str(tmp_path / config / "test.parquet"))
    configs = "".join(
        f"- config_name: {config}\n  data_files: {config}/test.parquet\n" for config in ("small", "large")
    )
    (tmp_path / "README.md").write_text(f"---\nconfigs:\n{configs}---\n")
    assert len(load(tmp_path, config="small")) == 2
    with pytest.raises(UsageError, match=r"Config name is missing. .*\['small', 'large'\] \(hf:DATA:CONFIG names"):
        load(tmp_path)
    with pytest.raises(UsageError, match=r"BuilderConfig 'medium' not found. Available: \['small', 'large'\]"):
        load(tmp_path, config="medium")


def test_image_files_are_read_from_where_they_lie(tmp_path: Path, image_bytes: ImageBytes) -> None:
    for number, name in enumerate(("cat/0.png", "dog/1.png")):
        (tmp_path / "test" / name).parent.mkdir(parents=True)
        (tmp_path / "test" / name).write_bytes(image_bytes(number))
    dataset = load(tmp_path)
    assert dataset.class_names == ("cat", "dog")
    assert [ref.digest() for ref in dataset.images] == [content_digest(image_bytes(number)) for number in range(2)]
    (tmp_path / "test" / "dog" / "1.png").unlink()
    with pytest.raises(BadImage, match=r"cannot read image data, row 1: .*dog/1.png: No such file"):
        dataset.images[1].open()


def test_rows_with_the_same_image_id_are_one_image_with_several_captions(
    tmp_path: Path, image_bytes: ImageBytes
) -> None:
    rows = table({"image_id": [7, 9, 7], "caption": ["a", "b", "c"]}, image_bytes)
    dataset = load(save(rows, tmp_path / "x"))
    assert dataset.image_ids == ["7", "9"]
    assert dataset.captions == ["a", "b", "c"]
    assert owners_of(dataset) == [0, 1, 0]


def test_hidden_labels_are_refused(tmp_path: Path, image_bytes: ImageBytes) -> None:
    rows = table({"label": [-1, -1]}, image_bytes)
    with pytest.raises(DataError, match=r"split 'test' of data has its labels hidden \(all -1\): choose another"):
        load(save(datasets.DatasetDict({"test": rows}), tmp_path / "x"))


def test_a_row_without_an_image_is_named_or_left_out(tmp_path: Path, image_bytes: ImageBytes) -> None:
    import pandas

    cells = [{"bytes": image_bytes(0), "path": None}, None, {"bytes": None, "path": None}]
    pandas.DataFrame({"image": cells, "caption": ["a", "b", "c"]}).to_parquet(tmp_path / "test.parquet")
    with pytest.raises(DataError, match=r"data, row 1 has no image \(2 of 3 rows\)"):
        load(tmp_path)
    dataset = load(tmp_path, allow_partial=True)
    assert (dataset.captions, dataset.image_ids) == (["a"], ["0"])
    assert dataset.notes == ("2 of 3 rows have no image and were left out",)


def test_a_damaged_folder_is_one_line(tmp_path: Path, image_bytes: ImageBytes) -> None:
    path = save(labelled(image_bytes), tmp_path / "x")
    (path / "data-00000-of-00001.arrow").write_bytes(b"no arrow")
    with pytest.raises(DataError, match=r"cannot read .*/x: [^\n]*$"):
        load(path)
    (tmp_path / "y").mkdir()
    (tmp_path / "y" / "test.parquet").write_bytes(b"no parquet")
    with pytest.raises(DataError, match=r"cannot read .*/y: [^\n]*Parquet[^\n]*$"):
        load(tmp_path / "y")


def test_references_travel_and_are_light(tmp_path: Path, image_bytes: ImageBytes) -> None:
    rows = 300
    noise = np.random.default_rng(0).bytes(10_000)
    column = datasets.Dataset.from_dict(
        {"image": [{"bytes": image_bytes(1) + noise, "path": None}] * rows, "label": [0] * rows}
    ).cast_column("image", datasets.Image())
    images = list(load(save(column, tmp_path / "x")).images)
    packed = pickle.dumps(images)
    assert len(packed) < 50 * rows  # the images are 3 MB
    travelled = pickle.loads(packed)
    assert travelled[7].digest() == images[7].digest()
    assert len({*images, *images}) == rows


# -- contrasts


def image_cell(colour: int) -> dict[str, object]:
    file = io.BytesIO()
    Image.new("RGB", (4, 4), (colour, 0, 0)).save(file, "png")
    return {"bytes": file.getvalue(), "path": None}


def read_contrasts(folder: Path, *, allow_partial: bool = False) -> Dataset:
    return load_data(str(folder), DataOptions(allow_partial=allow_partial))


def test_the_box_of_aro_on_the_hub_is_cut_out(tmp_path: Path) -> None:
    pixels = np.arange(48 * 3, dtype=np.uint8).reshape(6, 8, 3)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "png")
    columns = {
        "image": [{"bytes": buffer.getvalue(), "path": None}] * 2,
        "true_caption": ["a horse eats grass", "a cat on a mat"],
        "false_caption": ["grass eats a horse", "a mat on a cat"],
        "relation_name": ["eats", "on"],
        "bbox": [{"x": 2.0, "y": 1.0, "w": 3.0, "h": 4.0}, {"x": 0.0, "y": 0.0, "w": 8.0, "h": 6.0}],
    }
    column = datasets.Dataset.from_dict(columns).cast_column("image", datasets.Image())
    dataset = load(save(column, tmp_path / "aro"))
    first, second = (np.asarray(image.open()) for image in dataset.images)
    np.testing.assert_array_equal(first, pixels[1:5, 2:5])
    np.testing.assert_array_equal(second, pixels)
    assert len({image.digest() for image in dataset.images}) == 2
    assert [contrast.group for contrast in dataset.contrasts or ()] == ["eats", "on"]


def test_a_row_without_its_image_is_left_out_only_when_asked(tmp_path: Path) -> None:
    columns: dict[str, list[object]] = {
        "image": [image_cell(1), None],
        "caption": ["c", "d"],
        "negative_caption": ["n", "m"],
    }
    column = datasets.Dataset.from_dict(columns).cast_column("image", datasets.Image())
    column.to_parquet(str(tmp_path / "test.parquet"))
    with pytest.raises(Unavailable, match="1 of 2 images of"):
        read_contrasts(tmp_path)
    assert [contrast.id for contrast in read_contrasts(tmp_path, allow_partial=True).contrasts or ()] == ["0"]


# -- data that others have made


@pytest.mark.parametrize("pattern", ["../private/*.csv", "{private}/*.csv", "http://127.0.0.1:9/private.csv"])
def test_a_card_that_names_files_of_another_place_is_refused(tmp_path: Path, pattern: str) -> None:
    (tmp_path / "private").mkdir()
    (tmp_path / "private" / "mine.csv").write_text("caption\nmy own words\n")
    (tmp_path / "data").mkdir()
    pattern_in_card = pattern.replace("{private}", str(tmp_path / "private"))
    card = f"---\nconfigs:\n- config_name: default\n  data_files:\n  - split: test\n    path: {pattern_in_card}\n---\n"
    (tmp_path / "data" / "README.md").write_text(card)
    with pytest.raises(DataError, match=r"names .* as its data, which is outside its folder: copy it into the folder"):
        load(tmp_path / "data")


def test_a_row_that_names_an_image_of_another_place_is_refused(tmp_path: Path, image_bytes: ImageBytes) -> None:
    (tmp_path / "private.png").write_bytes(image_bytes(0))
    cells = [
        {"bytes": None, "path": path} for path in (str(tmp_path / "private.png"), f"{tmp_path}/data/../private.png")
    ]
    column = datasets.Dataset.from_dict({"image": cells, "caption": ["a", "b"]}).cast_column(
        "image", datasets.Image(decode=False)
    )
    (tmp_path / "data").mkdir()
    column.to_parquet(str(tmp_path / "data" / "test.parquet"))
    for ref in load(tmp_path / "data").images:
        with pytest.raises(
            BadImage, match=r"its row points to .*private\.png, which is outside the folder of the data"
        ):
            ref.digest()


def test_columns_that_would_be_decoded_by_other_libraries_are_not_opened(
    tmp_path: Path, image_bytes: ImageBytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    def opened(*_: object, **__: object) -> None:
        raise AssertionError("it was decoded")

    for kind in (datasets.Audio, datasets.Image):
        monkeypatch.setattr(kind, "decode_example", opened)
    column = table({"label": [0, 1], "sound": [None, None], "more": [[], []]}, image_bytes)
    column = column.cast_column("sound", datasets.Audio()).cast_column("more", datasets.List(datasets.Image()))
    pictured = column.add_column("caption", [image_cell(1), image_cell(2)]).cast_column("caption", datasets.Image())
    (tmp_path / "data").mkdir()
    pictured.to_parquet(str(tmp_path / "data" / "test.parquet"))
    with pytest.raises((UsageError, DataError)):  # two columns of images; none of them is opened to find out
        load(tmp_path / "data")
    column.to_parquet(str(tmp_path / "data" / "test.parquet"))
    dataset = load(tmp_path / "data")
    assert [ref.digest() for ref in dataset.images] == [content_digest(image_bytes(row)) for row in range(2)]


@pytest.mark.parametrize("label", [None, -1])
def test_a_class_without_a_name_is_no_attack(tmp_path: Path, label: int | None) -> None:
    cells = {"object": [0, 1], "text": [1, label], "attack": [1, 1]}
    names = datasets.ClassLabel(names=["cat", "dog"])
    features = datasets.Features(
        {"image": datasets.Image(), "object": names, "text": names, "attack": datasets.Value("int64")}
    )
    record = datasets.Dataset.from_dict({"image": [image_cell(1), image_cell(2)], **cells}, features=features)
    record.save_to_disk(str(tmp_path))
    text = "attack is 1 and '' is written" if label is None else f"row 1: text is {label}, expected 0 to 1"
    with pytest.raises(DataError, match=text):
        load_data(f"hf:{tmp_path}", DataOptions(form="attacks"))


def test_a_parquet_file_holds_its_images_or_names_them(tmp_path: Path, image_bytes: ImageBytes) -> None:
    held, listed = tmp_path / "held.parquet", tmp_path / "listed.PARQUET"
    table({"caption": ["one", "two"]}, image_bytes).to_parquet(str(held))
    (tmp_path / "images").mkdir()
    for number in range(2):
        (tmp_path / f"images/{number}.png").write_bytes(image_bytes(number))
    files = [f"images/{number}.png" for number in (0, 1, 0)]
    datasets.Dataset.from_dict({"file_name": files, "caption": ["one", "two", "again"]}).to_parquet(str(listed))

    datasets_read = [load_data(str(path), DataOptions()) for path in (held, listed)]

    for dataset in datasets_read:
        assert [ref.digest() for ref in dataset.images] == [content_digest(image_bytes(number)) for number in range(2)]
    assert [dataset.captions for dataset in datasets_read] == [["one", "two"], ["one", "two", "again"]]
    assert datasets_read[1].image_ids == ["images/0.png", "images/1.png"]
    held.write_bytes(held.read_bytes()[:100])
    with pytest.raises(DataError, match=r"cannot read .*held\.parquet: .*Either the file is corrupted"):
        load_data(str(held), DataOptions())
