"""Tables that say of each image what it shows and what is written on it: which columns mean what."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from clipbench.data.prompts import known_prompts
from clipbench.errors import DataError, did_you_mean

Row = Mapping[str, str]


class Described(NamedTuple):
    """What a row says of its image; see Photograph."""

    object: str
    text: str | None
    thing: str
    condition: str = ""


class Dialect(NamedTuple):
    """A set of columns, and how a row of them is read."""

    columns: frozenset[str]
    """All are needed, and tell the dialect from any table of captions or labels."""
    read: Callable[[Sequence[Row], Callable[[int], str]], list[Described]]
    """From the rows, and what names a row to a person."""
    templates: Callable[[], tuple[str, ...] | None] = lambda: None
    """The prompts of the published protocol."""


def dialect_of(columns: Iterable[str]) -> Dialect | None:
    """Return the dialect that a table with such columns is written in, or None.

    Example:
        >>> dialect_of(["path", "object", "text", "attack"]) is DIALECTS[0], dialect_of(["path", "text"])
        (True, None)
    """
    there = set(columns)
    return next((dialect for dialect in DIALECTS if dialect.columns <= there), None)


def _labelled(rows: Sequence[Row], place: Callable[[int], str]) -> list[Described]:
    """Read ``object``, ``text`` and ``attack`` (0 or 1); ``set`` and ``note`` may be there.

    Without an attack the text is the object's own name or empty; a note with "blank" says that there is a label.
    """
    return [_labelled_row(row, place(number)) for number, row in enumerate(rows)]


def _labelled_row(row: Row, place: str) -> Described:
    name, text, attack = row["object"].strip(), row["text"].strip(), row["attack"].strip()
    if not name:
        raise DataError(f"{place}: the object is empty")
    if attack not in ("0", "1"):
        raise DataError(f"{place}: attack is '{attack}', expected 0 or 1")
    is_other = text.casefold() not in ("", name.casefold())
    if is_other != (attack == "1"):
        expected = "the name of something else" if attack == "1" else f"'{name}' or nothing"
        raise DataError(f"{place}: attack is {attack} and '{text}' is written on the {name}: expected {expected}")
    is_bare = not text and "blank" not in row.get("note", "").casefold()
    return Described(name, None if is_bare else text, f"{row.get('set', '')}/{name}".lstrip("/"))


_SCAM_TYPES: Mapping[str, tuple[bool, str]] = {
    "NoSCAM": (False, ""),
    "SCAM": (True, ""),
    "SynthSCAM": (True, "synthetic"),
}
"""Of each type, whether the word is there, and the condition. NoSCAM is the note with the word taken off it."""


def _scam(rows: Sequence[Row], place: Callable[[int], str]) -> list[Described]:
    """Read SCAM's ``type``, ``object_label`` and ``attack_word``, and its ``id`` where that joins the three types."""
    found = []
    for number, (row, thing) in enumerate(zip(rows, _scam_things(rows), strict=True)):
        if row["type"] not in _SCAM_TYPES:
            raise DataError(f"{place(number)}: unknown type '{row['type']}': {did_you_mean(row['type'], _SCAM_TYPES)}")
        if not row["object_label"].strip() or not row["attack_word"].strip():
            raise DataError(f"{place(number)}: the object_label or attack_word is empty")
        is_written, condition = _SCAM_TYPES[row["type"]]
        found.append(Described(row["object_label"], row["attack_word"] if is_written else "", thing, condition))
    return found


def _scam_things(rows: Sequence[Row]) -> list[str]:
    """Return what joins a photograph's versions: an id that several types share, else object, word and occurrence."""
    ids = [row.get("id", "") for row in rows]
    is_joining = len(set(ids)) < len(ids) == len({(row["type"], id) for row, id in zip(rows, ids, strict=True)})
    if is_joining and all(ids):
        return ids
    seen: Counter[tuple[str, str, str]] = Counter()
    things = []
    for row in rows:
        key = (row["type"], row["object_label"], row["attack_word"])
        seen[key] += 1
        things.append(f"{key[1]}/{key[2]}/{seen[key]}")
    return things


def _scam_templates() -> tuple[str, ...]:
    """Return the first 32 of CLIP's 80 ImageNet templates, as SCAM's own evaluation uses them."""
    return known_prompts("imagenet").templates[:32]


DIALECTS = (
    Dialect(frozenset({"object", "text", "attack"}), _labelled),
    Dialect(frozenset({"type", "object_label", "attack_word"}), _scam, _scam_templates),
)
