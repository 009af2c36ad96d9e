"""One word for a whole comparison, and the sentence behind it, by the tests of the metrics that count.

The gated metrics count, or the headline metrics if nothing is gated.

- ``worse``: a test shows a loss and none a gain
- ``better``: the reverse
- ``mixed``: both
- ``equal``: all samples are identical, or every interval is within the limit
- ``undecided``: everything else

The exit status is the gate's and not derived from the word: a loss within its limit is *worse* with status 0.
"""

from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

from clipbench.comparison.records import Comparison, Difference, Outcome, Shift, verdict_line
from clipbench.results.numbers import change, change_interval, counted

Word = Literal["worse", "mixed", "undecided", "equal", "better"]
WORDS: tuple[Word, ...] = ("worse", "mixed", "undecided", "equal", "better")
"""The gravest first."""


class OverallVerdict(NamedTuple):
    """The word of a comparison and its reason."""

    word: Word
    reason: str

    def __str__(self) -> str:
        """Return the line that ends the output of ``clipbench compare``."""
        return verdict_line(self.word, self.reason)


class MetricEvidence(NamedTuple):
    """The evidence of one metric that counts: its difference, and how it shifted."""

    difference: Difference
    shift: Shift
    is_within_limit: bool


def overall_verdict(comparison: Comparison, outcomes: Sequence[Outcome] = ()) -> OverallVerdict:
    """Return the word of a comparison with its reason.

    Args:
        outcomes: the outcomes of a gate. If there are any, the gated metrics decide, and the reason says what failed.
    """
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
    return OverallVerdict(word, ", ".join(filter(None, reasons)))


def _headline_evidence(comparison: Comparison) -> list[MetricEvidence]:
    shifts: dict[str, Shift] = {"worse": "loss", "better": "gain"}
    return [
        MetricEvidence(
            difference,
            shifts.get(difference.verdict, "none"),
            difference.is_identical or difference.verdict == "too small to matter",
        )
        for difference in comparison.differences
        if difference.is_headline and difference.base.higher_is_better is not None
    ]


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
    losses, gains = ([metric for metric in evidence if metric.shift == shift] for shift in ("loss", "gain"))
    if losses or gains:
        if losses and gains:
            return f"{_strongest(losses)}, {len(losses)} worse, {_strongest(gains)}, {len(gains)} better of {scope}"
        return f"{_strongest(losses or gains)}, {len(losses or gains)} of {scope}"
    differences = [metric.difference for metric in evidence]
    if word == "equal":
        are_identical = all(difference.is_identical for difference in differences)
        return f"{scope}, {'all samples are identical' if are_identical else 'every interval is within its limit'}"
    if all(difference.p_value is None for difference in differences):
        return f"no test of {scope}: {differences[0].test.removeprefix('no test: ')}"
    return f"no test shows a difference in {scope}"


def _strongest(evidence: Sequence[MetricEvidence]) -> str:
    """Return the difference with the smallest p-value and its interval, of a headline metric if there is one."""
    differences = [metric.difference for metric in evidence]
    surest = min(differences, key=lambda difference: (not difference.is_headline, difference.p_value or 0.0))
    unit = surest.base.unit
    interval = "" if surest.low is None else f" {change_interval(surest.low, surest.high, unit)}"
    return f"{surest.evaluation} {surest.title} {change(surest.value, unit)}{interval}"


def _outcome_texts(outcomes: Sequence[Outcome], word: Word) -> Iterable[str]:
    """Yield what the gate adds to the evidence: what failed, what is known, and the limit that a loss keeps to."""
    failed = [outcome for outcome in outcomes if outcome.status == "regression"]
    tolerated = [outcome for outcome in outcomes if outcome.shift == "loss" and outcome.status == "pass"]
    limits = " and ".join(dict.fromkeys(outcome.limit for outcome in failed or tolerated))
    limits = f"the limit of {limits}" if len(limits) < 20 else "their limits"
    if failed:
        yield f"{len(failed)} beyond {limits}"
    elif tolerated and word in ("worse", "mixed"):
        yield f"within {limits}"
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
