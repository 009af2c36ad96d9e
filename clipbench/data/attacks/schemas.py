"""Tables of attacks: the columns that say what each image shows and what is written on it."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from clipbench.data.prompts import known_prompts
from clipbench.errors import DataError, did_you_mean

Cells = Mapping[str, str]


class AttackRow(NamedTuple):
    """The facts that a table row gives about its image; the fields are those of ``Photograph``."""

    object: str
    text: str | None
    thing: str
    condition: str = ""


class AttackSchema(NamedTuple):
    """A set of columns, and the reader of their rows."""

    columns: frozenset[str]
    """All must be there; together they do not occur in tables of captions or labels."""
    read: Callable[[Sequence[Cells], Callable[[int], str]], list[AttackRow]]
    """Reads the rows; the second argument names a row in error messages."""
    templates: Callable[[], tuple[str, ...] | None] = lambda: None
    """Returns the prompt templates of the published protocol."""


def attack_schema(columns: Iterable[str]) -> AttackSchema | None:
    """Return the schema of a table of attacks with these columns, or None.

    Example:
        >>> attack_schema(["path", "object", "text", "attack"]) is SCHEMAS[0], attack_schema(["path", "text"])
        (True, None)
    """
    present = set(columns)
    return next((schema for schema in SCHEMAS if schema.columns <= present), None)


def _read_own(rows: Sequence[Cells], place: Callable[[int], str]) -> list[AttackRow]:
    """Read ``object``, ``text`` and ``attack`` (0 or 1), and optionally ``set`` and ``note``.

    Without an attack the text is the object's own name or empty; a note with "blank" says that there is a label.
    """
    return [_read_own_row(row, place(number)) for number, row in enumerate(rows)]


def _read_own_row(row: Cells, place: str) -> AttackRow:
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
    return AttackRow(name, None if is_bare else text, f"{row.get('set', '')}/{name}".lstrip("/"))


_SCAM_TYPES: Mapping[str, tuple[bool, str]] = {
    "NoSCAM": (False, ""),
    "SCAM": (True, ""),
    "SynthSCAM": (True, "synthetic"),
}
"""(is the word written, condition) of each SCAM type. NoSCAM shows the same note with the word removed."""


def _read_scam(rows: Sequence[Cells], place: Callable[[int], str]) -> list[AttackRow]:
    """Read SCAM's ``type``, ``object_label`` and ``attack_word``, and its ``id`` where that joins the three types."""
    attack_rows = []
    for number, (row, thing) in enumerate(zip(rows, _scam_things(rows), strict=True)):
        if row["type"] not in _SCAM_TYPES:
            raise DataError(f"{place(number)}: unknown type '{row['type']}': {did_you_mean(row['type'], _SCAM_TYPES)}")
        if not row["object_label"].strip() or not row["attack_word"].strip():
            raise DataError(f"{place(number)}: the object_label or attack_word is empty")
        is_written, condition = _SCAM_TYPES[row["type"]]
        attack_rows.append(AttackRow(row["object_label"], row["attack_word"] if is_written else "", thing, condition))
    return attack_rows


def _scam_things(rows: Sequence[Cells]) -> list[str]:
    """Return a key for each photograph that its versions share: an id common to several types where there is one."""
    ids = [row.get("id", "") for row in rows]
    is_joining = len(set(ids)) < len(ids) == len({(row["type"], id) for row, id in zip(rows, ids, strict=True)})
    if is_joining and all(ids):
        return ids
    # Else object, word and occurrence: each type lists the photographs in the same order.
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


SCHEMAS = (
    AttackSchema(frozenset({"object", "text", "attack"}), _read_own),
    AttackSchema(frozenset({"type", "object_label", "attack_word"}), _read_scam, _scam_templates),
)
