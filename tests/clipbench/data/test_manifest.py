"""Manifests: what a table may say of images, and every way in which it may say it wrongly."""

import json
from pathlib import Path

import pytest

from clipbench.data.dataset import DataOptions, Dataset, check
from clipbench.data.labels import Groups
from clipbench.data.readers import manifest
from clipbench.errors import DataError, Unavailable, UsageError
from tests.clipbench.data.conftest import labels_of, owners_of


def write(root: Path, text: str, name: str = "list.csv", *, images: str = "abc") -> Path:
    """Write a table beside images a.png, b.png, ... (files that need not be images to be listed)."""
    for letter in images:
        (root / f"{letter}.png").write_text(letter)
    (root / name).write_text(text, encoding="utf-16" if name.startswith("utf16") else "utf-8")
    return root / name


def load(path: Path, *, allow_partial: bool = False, **options: str) -> Dataset:
    dataset = manifest.load(path, DataOptions(allow_partial=allow_partial, options=options), "data")
    return check(dataset, allow_partial=allow_partial)


def captions_of(dataset: Dataset) -> list[tuple[str, str]]:
    assert dataset.captions is not None
    return [(dataset.image_ids[i], caption) for i, caption in zip(owners_of(dataset), dataset.captions, strict=True)]


PAIRS = [("a.png", "one, two"), ("b.png", "three"), ("a.png", "four\nlines")]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("list.csv", 'image,caption\r\na.png,"one, two"\r\nb.png,three\r\n\r\n./a.png,"four\nlines"\r\n'),
        ("list.tsv", 'image\tcaption\na.png\tone, two\nb.png\tthree\na.png\t"four\nlines"\n'),
        ("list.jsonl", "\n\n".join(json.dumps({"image": i, "caption": c}) for i, c in PAIRS)),
        ("list.json", json.dumps([{"image": i, "caption": c} for i, c in PAIRS])),
        ("semicolon.csv", 'image;caption\na.png;one, two\nb.png;three\na.png;"four\nlines"\n'),
        ("tab.csv", 'image\tcaption\na.png\tone, two\nb.png\tthree\na.png\t"four\nlines"\n'),
        ("comma.tsv", 'image,caption\na.png,"one, two"\nb.png,three\na.png,"four\nlines"\n'),
        ("utf16.csv", 'image;caption\na.png;one, two\nb.png;three\na.png;"four\nlines"\n'),
        ("utf16.jsonl", "\n".join(json.dumps({"image": i, "caption": c}) for i, c in PAIRS)),
        ("bom.csv", '\ufeffimage,caption\na.png,"one, two"\nb.png,three\na.png,"four\nlines"\n'),
    ],
)
def test_every_form_gives_the_same_images_and_captions(tmp_path: Path, name: str, text: str) -> None:
    dataset = load(write(tmp_path, text, name))
    assert dataset.image_ids == ["a.png", "b.png"]
    assert captions_of(dataset) == PAIRS
    assert (dataset.labels, dataset.notes) == (None, ())


def test_a_list_that_is_written_in_a_cell_is_one_caption_each(tmp_path: Path) -> None:
    table = 'image,captions\na.png,"[\'one\', ""dog\'s"", \'caf\\xe9\']"\nb.png,"[sic, three"\n'
    dataset = load(write(tmp_path, table))
    texts = ("one", "dog's", "café")
    assert captions_of(dataset) == [*(("a.png", text) for text in texts), ("b.png", "[sic, three")]


@pytest.mark.parametrize(
    "cell", ["[]", "['a' 'b']", "['a'+'b']", "['\\xz']", "['\\ud800']", "[1, 'a']", "['a'", "[" * 9_000]
)
def test_what_is_no_list_of_texts_stays_a_caption(tmp_path: Path, cell: str) -> None:
    dataset = load(write(tmp_path, f'image,caption\na.png,"{cell}"\n'))
    assert captions_of(dataset) == [("a.png", cell)]


def test_numbers_as_labels_take_their_names_from_the_column_beside_them(tmp_path: Path) -> None:
    dataset = load(write(tmp_path, "path,class_index,name\na.png,7,dog\nb.png,2,cat\nc.png,7,dog\n"))
    assert dataset.class_names == ("cat", "dog")
    assert labels_of(dataset) == [1, 0, 1]


