"""A comparison as annotations of a GitHub workflow: commands that it reads from a step's output."""

from collections.abc import Iterator, Sequence

from clipbench.comparison.formats._tables import NO_GATE, headline, standing, tally
from clipbench.comparison.gate import REPORTED, Judged
from clipbench.untrusted.terminal import printable

LEVELS = {"regression": "error", "unmet": "error", "missing": "error", "untested": "warning", "acknowledged": "warning"}
MAX_OF_A_LEVEL = 10
"""GitHub shows so many annotations of a level for a step, and drops the others in silence."""


def github(judged: Sequence[Judged]) -> str:
    """Return ``::error``, ``::warning`` and ``::notice`` lines: what failed, what is known, and a summary each.

    GitHub shows only the first ten of a level; where there are more, the tenth says how many are left out.
    """
    found: dict[str, list[tuple[str, str]]] = {"error": [], "warning": [], "notice": []}
    for level, title, message in (each for one in judged for each in _annotations(one)):
        found[level].append((title, message))
    return "\n".join(_command(level, *each) for level, those in found.items() for each in _capped(those)) + "\n"


def _annotations(judged: Judged) -> Iterator[tuple[str, str, str]]:
    comparison = judged.comparison
    for each in judged.of(*REPORTED):
        yield LEVELS[each.status], f"{each.status}: {each.metric}", f"{each.rule}: {each.message}"
    yield from (("error", "not comparable", line) for line in map(str, comparison.refused))
    yield from (("warning", "note", note) for note in comparison.notes)
    words = "; ".join(
        filter(None, [headline(judged), tally(comparison.differences), "" if judged.outcomes else NO_GATE])
    )
    is_unasked_loss = not headline(judged) and standing(judged) == "worse"
    yield "warning" if is_unasked_loss else "notice", f"{comparison.candidate} against {comparison.base}", words


def _capped(found: list[tuple[str, str]]) -> list[tuple[str, str]]:
    if len(found) <= MAX_OF_A_LEVEL:
        return found
    rest = found[MAX_OF_A_LEVEL - 1 :]
    titles = ", ".join(title for title, _ in rest)
    return [*found[: MAX_OF_A_LEVEL - 1], (f"and {len(rest)} more", titles)]


def _command(level: str, title: str, message: str) -> str:
    escaped = _escape(title).replace(":", "%3A").replace(",", "%2C")
    return f"::{level} title={escaped}::{_escape(message)}"


def _escape(text: str) -> str:
    return "%0A".join(printable(line).replace("%", "%25") for line in text.split("\n"))
