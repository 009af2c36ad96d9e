"""ImageFolder: order, names and levels of class folders, and what must not pass as a class."""

import inspect
import sys
from pathlib import Path

import pytest

from clipbench.data.dataset import DataOptions, Dataset, check
from clipbench.data.readers import image_folder
from clipbench.errors import DataError, UsageError
from tests.clipbench.data.conftest import ImageBytes, labels_of


def write(root: Path, *names: str) -> Path:
    """Write files that need not be images to be listed as such."""
    for number, name in enumerate(names):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(bytes([number]))
    return root


def load(root: Path, *, allow_partial: bool = False, **options: str) -> Dataset:
    dataset = image_folder.load(root, DataOptions(allow_partial=allow_partial, options=options), "data")
    return check(dataset, allow_partial=allow_partial)


def test_classes_are_in_the_order_of_their_names_and_ids_are_paths_below_the_root(tmp_path: Path) -> None:
    dataset = load(write(tmp_path, "dog/b.jpg", "dog/a.png", "cat/z.jpg"))
    assert dataset.class_names == ("cat", "dog")
    assert dataset.image_ids == ["cat/z.jpg", "dog/a.png", "dog/b.jpg"]
    assert labels_of(dataset) == [0, 1, 1]
    assert dataset.notes == ()


def test_the_order_is_that_of_torchvision_for_ordinary_names(tmp_path: Path, image_bytes: ImageBytes) -> None:
    names = ["b/1.png", "b/deeper/2.png", "B/3.PNG", "a b/4.png", "_c/5.png", "a/10.png", "a/9.png"]
    write(tmp_path, *names)
    for name in names:
        (tmp_path / name).write_bytes(image_bytes(1))
    torchvision = pytest.importorskip("torchvision")
    reference = torchvision.datasets.ImageFolder(str(tmp_path))
    dataset = load(tmp_path)
    assert labels_of(dataset) == [label for _, label in reference.samples]
    assert [str(tmp_path / id) for id in dataset.image_ids] == [path for path, _ in reference.samples]


def test_a_file_of_class_names_in_the_root_overrides_the_folder_names(tmp_path: Path) -> None:
    write(tmp_path, "n01/1.jpg", "n02/1.jpg")
    (tmp_path / "classnames.txt").write_text("tench\ngreat_white shark\n")
    assert load(tmp_path).class_names == ("tench", "great_white shark")


def test_the_folder_names_in_another_order_are_refused(tmp_path: Path) -> None:
    write(tmp_path, "a/1.jpg", "b/1.jpg")
    (tmp_path / "classnames.txt").write_text("b\na\n")
    with pytest.raises(DataError, match=r"in another order \('b' first, expected 'a'\)"):
        load(tmp_path)


def test_extensions_count_in_any_case_and_other_files_are_noted(tmp_path: Path) -> None:
    dataset = load(
        write(
            tmp_path, "a/1.JPG", "a/2.Webp", "a/4.avif", "a/5.JP2", "a/notes.txt", "a/3.heic", "cover.png", "readme.md"
        )
    )
    assert dataset.image_ids == ["a/1.JPG", "a/2.Webp", "a/4.avif", "a/5.JP2"]
    assert dataset.notes == ("3 files that are not images of a class were left out, the first a/3.heic",)


def test_an_empty_class_folder_is_an_error_that_allow_partial_turns_into_a_note(tmp_path: Path) -> None:
    write(tmp_path, "a/1.jpg")
    (tmp_path / "b").mkdir()
    with pytest.raises(DataError, match="lacks samples of 1 of its 2 classes, the first 'b'"):
        load(tmp_path)
    dataset = load(tmp_path, allow_partial=True)
    assert dataset.class_names == ("a", "b")
    assert dataset.notes == ("1 classes have no images, the first 'b'",)


def test_a_folder_of_splits_asks_for_one_and_takes_it(tmp_path: Path) -> None:
    write(tmp_path, "test/cat/1.jpg", "test/dog/1.jpg", "train/cat/2.jpg", "train/dog/2.jpg")
    with pytest.raises(UsageError, match=r"holds the splits test, train: choose one, as .*/test or split=test"):
        load(tmp_path)
    dataset = load(tmp_path, split="test")
    assert (dataset.split, dataset.image_ids) == ("test", ["cat/1.jpg", "dog/1.jpg"])
    assert load(tmp_path / "test").split == "test"


def test_a_class_may_be_called_test(tmp_path: Path) -> None:
    assert load(write(tmp_path, "test/1.jpg", "exam/1.jpg")).class_names == ("exam", "test")


def test_one_level_too_high_is_an_error_and_no_class(tmp_path: Path) -> None:
    write(tmp_path, "images/cat/1.jpg", "images/dog/1.jpg")
    with pytest.raises(DataError, match=r"holds folders of folders \(images/cat/\.\.\.\).*such as .*/images$"):
        load(tmp_path)


def test_links_are_followed_and_loops_are_not(tmp_path: Path) -> None:
    write(tmp_path, "store/1.jpg", "data/a/2.jpg")
    (tmp_path / "data" / "b").symlink_to(tmp_path / "store")
    (tmp_path / "data" / "a" / "3.jpg").symlink_to(tmp_path / "store" / "1.jpg")
    (tmp_path / "data" / "a" / "loop").symlink_to(tmp_path / "data" / "a")
    assert load(tmp_path / "data").image_ids == ["a/2.jpg", "a/3.jpg", "b/1.jpg"]


def test_folders_that_link_to_each_other_are_walked_once(tmp_path: Path) -> None:
    names = [f"part{number}" for number in range(3)]
    write(tmp_path, "a/1.jpg", *(f"a/{name}/1.jpg" for name in names))
    for name in names:
        for other in names:
            (tmp_path / "a" / name / f"0{other}").symlink_to(tmp_path / "a" / other)
    assert load(tmp_path).image_ids == ["a/1.jpg", *(f"a/{name}/1.jpg" for name in names)]


def test_folders_may_be_nested_deeper_than_python_calls(tmp_path: Path) -> None:
    write(tmp_path, "a/1.jpg", f"a/{'x/' * 200}2.jpg")
    usual = sys.getrecursionlimit()
    sys.setrecursionlimit(len(inspect.stack()) + 100)
    try:
        assert len(load(tmp_path).images) == 2
    finally:
        sys.setrecursionlimit(usual)


def test_a_link_to_itself_is_broken(tmp_path: Path) -> None:
    write(tmp_path, "a/1.jpg")
    for name in ("loop", "a/loop.jpg"):
        (tmp_path / name).symlink_to(tmp_path / name)
    with pytest.raises(DataError, match=r"1 links to images are broken, the first .*loop\.jpg"):
        load(tmp_path)
    assert load(tmp_path, allow_partial=True).image_ids == ["a/1.jpg"]
