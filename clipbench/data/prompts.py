"""Class names, and prompts: the texts of each class for zero-shot classification, from templates or written by hand."""

import re
import runpy
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from clipbench.data.dataset import Dataset
from clipbench.data.images import content_digest
from clipbench.errors import DataError, UsageError, did_you_mean
from clipbench.untrusted.reading import is_file, read_json, read_text, shown, why_not_there

CLASS_NAMES_FILE = "classnames.txt"
"""Name of the file with class names in the folder of the data, as in CLIP_benchmark's layout."""
PLACEHOLDER = "{c}"
DEFAULT_TEMPLATES = ("a photo of a {c}.",)
"""The CLIP paper's plain prompt, for data without templates that are not in the catalogue either."""


MOST_LETTERS = 80
"""Characters of the first prompt that a result keeps, by which a reader recognises them."""
_BRACES = re.compile(r"\{[^{}]*\}")


@dataclass(frozen=True, kw_only=True)
class Prompts:
    """Templates for all classes, or the prompts of each class."""

    templates: tuple[str, ...] | None = None
    """``{c}`` stands for the class name."""
    by_class: Mapping[str, tuple[str, ...]] | None = None

    def render(self, class_names: Sequence[str]) -> list[list[str]]:
        """Return the prompts of each class, in order, or raise DataError unless prompts by class are of exactly these
        classes.

        Example:
            >>> Prompts(templates=("a {c}.", "the {c}.")).render(["dog", "cat"])
            [['a dog.', 'the dog.'], ['a cat.', 'the cat.']]
        """
        if self.by_class is None:
            templates = self.templates or DEFAULT_TEMPLATES
            return [[template.replace(PLACEHOLDER, name) for template in templates] for name in class_names]
        unknown = [name for name in self.by_class if name not in set(class_names)]
        missing = [name for name in class_names if name not in self.by_class]
        if missing:
            hint = did_you_mean(missing[0], unknown)
            lack = f"prompts lack {len(missing)} of {len(class_names)} classes"
            raise DataError(f"{lack}, the first '{missing[0]}': {hint}")
        if unknown:
            raise DataError(
                f"prompts name {len(unknown)} classes that the data set does not have, the first '{unknown[0]}'"
            )
        return [list(self.by_class[name]) for name in class_names]

    def record(self) -> dict[str, object]:
        """Return the entry of the prompts in a result: their kind, number, first text and hash."""
        if self.by_class is None:
            kind, prompts, texts = "templates", list(self.templates or ()), repr(self.templates)
        else:
            kind, prompts = "by class", [prompt for prompts in self.by_class.values() for prompt in prompts]
            texts = repr(sorted(self.by_class.items()))
        first = prompts[0][:MOST_LETTERS] if prompts else ""
        return {
            "kind": kind,
            "n_prompts": len(prompts),
            "first": first,
            "fingerprint": content_digest(texts.encode()),
        }


class PublishedPrompts(NamedTuple):
    """The published prompts of a data set."""

    templates: tuple[str, ...]
    class_names: tuple[str, ...] | None
    """None where the data's own names are used."""


def prompts_of(dataset: Dataset) -> Prompts:
    """Return the data set's own templates, or the default one."""
    return Prompts(templates=dataset.templates or DEFAULT_TEMPLATES)


@cache
def published_prompts(name: str) -> PublishedPrompts:
    """Return the published prompts of a table in ``prompts.toml``, or raise UsageError if the table does not exist."""
    tables = tomllib.loads(files("clipbench.data").joinpath("prompts.toml").read_text(encoding="utf-8"))
    if name not in tables:
        hint = did_you_mean(name, tables)
        raise UsageError(f"the catalogue has prompts = '{name}', but prompts.toml has no such table: {hint}")
    table = tables[name]
    names = None if "class_names" not in table else _expand_list(table["class_names"])
    if names is not None and "classes" in table:
        names = tuple(names[number] for number in table["classes"])
    return PublishedPrompts(_expand_list(table["templates"]), names)


def read_prompts(path: Path) -> Prompts:
    """Return the prompts in a file of the user's.

    A ``.json`` file holds a list of templates, or an object from class name to a list of complete prompts (as CuPL
    writes them). Any other file holds one template per line. Raises UsageError if the file does not exist, and
    DataError if it is malformed or empty, or a template lacks ``{c}``.
    """
    if not is_file(path):
        raise UsageError(
            f"no prompts file {path}{why_not_there(path)}: expected a .json file, "
            "or a text file with one template per line"
        )
    if path.suffix.lower() != ".json":
        return Prompts(templates=read_templates(path))
    content = read_json(path, DataError)
    if isinstance(content, dict):
        if not content:
            raise DataError(f"{path} holds no classes: expected an object from class name to a list of prompts")
        by_class = {name: tuple(_texts(prompts, f"{path}, class '{name}'")) for name, prompts in content.items()}
        return Prompts(by_class=by_class)
    return Prompts(templates=_check_templates(_texts(content, str(path)), path))


