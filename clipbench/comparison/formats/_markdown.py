"""A comparison as Markdown for a pull-request comment: a line that says it all, what failed, and the rest folded."""

from collections.abc import Iterator, Mapping, Sequence

from clipbench.comparison.formats import tables
from clipbench.comparison.gate import REPORTED, Judged
from clipbench.results.numbers import ascii_signs, counted
from clipbench.results.table import Column, Table, as_markdown
from clipbench.results.table.markdown import bullets, code, escape
from clipbench.untrusted.terminal import log_line

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
STANDINGS: Mapping[tables.Standing, str] = {
    "worse": "❌",
    "incomplete": "❌",
    "doubtful": "⚠️",
    "good": "✅",
    "open": "⚪",
}
OUTCOMES = (
    Column("", is_number=False),
    Column("metric", is_number=False, is_name=True),
    Column("rule", is_number=False),
    Column("", is_number=False),
)


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
        yield from (
            "",
            "<details>",
            f"<summary>Representational similarity on {escape(name)}: {tables.NO_VERDICT}</summary>",
            "",
        )
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
