"""The report on long captions: what its figures and sentences say, and what they say where there is nothing."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from clipbench.results.record import Curve, Metric
from clipbench_reports.sections.long_caption import findings
from tests.reports.conftest import Make

PLACES = {"early": (4.0, 0.9), "late": (60.0, 0.7), "beyond": (120.0, 0.5)}


def recorded(fraction: Callable[..., Metric], **changes: Any) -> dict[str, Any]:
    """Return the parts of an evaluation with 400 captions of 40 to 239 tokens, and three places."""
    nan = np.nan
    samples = {
        "sample_id": np.array([str(row) for row in range(430)], object),
        "place": np.array([""] * 400 + [place for place in PLACES for _ in range(10)], object),
        "fact_token": np.array([nan] * 400 + [at for at, _ in PLACES.values() for _ in range(10)]),
        "image_retrieval/n_tokens": np.array([40.0 + row / 2 for row in range(400)] + [nan] * 30),
    }
    lengths = [5.0, 20.0, 77.0]
    shares = {"image": [0.1, 0.55, 0.6], "text": [0.2, 0.5, 0.7]}
    curves = {
        f"{way}_retrieval_recall@1_by_tokens": Curve(
            x=lengths, y=ys, low=[y - 0.05 for y in ys], high=[y + 0.05 for y in ys]
        )
        for way, ys in shares.items()
    }
    metrics = {
        "image_retrieval_recall@1": fraction(0.6, 400, chance=1 / 400),
        "effective_length": tokens(33.5, 21.0, 40.0),
        "caption_tokens": tokens(139.8, 130.0, 150.0),
        "truncated_fraction": fraction(0.81, 400),
        "tokens_lost": tokens(65.8, 60.0, 70.0),
        **{f"{place}/text_acc": fraction(y, 400, chance=0.5) for place, (_, y) in PLACES.items()},
    }
    told = Curve(x=[at for at, _ in PLACES.values()], y=[y for _, y in PLACES.values()])
    curves["text_acc_by_position"] = told
    return {"samples": samples, "curves": curves, "metrics": metrics, "params": {"share": 0.95}, **changes}


def tokens(value: float, low: float, high: float) -> Metric:
    return Metric(value=value, low=low, high=high, unit="tokens", n=400)


def test_findings_say_how_much_is_used_and_where_the_model_guesses(evidence: Make, parts: SimpleNamespace) -> None:
    recall, used, told = findings(evidence(**recorded(parts.fraction)).evaluation)
    assert recall.text.startswith("A long caption finds its image first in 60.0 % [")
    assert (
        used.text
        == "The first 33.5 tokens (95 % interval [21.0, 40.0]) of a caption give 95 % of the recall of the whole. 81.0"
        " % [77.2, 84.8] of the captions are longer than the model's context and lose 65.8 [60.0, 70.0] tokens on"
        " average."
    )
    assert (
        "give 90 % of the recall"
        in findings(evidence(**recorded(parts.fraction, params={"share": 0.9})).evaluation)[1].text
    )
    assert told.mark == "level"
    assert told.text.endswith("50.0 % [45.1, 54.9] (beyond), where chance is 50.0 %; inconclusive: beyond.")


def test_facts_that_are_cut_off_are_no_weakness_of_the_model(evidence: Make, parts: SimpleNamespace) -> None:
    cut = {f"{place}/beyond_window": parts.fraction(float(place == "beyond"), 400) for place in PLACES}
    told, beyond = findings(evidence(**recorded(parts.fraction, controls=cut)).evaluation)[-2:]
    assert told.mark == "good" and told.skill == pytest.approx(0.4)  # of what is read, the late facts
    assert "(beyond)" not in told.text and told.text.endswith("better than chance wherever the model reads them.")
    assert beyond.is_expected and beyond.text == "Facts in these places are cut off and not read: beyond."
    metrics = recorded(parts.fraction)["metrics"]
    below = metrics | {"late/text_acc": parts.fraction(0.2, 400, chance=0.5)}
    told = findings(evidence(**recorded(parts.fraction, controls=cut, metrics=below)).evaluation)[-2]
    assert told.mark == "weak" and told.text.endswith("; below chance: late.")
    only = {name: metric for name, metric in metrics.items() if name not in ("early/text_acc", "late/text_acc")}
    assert findings(evidence(**recorded(parts.fraction, controls=cut, metrics=only)).evaluation)[-1].mark == "plain"
