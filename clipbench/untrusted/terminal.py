"""Texts of others in a terminal or in the log of a CI job: they are shown, and steer neither.

A caption, a class or a model may be called anything: ``\\x1b[2J`` clears a screen, U+202E turns a line around, a
newline begins a line of its own, and a line that begins with ``::`` is a command to GitHub's runner.
"""

import re

SHOWN = "\N{REPLACEMENT CHARACTER}"
"""The sign that stands for one that cannot be shown."""

FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""Beginnings of cells that spreadsheets take for a formula, or strip to find one."""

_COMMAND = re.compile(r"^\s*(?=::)|#(?=#(?:vso|teamcity)?\[)")
"""The place in a line where GitHub, Azure or TeamCity would find a command: GitHub passes over blanks before ``::``."""


def printable(text: str) -> str:
    r"""Return a text in one line, each blank a space, and a sign instead of each invisible character.

    Example:
        >>> printable("a  b\nc\x1b[31m\u202e")
        'a  b c\ufffd[31m\ufffd'
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(character if character.isprintable() else SHOWN for character in re.sub(r"\s", " ", text))


def one_line(text: str) -> str:
    r"""Return a text in one line with one space between words, printable.

    Example:
        >>> one_line("a\n  b\x1b[31m")
        'a b\ufffd[31m'
    """
    return printable(" ".join(text.split()))


def log_line(text: str) -> str:
    r"""Return a text as a printable line that no CI job takes for a command.

    Example:
        >>> print(log_line("::stop-commands::x"), log_line("a ##[error] b"), log_line("acc::1"))
        \::stop-commands::x a #\#[error] b acc::1
    """
    return _COMMAND.sub(lambda match: match[0] + "\\", printable(text))


def json_text(text: str) -> str:
    r"""Return JSON of the same value in which all that would steer a terminal or a CI job is written by its number.

    Example:
        >>> print(json_text('["a\x7f\u202e", "##[error]", "é"]'))
        ["a\u007f\u202e", "#\u0023[error]", "é"]
    """
    commands = re.sub(r"#(?=#(?:vso|teamcity)?\[)#", r"#\\u0023", text)
    return re.sub(r"[^\n -~]", lambda match: match[0] if match[0].isprintable() else _by_number(match[0]), commands)


def harmless_cell(value: object) -> object:
    """Return a value of a CSV cell, with an apostrophe before a text that a spreadsheet would compute.

    Example:
        >>> harmless_cell("=1+1"), harmless_cell("a=b"), harmless_cell(-0.5)
        ("'=1+1", 'a=b', -0.5)
    """
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA) else value


def _by_number(letter: str) -> str:
    units = letter.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[index]:02x}{units[index + 1]:02x}" for index in range(0, len(units), 2))
