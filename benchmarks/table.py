"""The table of speed as text, from what bench.json holds."""

from collections.abc import Sequence
from typing import Any

from rows import Rounds

BUSY = 0.15
"""Processors that others may use on average before a row says that the machine was busy."""

Record = dict[str, Any]
"""A table, or a row of it, as bench.json has it."""


def text_of(bench: Record, old: Record | None = None) -> list[str]:
    """Return the lines of a table in Markdown, with an older one's figures where there is one."""
    head = ["what", "ours", "peer", "bare limit", "found", "reach", "met?"]
    if old is not None:
        head[1:2], head[4:5] = ["ours before", "ours"], ["bare limit", "found before"]
        head = ["what", "ours before", "ours", "peer", "bare limit", "found before", "found", "reach", "met?"]
    lines = [head]
    for name, record in bench["rows"].items():
        lines += _lines(name, record, None if old is None else old["rows"].get(name, {}))
    return [*_aligned(lines), "", *_below(bench), *([] if old is None else _before(bench, old)), *_warning(bench)]


def _lines(name: str, record: Record, before: Record | None) -> list[list[str]]:
    """Return a row's lines: one for its first reach, and one for each other, with empty cells before it."""
    if "failed" in record:
        return [[f"{name}: not measured: {record['failed']}"]]
    first = [f"{name}: {record['what']}"]
    first += [] if before is None else [_amount(before.get("ours"))]
    first += [_amount(record[column]) for column in ("ours", "peer", "limit")]
    found_before = {each["what"]: _found(each) for each in (before or {}).get("reaches", ())}
    lines: list[list[str]] = []
    for reach in record["reaches"]:
        cells = [""] * len(first) if lines else first
        cells = cells if before is None else [*cells, found_before.get(reach["what"], "–")]
        met = {True: "yes", False: "NO", None: "other size"}[reach["met"]]
        lines.append([*cells, _found(reach), _bound(reach), met])
    return lines or [first]


def _amount(rounds: Record | None) -> str:
    return f"{_number(Rounds(**rounds).median)} {rounds['unit']}".rstrip() if rounds else "–"


def _found(reach: Record) -> str:
    """Return what was found with its spread: `1.42 (1.39–1.47) times the bare product`."""
    values = reach["found"]["values"]
    spread = f" ({_number(min(values))}–{_number(max(values))})" if len(values) > 1 else ""
    return f"{_number(Rounds(**reach['found']).median)}{spread} {reach['what']}"


def _bound(reach: Record) -> str:
    words = {"at_most": "at most", "at_least": "at least"}
    return " and ".join(f"{word} {_number(reach[key])}" for key, word in words.items() if reach[key] is not None)


def _number(value: float) -> str:
    """Return three digits, or a whole number: 0.0123, 1.42, 36.8, 1,336."""
    return f"{value:,.0f}" if value == int(value) or abs(value) >= 100 else f"{value:.3g}"


def _aligned(lines: Sequence[Sequence[str]]) -> list[str]:
    n_columns = max(map(len, lines))
    padded = [[*line, *[""] * (n_columns - len(line))] for line in lines]
    widths = [max(map(len, column)) for column in zip(*padded, strict=True)]
    rows = [f"| {' | '.join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))} |" for line in padded]
    return [rows[0], f"|{'|'.join('-' * (width + 2) for width in widths)}|", *rows[1:]]


def _below(bench: Record) -> list[str]:
    """Return the lines below a table: the machine, what the peers are, and who else was at work."""
    versions = ", ".join(f"{name} {number}" for name, number in bench["versions"].items() if number)
    machine = (
        f"{bench['processor']}, {bench['cores']} cores, {bench['threads'] or 'all'} threads, load {bench['load']:.2f}"
    )
    lines = [f"{bench['date']}, size {bench['size']}, commit {bench['commit']}; {machine}; {versions}"]
    for name, record in bench["rows"].items():
        notes = [f"peer: {record['peer_is']}"] if record.get("peer_is") else []
        notes += [f"bare limit: {record['limit_is']}"] if record.get("limit_is") else []
        notes += record.get("notes", ())
        lines += [f"{name}: {'; '.join(notes)}"] if notes else []
    return lines


def _before(bench: Record, old: Record) -> list[str]:
    """Return the lines that say where an older table is from, and which of its works were others."""
    lines = [
        f"before: {old['date']}, size {old['size']}, commit {old['commit']}; {old['processor']}, {old['cores']} cores"
    ]
    for name, record in old["rows"].items():
        if bench["rows"].get(name, record).get("what") != record.get("what"):
            lines.append(f"{name} before: {record['what']}")
    return lines


def _warning(bench: Record) -> list[str]:
    """Return the line that says that the machine was busy, if it was."""
    busy = {name: record["others"] for name, record in bench["rows"].items() if record.get("others", 0) > BUSY}
    used = ", ".join(f"{name} {others:.1f}" for name, others in busy.items())
    said = "warning: the machine was busy; ratios hold roughly, seconds do not. Processors that others used"
    return [f"{said}: {used}"] if busy else []
