"""The formats of a comparison: each says what failed, hides nothing, and lets no text out of its place."""

from collections.abc import Sequence
from dataclasses import replace
from xml.etree import ElementTree

import pytest

from clipbench.comparison.formats import github, junit, markdown, terminal
from clipbench.comparison.formats._ci import MAX_LENGTH
from clipbench.comparison.formats.difference_tables import difference_table
from clipbench.comparison.gate import judge
from clipbench.comparison.gate_outcomes import GateResult, Outcome, Status
from clipbench.comparison.gate_rules import Gate
from clipbench.comparison.metric_difference import Flips, Verdict
from clipbench.comparison.overall import with_verdict
from clipbench.comparison.records import Comparison, Refusal
from clipbench.results.metric_name import MetricName
from clipbench.results.numbers import ascii_signs
from clipbench.results.record import Metric
from clipbench.results.table import as_markdown
from tests.clipbench.conftest import MakeDifference

HOSTILE = "a|b`c` <img src=x> @team *x* 50%: 1,2\n::error::no"


def outcome(status: Status, metric: str = "zero-shot@birds/acc1", message: str = "60 % to 50 %") -> Outcome:
    evaluation = metric.partition("/")[0]
    return Outcome(metric=metric, rule="max drop 1pp", status=status, message=message, evaluation=evaluation)


def test_junit_keeps_the_slashes_of_an_id_in_the_class_of_its_case() -> None:
    name = MetricName("zero-shot@hf:org/birds", "micro/acc1")
    metrics = {name: Metric(value=0.5)}
    gate = Gate.from_options(require=["zero-shot/* >= 10%", "no/where >= 1"])
    outcomes = judge(empty(), gate, base=metrics, candidate=metrics, alpha=0.05)
    (suite,) = ElementTree.fromstring(junit([empty(outcomes=outcomes)]))
    assert [(case.get("classname"), case.get("name")) for case in suite.findall("testcase")] == [
        ("zero-shot@hf:org/birds", "micro/acc1 (>= 10 %)"),
        ("no/where", "no/where (>= 1)"),
    ]


@pytest.fixture
def judged(difference: MakeDifference) -> Comparison:
    """A comparison with a better, a worse and an untested metric, a refusal, a note, and an outcome of each kind."""
    flips = Flips(gained=("a", "b"), lost=tuple(f"img/{k}" for k in range(7)), part_gained=("tie",))
    differences = [
        difference("zero-shot@birds/acc1", 0.6, 0.5, 0.001, verdict="worse", flips=flips),
        difference("zero-shot@birds/ece", 0.1, 0.08, higher_is_better=False),
        difference("modality-gap@birds/gap", 0.8, 0.75, 0.01, verdict="different", unit="distance"),
        difference("retrieval@birds/recall@1", 0.5, 0.6, 0.001, verdict="better"),
    ]
    outcomes = [
        outcome("pass", "retrieval@birds/recall@1"),
        outcome("acknowledged", "zero-shot@birds/acc5"),
        outcome("untested", "zero-shot@birds/ece"),
        outcome("missing", "retrieval@coco/recall@1"),
        outcome("unmet", "zero-shot@birds/acc2"),
        outcome("regression"),
        outcome("not gated", "modality-gap@birds/gap", "no direction"),
    ]
    return with_verdict(
        Comparison(
            base="runs/old",
            candidate="runs/new",
            differences=differences,
            refused=[Refusal("retrieval@coco", "task version 1 in the one run, 2 in the other")],
            notes=["only runs/old has long-caption@birds"],
            warnings=["runs/new: not deterministic"],
            gate=GateResult(outcomes=outcomes),
        )
    )


def empty(outcomes: Sequence[Outcome] = ()) -> Comparison:
    comparison = Comparison(base="old", candidate="new", differences=[], gate=GateResult(outcomes=outcomes))
    return with_verdict(comparison)


