"""The formats of a comparison: each says what failed, hides nothing, and lets no text out of its place."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from xml.etree import ElementTree

import pytest

from clipbench.comparison.formats import as_json, github, junit, markdown, terminal
from clipbench.comparison.formats._markdown import MAX_LENGTH
from clipbench.comparison.gate import Judged, Outcome, Status, judge
from clipbench.comparison.gate_rules import Gate
from clipbench.comparison.records import (
    Comparison,
    Difference,
    Flips,
    Refusal,
    RepresentationalSimilarity,
    Verdict,
)
from clipbench.results.record import Metric, MetricName

MakeDifference = Callable[..., Difference]
HOSTILE = "a|b`c` <img src=x> @team *x* 50%: 1,2\n::error::no"


def outcome(status: Status, metric: str = "zero-shot@birds/acc1", message: str = "60 % to 50 %") -> Outcome:
    evaluation = metric.partition("/")[0]
    return Outcome(metric=metric, rule="max drop 1pp", status=status, message=message, evaluation=evaluation)


def test_junit_keeps_the_slashes_of_an_id_in_the_class_of_its_case() -> None:
    name = MetricName("zero-shot@hf:org/birds", "micro/acc1")
    metrics = {name: Metric(value=0.5)}
    gate = Gate.from_options(require=["zero-shot/* >= 0.1", "no/where >= 1"])
    outcomes = judge(empty().comparison, gate, base=metrics, candidate=metrics, alpha=0.05)
    (suite,) = ElementTree.fromstring(junit([empty(outcomes=outcomes)]))
    assert [(case.get("classname"), case.get("name")) for case in suite] == [
        ("zero-shot@hf:org/birds", "micro/acc1 (>= 0.1)"),
        ("no/where", "no/where (>= 1)"),
    ]


@pytest.fixture
def judged(difference: MakeDifference) -> Judged:
    """A comparison with a better, a worse and an untested metric, a refusal, a note, and an outcome of each kind."""
    flips = Flips(gained=("a", "b"), lost=tuple(f"img/{k}" for k in range(7)), part_gained=("tie",))
    differences = [
        difference("zero-shot@birds/acc1", 0.6, 0.5, 0.001, verdict="worse", flips=flips),
        difference("zero-shot@birds/ece", 0.1, 0.08, higher_is_better=False),
        difference("modality-gap@birds/gap", 0.8, 0.75, 0.01, verdict="different", unit="distance"),
        difference("retrieval@birds/recall@1", 0.5, 0.6, 0.001, verdict="better"),
    ]
    return Judged(
        comparison=Comparison(
            base="runs/old",
            candidate="runs/new",
            differences=differences,
            refused=[Refusal("retrieval@coco", "task version 1 in the one run, 2 in the other")],
            notes=["only runs/old has long-caption@birds"],
        ),
        outcomes=[
            outcome("pass", "retrieval@birds/recall@1"),
            outcome("acknowledged", "zero-shot@birds/acc5"),
            outcome("untested", "zero-shot@birds/ece"),
            outcome("missing", "retrieval@coco/recall@1"),
            outcome("unmet", "zero-shot@birds/acc2"),
            outcome("regression"),
            outcome("not gated", "modality-gap@birds/gap", "it has no direction"),
        ],
    )


def empty(**parts: object) -> Judged:
    return Judged(comparison=Comparison(base="old", candidate="new", differences=[]), **parts)  # type: ignore[arg-type]


def test_the_table_has_a_line_for_each_metric_in_columns(judged: Judged) -> None:
    lines = terminal([judged]).splitlines()
    (acc1,) = [line for line in lines if line.startswith("  acc1 ") and "%" in line]
    assert " ".join(acc1.split()) == "acc1 60.0 % 50.0 % -10.00 pp [-11.00, -9.00] 0.001 0.001 2.00 pp worse"
    (head,) = {line for line in lines if line.startswith("  metric")}
    assert acc1.index("worse") == head.index("verdict")
    (ece,) = [line for line in lines if line.startswith("  ece ↓")]
    assert ece.split()[-8:] == ["–", "–", "no", "test", "(1)", "–", "no", "evidence"]


def test_metrics_of_subsets_have_the_recorded_title_of_the_subset(difference: MakeDifference) -> None:
    kind = difference("zero-shot@scenes/kind/acc1", 0.6, 0.5, 0.001, verdict="worse")
    kind = replace(kind, subset="Kind of object", base=replace(kind.base, title="Top-1 accuracy"))
    other = difference("zero-shot@scenes/genus/acc1", 0.6, 0.5)
    assert (kind.title, other.title) == ("Top-1 accuracy (kind of object)", "Acc1 (genus)")
    assert (kind.label, other.label) == (f"zero-shot@scenes: {kind.title}", "zero-shot@scenes/genus/acc1")
    judged = Judged(comparison=Comparison(base="old", candidate="new", differences=[kind, other]))
    assert "\nzero-shot@scenes (kind: Kind of object)\n" in terminal([judged])
    assert "\n(kind: Kind of object)\n" in markdown([judged])
    assert judged.comparison.frame()["title"].tolist() == [kind.title, other.title]
    assert json.loads(as_json([judged]))["comparisons"][0]["differences"][0]["subset"] == "Kind of object"


def test_the_table_lists_the_first_samples_that_changed_each_way(judged: Judged) -> None:
    text = terminal([judged])
    assert "  acc1 gained 2: a, b\n" in text
    assert "  acc1 gained in part (ties) 1: tie\n" in text
    assert "  acc1 lost 7: img/0, img/1, img/2, img/3, img/4, ... (--format json has all 7)\n" in text


def test_the_table_ends_with_what_the_gate_says_the_gravest_first(judged: Judged) -> None:
    lines = terminal([judged]).splitlines()
    assert "retrieval@coco is not comparable: task version 1 in the one run, 2 in the other" in lines
    assert "note: only runs/old has long-caption@birds" in lines
    marks = [line.split("  ")[0] for line in lines[-7:]]
    assert marks[:5] == ["REGRESSION", "NOT MET", "MISSING", "UNTESTED", "known"]
    assert lines[-2] == "not gated: modality-gap@birds/gap: it has no direction"
    assert lines[-1] == (
        "gate: 1 regression, 1 requirement not met, 1 gated metric missing, 1 untested loss, "
        "1 known regression, 1 passed"
    )


def test_without_a_gate_the_table_ends_with_the_verdicts(judged: Judged) -> None:
    text = terminal([Judged(comparison=judged.comparison)])
    assert text.splitlines()[-2:] == [
        "1 better, 1 worse, 1 changed where neither direction is better, 1 without evidence either way",
        "no gate set",
    ]


@pytest.mark.parametrize(
    ("verdicts", "mark", "level"),
    [
        (["better", "worse", "no evidence"], "❌", "warning"),
        (["better", "different"], "✅", "notice"),
        (["different", "no evidence"], "⚪", "notice"),
        ([], "⚪", "notice"),
    ],
)
def test_without_a_gate_the_mark_is_that_of_the_worst_significant_change(
    difference: MakeDifference, verdicts: list[Verdict], mark: str, level: str
) -> None:
    found = [difference(f"a@b/m{k}", 0.6, 0.5, 0.001, verdict=verdict) for k, verdict in enumerate(verdicts)]
    for outcomes in ([], [outcome("not gated")]):
        judged = Judged(comparison=Comparison(base="old", candidate="new", differences=found), outcomes=outcomes)
        first = markdown([judged]).splitlines()[0]
        assert first.startswith(f"**{mark} clipbench: ")
        assert first.endswith("; nothing was gated**" if outcomes else "; no gate set**")
        (line,) = github([judged]).splitlines()
        assert line.startswith(f"::{level} title=new against old::")
        assert line.endswith("; no gate set") == (not outcomes)


def test_the_comment_begins_with_a_line_that_says_it_all_and_folds_the_table(judged: Judged) -> None:
    first, _, names, *rest = markdown([judged]).splitlines()
    assert first.startswith("**❌ clipbench: 1 regression, 1 requirement not met, ")
    assert names.startswith("`runs/new` against `runs/old`: 1 better, 1 worse, ")
    place = rest.index("<details>")
    assert "| ❌ regression | `zero-shot@birds/acc1` | max drop 1pp | 60 % to 50 % |" in rest[:place]
    assert not any("`acc1`" in line for line in rest[:place])
    row = "| `acc1` | 60.0 % | 50.0 % | -10.00 pp | [-11.00, -9.00] | 0.001 | 0.001 | 2.00 pp | **worse** | +2 -7, 1 in part |"
    assert row in rest[place:]
    assert rest[-1] == "</details>"


def test_table_and_comment_say_what_is_not_gated_and_how_many_metrics_have_no_test(judged: Judged) -> None:
    text = terminal([judged])
    assert re.search(r"^  \(1\) no test: \w", text, re.MULTILINE)
    comment = markdown([judged])
    assert "- not gated: 1 metric, such as `modality-gap@birds/gap`: it has no direction" in comment
    assert re.search(r"^1\. no test: \w", comment, re.MULTILINE)


def test_every_row_of_the_comment_has_the_cells_of_its_head(judged: Judged) -> None:
    lines = markdown([judged]).splitlines()
    for number, line in enumerate(lines):
        if line.startswith("|--"):
            columns = line.count("|")
            for row in lines[number - 1 :]:
                if not row.startswith("|"):
                    break
                assert row.count("|") == columns, row


def test_a_comment_without_failures_says_so_at_once(difference: MakeDifference) -> None:
    assert markdown([empty(outcomes=[outcome("pass")])]).startswith("**✅ clipbench: 1 passed**")
    assert markdown([empty()]).startswith("**⚪ clipbench: no metric compared; no gate set**")
    known = [outcome("pass"), outcome("acknowledged")]
    assert markdown([empty(outcomes=known)]).startswith("**⚠️ clipbench: 1 known regression, 1 passed**")


def test_a_comparison_with_a_refusal_is_not_said_to_be_well(judged: Judged) -> None:
    assert markdown([Judged(comparison=judged.comparison)]).startswith("**❌ clipbench: 1 better")


def test_no_text_of_a_comment_is_markup_or_notifies_anyone(judged: Judged) -> None:
    text = markdown([empty(outcomes=[outcome("regression", message=HOSTILE)])])
    assert "\\<img src=x\\>" in text
    assert "@team" not in text
    assert r"a\|b\`c\` " in text and r"\*x\*" in text
    named = markdown([empty(outcomes=[outcome("regression", f"zero-shot@team/{HOSTILE}")])])
    assert "`zero-shot@team/a\\|b'c' <img src=x> @team *x* 50%: 1,2 ::error::no`" in named


def test_a_comment_fits_what_github_takes_and_says_what_it_leaves_out(difference: MakeDifference) -> None:
    many = [difference(f"zero-shot@birds/{'long-' * 20}{k}", 0.5, 0.5, 0.5) for k in range(2_000)]
    two = [Judged(comparison=Comparison(base="old", candidate=name, differences=many)) for name in ("one", "two")]
    text = markdown(two)
    assert MAX_LENGTH / 2 < len(text) <= MAX_LENGTH
    assert text.count("does not fit a comment: `--format json` and `html` have it all.") == 2
    assert text.count("<details>") == text.count("</details>") == 2


def test_many_failures_leave_a_comment_that_is_closed(difference: MakeDifference) -> None:
    failures = [outcome("regression", f"zero-shot@birds/{'long-' * 20}{k}") for k in range(2_000)]
    text = markdown([empty(outcomes=failures)])
    assert len(text) <= MAX_LENGTH
    assert text.count("<details>") == text.count("</details>")


def test_json_has_all_that_is_known(judged: Judged) -> None:
    content = json.loads(as_json([judged]))
    (found,) = content["comparisons"]
    assert content["schema_version"] == 1
    assert found["differences"][0]["flips"]["lost"] == [f"img/{k}" for k in range(7)]
    assert found["differences"][0]["base"]["value"] == 0.6
    assert found["refused"] == [
        {"evaluation": "retrieval@coco", "reason": "task version 1 in the one run, 2 in the other"}
    ]
    assert [each["status"] for each in found["outcomes"]][-2:] == ["regression", "not gated"]
    assert (found["is_worse"], found["is_whole"]) == (True, False)


def test_representational_similarity_is_told_with_chance_and_has_no_part_in_the_verdict(judged: Judged) -> None:
    knn = Metric(value=0.25, low=0.2, high=0.3, chance=0.02, n=500)
    cka = {"image": Metric(value=0.5, low=0.4, high=0.6, chance=0.0, n=500, unit="ratio"),
           "text": Metric(value=None, unit="ratio", chance=0.0, reason="all texts are equal")}  # fmt: skip
    similar = [
        RepresentationalSimilarity(
            evaluation="modality-gap@birds", modality=modality, mutual_knn=knn, cka=cka[modality]
        )
        for modality in ("image", "text")
    ]
    plain, told = (replace(judged.comparison, representational_similarity=those) for those in ([], similar))
    alike = replace(judged, comparison=told)
    lines = [line for line in terminal([alike]).splitlines() if line not in terminal([judged]).splitlines()]
    assert lines == [
        "representational similarity, 500 pairs of modality-gap@birds (alike is not better: no verdict)",
        "  images: mutual k-NN 25.0 % [20.0, 30.0], chance 2.0 %; CKA 0.5000 [0.4000, 0.6000], chance 0",
        "  texts: mutual k-NN 25.0 % [20.0, 30.0], chance 2.0 %; CKA is undefined (all texts are equal)",
    ]
    assert terminal([alike]).splitlines()[-3:] == terminal([judged]).splitlines()[-3:]
    text = markdown([alike])
    assert text.startswith(markdown([judged]).rstrip()) and text.count("<details>") == text.count("</details>")
    assert "| Images: CKA | 0.5000 | [0.4000, 0.6000] | 0 |" in text and "| Texts: CKA | – | – | 0 |" in text
    assert junit([alike]) == junit([judged]) and github([alike]) == github([judged])
    (found,) = json.loads(as_json([alike]))["comparisons"]
    assert [each["modality"] for each in found["representational_similarity"]] == ["image", "text"]
    assert found["representational_similarity"][0]["mutual_knn"]["chance"] == 0.02
    assert (plain.similarity_frame().empty, len(told.similarity_frame())) == (True, 4)
    assert told.similarity_frame()["value"].isna().tolist() == [False, False, False, True]


def test_junit_has_a_case_for_each_gated_metric_and_each_refusal(judged: Judged) -> None:
    root = ElementTree.fromstring(junit([judged]))
    (suite,) = root
    assert suite.attrib == {
        "name": "runs/new against runs/old",
        "tests": "7",
        "failures": "2",
        "errors": "2",
        "skipped": "2",
    }
    kinds = {(case.get("classname"), case.get("name")): [child.tag for child in case] for case in suite}
    assert kinds["zero-shot@birds", "acc1 (max drop 1pp)"] == ["failure"]
    assert kinds["zero-shot@birds", "acc5 (max drop 1pp)"] == ["skipped"]
    assert kinds["retrieval@birds", "recall@1 (max drop 1pp)"] == ["system-out"]
    assert kinds["retrieval@coco", "is comparable"] == ["error"]


def test_junit_is_xml_whatever_the_names_hold(judged: Judged) -> None:
    names = ("zero-shot@a&b/<x>\x00\x1b\ud800\ufffe", "zero-shot@b/\"'")
    root = ElementTree.fromstring(junit([empty(outcomes=[outcome("regression", name, "\x07") for name in names])]))
    assert [case.get("name") for case in root[0]] == ["<x>���� (max drop 1pp)", "\"' (max drop 1pp)"]


def test_annotations_have_the_level_of_their_gravity(judged: Judged) -> None:
    lines = github([judged]).splitlines()
    assert [re.sub(" .*", "", line) for line in lines] == ["::error"] * 4 + ["::warning"] * 3 + ["::notice"]
    assert lines[0] == "::error title=regression%3A zero-shot@birds/acc1::max drop 1pp: 60 %25 to 50 %25"
    assert lines[3].startswith("::error title=not comparable::retrieval@coco is not comparable: task version 1")
    assert lines[-1].startswith("::notice title=runs/new against runs/old::1 regression, ")


def test_no_text_of_an_annotation_is_a_command(judged: Judged) -> None:
    (line, _) = github([empty(outcomes=[outcome("regression", f"a@b/{HOSTILE}", HOSTILE)])]).splitlines()
    title, message = line.removeprefix("::error title=").split("::", 1)
    assert "%3A 1%2C2%0A%3A%3Aerror" in title
    assert message.endswith("50%25: 1,2%0A::error::no")


def test_annotations_beyond_those_that_github_shows_are_counted(judged: Judged) -> None:
    lines = github([empty(outcomes=[outcome("regression", f"a@b/{k}") for k in range(14)])]).splitlines()
    errors = [line for line in lines if line.startswith("::error")]
    assert len(errors) == 10
    assert errors[-1].startswith("::error title=and 5 more::regression: a@b/9, ")


@pytest.mark.parametrize("form", [terminal, markdown, github, junit, as_json])
def test_each_candidate_has_its_own_part(judged: Judged, form: Callable[[list[Judged]], str]) -> None:
    other = Judged(comparison=Comparison(base="runs/old", candidate="runs/third", differences=[]))
    text = form([judged, other])
    assert text.index("runs/new") < text.index("runs/third")
