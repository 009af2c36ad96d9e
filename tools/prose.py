"""Name the phrases of pyproject.toml's [tool.prose], and the words that the glossary replaces, in pages, docstrings and
messages, with better words. Part of `make check`.

python tools/prose.py            # what pyproject.toml lists
python tools/prose.py docs/ci.md # these pages
"""

import argparse
import ast
import re
import sys
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
CODE = re.compile(
    r"^```.*?^```|^(?: {4}|\t)[^\n]*|<!--.*?-->|`[^`\n]*`|\]\([^)]*\)|<[^>\n]*>", re.MULTILINE | re.DOTALL
)
"""Parts of a page that are not prose: code, comments, addresses and tags."""
WORDS_OF_A_MESSAGE = 3
GLOSSARY = "docs/glossary.md"
TERM = re.compile(r"^\| (?P<term>[^|`]+) \| (?P<others>`[^|]+`) \|", re.MULTILINE)
"""A row of the glossary's table: a term, and in backquotes the words that it replaces."""


def main() -> None:
    """Print each place, and exit with 1 if there is one."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pages", nargs="*", help="pages to check instead of the files that pyproject.toml lists")
    chosen = parser.parse_args().pages
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["prose"]
    faults = list(find(ROOT, {**settings, "pages": chosen} if chosen else settings))
    print("\n".join(faults), end="\n" if faults else "")
    sys.exit(1 if faults else 0)


def find(root: Path, settings: Mapping[str, Any]) -> Iterator[str]:
    """Yield a line per phrase: file, line number, the phrase and the better words."""
    readers = {"pages": prose, "docstrings": docstrings, "messages": messages}
    phrases = {**settings["phrases"], **replaced_words(root / GLOSSARY)}
    for kind, read in readers.items():
        for path in files(root, settings.get(kind, ()), settings.get("exclude", ())):
            for number, text in read(path.read_text(encoding="utf-8")):
                for pattern, better in phrases.items():
                    for match in re.finditer(pattern, text, re.IGNORECASE | re.MULTILINE):
                        line = number + text.count("\n", 0, match.start())
                        yield f"{path.relative_to(root)}:{line}: {match[0].strip()!r}: write {better}"


def replaced_words(glossary: Path) -> dict[str, str]:
    """Return the words that the glossary's table replaces, in the singular and plural, as patterns, with its terms."""
    if not glossary.is_file():
        return {}
    rows = TERM.finditer(glossary.read_text(encoding="utf-8"))
    return {rf"\b{other}s?\b": row["term"] for row in rows for other in re.findall("`(.+?)`", row["others"])}


def files(root: Path, patterns: Sequence[str], excluded: Sequence[str]) -> list[Path]:
    """Return the files that match a pattern, in order."""
    left_out = {root / name for name in excluded}
    return [path for pattern in patterns for path in sorted(root.glob(pattern)) if path not in left_out]


def prose(page: str) -> Iterator[tuple[int, str]]:
    """Yield the text of a page without its code, every line where it was."""
    yield 1, CODE.sub(lambda match: "\n" * match[0].count("\n") or " code ", page)


def docstrings(module: str) -> Iterator[tuple[int, str]]:
    """Yield the docstrings of a module, those of fields included."""
    for node in ast.walk(ast.parse(module)):
        if isinstance(node, ast.Expr) and is_text(node.value):
            yield node.lineno, node.value.value  # type: ignore[attr-defined]


def messages(module: str) -> Iterator[tuple[int, str]]:
    """Yield the other strings of three words or more: messages, notes, help and titles."""
    tree = ast.parse(module)
    documented = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if is_text(node) and id(node) not in documented:
            text = node.value  # type: ignore[attr-defined]
            if len(text.split()) >= WORDS_OF_A_MESSAGE:
                yield node.lineno, text  # type: ignore[attr-defined]


def is_text(node: ast.AST) -> bool:
    """Return True for a string."""
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


if __name__ == "__main__":
    main()
