"""The line in large type: what tests show of a model, of several and of a training, and nothing else."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from clipbench.results.record import Metric
from clipbench.results.run import Run
from clipbench.stats.intervals import wilson
from clipbench_reports.findings import Ability, Finding, Mark, claim
from clipbench_reports.page.groups import group_evaluations
from clipbench_reports.page.leads import lead_line, leads
from clipbench_reports.page.opening import GUESSING, TOO_FEW, opening_line
from clipbench_reports.page.trends import trend_line, trends
from tests.reports.conftest import MakeRun, hits

FINDING = Ability("finds images", "does not find images")
NAMING = Ability("names classes", "does not name classes")
READING = Ability("reads words", "does not read words")
CHOOSING = Ability(
    "tells captions apart", "does not tell captions apart", "prefers the wrong caption with objects swapped"
)


def share(n_right: int, chance: float, n: int = 400, *, higher_is_better: bool = True) -> Metric:
    """Return a fraction of samples with its Wilson interval."""
    low, high, _ = wilson(n_right, n)
    return Metric(value=n_right / n, low=low, high=high, n=n, chance=chance, higher_is_better=higher_is_better)


def of(metric: Metric, ability: Ability) -> Finding:
    return claim("{value}", metric, ability=ability)


def test_what_tests_show_is_said_by_degree() -> None:
    findings = [
        of(share(390, 0.0025), FINDING),
        of(share(120, 0.1), NAMING),
        of(share(44, 0.1), READING),
        of(share(100, 0.25), CHOOSING),
    ]
    assert [finding.ability and finding.ability.degree for finding in findings] == ["fully", "partly", "never", "never"]
    assert opening_line(findings) == (
        "Finds images; sometimes names classes; does not read words and does not tell captions apart"
    )
    worse = of(share(40, 0.25), CHOOSING)
    assert opening_line([findings[0], worse]) == "Finds images; prefers the wrong caption with objects swapped"
    assert opening_line([of(share(16, 0.0025), FINDING)]) == "Hardly finds images"


def test_two_degrees_of_one_ability_are_sometimes() -> None:
    both = [of(share(390, 0.1), NAMING), of(share(44, 0.1), NAMING)]
    assert opening_line(both) == "Sometimes names classes"


def test_a_model_that_guesses_does_not_differ_from_guessing_and_few_samples_are_said_to_be_few() -> None:
    assert opening_line([of(share(42, 0.1), READING), of(share(95, 0.25), CHOOSING)]) == GUESSING
    assert opening_line([of(share(5, 0.5, n=8), READING)]) == TOO_FEW
    assert opening_line([Finding("plain", "The gap is 0.8.")]) == ""


def test_of_what_is_lower_the_better_the_degree_is_turned_round() -> None:
    metrics = [share(n_right, 0.5, higher_is_better=False) for n_right in (10, 150, 195, 300)]
    degrees = [finding.ability.degree for metric in metrics if (finding := of(metric, READING)).ability]
    assert degrees == ["fully", "partly", "unclear", "reversed"]


@pytest.mark.parametrize("chance", [0.1, 0.25, 0.5])
@pytest.mark.parametrize("n", [60, 400])
def test_false_degrees_are_as_rare_as_the_level_says(chance: float, n: int) -> None:
    rng, n_simulated = np.random.default_rng(0), 2000
    edges = {"never": chance + 0.1 * (1 - chance), "fully": chance + 0.5 * (1 - chance)}
    for degree, edge in edges.items():
        hits = rng.binomial(n, edge, n_simulated)  # on the edge every such claim is false
        findings = {count: of(share(int(count), chance, n), READING) for count in set(hits.tolist())}
        false = {"never": ("never", "barely"), "fully": ("fully",)}[degree]
        n_false = sum(bool((ability := findings[count].ability) and ability.degree in false) for count in hits.tolist())
        assert n_false / n_simulated <= 0.05


# ----- several models, and trainings


@pytest.fixture
def checkpoints(make_run: MakeRun, parts: SimpleNamespace) -> Callable[..., list[Run]]:
    """Return a function that makes runs at steps 0, 10, 20, ... with so many samples right."""

    def make(*n_right: int) -> list[Run]:
        return [
            make_run(
                {"zero-shot@birds": hits(n, title="Top-1 accuracy")},
                name=f"step-{10 * k}",
                model={**parts.model, "ref": f"train/step-{10 * k}", "step": 10 * k, "fingerprint": str(k)},
            )
            for k, n in enumerate(n_right)
        ]

    return make


def trend(runs: list[Run]) -> tuple[Mark, str, str]:
    (sentence,) = trends(group_evaluations(runs))
    return sentence.finding.mark, sentence.finding.text, trend_line([sentence])


def test_a_training_opens_with_its_trend(checkpoints: Callable[..., list[Run]]) -> None:
    mark, text, line = trend(checkpoints(24, 60, 80, 82, 82))
    assert mark == "gained"
    assert line == (
        "Top-1 accuracy rose from 12.0 to 41.0 % between steps 0 and 40, with no change shown since step 20"
    )
    assert text.startswith(
        "Zero-shot: top-1 accuracy rose from 12.0 to 41.0 % between steps 0 and 40 (difference +29.00 pp, 95 %"
    )


def test_a_training_that_changes_until_its_end_is_not_called_level(checkpoints: Callable[..., list[Run]]) -> None:
    assert "no change" not in trend(checkpoints(24, 60, 100))[2]


def test_a_training_that_lost_what_it_had_says_so(checkpoints: Callable[..., list[Run]]) -> None:
    mark, text, _ = trend(checkpoints(80, 160, 81))
    assert mark == "lost"
    assert "is 40.0 and 40.5 % at steps 0 and 20: no change is shown" in text
    assert text.endswith(", but it was better at step 10, with 80.0 %.")
    assert trend(checkpoints(160, 80))[0] == "lost"


def test_a_training_that_changed_nothing_says_so(checkpoints: Callable[..., list[Run]]) -> None:
    mark, _, line = trend(checkpoints(80, 82, 81))
    assert (mark, line) == ("level", "No test here shows that the training changed anything")


def test_of_several_models_the_line_names_who_is_ahead_and_in_which_task(
    make_run: MakeRun, parts: SimpleNamespace
) -> None:
    def line(*models: dict[str, Any]) -> str:
        runs = [
            make_run(evaluations, name=label, model={**parts.model, "ref": label})
            for label, evaluations in zip("abc", models, strict=False)
        ]
        return lead_line(leads(group_evaluations(runs)), len(runs))

    data = ("zero-shot@birds", "zero-shot@dogs")
    assert line({name: hits(160) for name in data}, {name: hits(100) for name in data}) == (
        "a is ahead in zero-shot on birds and zero-shot on dogs"
    )
    assert line(*({"zero-shot@birds": hits(n)} for n in (100, 101))) == "No test here shows a difference"
    assert (
        line(*({"zero-shot@birds": hits(n)} for n in (100, 101, 99))) == "No model is shown to be ahead of all others"
    )
    assert line({"zero-shot@birds": hits(9)}, {"zero-shot@dogs": hits(9)}) == (
        "Nothing here can be compared between these models"
    )
