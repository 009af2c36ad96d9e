"""The fields in which each benchmark writes a contrast, which distinguish the schemas, and the data set of the
contrasts.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from pathlib import PurePosixPath
from types import MappingProxyType
from typing import NamedTuple

from PIL import Image

from clipbench.data.dataset import Dataset
from clipbench.data.images import EncodedImage, Examined, content_digest, missing_note, reading_of
from clipbench.data.questions import Contrast
from clipbench.errors import BadImage, DataError, option
from clipbench.untrusted.reading import decode_json, read_written_list, shown


class ImageKey(NamedTuple):
    """An image as a layout names it."""

    name: str
    """A file, relative to the folder of images, or a column in a table that holds its images."""
    box: tuple[int, int, int, int] | None = None
    """The part that is shown, in pixels: left, top, width and height, or None for the whole image."""

    @property
    def id(self) -> str:
        """The name, with the box where there is one."""
        if self.box is None:
            return self.name
        sides = ",".join(str(side) for side in self.box)
        return f"{self.name}[{sides}]"


class ParsedContrast(NamedTuple):
    """A contrast whose images are still names."""

    images: tuple[ImageKey, ...]
    captions: tuple[str, ...]
    is_true: tuple[tuple[bool, ...], ...]
    """A row for each image, a column for each caption."""
    group: str | None = None
    subset: str | None = None
    is_valid: bool = True
    """False for an item that its authors do not score."""


@dataclass(frozen=True)
class CroppedImage:
    """A part of an image, cut out before any preprocessing, as ARO does."""

    image: EncodedImage
    box: tuple[int, int, int, int]

    @property
    def name(self) -> str:
        return ImageKey(self.image.name, self.box).id

    def digest(self) -> str:
        return self.examine().digest

    def examine(self) -> Examined:
        data = self.image.read()
        return Examined(content_digest(data + repr(self.box).encode()), reading_of(data))

    def open(self) -> Image.Image:
        """Return the part as RGB, or raise BadImage if the image is damaged or the box is outside it."""
        image = self.image.open()
        x, y, width, height = self.box
        left, top = max(0, x), max(0, y)
        right, bottom = min(image.width, x + width), min(image.height, y + height)
        if left >= right or top >= bottom:
            raise BadImage(self.name, f"the box is outside the image, {image.width} x {image.height} pixels")
        return image.crop((left, top, right, bottom))


Images = Mapping[ImageKey, EncodedImage]
Fields = Mapping[str, object]
Reader = Callable[[Fields], ParsedContrast]
"""Makes the question of one row, or raises KeyError, TypeError, ValueError or OverflowError if a field does not fit."""


def read_contrast(read: Reader, row: Fields, location: str) -> ParsedContrast:
    """Return the contrast of a row. Every schema may have the fields ``subset`` and ``group``.

    Raises:
        DataError: a field is missing, empty or of another type.
    """
    try:
        contrast = read(row)
    except KeyError as error:
        raise DataError(f"{location}: the field {error} is missing") from error
    except (TypeError, ValueError, OverflowError) as error:
        raise DataError(f"{location}: {error}") from error
    subset = str(row["subset"]) if row.get("subset") else contrast.subset
    group = str(row["group"]) if row.get("group") else None
    return contrast._replace(subset=subset, group=contrast.group or group)


def build_dataset(
    contrasts: Mapping[str, ParsedContrast], images: Images, id: str, *, allow_partial: bool, sources: str
) -> Dataset:
    """Return the data set of the contrasts whose images were all found.

    Raises:
        DataError: no question is valid.
        Unavailable: images are missing, with ``allow_partial`` only if no question is left.
    """
    notes = []
    valid = {contrast_id: contrast for contrast_id, contrast in contrasts.items() if contrast.is_valid}
    if n_invalid := len(contrasts) - len(valid):
        reason = "they have no right or no wrong answer, or are invalid by their authors' rule"
        notes.append(f"{n_invalid:,} of {len(contrasts):,} items are not scored: {reason}")
    if not valid:
        raise DataError(f"data set {id} has no item to score: {notes[0] if notes else 'expected one or more'}")
    complete = {}
    for contrast_id, contrast in valid.items():
        if all(key in images for key in contrast.images):
            complete[contrast_id] = contrast
    scored_share = f"{len(complete):,} of {len(valid):,} items"
    if complete:
        fix = f"{option('allow_partial', True)} scores the {scored_share} whose images are there"
    else:
        fix = "put the images there"
    needed_images = distinct_images(valid.values())
    missing_names = [key.name for key in needed_images if key not in images]
    is_allowed = allow_partial and bool(complete)
    advice = f"looked for in {sources}: {fix}"
    if note := missing_note(missing_names, len(needed_images), id, is_allowed=is_allowed, advice=advice):
        notes.append(f"{note}: {scored_share} are scored")
    return _dataset_of(complete, images, id, notes)


def _dataset_of(contrasts: Mapping[str, ParsedContrast], images: Images, id: str, notes: Sequence[str]) -> Dataset:
    """Return the data set of contrasts whose images are all there, with the images in the order of their first use."""
    used_images = distinct_images(contrasts.values())
    image_row = {key: row for row, key in enumerate(used_images)}
    numbered_contrasts = []
    for contrast_id, contrast in contrasts.items():
        rows = tuple(image_row[key] for key in contrast.images)
        numbered_contrasts.append(
            Contrast(
                id=contrast_id,
                subset=contrast.subset or "",
                images=rows,
                captions=contrast.captions,
                is_true=contrast.is_true,
                group=contrast.group,
            )
        )
    shown_images: list[EncodedImage | CroppedImage] = []
    for key in used_images:
        whole_image = images[key]
        shown_images.append(whole_image if key.box is None else CroppedImage(whole_image, key.box))
    return Dataset(
        id=id,
        images=shown_images,
        image_ids=[key.id for key in used_images],
        contrasts=numbered_contrasts,
        notes=tuple(notes),
    )


def distinct_images(contrasts: Iterable[ParsedContrast]) -> list[ImageKey]:
    """Return the images of contrasts in the order of their first use."""
    images: dict[ImageKey, None] = {}
    for contrast in contrasts:
        images |= dict.fromkeys(contrast.images)
    return list(images)


IMAGE_FIELDS = ("image", "images", "filename", "image_path", "image_file")
"""Field names for the one image of a row."""
COUNTS = ("two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
"""The numbers that CountBench's captions hold, from 2 on."""
SVO_SUBSETS = ("subj_neg", "verb_neg", "obj_neg")
"""Fields with the difference between the images of an item of SVO-Probes."""
MIN_VALSE_VOTES = 2
"""Votes, of three annotators, that make an item of VALSE valid."""


