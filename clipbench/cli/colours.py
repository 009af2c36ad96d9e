"""Colours of a terminal: the words of verdicts and the marks of findings, where a person looks for them first."""

import os
import re
import sys
from collections.abc import Mapping

import click

BAD, GOOD, DOUBTFUL = "red", "green", "yellow"
WORDS: Mapping[str, str] = {
    "worse": BAD,
    "REGRESSION": BAD,
    "NOT MET": BAD,
    "better": GOOD,
    "mixed": DOUBTFUL,
    "UNTESTED": DOUBTFUL,
    "MISSING": DOUBTFUL,
    "fault": BAD,
    "warning": DOUBTFUL,
}
"""Words that have a colour. The others, such as "undecided" and "not shown", stay as they are."""
_WORD = "|".join(map(re.escape, WORDS))
_PATTERNS = (
    re.compile(rf"^(?P<before>verdict: )(?P<word>{_WORD})(?= \()"),
    re.compile(rf"^(?P<before>)(?P<word>{_WORD})(?=  |: | [a-z-]+  )"),  # a line of the gate, a check, a warning
    re.compile(rf"^(?P<before>.*  )(?P<word>{_WORD})(?=(?: \(\d+\))?$)"),  # the last column of a table
)


def is_coloured(*, err: bool = False) -> bool:
    """Return whether a stream is a terminal with colours: NO_COLOR is not set, and TERM is not ``dumb``."""
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return False
    stream = sys.stderr if err else sys.stdout
    try:
        return stream.isatty()
    except (AttributeError, ValueError):  # not there, or closed
        return False


def coloured(line: str) -> str:
    """Return a line with its word of a verdict or finding in colour, as it is if there is none.

    Example:
        >>> coloured("verdict: worse (a: R@1 -2 pp)")
        'verdict: \\x1b[31m\\x1b[1mworse\\x1b[0m (a: R@1 -2 pp)'
        >>> coloured("nothing got worse here")
        'nothing got worse here'
    """
    for pattern in _PATTERNS:
        match = pattern.match(line)
        if match is not None:
            word = match["word"]
            return f"{match['before']}{click.style(word, fg=WORDS[word], bold=True)}{line[match.end('word') :]}"
    return line
