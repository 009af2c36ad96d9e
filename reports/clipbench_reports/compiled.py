"""Templates of pages, compiled once: their code is kept beside them, as Python keeps that of modules."""

import hashlib
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from importlib.util import cache_from_source
from pathlib import Path
from typing import Any

import jinja2
from jinja2 import BytecodeCache, Environment, PackageLoader, StrictUndefined, nodes
from jinja2.bccache import Bucket
from jinja2.compiler import CodeGenerator, Frame

from clipbench.errors import MachineError
from clipbench.files import atomic_file
from clipbench.untrusted.reading import read_bytes

OPTIONS: Mapping[str, Any] = {"autoescape": True, "trim_blocks": True, "lstrip_blocks": True, "optimized": False}
"""Options of all templates; the last, with ``_NoConstants``, keeps out of the code what a filter gives today."""
N_SUM = 16
"""Bytes of the digest that a file begins with."""


def environment(package: str, filters: Mapping[str, Callable[..., Any]]) -> Environment:
    """Return what renders the templates of a package: it escapes everything, and knows these filters.

    Args:
        package: name of the package with a folder ``templates``.
        filters: by their names in templates.
    """
    made = Environment(
        loader=PackageLoader(package), undefined=StrictUndefined, bytecode_cache=_BesideTemplates(), **OPTIONS
    )
    made.code_generator_class = _NoConstants
    made.filters.update(filters)
    return made


class _NoConstants(CodeGenerator):
    """Makes code that applies filters to constants when it is run, and not when it is made."""

    def _output_child_to_const(self, node: nodes.Expr, frame: Frame, finalize: CodeGenerator._FinalizeInfo) -> str:
        if not isinstance(node, nodes.TemplateData):
            raise nodes.Impossible
        return super()._output_child_to_const(node, frame, finalize)


class _BesideTemplates(BytecodeCache):
    """Code in ``__pycache__``; where that cannot be written to, templates are compiled each time."""

    def get_cache_key(self, name: str, filename: str | None = None) -> str:
        return "" if filename is None else cache_from_source(f"{filename}-{_STAMP}")

    def load_bytecode(self, bucket: Bucket) -> None:
        with suppress(OSError):
            content = read_bytes(Path(bucket.key))
            if _sum(content[N_SUM:]) == content[:N_SUM]:  # jinja takes a damaged file for code
                bucket.bytecode_from_string(content[N_SUM:])  # nothing, where the source is another

    def dump_bytecode(self, bucket: Bucket) -> None:
        if bucket.key and not sys.dont_write_bytecode:
            content = bucket.bytecode_to_string()
            with suppress(OSError, MachineError), atomic_file(Path(bucket.key)) as file:
                file.write(_sum(content) + content)


def _sum(content: bytes) -> bytes:
    return hashlib.blake2b(content, digest_size=N_SUM).digest()


_STAMP = f"1-jinja{jinja2.__version__}{''.join(str(int(value)) for value in OPTIONS.values())}.j2"
"""End of the names: a number that goes up when this module makes other code, and what else the code depends on beside the
source; after the last dot Python puts its own version."""