class Schema(NamedTuple):
    """One benchmark's fields, and the reader of a row with them."""

    description: str
    fields: AbstractSet[str]
    """Fields that every row must have."""
    has_image: bool
    """True if every row must have one of ``IMAGE_FIELDS`` besides."""
    read: Reader
    n_rows: int = 1
    """Rows that make an item. If there are several, ``read`` gets the fields of the first with ``_0`` at their end, and
    so on.
    """
    columns: Mapping[str, str] = MappingProxyType({})
    """Columns each of which makes an item of a row, in a subset of its own, by the end of the subset's name. ``read``
    gets it as ``hard_negs``.
    """


def find_schema(fields: Iterable[str]) -> Schema | None:
    """Return the schema of a row with these fields, or None if the row is not a contrast."""
    field_names = set(fields)
    has_image = not field_names.isdisjoint(IMAGE_FIELDS)
    for schema in SCHEMAS:
        if schema.fields <= field_names and (has_image or not schema.has_image):
            return schema
    return None


def _choice(images: Sequence[ImageKey], true: Sequence[str], false: Sequence[str]) -> ParsedContrast:
    truth = (True,) * len(true) + (False,) * len(false)
    return ParsedContrast(tuple(images), (*true, *false), (truth,) * len(images))


def _matched_pairs(images: Iterable[str], captions: Iterable[str]) -> ParsedContrast:
    return ParsedContrast(tuple(map(ImageKey, images)), tuple(captions), ((True, False), (False, True)))


def _true_and_false(row: Fields) -> ParsedContrast:
    return _choice(_images(row), _texts(row["true"]), _texts(row["false"]))


def _truth_matrix(row: Fields) -> ParsedContrast:
    """Read a matrix of truth values, a row for each image and a column for each caption."""
    truth = []
    for line in _list(row["truth"]):
        truth.append(tuple(_flag(cell) for cell in _list(line)))
    return ParsedContrast(_images(row), _texts(row["captions"]), tuple(truth))


