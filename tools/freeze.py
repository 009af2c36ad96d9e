"""Record a change of the contracts with its line of CHANGELOG.md: `make freeze LINE='words of that line'`.

The contracts are tests/inventory.txt and the files of docs/schemas/. tests/frozen.txt has a row per change of one of
these files: the version, the hash of the file, the file, and words of the line of CHANGELOG.md that describes the change.
docs/stability.md says what the contracts promise.
"""

import argparse
import json
import re
import sys
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
REMOVED = "removed"
"""Hash of a contract that no longer exists."""
LEAST_WORDS = 3
"""Fewer words may be in a line by chance."""
COMMAND = "make freeze LINE='words of that line'"


@dataclass(frozen=True)
class Change:
    """A change of a contract: a row of tests/frozen.txt."""

    version: str
    hash: str
    path: str
    """Path of the contract, from the root of the project."""
    words: str
    """Words that exactly one line of CHANGELOG.md has, under the version."""


def contract_hashes(root: Path) -> dict[str, str]:
    """Return the hash of each contract by its path; ends of lines and descriptions in a schema make no difference."""
    schemas = {
        path: without_descriptions(json.loads(path.read_text("utf-8")))
        for path in (root / "docs/schemas").glob("*.json")
    }
    inventory = root / "tests/inventory.txt"
    contents: dict[Path, object] = {inventory: inventory.read_text("utf-8").splitlines(), **schemas}
    return {
        path.relative_to(root).as_posix(): sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]
        for path, content in sorted(contents.items())
    }


def without_descriptions(schema: Any) -> Any:
    """Return a JSON Schema without the sentences that describe its fields: rewording them changes no contract."""
    if isinstance(schema, list):
        return [without_descriptions(part) for part in schema]
    if isinstance(schema, dict):
        parts = {key: part for key, part in schema.items() if not (key == "description" and isinstance(part, str))}
        return {key: without_descriptions(part) for key, part in parts.items()}
    return schema


def read_changes(root: Path) -> list[Change]:
    """Return the rows of tests/frozen.txt, the oldest first."""
    rows = (root / "tests/frozen.txt").read_text(encoding="utf-8").splitlines()
    return [Change(*row.split(" ", 3)) for row in rows if row and not row.startswith("#")]


def changelog_lines(root: Path) -> dict[str, list[str]]:
    """Return the lines of CHANGELOG.md by version: items of lists, each without its line breaks."""
    sections = re.split(r"^## (\S+).*$", (root / "CHANGELOG.md").read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    return {
        version: [" ".join(item.split()) for item in re.findall(r"^- (.*(?:\n  .*)*)", text, re.MULTILINE)]
        for version, text in zip(sections[::2], sections[1::2], strict=True)
    }


def current_version(root: Path) -> str:
    """Return the version of pyproject.toml."""
    version: str = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    return version


def unrecorded_changes(hashes: Mapping[str, str], changes: Sequence[Change]) -> dict[str, str]:
    """Return the hash of each contract that is not as its last change left it."""
    recorded = {change.path: change.hash for change in changes}
    current = {**dict.fromkeys(recorded, REMOVED), **hashes}
    return {path: digest for path, digest in current.items() if recorded.get(path) != digest}


def find_line(words: str, version: str, lines: Mapping[str, Sequence[str]]) -> str:
    """Return the only line of a version that has these words.

    Raises:
        ValueError: no line has them, or several have.
    """
    matches = [line for line in lines.get(version, ()) if len(words.split()) >= LEAST_WORDS and words in line]
    if len(matches) != 1:
        expected = f"expected three words or more of exactly one line under '## {version}' in CHANGELOG.md"
        raise ValueError(f"no such change: got '{words}' in {len(matches)} lines, {expected}. Write the line first.")
    return matches[0]


def faults(root: Path) -> Iterator[str]:
    """Yield each fault: a contract that changed without a line, a row without its line, a line that two changes share."""
    changes, lines = read_changes(root), changelog_lines(root)
    for path, digest in unrecorded_changes(contract_hashes(root), changes).items():
        changed = f"{path} changed without a line in CHANGELOG.md: got the hash {digest}, expected the last one of"
        yield f"{changed} tests/frozen.txt. Describe the change in CHANGELOG.md, then {COMMAND}."
    described: set[tuple[str, str]] = set()
    for change in changes:
        try:
            line = find_line(change.words, change.version, lines)
        except ValueError as error:
            yield f"tests/frozen.txt: {change.path}: {error}"
            continue
        if (change.path, line) in described:
            yield f"two changes of {change.path} share a line of CHANGELOG.md: got '{line}', expected a line per change."
        described.add((change.path, line))


def record_changes(root: Path, words: str) -> list[Change]:
    """Append a row per contract that has changed, and return these rows.

    Raises:
        ValueError: nothing has changed, or CHANGELOG.md has no line of the version with these words, or several, or one
            that describes an earlier change.
    """
    version, lines, changes = current_version(root), changelog_lines(root), read_changes(root)
    changed = unrecorded_changes(contract_hashes(root), changes)
    if not changed:
        raise ValueError("nothing to record: every contract is as tests/frozen.txt has it.")
    line = find_line(words, version, lines)
    for change in changes:
        if change.path in changed and find_line(change.words, change.version, lines) == line:
            raise ValueError(
                f"the line describes an earlier change of {change.path}: got '{line}'. Write another line."
            )
    rows = [Change(version, digest, path, words) for path, digest in changed.items()]
    with (root / "tests/frozen.txt").open("a", encoding="utf-8", newline="\n") as file:
        file.writelines(" ".join(astuple(row)) + "\n" for row in rows)
    return rows


def main() -> None:
    """Record the changes, or print in one line why they cannot be recorded."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--line", default="", help="words of the line of CHANGELOG.md that describes the change")
    arguments = parser.parse_args()
    try:
        for change in record_changes(ROOT, arguments.line):
            print(f"recorded for {change.version}: {change.path}")
    except ValueError as error:
        print(f"freeze: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
