"""Several right classes per image, in every form of data that has labels, and from a file of labels."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import clipbench as cb
from clipbench.data import DataOptions, Dataset, random_subset
from clipbench.data.dataset_loading import load_data
from clipbench.errors import ClipbenchError, DataError, UsageError
from clipbench.untrusted.label_files import read_classes, read_label_file
from tests import miniatures

NAMES = ("cat", "dog", "owl")
SETS: list[list[int]] = [[0], [0, 2], [], [1]]
IDS = [f"{row}.png" for row in range(4)]


def image_files(folder: Path) -> None:
    for row, name in enumerate(IDS):
        Image.new("RGB", (8, 8), (60 * row, 0, 0)).save(folder / name)


def named(rows: Sequence[int]) -> list[str]:
    return [NAMES[row] for row in rows]


def load(path: Path, **options: str) -> Dataset:
    return load_data(str(path), DataOptions(options=options))


def sets_of(dataset: Dataset) -> list[list[str]]:
    """Return the names of each image's right classes."""
    assert dataset.right_classes is not None and dataset.class_names is not None
    assert dataset.labels is None
    return [[dataset.class_names[row] for row in rows if row >= 0] for rows in dataset.right_classes.tolist()]


def csv_with_semicolons(folder: Path) -> Path:
    rows = [f"{name},{';'.join(named(rows))}" for name, rows in zip(IDS, SETS, strict=True)]
    (folder / "data.csv").write_text("\n".join(["image,label", *rows]))
    return folder / "data.csv"


def csv_with_lists(folder: Path) -> Path:
    rows = [f'{name},"{named(rows)}"' for name, rows in zip(IDS, SETS, strict=True)]
    (folder / "data.csv").write_text("\n".join(["image,label", *rows]))
    return folder / "data.csv"