def _nlvr(row: Fields) -> ParsedContrast:
    cells = [_mapping(cell) for cell in _list(row["images"])]
    labels = tuple((_flag(cell["label"]),) for cell in cells)
    images = tuple(ImageKey(_text(cell["path"])) for cell in cells)
    return ParsedContrast(images, (_text(row["sentence"]),), labels, is_valid=len(set(labels)) > 1)


def _winogavil(row: Fields) -> ParsedContrast:
    """Read a cue with its candidate images. The lists are JSON in the cells of a CSV file."""
    candidates = _texts(_decoded(row["candidates"]))
    associations = _texts(_decoded(row["associations"]))
    cue = _text(row["cue"]).lower()
    article = "An" if cue[0] in "aeiou" else "A"
    images = tuple(ImageKey(f"{candidate}.jpg") for candidate in candidates)
    labels = tuple((candidate in associations,) for candidate in candidates)
    subset = "10-12" if len(candidates) >= 10 else "5-6"
    return ParsedContrast(images, (f"{article} {cue}",), labels, subset=subset, is_valid=len(set(labels)) > 1)


def _decoded(cell: object) -> object:
    return decode_json(cell) if isinstance(cell, str) else cell


def _winoground(row: Fields) -> ParsedContrast:
    return _two_by_two(row, ("{}_0", "{}_1"))


def _colorswap(row: Fields) -> ParsedContrast:
    return _two_by_two(row, ("{}_1", "{}_2"))


def _two_by_two(row: Fields, names: Sequence[str]) -> ParsedContrast:
    """Read two images and two captions from fields with such names, in which {} is the kind."""
    images = [_text(row[name.format("image")]) for name in names]
    captions = [_text(row[name.format("caption")]) for name in names]
    return _matched_pairs(images, captions)


def _bivlc(row: Fields) -> ParsedContrast:
    return _two_by_two(row, ("{}", "negative_{}"))._replace(subset=_optional(row, "type"))


def _one_negative(*true: str) -> Reader:
    """Return a reader of one image, of fields with a true caption each, and of a hard negative."""

    def read(row: Fields) -> ParsedContrast:
        captions = [_text(row[field]) for field in true]
        return _choice((_image(row),), captions, (_text(row["negative_caption"]),))

    return read


def _aro(row: Fields) -> ParsedContrast:
    image = _image(row)
    # The box is four fields in ARO's own files, one of four parts in its copies on the Hub.
    box = _mapping(row.get("bbox") or {side: row.get(f"bbox_{side}") for side in "xywh"})
    if any(box.get(side) is not None for side in "xywh"):
        image = image._replace(box=_box(box, "xywh"))
    group = _optional(row, "relation_name")
    if group is None and row.get("attributes") is not None:
        group = "_".join(_texts(row["attributes"]))
    contrast = _choice((image,), (_text(row["true_caption"]),), (_text(row["false_caption"]),))
    return contrast._replace(group=group)


def _distinct_choice(images: Sequence[ImageKey], true: str, false: Iterable[str]) -> ParsedContrast:
    """Return the contrast of a caption and the distinct hard negatives that differ from it."""
    negatives = [text for text in dict.fromkeys(false) if text != true]
    return _choice(images, (true,), negatives)._replace(is_valid=bool(negatives))


def _order(row: Fields) -> ParsedContrast:
    shuffles = [_text(row[field]) for field in sorted(row) if field.startswith("hard_text_")]
    return _distinct_choice((_image(row),), _text(row["correct_caption"]), shuffles)


def _mmvp(row: Fields) -> ParsedContrast:
    kind = _text(row["Type_0"])
    if row["Type_1"] != kind:
        raise ValueError(f"expected two rows of one Type, got {shown(kind)} and {shown(row['Type_1'])}")
    images = [f"{kind}/{_integer(row, f'Question ID_{end}')}.jpg" for end in "01"]
    captions = [f"a photo of {_text(row[f'Statement_{end}'])}" for end in "01"]
    return _matched_pairs(images, captions)._replace(subset=kind)


