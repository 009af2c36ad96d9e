"""From questions about named images to a data set: which images are there, and which questions can be asked."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from clipbench.data.contrast_and_attack import Contrast
from clipbench.data.dataset import Dataset, check
from clipbench.data.images import FileImage, ImageRef, content_digest
from clipbench.errors import BadImage, DataError, Unavailable

MIN_VALSE_VOTES = 2
"""Of three annotators, how many must have chosen the caption for an item of VALSE to be valid."""
SHOWN_MISSING = 3


class Box(NamedTuple):
    """A part of an image, in pixels from its upper left corner."""

    x: int
    y: int
    width: int
    height: int


class ImageKey(NamedTuple):
    """An image as a layout names it."""

    name: str
    """A file, relative to wherever the images lie; or, in a table that holds its images, a column."""
    box: Box | None = None
    """What of it is shown; None for all."""

    @property
    def id(self) -> str:
        """Return the name, with the box where there is one."""
        return self.name if self.box is None else f"{self.name}[{','.join(str(side) for side in self.box)}]"


class Question(NamedTuple):
    """A contrast whose images are still names."""

    images: tuple[ImageKey, ...]
    captions: tuple[str, ...]
    is_true: tuple[tuple[bool, ...], ...]
    """A row for each image, a column for each caption."""
    group: str | None = None
    subset: str | None = None
    id: str | None = None
    is_valid: bool = True
    """False for an item that its authors do not score."""


@dataclass(frozen=True)
class CroppedImage:
    """A part of an image file, cut out before any preprocessing, as ARO does."""

    path: Path
    box: Box

    @property
    def name(self) -> str:
        return ImageKey(str(self.path), self.box).id

    def digest(self) -> str:
        """Return a hash of the file's content and the box."""
        return content_digest(FileImage(self.path).read() + repr(tuple(self.box)).encode())

    def open(self) -> Image.Image:
        """Return the part, RGB.

        Raises:
            BadImage: the file cannot be decoded, or the box holds nothing of the image.
        """
        whole = FileImage(self.path).open()
        x, y, width, height = self.box
        left, top, right, bottom = max(0, x), max(0, y), min(whole.width, x + width), min(whole.height, y + height)
        if left >= right or top >= bottom:
            raise BadImage(self.name, f"the box is outside of the image, {whole.width} x {whole.height} pixels")
        return whole.crop((left, top, right, bottom))


Reader = Callable[[Mapping[str, object]], Question]
"""From the fields of one row to its question; raises KeyError, TypeError or ValueError where they do not fit."""


def read_question(read: Reader, row: Mapping[str, object], place: str) -> Question:
    """Return the question of a row, in the ``subset`` and ``group`` that the row itself names, if any.

    Args:
        place: of the row, for the message.

    Raises:
        DataError: a field is missing, empty or of another kind.
    """
    try:
        question = read(row)
    except KeyError as error:
        raise DataError(f"{place}: the field {error} is missing") from error
    except (TypeError, ValueError) as error:
        raise DataError(f"{place}: {error}") from error
    subset, group = (str(row[field]) if row.get(field) else None for field in ("subset", "group"))
    return question._replace(subset=subset or question.subset, group=question.group or group)


class Asked(NamedTuple):
    """Questions with their ids, and the images that they can be asked of."""

    questions: Mapping[str, Question]
    images: Mapping[ImageKey, ImageRef]
    """Images that are there."""


def dataset_of(
    asked: Asked,
    id: str,
    *,
    allow_partial: bool,
    where: str,
    split: str | None = None,
    revision: str | None = None,
) -> Dataset:
    """Return the data set of the questions all of whose images are there.

    Args:
        where: the places that were looked in for images, for the message.

    Raises:
        DataError: no question is valid.
        Unavailable: images are missing; with ``allow_partial``, only if no question is left.
    """
    valid = {name: each for name, each in asked.questions.items() if each.is_valid}
    wanted = dict.fromkeys(image for each in valid.values() for image in each.images)
    missing = [image for image in wanted if image not in asked.images]
    kept = {name: each for name, each in valid.items() if all(image in asked.images for image in each.images)}
    notes = _notes(n_invalid=len(asked.questions) - len(valid), n_items=len(asked.questions))
    if not valid:
        raise DataError(f"data set {id} has no item to score: {notes[0] if notes else 'expected one or more'}")
    if missing:
        said = f"{len(wanted) - len(missing):,} of {len(wanted):,} images"
        if not allow_partial or not kept:
            raise Unavailable(_lacking(id, said, missing, where=where, n_kept=len(kept), n_items=len(valid)))
        notes.append(f"{said} are there: {len(kept):,} of {len(valid):,} items are scored")
    used = list(dict.fromkeys(image for each in kept.values() for image in each.images))
    row = {image: number for number, image in enumerate(used)}
    dataset = Dataset(
        id=id,
        split=split,
        revision=revision,
        images=[asked.images[image] for image in used],
        image_ids=[image.id for image in used],
        contrasts=[_contrast(name, each, row) for name, each in kept.items()],
        notes=tuple(notes),
    )
    return check(dataset, allow_partial=allow_partial)


def file_images(questions: Iterable[Question], folders: Sequence[Path]) -> dict[ImageKey, ImageRef]:
    """Return the images that lie in one of the folders, the first that has each."""
    found: dict[ImageKey, ImageRef] = {}
    for image in dict.fromkeys(image for each in questions for image in each.images):
        path = next((folder / image.name for folder in folders if (folder / image.name).is_file()), None)
        if path is not None:
            found[image] = FileImage(path) if image.box is None else CroppedImage(path, image.box)
    return found


def _contrast(name: str, question: Question, row: Mapping[ImageKey, int]) -> Contrast:
    return Contrast(
        id=name,
        subset=question.subset or "",
        images=tuple(row[image] for image in question.images),
        captions=question.captions,
        is_true=question.is_true,
        group=question.group,
    )


def _notes(*, n_invalid: int, n_items: int) -> list[str]:
    if not n_invalid:
        return []
    return [
        f"{n_invalid:,} of {n_items:,} items are not scored: nothing to choose, or not valid by their authors' rule"
    ]


def _lacking(id: str, said: str, missing: Sequence[ImageKey], *, where: str, n_kept: int, n_items: int) -> str:
    first = ", ".join(image.name for image in missing[:SHOWN_MISSING])
    first += ", ..." if len(missing) > SHOWN_MISSING else ""
    advice = f"--allow-partial scores the {n_kept:,} of {n_items:,} items whose images are there"
    if not n_kept:
        advice = "put the images there"
    return f"data set {id} has {said}; missing: {first} ({len(missing):,} in all), looked for in {where}: {advice}"
