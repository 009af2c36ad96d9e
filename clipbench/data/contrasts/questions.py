"""Contrasts whose images are still names, and the data set that they become once the images are found."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from clipbench.data.contrast_and_attack import Contrast
from clipbench.data.dataset import Dataset, check
from clipbench.data.decoding import reading_of
from clipbench.data.images import EncodedImage, Examined, ImageRef, content_digest, missing_note
from clipbench.errors import BadImage, DataError
from clipbench.untrusted.reading import is_file


class CropBox(NamedTuple):
    """A part of an image, in pixels from its upper left corner."""

    x: int
    y: int
    width: int
    height: int


class ImageKey(NamedTuple):
    """An image as a layout names it."""

    name: str
    """A file, relative to the folder of images; or, in a table that holds its images, a column."""
    box: CropBox | None = None
    """The part that is shown; None for the whole image."""

    @property
    def id(self) -> str:
        """The name, with the box where there is one."""
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
    """A part of an image, cut out before any preprocessing, as ARO does."""

    image: EncodedImage
    box: CropBox

    @property
    def name(self) -> str:
        return ImageKey(self.image.name, self.box).id

    def digest(self) -> str:
        """Return a hash of the image's content and the box."""
        return self.examine().digest

    def examine(self) -> Examined:
        """Return that hash, and how the image will be read."""
        data = self.image.read()
        return Examined(content_digest(data + repr(tuple(self.box)).encode()), reading_of(data))

    def open(self) -> Image.Image:
        """Return the part, RGB.

        Raises:
            BadImage: the file cannot be decoded, or the box holds nothing of the image.
        """
        whole = self.image.open()
        x, y, width, height = self.box
        left, top, right, bottom = max(0, x), max(0, y), min(whole.width, x + width), min(whole.height, y + height)
        if left >= right or top >= bottom:
            raise BadImage(self.name, f"the box is outside of the image, {whole.width} x {whole.height} pixels")
        return whole.crop((left, top, right, bottom))


Reader = Callable[[Mapping[str, object]], Question]
"""Makes the question of one row; raises KeyError, TypeError, ValueError or OverflowError where a field does not fit."""


def read_question(read: Reader, row: Mapping[str, object], place: str) -> Question:
    """Return the question of a row; ``subset`` and ``group`` fields of the row itself are read for every schema.

    Args:
        read: reader of the row's schema.
        row: its fields.
        place: its file and line, for messages.

    Raises:
        DataError: a field is missing, empty or of another kind.
    """
    try:
        question = read(row)
    except KeyError as error:
        raise DataError(f"{place}: the field {error} is missing") from error
    except (TypeError, ValueError, OverflowError) as error:
        raise DataError(f"{place}: {error}") from error
    subset, group = (str(row[field]) if row.get(field) else None for field in ("subset", "group"))
    return question._replace(subset=subset or question.subset, group=question.group or group)


def dataset_of(
    questions: Mapping[str, Question],
    images: Mapping[ImageKey, ImageRef],
    id: str,
    *,
    allow_partial: bool,
    places: str,
) -> Dataset:
    """Return the data set of the questions all of whose images were found.

    Args:
        questions: by item id.
        images: those that were found.
        id: of the data set.
        allow_partial: leave out the questions whose images are missing.
        places: the places that were searched for images, for the message.

    Raises:
        DataError: no question is valid.
        Unavailable: images are missing; with ``allow_partial``, only if no question is left.
    """
    valid = {item: question for item, question in questions.items() if question.is_valid}
    needed = dict.fromkeys(image for question in valid.values() for image in question.images)
    missing = [image for image in needed if image not in images]
    complete = {item: question for item, question in valid.items() if all(key in images for key in question.images)}
    notes = []
    if len(valid) < len(questions):
        notes.append(
            f"{len(questions) - len(valid):,} of {len(questions):,} items are not scored: nothing to choose, or not valid"
            " by their authors' rule"
        )
    if not valid:
        raise DataError(f"data set {id} has no item to score: {notes[0] if notes else 'expected one or more'}")
    scored = f"{len(complete):,} of {len(valid):,} items"
    advice = f"--allow-partial scores the {scored} whose images are there" if complete else "put the images there"
    note = missing_note(
        [image.name for image in missing],
        len(needed),
        id,
        is_allowed=allow_partial and bool(complete),
        advice=f"looked for in {places}: {advice}",
    )
    if note:
        notes.append(f"{note}: {scored} are scored")
    used = list(dict.fromkeys(image for question in complete.values() for image in question.images))
    row = {image: number for number, image in enumerate(used)}
    dataset = Dataset(
        id=id,
        images=[images[image] for image in used],
        image_ids=[image.id for image in used],
        contrasts=[_contrast(item, question, row) for item, question in complete.items()],
        notes=tuple(notes),
    )
    return check(dataset, allow_partial=allow_partial)


def image_files(questions: Iterable[Question], folders: Sequence[Path]) -> dict[ImageKey, Path]:
    """Return the images of the questions that one of the folders has, each from the first that has it."""
    files: dict[ImageKey, Path] = {}
    for key in dict.fromkeys(key for question in questions for key in question.images):
        path = next((folder / key.name for folder in folders if is_file(folder / key.name)), None)
        if path is not None:
            files[key] = path
    return files


def _contrast(item: str, question: Question, row: Mapping[ImageKey, int]) -> Contrast:
    return Contrast(
        id=item,
        subset=question.subset or "",
        images=tuple(row[image] for image in question.images),
        captions=question.captions,
        is_true=question.is_true,
        group=question.group,
    )