def _count(row: Fields) -> ParsedContrast:
    """Read a caption, and replace its number by each other number. A caption without its number is invalid."""
    text, number = _text(row["text"]), _integer(row, "number")
    if not 2 <= number <= len(COUNTS) + 1:
        raise ValueError(f"expected a number from 2 to {len(COUNTS) + 1}, got {number}")
    number_match = re.search(rf"\b({COUNTS[number - 2]}|{number})\b", text, re.IGNORECASE)
    if number_match is None:
        return _choice((_image(row),), (text,), ())._replace(is_valid=False)
    start, end = number_match.span()
    negatives = []
    for other in range(2, len(COUNTS) + 2):
        if other != number:
            negatives.append(text[:start] + _written_like(number_match[0], other) + text[end:])
    return _choice((_image(row),), (text,), negatives)


def _written_like(model: str, number: int) -> str:
    """Return a number in digits, small letters, capitals or with a capital, as the model is written."""
    if model.isdigit():
        return str(number)
    word = COUNTS[number - 2]
    if model.isupper():
        return word.upper()
    return word.capitalize() if model[0].isupper() else word


def _svo(row: Fields) -> ParsedContrast:
    images = tuple(ImageKey(f"{_integer(row, f'{end}_image_id')}.jpg") for end in ("pos", "neg"))
    subsets = [field for field in SVO_SUBSETS if _flag(row[field])]
    is_valid = len(subsets) == 1  # its authors leave out images that differ in several
    subset = subsets[0] if is_valid else None
    return ParsedContrast(images, (_text(row["sentence"]),), ((True,), (False,)), subset=subset, is_valid=is_valid)


def _negbench(row: Fields) -> ParsedContrast:
    """Read a multiple-choice question, and keep only the file name of its path."""
    captions = tuple(_text(row[f"caption_{number}"]) for number in range(4))
    truth = _one_hot(row, "correct_answer", len(captions))
    image = ImageKey(PurePosixPath(_image(row).name).name)
    return ParsedContrast((image,), captions, (truth,), subset=_text(row["correct_answer_template"]))


def _whats_up(row: Fields) -> ParsedContrast:
    """Read an image whose first caption is true. Its two objects are its group."""
    path = PurePosixPath(_image(row).name)
    true, *false = _texts(row["caption_options"])
    first, has_others, rest = path.stem.partition("_")
    group = f"{first} {rest.rpartition('_')[2]}" if has_others else None
    return _choice((ImageKey("/".join(path.parts[-2:])),), (true,), false)._replace(group=group)


def _crepe(row: Fields) -> ParsedContrast:
    true, cell = _text(row["caption"]), _text(row["hard_negs"])
    false = read_written_list(cell)
    if false is None:
        raise ValueError(f"expected a list of texts in hard_negs, got {shown(cell)}")
    box = _box(row, ("x", "y", "width", "height"))
    return _distinct_choice((ImageKey(f"{_integer(row, 'image_id')}.jpg", box),), true, false)


def _spec(row: Fields) -> ParsedContrast:
    """Read an image with texts, or a text with images, which are in the folder of the subset."""
    query, keys = _text(row["query"]), _texts(row["keys"])
    is_true = _one_hot(row, "label", len(keys))
    folder = f"{row['subset']}/" if row.get("subset") else ""
    if PurePosixPath(query).suffix.lower() in (".jpg", ".jpeg", ".png"):
        return ParsedContrast((ImageKey(folder + query),), keys, (is_true,))
    images = tuple(ImageKey(folder + key) for key in keys)
    truth = tuple((is_match,) for is_match in is_true)  # each image has the same one caption
    return ParsedContrast(images, (query,), truth)


def _valse(row: Fields) -> ParsedContrast:
    votes = _mapping(row.get("mturk") or {}).get("caption", MIN_VALSE_VOTES)
    is_valid = isinstance(votes, int) and votes >= MIN_VALSE_VOTES
    return _choice((_image(row),), (_text(row["caption"]),), (_text(row["foil"]),))._replace(is_valid=is_valid)


CREPE_COLUMNS = MappingProxyType({kind: f"valid_hard_negs_{kind}" for kind in ("atom", "comp", "combined")})

