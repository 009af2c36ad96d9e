"""A comparison for CI: a pull-request comment, JSON with all that is known, JUnit XML, and annotations of a GitHub workflow."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from xml.etree import ElementTree

from clipbench.comparison.formats import tables
from clipbench.comparison.gate import REPORTED, Judged, Outcome
from clipbench.results.numbers import ascii_signs, counted
from clipbench.results.table import Column, Table, as_markdown, columns
from clipbench.results.table.markdown import bullets, code, escape
from clipbench.untrusted.terminal import json_text, log_line, one_line, printable

MAX_LENGTH = 60_000
"""GitHub takes 65,536 characters in a comment, GitLab a million."""
LEFT_OUT = "More does not fit a comment: `--format json` and `html` have it all."
MARKS = {
    "regression": "❌ regression",
    "unmet": "❌ not met",
    "missing": "❌ missing",
    "untested": "⚠️ untested",
    "acknowledged": "⚠️ known",
}
STANDINGS = {"worse": "❌", "incomplete": "❌", "doubtful": "⚠️", "good": "✅", "open": "⚪"}
OUTCOMES = [*columns(""), Column("metric", is_number=False, is_name=True), *columns("rule", "")]
ELEMENTS = {
    "regression": "failure",
    "unmet": "failure",
    "missing": "error",
    "untested": "skipped",
    "acknowledged": "skipped",
}
"""The element in a test case, by its status; those that pass have none."""
LEVELS = {"regression": "error", "unmet": "error", "missing": "error", "untested": "warning", "acknowledged": "warning"}
MAX_OF_A_LEVEL = 10
"""GitHub shows so many annotations of a level for a step, and drops the others in silence."""
SCHEMA_VERSION = 1


def markdown(judged: Sequence[Judged]) -> str:
    """Return a section for each comparison; tables are cut, and it is said, where a comment could not hold them."""
    budget = MAX_LENGTH // max(1, len(judged))
    return ascii_signs("\n\n".join(_cut(_lines(each), budget) for each in judged) + "\n")


def _lines(judged: Judged) -> Iterator[str]:
    comparison = judged.comparison
    gate = tables.headline(judged)
    first = (
        gate or f"{tables.tally(comparison.differences)}; {'nothing was gated' if judged.outcomes else tables.NO_GATE}"
    )
    yield f"**{STANDINGS[tables.standing(judged)]} clipbench: {first}**"
    yield ""
    names = f"{code(comparison.candidate)} against {code(comparison.base)}"
    yield f"{names}{': ' + tables.tally(comparison.differences) if gate else ''}. Differences are paired by sample."
    yield ""
    outcomes = [[MARKS[each.status], each.metric, each.rule, each.message] for each in judged.of(*REPORTED)]
    if outcomes:
        yield from as_markdown(Table(columns=OUTCOMES, rows=outcomes)).splitlines()
        yield ""
    yield from bullets([*map(str, comparison.refused), *comparison.notes])
    for message, metrics in tables.ungated(judged).items():
        yield f"- not gated: {counted(len(metrics), 'metric')}, such as {code(metrics[0])}: {escape(message)}"
    yield from ("", "<details>", f"<summary>All {len(comparison.differences)} metrics</summary>", "")
    for name, found in tables.by_evaluation(comparison.differences).items():
        yield from as_markdown(tables.difference_table(name, found)).splitlines()
        yield ""
    yield "</details>"
    for title, slices in tables.by_grouping(comparison).items():
        yield from ("", "<details>", f"<summary>{escape(title)}: {tables.tally(slices)}</summary>", "")
        yield from as_markdown(tables.difference_table("", slices)).splitlines()
        yield from ("", "</details>")
    for name, similar in tables.by_data(comparison).items():
        summary = f"Representational similarity on {escape(name)}: {tables.NO_VERDICT}"
        yield from ("", "<details>", f"<summary>{summary}</summary>", "")
        yield from as_markdown(tables.similarity_table(similar)).splitlines()
        yield from ("", "</details>")


def _cut(lines: Iterator[str], budget: int) -> str:
    """Return the lines as far as there is room; what is left out is said, and what is folded is closed."""
    kept: list[str] = []
    length = len(LEFT_OUT) + 20
    for line in map(log_line, lines):
        length += len(line) + 1
        if length > budget:
            closing = ["", "</details>"] if kept.count("<details>") > kept.count("</details>") else []
            return "\n".join([*kept, "", LEFT_OUT, *closing])
        kept.append(line)
    return "\n".join(kept)


def as_json(judged: Sequence[Judged]) -> str:
    """Return all comparisons as strict JSON: differences with metrics and flipped samples, refusals, outcomes."""
    content = {
        "schema_version": SCHEMA_VERSION,
        "comparisons": [
            {
                **asdict(each.comparison),
                "outcomes": [asdict(outcome) for outcome in each.outcomes],
                "is_worse": each.is_worse,
                "is_whole": each.is_whole,
            }
            for each in judged
        ],
    }
    return json_text(json.dumps(content, indent=1, allow_nan=False, ensure_ascii=False)) + "\n"


def junit(judged: Sequence[Judged]) -> str:
    """Return JUnit XML: a suite for each comparison, a test case for each gated metric, an error for each refusal."""
    root = ElementTree.Element("testsuites", name="clipbench compare")
    for each in judged:
        suite = ElementTree.SubElement(
            root, "testsuite", name=one_line(f"{each.comparison.candidate} against {each.comparison.base}")
        )
        for outcome in each.outcomes:
            if outcome.status != "not gated":
                _case(suite, outcome)
        for refusal in each.comparison.refused:
            case = ElementTree.SubElement(
                suite, "testcase", classname=one_line(refusal.evaluation), name="is comparable"
            )
            ElementTree.SubElement(case, "error", message=one_line(str(refusal)))
        _count(suite)
    ElementTree.indent(root)
    lines = ElementTree.tostring(root, encoding="unicode").splitlines()
    return "\n".join(['<?xml version="1.0" encoding="UTF-8"?>', *map(log_line, lines), ""])


def _case(suite: ElementTree.Element, outcome: Outcome) -> None:
    metric = outcome.metric.removeprefix(f"{outcome.evaluation}/")
    case = ElementTree.SubElement(
        suite, "testcase", classname=one_line(outcome.evaluation or metric), name=one_line(f"{metric} ({outcome.rule})")
    )
    kind = ELEMENTS.get(outcome.status)
    if kind is None:
        ElementTree.SubElement(case, "system-out").text = one_line(outcome.message)
    else:
        words = outcome.message if outcome.status != "acknowledged" else f"acknowledged: {outcome.message}"
        ElementTree.SubElement(case, kind, message=one_line(words))


def _count(suite: ElementTree.Element) -> None:
    cases = suite.findall("testcase")
    suite.set("tests", str(len(cases)))
    for kind, plural in (("failure", "failures"), ("error", "errors"), ("skipped", "skipped")):
        suite.set(plural, str(len(suite.findall(f"testcase/{kind}"))))


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
        filter(
            None,
            [tables.headline(judged), tables.tally(comparison.differences), "" if judged.outcomes else tables.NO_GATE],
        )
    )
    is_unasked_loss = not tables.headline(judged) and tables.standing(judged) == "worse"
    yield "warning" if is_unasked_loss else "notice", f"{comparison.candidate} against {comparison.base}", words


def _capped(found: list[tuple[str, str]]) -> list[tuple[str, str]]:
    if len(found) <= MAX_OF_A_LEVEL:
        return found
    rest = found[MAX_OF_A_LEVEL - 1 :]
    titles = ", ".join(title for title, _ in rest)
    return [*found[: MAX_OF_A_LEVEL - 1], (f"and {len(rest)} more", titles)]


def _command(level: str, title: str, message: str) -> str:
    escaped = _command_text(title).replace(":", "%3A").replace(",", "%2C")
    return f"::{level} title={escaped}::{_command_text(message)}"


def _command_text(text: str) -> str:
    return "%0A".join(printable(line).replace("%", "%25") for line in text.split("\n"))
