"""ImageFolder layout: one folder a class, as torchvision, timm and most downloads have it."""

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from clipbench.data.dataset import DataOptions, Dataset
from clipbench.data.images import FileImage
from clipbench.data.prompts import CLASS_NAMES_FILE, check_renaming, names_for_prompts, read_class_names
from clipbench.errors import DataError, UnknownSplit, UsageError, option
from clipbench.untrusted.reading import is_file, is_int64

EXTENSIONS = frozenset(
    [
        ".jpg",
        ".jpeg",
        ".png",
        ".webp",
        ".bmp",
        ".gif",
        ".tif",
        ".tiff",
        ".ppm",
        ".pgm",
        ".pbm",
        ".pnm",
        ".avif",
        ".avifs",
        ".jp2",
        ".j2k",
        ".j2c",
        ".jpc",
        ".jpf",
        ".jpx",
        ".jfif",
        ".jpe",
    ]
)
"""Suffixes of image files, in upper or lower case."""
SPLITS = ("test", "val", "validation", "valid", "dev", "train")
"""Folder names that are splits, not classes, when their children are folders of images."""
OPTIONS = ("split", "class_names", "labels")


def load(root: Path, options: DataOptions, id: str) -> Dataset:
    """Return the images of a folder of class folders.

    Classes are in the order of their folders' names. If all names are integers, they are ordered as numbers
    (ImageNetV2's ``0`` to ``999``). A class is called what its folder is called, with spaces for underscores, unless a
    ``classnames.txt`` in the root says otherwise, one name a line in the order of the folders. Images deeper inside a
    class folder belong to that class. Hidden files (their names begin with a dot) are left out, and links are followed.
    """
    options.refuse_unknown(OPTIONS, id)
    root, split = _choose_split(root, options.options.get("split"))
    folders = [scan(folder) for folder in _class_folders(root)]
    _refuse_wrong_level(root, folders)
    broken = [path for folder in folders for path in folder.broken]
    if broken and not options.allow_partial:
        raise DataError(
            f"{len(broken)} links to images are broken, the first {broken[0]}: fix them, or add"
            f" {option('allow_partial', True)}"
        )
    names, notes = names_for_prompts([folder.path.name for folder in folders])
    if is_file(root / CLASS_NAMES_FILE):
        in_file = read_class_names(root / CLASS_NAMES_FILE)
        check_renaming(names, in_file, source=str(root / CLASS_NAMES_FILE))
        names, notes = in_file, ()
    if other_files := [*(path for folder in folders for path in folder.other_files), *_loose_images(root)]:
        first = other_files[0].relative_to(root)
        notes += (f"{len(other_files)} files that are not images of a class were left out, the first {first}",)
    if broken:
        notes += (f"{len(broken)} links to images are broken and were left out",)
    if empty := [folder.path.name for folder in folders if not folder.images]:
        notes += (f"{len(empty)} classes have no images, the first '{empty[0]}'",)
    paths, labels = list[Path](), list[int]()
    for label, folder in enumerate(folders):
        paths += folder.images
        labels += [label] * len(folder.images)
    return Dataset(
        id=id,
        split=split,
        images=[FileImage(path) for path in paths],
        image_ids=[path.relative_to(root).as_posix() for path in paths],
        labels=np.array(labels, np.int64),
        class_names=names,
        notes=notes,
    )


class _ClassFolder(NamedTuple):
    path: Path
    images: Sequence[Path]
    other_files: Sequence[Path]
    """Files that are not images."""
    broken: Sequence[Path]
    """Links without a target."""


def _choose_split(root: Path, split: str | None) -> tuple[Path, str | None]:
    candidates = [folder for folder in _folders(root) if folder.name.lower() in SPLITS]
    # A class may be called "test": splits hold folders of images, and no images of their own.
    splits = [folder.name for folder in candidates if _folders(folder) and not _loose_images(folder)]
    if split is not None:
        if not splits:
            raise UsageError(f"{root} has no split '{split}': its folders are classes")
        if split not in splits:
            raise UnknownSplit(root, split, splits)
        return root / split, split
    if splits:
        raise UsageError(
            f"{root} holds the splits {', '.join(splits)}: choose one, as {root / splits[0]} or split={splits[0]}"
        )
    return root, root.name if root.name in SPLITS else None


def _loose_images(folder: Path) -> list[Path]:
    files = sorted(folder / entry.name for entry in _visible_entries(folder) if _holds(entry.is_file))
    return [file for file in files if _is_image(file)]


def _class_folders(root: Path) -> list[Path]:
    folders = _folders(root)
    if not folders:
        raise DataError(
            f"{root} has no class folders: expected one folder per class with its images. For images with"
            " captions, give a manifest (.csv, .tsv, .jsonl)"
        )
    if all(folder.name.isdecimal() and is_int64(folder.name) for folder in folders):
        return sorted(folders, key=lambda folder: (int(folder.name), folder.name))
    return folders


def scan(folder: Path) -> _ClassFolder:
    """Return the images in a folder, at any depth, by name, and its broken links, without hidden files."""
    images, other_files, broken = list[Path](), list[Path](), list[Path]()
    for path, is_link in sorted((inner / entry.name, entry.is_symlink()) for inner, entry in _files(folder)):
        if is_link and not path.exists():
            broken.append(path)
        elif _is_image(path):
            images.append(path)
        else:
            other_files.append(path)
    return _ClassFolder(folder, images, other_files, broken)


def _files(folder: Path) -> Iterator[tuple[Path, os.DirEntry[str]]]:
    """Yield the visible files at any depth with their folders, each folder once: links to one come after all others."""
    walked = set()
    folders, links = [folder], list[Path]()
    while folders or links:
        folder = folders.pop() if folders else links.pop(0)
        status = os.stat(folder)
        if (status.st_dev, status.st_ino) in walked:
            continue
        walked.add((status.st_dev, status.st_ino))
        for entry in sorted(_visible_entries(folder), key=lambda entry: entry.name):
            if not _holds(entry.is_dir):
                yield folder, entry
            else:
                (links if entry.is_symlink() else folders).append(folder / entry.name)


def _holds(test: Callable[[], bool]) -> bool:
    """Return whether something is true of an entry, False for a link that leads to itself."""
    try:
        return test()
    except OSError:
        return False


def _visible_entries(folder: Path) -> Iterator[os.DirEntry[str]]:
    """Yield the entries of a folder that are not hidden, which know their type without another stat."""
    try:
        with os.scandir(folder) as entries:
            yield from [entry for entry in entries if not entry.name.startswith(".")]
    except OSError as error:
        raise DataError(f"cannot read folder {folder}: {error.strerror}") from error


def _folders(folder: Path) -> list[Path]:
    return sorted(folder / entry.name for entry in _visible_entries(folder) if _holds(entry.is_dir))


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in EXTENSIONS


def _refuse_wrong_level(root: Path, folders: Sequence[_ClassFolder]) -> None:
    """Raise DataError for folders of folders: classes are probably one level down, and one class would score 100 %."""
    filled = [folder for folder in folders if folder.images]
    nested = [folder for folder in filled if all(image.parent != folder.path for image in folder.images)]
    if not filled:
        names = ", ".join(folder.path.name for folder in folders[:3])
        raise DataError(f"{root} has no images in its folders ({names}, ...): expected one folder per class")
    if len(nested) == len(filled):
        inner = nested[0].images[0].relative_to(root).parts
        raise DataError(
            f"{root} holds folders of folders ({'/'.join(inner[:-1])}/...): expected images in its class"
            f" folders. Give the folder whose children are the classes, such as {Path(root, *inner[:-2])}"
        )
