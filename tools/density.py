"""Show how dense the code is, by room: `make density`. It guards nothing, and only shows where to look first.

    python tools/density.py                        # clipbench, tasks and reports
    python tools/density.py reports --statements 10

The size of a statement, such as an assignment or a return, is its number of syntax nodes. Docstrings are not counted.
"""

import argparse
import ast
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, TypeGuard

ROOT = Path(__file__).parents[1]
PACKAGES = ("clipbench", "tasks", "reports")
LARGE, HUGE = 60, 110
"""Nodes from which on a statement is read more than once, and is hardly read at all."""

SIMPLE = (ast.Assign, ast.AnnAssign, ast.AugAssign, ast.Expr, ast.Return, ast.Raise, ast.Assert, ast.Delete)
"""Statements that hold an expression and no other statement."""
COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
HEADER = (
    "room                                nodes/line  median  9th decile  over 60  over 110"
    "  comprehensions  conditional expressions"
)


class Statement(NamedTuple):
    """A simple statement."""

    place: str
    """File and line."""
    n_nodes: int


@dataclass(frozen=True, kw_only=True)
class Density:
    """Statements and other figures of a file, or of several."""

    statements: list[Statement]
    """The simple statements."""
    n_statements: int
    """All statements, with loops, branches and definitions."""
    n_nodes: int
    n_lines: int
    """Lines that hold code."""
    n_comprehensions: int
    n_conditionals: int


def file_density(path: Path) -> Density:
    """Return the figures of a file."""
    text = path.read_text(encoding="utf-8")
    nodes = list(ast.walk(ast.parse(text)))
    docstrings = [node for node in nodes if _is_docstring(node)]
    statements, n_statements = [], 0
    for node in nodes:
        if isinstance(node, ast.stmt) and not _is_docstring(node):
            n_statements += 1
            if isinstance(node, SIMPLE):
                statements.append(Statement(f"{_name(path)}:{node.lineno}", sum(1 for _ in ast.walk(node))))
    return Density(
        statements=statements,
        n_statements=n_statements,
        n_nodes=len(nodes),
        n_lines=_count_lines(text, docstrings),
        n_comprehensions=sum(isinstance(node, COMPREHENSIONS) for node in nodes),
        n_conditionals=sum(isinstance(node, ast.IfExp) for node in nodes),
    )


def _is_docstring(node: ast.AST) -> TypeGuard[ast.Expr]:
    """Return whether a statement is only a text: a docstring, or the description below a constant."""
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def _count_lines(text: str, docstrings: Sequence[ast.Expr]) -> int:
    """Return the number of lines that are not empty, a comment or part of a docstring."""
    docstring_lines: set[int] = set()
    for docstring in docstrings:
        docstring_lines.update(range(docstring.lineno, (docstring.end_lineno or docstring.lineno) + 1))
    n_lines = 0
    for number, line in enumerate(text.splitlines(), 1):
        is_empty = not line.strip() or line.strip().startswith("#")
        if not is_empty and number not in docstring_lines:
            n_lines += 1
    return n_lines


def joint_density(files: Sequence[Density]) -> Density:
    """Return the figures of files taken together."""
    return Density(
        statements=[statement for density in files for statement in density.statements],
        n_statements=sum(density.n_statements for density in files),
        n_nodes=sum(density.n_nodes for density in files),
        n_lines=sum(density.n_lines for density in files),
        n_comprehensions=sum(density.n_comprehensions for density in files),
        n_conditionals=sum(density.n_conditionals for density in files),
    )


def room_line(room: str, density: Density) -> str:
    """Return the figures of a room in a line: size and share of statements, then counts per 100 statements."""
    sizes = sorted(statement.n_nodes for statement in density.statements) or [0]
    ninth_decile = sizes[int(0.9 * (len(sizes) - 1))]
    over_large = 100 * sum(size > LARGE for size in sizes) / len(sizes)
    n_huge = sum(size > HUGE for size in sizes)
    n_statements = max(1, density.n_statements)
    return (
        f"{room:<36}{density.n_nodes / max(1, density.n_lines):10.1f}  {statistics.median(sizes):6.0f}"
        f"  {ninth_decile:10d}  {over_large:5.1f} %  {n_huge:8d}"
        f"  {100 * density.n_comprehensions / n_statements:14.1f}  {100 * density.n_conditionals / n_statements:23.1f}"
    )


def main() -> None:
    """Print the figures of all files, of each room, and the largest statements."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="*", type=Path, help="default: clipbench, tasks and reports")
    parser.add_argument("--statements", type=int, default=0, metavar="N", help="also list the N largest statements")
    arguments = parser.parse_args()
    folders = arguments.folders or [ROOT / package for package in PACKAGES]
    rooms: dict[str, list[Density]] = {}
    for folder in folders:
        for path in sorted(folder.rglob("*.py")) if folder.is_dir() else [folder]:
            rooms.setdefault(_name(path.parent), []).append(file_density(path))
    print(HEADER)
    for room, files in sorted(rooms.items()):
        print(room_line(room, joint_density(files)))
    everything = joint_density([density for files in rooms.values() for density in files])
    print(room_line("all", everything))
    largest_first = sorted(everything.statements, key=lambda statement: -statement.n_nodes)
    for statement in largest_first[: arguments.statements]:
        print(f"{statement.n_nodes:5d} nodes  {statement.place}")


def _name(path: Path) -> str:
    """Return a path below the repository without its root, and another one unchanged."""
    whole_path = path.resolve()
    return str(whole_path.relative_to(ROOT)) if whole_path.is_relative_to(ROOT) else str(path)


if __name__ == "__main__":
    main()