def test_a_file_of_class_names_orders_texts_and_must_hold_them_all(tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("dog\ncat\n")
    names = str(tmp_path / "names.txt")
    dataset = load(write(tmp_path, "path,label\na.png,dog\nb.png,cat\n"), class_names=names)
    assert labels_of(dataset) == [0, 1]
    with pytest.raises(DataError, match=r"label 'dgo' is not a class name: did you mean 'dog'\?"):
        load(write(tmp_path, "path,label\na.png,dgo\nb.png,cat\n"), class_names=names)


def test_labels_of_one_image_must_agree(tmp_path: Path) -> None:
    path = write(tmp_path, "image,label,caption\na.png,dog,x\na.png,cat,y\n")
    with pytest.raises(DataError, match=r"line 3: the image has label 'cat', and 'dog' in .*line 2"):
        load(path)


def test_a_split_column_filters_and_all_splits_together_are_noted(tmp_path: Path) -> None:
    path = write(tmp_path, "path,split,label\na.png,test,dog\nb.png,train,cat\nc.png,test,cat\n")
    dataset = load(path, split="test")
    assert (dataset.image_ids, dataset.split, dataset.notes) == (["a.png", "c.png"], "test", ())
    assert load(path).notes == ("all splits are read together (test, train). data_options={'split': 'test'} reads one",)
    with pytest.raises(UsageError, match="has no split 'val': it has test, train"):
        load(path, split="val")


def test_the_classes_of_a_split_are_those_of_the_whole_table(tmp_path: Path) -> None:
    path = write(tmp_path, "path,split,label\na.png,test,dog\nb.png,train,cat\n")
    with pytest.raises(DataError, match="lacks samples of 1 of its 2 classes, the first 'cat'"):
        load(path, split="test")
    assert load(path, split="test", allow_partial=True).class_names == ("cat", "dog")


def test_ids_come_from_an_id_column_that_fits(tmp_path: Path) -> None:
    path = write(tmp_path, "image,id,caption\na.png,x,one\na.png,x,two\nb.png,y,three\n")
    assert load(path).image_ids == ["x", "y"]


def test_a_guessed_id_column_that_does_not_fit_gives_way_with_a_note(tmp_path: Path) -> None:
    path = write(tmp_path, "image,id,caption\na.png,1,one\na.png,2,two\nb.png,3,three\n")
    dataset = load(path)
    assert dataset.image_ids == ["a.png", "b.png"]
    assert dataset.notes == ("column 'id' has no distinct id per image, so it was not used as ids",)


def test_a_named_id_column_must_fit(tmp_path: Path) -> None:
    path = write(tmp_path, "image,key,caption\na.png,1,one\na.png,2,two\nb.png,,three\n")
    with pytest.raises(DataError, match=r"line 4: the key is empty"):
        load(path, id="key")
    path = write(tmp_path, "image,key,caption\na.png,1,one\na.png,2,two\n")
    with pytest.raises(DataError, match=r"line 3: the image has id '2', and '1' in .*line 2"):
        load(path, id="key")
    path = write(tmp_path, "image,key,caption\na.png,1,one\nb.png,1,two\n")
    with pytest.raises(DataError, match="has the image id '1' twice"):
        load(path, id="key")
    assert load(path, id="image").image_ids == ["a.png", "b.png"]


def test_missing_images_are_counted_and_named(tmp_path: Path) -> None:
    path = write(tmp_path, "image,caption\n" + "".join(f"{letter}.png,x\n" for letter in "abcdefg"))
    message = r"4 of 7 images of list.csv are missing: .*/d.png, .*/e.png, .*/f.png, \.\.\. \(.*allow_partial=True"
    with pytest.raises(Unavailable, match=message):
        load(path)
    dataset = load(path, allow_partial=True)
    assert dataset.image_ids == ["a.png", "b.png", "c.png"]
    assert dataset.notes == ("4 of 7 images are missing and were left out",)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("list.csv", "image,caption\na.png,one\nb.png,two,three\n", r"list.csv, line 3: 3 fields, expected 2 \(image"),
        ("list.csv", "image,caption\na.png\n", r"line 2: 1 fields, expected 2"),
        ("list.csv", 'image,caption\na.png,"one\n', r"list.csv, line 2: unexpected end of data"),
        ("list.csv", "image,caption\na.png,one\nb.png, \n", r"line 3: the caption is empty, expected a caption"),
        ("list.csv", "image,label\na.png,dog\nb.png,\n", r"line 3: expected a class name or number as label"),
        ("list.csv", "image,class_index,name\na.png,0,dog\nb.png,1,\n", r"line 3: expected a name of label 1 in"),
        ("list.csv", "image,caption\n,one\n", r"line 2: expected the path of an image in image, got ''"),
        ("list.jsonl", '["a.png", "x"]\n', r"list.jsonl, line 1: expected an object such as .* got \['a.png', 'x'\]"),
        ("list.jsonl", '{"image": "a.png", "caption": "x"}\n{"image": "b.png"}\n', r"line 2: the caption is empty"),
        ("list.jsonl", '{"image": "a.png", "caption": []}\n', r"line 1: the caption is empty"),
        ("list.jsonl", '{"image": "a.png", "caption": 3}\n', r"line 1: expected a text or a list of texts .* got 3"),
        ("list.jsonl", '{"image": "a.png", "label": true}\n', r"line 1: expected a class name .* got True"),
        ("list.jsonl", '{"image": "a.png", "label": 1.5}\n', r"line 1: expected a class name .* got 1.5"),
        (
            "list.jsonl",
            '{"image": "a.png", "caption": "' + "x" * (1 << 24),
            r"line 1 has more than 16,777,216 characters",
        ),
        ("list.json", "[1]", r"list.json, item 1: expected an object"),
        ("list.json", "[", r"list.json is not JSON"),
    ],
)
def test_a_malformed_table_names_the_line(tmp_path: Path, name: str, text: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        load(write(tmp_path, text, name))


def test_a_column_groups_images_where_the_rows_of_each_agree_and_captions_where_not(tmp_path: Path) -> None:
    text = (
        "image,caption,region,language\na.png,one,north,en\na.png,eins,north,de\nb.png,two,south,en\nc.png,three,,en\n"
    )
    dataset = load(write(tmp_path, text), group="region,language")
    assert dataset.groups["region"] == Groups(["north", "south", ""])
    assert dataset.groups["language"] == Groups(["en", "de", "en", "en"], of_captions=True)
    assert dataset.fingerprint(["a", "b", "c"]) == load(tmp_path / "list.csv").fingerprint(["a", "b", "c"])


def test_columns_of_captions_are_groups_and_may_have_gaps(tmp_path: Path) -> None:
    rows = [
        {"image": "a.png", "en": "one", "de": "eins"},
        {"image": "b.png", "en": "two", "de": ""},
        {"image": "c.png", "en": "three"},
    ]
    dataset = load(write(tmp_path, "\n".join(map(json.dumps, rows)), "list.jsonl"), caption="en,de", group="caption")
    assert captions_of(dataset) == [("a.png", "one"), ("a.png", "eins"), ("b.png", "two"), ("c.png", "three")]
    assert dataset.groups == {"caption": Groups(["en", "de", "en", "en"], of_captions=True)}


def test_images_outside_of_the_tables_folder_are_counted(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    for name in ("data/in.png", "one.png", "two.png"):
        (tmp_path / name).write_bytes(b"image")
    rows = ["image,caption", "in.png,a", "../one.png,b", f"{tmp_path}/two.png,c", f"{tmp_path}/data/in.png,d"]
    (tmp_path / "data" / "table.csv").write_text("\n".join(rows) + "\n")
    dataset = manifest.load(tmp_path / "data" / "table.csv", DataOptions(), "table")
    assert "2 of 3 images are outside the folder of table.csv" in dataset.notes


def test_a_table_in_an_encoding_that_nothing_marks_is_to_be_saved_again(tmp_path: Path) -> None:
    path = write(tmp_path, "")
    path.write_bytes("image,caption\na.png,caf\xe9\n".encode("latin-1"))
    with pytest.raises(DataError, match=r"is not UTF-8 text: .*\. Save it as UTF-8$"):
        load(path)
    path.write_bytes("image,caption".encode("utf-16") + b"\n")
    with pytest.raises(DataError, match="is not UTF-16 text: "):
        load(path)
