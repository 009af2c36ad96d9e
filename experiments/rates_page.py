"""The tables of experiments/coverage.md, computed from the outcomes of simulations."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

import numpy as np

from clipbench.errors import UsageError
from clipbench.results.numbers import count
from clipbench.stats.significance import holm
from rates_worlds import EFFECTS

Outcome = Mapping[str, Mapping[str, float]]
Outcomes = Mapping[tuple[str, int, str], Sequence[Outcome]]
"""By world, n and effect."""

ALPHA = 0.05
NONE = "–"
START, END = "<!-- rates: made by `make rates` -->", "<!-- rates: end -->"
LEAST = 0.2
"""Share of the simulations in which an interval must be there, to say how often it covers."""


class Row(NamedTuple):
    """The rates of a metric, or of all metrics of one name: coverage is the lowest of them, false alarms the
    highest.
    """

    metric: str
    coverage: tuple[float | None, ...]
    """The lowest over no, a small and a large effect, for each n. None where there is no interval."""
    alarms: tuple[float | None, ...]
    """The highest likewise. None where there is no test."""


def write_page(page: Path, outcomes: Outcomes) -> None:
    """Write the tables between their marks."""
    before, after = around_tables(page)
    page.write_text(f"{before}{START}\n{tables(outcomes)}{END}{after}", encoding="utf-8")


def around_tables(page: Path) -> tuple[str, str]:
    """Return the text before and after the marks of the tables.

    Raises:
        UsageError: the page has not both marks, once and in this order.
    """
    text = page.read_text(encoding="utf-8")
    before, _, rest = text.partition(START)
    _, end, after = rest.partition(END)
    if not end or START in rest or END in before + after:
        raise UsageError(f"{page} has no place for the tables: '{START}' and below it '{END}', each once")
    return before, after


def tables(outcomes: Outcomes) -> str:
    """Return two tables: false alarms of the comparisons of each world, then the metrics of each task."""
    ns = sorted({n for _, n, _ in outcomes})
    worlds = list(dict.fromkeys(world for world, _, _ in outcomes))
    lines = [f"Simulations of each law and effect: {_numbers(outcomes, ns)}.", "", *_families(outcomes, worlds, ns)]
    lines += ["", *_header(ns)]
    for task, of_task in groupby(worlds, key=lambda world: world.partition(",")[0]):
        lines.append(f"| **{task[0].upper()}{task[1:]}** |{' |' * 2 * len(ns)}")
        lines += [_line(row.metric, row) for row in rows(outcomes, [*of_task], ns)]
    return "\n".join([*lines, ""])


def rows(outcomes: Outcomes, worlds: Sequence[str], ns: Sequence[int]) -> Iterator[Row]:
    """Yield the rates of the metrics of some worlds that have an interval or a test."""
    found = {(world, n, effect): outcomes[world, n, effect] for world in worlds for n in ns for effect in EFFECTS}
    names = dict.fromkeys(
        name for all_of in found.values() for each in all_of for name in [*each["covers"], *each["p"]]
    )
    members: dict[str, list[str]] = {}
    for name in names:
        members.setdefault(row_name(name), []).append(name)
    for row, of_row in members.items():
        coverage, alarms = (
            tuple(
                _extreme([rate(of, name) for (_, of_n, _), of in found.items() if of_n == n for name in of_row], choose)
                for n in ns
            )
            for rate, choose in ((_coverage, min), (_alarms, max))
        )
        if any(each is not None for each in (*coverage, *alarms)):
            yield Row(row, coverage, alarms)


def row_name(name: str) -> str:
    """Return the row that a metric, baseline or point of a curve is shown in: one for all subsets, their means and all
    k.

    Example:
        >>> row_name("swap_obj/text_acc"), row_name("macro/text_acc"), row_name("baseline tie_rate")
        ('text_acc', 'text_acc', 'tie_rate (baseline)')
        >>> row_name("curve attack_success_by_height 1"), row_name("text_text_recall@5")
        ('attack_success_by_height (curve)', 'text_text_recall@k')
    """
    kind, _, rest = name.partition(" ")
    if kind == "curve":
        return f"{re.sub('@[0-9]+', '@k', rest.rpartition(' ')[0])} (curve)"
    own = re.sub("@[0-9]+", "@k", (rest if kind == "baseline" else name).rpartition("/")[2])
    return f"{own} (baseline)" if kind == "baseline" else own


def family_wise(outcomes: Sequence[Sequence[Outcome]]) -> tuple[int, int]:
    """Return in how many comparisons, each of one simulation of every world, any difference is significant; and how
    many.
    """
    n = min(map(len, outcomes))
    p_values = [[p for of_world in outcomes for p in of_world[index]["p"].values()] for index in range(n)]
    return sum(min(holm(each), default=1.0) <= ALPHA for each in p_values), n


def _families(outcomes: Outcomes, worlds: Sequence[str], ns: Sequence[int]) -> list[str]:
    lines = [
        "Any false alarm in a comparison, after its correction, at most over the effects:",
        "",
        f"| Comparison of | {' | '.join(f'n = {count(n)}' for n in ns)} |",
        f"|---|{'--:|' * len(ns)}",
    ]
    for name, of in [*((world, [world]) for world in worlds), ("**all of them at once**", worlds)]:
        cells = []
        for n in ns:
            shares = [family_wise([outcomes[world, n, effect] for world in of]) for effect in EFFECTS]
            cells.append(_shown(_extreme([alarms / total if total else None for alarms, total in shares], max)))
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return lines


def _header(ns: Sequence[int]) -> list[str]:
    columns = [
        f"{what}, n = {count(ns[0])}" if n == ns[0] else count(n) for what in ("coverage", "false alarms") for n in ns
    ]
    return [f"| Metric | {' | '.join(columns)} |", f"|---|{'--:|' * len(columns)}"]


def _line(name: str, row: Row) -> str:
    return f"| `{name}` | {' | '.join(map(_shown, (*row.coverage, *row.alarms)))} |"


def _shown(rate: float | None) -> str:
    """Return a rate as the page shows it.

    Example:
        >>> _shown(0.9534), _shown(1.0), _shown(None)
        ('.953', '1', '–')
    """
    return NONE if rate is None else "1" if rate == 1 else f"{rate:.3f}".removeprefix("0")


def _numbers(outcomes: Outcomes, ns: Sequence[int]) -> str:
    each = [min(len(found) for (_, of, _), found in outcomes.items() if of == n) for n in ns]
    return ", ".join(f"{count(number)} at n = {count(n)}" for number, n in zip(each, ns, strict=True))


def _coverage(outcomes: Sequence[Outcome], name: str) -> float | None:
    covers = [each["covers"][name] for each in outcomes if name in each["covers"]]
    return float(np.mean(covers)) if covers and len(covers) >= LEAST * len(outcomes) else None


def _alarms(outcomes: Sequence[Outcome], name: str) -> float | None:
    """Return the share of all simulations, those without a test among them."""
    if not any(name in each["p"] for each in outcomes):
        return None
    return float(np.mean([each["p"].get(name, 1.0) <= ALPHA for each in outcomes]))


def _extreme(values: Sequence[float | None], choose: Callable[[list[float]], float]) -> float | None:
    known = [each for each in values if each is not None]
    return choose(known) if known else None
