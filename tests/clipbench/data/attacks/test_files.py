"""Typographic attacks on disk: what each layout says, what is compared with what, and what is refused."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from clipbench.data import DataOptions, Dataset, random_subset
from clipbench.data.attacks import FORM
from clipbench.data.dataset_loading import load_data
from clipbench.errors import DataError


def draw(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8)).save(path)


def table(folder: Path, rows: list[dict[str, str]], *, name: str = "manifest.csv", files: bool = True) -> Path:
    folder.mkdir(exist_ok=True)
    with (folder / name).open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    for row in rows if files else ():
        draw(folder / row["path"])
    return folder


def row(path: str, object: str, text: str, attack: str, **more: str) -> dict[str, str]:
    return {"path": path, "object": object, "text": text, "attack": attack, "set": "one", "note": "", **more}


ROWS = [
    row("a.png", "apple", "", "0"),
    row("b.png", "apple", "", "0", note="blank paper"),
    row("c.png", "apple", "Apple", "0"),
    row("d.png", "apple", "iPod", "1"),
    row("e.png", "mug", "apple", "1"),
]


def load(path: Path, **options: Any) -> Dataset:
    return load_data(str(path), DataOptions(form=FORM, **options))


def test_a_manifest_says_what_is_shown_and_what_is_written(tmp_path: Path) -> None:
    data = load(table(tmp_path / "toy", ROWS))
    assert data.class_names == ("apple", "iPod", "mug") and data.labels is None and data.attacks is not None
    ipod, apple = data.attacks
    assert (ipod.clean, ipod.blank, ipod.benign, ipod.attacked) == (0, 1, 2, 3)
    assert (ipod.label, ipod.word, ipod.object, ipod.condition) == (0, 1, "apple", "")
    assert (apple.clean, apple.blank, apple.benign, apple.attacked, apple.label, apple.word) == (None,) * 3 + (4, 2, 0)
    assert load(tmp_path / "toy" / "manifest.csv").attacks == data.attacks


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (row("x.png", "apple", "apple", "1"), "attack is 1 and 'apple' is written on the apple: expected the name of"),
        (row("x.png", "apple", "", "1"), "attack is 1 and '' is written on the apple"),
        (row("x.png", "apple", "pear", "0"), "attack is 0 and 'pear' is written on the apple: expected 'apple' or"),
        (row("x.png", "apple", "pear", "yes"), "line 7: attack is 'yes', expected 0 or 1"),
        (row("x.png", "", "pear", "1"), "line 7: the object is empty"),
        (row("x.png", "apple", "", "0"), "'a.png' and 'x.png' are both clean images of one/apple"),
    ],
)
def test_a_row_that_contradicts_itself_or_another_is_refused(tmp_path: Path, bad: dict[str, str], message: str) -> None:
    with pytest.raises(DataError, match=message):
        load(table(tmp_path / "toy", [*ROWS, bad]))


def test_whoever_names_a_column_gets_labels_or_captions(tmp_path: Path) -> None:
    folder = table(tmp_path / "toy", ROWS)
    data = load_data(str(folder), DataOptions(form="classes", options={"label": "object"}))
    assert data.attacks is None and data.class_names == ("apple", "mug")


def test_file_names_say_what_is_shown_and_what_is_written(tmp_path: Path) -> None:
    for name in ("label=dog_text=alarm_clock.png", "label=alarm_clock_text=dog.jpg", "label=dog_text=dog.png"):
        draw(tmp_path / "rta" / "images" / name)
    data = load(tmp_path / "rta")
    assert data.class_names == ("alarm clock", "dog") and data.attacks is not None
    assert [(attack.label, attack.word, attack.benign) for attack in data.attacks] == [(0, 1, None), (1, 0, 2)]
    draw(tmp_path / "rta" / "images" / "readme.png")
    with pytest.raises(DataError, match=r"readme\.png: expected a name such as label=dog_text=cat\.png"):
        load(tmp_path / "rta")


def test_annotations_say_what_is_shown_and_what_is_written(tmp_path: Path) -> None:
    entries = {
        "IMG_1.JPG": {"true object": "mug", "typographic attack label": ""},
        "IMG_2.JPG": {"true object": "mug", "typographic attack label": "phone"},
        "IMG_3.JPG": {"true object": "phone", "typographic attack label": "mug"},
    }
    for name in entries:
        draw(tmp_path / "disentangling" / "images" / name)
    (tmp_path / "disentangling" / "annotations.json").write_text(json.dumps(entries))
    data = load(tmp_path / "disentangling")
    assert data.templates == ("a photo of {c}.",) and data.class_names == ("mug", "phone")
    assert [(attack.clean, attack.attacked) for attack in data.attacks or ()] == [(0, 1), (None, 2)]
    (tmp_path / "disentangling" / "annotations.json").write_text('{"IMG_1.JPG": {"true object": ""}}')
    with pytest.raises(DataError, match=r"'IMG_1\.JPG' has the true object '', expected its name"):
        load(tmp_path / "disentangling")


SCAM = [
    (kind, id, shown, word)
    for kind in ("NoSCAM", "SCAM", "SynthSCAM")
    for id, shown, word in (("1", "mug", "taxi"), ("2", "apple", "mug"), ("3", "apple", "mug"))
]


@pytest.mark.parametrize("ids", ["joining", "running"])
@pytest.mark.usefixtures("library_cache")
def test_scam_is_read_from_parquet_with_its_own_prompts(tmp_path: Path, ids: str) -> None:
    import datasets

    draw(tmp_path / "one.png")
    numbers = [str(number) for number in range(len(SCAM))]
    rows = {
        "image": [str(tmp_path / "one.png")] * len(SCAM),
        "type": [kind for kind, *_ in SCAM],
        "id": [id for _, id, *_ in SCAM] if ids == "joining" else numbers,
        "object_label": [shown for *_, shown, _ in SCAM],
        "attack_word": [word for *_, word in SCAM],
    }
    folder = tmp_path / "scam"
    folder.mkdir()
    datasets.Dataset.from_dict(rows).cast_column("image", datasets.Image()).to_parquet(folder / "train.parquet")
    data = load(folder)
    assert data.class_names == ("apple", "mug", "taxi") and data.templates is not None and len(data.templates) == 32
    assert data.templates[0] == "a bad photo of a {c}." and data.split == "train"
    result = [(attack.blank, attack.attacked, attack.condition, attack.object) for attack in data.attacks or ()]
    assert result[:3] == [(0, 3, "", "mug"), (1, 4, "", "apple"), (2, 5, "", "apple")]
    assert result[3:] == [(0, 6, "synthetic", "mug"), (1, 7, "synthetic", "apple"), (2, 8, "synthetic", "apple")]


def test_a_limit_keeps_the_other_ways_of_the_attacks_that_it_keeps(tmp_path: Path) -> None:
    rows = [
        {"file_name": f"{kind}{id}.png", "type": kind, "id": id, "object_label": f"thing {id}", "attack_word": word}
        for kind, id, _, word in SCAM
    ]
    for row in rows:
        draw(tmp_path / "scam" / row["file_name"])
    cut = random_subset(
        load(table(tmp_path / "scam", rows, name="metadata.csv", files=False)), 2, np.random.default_rng(0)
    )
    conditions = [row.condition for row in cut.attacks or ()]
    assert conditions == ["", "", "synthetic", "synthetic"] and len(cut) == 6
    assert {row.object for row in (cut.attacks or ())[:2]} == {row.object for row in (cut.attacks or ())[2:]}
