"""Sentences say what their intervals carry, and no more."""

from dataclasses import replace
from typing import Any

import pytest

from clipbench.results.record import DatasetRecord, EvaluationRecord, Metric
from clipbench.stats.intervals import wilson
from clipbench_reports.page.sentences.findings import Finding, claim, mark_of, not_better, skill
from clipbench_reports.sections.loading import load_section


def evaluation(task: str, metrics: dict[str, Metric], **changes: Any) -> EvaluationRecord:
    record = {"task": task, "task_version": 1, "params": {}, "dataset": DatasetRecord(id="here"), "status": "ok"}
    return EvaluationRecord(**{**record, "metrics": metrics, **changes})


def findings(record: EvaluationRecord) -> list[Finding]:
    return load_section(record.task).summary(record)


@pytest.mark.parametrize(
    ("low", "high", "higher_is_better", "expected"),
    [
        (0.51, 0.61, True, "good"),
        (0.50, 0.60, True, "level"),  # an end of the interval is in it
        (0.40, 0.50, True, "level"),
        (0.39, 0.49, True, "weak"),
        (0.39, 0.49, False, "good"),
        (0.51, 0.61, False, "weak"),
        (0.51, 0.61, None, "plain"),
        (None, None, True, "plain"),
    ],
)
def test_only_an_interval_without_chance_is_good_or_weak(
    low: float | None, high: float | None, higher_is_better: bool | None, expected: str
) -> None:
    value = 0.55 if low is None or high is None else (low + high) / 2
    metric = Metric(value=value, low=low, high=high, chance=0.5, higher_is_better=higher_is_better)
    assert claim("Right in {value}", metric).mark == expected


def test_one_hit_is_not_better_than_a_chance_of_a_hit_in_25_runs() -> None:
    low, high, _ = wilson(1.0, 100)
    metric = Metric(value=0.01, low=low, high=high, n=100, chance=0.0004, higher_is_better=True)
    assert low is not None and low > 0.0004  # though the interval excludes it
    found = claim("Right in {value}", metric)
    assert (
        found.mark == "level"
        and "not significantly different from chance (0.0 %; 95 % interval [0.1, 5.4])" in found.text
    )


def test_a_sentence_on_several_metrics_is_corrected_for_their_number() -> None:
    low, high, _ = wilson(61.0, 100)
    likely = Metric(value=0.61, low=low, high=high, n=100, chance=0.5, higher_is_better=True)
    low, high, _ = wilson(50.0, 100)
    even = replace(likely, value=0.5, low=low, high=high)
    assert mark_of([likely]) == "good" and not_better({"a": likely}) == {}
    assert not_better({"a": likely, "b": even}) == {"not significantly different from chance": ["a", "b"]}


@pytest.mark.parametrize(
    ("value", "chance", "higher_is_better", "expected"),
    [
        (1.0, 0.25, True, 1.0),
        (0.0, 0.25, True, -1.0),
        (0.0, 0.25, False, 1.0),
        (1.0, 0.25, False, -1.0),
        (0.25, 0.25, False, 0.0),
        (0.1, 0.0, False, -0.1),
        (0.5, 0.25, None, 0.0),
        (0.5, None, True, 0.0),
        (None, 0.5, True, 0.0),
        (-0.1, 0.0, True, 0.0),
        (1.5, 1.0, True, 0.0),
    ],
)
def test_skill_is_one_at_the_best_and_minus_one_at_the_worst(
    value: float | None, chance: float | None, higher_is_better: bool | None, expected: float
) -> None:
    assert skill(Metric(value=value, chance=chance, higher_is_better=higher_is_better)) == expected


def test_only_fractions_have_a_skill() -> None:
    assert skill(Metric(value=12.0, chance=1.0, unit="m", higher_is_better=True)) == 0


@pytest.mark.parametrize(
    ("low", "mark", "words"),
    [
        (0.15, "good", "for 20.0 % of 80 images (95 % interval [15.0, 30.0]; chance 10.0 %)."),
        (
            0.05,
            "level",
            "for 20.0 % of 80 images: not significantly different from chance (10.0 %; 95 % interval [5.0,",
        ),
    ],
)
def test_zero_shot_claims_skill_only_above_chance(low: float, mark: str, words: str) -> None:
    metric = Metric(value=0.2, low=low, high=0.3, chance=0.1, n=80, higher_is_better=True)
    (found,) = findings(evaluation("zero-shot", {"acc1": metric}))
    assert found.mark == mark
    assert words in found.text


