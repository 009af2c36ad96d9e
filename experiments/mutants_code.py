"""Mutants of Python code: what may be changed in a statement, and where the statement is after code has moved.

A statement is known by its text as ``ast.unparse`` gives it, of compound ones the line that ends with a colon. So neither
its format, nor its comments, nor its place matter.
"""

import ast
import copy
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from itertools import permutations
from pathlib import Path
from typing import Any, NamedTuple


def _both_ways(*pairs: tuple[Any, Any]) -> dict[Any, Any]:
    return {one: other for pair in pairs for one, other in permutations(pair)}


BOUNDARIES = _both_ways((ast.Lt, ast.LtE), (ast.Gt, ast.GtE))
OPPOSITES = _both_ways(
    (ast.Lt, ast.GtE), (ast.LtE, ast.Gt), (ast.Eq, ast.NotEq), (ast.In, ast.NotIn), (ast.Is, ast.IsNot)
)
ARITHMETIC = {
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult,
    ast.Pow: ast.Mult,
    **_both_ways((ast.Add, ast.Sub), (ast.Mult, ast.Div), (ast.BitAnd, ast.BitOr)),
}
TWINS = _both_ways(
    ("min", "max"),
    ("minimum", "maximum"),
    ("nanmin", "nanmax"),
    ("argmin", "argmax"),
    ("any", "all"),
    ("floor", "ceil"),
    ("zeros", "ones"),
    ("mean", "sum"),
    ("nanmean", "nansum"),
    ("append", "extend"),
    ("startswith", "endswith"),
)
"""Functions and methods that take the same arguments."""
WORDS = {"warn", "warning", "info", "debug", "print", "TypeVar", "cast"}
"""Calls of these hold texts for people and types, which are not mutated."""
BLOCK = "\n    ..."
"""Of a compound statement without its blocks."""
STRICT = "strict"
"""An argument of ``zip`` that matters only to faulty code."""

Scoped = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


@dataclass(frozen=True)
class Statement:
    """A statement, or the line of a compound one that ends with a colon."""

    function: str
    """Qualified name of the function or class that it stands in; empty at the top of a module."""
    node: ast.stmt
    """Without its blocks."""

    @cached_property
    def text(self) -> str:
        """The code, in one format."""
        return ast.unparse(self.node).removesuffix(BLOCK)


class Mutation(NamedTuple):
    """A change of one statement."""

    operator: str
    text: str
    """The statement after it."""
    node: ast.expr | ast.stmt
    """What is replaced in the source."""
    replacement: str


class Mutant(NamedTuple):
    """A mutation that was drawn, as it is written down."""

    id: str
    room: str
    file: str
    function: str
    operator: str
    statement: str
    nth: int
    """Which of the equal statements of the function."""
    mutated: str
    before: str | None = None
    """What became of it when it was first tried: killed, slow or survived."""
    after: str | None = None
    """The same after a rebuilding; gone where its statement is nowhere."""


def statements(source: str) -> list[Statement]:
    """Return the statements of a module that may be mutated, in order.

    Example:
        >>> [(each.function, each.text) for each in statements("def f(x):\\n  if x>1: return  x")]
        [('f', 'def f(x):'), ('f', 'if x > 1:'), ('f', 'return x')]
    """
    return list(_statements(ast.parse(source).body, ()))


def mutations(statement: Statement) -> list[Mutation]:
    """Return all changes of a statement.

    Example:
        >>> (found,) = statements("a = b < 1")
        >>> [(each.operator, each.text) for each in mutations(found)]
        [('boundary', 'a = b <= 1'), ('comparison', 'a = b >= 1'), ('number', 'a = b < 2')]
    """
    node = statement.node
    if _may_go(node):
        gone = [Mutation("delete", "pass", node, "pass")]
        if isinstance(node, ast.Raise):
            return gone  # all else in it is the text of an error
    else:
        gone = []
    found = [(old, operator, new) for old in _expressions(node) for operator, new in _changes(old)]
    found += [(test, "condition", ast.UnaryOp(ast.Not(), test)) for test in _conditions(node)]
    if isinstance(node, ast.Return) and node.value is not None and ast.unparse(node.value) != "None":
        found.append((node.value, "return", ast.Constant(None)))
    is_header = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    return gone + [
        Mutation("default" if is_header else operator, _with(node, old, new), old, f"({ast.unparse(new)})")
        for old, operator, new in found
    ]


