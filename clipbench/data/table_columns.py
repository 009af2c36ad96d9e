"""Which column of a table holds what: as the user says, or as its usual name tells."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from clipbench.errors import UsageError, did_you_mean

OPTIONS = ("image", "caption", "label", "id")
"""``--data-option`` names that take the name of a column."""

USUAL: Mapping[str, Sequence[Sequence[str]]] = {
    "image": (
        ("image",),
        (
            "image_path",
            "image_file",
            "image_name",
            "img_path",
            "filepath",
            "file_path",
            "file_name",
            "filename",
            "path",
        ),
        ("img", "file", "jpg", "jpeg", "png", "webp"),
    ),
    "caption": (
        ("caption", "captions"),
        ("text", "texts", "txt", "sentence", "sentences", "description"),
        ("title",),
    ),
    "label": (
        ("label", "class"),
        ("class_index", "class_id", "label_index", "label_id", "fine_label", "cls", "target"),
    ),
    "class_name": (("class_name", "label_name"), ("name",)),
    "id": (("image_id",), ("id", "sample_id", "key", "__key__")),
    "split": (("split",),),
}
"""Usual names of each role, in tiers: a name of a later tier counts only where no earlier one is there, so that the
canonical name wins. Two names of one tier are a choice that only the user can make."""

_NUMBERED = re.compile(r"(?:caption|text|sentence)s?_?(\d+)")


@dataclass(frozen=True, kw_only=True)
class Roles:
    """The column that plays each role; None where none does."""

    image: str
    captions: tuple[str, ...] = ()
    """Several columns (``caption_0``, ``caption_1``, ...) or one."""
    label: str | None = None
    class_name: str | None = None
    """Beside a label that is a number: the name of its class."""
    id: str | None = None
    id_is_named: bool = False
    """Whether the user named the id column: a guessed one gives way where its values do not fit."""
    split: str | None = None


def find_roles(
    columns: Sequence[str],
    options: Mapping[str, str],
    *,
    source: str,
    image: str | None = None,
    label: str | None = None,
) -> Roles:
    """Return the column of each role.

    Naming captions or labels turns off guessing the other: what was not asked for cannot get in the way.

    Args:
        options: the user's ``image``, ``caption`` (one column, or several with commas), ``label`` and ``id``.
        source: the table, for messages.
        image: the image column where its type gives it away; the user's word goes before it.
        label: the label column where its type gives it away and no usual name does.

    Raises:
        UsageError: a named column is not there, several could play one role, or there is no image column, or
            neither captions nor labels.

    Example:
        >>> find_roles(["path", "split", "class_index", "name"], {}, source="manifest.csv")
        Roles(image='path', captions=(), label='class_index', class_name='name', id=None, id_is_named=False, split='split')
    """
    find = _Finder(columns, options, source)
    image = find.named("image") or image or find.guess("image")
    if image is None:
        raise UsageError(f"{source} has no image column: {find.advice('image')}")
    captions, truth = find.named_captions(), find.named("label")
    if not captions and truth is None:
        captions, truth = find.guess_captions(), find.guess("label") or label
    class_name = find.guess("class_name") if truth or not captions else None
    if not captions and truth is None and class_name is None:
        raise UsageError(f"{source} has neither captions nor labels: {find.advice('caption')} or label=COLUMN")
    return Roles(
        image=image,
        captions=captions,
        label=truth or class_name,
        class_name=class_name if truth else None,
        id=find.named("id") or find.guess("id"),
        id_is_named="id" in options,
        split=find.guess("split"),
    )


class _Finder:
    """Looks for columns by the user's options and by usual names, case aside."""

    def __init__(self, columns: Sequence[str], options: Mapping[str, str], source: str) -> None:
        self.columns = list(columns)
        self.options = options
        self.source = source

    def advice(self, option: str) -> str:
        return f"its columns are {', '.join(self.columns)}; name one with --data-option {option}=COLUMN"

    def named(self, option: str) -> str | None:
        name = self.options.get(option)
        return None if name is None else self._existing(name, option)

    def named_captions(self) -> tuple[str, ...]:
        names = self.options.get("caption")
        if names is None:
            return ()
        parts = [names] if names in self.columns else names.split(",")
        return tuple(self._existing(part.strip(), "caption") for part in parts)

    def guess(self, role: str) -> str | None:
        for tier in USUAL[role]:
            found = [column for column in self.columns if column.lower() in tier]
            if found:
                return self._only(found, role)
        return None

    def guess_captions(self) -> tuple[str, ...]:
        canonical = [column for column in self.columns if column.lower() in USUAL["caption"][0]]
        numbered = [column for column in self.columns if _NUMBERED.fullmatch(column.lower())]
        if numbered and not canonical:
            return tuple(sorted(numbered, key=_number))
        column = self.guess("caption")
        return () if column is None else (column,)

    def _only(self, found: Sequence[str], role: str) -> str:
        if len(found) > 1:
            option = role if role in OPTIONS else "label"
            raise UsageError(
                f"{self.source}: {' and '.join(found)} could each be the {role} column: {self.advice(option)}"
            )
        return found[0]

    def _existing(self, name: str, option: str) -> str:
        if name not in self.columns:
            hint = did_you_mean(name, self.columns)
            raise UsageError(f"{self.source} has no column '{name}' (--data-option {option}={name}): {hint}")
        return name


def _number(column: str) -> int:
    match = _NUMBERED.fullmatch(column.lower())
    assert match is not None, column
    return int(match[1])


def keep_split(values: Iterable[object], split: str | None, *, source: str) -> list[int]:
    """Return the rows of a split column that are of one split, or all rows.

    Raises:
        UsageError: no row is of that split.
    """
    rows = list(values)
    if split is None:
        return list(range(len(rows)))
    kept = [row for row, value in enumerate(rows) if str(value) == split]
    if not kept:
        raise UsageError(f"{source} has no split '{split}': it has {', '.join(sorted({str(v) for v in rows}))}")
    return kept
