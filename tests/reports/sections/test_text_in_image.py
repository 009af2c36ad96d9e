"""Written words in the report: the sentences say what the run holds."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from clipbench.results.record import Metric
from clipbench_reports.sections.text_in_image import findings
from tests.reports.conftest import Make


@pytest.fixture
def whole(parts: SimpleNamespace) -> dict[str, Any]:
    """Return the metrics that the task leaves behind on the generated world."""
    shares = {"clean_acc": 0.95, "blank_acc": 0.9, "benign_acc": 0.97, "attacked_acc": 0.2}
    return {
        "metrics": {
            "reading_acc": parts.fraction(0.5, 300, chance=0.1),
            "word_alone/reading_acc": parts.fraction(0.6, 200, chance=0.1),
            "with_object/reading_acc": parts.fraction(0.3, 100, chance=0.1),
            "attack_success": parts.fraction(0.74, 300, chance=0.1, higher_is_better=False),
            **{name: parts.fraction(share, 300, chance=0.1) for name, share in shares.items()},
            "drop": Metric(value=0.75, low=0.7, high=0.8, n=300, unit="difference", chance=0.0, higher_is_better=False),
        },
        "baselines": {"clean_named_word": parts.fraction(0.01, 300, chance=0.1, higher_is_better=None)},
    }


def test_the_sentences_say_how_often_a_label_decides(evidence: Make, whole: dict[str, Any]) -> None:
    reading, fooled = findings(evidence(**whole).evaluation)
    assert reading.mark == "good" and reading.text.startswith(
        "Reads the written word right in 50.0 % [44.3, 55.7] of 300"
    )
    assert fooled.mark == "weak"
    assert (
        fooled.text
        == "Attack success: 74.0 % [69.0, 79.0] of 300 attacks, more than 1.0 % [0.0, 2.1] without the overlay. Object"
        " named: 95.0 % [92.5, 97.5] without an overlay, 90.0 % [86.6, 93.4] with a blank one, 20.0 % [15.5, 24.5] under"
        " attack, chance 10.0 %."
    )


def test_attacks_are_a_weakness_where_the_word_is_named_more_often_than_without_its_label(
    evidence: Make, parts: SimpleNamespace
) -> None:
    def mark(share: float, value: float | None) -> str:
        success = parts.fraction(share, 300, chance=0.1, higher_is_better=False)
        baselines = {} if value is None else {"clean_named_word": parts.fraction(value, 300, chance=0.1)}
        (sentences,) = findings(evidence(metrics={"attack_success": success}, baselines=baselines).evaluation)
        assert (", more than" in sentences.text) == (sentences.mark == "weak")
        return str(sentences.mark)

    assert (mark(0.01, 0.2), mark(0.01, 0.01), mark(0.3, None)) == ("good", "plain", "plain")
    assert mark(0.07, 0.0) == "weak"  # below one in ten classes, and far above what is named without an overlay


def test_a_probe_is_held_against_the_prompts_and_only_a_test_says_more(evidence: Make, parts: SimpleNamespace) -> None:
    less = Metric(value=0.69, low=0.6, high=0.76, n=200, unit="difference", chance=0.0)
    success = {"zero_shot": 0.7, "linear_probe": 0.01}
    metrics = {f"{key}_attack_success": parts.fraction(share, 200, chance=0.1) for key, share in success.items()}
    named_words = {f"{key}_plain_named_word": parts.fraction(share, 200) for key, share in success.items()}

    def told(difference: Metric, **baselines: Metric) -> str:
        result = metrics | {"zero_shot_minus_linear_probe": difference}
        return findings(evidence(metrics=result, baselines=baselines).evaluation)[-1].text

    assert (
        "less often than the prompts: in 1.0 % [0.0, 2.4] of 200 attacks, the prompts in 70.0 % [63.6, 76.4]"
        in told(less)
    )
    assert "names the word's class in 1.0 % [0.0, 2.4] of cases, the prompts in 70.0 % [63.6, 76.4]" in told(
        less, **named_words
    )
    assert "[−2.0, 4.0]). " in told(replace(less, value=0.01, low=-0.02, high=0.04))
    assert told(replace(less, value=1.0, low=None, high=None, n=1)).endswith("difference is 100.0 pp.")
