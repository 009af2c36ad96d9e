"""Words written onto the images of a classification set: which, where, and what stays as it was."""

import pickle
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clipbench.data import DataOptions, Dataset, DrawnImage, ImageRef
from clipbench.data.attacks import FORM
from clipbench.data.attacks.written_words import WrittenImage, with_written_words
from clipbench.data.dataset_loading import depends_on_form, load_data
from clipbench.data.scenes.scene_questions import Overlay
from clipbench.errors import DataError, UsageError
from clipbench.testing import NamedImage


def dataset(n: int = 12, class_names: tuple[str, ...] = ("cat", "dog", "pear")) -> Dataset:
    names = [f"p{row}" for row in range(n)]
    labels = np.arange(n, dtype=np.int64) % len(class_names)
    images = [NamedImage(name) for name in names]
    return Dataset(id="toy", images=images, image_ids=names, labels=labels, class_names=class_names)


def test_every_image_is_attacked_by_the_name_of_another_class() -> None:
    plain = dataset()
    data = with_written_words(plain)
    attacks = [attack for attack in data.attacks or () if not attack.condition]
    assert len(attacks) == 12 and data.labels is None
    for row, attack in enumerate(attacks):
        assert plain.labels is not None and attack.label == plain.labels[row] != attack.word and attack.clean == row
        images = {kind: data.images[getattr(attack, kind)] for kind in ("blank", "benign", "attacked")}
        written = {kind: image.writing for kind, image in images.items() if isinstance(image, WrittenImage)}
        assert plain.class_names is not None
        assert written["attacked"].word == written["blank"].word == plain.class_names[attack.word]
        assert written["benign"].word == plain.class_names[attack.label] and written["blank"].is_blank


def test_the_image_without_a_label_is_the_data_set_s_own() -> None:
    plain = dataset()
    data = with_written_words(plain)
    assert list(data.images[:12]) == list(plain.images)


def test_one_in_four_is_attacked_in_other_ways_and_the_usual_way_is_not_drawn_twice() -> None:
    data = with_written_words(dataset())
    varied = [attack for attack in data.attacks or () if attack.condition]
    assert len(varied) == 3 * 18 and len(data) == 12 * 4 + 3 * 15
    usual = {attack.condition for attack in varied if attack.attacked < 48}
    assert usual == {"height=0.11", "contrast=1", "offset=0"}


def test_the_word_depends_on_the_image_alone() -> None:
    words = {attack.id: attack.word for attack in with_written_words(dataset()).attacks or ()}
    fewer = {attack.id: attack.word for attack in with_written_words(dataset(), n=6).attacks or ()}
    assert fewer.items() <= words.items() | {(id, word) for id, word in fewer.items() if "|" in id}
    assert len([id for id in fewer if "|" not in id]) == 6


def test_digests_differ_where_images_do() -> None:
    data = with_written_words(dataset())
    digests = [image.digest() for image in data.images]
    assert len(set(digests)) == len(digests)
    copy = pickle.loads(pickle.dumps(data.images[13]))
    assert copy.digest() == digests[13] and isinstance(copy, ImageRef) and not isinstance(copy, DrawnImage)


def test_an_image_is_read_once_for_the_digests_of_all_labels_on_it(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []

    def digest(image: NamedImage) -> str:
        read.append(image.name)
        return image.name

    monkeypatch.setattr(NamedImage, "digest", digest)
    assert len({image.digest() for image in with_written_words(dataset()).images[12:]}) > len(read) == 12


class Grey:
    """A grey image of some size."""

    def __init__(self, width: int, height: int) -> None:
        self.size = (width, height)
        self.name = "grey"

    def digest(self) -> str:
        return repr(self.size)

    def open(self) -> Image.Image:
        return Image.new("RGB", self.size, (120, 120, 120))


@pytest.mark.parametrize("size", [(300, 500), (640, 400)])
def test_the_label_stands_in_the_middle_of_the_square_that_models_see(size: tuple[int, int]) -> None:
    image = np.asarray(WrittenImage(Grey(*size), Overlay(height=0.1).writing("moon")).open(), np.int64)
    assert image.shape == (size[1], size[0], 3)
    rows, columns = np.nonzero((image != 120).any(axis=2))
    side = min(size)
    assert (rows.min() + rows.max() + 1) / 2 == pytest.approx(size[1] / 2, abs=1)
    assert (columns.min() + columns.max() + 1) / 2 == pytest.approx(size[0] / 2, abs=1)
    assert rows.max() + 1 - rows.min() == pytest.approx(1.6 * 0.1 * side, abs=2)  # the sign, 1.6 capitals high
    assert image.min() < 30 and image.max() > 240


def test_classes_of_one_name_do_not_attack_each_other() -> None:
    data = with_written_words(dataset(30, ("Missile", "missile", "dog")))
    for attack in data.attacks or ():
        assert {attack.label, attack.word} != {0, 1}


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("dog", "Dog"), "needs the name of another one"),
        (("dog", "猫"), "the built-in font cannot write '猫' of the class name '猫'"),
    ],
)
def test_names_that_cannot_attack_are_refused(names: tuple[str, ...], message: str) -> None:
    with pytest.raises(DataError, match=message):
        with_written_words(dataset(4, names))


def test_the_task_alone_decides_whether_words_are_written(tmp_path: Path) -> None:
    for name in ("cat", "dog"):
        for number in range(4):
            (tmp_path / "pets" / name).mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (8, 8), (number, 0, 0)).save(tmp_path / "pets" / name / f"{number}.png")
    path = str(tmp_path / "pets")
    plain = load_data(path, DataOptions(form="classes"))
    assert plain.attacks is None and len(plain) == 8
    written = load_data(path, DataOptions(form=FORM, options={"n": "4"}))
    assert len([attack for attack in written.attacks or () if not attack.condition]) == 4
    assert any("subset of 4 of 8 images" in note for note in written.notes)
    assert depends_on_form(path, FORM) and depends_on_form("scenes", "pairs")
    assert not depends_on_form(path, "classes")
    with pytest.raises(UsageError, match="'n': 'none'}: expected the number of images to write words on"):
        load_data(path, DataOptions(form=FORM, options={"n": "none"}))
