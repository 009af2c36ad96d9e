"""The columns of a table by role (image, caption, label, id), as the user names them or as they are usually called."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from clipbench.errors import UnknownSplit, UsageError, did_you_mean

OPTIONS = ("image", "caption", "label", "id", "group")
"""``--data-option`` names that take the name of a column."""

USUAL_NAMES: Mapping[str, Sequence[Sequence[str]]] = {
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
    "group": (("group",),),
}
"""Usual column names of each role, in tiers: a later tier counts only where a table has no name of an earlier one, so
that the canonical name wins. Between two names of one tier, only the user can choose."""

CAPTION_COLUMN = "caption"
"""As a group, where captions stand in several columns, such as one a language: the column of each caption."""

_NUMBERED = re.compile(r"(?:caption|text|sentence)s?_?(\d{1,18})")


@dataclass(frozen=True, kw_only=True)
class Roles:
    """The column of each role; None where a table has none."""

    image: str
    captions: tuple[str, ...] = ()
    """Several columns (``caption_0``, ``caption_1``, ...) or one."""
    label: str | None = None
    class_name: str | None = None
    """Column with the name of each class, beside a label column of numbers."""
    id: str | None = None
    id_is_named: bool = False
    """True if the user named the id column; a guessed one is dropped where its values do not fit."""
    split: str | None = None
    groups: tuple[str, ...] = ()
    """Columns whose values slice the data; ``caption`` stands for the column that a caption came from."""


def find_roles(
    columns: Sequence[str],
    options: Mapping[str, str],
    *,
    source: str,
    image: str | None = None,
    label: str | None = None,
) -> Roles:
    """Return the column of each role.

    If the user names the captions or the labels, the other is not guessed.

    Args:
        columns: names of the table's columns.
        options: the user's ``image``, ``caption`` (one column, or several with commas), ``label``, ``id`` and ``group``
            (likewise).
        source: the table, for messages.
        image: the image column by its type; the user's choice takes precedence.
        label: the label column by its type; a usual name takes precedence.

    Raises:
        UsageError: a named column does not exist, several could have one role, or there is no image column, or
            neither captions nor labels.

    Example:
        >>> find_roles(["path", "split", "class_index", "name"], {}, source="manifest.csv")
        Roles(image='path', captions=(), label='class_index', class_name='name', id=None, id_is_named=False, split='split', groups=())
    """
    finder = _ColumnFinder(columns, options, source)
    image = finder.named("image") or image or finder.guess("image")
    if image is None:
        raise UsageError(f"{source} has no image column: {finder.advice('image')}")
    captions, labels = finder.named_captions(), finder.named("label")
    if not captions and labels is None:
        captions, labels = finder.guess_captions(), finder.guess("label") or label
    class_name = finder.guess("class_name") if labels or not captions else None
    if not captions and labels is None and class_name is None:
        raise UsageError(
            f"{source} has neither captions nor labels: {finder.advice('caption')} or --data-option label=COLUMN"
        )
    return Roles(
        image=image,
        captions=captions,
        label=labels or class_name,
        class_name=class_name if labels else None,
        id=finder.named("id") or finder.guess("id"),
        id_is_named="id" in options,
        split=finder.guess("split"),
        groups=finder.groups(captions),
    )


class _ColumnFinder:
    """Finds columns by the user's options and by usual names, whatever their case."""

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
        for tier in USUAL_NAMES[role]:
            candidates = [column for column in self.columns if column.lower() in tier]
            if len(candidates) > 1:
                option = role if role in OPTIONS else "label"
                raise UsageError(
                    f"{self.source}: {' and '.join(candidates)} could each be the {role} column: {self.advice(option)}"
                )
            if candidates:
                return candidates[0]
        return None

    def guess_captions(self) -> tuple[str, ...]:
        canonical = [column for column in self.columns if column.lower() in USUAL_NAMES["caption"][0]]
        numbered = {column: match for column in self.columns if (match := _NUMBERED.fullmatch(column.lower()))}
        if numbered and not canonical:
            return tuple(sorted(numbered, key=lambda column: int(numbered[column][1])))
        column = self.guess("caption")
        return () if column is None else (column,)

    def groups(self, captions: Sequence[str]) -> tuple[str, ...]:
        named = self.options.get("group")
        if named is None:
            guessed = self.guess("group")
            return () if guessed is None else (guessed,)
        names = [named] if named in self.columns else [part.strip() for part in named.split(",")]
        return tuple(
            name if name == CAPTION_COLUMN and len(captions) > 1 else self._existing(name, "group") for name in names
        )

    def _existing(self, name: str, option: str) -> str:
        if name not in self.columns:
            hint = did_you_mean(name, self.columns)
            raise UsageError(f"{self.source} has no column '{name}' (--data-option {option}={name}): {hint}")
        return name


def rows_of_split(column: Iterable[object], split: str | None, *, source: str) -> list[int]:
    """Return the rows of one split, by the values of the split column; all rows without a split.

    Raises:
        UsageError: no row is of that split.
    """
    splits = [str(value) for value in column]
    rows = [row for row, value in enumerate(splits) if split in (None, value)]
    if split is not None and not rows:
        raise UnknownSplit(source, split, sorted(set(splits)))
    return rows