def mutated(source: str, mutation: Mutation) -> str:
    """Return the source of a module with one of its statements changed, and nothing else."""
    data, node = source.encode(), mutation.node
    assert node.end_lineno is not None and node.end_col_offset is not None, mutation
    starts = [0]
    for line in data.splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    start, end = starts[node.lineno - 1] + node.col_offset, starts[node.end_lineno - 1] + node.end_col_offset
    return (data[:start] + mutation.replacement.encode() + data[end:]).decode()


class Code:
    """The modules below some folders, and where a mutant is in them.

    Args:
        root: the project's folder.
        packages: folders below it.
    """

    def __init__(self, root: Path, packages: Iterable[str]) -> None:
        self.root = root
        self.packages = tuple(packages)
        self.statements = cache(self._statements)

    @cached_property
    def files(self) -> list[str]:
        """Paths of all modules below the root."""
        found = (path for package in self.packages for path in (self.root / package).rglob("*.py"))
        return sorted(path.relative_to(self.root).as_posix() for path in found)

    def find(self, mutant: Mutant) -> tuple[str, Mutation] | None:
        """Return the file that a mutant's statement is in, and the mutation there; None if it is nowhere.

        It is looked for in functions of its function's name, a leading underscore aside, first in its file and then in all;
        then under any name, where it has to be the only one of the file, or of all.
        """
        here, everywhere = [mutant.file], self.files
        for is_named, files in ((True, here), (True, everywhere), (False, here), (False, everywhere)):
            if (found := self._found(mutant, files, is_named=is_named)) is not None:
                return found
        return None

    def _found(self, mutant: Mutant, files: Iterable[str], *, is_named: bool) -> tuple[str, Mutation] | None:
        name, places = _name(mutant.function), defaultdict[tuple[str, str], list[Statement]](list)
        for file in files:
            for statement in self.statements(file):
                function = statement.function
                if (_name(function) == name or not is_named) and statement.text == mutant.statement:
                    places[file, function].append(statement)
        fitting = sorted(places, key=lambda place: place[1] != mutant.function)
        if not is_named and sum(map(len, places.values())) != 1:
            return None
        for place in fitting:
            equal = places[place]
            for mutation in mutations(equal[min(mutant.nth, len(equal) - 1)]):
                if (mutation.operator, mutation.text) == (mutant.operator, mutant.mutated):
                    return place[0], mutation
        return None

    def _statements(self, file: str) -> list[Statement]:
        path = self.root / file
        return statements(path.read_text(encoding="utf-8")) if path.is_file() else []


def _name(function: str) -> str:
    return function.rpartition(".")[2].lstrip("_")


# Statements ------------------------------------------------------------------------------------------------------------


def _statements(block: Iterable[ast.stmt], scope: tuple[str, ...]) -> Iterator[Statement]:
    for node in block:
        if _is_left_out(node):
            continue
        inner = (*scope, node.name) if isinstance(node, Scoped) else scope
        if not isinstance(node, ast.ClassDef | ast.Try | ast.TryStar | ast.Match):
            yield Statement(".".join(inner), _header(node))
        for name in ("body", "orelse", "finalbody"):
            yield from _statements(getattr(node, name, ()), inner)
        for name in ("handlers", "cases"):
            for each in getattr(node, name, ()):
                yield from _statements(each.body, inner)


def _is_left_out(node: ast.stmt) -> bool:
    """Return whether a statement and all below it stay: imports, docstrings, asserts, what only types or scripts need."""
    match node:
        case ast.Import() | ast.ImportFrom() | ast.Assert() | ast.Expr(ast.Constant()):
            return True
        case ast.If(test):
            return ast.unparse(test) in ("TYPE_CHECKING", "__name__ == '__main__'")
        case ast.Assign([ast.Name(name)]):
            return name == "__all__"
    return False


def _header(node: ast.stmt) -> ast.stmt:
    """Return a statement without its blocks and decorators."""
    header = copy.copy(node)
    for name in ("orelse", "decorator_list"):
        if hasattr(header, name):
            setattr(header, name, [])
    if hasattr(header, "body"):
        header.body = [ast.Expr(ast.Constant(...))]
    return header


