"""The contracts of docs/stability.md: tests/inventory.txt and docs/schemas/ change only with a line in CHANGELOG.md."""

import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
sys.path.append(str(ROOT / "tools"))

from freeze import changelog_lines, contract_hashes, current_version, faults, read_changes, record_changes

MOST_WORDS = 500
"""Words of CHANGELOG.md that describe the first release."""
FIRST = "- `run` measures a model.\n- `compare` compares\n  two runs.\n"

pytestmark = pytest.mark.skipif(
    not (ROOT / "CHANGELOG.md").is_file(), reason="CHANGELOG.md is not part of the source distribution"
)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with two contracts, both recorded."""
    (tmp_path / "tests").mkdir()
    (tmp_path / "docs/schemas").mkdir(parents=True)
    (tmp_path / "pyproject.toml").write_text('[project]\nversion = "0.1.0"\n')
    (tmp_path / "CHANGELOG.md").write_text(f"# Changelog\n\n## 0.1.0\n\n{FIRST}")
    (tmp_path / "tests/frozen.txt").write_text("# rows\n")
    (tmp_path / "tests/inventory.txt").write_text("command clipbench run\n")
    (tmp_path / "docs/schemas/result-1.json").write_text("{}\n")
    record_changes(tmp_path, "measures a model")
    assert not list(faults(tmp_path))
    return tmp_path


def test_no_contract_changed_without_a_line_in_the_changelog() -> None:
    assert not list(faults(ROOT))
    assert {change.path for change in read_changes(ROOT)} == set(contract_hashes(ROOT))


def test_the_newest_version_of_the_changelog_is_the_version_of_the_package() -> None:
    assert next(iter(changelog_lines(ROOT))) == current_version(ROOT)


def test_the_first_release_is_described_in_few_words() -> None:
    first = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8").rpartition("\n## ")[2]
    assert len(first.partition("\n### Renamed\n")[0].split()) <= MOST_WORDS


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("tests/inventory.txt", "command clipbench run\ncommand clipbench compare\n"),
        ("tests/inventory.txt", ""),
        ("docs/schemas/result-1.json", '{"type": "object"}\n'),
        ("docs/schemas/result-1.json", '{"properties": {"description": {"type": "string"}}}\n'),
        ("docs/schemas/result-2.json", "{}\n"),
    ],
)
def test_a_change_fails_until_its_line_is_written_and_recorded(path: str, text: str, project: Path) -> None:
    (project / path).write_text(text)

    (fault,) = faults(project)
    assert fault.startswith(f"{path} changed without a line in CHANGELOG.md: got the hash ")
    with pytest.raises(
        ValueError,
        match=r"got 'two new things' in 0 lines, expected three words or more of exactly one line under '## 0.1.0'",
    ):
        record_changes(project, "two new things")
    assert list(faults(project)) == [fault]

    with (project / "CHANGELOG.md").open("a") as file:
        file.write("- Here are two\n  new things.\n")
    (change,) = record_changes(project, "two new things")
    assert (change.version, change.path) == ("0.1.0", path)
    assert not list(faults(project))


def test_a_removed_contract_is_a_change(project: Path) -> None:
    (project / "docs/schemas/result-1.json").unlink()
    assert len(list(faults(project))) == 1
    record_changes(project, "compares two runs")
    assert not list(faults(project))


def test_a_line_describes_one_change(project: Path) -> None:
    (project / "tests/inventory.txt").write_text("command clipbench walk\n")
    with pytest.raises(ValueError, match=r"^the line describes an earlier change of tests/inventory.txt: got '`run` "):
        record_changes(project, "`run` measures a")
    for words in ("", "two runs"):
        with pytest.raises(ValueError, match="in 0 lines"):
            record_changes(project, words)
    (row,) = [change for change in read_changes(project) if change.path == "tests/inventory.txt"]
    (digest,) = [digest for path, digest in contract_hashes(project).items() if path == row.path]
    with (project / "tests/frozen.txt").open("a") as file:
        file.write(f"0.1.0 {digest} {row.path} `run` measures a\n")
    (fault,) = faults(project)
    assert fault.startswith("two changes of tests/inventory.txt share a line of CHANGELOG.md: got '`run` measures a")


def test_a_line_that_left_the_changelog_is_missed(project: Path) -> None:
    (project / "CHANGELOG.md").write_text(
        "# Changelog\n\n## 0.2.0\n\n- `run` measures a model.\n\n## 0.1.0\n\n- Other.\n"
    )
    assert all(
        re.match(r"tests/frozen.txt: \S+: no such change: got 'measures a model' in 0", fault)
        for fault in faults(project)
    )
    assert len(list(faults(project))) == 2


def test_a_line_of_an_earlier_version_describes_no_later_change(project: Path) -> None:
    (project / "pyproject.toml").write_text('[project]\nversion = "0.2.0"\n')
    (project / "tests/inventory.txt").write_text("command clipbench walk\n")
    with pytest.raises(ValueError, match=r"under '## 0\.2\.0'"):
        record_changes(project, "compares two runs")


def test_nothing_is_recorded_if_nothing_changed(project: Path) -> None:
    (project / "docs/schemas/result-1.json").write_text('{"description": "The result of a run."}\n')
    (project / "tests/inventory.txt").write_bytes(b"command clipbench run\r\n")  # as Windows checks it out
    with pytest.raises(ValueError, match=r"^nothing to record"):
        record_changes(project, "compares two runs")