def test_a_model_below_chance_is_said_to_be() -> None:
    metric = Metric(value=0.02, low=0.01, high=0.04, chance=0.1, n=900, higher_is_better=True)
    (found,) = findings(evaluation("zero-shot", {"acc1": metric}))
    assert found[:2] == (
        "weak",
        "Names the right class first for 2.0 % of 900 images: below chance (10.0 %; 95 % interval [1.0, 4.0]).",
    )


def test_each_label_set_is_named_in_a_sentence_of_its_own() -> None:
    kind = Metric(value=0.97, low=0.95, high=0.98, chance=0.1, n=600, higher_is_better=True)
    colour = Metric(value=0.02, low=0.01, high=0.03, chance=0.0111, n=600, higher_is_better=True)
    metrics = {"kind/acc1": kind, "kind/ece": Metric(value=0.1), "colour_kind/acc1": colour}
    titles = {"kind": "Kind of object", "colour_kind": "Colour and kind of object"}
    first, second = findings(evaluation("zero-shot", metrics, subsets=titles))
    assert first[:2] == (
        "good",
        "Kind of object: names the right class first for 97.0 % of 600 images (95 % interval [95.0, 98.0]; chance 10.0 %).",
    )
    assert second.mark == "level"
    assert second.text.startswith("Colour and kind of object: names the right class first for 2.0 % of 600 images: not")


def test_a_label_set_without_a_title_is_named_as_it_is() -> None:
    metric = Metric(value=0.5, low=0.4, high=0.6, chance=0.1, n=80, higher_is_better=True)
    found = findings(evaluation("zero-shot", {"kind/acc1": metric, "genus/mine": metric}))
    assert found[0].text.startswith("kind: names the right class first for 50.0 % of 80 images")
    assert found[1].text.startswith("genus: mine: 50.0 % of 80 samples")


def test_retrieval_speaks_of_both_ways() -> None:
    metric = Metric(value=0.4, low=0.3, high=0.5, chance=0.01, n=100, higher_is_better=True)
    names = ("text_retrieval_recall@1", "image_retrieval_recall@1")
    found = findings(evaluation("retrieval", dict.fromkeys(names, metric)))
    assert [finding.mark for finding in found] == ["good", "good"]
    assert found[0].text.startswith("A caption finds its image first in 40.0 %")
    assert found[1].text.startswith("An image finds a caption of its own first in 40.0 %")


def test_the_gap_is_told_without_praise_or_blame() -> None:
    metrics = {"gap": Metric(value=0.8514, unit="distance"), "separability": Metric(value=1.0, chance=0.5)}
    found, given = findings(evaluation("modality-gap", metrics))
    assert found[:2] == ("plain", "The mean image and the mean text vector lie 0.8514 apart.")
    assert found.weakness == "Images and texts lie apart"
    assert given.mark == "plain" and given.is_expected
    assert (
        given.text
        == "A linear classifier tells images from texts in 100.0 % of cases, as it does with nearly any CLIP."
    )
    _, given = findings(evaluation("modality-gap", {**metrics, "separability": Metric(value=0.5, chance=0.5)}))
    assert not given.is_expected and given.text.endswith("in 50.0 % of cases.")


def test_a_metric_without_an_interval_makes_no_claim() -> None:
    metrics = {"depth": Metric(value=12.34, unit="m", n=4, chance=1.0, higher_is_better=True)}
    assert findings(evaluation("mine", metrics)) == [Finding("plain", "Depth: 12.3400 m, n = 4 (no interval).")]


def test_a_title_that_is_the_unit_does_not_say_it_twice() -> None:
    metrics = {"cosine": Metric(value=1.0, unit="cosine", n=4)}
    assert findings(evaluation("mine", metrics)) == [Finding("plain", "Cosine: 1.0000, n = 4 (no interval).")]


