"""Sets of long captions as their authors unpack them."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from PIL import Image

from clipbench.data import DataOptions, Dataset
from clipbench.data.dataset_loading import load_data
from clipbench.data.readers import long_captions
from clipbench.errors import DataError, UsageError
from tests.clipbench.data.conftest import owners_of


def draw(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (4, 4)).save(path)


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def lines(rows: list[dict[str, object]]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def load(path: Path, *, allow_partial: bool = False, **options: str) -> Dataset:
    return load_data(str(path), DataOptions(form="long-captions", allow_partial=allow_partial, options=options))


def urban1k(root: Path) -> Path:
    for number in (1, 2, 10):
        draw(root / "image" / f"{number}.jpg")
        write(root / "caption" / f"{number}.txt", f"Street {number}. It is long.\nA second line.\n")
    return root


def docci(root: Path) -> Path:
    rows: list[dict[str, object]] = []
    for split, number in (("train", 0), ("test", 1), ("test", 2)):
        name = f"{split}_0000{number}"
        draw(root / "images" / f"{name}.jpg")
        row = {"example_id": name, "split": split, "image_file": f"{name}.jpg", "description": f"Image {number}."}
        rows.append(dict(row))
    write(root / "docci_descriptions.jsonlines", lines(rows))
    return root


def dci(root: Path) -> Path:
    extras = {1: "And more. ", 2: "", 3: "Not asked for."}
    for number, extra in extras.items():
        draw(root / "photos" / f"sa_{number}.jpg")
        entry = {"image": f"sa_{number}.jpg", "short_caption": f"Photo {number}.", "extra_caption": extra}
        write(root / "complete" / f"{number}-data.json", json.dumps(entry))
    write(root / "splits.json", json.dumps({"train": ["3-data.json"], "test": ["2-data.json", "1-data.json"]}))
    return root


def sharegpt(root: Path) -> Path:
    items = []
    for number in range(3):
        image = f"sam/images/sa_{number}.jpg"
        draw(root / image)
        turns = [
            {"from": "human", "value": "<image>\nWhat is this?"},
            {"from": "gpt", "value": f"Seen:\n{number} cats"},
        ]
        items.append({"id": str(number), "image": image, "conversations": turns})
    return write(root / "share-captioner_coco_lcs_sam_1246k_1107.json", json.dumps(items)).parent


def iiw(root: Path) -> Path:
    rows: list[dict[str, object]] = [
        {"IIW": "A flower.", "IIW-P5B": "A bee.", "image/key": "aar_test_1"},
        {"IIW": "A balcony.", "IIW-P5B": "A house.", "image/key": "aar_test_2"},
    ]
    for row in rows:
        draw(root / "images" / f"{row['image/key']}.jpg")
    return write(root / "data.jsonl", lines(rows)).parent


EXPECTED: Mapping[Callable[[Path], Path], tuple[list[str], list[str]]] = {
    urban1k: (["1", "2", "10"], [f"Street {n}. It is long." for n in (1, 2, 10)]),
    docci: (["test_00001", "test_00002"], ["Image 1.", "Image 2."]),
    dci: (["2-data.json", "1-data.json"], ["Photo 2.", "Photo 1.\nAnd more."]),
    sharegpt: ([f"sam/images/sa_{n}.jpg" for n in range(3)], [f"Seen: {n} cats" for n in range(3)]),
    iiw: (["aar_test_1", "aar_test_2"], ["A flower.", "A balcony."]),
}


@pytest.mark.parametrize("make", EXPECTED)
def test_images_come_with_their_captions(make: Callable[[Path], Path], tmp_path: Path) -> None:
    dataset = load(make(tmp_path / "set"))
    ids, captions = EXPECTED[make]
    assert (list(dataset.image_ids), dataset.captions) == (ids, captions)
    assert owners_of(dataset) == list(range(len(ids)))
    assert all(image.open().size == (4, 4) for image in dataset.images)


@pytest.mark.parametrize("name", ["../../secret.json", "/etc/secret.json", 3])
def test_an_entry_of_dci_is_a_file_of_its_folder(name: object, tmp_path: Path) -> None:
    root = dci(tmp_path / "set")
    write(tmp_path / "secret.json", json.dumps({"image": "sa_1.jpg", "short_caption": "x"}))
    write(root / "splits.json", json.dumps({"test": [name]}))
    with pytest.raises(DataError, match=r"splits.json names .*, expected the name of a file in complete"):
        load(root)


def test_splits_are_the_published_ones_unless_told(tmp_path: Path) -> None:
    root = docci(tmp_path / "docci")
    assert load(root).split == "test"
    assert list(load(root, split="train").image_ids) == ["train_00000"]
    with pytest.raises(UsageError, match="has no split 'val': it has test, train"):
        load(root, split="val")
    dense = dci(tmp_path / "dci")
    assert list(load(dense, split="all").image_ids) == ["1-data.json", "2-data.json", "3-data.json"]
    with pytest.raises(UsageError, match="has no split 'tset': it has "):
        load(dense, split="tset")


def test_urban_captions_and_images_must_belong_together(tmp_path: Path) -> None:
    root = urban1k(tmp_path / "urban")
    (root / "caption" / "2.txt").unlink()
    with pytest.raises(DataError, match=r"1 images of urban have no caption, the first .*2\.jpg"):
        load(root)
    write(root / "caption" / "2.txt", "\nOnly in the second line.")
    with pytest.raises(DataError, match=r"the first line of .*2\.txt is blank"):
        load(root)


def test_only_as_much_of_sharegpt4v_is_read_as_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(long_captions, "BLOCK_CHARACTERS", 7)  # items are cut at every place
    root = sharegpt(tmp_path / "share")
    file = root / long_captions.SHAREGPT4V_FILE
    assert len(load(root)) == 3
    file.write_text(file.read_text()[:-40] + "and here it is damaged", encoding="utf-8")
    assert list(load(root, n="2").image_ids) == ["sam/images/sa_0.jpg", "sam/images/sa_1.jpg"]
    with pytest.raises(DataError, match="is not a list in JSON, or is cut off"):
        load(root)
    with pytest.raises(UsageError, match="'n': 'none'}: expected a number of captions"):
        load(root, n="none")


def test_a_damaged_item_ends_the_reading_of_sharegpt4v(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(long_captions, "BLOCK_CHARACTERS", 1_000)
    monkeypatch.setattr(long_captions, "MAX_ITEM_CHARACTERS", 5_000)
    file = sharegpt(tmp_path / "share") / long_captions.SHAREGPT4V_FILE
    file.write_bytes(b'[{"conversations": damaged' + 20_000 * b" " + b"\xff")
    with pytest.raises(DataError, match="is not a list in JSON, or is cut off"):  # and never came to the last byte
        load(file)


@pytest.mark.parametrize(
    ("make", "file", "text", "message"),
    [
        (docci, "docci_descriptions.jsonlines", '{"split": "test"}\n', "line 1: expected a text in example_id, got"),
        (dci, "complete/1-data.json", "[]", r"1-data\.json holds a JSON list, expected an object"),
        (dci, "complete/1-data.json", "{", r"1-data\.json is not JSON"),
        (dci, "complete/1-data.json", '{"image": "x"}', "expected a text in short_caption, got None"),
        (dci, "splits.json", '{"test": 3}', "has no list of files for test: got 3"),
        (iiw, "data.jsonl", '{"IIW": "a", "image": "b"}\n{"IIW": "a"}\n', "line 2: expected the image in image/key or"),
        (iiw, "data.jsonl", '{"IIW": " ", "image": "b"}\n', "line 1: expected a text in IIW, got ' '"),
        (sharegpt, long_captions.SHAREGPT4V_FILE, '[{"image": "a", "conversations": []}]', "item 1: expected an"),
    ],
)
def test_what_is_malformed_is_named(
    make: Callable[[Path], Path], file: str, text: str, message: str, tmp_path: Path
) -> None:
    root = make(tmp_path / "set")
    write(root / file, text)
    with pytest.raises(DataError, match=message):
        load(root)