def test_what_can_be_detected_has_no_sign(difference: MakeDifference) -> None:
    result = replace(difference("zero-shot@birds/acc1", 0.6, 0.5, 0.001), detectable=0.04)
    assert "| 4.00 pp |" in as_markdown(difference_table("", [result])).replace("\N{NO-BREAK SPACE}", " ")


def test_the_table_lists_the_first_samples_that_changed_each_way(judged: Comparison) -> None:
    text = terminal([judged], is_verbose=True)
    assert "  acc1 gained 2: a, b\n" in text
    assert "  acc1 gained in part (ties) 1: tie\n" in text
    assert "  acc1 lost 7: img/0, img/1, img/2, img/3, img/4, ... (--format json has all 7)\n" in text


def test_the_table_ends_with_what_the_gate_says_the_gravest_first(judged: Comparison) -> None:
    lines = terminal([judged], is_verbose=True).splitlines()
    assert "retrieval@coco is not comparable: task version 1 in the one run, 2 in the other" in lines
    assert "note: only runs/old has long-caption@birds" in lines
    assert "warning: runs/new: not deterministic" in lines
    marks = [line.split("  ")[0] for line in lines[-10:]]
    assert marks[:6] == ["REGRESSION", "NOT MET", "MISSING", "UNTESTED", "known", "passed"]
    assert (
        lines[-3] == "gate: 1 regression, 1 requirement not met, 1 gated metric missing, 1 untested loss, "
        "1 known regression, 1 passed"
    )
    assert lines[-2] == "not gated: 1 metric (no direction)"
    assert lines[-1] == f"verdict: {judged.verdict} ({ascii_signs(judged.reason)})"


@pytest.mark.parametrize(
    ("verdicts", "mark", "level"),
    [
        (["better", "worse", "not shown"], "❌", "warning"),
        (["better", "different"], "✅", "notice"),
        (["different", "not shown"], "⚪", "notice"),
        ([], "⚪", "notice"),
    ],
)
def test_without_a_gate_the_mark_is_that_of_the_worst_significant_change(
    difference: MakeDifference, verdicts: list[Verdict], mark: str, level: str
) -> None:
    result = [
        replace(difference(f"a@b/m{k}", 0.6, 0.5, 0.001, verdict=verdict), is_headline=True)
        for k, verdict in enumerate(verdicts)
    ]
    for outcomes in ([], [outcome("not gated")]):
        gate = GateResult(outcomes=outcomes)
        judged = with_verdict(Comparison(base="old", candidate="new", differences=result, gate=gate))
        assert markdown([judged]).startswith(f"**{mark} clipbench: {judged.verdict}**")
        (line,) = github([judged]).splitlines()
        assert line.startswith(f"::{level} title=new against old::verdict: {judged.verdict} (")


def test_every_row_of_the_comment_has_the_cells_of_its_head(judged: Comparison) -> None:
    lines = markdown([judged]).splitlines()
    for number, line in enumerate(lines):
        if line.startswith("|--"):
            columns = line.count("|")
            for row in lines[number - 1 :]:
                if not row.startswith("|"):
                    break
                assert row.count("|") == columns, row


def test_no_text_of_a_comment_is_markup_or_notifies_anyone(judged: Comparison) -> None:
    hostile = replace(outcome("regression"), reason=HOSTILE)
    text = markdown([empty(outcomes=[hostile])])
    assert "\\<img src=x\\>" in text
    assert "@team" not in text
    assert r"a\|b\`c\` " in text and r"\*x\*" in text
    named = markdown([empty(outcomes=[outcome("regression", f"zero-shot@team/{HOSTILE}")])])
    assert "`zero-shot@team/a\\|b'c' <img src=x> @team *x* 50%: 1,2 ::error::no`" in named


