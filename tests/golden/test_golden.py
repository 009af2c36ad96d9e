"""All that clipbench says, whole: a change of it shows as the difference of a golden file, whether it was meant or not.

``commands.txt`` has the commands with their exit statuses, section by section. The golden file of a section is its
transcript: each command, what it printed, the lines of standard error with ! before them, and its status in brackets. A
long line is written as one line per fact, with ⤷ before each line that follows. A command that ends in ``> FILE`` fills
a golden file of its own. ``pytest tests/golden --update-golden`` writes what is said now.
"""

from collections.abc import Callable
from pathlib import Path

MOST_CHARACTERS = 200

Play = Callable[[str], dict[str, str]]
Agree = Callable[[str, str], None]


def test_a_section_says_what_it_said(section: str, play: Play, agree: Agree) -> None:
    for name, text in play(section).items():
        agree(name, text)


def test_every_golden_file_is_written_by_a_section(golden_files: set[str]) -> None:
    names = {path.name for path in Path(__file__).parent.iterdir() if path.is_file() and path.suffix != ".py"}
    assert names - golden_files == {"commands.txt"}, "remove what no section of commands.txt writes"
    assert golden_files <= names, "write what is new: pytest tests/golden --update-golden"


def test_no_line_of_a_transcript_is_too_long_to_compare(golden_files: set[str]) -> None:
    too_long = []
    for name in sorted(golden_files):
        lines = (Path(__file__).parent / name).read_text(encoding="utf-8").splitlines()
        if name.endswith(".txt"):  # files of other kinds are as other tools read them
            too_long += [f"{name}: {line}" for line in lines if len(line) > MOST_CHARACTERS]
    assert not too_long
