"""Dataclasses from JSON, checked against the types of their fields. An error names the field that does not fit.

An integer counts as the same float, and unknown keys are ignored, because later versions may add some.
``unknown_fields`` names them. In a file that a person writes, an unknown key is a mistake: ``check_keys`` refuses it.
"""

# msgspec and pydantic were tried in place of this. msgspec names the place of a metric as ``metrics[...]``, without its
# name, and lets NaN and numbers beyond 64 bits through. pydantic names it, but says nothing of numbers inside ``Any``,
# so half of this module would remain beside the translation of its messages, and it takes longer to import than a run
# to read.

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from clipbench.errors import ClipbenchError, UsageError, did_you_mean
from clipbench.untrusted.reading import shown

Record = TypeVar("Record")

_hints = cache(get_type_hints)  # a result has hundreds of records of few kinds

MOST = 2.0**63
"""Bound of all numbers of a record."""


class SchemaError(Exception):
    """A value has another type than its field declares. The text names the place, the value and the expected type."""


def parse_record(kind: type[Record], data: object, location: str = "") -> Record:
    """Return a dataclass from a JSON object.

    Args:
        location: of the object in its file, such as ``evaluations[0].``.

    Raises:
        SchemaError: a field without default is not there, or a value is of another type.

    Example:
        >>> from clipbench.results.record import DatasetRecord
        >>> parse_record(DatasetRecord, {"id": "coco", "n_samples": 5000, "later": 1}).n_samples
        5000
    """
    if not isinstance(data, dict):
        raise SchemaError(f"{location.removesuffix('.') or 'it'} is {shown(data)}, expected an object")
    hints = _hints(kind)  # type: ignore[arg-type]
    values = {}
    for field in fields(kind):  # type: ignore[arg-type]
        if field.name in data:
            values[field.name] = parse_value(hints[field.name], data[field.name], f"{location}{field.name}")
        elif field.default is MISSING and field.default_factory is MISSING:
            raise SchemaError(f"{location}{field.name} is not there")
    return kind(**values)


def parse_value(kind: Any, value: object, location: str) -> Any:
    """Return a value converted to a type. A class that is not a dataclass only accepts its instances.

    Raises:
        SchemaError: it is of another type.

    Example:
        >>> parse_value(tuple[int, ...], [1, 5], "ks")
        (1, 5)
    """
    if get_origin(kind) is not None:
        return _parse_generic(get_origin(kind), get_args(kind), value, location)
    if kind is Any:
        return _parse_any(value, location)
    if kind in _NAMES:
        return _parse_plain(kind, value, location)
    if not isinstance(kind, type) or isinstance(value, kind):
        return value
    if is_dataclass(kind):
        return parse_record(kind, value, f"{location}.")
    raise SchemaError(f"{location} is {shown(value)}, expected a {kind.__name__}")


def unknown_fields(kind: Any, value: object, location: str = "") -> Iterator[str]:
    """Yield the locations of keys that are not fields of a dataclass, including nested ones.

    Example:
        >>> from clipbench.results.record import EvaluationRecord
        >>> list(unknown_fields(EvaluationRecord, {"task": "a", "metrics": {"acc1": {"value": 0.5, "later": 1}}}))
        ['metrics.acc1.later']
    """
    if is_dataclass(kind):
        hints = _hints(kind)  # type: ignore[arg-type]
        for key, inner in value.items() if isinstance(value, dict) else ():
            yield from unknown_fields(hints[key], inner, f"{location}{key}.") if key in hints else (f"{location}{key}",)
        return
    parts = [part for part in get_args(kind) if part is not NoneType]
    if get_origin(kind) in (Union, UnionType):
        yield from unknown_fields(parts[0], value, location)
    elif get_origin(kind) is Mapping and isinstance(value, dict):
        for key, inner in value.items():
            yield from unknown_fields(parts[1], inner, f"{location}{key}.")
    elif get_origin(kind) in (list, Sequence) and isinstance(value, list):
        for index, inner in enumerate(value):
            yield from unknown_fields(parts[0], inner, f"{location.removesuffix('.')}[{index}].")


def check_keys(
    table: Mapping[str, object],
    known_keys: Collection[str],
    where: str,
    *,
    error: type[ClipbenchError] = UsageError,
    hint: str = "",
) -> None:
    """Raise an error for a key that a file may not have, where an unknown key would be a spelling mistake.

    Args:
        where: place of the table, as the message begins.
        hint: end of the message.

    Example:
        >>> check_keys({"lable": 3}, ["label", "image"], "items.jsonl, line 1")
        Traceback (most recent call last):
        clipbench.errors.UsageError: items.jsonl, line 1: unknown key 'lable': did you mean 'label'?
    """
    for key in table:
        if key not in known_keys:
            raise error(f"{where}: unknown key '{key}': {did_you_mean(key, known_keys)}{hint}")


def _parse_generic(origin: Any, parts: tuple[Any, ...], value: object, location: str) -> Any:
    """Return a value converted to a type with parameters, unchanged if the type is not supported."""
    if origin in (Union, UnionType):
        inner_type = next(part for part in parts if part is not NoneType)
        return None if value is None else parse_value(inner_type, value, location)
    if origin is Literal:
        if value not in parts:
            raise SchemaError(f"{location} is {shown(value)}, expected one of {', '.join(map(str, parts))}")
        return value
    if origin in (list, Sequence):
        return [
            parse_value(parts[0], inner, f"{location}[{index}]")
            for index, inner in enumerate(_parse_plain(list, value, location))
        ]
    if origin is tuple and parts[1:] == (Ellipsis,):
        items = list(value) if isinstance(value, tuple) else value
        return tuple(parse_value(list[parts[0]], items, location))  # type: ignore[valid-type]
    if origin is Mapping:
        return {
            key: parse_value(parts[1], inner, f"{location}.{key}")
            for key, inner in _parse_plain(dict, value, location).items()
        }
    return value


def _parse_any(value: object, location: str) -> object:
    """Return a value of any type after checking all numbers in it."""
    if isinstance(value, dict):
        for key, inner in value.items():
            _parse_any(inner, f"{location}.{key}")
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            _parse_any(inner, f"{location}[{index}]")
    return _parse_plain(type(value), value, location) if isinstance(value, int | float) else value


def _parse_plain(kind: Any, value: Any, location: str) -> Any:
    """Return a value of a plain type.

    A bool is not a number, and neither are NaN, infinity and integers beyond 64 bits, which Python reads from JSON.
    """
    is_right = type(value) is kind or (kind is float and type(value) is int)
    if not is_right or (kind in (int, float) and not abs(value) < MOST):
        bound = " below 2^63" if is_right and abs(value) >= MOST else ""
        raise SchemaError(f"{location} is {shown(value)}, expected {_NAMES[kind]}{bound}")
    return float(value) if kind is float else value


_NAMES = {
    bool: "true or false", dict: "an object", float: "a number", int: "an integer", list: "a list", str: "text"
}  # fmt: skip