def json_lines(folder: Path) -> Path:
    rows = [{"image": name, "label": named(rows)} for name, rows in zip(IDS, SETS, strict=True)]
    (folder / "data.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return folder / "data.jsonl"


def parquet(folder: Path) -> Path:
    rows = pd.DataFrame({"image": IDS, "label": [named(rows) for rows in SETS]})
    rows.to_parquet(folder / "data.parquet")
    return folder / "data.parquet"


@pytest.mark.parametrize("write", [csv_with_semicolons, csv_with_lists, json_lines, parquet])
def test_tables_hold_several_classes_per_image(write: Callable[[Path], Path], tmp_path: Path) -> None:
    image_files(tmp_path)
    dataset = load(write(tmp_path))
    assert dataset.class_names == NAMES
    assert sets_of(dataset) == [named(rows) for rows in SETS]


def test_numbers_are_rows_of_the_class_names(tmp_path: Path) -> None:
    image_files(tmp_path)
    (tmp_path / "names.txt").write_text("\n".join(NAMES))
    for cells in (["0", "0;2", "", "1"], ["[0]", '"[0, 2]"', "[]", "[1]"]):
        lines = [f"{name},{cell}" for name, cell in zip(IDS, cells, strict=True)]
        (tmp_path / "data.csv").write_text("\n".join(["image,label", *lines]))
        dataset = load(tmp_path / "data.csv", class_names=str(tmp_path / "names.txt"))
        assert sets_of(dataset) == [named(rows) for rows in SETS]


def test_rows_with_encoded_images_have_lists_of_class_labels(tmp_path: Path, library_cache: Path) -> None:
    datasets = pytest.importorskip("datasets")
    features = datasets.Features(
        {"image": datasets.Image(), "label": datasets.Sequence(datasets.ClassLabel(names=list(NAMES)))}
    )
    images = [Image.new("RGB", (8, 8), (60 * row, 0, 0)) for row in range(4)]
    rows = datasets.Dataset.from_dict({"image": images, "label": SETS}, features=features)
    rows.save_to_disk(str(tmp_path / "saved"))
    assert sets_of(load(tmp_path / "saved")) == [named(rows) for rows in SETS]
    assert sets_of(cb.load_data(rows)) == [named(rows) for rows in SETS]


def test_a_frame_in_memory_has_lists(tmp_path: Path) -> None:
    images = [Image.new("RGB", (8, 8), (60 * row, 0, 0)) for row in range(4)]
    frame = pd.DataFrame({"image": images, "label": [named(rows) for rows in SETS]})
    assert sets_of(cb.load_data(frame)) == [named(rows) for rows in SETS]


def test_shards_hold_several_numbers(tmp_path: Path) -> None:
    for texts in (["0", "0;2", "[]", "1"], ["0", "[0, 2]", "[]", "[1]"]):
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        (folder / "test").mkdir(parents=True)
        (folder / "classnames.txt").write_text("\n".join(NAMES))
        (folder / "test" / "nshards.txt").write_text("1")
        samples = [{"jpg": b"x", "cls": text.encode()} for text in texts]
        (folder / "test" / "0.tar").write_bytes(miniatures.shard_of(samples))
        assert sets_of(load(folder)) == [named(rows) for rows in SETS]


def test_vectors_have_a_column_per_class() -> None:
    matrix = [[int(row in rows) for row in range(3)] for rows in SETS]
    vectors = cb.vectors(images=np.eye(4), labels=matrix, class_texts=np.eye(4)[:3], class_names=NAMES)
    assert sets_of(vectors.dataset) == [named(rows) for rows in SETS]
    for wrong in (np.array(matrix) * 2, np.array(matrix)[:, :2]):
        with pytest.raises(DataError, match="expected one class number per image, or 3 columns of 0 and 1"):
            cb.vectors(images=np.eye(4), labels=wrong, class_texts=np.eye(4)[:3])


def test_one_class_in_every_list_is_plain_labels(tmp_path: Path) -> None:
    image_files(tmp_path)
    labels = ["cat", "dog", "owl", "cat"]
    (tmp_path / "plain.csv").write_text("\n".join(["image,label", *map(",".join, zip(IDS, labels, strict=True))]))
    rows = [{"image": name, "label": [label]} for name, label in zip(IDS, labels, strict=True)]
    (tmp_path / "lists.jsonl").write_text("\n".join(map(json.dumps, rows)))
    plain, lists = (load(tmp_path / name) for name in ("plain.csv", "lists.jsonl"))
    assert plain.labels is not None and lists.labels is not None
    assert lists.right_classes is None
    assert (plain.labels.tolist(), plain.class_names) == (lists.labels.tolist(), lists.class_names)
    assert plain.fingerprint(IDS) == lists.fingerprint(IDS)


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (["0.png,cat;dog", "1.png,owl;"], "line 3: expected class names or numbers as label, with ';' between them"),
        (["0.png,cat;dog", "1.png,;"], "line 3: expected class names or numbers"),
        (["0.png,cat", "1.png,"], "line 3: expected a class name or number as label, got ''"),
        (["0.png,cat;dog", "0.png,cat"], "the image has label 'cat', and 'cat;dog' in"),
        (["0.png,0;3", "1.png,1"], "numbers its classes and does not name them"),
    ],
)
def test_malformed_cells_are_an_error_of_one_line(lines: list[str], words: str, tmp_path: Path) -> None:
    image_files(tmp_path)
    (tmp_path / "data.csv").write_text("\n".join(["image,label", *lines]))
    with pytest.raises(ClipbenchError, match=words) as error:
        load(tmp_path / "data.csv")
    assert "\n" not in str(error.value)


def test_a_number_beyond_the_class_names_is_an_error(tmp_path: Path) -> None:
    image_files(tmp_path)
    (tmp_path / "names.txt").write_text("\n".join(NAMES))
    (tmp_path / "data.csv").write_text("image,label\n0.png,0;3\n1.png,1\n2.png,2")
    with pytest.raises(DataError, match=r"image '0.png' has label 3, expected 0 to 2"):
        load(tmp_path / "data.csv", class_names=str(tmp_path / "names.txt"))


# A file of labels -----------------------------------------------------------------------------------------------------


@pytest.fixture
def class_folders(tmp_path: Path) -> Path:
    for row, name in enumerate(IDS[:3]):
        folder = tmp_path / "images" / NAMES[row]
        folder.mkdir(parents=True)
        Image.new("RGB", (8, 8), (60 * row, 0, 0)).save(folder / name)
    return tmp_path / "images"


def test_a_file_takes_the_place_of_the_labels(class_folders: Path, tmp_path: Path) -> None:
    file = tmp_path / "labels.csv"
    file.write_text("id,label\ncat/0.png,cat;owl\ndog/1.png,\n")
    dataset = load_data(str(class_folders), DataOptions(allow_partial=True, options={"labels": str(file)}))
    assert sets_of(dataset) == [["cat", "owl"], [], []]
    note = f"labels from {file}: 3 images, 1 with several classes, 1 without a class, 1 not in the file"
    assert note in dataset.notes


