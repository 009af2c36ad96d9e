"""One word for a whole comparison, and the sentence behind it, by the tests of the metrics that count.

The gated metrics count, or the headline metrics if nothing is gated.

- ``worse``: a test shows a loss and none a gain
- ``better``: the reverse
- ``mixed``: both
- ``equal``: every interval is within the limit on both sides, also if all samples are identical
- ``undecided``: everything else

The exit status is the gate's and not derived from the word: a loss within its limit is *worse* with status 0.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import NamedTuple

from clipbench.comparison.gate_outcomes import QUIET, Outcome, Shift
from clipbench.comparison.metric_difference import Difference
from clipbench.comparison.records import Comparison, Word
from clipbench.results.numbers import change, change_interval, counted


class MetricEvidence(NamedTuple):
    """The evidence of one metric that counts: its difference, and how it shifted."""

    difference: Difference
    shift: Shift
    is_within_limit: bool


def with_verdict(comparison: Comparison) -> Comparison:
    """Return a comparison with its word and reason.

    The outcomes of its gate decide, if it has any, and the reason says what failed.
    """
    outcomes = comparison.gate.outcomes
    gated = [
        MetricEvidence(outcome.difference, outcome.shift, outcome.is_within_limit)
        for outcome in outcomes
        if outcome.difference is not None
    ]
    evidence = gated or _headline_evidence(comparison)
    scope = counted(len(evidence), "gated metric" if gated else "headline metric")
    word = _word(evidence, outcomes)
    reasons = [_evidence_text(word, evidence, scope, comparison), *_outcome_texts(outcomes, word)]
    refused = [refusal for refusal in comparison.refused if not refusal.is_part]
    if refused and evidence:
        reasons.append(f"{counted(len(refused), 'evaluation')} not comparable")
    return replace(comparison, verdict=word, reason=", ".join(filter(None, reasons)))


def _headline_evidence(comparison: Comparison) -> list[MetricEvidence]:
    shifts: dict[str, Shift] = {"worse": "loss", "better": "gain"}
    evidence = []
    for difference in comparison.differences:
        has_direction = difference.base.higher_is_better is not None
        if difference.is_headline and has_direction:
            shift = shifts.get(difference.verdict, "none")
            evidence.append(MetricEvidence(difference, shift, difference.verdict == "equivalent"))
    return evidence


def _word(evidence: Sequence[MetricEvidence], outcomes: Iterable[Outcome]) -> Word:
    shifts = {metric.shift for metric in evidence}
    if "loss" in shifts:
        return "mixed" if "gain" in shifts else "worse"
    # A loss that nobody could test, or a metric that is missing, leaves open whether there is no loss.
    if any(outcome.status in ("untested", "missing") for outcome in outcomes):
        return "undecided"
    if "gain" in shifts:
        return "better"
    return "equal" if evidence and all(metric.is_within_limit for metric in evidence) else "undecided"


def _evidence_text(word: Word, evidence: Sequence[MetricEvidence], scope: str, comparison: Comparison) -> str:
    if not evidence:
        return str(comparison.refused[0]) if comparison.refused else "no metric of both runs counts"
    losses = [metric for metric in evidence if metric.shift == "loss"]
    gains = [metric for metric in evidence if metric.shift == "gain"]
    if losses and gains:
        return f"{_strongest(losses)}, {len(losses)} worse, {_strongest(gains)}, {len(gains)} better of {scope}"
    if losses or gains:
        return f"{_strongest(losses or gains)}, {len(losses or gains)} of {scope}"
    return _open_text(word, evidence, scope)


def _open_text(word: Word, evidence: Sequence[MetricEvidence], scope: str) -> str:
    """Return the reason of a word if no test shows a difference."""
    differences = [metric.difference for metric in evidence]
    if word == "equal":
        return f"{scope}, every interval is within its limit"
    if all(difference.p_value is None for difference in differences):
        return f"no test of {scope}: {differences[0].test.removeprefix('no test: ')}"
    if all(difference.is_identical for difference in differences):
        return f"all samples of {scope} are identical{_unseen_text(differences)}"
    return f"no test shows a difference in {scope}"


def _unseen_text(differences: Sequence[Difference]) -> str:
    """Return by how much other samples may differ although these are identical, empty if that is not known."""
    for difference in differences:
        if difference.high is not None:
            return f", others may differ by {change(difference.high, difference.base.unit, is_signed=False)}"
    return ""


def _strongest(evidence: Sequence[MetricEvidence]) -> str:
    """Return the difference with the smallest p-value and its interval, of a headline metric if there is one."""
    differences = [metric.difference for metric in evidence]
    surest = min(differences, key=lambda difference: (not difference.is_headline, difference.p_value or 0.0))
    unit = surest.base.unit
    interval = "" if surest.low is None else f" {change_interval(surest.low, surest.high, unit)}"
    return f"{surest.evaluation}/{surest.name} {change(surest.value, unit)}{interval}"


def _outcome_texts(outcomes: Sequence[Outcome], word: Word) -> Iterable[str]:
    """Yield what the gate adds to the evidence: what failed, what is known, and the limit that a loss keeps to."""
    failed = [outcome for outcome in outcomes if outcome.status == "regression"]
    tolerated = [outcome for outcome in outcomes if outcome.shift == "loss" and outcome.status in QUIET]
    limits = " and ".join(dict.fromkeys(outcome.limit for outcome in failed or tolerated))
    limits = f"the limit of {limits}" if len(limits) < 20 else "their limits"
    if failed:
        yield f"{len(failed)} beyond {limits}"
    elif tolerated and word in ("worse", "mixed"):
        is_within = all(outcome.status == "within" for outcome in tolerated)
        yield f"within {limits}" if is_within else f"not shown to be within {limits}"
    for status, noun in (
        ("unmet", "requirement not met"),
        ("missing", "missing"),
        ("untested", "untested loss"),
        ("acknowledged", "known regression"),
    ):
        metrics = [outcome.metric for outcome in outcomes if outcome.status == status]
        if metrics:
            suffix = f" and {len(metrics) - 1} more" if len(metrics) > 1 else ""
            yield f"{noun}: {metrics[0]}{suffix}"
