"""Check the names of the product, as `make check` does: no filler as a loop variable or a parameter, no class name twice.

The table ``[tool.names]`` of pyproject.toml lists the packages and the fillers. CONTRIBUTING.md explains the names.
"""

import argparse
import ast
import sys
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[1]
LOOPS = (ast.For, ast.AsyncFor, ast.comprehension)


def filler_names(tree: ast.AST, fillers: Sequence[str]) -> Iterator[tuple[int, str]]:
    """Yield the line of each loop variable and parameter that is a filler, with the reason why it fails."""
    for node in ast.walk(tree):
        if isinstance(node, ast.arg) and node.arg in fillers:
            expected = "expected the noun of its argument"
            yield node.lineno, f"filler name: got the parameter '{node.arg}', {expected}. Rename it."
        elif isinstance(node, LOOPS):
            expected = "expected the noun of what the loop iterates over"
            for target in ast.walk(node.target):
                if isinstance(target, ast.Name) and target.id in fillers:
                    yield target.lineno, f"filler name: got the loop variable '{target.id}', {expected}. Rename it."


def repeated_classes(trees: Mapping[str, ast.AST], shared: Sequence[str]) -> Iterator[tuple[str, int, str]]:
    """Yield the file and line of each class whose name an earlier class has, with the reason why it fails.

    Args:
        trees: syntax trees by file name.
        shared: names that several classes may have.
    """
    first_lines: dict[str, str] = {}
    for path, tree in trees.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef) and node.name not in shared:
                line = f"{path}:{node.lineno}"
                first = first_lines.setdefault(node.name, line)
                if first != line:
                    reason = f"class name used twice: got '{node.name}', which {first} defines too. Rename one of them."
                    yield path, node.lineno, reason


def problems(root: Path) -> list[str]:
    """Return a line for each name that fails, sorted by file and line."""
    settings = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["names"]
    paths = [path for package in settings["packages"] for path in sorted((root / package).rglob("*.py"))]
    trees = {path.relative_to(root).as_posix(): ast.parse(path.read_text(encoding="utf-8")) for path in paths}
    if not trees:
        return [f"no module to check: got {', '.join(settings['packages'])} in {root}. Correct [tool.names]."]
    lines = [(path, *problem) for path, tree in trees.items() for problem in filler_names(tree, settings["fillers"])]
    lines += repeated_classes(trees, settings["shared_classes"])
    return [f"{path}:{line}: {reason}" for path, line, reason in sorted(lines)]


def main() -> int:
    """Print the problems, and return the exit status: 1 if there are any."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", nargs="?", type=Path, default=ROOT, help="folder of pyproject.toml")
    lines = problems(parser.parse_args().root)
    print("\n".join(lines) or "All names pass.")
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main())