def test_a_file_labels_images_that_have_no_labels(tmp_path: Path) -> None:
    image_files(tmp_path)
    (tmp_path / "data.csv").write_text("\n".join(["image", *IDS]))
    file = tmp_path / "labels.jsonl"
    rows = [{"id": name, "label": named(rows)} for name, rows in zip(IDS, SETS, strict=True)]
    file.write_text("\n".join(map(json.dumps, rows)))
    assert sets_of(load(tmp_path / "data.csv", labels=str(file))) == [named(rows) for rows in SETS]
    images = pd.DataFrame({"image": [Image.new("RGB", (8, 8)) for _ in IDS], "id": IDS})
    dataset = cb.load_data(images, data_options={"labels": str(file)})
    assert sets_of(dataset) == [named(rows) for rows in SETS]


def test_the_own_labels_in_a_file_change_nothing(class_folders: Path, tmp_path: Path) -> None:
    file = tmp_path / "labels.csv"
    for names in (NAMES, ("0", "1", "2")):
        file.write_text("\n".join(["id,label", *(f"{NAMES[row]}/{IDS[row]},{names[row]}" for row in range(3))]))
        plain, given = load(class_folders), load(class_folders, labels=str(file))
        assert plain.labels is not None and given.labels is not None
        assert plain.labels.tolist() == given.labels.tolist()
        assert plain.fingerprint(IDS[:3]) == given.fingerprint(IDS[:3])


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("id,label\nother.png,cat\n", "images: got 'other.png', expected such as 'cat/0.png'"),
        ("id,label\ncat/0.png,horse\n", "id 'cat/0.png': unknown class 'horse'"),
        ("id,label\ncat/0.png,cat\ncat/0.png,dog\n", "has the id 'cat/0.png' twice"),
        ("id,label\ncat/0.png,\n", "has a class for none of the 3 images"),
        ("id,label\ncat/0.png,5\n", "unknown class '5'"),
        ("id,label\n", "has no rows"),
        ("", "has no rows"),
        ("image,label\ncat/0.png,cat\n", "has no column 'id': got image, label"),
    ],
)
def test_wrong_files_are_an_error_of_one_line(class_folders: Path, tmp_path: Path, content: str, words: str) -> None:
    file = tmp_path / "labels.csv"
    file.write_text(content)
    with pytest.raises(ClipbenchError, match=words) as error:
        load_data(str(class_folders), DataOptions(options={"labels": str(file)}))
    assert "\n" not in str(error.value)


def test_other_files_and_other_data_are_refused(class_folders: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"got a file of type '.txt', expected .csv"):
        load(class_folders, labels="labels.txt")
    with pytest.raises(DataError, match=r"labels\.csv"):
        load(class_folders, labels=str(tmp_path / "labels.csv"))
    with pytest.raises(UsageError, match="no option 'labels'"):
        load_data("scenes", DataOptions(options={"labels": "labels.csv"}))


def test_two_classes_of_one_name_are_told_apart_by_their_number(tmp_path: Path) -> None:
    image_files(tmp_path)
    (tmp_path / "names.txt").write_text("crane\ncrane\n")
    (tmp_path / "data.csv").write_text("image,label\n0.png,0\n1.png,1\n")
    (tmp_path / "labels.csv").write_text("id,label\n0.png,crane (1)\n1.png,crane (0);crane (1)\n")
    options = {"labels": str(tmp_path / "labels.csv"), "class_names": str(tmp_path / "names.txt")}
    dataset = load(tmp_path / "data.csv", **options)
    assert dataset.right_classes is not None
    assert dataset.right_classes.tolist() == [[1, -1], [0, 1]]
    (tmp_path / "labels.csv").write_text("id,label\n0.png,crane\n")
    with pytest.raises(DataError, match="unknown class 'crane'"):
        load(tmp_path / "data.csv", **options)


def test_a_name_with_a_semicolon_is_one_class_if_it_is_a_class_name() -> None:
    assert read_classes("cat; dog", {"cat; dog"}) == ("cat; dog",)
    assert read_classes("cat; dog") == ("cat", "dog")


# The ReaL labels ------------------------------------------------------------------------------------------------------


def test_labels_by_position_are_of_numbered_images(tmp_path: Path) -> None:
    file = tmp_path / "real.json"
    file.write_text("[[0], [0, 2], [], [1]]")
    labels = read_label_file(file)
    assert labels.is_by_position
    assert labels.of("n01440764/ILSVRC2012_val_00000002.JPEG") == ("0", "2")
    assert (labels.of("4"), labels.of("ILSVRC2012_val_00000003"), labels.of("5")) == (("1",), (), None)


