"""Distractors: what is read as one, which are left out, and what is refused."""

from pathlib import Path

import pytest

from clipbench.data import DataOptions, Dataset
from clipbench.data.dataset_loading import load_data
from clipbench.data.distractors import drop_own_images
from clipbench.errors import ClipbenchError, DataError, UsageError
from tests.clipbench.data.conftest import ImageBytes
from tests.miniatures import tar_of


@pytest.fixture
def root(tmp_path: Path, image_bytes: ImageBytes) -> Path:
    """Two captioned images, and a folder with a copy of the second, two others, and one in a shard."""
    for name, number in {"a.png": 1, "b.png": 2, "more/copy.png": 2, "more/x/c.PNG": 3, "d.png": 4}.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(image_bytes(number))
    (tmp_path / "more" / "0.tar").write_bytes(tar_of({"d.png": image_bytes(4)}))
    for name in ("own", "empty", "linked"):
        (tmp_path / name).mkdir()
    (tmp_path / "own" / "a.png").symlink_to("../a.png")
    (tmp_path / "linked" / "a.png").symlink_to("nowhere.png")
    (tmp_path / "captions.csv").write_text("image,caption\na.png,one\nb.png,two\n")
    return tmp_path


def load(root: Path, distractors: str | None) -> Dataset:
    options = {} if distractors is None else {"distractors": str(root / distractors)}
    data = load_data(str(root / "captions.csv"), DataOptions(options=options))
    return drop_own_images(data, lambda images: [image.digest() for image in images])


def test_images_of_a_folder_and_of_its_shards_are_distractors_unless_they_are_the_datas_own(root: Path) -> None:
    data, plain = load(root, "more"), load(root, None)
    assert data.distractors is not None and data.distractors.image_ids == ["x/c.PNG", "0.tar:d"]
    assert data.notes == (
        "captions search 2 distractors too. Left out, because they are images of the data set: 1 of 3",
    )
    assert len(data) == len(plain) == 2
    assert [image.open().convert("L").getpixel((0, 0)) for image in data.gallery[2:]] == [3, 4]
    prints = [
        result
        for dataset in (data, plain, load(root, "more/0.tar"))
        for digests in [[image.digest() for image in dataset.gallery]]
        for result in (dataset.fingerprint(digests), dataset.unordered_fingerprint(digests))
    ]
    assert len(set(prints)) == 3, "other distractors, other numbers"


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("nowhere", UsageError, "no such file or folder: expected a folder of images or shards"),
        ("empty", UsageError, "no images found: expected image files at any depth, or .tar shards with images"),
        ("linked", DataError, "1 links to images are broken, the first"),
        ("captions.csv", UsageError, "a file that is not a .tar shard"),
        ("own", DataError, r"all of its distractors \(1\) are its own images"),
    ],
)
def test_what_gives_no_distractors_is_refused(root: Path, name: str, error: type[ClipbenchError], message: str) -> None:
    with pytest.raises(error, match=message):
        load(root, name)


def test_data_without_captions_take_none(root: Path) -> None:
    with pytest.raises(UsageError, match="has no captions that search images: remove the option"):
        load_data(str(root / "more"), DataOptions(options={"distractors": str(root / "more")}))