def _may_go(node: ast.stmt) -> bool:
    match node:
        case ast.Expr(ast.Call(func)):
            return _last_word(func) not in WORDS
        case ast.Assign([ast.Attribute() | ast.Subscript()]) | ast.AugAssign() | ast.Raise() | ast.Continue():
            return True
    return False


def _last_word(function: ast.expr) -> str:
    return ast.unparse(function).rpartition(".")[2]


# Expressions -----------------------------------------------------------------------------------------------------------


def _expressions(node: ast.AST) -> Iterator[ast.expr]:
    """Yield the expressions of a statement, but for types and texts."""
    if isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Call) and _last_word(node.func) in WORDS):
        return
    if isinstance(node, ast.keyword) and node.arg == STRICT:
        return
    if isinstance(node, ast.expr):
        yield node
    for name, value in ast.iter_fields(node):
        if name not in ("annotation", "returns"):
            for each in value if isinstance(value, list) else [value]:
                if isinstance(each, ast.AST):
                    yield from _expressions(each)


def _conditions(node: ast.stmt) -> Iterator[ast.expr]:
    """Yield the conditions of a statement whose opposite no other operator makes."""
    tests = [node.test] if isinstance(node, ast.If) else []
    for each in ast.walk(node):
        tests += each.ifs if isinstance(each, ast.comprehension) else [each.test] if isinstance(each, ast.IfExp) else []
    yield from (test for test in tests if not isinstance(test, ast.Compare | ast.UnaryOp))


def _changes(node: ast.expr) -> Iterator[tuple[str, ast.expr]]:
    """Yield operators and what they make of an expression."""
    match node:
        case ast.Compare():
            yield from _changes_of_comparison(node)
        case ast.BinOp(left, each, right) if type(each) in ARITHMETIC and not _is_text(left) and not _is_text(right):
            yield "arithmetic", ast.BinOp(left, ARITHMETIC[type(each)](), right)
        case ast.BoolOp(each, values):
            yield "logic", ast.BoolOp(ast.Or() if isinstance(each, ast.And) else ast.And(), values)
        case ast.UnaryOp(ast.Not() | ast.USub() as each, operand):
            yield "not" if isinstance(each, ast.Not) else "sign", operand
        case ast.Constant(True | False as value):
            yield "truth", ast.Constant(not value)
        case ast.Constant(int() | float() as value):
            yield "number", ast.Constant(value + 1)
        case ast.Call():
            yield from _changes_of_call(node)


def _changes_of_comparison(node: ast.Compare) -> Iterator[tuple[str, ast.expr]]:
    for operator, swaps in (("boundary", BOUNDARIES), ("comparison", OPPOSITES)):
        for place, each in enumerate(node.ops):
            if type(each) in swaps:
                new = [*node.ops[:place], swaps[type(each)](), *node.ops[place + 1 :]]
                yield operator, ast.Compare(node.left, new, node.comparators)


def _changes_of_call(node: ast.Call) -> Iterator[tuple[str, ast.expr]]:
    for keyword in node.keywords:
        if keyword.arg != STRICT:
            yield "argument", ast.Call(node.func, node.args, [each for each in node.keywords if each is not keyword])
    if (twin := _twin(node.func)) is not None:
        yield "twin", ast.Call(twin, node.args, node.keywords)


def _twin(function: ast.expr) -> ast.expr | None:
    match function:
        case ast.Name(name) if name in TWINS:
            return ast.Name(TWINS[name])
        case ast.Attribute(value, name) if name in TWINS:
            return ast.Attribute(value, TWINS[name])
    return None


def _is_text(node: ast.expr) -> bool:
    return isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Constant) and isinstance(node.value, str | bytes))


class _Swap(ast.NodeTransformer):
    def __init__(self, old: ast.AST, new: ast.AST) -> None:
        self.old, self.new = old, new

    def visit(self, node: ast.AST) -> ast.AST:
        return self.new if node is self.old else self.generic_visit(node)


def _with(node: ast.stmt, old: ast.expr, new: ast.expr) -> str:
    """Return the text of a statement that has ``new`` in the place of ``old``."""
    _Swap(old, new).visit(node)
    text = ast.unparse(node).removesuffix(BLOCK)
    _Swap(new, old).visit(node)
    return text