@pytest.mark.parametrize("content", ["[[0], 1]", '[[0], ["cat"]]', "[[0], [-1]]", "[[0], [true]]"])
def test_a_malformed_list_by_position_is_an_error(content: str, tmp_path: Path) -> None:
    (tmp_path / "real.json").write_text(content)
    with pytest.raises(DataError, match="item 2: expected a list of class numbers from 0 on"):
        read_label_file(tmp_path / "real.json")


@pytest.fixture
def imagenet(tmp_path: Path) -> Path:
    """A folder with six images of three classes, in folders of synsets, and the files of the labels."""
    recorded_labels = [2, 0, 1, 0, 2, 1]
    for number, label in enumerate(recorded_labels, start=1):
        folder = tmp_path / "imagenet" / f"n{label:08}"
        folder.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), (40 * number, 0, 0)).save(folder / f"ILSVRC2012_val_{number:08}.JPEG")
    labels = tmp_path / "imagenet-real"
    labels.mkdir()
    (labels / "real.json").write_text("[[2], [0, 1], [], [0], [0, 2], [1]]")
    lines = "".join(f"n{label:08}\n" for label in recorded_labels)
    (labels / "imagenet_2012_validation_synset_labels.txt").write_text(lines)
    return tmp_path


def test_real_labels_find_images_by_their_names(imagenet: Path) -> None:
    file = imagenet / "imagenet-real" / "real.json"
    dataset = load(imagenet / "imagenet", labels=str(file))
    assert dataset.right_classes is not None
    by_id = {
        image_id[-6]: rows for image_id, rows in zip(dataset.image_ids, dataset.right_classes.tolist(), strict=True)
    }
    assert by_id == {"1": [2, -1], "2": [0, 1], "3": [-1, -1], "4": [0, -1], "5": [0, 2], "6": [1, -1]}


def test_real_labels_of_other_images_are_refused(imagenet: Path) -> None:
    file = imagenet / "imagenet-real" / "real.json"
    file.write_text("[[1], [1], [2], [1], [0], [2]]")
    with pytest.raises(DataError, match="its labels include the recorded class for 0% of them, expected 50% or more"):
        load(imagenet / "imagenet", labels=str(file))
    frame = pd.DataFrame({"image": [Image.new("RGB", (8, 8)) for _ in range(2)], "label": ["cat", "dog"]})
    with pytest.raises(DataError, match="have no ids: expected their file names as ids"):
        cb.load_data(frame, data_options={"labels": str(file)})


def test_real_labels_find_images_of_shards_by_their_class_and_order(
    imagenet: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from clipbench.data.readers.real_labels import with_real_labels

    keys = [f"s{row:07}" for row in range(6)]
    images = [cb.FileImage(Path("x.png"))] * 6
    shards = Dataset(
        id="imagenet", images=images, image_ids=keys, labels=np.array([0, 0, 1, 1, 2, 2]), class_names=NAMES
    )
    dataset = with_real_labels(shards, imagenet / "imagenet-real")
    assert dataset.right_classes is not None  # numbers 2, 4 are of class 0, 3, 6 of class 1, 1, 5 of class 2
    assert dataset.right_classes.tolist() == [[0, 1], [0, -1], [-1, -1], [1, -1], [2, -1], [0, 2]]
    order = np.array([4, 1, 0, 5, 3, 2])
    assert with_real_labels(shards.take(order), imagenet / "imagenet-real").right_classes is not None
    np.testing.assert_array_equal(
        with_real_labels(shards.take(order), imagenet / "imagenet-real").right_classes, dataset.right_classes[order]
    )


def test_a_subset_is_stratified_by_the_first_class() -> None:
    right = np.array([[0, 1]] * 30 + [[1, -1]] * 10 + [[-1, -1]] * 10)
    images = [cb.FileImage(Path("x.png"))] * 50
    dataset = Dataset(
        id="x", images=images, image_ids=[*map(str, range(50))], right_classes=right, class_names=("a", "b")
    )
    subset = random_subset(dataset, 10, np.random.default_rng(0))
    assert subset.right_classes is not None
    counts = np.bincount(subset.right_classes[:, 0] + 1).tolist()
    assert counts in ([2, 5, 3], [3, 5, 2])  # in proportion to 10, 30 and 10
