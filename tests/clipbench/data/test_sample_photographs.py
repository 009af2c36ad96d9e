"""The sample photographs: they can be read but for the one that is broken, and every table says what is there."""

from pathlib import Path

import pytest
from PIL import Image

import clipbench as cb
from clipbench.data.sample_photographs import (
    BROKEN,
    LYING,
    PICTURES,
    QUERIES,
    TABLE,
    TABLE_OF_ALL,
    draw,
    write_sample,
)
from clipbench.errors import UsageError


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sample") / "photos"
    write_sample(folder)
    return folder


def test_the_table_feeds_classes_and_captions_in_three_languages(folder: Path) -> None:
    data = cb.load_data(folder / TABLE)
    assert data.class_names is not None and data.captions is not None
    assert len(data) == 23 and len(set(data.class_names)) == 6 and len(set(data.captions)) == 23
    assert all(image.open().size[0] > 90 for image in data.images)
    for language in ("de", "sw"):
        captions = cb.load_data(folder / TABLE, data_options={"caption": language}).captions
        assert captions is not None
        assert len(set(captions)) == 23 and not set(captions) & set(data.captions)


def test_one_is_broken_and_one_is_turned(folder: Path) -> None:
    dataset = cb.load_data(folder / TABLE_OF_ALL)
    faults = []
    for name, image in zip(dataset.image_ids, dataset.images, strict=True):
        try:
            image.open()
        except cb.ClipbenchError:
            faults.append(Path(name).stem)
    assert len(dataset) == 24 and faults == [BROKEN]
    with Image.open(folder / f"{LYING}.jpg") as lying:
        assert lying.size == (300, 300) and lying.getexif()[0x0112] == 6


def test_pictures_have_several_sizes_and_formats_and_are_the_same_everywhere(folder: Path, tmp_path: Path) -> None:
    formats, sizes = set(), set()
    for photograph in PICTURES:
        with Image.open(folder / photograph.file) as image:
            formats.add(image.format)
            sizes.add(image.size)
    assert formats == {"JPEG", "PNG", "WEBP", "GIF"} and len(sizes) == 6
    assert draw(PICTURES[0]).tobytes() == draw(PICTURES[0]).tobytes()
    write_sample(tmp_path / "again")
    assert (tmp_path / "again" / QUERIES).read_bytes() == (folder / QUERIES).read_bytes()


def test_a_folder_that_exists_is_left_as_it_is(folder: Path) -> None:
    before = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    with pytest.raises(UsageError, match="photos already exists: name a new folder"):
        write_sample(folder)
    assert {path.name: path.stat().st_mtime_ns for path in folder.iterdir()} == before
