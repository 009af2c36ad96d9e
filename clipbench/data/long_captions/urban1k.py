"""Urban-1k (Zhang et al., Long-CLIP, ECCV 2024): 1,000 street images with a caption of about 107 words each.

image/1.jpg, image/2.jpg, ...
caption/1.txt, caption/2.txt, ...    the first line is the caption, as the paper's evaluation reads it
"""

from pathlib import Path

from clipbench.data.dataset import DataOptions, Dataset
from clipbench.data.long_captions.pairs import CaptionedFile, dataset_of, image_folder, read_text
from clipbench.errors import DataError

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")


def fits(path: Path) -> bool:
    """Return whether a folder has images in ``image`` and texts in ``caption``."""
    return (path / "image").is_dir() and any((path / "caption").glob("*.txt"))


def load(path: Path, options: DataOptions, id: str) -> Dataset:
    """Return the images with the first line of their captions, in the order of their numbers.

    Raises:
        Unavailable: a caption's image is missing.
        DataError: an image's caption is missing, or the first line of a caption is blank.
    """
    options.refuse_unknown(("images",), id)
    folder = image_folder(options, [path / "image"])
    images = {file.stem: file for file in folder.iterdir() if file.suffix.lower() in SUFFIXES}
    texts = {file.stem: file for file in (path / "caption").glob("*.txt")}
    uncaptioned = sorted(images.keys() - texts.keys(), key=_numeric)
    if uncaptioned:
        raise DataError(
            f"{len(uncaptioned)} images of {id} have no caption, the first {images[uncaptioned[0]]}:"
            f" expected {path / 'caption' / uncaptioned[0]}.txt"
        )
    pairs = [
        CaptionedFile(stem, images.get(stem, folder / f"{stem}.jpg"), _first_line(texts[stem]))
        for stem in sorted(texts, key=_numeric)
    ]
    return dataset_of(pairs, options, id)


def _first_line(file: Path) -> str:
    line = read_text(file).partition("\n")[0].strip()
    if not line:
        raise DataError(f"the first line of {file} is blank: expected the caption there")
    return line


def _numeric(stem: str) -> tuple[int, str]:
    """Return a key that sorts "2" before "10"."""
    return len(stem), stem