SCHEMAS = (
    Schema("a contrast with its truth matrix", {"captions", "truth"}, True, _truth_matrix),
    Schema("a contrast with true captions and hard negatives", {"true", "false"}, True, _true_and_false),
    Schema("NLVR", {"sentence", "images"}, False, _nlvr),
    Schema("WinoGAViL", {"cue", "candidates", "associations"}, False, _winogavil),
    Schema("Winoground", {"image_0", "image_1", "caption_0", "caption_1"}, False, _winoground),
    Schema("ColorSwap", {"image_1", "image_2", "caption_1", "caption_2"}, False, _colorswap),
    Schema("BiVLC", {"image", "negative_image", "caption", "negative_caption"}, False, _bivlc),
    Schema("MMVP-VLM", {"Question ID", "Type", "Statement"}, False, _mmvp, n_rows=2),
    Schema("What'sUp", {"caption_options"}, True, _whats_up),
    Schema("CountBench", {"image_url", "text", "number", "image"}, True, _count),
    Schema("CountBenchQA", {"text", "question", "number", "image"}, True, _count),
    Schema("SVO-Probes", {"sentence", "pos_image_id", "neg_image_id", *SVO_SUBSETS}, False, _svo),
    Schema(
        "NegBench's multiple choice",
        {"correct_answer", "correct_answer_template", *(f"caption_{number}" for number in range(4))},
        True,
        _negbench,
    ),
    Schema("CREPE", {"image_id", "caption", "hard_negs", "x", "y", "width", "height"}, False, _crepe),
    Schema(
        "CREPE's systematicity",
        {"image_id", "caption", *CREPE_COLUMNS.values(), "x", "y", "width", "height"},
        False,
        _crepe,
        columns=CREPE_COLUMNS,
    ),
    Schema("SPEC", {"query", "keys", "label"}, False, _spec),
    Schema("SugarCrepe++", {"caption", "caption2", "negative_caption"}, True, _one_negative("caption", "caption2")),
    Schema("SugarCrepe", {"caption", "negative_caption"}, True, _one_negative("caption")),
    Schema("ARO", {"true_caption", "false_caption"}, True, _aro),
    Schema("VALSE", {"caption", "foil"}, True, _valse),
    Schema("ARO's order sets", {"correct_caption", "hard_text_1"}, True, _order),
)
"""The first schema whose fields are all there is used, so a schema comes before schemas with a subset of its fields."""


def _one_hot(row: Fields, field: str, n: int) -> tuple[bool, ...]:
    """Return n truth values, of which only the one at a field's index is true."""
    answer = _integer(row, field)
    if not 0 <= answer < n:
        raise ValueError(f"{field} is {answer}, expected a number from 0 to {n - 1}")
    return tuple(number == answer for number in range(n))


def _integer(row: Fields, field: str, *, is_cut: bool = False) -> int:
    """Return an integer field, with its fraction cut off if ``is_cut``."""
    text = str(row[field])
    try:
        return int(float(text)) if is_cut else int(text)
    except (ValueError, OverflowError):
        raise ValueError(f"{field} is {shown(row[field])}, expected an integer") from None


def _image(row: Fields) -> ImageKey:
    field = next(field for field in IMAGE_FIELDS if field in row)
    return ImageKey(_text(row[field]))


def _box(fields: Fields, sides: Sequence[str]) -> tuple[int, int, int, int]:
    """Return left, top, width and height in integer pixels, with their fractions cut off."""
    left, top, width, height = (_integer(fields, side, is_cut=True) for side in sides)
    return left, top, width, height


def _images(row: Fields) -> tuple[ImageKey, ...]:
    if "images" in row:
        return tuple(ImageKey(name) for name in _texts(row["images"]))
    return (_image(row),)


def _optional(row: Fields, field: str) -> str | None:
    return None if row.get(field) is None else str(row[field])


def _text(value: object) -> str:
    if not isinstance(value, str) or not value.strip():
        raise TypeError(f"expected a text, got {shown(value)}")
    return value


def _texts(value: object) -> tuple[str, ...]:
    """Return the texts of a list, or the only text as a list of one."""
    if isinstance(value, str):
        return (_text(value),)
    return tuple(_text(text) for text in _list(value))


def _list(value: object) -> Sequence[object]:
    if not isinstance(value, list | tuple):
        raise TypeError(f"expected a list, got {shown(value)}")
    return value


def _mapping(value: object) -> Fields:
    if not isinstance(value, dict):
        raise TypeError(f"expected an object, got {shown(value)}")
    return value


def _flag(value: object) -> bool:
    """Return a truth value, which releases of NLVR write as true, "True" or 1."""
    flags = {True: True, False: False, "true": True, "false": False}
    key = value.lower() if isinstance(value, str) else value
    if key not in flags:
        raise ValueError(f"expected true or false, got {shown(value)}")
    return flags[key]