def test_a_sentence_that_names_the_unit_does_not_say_it_twice() -> None:
    metric = Metric(value=0.5, unit="cosine", n=9)
    assert claim("Twins have cosine {value}", metric).text == "Twins have cosine 0.5000 (no interval)."
    assert claim("Twins: {value}", metric).text == "Twins: 0.5000 cosine (no interval)."


def test_braces_in_a_title_are_shown_as_they_are() -> None:
    metrics = {"share": Metric(value=0.5, n=9, title="Share at {n} of {value}", is_headline=True)}
    assert findings(evaluation("mine", metrics))[0].text.startswith("Share at {n} of {value}: 50.0 % of 9 samples")


def test_a_task_without_a_section_is_told_by_its_headlines() -> None:
    metric = Metric(value=0.4, low=0.3, high=0.5, chance=0.25, n=90, higher_is_better=True)
    metrics = {
        "other": metric,
        "wins": replace(metric, title="Longest caption wins", is_headline=True),
        "swap/wins": replace(metric, title="Longest caption wins", is_headline=True),
    }
    found = findings(evaluation("mine", metrics, subsets={"swap": "Words swapped"}))
    assert [each.text.partition(" (95")[0] for each in found] == [
        "Longest caption wins: 40.0 % of 90 samples",
        "Longest caption wins (words swapped): 40.0 % of 90 samples",
    ]
    assert [each.mark for each in found] == ["good", "good"]


def test_an_undefined_metric_says_its_reason() -> None:
    (found,) = findings(evaluation("zero-shot", {"acc1": Metric(value=None, reason="there is one class")}))
    assert found.mark == "missing"
    assert "undefined (there is one class)" in found.text


@pytest.mark.parametrize(("status", "said"), [("unavailable", "Not measured"), ("failed", "Failed")])
def test_what_was_not_measured_says_why(status: str, said: str) -> None:
    (found,) = findings(evaluation("zero-shot", {}, status=status, reason="it is gated"))
    assert found == Finding("missing", f"{said}: zero-shot@here – it is gated")


def test_a_name_cannot_turn_the_direction_of_its_sentence() -> None:
    (found,) = findings(evaluation("zero-shot", {}, status="failed", reason="\u202eno"))
    assert found.text == "Failed: zero-shot@here – \N{FIRST STRONG ISOLATE}\u202eno\N{POP DIRECTIONAL ISOLATE}"


FACTS = {"n": 900, "chance": 0.5, "higher_is_better": True}
BAD, GOOD = Metric(value=0.2, low=0.15, high=0.25, **FACTS), Metric(value=0.9, low=0.88, high=0.92, **FACTS)  # type: ignore[arg-type]
NAMED = {
    "zero-shot": {"acc1": "The right class is not named first"},
    "retrieval": dict.fromkeys(
        ["image_retrieval_recall@1", "text_retrieval_recall@1"], "A caption does not find its image"
    ),
    "composition": dict.fromkeys(["text_acc", "swap/text_acc", "add/text_acc"], "The order of words does not count"),
    "text-in-image": {"reading_acc": "Written words are not read"},
    "long-caption": dict.fromkeys(["image_retrieval_recall@1", "early/text_acc"], "The end of a caption is not read"),
}
"""Metrics of each task, with the weakness that a bad value states."""


@pytest.mark.parametrize("task", NAMED)
def test_a_weakness_is_named_as_the_paragraph_on_it_and_a_strength_names_none(task: str) -> None:
    bad = findings(evaluation(task, dict.fromkeys(NAMED[task], BAD)))
    assert [each.mark for each in bad] == ["weak"] * len(bad) and bad
    assert {each.weakness for each in bad} == set(NAMED[task].values())
    good = findings(evaluation(task, dict.fromkeys(NAMED[task], GOOD)))
    assert [(each.mark, each.weakness) for each in good if each.weakness] == []


def test_a_label_that_decides_is_a_weakness_and_one_that_does_not_is_none() -> None:
    named = Metric(value=0.1, low=0.08, high=0.12, n=900, higher_is_better=False)
    for value, expected in ((0.6, "A written label decides"), (0.1, "")):
        success = Metric(value=value, low=value - 0.02, high=value + 0.02, n=900, higher_is_better=False)
        (found,) = findings(
            evaluation("text-in-image", {"attack_success": success}, controls={"clean_named_word": named})
        )
        assert found.weakness == expected
