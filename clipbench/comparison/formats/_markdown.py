"""A comparison as Markdown for a pull-request comment: a line that says it all, what failed, and the rest folded."""

import re
from collections.abc import Iterator, Sequence

from clipbench.comparison.formats._cells import (
    HEADINGS,
    Cells,
    by_evaluation,
    cells,
    headline,
    refusals,
    tally,
    ungated,
    untested,
)
from clipbench.comparison.gate import TELLING, Judged, Outcome
from clipbench.comparison.records import Difference
from clipbench.results.numbers import ascii_signs, counted

MAX_LENGTH = 60_000
"""Of 65,536 characters that GitHub takes in a comment; GitLab takes a million."""
LEFT_OUT = "More does not fit a comment: `--format json` and `html` have it all."
MARKS = {
    "regression": "❌ regression",
    "unmet": "❌ not met",
    "missing": "❌ missing",
    "untested": "⚠️ untested",
    "acknowledged": "⚠️ known",
}


def markdown(judged: Sequence[Judged]) -> str:
    """Return a section for each comparison; tables are cut, and it is said, where a comment could not hold them."""
    room = MAX_LENGTH // max(1, len(judged))
    return ascii_signs("\n\n".join(_cut(_lines(each), room) for each in judged) + "\n")


def code(text: str) -> str:
    """Return a text as code in a table's cell: no name in it notifies anyone, and no sign of it is markup.

    Example:
        >>> code("zero-shot@scenes/a|b"), code("a`b")
        ('`zero-shot@scenes/a\\\\|b`', "`a'b`")
    """
    return f"`{' '.join(text.replace('`', chr(39)).split()).replace('|', chr(92) + '|')}`"


def plain(text: str) -> str:
    """Return a text in which nothing is markup.

    Example:
        >>> plain("<b> *x*")
        '&lt;b> \\\\*x\\\\*'
    """
    escaped = re.sub(r"([\\`*_\[\]|#~])", r"\\\1", " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;"))
    return escaped.replace("@", "@\N{ZERO WIDTH SPACE}")  # it would notify whoever has the name


def _lines(judged: Judged) -> Iterator[str]:
    comparison = judged.comparison
    gate = headline(judged)
    yield f"**{_mark(judged)} clipbench: {gate or tally(comparison.differences)}**"
    yield ""
    names = f"{code(comparison.candidate)} against {code(comparison.base)}"
    yield f"{names}{': ' + tally(comparison.differences) if gate else ''}. Differences are paired by sample."
    yield from _outcomes(judged.of(*TELLING))
    for line in (*refusals(comparison), *comparison.notes):
        yield f"- {plain(line)}"
    for message, metrics in ungated(judged).items():
        yield f"- not gated: {counted(len(metrics), 'metric')}, such as {code(metrics[0])}: {plain(message)}"
    yield ""
    yield "<details>"
    yield f"<summary>All {len(comparison.differences)} metrics</summary>"
    for name, found in by_evaluation(comparison).items():
        yield from _table(name, found)
    yield ""
    yield "</details>"


def _mark(judged: Judged) -> str:
    if judged.is_worse or not judged.is_whole:
        return "❌"
    return "⚠️" if judged.of("untested", "acknowledged") else "✅"


def _outcomes(outcomes: Sequence[Outcome]) -> Iterator[str]:
    yield ""
    if not outcomes:
        return
    yield "| | metric | rule | |"
    yield "|---|---|---|---|"
    for each in outcomes:
        yield f"| {MARKS[each.status]} | {code(each.metric)} | {plain(each.rule)} | {plain(each.message)} |"
    yield ""


def _table(name: str, found: Sequence[Difference]) -> Iterator[str]:
    yield ""
    yield code(name)
    yield ""
    yield f"| {' | '.join(HEADINGS)} | flipped |"
    yield f"|---|{'---:|' * 7}---|---|"
    for each in found:
        yield _row(cells(each), each)
    yield ""
    yield from (f"- {plain(line)}" for line in untested(found))


def _row(row: Cells, found: Difference) -> str:
    verdict = f"**{row.verdict}**" if row.verdict in ("better", "worse") else row.verdict
    flips = "" if found.flips is None else f"+{len(found.flips.gained)} −{len(found.flips.lost)}"
    return f"| {code(row.metric)} | {' | '.join(row[1:-1])} | {verdict} | {flips} |"


def _cut(lines: Iterator[str], room: int) -> str:
    """Return the lines as far as there is room; what is left out is said, and what is folded is closed."""
    kept: list[str] = []
    taken = len(LEFT_OUT) + 20
    for line in lines:
        taken += len(line) + 1
        if taken > room:
            closing = ["", "</details>"] if "<details>" in kept else []
            return "\n".join([*kept, "", LEFT_OUT, *closing])
        kept.append(line)
    return "\n".join(kept)
