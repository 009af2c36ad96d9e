"""Contrasts in files: each layout as its authors publish it, images in the usual places, and what is missing."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clipbench.data import Contrast, DataOptions, Dataset
from clipbench.data.dataset_loading import load_data
from clipbench.errors import BadImage, DataError, Unavailable
from clipbench.untrusted.text_tables import HEAD_CHARACTERS

PAIR = ((True, False),)
OWN = ((True, False), (False, True))


def put(folder: Path, *names: str, size: tuple[int, int] = (8, 6)) -> None:
    """Write images, each of another colour."""
    for number, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", size, (10 * number, 90, 20)).save(folder / name)


def write(file: Path, content: object) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    lines = "\n".join(json.dumps(row) for row in content) if file.suffix == ".jsonl" else json.dumps(content)  # type: ignore[attr-defined]
    file.write_text(lines, encoding="utf-8")
    return file


def read(path: Path, *, allow_partial: bool = False, **options: str) -> Dataset:
    return load_data(str(path), DataOptions(allow_partial=allow_partial, options=options))


def contrasts(dataset: Dataset) -> list[Contrast]:
    assert dataset.contrasts is not None
    return list(dataset.contrasts)


def test_sugarcrepe_is_a_file_a_subset_and_shares_its_images(tmp_path: Path) -> None:
    put(tmp_path / "val2017", "a.jpg", "b.jpg")
    items = {
        "3": {"filename": "a.jpg", "caption": "a red cup", "negative_caption": "a blue cup"},
        "7": {"filename": "b.jpg", "caption": "a cat", "negative_caption": "a dog"},
    }
    write(tmp_path / "data" / "replace_att.json", items)
    write(tmp_path / "data" / "swap_obj.json", {"0": {**items["3"], "caption": "a cup on a box"}})
    dataset = read(tmp_path)
    assert list(dataset.image_ids) == ["a.jpg", "b.jpg"]
    assert contrasts(dataset)[0] == Contrast("replace_att/3", "replace_att", (0,), ("a red cup", "a blue cup"), PAIR)
    assert [(contrast.id, contrast.images) for contrast in contrasts(dataset)[1:]] == [
        ("replace_att/7", (1,)),
        ("swap_obj/0", (0,)),
    ]
    assert [contrast.subset for contrast in contrasts(read(tmp_path, subset="swap_obj"))] == ["swap_obj"]
    assert [contrast.id for contrast in contrasts(read(tmp_path / "data" / "swap_obj.json"))] == ["swap_obj/0"]


def test_sugarcrepe_plus_plus_has_two_true_captions(tmp_path: Path) -> None:
    put(tmp_path / "images", "a.jpg")
    row = {"id": 4, "filename": "a.jpg", "caption": "p1", "caption2": "p2", "negative_caption": "n"}
    write(tmp_path / "scpp" / "swap_att.json", [row])  # the images lie beside its folder
    (result,) = contrasts(read(tmp_path / "scpp"))
    assert result == Contrast("swap_att/4", "swap_att", (0,), ("p1", "p2", "n"), ((True, True, False),))


def test_nlvr_has_one_sentence_for_several_images_and_passes_over_what_is_no_choice(tmp_path: Path) -> None:
    put(tmp_path, "0.png", "1.png", "2.png")
    rows = [
        {
            "id": "9",
            "sentence": "two boxes",
            "images": [{"path": "0.png", "label": True}, {"path": "1.png", "label": "false"}],
        },
        {"id": "10", "sentence": "a box", "images": [{"path": "2.png", "label": True}]},
    ]
    dataset = read(write(tmp_path / "manifest.jsonl", rows).parent)
    assert contrasts(dataset) == [Contrast("9", "", (0, 1), ("two boxes",), ((True,), (False,)))]
    assert dataset.notes == (
        "1 of 2 items are not scored: they have no right or no wrong answer, or are invalid by their authors' rule",
    )


def test_winogavil_asks_for_the_images_of_a_cue(tmp_path: Path) -> None:
    names = ["sea", "sky", "Zoo", "pen", "ice"]
    put(tmp_path / "winogavil_images", *(f"{name}.jpg" for name in names))
    table = tmp_path / "winogavil_dataset.csv"
    table.write_text(
        'candidates,cue,associations,ID\n"[""sea"", ""sky"", ""Zoo"", ""pen"", ""ice""]",Azure,"[""sky"", ""sea""]",7\n'
    )
    truth = ((True,), (True,), (False,), (False,), (False,))
    assert contrasts(read(tmp_path)) == [Contrast("5-6/7", "5-6", (0, 1, 2, 3, 4), ("An azure",), truth)]


@pytest.mark.parametrize("ends", [("0", "1"), ("1", "2")])
def test_winoground_and_colorswap_have_two_images_and_two_captions(tmp_path: Path, ends: tuple[str, str]) -> None:
    put(tmp_path, "a.png", "b.png")
    first, second = ends
    row = {f"image_{first}": "a.png", f"image_{second}": "b.png", f"caption_{first}": "x y", f"caption_{second}": "y x"}
    (result,) = contrasts(read(write(tmp_path / "test.json", [row])))
    assert result == Contrast("0", "", (0, 1), ("x y", "y x"), OWN)


def test_valse_keeps_what_two_of_three_annotators_agreed_on(tmp_path: Path) -> None:
    put(tmp_path / "images", "a.jpg", "b.jpg")
    items = {
        f"item_{votes}": {
            "caption": f"there are {votes}",
            "foil": "there are none",
            "image_file": "a.jpg" if votes > 1 else "gone.jpg",
            "mturk": {"foil": 3 - votes, "caption": votes, "other": 0},
        }
        for votes in (1, 2, 3)
    }
    write(tmp_path / "existence.json", items)
    dataset = read(tmp_path)  # the image of an item that is not scored need not be there
    assert [contrast.id for contrast in contrasts(dataset)] == ["existence/item_2", "existence/item_3"]
    assert "1 of 3 items are not scored" in dataset.notes[0]


def test_aro_cuts_out_the_box_before_anything_else(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    pixels = np.arange(12 * 10 * 3, dtype=np.uint8).reshape(10, 12, 3)
    Image.fromarray(pixels).save(tmp_path / "images" / "1.png")
    box = {"bbox_x": 2, "bbox_y": 3, "bbox_w": 4, "bbox_h": 5}
    captions = {"true_caption": "a man on a horse", "false_caption": "a horse on a man"}
    row = {"image_path": "1.png", **box, **captions, "relation_name": "on"}
    write(tmp_path / "visual_genome_relation.json", [row, {**row, "bbox_x": 3}])
    attributes = {**row, "relation_name": None, "attributes": ["red", "old"]}
    write(tmp_path / "visual_genome_attribution.json", [attributes])
    dataset = read(tmp_path)
    by_id = {contrast.id: contrast for contrast in contrasts(dataset)}
    assert by_id["vg_relation/0"].group == "on" and by_id["vg_attribution/0"].group == "red_old"
    assert by_id["vg_relation/0"].images == by_id["vg_attribution/0"].images != by_id["vg_relation/1"].images
    image = dataset.images[by_id["vg_relation/0"].images[0]]
    assert np.array_equal(np.asarray(image.open()), pixels[3:8, 2:6])
    assert len({contrast.digest() for contrast in dataset.images}) == len(dataset.images) == 2


def test_a_box_outside_of_its_image_is_a_bad_image(tmp_path: Path) -> None:
    put(tmp_path, "1.png")
    row = {"image_path": "1.png", "bbox_x": 8, "bbox_y": 0, "bbox_w": 4, "bbox_h": 4}
    file = write(tmp_path / "a.json", [{**row, "true_caption": "a", "false_caption": "b"}])
    with pytest.raises(BadImage, match=r"1\.png\[8,0,4,4\]: the box is outside the image, 8 x 6 pixels"):
        read(file).images[0].open()


def test_a_manifest_of_ones_own(tmp_path: Path) -> None:
    put(tmp_path, "a.png", "b.png")
    rows = [
        {"id": "x", "subset": "near", "group": "g", "image": "a.png", "true": "yes", "false": ["no", "never"]},
        {"images": ["a.png", "b.png"], "captions": ["one", "two"], "truth": [[1, 0], [0, 1]]},
    ]
    assert contrasts(read(write(tmp_path / "contrasts.jsonl", rows[:1]))) == [
        Contrast("near/x", "near", (0,), ("yes", "no", "never"), ((True, False, False),), "g")
    ]
    assert contrasts(read(write(tmp_path / "matrix.jsonl", rows[1:])))[0][2:5] == ((0, 1), ("one", "two"), OWN)
    for name in ("other.json", ".clipbench.json"):  # the second is the record of data get
        write(tmp_path / name, {"revision": "abc"})
    assert read(tmp_path).notes == ("not read, because they hold no contrasts: other.json",)


def test_truth_in_words_is_not_taken_for_true(tmp_path: Path) -> None:
    put(tmp_path, "a.png")
    row = {"image": "a.png", "captions": ["one", "two"], "truth": [["false", "True"]]}
    assert contrasts(read(write(tmp_path / "x.jsonl", [row])))[0].is_true == ((False, True),)
    row["truth"] = [["no", "yes"]]
    with pytest.raises(DataError, match="line 1: expected true or false, got 'no'"):
        read(write(tmp_path / "x.jsonl", [row]))


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"filename": "a.png", "caption": "", "negative_caption": "b"}, "item '0': expected a text, got ''"),
        ({"filename": 3, "caption": "a", "negative_caption": "b"}, "item '0': expected a text, got 3"),
    ],
)
def test_a_bad_field_is_named_by_its_place(tmp_path: Path, row: dict[str, object], message: str) -> None:
    put(tmp_path, "a.png")
    with pytest.raises(DataError, match=message):
        read(write(tmp_path / "swap.json", {"0": row}))


NEGBENCH = {
    "image_path": "a.jpg", "correct_answer": 0, "correct_answer_template": "hybrid", **{f"caption_{n}": f"c{n}" for n in range(4)}
}  # fmt: skip
SPEC = {"query": "a.jpg", "keys": ["one", "two"], "label": 0}
CREPE = {"image_id": 1, "caption": "a", "hard_negs": "['b']", "x": 0, "y": 0, "width": 4, "height": 4}
SVO = {"sentence": "a", "pos_image_id": 1, "neg_image_id": 2, "subj_neg": True, "verb_neg": False, "obj_neg": False}
ARO = {"image_path": "a.jpg", "true_caption": "a", "false_caption": "b", "bbox_x": 0, "bbox_y": 0, "bbox_w": 4}


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({**NEGBENCH, "correct_answer": "b"}, "correct_answer is 'b', expected an integer"),
        ({**NEGBENCH, "correct_answer": 4}, "correct_answer is 4, expected a number from 0 to 3"),
        ({**SPEC, "label": None}, "label is None, expected an integer"),
        ({**SPEC, "label": -1}, "label is -1, expected a number from 0 to 1"),
        ({**CREPE, "image_id": 1.5}, "image_id is 1.5, expected an integer"),
        ({**CREPE, "x": "left"}, "x is 'left', expected an integer"),
        ({**SVO, "neg_image_id": "x"}, "neg_image_id is 'x', expected an integer"),
        (ARO, "h is None, expected an integer"),
    ],
)
def test_a_bad_number_is_named_by_its_field(tmp_path: Path, row: dict[str, object], message: str) -> None:
    with pytest.raises(DataError, match=f"line 1: {message}$"):
        read(write(tmp_path / "mine.jsonl", [row]))


def test_rows_of_another_kind_are_refused(tmp_path: Path) -> None:
    put(tmp_path, "a.png")
    row = {"image": "a.png", "caption": "a", "negative_caption": "b"}
    file = write(tmp_path / "s.jsonl", [row, {"image": "a.png", "caption": "a"}])
    with pytest.raises(
        DataError, match=r"line 2: expected the fields of SugarCrepe, .* \(caption, .*, got image, caption"
    ):
        read(file)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"image": "a.png", "true": ["a"], "false": []}, "has only true or only false pairs"),
        ({"image": "a.png", "captions": ["a", "b"], "truth": [[1]]}, "has a truth matrix of the wrong size"),
        ({"sentence": "s", "images": [{"path": "a.png"}]}, "the field 'label' is missing"),
        (
            {"image": "a.png", "true_caption": "a", "false_caption": "b", "bbox": dict.fromkeys("xywh", 1e999)},
            "x is inf, expected an integer",
        ),
        ({"sentence": "s", "images": [{"path": "a.png", "label": "perhaps"}]}, "expected true or false, got 'perhaps'"),
    ],
)
def test_what_is_no_contrast_is_refused(tmp_path: Path, row: dict[str, object], message: str) -> None:
    put(tmp_path, "a.png")
    with pytest.raises(DataError, match=message):
        read(write(tmp_path / "manifest.jsonl", [row]))


def test_missing_images_make_data_unavailable_and_can_be_left_out(tmp_path: Path) -> None:
    put(tmp_path / "images", "a.png")
    items = {
        str(k): {"filename": name, "caption": "a", "negative_caption": "b"}
        for k, name in enumerate(["a.png", "b.png", "c.png", "d.png", "e.png"])
    }
    write(tmp_path / "data" / "swap_att.json", items)
    with pytest.raises(Unavailable, match=r"4 of 5 images of .* are missing: b\.png, c\.png, d\.png, \.\.\. \(looked"):
        read(tmp_path)
    dataset = read(tmp_path, allow_partial=True)
    note = "4 of 5 images are missing and were left out: 1 of 5 items are scored"
    assert len(contrasts(dataset)) == 1 and dataset.notes == (note,)
    (tmp_path / "images" / "a.png").unlink()
    with pytest.raises(Unavailable, match=r"5 of 5 images .*: put the images there"):
        read(tmp_path, allow_partial=True)


def test_a_row_far_down_that_is_no_utf_8_is_one_line(tmp_path: Path) -> None:
    row = json.dumps({"image": "1.jpg", "true": "a dog chases a cat", "false": ["a cat chases a dog"]}) + "\n"
    file = tmp_path / "verbs.jsonl"
    file.write_bytes(row.encode() * 2_000 + row.encode("utf-8").replace(b"dog", b"d\xf6g"))
    assert file.stat().st_size > 2 * HEAD_CHARACTERS
    with pytest.raises(DataError, match=r"verbs\.jsonl is not UTF-8 text: invalid start byte at byte"):
        load_data(str(file), DataOptions())
