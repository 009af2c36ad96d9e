"""The report on long captions: what its sentences say, and what they say where there is nothing."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from clipbench.results.record import Metric
from clipbench_reports.sections.long_caption import findings
from tests.reports.conftest import Make

PLACES = {"early": 0.9, "late": 0.7, "beyond": 0.5}


def recorded(fraction: Callable[..., Metric], **changes: Any) -> dict[str, Any]:
    """Return the parts of an evaluation with 400 captions, and three places."""
    metrics = {
        "image_retrieval_recall@1": fraction(0.6, 400, chance=1 / 400),
        "effective_length": tokens(33.5, 21.0, 40.0),
        "caption_tokens": tokens(139.8, 130.0, 150.0),
        "truncated_fraction": fraction(0.81, 400),
        "tokens_lost": tokens(65.8, 60.0, 70.0),
        **{f"{name}/text_acc": fraction(share, 400, chance=0.5) for name, share in PLACES.items()},
    }
    return {"metrics": metrics, "params": {"share": 0.95}, **changes}


def tokens(value: float, low: float, high: float) -> Metric:
    return Metric(value=value, low=low, high=high, unit="tokens", n=400)


def test_findings_say_how_much_is_used_and_where_the_model_guesses(evidence: Make, parts: SimpleNamespace) -> None:
    recall, used, sentences = findings(evidence(**recorded(parts.fraction)).evaluation)
    assert recall.text.startswith("Text-to-image R@1 of long captions: 60.0 % [")
    assert used.text == (
        "Effective length: 33.5 tokens (95 % interval [21.0, 40.0]), which give 95 % of the recall of the whole caption."
        " Longer than the model's context: 81.0 % [77.2, 84.8] of the captions, which lose 65.8 [60.0, 70.0] tokens on"
        " average."
    )
    of_less = findings(evidence(**recorded(parts.fraction, params={"share": 0.9})).evaluation)
    assert "give 90 % of the recall" in of_less[1].text
    assert sentences.mark == "level"
    assert sentences.text.endswith("50.0 % [45.1, 54.9] (beyond), chance 50.0 %. No difference shown: beyond.")


def test_facts_that_are_cut_off_are_no_weakness_of_the_model(evidence: Make, parts: SimpleNamespace) -> None:
    cut = {f"{place}/beyond_window": parts.fraction(float(place == "beyond"), 400) for place in PLACES}
    finding, beyond = findings(evidence(**recorded(parts.fraction, baselines=cut)).evaluation)[-2:]
    assert finding.mark == "good" and finding.skill == pytest.approx(0.4)  # of what is read, the late facts
    assert "(beyond)" not in finding.text and finding.text.endswith("Better than chance wherever the model reads them.")
    assert beyond.is_expected and beyond.text == "Facts in these places are cut off and not read: beyond."
    metrics = recorded(parts.fraction)["metrics"]
    below = metrics | {"late/text_acc": parts.fraction(0.2, 400, chance=0.5)}
    finding = findings(evidence(**recorded(parts.fraction, baselines=cut, metrics=below)).evaluation)[-2]
    assert finding.mark == "weak" and finding.text.endswith(". Below chance: late.")
    only = {name: metric for name, metric in metrics.items() if name not in ("early/text_acc", "late/text_acc")}
    assert findings(evidence(**recorded(parts.fraction, baselines=cut, metrics=only)).evaluation)[-1].mark == "plain"
