"""Text in the lines of a terminal: how wide it is there, and where it may be broken."""

import re
import unicodedata

_PIECE = re.compile(
    r" *(?:\[[-+−\d.,]+ [-+−\d]\S*|\S+(?:(?<!,) (?=[-+−]?\d)\S+|(?<=\d) (?=(?:%|pp|[kMGT]?B|s|min|px)(?!\w))\S+)*)"
)
"""Words that stay together: a number with its unit and the word before it, both ends of an interval."""
NO_COLUMN = ("Mn", "Me", "Cf")
"""Unicode categories of signs that stand on another, such as accents and vowels, or are not seen."""
_LABEL = re.compile(r" *\S+(?: \S+)* {2,}")


def n_columns(text: str) -> int:
    """Return the columns that a text takes in a terminal: Chinese, Japanese and Korean signs take two, marks on others none.

    Example:
        >>> n_columns("犬 dog"), n_columns("e\\u0301"), n_columns("สวัสดี")
        (6, 1, 4)
    """
    if text.isascii():
        return len(text)
    seen = (each for each in text if unicodedata.category(each) not in NO_COLUMN)
    return sum(1 + (unicodedata.east_asian_width(each) in "WF") for each in seen)


def wrapped(text: str, width: int, rest: str | None = None) -> list[str]:
    """Return a text in lines that fit; no word, path, option, number or interval is broken, even if it is too long.

    Args:
        rest: the beginning of all lines but the first; by default they stand below what follows a label and a gap.

    Example:
        >>> wrapped("  size  at most 6.4 GB, 50,000 images", 20)
        ['  size  at most 6.4', '        GB, 50,000', '        images']
    """
    if n_columns(text) <= width:
        return [text]
    if rest is None:
        label = _LABEL.match(text)
        indent = len(text) - len(text.lstrip()) + 4
        hang = label.end() if label and label.end() <= width // 2 else min(indent, width // 4)
        rest = " " * max(min(hang, width - longest_piece(text)), min(indent, width // 4))
    lines, line = [], ""
    for piece in _PIECE.findall(text):
        fits = n_columns(piece) <= width - len(rest)
        for part in [piece] if fits else re.findall(r" *\S+", piece):
            if line and n_columns(line + part) > width:
                lines.append(line)
                line = rest + part.lstrip()
            else:
                line += part
    return [*lines, line]


def padded(text: str, width: int, *, is_right: bool = False) -> str:
    """Return a text filled up with spaces."""
    spaces = " " * (width - n_columns(text))
    return spaces + text if is_right else text + spaces


def longest_piece(text: str) -> int:
    """Return the columns that a text needs at least."""
    return max((n_columns(each.strip()) for each in _PIECE.findall(text)), default=0)
