"""The fields in which each benchmark writes a contrast; a row's fields tell the schemas apart."""

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePosixPath
from types import MappingProxyType
from typing import NamedTuple

from clipbench.data.contrasts.questions import CropBox, ImageKey, Question, Reader
from clipbench.untrusted.reading import decode_json, shown
from clipbench.untrusted.written_lists import read_written_list

IMAGE_FIELDS = ("image", "images", "filename", "image_path", "image_file")
"""Field names for the one image of a row."""
COUNTS = ("two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
"""The numbers that CountBench's captions hold, from 2 on."""
SVO_SUBSETS = ("subj_neg", "verb_neg", "obj_neg")
"""Fields that say in what the images of an item of SVO-Probes differ."""
MIN_VALSE_VOTES = 2
"""Votes, of three annotators, that make an item of VALSE valid."""
Fields = Mapping[str, object]


class Schema(NamedTuple):
    """One benchmark's fields, and the reader of a row with them."""

    description: str
    fields: frozenset[str]
    """Fields that every row must have."""
    has_image: bool
    """True if every row must have one of ``IMAGE_FIELDS`` besides."""
    read: Reader
    n_rows: int = 1
    """Rows that make an item: of several, ``read`` gets the fields of the first with ``_0`` at their end, and so on."""
    columns: Mapping[str, str] = MappingProxyType({})
    """Columns each of which makes an item of a row, in a subset of its own, by the end of the subset's name; ``read`` gets
    it as ``hard_negs``."""


def schema_of(fields: Iterable[str]) -> Schema | None:
    """Return the schema of a row with these fields, or None where it is no contrast.

    Example:
        >>> schema_of(["filename", "caption", "negative_caption"]).description
        'SugarCrepe'
        >>> schema_of(["image", "caption"]) is None
        True
    """
    known = set(fields)
    has_image = not known.isdisjoint(IMAGE_FIELDS)
    matching = (schema for schema in SCHEMAS if schema.fields <= known and (has_image or not schema.has_image))
    return next(matching, None)


def _own_truth(row: Fields) -> Question:
    """Read a matrix of truth values, a row for each image and a column for each caption."""
    images, captions = _images(row), _texts(row["captions"])
    truth = tuple(tuple(_flag(cell) for cell in _list(line)) for line in _list(row["truth"]))
    return Question(images, captions, truth)


def _own_lists(row: Fields) -> Question:
    true, false = _texts(row["true"]), _texts(row["false"])
    images = _images(row)
    return Question(images, (*true, *false), tuple((True,) * len(true) + (False,) * len(false) for _ in images))


def _nlvr(row: Fields) -> Question:
    cells = [_mapping(cell) for cell in _list(row["images"])]
    labels = tuple((_flag(cell["label"]),) for cell in cells)
    images = tuple(ImageKey(_text(cell["path"])) for cell in cells)
    is_question = len({label for (label,) in labels}) > 1
    return Question(images, (_text(row["sentence"]),), labels, is_valid=is_question)


def _winogavil(row: Fields) -> Question:
    """Read a cue with the images it could be for; the lists are JSON in the cells of a CSV file."""
    candidates, associations = (_texts(_json_list(row[field])) for field in ("candidates", "associations"))
    cue = _text(row["cue"]).lower()
    labels = tuple((candidate in associations,) for candidate in candidates)
    return Question(
        tuple(ImageKey(f"{candidate}.jpg") for candidate in candidates),
        (f"{'An' if cue[0] in 'aeiou' else 'A'} {cue}",),
        labels,
        subset="10-12" if len(candidates) >= 10 else "5-6",
        is_valid=len(set(labels)) > 1,
    )


def _two_by_two(first: str, second: str) -> Reader:
    def read(row: Fields) -> Question:
        images = tuple(ImageKey(_text(row[f"image_{end}"])) for end in (first, second))
        captions = tuple(_text(row[f"caption_{end}"]) for end in (first, second))
        return Question(images, captions, ((True, False), (False, True)))

    return read


def _bivlc(row: Fields) -> Question:
    images = tuple(ImageKey(_text(row[field])) for field in ("image", "negative_image"))
    captions = _text(row["caption"]), _text(row["negative_caption"])
    return Question(images, captions, ((True, False), (False, True)), subset=_optional(row, "type"))


def _true_false(*fields: str, n_true: int) -> Reader:
    """Return a reader of one image and some fields with captions, of which the first ``n_true`` are true."""

    def read(row: Fields) -> Question:
        captions = tuple(_text(row[field]) for field in fields)
        return Question((_image(row),), captions, (_true_first(n_true, len(captions)),))

    return read


def _aro(row: Fields) -> Question:
    captions = _text(row["true_caption"]), _text(row["false_caption"])
    group = _optional(row, "relation_name")
    if group is None and row.get("attributes") is not None:
        group = "_".join(_texts(row["attributes"]))
    return Question((_boxed(row),), captions, ((True, False),), group=group)


def _order(row: Fields) -> Question:
    true = _text(row["correct_caption"])
    shuffles = (_text(row[field]) for field in sorted(row) if field.startswith("hard_text_"))
    # A shuffle may equal the caption or another shuffle, and then adds no choice.
    captions = tuple(dict.fromkeys((true, *shuffles)))
    return Question((_image(row),), captions, (_true_first(1, len(captions)),), is_valid=len(captions) > 1)


def _mmvp(row: Fields) -> Question:
    kind = _text(row["Type_0"])
    if row["Type_1"] != kind:
        raise ValueError(f"expected two rows of one Type, got {shown(kind)} and {shown(row['Type_1'])}")
    images = tuple(ImageKey(f"{kind}/{_whole(row, f'Question ID_{end}')}.jpg") for end in "01")
    captions = tuple(f"a photo of {_text(row[f'Statement_{end}'])}" for end in "01")
    return Question(images, captions, ((True, False), (False, True)), subset=kind)


def _count(row: Fields) -> Question:
    """Read a caption with a number, which is replaced by each of the others; a caption without it is no question."""
    text, number = _text(row["text"]), _whole(row, "number")
    if not 2 <= number <= len(COUNTS) + 1:
        raise ValueError(f"expected a number from 2 to {len(COUNTS) + 1}, got {number}")
    place = re.search(rf"\b({COUNTS[number - 2]}|{number})\b", text, re.IGNORECASE)
    if place is None:
        return Question((_image(row),), (text,), ((True,),), is_valid=False)
    others = [_written_like(place[0], other) for other in range(2, len(COUNTS) + 2) if other != number]
    captions = (text, *(text[: place.start()] + other + text[place.end() :] for other in others))
    return Question((_image(row),), captions, (_true_first(1, len(captions)),))


def _written_like(model: str, number: int) -> str:
    """Return a number in digits, small letters, capitals or with a capital, as the model is written."""
    if model.isdigit():
        return str(number)
    word = COUNTS[number - 2]
    return word.upper() if model.isupper() else word.capitalize() if model[0].isupper() else word


def _svo(row: Fields) -> Question:
    images = tuple(ImageKey(f"{_whole(row, f'{end}_image_id')}.jpg") for end in ("pos", "neg"))
    subsets = [field for field in SVO_SUBSETS if _flag(row[field])]
    is_valid = len(subsets) == 1  # its authors leave out images that differ in several
    return Question(
        images,
        (_text(row["sentence"]),),
        ((True,), (False,)),
        subset=subsets[0] if is_valid else None,
        is_valid=is_valid,
    )


def _negbench(row: Fields) -> Question:
    """Read a multiple-choice question; its path is that of its authors' machine, of which the name is kept."""
    captions = tuple(_text(row[f"caption_{number}"]) for number in range(4))
    truth = _only_true(row, "correct_answer", len(captions))
    image = ImageKey(PurePosixPath(_image(row).name).name)
    return Question((image,), captions, (truth,), subset=_text(row["correct_answer_template"]))


def _whats_up(row: Fields) -> Question:
    """Read an image with the caption that is true first; its group is the two objects that the image shows."""
    path = PurePosixPath(_image(row).name)
    captions = _texts(row["caption_options"])
    first, has_others, others = path.stem.partition("_")
    group = f"{first} {others.rpartition('_')[2]}" if has_others else None
    image = ImageKey("/".join(path.parts[-2:]))
    return Question((image,), captions, (_true_first(1, len(captions)),), group=group)


def _crepe(row: Fields) -> Question:
    true = _text(row["caption"])
    cell = _text(row["hard_negs"])
    false = read_written_list(cell)
    if false is None:
        raise ValueError(f"expected a list of texts in hard_negs, got {shown(cell)}")
    captions = tuple(dict.fromkeys((true, *false)))
    box = CropBox(*(_whole(row, side, is_cut=True) for side in ("x", "y", "width", "height")))
    image = ImageKey(f"{_whole(row, 'image_id')}.jpg", box)
    return Question((image,), captions, (_true_first(1, len(captions)),), is_valid=len(captions) > 1)


def _spec(row: Fields) -> Question:
    """Read an image with texts, or a text with images, which lie in the folder of the subset."""
    query, keys = _text(row["query"]), _texts(row["keys"])
    is_true = _only_true(row, "label", len(keys))
    folder = f"{row['subset']}/" if row.get("subset") else ""
    if PurePosixPath(query).suffix.lower() in (".jpg", ".jpeg", ".png"):
        return Question((ImageKey(folder + query),), keys, (is_true,))
    return Question(tuple(ImageKey(folder + key) for key in keys), (query,), tuple((each,) for each in is_true))


def _valse(row: Fields) -> Question:
    captions = _text(row["caption"]), _text(row["foil"])
    votes = _mapping(row.get("mturk") or {}).get("caption", MIN_VALSE_VOTES)
    is_valid = isinstance(votes, int) and votes >= MIN_VALSE_VOTES
    return Question((_image(row),), captions, ((True, False),), is_valid=is_valid)


CREPE_COLUMNS = MappingProxyType({kind: f"valid_hard_negs_{kind}" for kind in ("atom", "comp", "combined")})

SCHEMAS = (
    Schema("a contrast with its truth matrix", frozenset({"captions", "truth"}), True, _own_truth),
    Schema("a contrast with true and false captions", frozenset({"true", "false"}), True, _own_lists),
    Schema("NLVR", frozenset({"sentence", "images"}), False, _nlvr),
    Schema("WinoGAViL", frozenset({"cue", "candidates", "associations"}), False, _winogavil),
    *(
        Schema(name, frozenset({f"image_{a}", f"image_{b}", f"caption_{a}", f"caption_{b}"}), False, _two_by_two(a, b))
        for name, a, b in (("Winoground", "0", "1"), ("ColorSwap", "1", "2"))
    ),
    Schema("BiVLC", frozenset({"image", "negative_image", "caption", "negative_caption"}), False, _bivlc),
    Schema("MMVP-VLM", frozenset({"Question ID", "Type", "Statement"}), False, _mmvp, n_rows=2),
    Schema("What'sUp", frozenset({"caption_options"}), True, _whats_up),
    Schema("CountBench", frozenset({"image_url", "text", "number", "image"}), True, _count),
    Schema("CountBenchQA", frozenset({"text", "question", "number", "image"}), True, _count),
    Schema("SVO-Probes", frozenset({"sentence", "pos_image_id", "neg_image_id", *SVO_SUBSETS}), False, _svo),
    Schema(
        "NegBench's multiple choice",
        frozenset({"correct_answer", "correct_answer_template", *(f"caption_{number}" for number in range(4))}),
        True,
        _negbench,
    ),
    Schema("CREPE", frozenset({"image_id", "caption", "hard_negs", "x", "y", "width", "height"}), False, _crepe),
    Schema(
        "CREPE's systematicity",
        frozenset({"image_id", "caption", *CREPE_COLUMNS.values(), "x", "y", "width", "height"}),
        False,
        _crepe,
        columns=CREPE_COLUMNS,
    ),
    Schema("SPEC", frozenset({"query", "keys", "label"}), False, _spec),
    Schema(
        "SugarCrepe++",
        frozenset({"caption", "caption2", "negative_caption"}),
        True,
        _true_false("caption", "caption2", "negative_caption", n_true=2),
    ),
    Schema(
        "SugarCrepe",
        frozenset({"caption", "negative_caption"}),
        True,
        _true_false("caption", "negative_caption", n_true=1),
    ),
    Schema("ARO", frozenset({"true_caption", "false_caption"}), True, _aro),
    Schema("VALSE", frozenset({"caption", "foil"}), True, _valse),
    Schema("ARO's order sets", frozenset({"correct_caption", "hard_text_1"}), True, _order),
)
"""The first schema whose fields are all there is used: a schema stands before those with a subset of its fields."""


def _true_first(n_true: int, n: int) -> tuple[bool, ...]:
    return (True,) * n_true + (False,) * (n - n_true)


def _only_true(row: Fields, field: str, n: int) -> tuple[bool, ...]:
    """Return truth values of which that is true whose number, from 0 on, a field has."""
    answer = _whole(row, field)
    if not 0 <= answer < n:
        raise ValueError(f"{field} is {answer}, expected a number from 0 to {n - 1}")
    return tuple(number == answer for number in range(n))


def _whole(row: Fields, field: str, *, is_cut: bool = False) -> int:
    """Return a whole number, or what is left of another one when it is cut."""
    text = str(row[field])
    try:
        return int(float(text)) if is_cut else int(text)
    except (ValueError, OverflowError):
        raise ValueError(f"{field} is {shown(row[field])}, expected a whole number") from None


def _image(row: Fields) -> ImageKey:
    field = next(field for field in IMAGE_FIELDS if field in row)
    return ImageKey(_text(row[field]))


def _boxed(row: Fields) -> ImageKey:
    """Return the image with its box: four fields in ARO's own files, one of four parts in its copies on the Hub."""
    image = _image(row)
    box = _mapping(row.get("bbox") or {side: row.get(f"bbox_{side}") for side in "xywh"})
    if all(box.get(side) is None for side in "xywh"):
        return image
    return image._replace(box=CropBox(*(_whole(box, side, is_cut=True) for side in "xywh")))


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
    return (_text(value),) if isinstance(value, str) else tuple(_text(item) for item in _list(value))


def _list(value: object) -> Sequence[object]:
    if not isinstance(value, list | tuple):
        raise TypeError(f"expected a list, got {shown(value)}")
    return value


def _json_list(value: object) -> Sequence[object]:
    """Return a list, which the cell of a table may hold as JSON."""
    return _list(decode_json(value) if isinstance(value, str) else value)


def _mapping(value: object) -> Fields:
    if not isinstance(value, dict):
        raise TypeError(f"expected an object, got {shown(value)}")
    return value


def _flag(value: object) -> bool:
    """Return a truth value; releases of NLVR write true, "True" or 1."""
    known = {True: True, False: False, "true": True, "false": False}
    key = value.lower() if isinstance(value, str) else value
    if key not in known:
        raise ValueError(f"expected true or false, got {shown(value)}")
    return known[key]
