"""A comparison for programs: JSON with all that is known, and JUnit XML with a test case for each gated metric."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from xml.etree import ElementTree

from clipbench.comparison.gate import Judged, Outcome
from clipbench.untrusted.terminal import json_text, log_line, one_line

ELEMENTS = {
    "regression": "failure",
    "unmet": "failure",
    "missing": "error",
    "untested": "skipped",
    "acknowledged": "skipped",
}
"""The element in a test case, by its status; those that pass have none."""
SCHEMA_VERSION = 1


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
