"""The table of `make density`: the figures of code whose nodes are counted by hand."""

import runpy
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "tools" / "density.py"
pytestmark = pytest.mark.skipif(not SCRIPT.is_file(), reason="tools/ is not part of the source distribution")

CODE = '''"""The docstring of a module
in two lines."""

LIMIT = 3
"""Its description."""


def doubled(values):
    # A comment is no code.
    return [2 * value for value in values if value < LIMIT]
'''


def test_nodes_of_statements_are_counted_without_docstrings_and_lines_without_comments(tmp_path: Path) -> None:
    path = tmp_path / "code.py"
    path.write_text(CODE, encoding="utf-8")
    density = runpy.run_path(str(SCRIPT))["file_density"](path)
    # LIMIT = 3: the assignment, the name, its context and the constant. The return: itself, the list comprehension,
    # then 2 * value (the operation, 2, *, the name and its context), and the loop: itself, two names with their
    # contexts, and the comparison with its sign and two names with their contexts.
    assert [statement.n_nodes for statement in density.statements] == [4, 1 + 1 + 5 + 1 + 4 + 6]
    assert density.n_statements == 3  # with the definition of the function
    assert (density.n_lines, density.n_comprehensions, density.n_conditionals) == (3, 1, 0)


def test_a_line_for_each_room_and_the_largest_statements_are_printed(tmp_path: Path) -> None:
    for room in ("first", "second"):
        (tmp_path / room).mkdir()
        (tmp_path / room / "code.py").write_text(CODE, encoding="utf-8")
    command = [sys.executable, str(SCRIPT), str(tmp_path), "--statements", "1"]
    lines = subprocess.run(command, check=True, capture_output=True, text=True, encoding="utf-8").stdout.splitlines()
    assert [line.split()[0] for line in lines[1:3]] == [str(tmp_path / "first"), str(tmp_path / "second")]
    assert lines[3].startswith("all ")
    assert lines[4].split()[:2] == ["18", "nodes"]
    assert len(lines) == 5