def test_a_comment_fits_what_github_takes_and_says_what_it_leaves_out(difference: MakeDifference) -> None:
    many = [difference(f"zero-shot@birds/{'long-' * 20}{k}", 0.5, 0.5, 0.5) for k in range(2_000)]
    two = [Comparison(base="old", candidate=name, differences=many) for name in ("one", "two")]
    text = markdown(two)
    assert MAX_LENGTH / 2 < len(text) <= MAX_LENGTH
    assert text.count("does not fit a comment: `--format json` and `html` have it all.") == 2
    assert text.count("<details>") == text.count("</details>") == 2


def test_many_failures_leave_a_comment_that_is_closed(difference: MakeDifference) -> None:
    failures = [outcome("regression", f"zero-shot@birds/{'long-' * 20}{k}") for k in range(2_000)]
    text = markdown([empty(outcomes=failures)])
    assert len(text) <= MAX_LENGTH
    assert text.count("<details>") == text.count("</details>")


def test_junit_has_a_case_for_each_gated_metric_and_each_refusal(judged: Comparison) -> None:
    root = ElementTree.fromstring(junit([judged]))
    (suite,) = root
    assert suite.attrib == {
        "name": "runs/new against runs/old",
        "tests": "7",
        "failures": "2",
        "errors": "2",
        "skipped": "2",
    }
    cases = suite.findall("testcase")
    kinds = {(case.get("classname"), case.get("name")): [child.tag for child in case] for case in cases}
    assert [(part.get("name"), part.get("value")) for part in suite[0]] == [
        ("verdict", f"{judged.verdict} ({judged.reason})"),
        ("warning", "runs/new: not deterministic"),
    ]
    assert kinds["zero-shot@birds", "acc1 (max drop 1pp)"] == ["failure"]
    assert kinds["zero-shot@birds", "acc5 (max drop 1pp)"] == ["skipped"]
    assert kinds["retrieval@birds", "recall@1 (max drop 1pp)"] == ["system-out"]
    assert kinds["retrieval@coco", "is comparable"] == ["error"]


def test_junit_is_xml_whatever_the_names_hold(judged: Comparison) -> None:
    names = ("zero-shot@a&b/<x>\x00\x1b\ud800\ufffe", "zero-shot@b/\"'")
    root = ElementTree.fromstring(junit([empty(outcomes=[outcome("regression", name, "\x07") for name in names])]))
    assert [case.get("name") for case in root[0].findall("testcase")] == [
        "<x>���� (max drop 1pp)",
        "\"' (max drop 1pp)",
    ]


def test_no_text_of_an_annotation_is_a_command(judged: Comparison) -> None:
    _, line = github([empty(outcomes=[outcome("regression", f"a@b/{HOSTILE}", HOSTILE)])]).splitlines()
    title, message = line.removeprefix("::error title=").split("::", 1)
    assert "%3A 1%2C2%0A%3A%3Aerror" in title
    assert message.endswith("50%25: 1,2%0A::error::no")


def test_annotations_beyond_those_that_github_shows_are_counted(judged: Comparison) -> None:
    lines = github([empty(outcomes=[outcome("regression", f"a@b/{k}") for k in range(14)])]).splitlines()
    errors = [line for line in lines if line.startswith("::error")]
    assert len(errors) == 10
    assert errors[0].startswith("::error title=new against old::verdict: ")
    assert errors[-1].startswith("::error title=and 6 more::regression: a@b/8, ")


@pytest.mark.parametrize("verdict", ["worse", "not shown"])
def test_a_note_says_once_why_a_regression_is_known(difference: MakeDifference, verdict: Verdict) -> None:
    """The note has the gate's numbers where the table alone shows no loss."""
    numbers, reason = "60 % to 50 %", "known until 2030-12-31: new crop"
    lost = difference("zero-shot@birds/acc1", 0.6, 0.5, 0.04, verdict=verdict)
    known = outcome("acknowledged", message=f"{numbers}: {reason}")
    compared = replace(empty(outcomes=[replace(known, reason=reason, difference=lost)]), differences=[lost])
    text = terminal([compared])
    assert text.count(reason) == 1
    assert (numbers in text) == (verdict == "not shown")
