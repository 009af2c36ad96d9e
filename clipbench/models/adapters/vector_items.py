"""Items of an embeddings folder: what the rows of its vectors mean for composition, text-in-image and long-caption.

All items of a folder are of one task, because a data set has one list of classes, and one list of captions.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from clipbench.data.caption_part import CaptionBeginnings
from clipbench.data.questions import Attack, Contrast
from clipbench.errors import DataError
from clipbench.untrusted.reading import is_file, reading, shown
from clipbench.untrusted.schema import check_keys
from clipbench.untrusted.text_tables import READERS

ITEMS_FILE = "items.jsonl"


class ItemLine(NamedTuple):
    """An item as it was written, and its source for messages."""

    source: str
    fields: Mapping[str, Any]


class ItemForm(NamedTuple):
    """The fields of the items of a task."""

    task: str
    needed: tuple[str, ...]
    optional: tuple[str, ...]

    def n_matches(self, item: ItemLine) -> int:
        """Return the number of needed fields that an item has."""
        return len({*self.needed} & {*item.fields})


CONTRAST = ItemForm("composition", ("id", "images", "captions", "truth"), ("subset",))
ATTACK = ItemForm(
    "text-in-image",
    ("id", "attacked", "classes", "label", "word"),
    ("clean", "blank", "benign", "condition", "object"),
)
LONG_CAPTION = ItemForm("long-caption", ("id", "image", "captions", "tokens"), ())
FORMS = (CONTRAST, ATTACK, LONG_CAPTION)
MOST_TOKENS = 2**31 - 1
"""Largest number of tokens of a caption: no tokenizer gives more, and arrays hold it."""
LABEL_FIELDS = ("id", "subset", "condition", "object")


class VectorItems(NamedTuple):
    """Items as the parts of a data set, of which one is there."""

    contrasts: tuple[Contrast, ...] | None = None
    attacks: tuple[Attack, ...] | None = None
    attack_classes: tuple[str, ...] = ()
    """Names of the texts that are the classes of attacks."""
    captions: Sequence["HeldCaption"] | None = None


class HeldCaption(NamedTuple):
    """A long caption and its beginnings."""

    id: str
    image: int
    beginnings: CaptionBeginnings


def read_items(folder: Path) -> list[ItemLine]:
    """Return the items in a folder of arrays, or none if it has no ``items.jsonl``."""
    path = folder / ITEMS_FILE
    if not is_file(path):
        return []
    with reading(path, DataError):
        return [ItemLine(f"{path}, line {line}", row) for line, row in READERS[".jsonl"](path)]


def parse_items(items: Sequence[ItemLine], n_images: int, texts: Sequence[str]) -> VectorItems:
    """Return items as the parts of a data set whose texts are the names of the text embeddings.

    Args:
        items: of one task. For composition: ``id``, ``images`` (rows of images), ``captions`` (rows of texts),
            ``truth`` (a list per image, with 1 for each caption that is true of it, otherwise 0) and optionally
            ``subset``. For text-in-image: ``id``, ``attacked`` (a row of images), ``classes`` (rows of texts, the same
            in all items), ``label`` and ``word`` (positions in ``classes``), and optionally ``clean``, ``blank`` and
            ``benign`` (rows of images), ``condition`` and ``object``. For long-caption: ``id``, ``image``, ``captions``
            (rows of texts, short to long) and ``tokens`` (the number that each is cut to, of the last its own).
        n_images: number of image embeddings.
        texts: distinct name of each text embedding.

    Raises:
        DataError: a field is missing or unknown, a row is not there, values do not fit together, or items are of
            several tasks.

    Example:
        >>> fields = {"id": 7, "images": [0, 1], "captions": [1, 0], "truth": [[1, 0], [0, 1]]}
        >>> parse_items([ItemLine("line 1", fields)], 2, ["text 0", "text 1"]).contrasts[0].captions
        ('text 1', 'text 0')
    """
    if not items:
        return VectorItems()
    form = _form(items[0])
    for item in items:
        _check_fields(item, form)
    if form is CONTRAST:
        return VectorItems(contrasts=tuple(_contrast(item, n_images, texts) for item in items))
    if form is LONG_CAPTION:
        return VectorItems(captions=[_held_caption(item, n_images, texts) for item in items])
    classes = _classes(items, len(texts))
    attacks = tuple(_attack(item, n_images, len(classes)) for item in items)
    return VectorItems(attacks=attacks, attack_classes=tuple(texts[row] for row in classes))


def _form(item: ItemLine) -> ItemForm:
    """Return the form that most fields of an item fit."""
    return max(FORMS, key=lambda form: form.n_matches(item))


def _check_fields(item: ItemLine, form: ItemForm) -> None:
    """Raise DataError unless an item has the fields of a form."""
    other = _form(item)
    if other.n_matches(item) > form.n_matches(item):
        raise DataError(
            f"{item.source}: got an item of {other.task} after items of {form.task}: expected items of one task. Use a"
            " folder for each task"
        )
    check_keys(item.fields, (*form.needed, *form.optional), item.source, error=DataError)
    for name in form.needed:
        if name not in item.fields:
            raise DataError(
                f"{item.source}: no field '{name}': got {', '.join(item.fields)}, expected {', '.join(form.needed)}"
            )
    for name in LABEL_FIELDS:
        value = item.fields.get(name, "")
        if isinstance(value, bool) or not isinstance(value, str | int):
            raise DataError(f"{item.source}: {name} is {shown(value)}, expected a text or an integer")


def _contrast(item: ItemLine, n_images: int, texts: Sequence[str]) -> Contrast:
    images, captions = _distinct_rows(item, "images", n_images), _distinct_rows(item, "captions", len(texts))
    return Contrast(
        id=str(item.fields["id"]),
        subset=str(item.fields.get("subset", "")),
        images=images,
        captions=tuple(texts[row] for row in captions),
        is_true=_truth(item, len(images), len(captions)),
    )


def _classes(items: Iterable[ItemLine], n_texts: int) -> tuple[int, ...]:
    """Return the rows of the classes, or raise DataError unless all items have the same, each once."""
    first: tuple[int, ...] | None = None
    for item in items:
        rows = _rows(item, "classes", n_texts)
        if first is None:
            first = rows
        if rows != first:
            raise DataError(
                f"{item.source}: classes differ from the classes of the first item: expected the same list in all items"
            )
    assert first is not None
    repeated = next((row for position, row in enumerate(first) if row in first[:position]), None)
    if repeated is not None:
        raise DataError(f"{ITEMS_FILE}: classes name row {repeated} twice, expected a row of texts per class")
    return first


def _attack(item: ItemLine, n_images: int, n_classes: int) -> Attack:
    controls = {name: _row(item, name, n_images) for name in ("clean", "blank", "benign") if _is_given(item, name)}
    return Attack(
        id=str(item.fields["id"]),
        label=_row(item, "label", n_classes, "classes"),
        word=_row(item, "word", n_classes, "classes"),
        attacked=_row(item, "attacked", n_images),
        condition=str(item.fields.get("condition", "")),
        object=str(item.fields["object"]) if "object" in item.fields else None,
        **controls,
    )


def _held_caption(item: ItemLine, n_images: int, texts: Sequence[str]) -> HeldCaption:
    rows = _rows(item, "captions", len(texts))
    tokens = item.fields["tokens"]
    if not isinstance(tokens, list) or len(tokens) != len(rows):
        raise DataError(f"{item.source}: tokens is {shown(tokens)}, expected a list of {len(rows)}, one per caption")
    for number, previous in zip(tokens, [0, *tokens], strict=False):
        if type(number) is not int or not previous < number <= MOST_TOKENS:
            raise DataError(
                f"{item.source}: tokens is {shown(tokens)}, expected rising numbers from 1 up to {MOST_TOKENS:,},"
                " captions short to long"
            )
    beginnings = CaptionBeginnings(tuple(texts[row] for row in rows), tuple(tokens))
    return HeldCaption(str(item.fields["id"]), _row(item, "image", n_images), beginnings)


def _is_given(item: ItemLine, name: str) -> bool:
    return item.fields.get(name) is not None


def _rows(item: ItemLine, name: str, n_rows: int) -> tuple[int, ...]:
    rows = item.fields[name]
    if not isinstance(rows, list) or not rows:
        raise DataError(f"{item.source}: {name} is {shown(rows)}, expected a list of rows")
    for row in rows:
        _check_row(item, name, row, n_rows, "rows")
    return tuple(rows)


def _distinct_rows(item: ItemLine, name: str, n_rows: int) -> tuple[int, ...]:
    """Return rows of which none is there twice: an item that compares a row with itself would always be a tie."""
    rows = _rows(item, name, n_rows)
    repeated = next((row for position, row in enumerate(rows) if row in rows[:position]), None)
    if repeated is not None:
        raise DataError(f"{item.source}: {name} names row {repeated} twice, expected different rows")
    return rows


def _row(item: ItemLine, name: str, n_rows: int, noun: str = "rows") -> int:
    row = item.fields[name]
    _check_row(item, name, row, n_rows, noun)
    return int(row)


def _check_row(item: ItemLine, name: str, row: object, n_rows: int, noun: str) -> None:
    """Raise DataError unless a value is a row, or a position in a list that the noun names."""
    if type(row) is not int or not 0 <= row < n_rows:
        kind = "row" if noun == "rows" else "position"
        expected = f"rows from 0 to {n_rows - 1}" if noun == "rows" else f"positions in {noun} from 0 to {n_rows - 1}"
        raise DataError(f"{item.source}: {name} names {kind} {shown(row)}, expected {expected}")


def _truth(item: ItemLine, n_images: int, n_captions: int) -> tuple[tuple[bool, ...], ...]:
    table = item.fields["truth"]
    has_lists = isinstance(table, list) and all(isinstance(line, list) for line in table)
    shape = [len(line) for line in table] if has_lists else None
    if shape != [n_captions] * n_images:
        raise DataError(
            f"{item.source}: truth is {shown(table)}, expected {n_images} lists of {n_captions}, "
            "one list per image and one value per caption"
        )
    cells = [cell for line in table for cell in line]
    wrong = [cell for cell in cells if type(cell) not in (int, bool) or cell not in (0, 1)]
    if wrong:
        raise DataError(f"{item.source}: truth holds {shown(wrong[0])}, expected 1 for true and 0 for false")
    return tuple(tuple(bool(cell) for cell in line) for line in table)
