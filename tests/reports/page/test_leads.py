"""The model that is ahead: told by the test of the pair, and by nothing else."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import scipy.stats

from clipbench.results.record import Metric
from clipbench_reports.page.groups import group_evaluations
from clipbench_reports.page.leads import leads
from tests.reports.conftest import MakeRun, hits


@pytest.fixture
def leads_of(make_run: MakeRun, parts: SimpleNamespace) -> Callable[..., list[tuple[str, str]]]:
    """Return a function that tells the leads of models called a, b, c, ..., each of some evaluations."""

    def make(*models: dict[str, Any]) -> list[tuple[str, str]]:
        runs = [
            make_run(result, name=letter, model={**parts.model, "ref": letter})
            for letter, result in zip("abcdefgh", models, strict=False)
        ]
        return [(sentence.finding.mark, sentence.finding.text) for sentence in leads(group_evaluations(runs))]

    return make


Told = Callable[..., list[tuple[str, str]]]


def test_the_best_model_is_held_against_each_other_and_the_others_are_counted(leads_of: Told) -> None:
    ((mark, text),) = leads_of(*({"zero-shot@birds": hits(n)} for n in (100, 160, 110)))
    assert mark == "ahead"
    assert text.startswith("zero-shot on birds, acc1: b is ahead with 80.0 %, c has 55.0 % (")
    assert "difference +25.00 pp, 95 % interval [" in text and text.endswith(", a 50.0 %.")
    ((_, text),) = leads_of(*({"zero-shot@birds": hits(n)} for n in (100, 160, 110, 90)))
    assert text.endswith(", the other 2 models 50.0 % to 45.0 %.")


@pytest.mark.parametrize("n_gained", [5, 6])  # McNemar: 2 / 2^5 is above 0.05, 2 / 2^6 below
def test_no_model_is_called_ahead_that_the_test_does_not_tell_from_the_next(leads_of: Told, n_gained: int) -> None:
    ((mark, text),) = leads_of({"zero-shot@birds": hits(100 + n_gained)}, {"zero-shot@birds": hits(100)})
    p = scipy.stats.binomtest(n_gained, n_gained).pvalue
    assert mark == ("ahead" if p <= 0.05 else "level")
    assert ("no difference is shown" in text) == (p > 0.05)


def test_a_model_is_ahead_only_where_it_is_told_from_every_other(leads_of: Told) -> None:
    # c has as many hits as b less one, on other samples: the difference from it has another sign in every sample.
    apart = hits(100)
    apart["samples"]["acc1"] = apart["samples"]["acc1"][::-1].copy()
    apart["metrics"]["acc1"] = Metric(value=0.5, n=200, higher_is_better=True, column="acc1")
    first, second = hits(115), hits(101)
    ((mark, text),) = leads_of({"zero-shot@birds": first}, {"zero-shot@birds": second}, {"zero-shot@birds": apart})
    assert mark == "level" and "acc1: none is significantly ahead of all others, a 57.5 %, b 50.5 % (" in text
    ((mark, _),) = leads_of({"zero-shot@birds": first}, {"zero-shot@birds": second})
    assert mark == "ahead"  # the second alone is told from the first


def test_many_sentences_are_corrected_for_their_number(leads_of: Told) -> None:
    names = ("zero-shot@birds", "zero-shot@dogs")
    better, worse = ({name: hits(n) for name in names} for n in (106, 100))  # each p is 0.031, times two 0.0625
    assert [mark for mark, _ in leads_of(better, worse)] == ["level", "level"]


def test_of_a_metric_without_a_direction_nobody_is_ahead(leads_of: Told) -> None:
    gap = {value: {"metrics": {"gap": Metric(value=value, n=9, unit="distance")}} for value in (0.5, 0.75)}
    ((mark, text),) = leads_of({"modality-gap@birds": gap[0.5]}, {"modality-gap@birds": gap[0.75]})
    assert mark == "plain"
    assert text == ("modality-gap on birds, gap: b 0.7500, a 0.5000 (neither direction is better).")


def test_a_first_metric_that_a_model_lacks_gives_way_to_the_next(leads_of: Told) -> None:
    both = hits(150) | {"metrics": {"acc5": Metric(value=None, reason="of 3 classes"), **hits(150)["metrics"]}}
    other = hits(100) | {"metrics": {"acc5": Metric(value=0.9), **hits(100)["metrics"]}}
    ((_, text),) = leads_of({"zero-shot@birds": both}, {"zero-shot@birds": other})
    assert "acc1: a is ahead" in text


def test_what_must_not_be_compared_or_has_one_model_has_no_lead(leads_of: Told) -> None:
    assert (
        leads_of({"zero-shot@birds": hits(150, params={"k": 1})}, {"zero-shot@birds": hits(100, params={"k": 2})}) == []
    )
    assert leads_of({"zero-shot@birds": hits(150)}, {"zero-shot@birds": {"status": "failed", "reason": "no"}}) == []
    assert leads_of({"zero-shot@birds": {"metrics": {}}}, {"zero-shot@birds": {"metrics": {}}}) == []
