"""Write docs/schemas/result-1.json, the JSON Schema of ``result.json``, from the records. Run by `make pages`.

The wheel has it as clipbench/schemas/result-1.json, and the site below schemas/. docs/stability.md says what is stable.
"""

import argparse
import ast
import inspect
import json
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields, is_dataclass
from itertools import pairwise
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from clipbench.results.record import ModelRecord, Result

FILE = Path(__file__).parents[1] / "docs" / "schemas" / "result-1.json"
TYPES = {bool: "boolean", float: "number", int: "integer", str: "string", NoneType: "null"}


def json_schema(kind: Any) -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of a dataclass: its fields and no others, with what their docstrings say."""
    of_classes: dict[str, Any] = {}
    found = {"$schema": "https://json-schema.org/draft/2020-12/schema", **of_class(kind, of_classes)}
    return {**found, "$defs": of_classes} if of_classes else found


def of_class(kind: Any, of_classes: dict[str, Any]) -> dict[str, Any]:
    said, hints, properties = docstrings(kind), get_type_hints(kind), {}
    for field in fields(kind):
        described = {"description": said[field.name]} if field.name in said else {}
        properties[field.name] = {**of_hint(hints[field.name], of_classes), **described}
    required = [field.name for field in fields(kind) if field.default is field.default_factory is MISSING]
    found = {"title": kind.__name__, "description": said.get("", ""), "type": "object", "properties": properties}
    return {**found, "required": required, "additionalProperties": False}


def of_hint(hint: Any, of_classes: dict[str, Any]) -> dict[str, Any]:
    parts, origin = get_args(hint), get_origin(hint)
    if origin in (Union, UnionType):
        return {"anyOf": [of_hint(part, of_classes) for part in parts]}
    if origin in (list, Sequence):
        return {"type": "array", "items": of_hint(parts[0], of_classes)}
    if origin is Mapping:
        return {"type": "object", "additionalProperties": of_hint(parts[1], of_classes)}
    if is_dataclass(hint):
        name = hint.__name__  # type: ignore[union-attr]
        if name not in of_classes:
            of_classes[name] = {}  # it may hold itself
            of_classes[name] = of_class(hint, of_classes)
        return {"$ref": f"#/$defs/{name}"}
    return {"enum": list(parts)} if origin is Literal else {} if hint is Any else {"type": TYPES[hint]}


def docstrings(kind: Any) -> dict[str, str]:
    """Return the docstring of a class, as that of the empty name, and those below its fields."""
    (defined,) = ast.parse(inspect.cleandoc(inspect.getsource(kind))).body
    assert isinstance(defined, ast.ClassDef), kind
    found = {"": " ".join((kind.__doc__ or "").partition("\n\n")[0].split())}
    for field, below in pairwise(defined.body):
        if isinstance(field, ast.AnnAssign) and isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant):
            found[ast.unparse(field.target)] = " ".join(str(below.value.value).split())
    return found


def text() -> str:
    """Return the file."""
    found = json_schema(Result)
    found["properties"]["schema_version"]["pattern"] = r"^1\.[0-9]+$"
    # A model may say more of itself than readers use.
    found["properties"]["model"] = {**of_class(ModelRecord, found["$defs"]), "additionalProperties": True}
    return json.dumps(found, indent=1) + "\n"


def main() -> None:
    """Write the file."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    FILE.parent.mkdir(exist_ok=True)
    FILE.write_text(text(), encoding="utf-8")


if __name__ == "__main__":
    main()
