"""A comparison for CI: a pull-request comment, JSON with all that is known, JUnit XML, and annotations of a GitHub
workflow.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from xml.etree import ElementTree

from clipbench.comparison.chain import Chain
from clipbench.comparison.formats import difference_tables as tables
from clipbench.comparison.gate_outcomes import FAILED, PASSED, REPORTED, GateResult, Outcome
from clipbench.comparison.records import Comparison, verdict_line
from clipbench.results.grouping import group_values
from clipbench.results.metric_name import metric_of
from clipbench.results.numbers import ascii_signs
from clipbench.results.table import as_markdown
from clipbench.results.table.markdown import bullets, code, escape
from clipbench.untrusted.terminal import json_text, log_line, one_line, printable

MAX_LENGTH = 60_000
"""GitHub takes 65,536 characters in a comment, GitLab a million."""
LEFT_OUT = "More does not fit a comment: `--format json` and `html` have it all."
RATINGS = {"bad": "❌", "doubtful": "⚠️", "good": "✅", "open": "⚪"}
ELEMENTS = {
    "regression": "failure",
    "unmet": "failure",
    "missing": "error",
    "untested": "skipped",
    "acknowledged": "skipped",
}
"""The element in a test case, by its status. Cases that pass have none."""
LEVELS = {"regression": "error", "unmet": "error", "missing": "error", "untested": "warning", "acknowledged": "warning"}
MAX_OF_A_LEVEL = 10
"""The most annotations per level that GitHub shows for a step. It drops the others."""
SCHEMA_VERSION = 1


def markdown(comparisons: Sequence[Comparison]) -> str:
    """Return a section for each comparison. A table that a comment cannot hold is cut, and it says so."""
    budget = MAX_LENGTH // max(1, len(comparisons))
    return ascii_signs("\n\n".join(_truncate(_lines(comparison), budget) for comparison in comparisons) + "\n")


def chain_markdown(chain: Chain) -> str:
    """Return a section for the last run against the first, with a table of the steps below its verdict."""
    return ascii_signs(_truncate(_chain_lines(chain), MAX_LENGTH) + "\n")


def _chain_lines(chain: Chain) -> Iterator[str]:
    lines = _lines(chain.whole)
    yield next(lines)
    yield ""
    yield from as_markdown(chain.table()).splitlines()
    yield from bullets([*chain.refusal_lines(), *chain.warning_lines()])
    yield from lines


def _lines(comparison: Comparison) -> Iterator[str]:
    mark = RATINGS[tables.rating(comparison)]
    yield f"**{mark} clipbench: {comparison.verdict}** ({escape(comparison.reason)})"
    yield ""
    names = f"{code(comparison.candidate)} against {code(comparison.base)}"
    counts = comparison.gate.counts
    yield f"{names}. {f'Gate: {counts}. ' if counts else ''}All metrics: {tables.tally(comparison.differences)}."
    yield ""
    if outcomes := comparison.gate.with_status(*REPORTED):
        yield from as_markdown(tables.gate_table(outcomes)).splitlines()
        yield ""
    warnings = [f"warning: {warning}" for warning in comparison.warnings]
    ungated = tables.ungated_lines(comparison.gate)
    if not comparison.differences:
        yield from bullets(warnings)
        return  # the first line has the reason
    yield from bullets([*map(str, comparison.refused), *warnings, *comparison.notes, *ungated])
    yield from ("", "<details>", f"<summary>All {len(comparison.differences)} metrics</summary>", "")
    for name, differences in tables.by_evaluation(comparison.differences).items():
        yield from as_markdown(tables.difference_table(name, differences)).splitlines()
        yield ""
    yield "</details>"
    for title, slices in tables.by_grouping(comparison).items():
        yield from ("", "<details>", f"<summary>{escape(title)}: {tables.tally(slices)}</summary>", "")
        yield from as_markdown(tables.difference_table("", slices)).splitlines()
        yield from ("", "</details>")
    for part in comparison.relabelled:
        yield from ("", f"**{escape(part.evaluation)}, {escape(part.counts)}.** {escape(part.sentence)}.", "")
        yield from as_markdown(tables.relabelled_table(part)).splitlines()
    for name, similar in tables.by_evaluation(comparison.representational_similarity).items():
        summary = f"Representational similarity on {escape(name)}: {tables.NO_VERDICT}"
        yield from ("", "<details>", f"<summary>{summary}</summary>", "")
        yield from as_markdown(tables.similarity_table(similar)).splitlines()
        yield from ("", "</details>")


def _truncate(lines: Iterator[str], budget: int) -> str:
    """Return the lines as far as there is room. A line says that lines are left out, and folded parts are closed."""
    head: list[str] = []
    length = len(LEFT_OUT) + 20
    for line in map(log_line, lines):
        length += len(line) + 1
        if length > budget:
            closing = ["", "</details>"] if head.count("<details>") > head.count("</details>") else []
            return "\n".join([*head, "", LEFT_OUT, *closing])
        head.append(line)
    return "\n".join(head)


def as_json(comparisons: Sequence[Comparison]) -> str:
    """Return all comparisons as strict JSON: differences with metrics and flipped samples, refusals, outcomes.

    ``verdict`` and ``reason`` at the top belong to the worst candidate.
    """
    worst = tables.sort_worst_last(comparisons)[-1]
    fields_of_comparisons = []
    for comparison in comparisons:
        outcomes = [_outcome_fields(outcome) for outcome in comparison.gate.outcomes]
        further = {"exit_status": comparison.exit_status, "outcomes": outcomes}
        fields_of_comparisons.append({**_comparison_fields(comparison), **further})
    content = {
        "schema_version": SCHEMA_VERSION,
        "verdict": worst.verdict,
        "reason": worst.reason,
        "comparisons": fields_of_comparisons,
    }
    return json_text(json.dumps(content, indent=1, allow_nan=False, ensure_ascii=False)) + "\n"


def chain_json(chain: Chain) -> str:
    """Return a chain as strict JSON: its runs, a comparison for each step, and the last run against the first."""
    content = {
        "schema_version": SCHEMA_VERSION,
        "verdict": chain.verdict,
        "reason": chain.reason,
        "runs": chain.labels,
        "steps": [_comparison_fields(step) for step in chain.steps],
        "last_against_first": {
            **_comparison_fields(chain.whole),
            "exit_status": chain.exit_status,
            "outcomes": [_outcome_fields(outcome) for outcome in chain.whole.gate.outcomes],
        },
    }
    return json_text(json.dumps(content, indent=1, allow_nan=False, ensure_ascii=False)) + "\n"


def _comparison_fields(comparison: Comparison) -> dict[str, object]:
    fields = asdict(replace(comparison, gate=GateResult()))
    del fields["gate"]  # its outcomes would repeat the differences
    for difference in (*fields["differences"], *fields["slices"]):
        del difference["power"]
    for part in fields["relabelled"]:
        del part["recorded"]["power"], part["relabelled"]["power"]
    for part, by_labels in zip(fields["relabelled"], comparison.relabelled, strict=True):
        part["sentence"] = by_labels.sentence
    return fields


def _outcome_fields(outcome: Outcome) -> dict[str, object]:
    """Return the fields of an outcome without its difference and metrics, which the comparison has."""
    return {name: value for name, value in vars(outcome).items() if name not in ("difference", "base", "candidate")}


def junit(comparisons: Sequence[Comparison]) -> str:
    """Return JUnit XML: a suite per comparison, a test case per gated metric, an error per refusal."""
    root = ElementTree.Element("testsuites", name="clipbench compare")
    for comparison in comparisons:
        suite = ElementTree.SubElement(
            root, "testsuite", name=one_line(f"{comparison.candidate} against {comparison.base}")
        )
        properties = ElementTree.SubElement(suite, "properties")
        verdict = one_line(f"{comparison.verdict} ({comparison.reason})")
        ElementTree.SubElement(properties, "property", name="verdict", value=verdict)
        for warning in comparison.warnings:
            ElementTree.SubElement(properties, "property", name="warning", value=one_line(warning))
        for outcome in comparison.gate.outcomes:
            if outcome.status != "not gated":
                _add_case(suite, outcome)
        for refusal in comparison.refused:
            case = ElementTree.SubElement(
                suite, "testcase", classname=one_line(refusal.evaluation or comparison.candidate), name="is comparable"
            )
            ElementTree.SubElement(case, "error", message=one_line(str(refusal)))
        _set_counts(suite)
    ElementTree.indent(root)
    lines = ElementTree.tostring(root, encoding="unicode").splitlines()
    return "\n".join(['<?xml version="1.0" encoding="UTF-8"?>', *map(log_line, lines), ""])


def _add_case(suite: ElementTree.Element, outcome: Outcome) -> None:
    metric = metric_of(outcome.evaluation, outcome.metric)
    case = ElementTree.SubElement(
        suite, "testcase", classname=one_line(outcome.evaluation or metric), name=one_line(f"{metric} ({outcome.rule})")
    )
    kind = ELEMENTS.get(outcome.status)
    if kind is None:
        ElementTree.SubElement(case, "system-out").text = one_line(outcome.message)
    else:
        words = outcome.message if outcome.status != "acknowledged" else f"acknowledged: {outcome.message}"
        ElementTree.SubElement(case, kind, message=one_line(words))


def _set_counts(suite: ElementTree.Element) -> None:
    cases = suite.findall("testcase")
    suite.set("tests", str(len(cases)))
    for kind, plural in (("failure", "failures"), ("error", "errors"), ("skipped", "skipped")):
        suite.set(plural, str(len(suite.findall(f"testcase/{kind}"))))


def github(comparisons: Sequence[Comparison]) -> str:
    """Return ``::error``, ``::warning`` and ``::notice`` lines: the verdicts, what failed, and what is known.

    GitHub shows only the first ten of a level. If there are more, the tenth says how many are left out.
    """
    verdicts = [_verdict_annotation(comparison) for comparison in reversed(tables.sort_worst_last(comparisons))]
    annotations = list(verdicts)
    for comparison in comparisons:
        annotations += _annotations(comparison)
    by_level = group_values((level, (title, message)) for level, title, message in annotations)
    level_of_verdict = verdicts[0][0]
    lines = []
    for level in dict.fromkeys((level_of_verdict, "error", "warning", "notice")):
        lines += [_command(level, *line) for line in _cap_annotations(by_level.get(level, []))]
    return "\n".join(lines) + "\n"


def _verdict_annotation(comparison: Comparison) -> tuple[str, str, str]:
    level = "warning"
    if comparison.exit_status == FAILED:
        level = "error"
    elif comparison.exit_status == PASSED and tables.rating(comparison) != "bad":
        level = "notice"
    title = f"{comparison.candidate} against {comparison.base}"
    return level, title, verdict_line(comparison.verdict, comparison.reason)


def _annotations(comparison: Comparison) -> Iterator[tuple[str, str, str]]:
    for outcome in comparison.gate.with_status(*REPORTED):
        message = f"{outcome.rule}: {outcome.message}"
        yield LEVELS[outcome.status], f"{outcome.status}: {outcome.metric}", message
    yield from (("error", "not comparable", str(refusal)) for refusal in comparison.refused)
    yield from (("warning", "check", warning) for warning in comparison.warnings)
    undecided = len(comparison.gate.with_status("not decided"))
    if undecided:
        yield "notice", "not decided", f"gate: {comparison.gate.counts}"
    yield from (("warning", "note", note) for note in comparison.notes)


def _cap_annotations(annotations: list[tuple[str, str]]) -> list[tuple[str, str]]:
    if len(annotations) <= MAX_OF_A_LEVEL:
        return annotations
    rest = annotations[MAX_OF_A_LEVEL - 1 :]
    titles = ", ".join(title for title, _ in rest)
    return [*annotations[: MAX_OF_A_LEVEL - 1], (f"and {len(rest)} more", titles)]


def _command(level: str, title: str, message: str) -> str:
    escaped = _command_text(title).replace(":", "%3A").replace(",", "%2C")
    return f"::{level} title={escaped}::{_command_text(message)}"


def _command_text(text: str) -> str:
    return "%0A".join(printable(line).replace("%", "%25") for line in text.split("\n"))