def read_templates(path: Path) -> tuple[str, ...]:
    """Return the templates in a text file, one per line, without blank lines.

    Raises:
        DataError: there is none, or one lacks ``{c}``.
    """
    lines = [line.strip() for line in read_text(path, DataError).splitlines()]
    return _check_templates([line for line in lines if line], path)


def _check_templates(templates: Sequence[str], path: Path) -> tuple[str, ...]:
    if not templates:
        raise DataError(f"{path} holds no templates: expected one or more, such as {DEFAULT_TEMPLATES[0]}")
    for template in templates:
        # "{}" and "{classname}" are other tools' placeholders: left in, every class would get the same prompt.
        for field in _BRACES.findall(template):
            if field != PLACEHOLDER:
                raise DataError(
                    f"{path}: template {shown(template)} has {field}: write {PLACEHOLDER} for the class name"
                )
        if PLACEHOLDER not in template:
            raise DataError(f"{path}: template {shown(template)} lacks {PLACEHOLDER}, where the class name goes")
    return tuple(templates)


def _texts(value: object, location: str) -> list[str]:
    if not isinstance(value, list) or not value or not all(isinstance(text, str) and text.strip() for text in value):
        raise DataError(f"{location}: expected a list of one or more texts, got {shown(value)}")
    return value


def _expand_list(value: str | Iterable[str]) -> tuple[str, ...]:
    """Return a list unchanged, or the list ``NAME`` of open_clip for ``open_clip:NAME``, as texts with ``{c}``."""
    return open_clip_list(value.removeprefix("open_clip:")) if isinstance(value, str) else tuple(value)


@cache
def open_clip_list(name: str) -> tuple[str, ...]:
    """Return a list of open_clip, such as ``SIMPLE_IMAGENET_TEMPLATES``, as texts with ``{c}`` for a class name.

    Only the file with the lists is run. To import all of open_clip takes seconds.
    """
    package = find_spec("open_clip")
    assert package is not None and package.submodule_search_locations is not None
    path = Path(package.submodule_search_locations[0]) / "zero_shot_metadata.py"
    lists = runpy.run_path(str(path))
    return tuple(template(PLACEHOLDER) if callable(template) else template for template in lists[name])


# -- class names


def read_class_names(path: Path) -> tuple[str, ...]:
    """Return the class names in a text file, one per line, the first for class 0.

    Raises:
        DataError: the file is empty, or one of its lines.
    """
    text = read_text(path, DataError, name=f"class names from {path}")
    lines = [line.strip() for line in text.rstrip().splitlines()]
    if not lines:
        raise DataError(f"{path} holds no class names: expected one per line")
    if "" in lines:
        raise DataError(
            f"{path}, line {lines.index('') + 1} is empty: expected a class name, because the line number is the class"
        )
    return tuple(lines)


def names_for_prompts(identifiers: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return class names with spaces for underscores, which file systems made necessary, and a note if any changed.

    Example:
        >>> names_for_prompts(["golden_retriever"])
        (('golden retriever',), ("class names are read with spaces for underscores ('golden retriever')",))
    """
    names = tuple(identifier.replace("_", " ") for identifier in identifiers)
    changed = [new for old, new in zip(identifiers, names, strict=True) if old != new]
    notes = (f"class names are read with spaces for underscores ('{changed[0]}')",) if changed else ()
    return names, notes


def with_class_names(dataset: Dataset, names: Sequence[str], *, source: str) -> Dataset:
    """Return the data set with other names for the same classes, in the same order, or raise DataError as
    ``check_renaming`` does.
    """
    if dataset.class_names is not None:
        check_renaming(dataset.class_names, names, source=source)
    return replace(dataset, class_names=tuple(names))


def check_renaming(present: Sequence[str], names: Sequence[str], *, source: str) -> None:
    """Raise DataError if ``names`` and the present class names differ in number, or are the same in another order."""
    if len(names) != len(present):
        raise DataError(
            f"{source} has {len(names)} class names for data of {len(present)} classes: expected one name per class"
        )
    if list(names) != list(present) and sorted(names) == sorted(present):
        raise DataError(
            f"{source} has the names of the data in another order ('{names[0]}' first, expected '{present[0]}'):"
            " line numbers are class numbers, so labels would be wrong"
        )
