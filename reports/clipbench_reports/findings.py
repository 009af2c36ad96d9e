"""Sentences with numbers, by rule: none claims more than a test supports (``clipbench.stats.claims``)."""

from collections.abc import Callable, Iterable, Mapping
from typing import Literal, NamedTuple

from clipbench.results import numbers as fmt
from clipbench.results.blind_rules import BlindRule
from clipbench.results.record import EvaluationRecord, Metric
from clipbench.results.titles import full_title, headlines
from clipbench.results.tried_changes import METRICS, cause_sentence
from clipbench.stats.claims import Standing, against_chance, claimed, p_against
from clipbench_reports.text import NO_REASON, isolated

Mark = Literal["good", "weak", "blind", "level", "plain", "missing", "ahead", "gained", "lost"]
"""The kind of a finding.

- ``good``: better than chance
- ``weak``: worse than chance
- ``blind``: worse than a rule that ignores the input, such as always answering the most frequent class
- ``level``: no test shows a difference from chance, or between models
- ``plain``: not tested
- ``missing``: without a number
- ``ahead``: one of several models is ahead
- ``gained`` and ``lost``: a training made it better or worse
"""
SIGNS: Mapping[Standing, Mark] = {"better": "good", "worse": "weak", "level": "level"}


Degree = Literal["fully", "partly", "barely", "never", "reversed", "unclear", "open"]
"""How far a model has an ability. Tests show the first five:

- ``fully``: at least half of the way from chance to the best value
- ``partly``: better than chance
- ``barely``: better, by less than a tenth of that way
- ``never``: less than a tenth
- ``reversed``: worse than chance

No test shows the others: ``open`` if it may be half of the way, ``unclear`` otherwise.
"""
HALF, TENTH = 0.5, 0.1


class Ability(NamedTuple):
    """A statement of a metric about a model, in the words of the line at the top of a report."""

    does: str
    """As in ``finds images``."""
    does_not: str = ""
    """As in ``does not find images``."""
    failure: str = ""
    """The behaviour of a model that is worse than chance, which has a general form."""
    degree: Degree = "unclear"


class Finding(NamedTuple):
    """One sentence, and its mark."""

    mark: Mark
    text: str
    skill: float = 0.0
    """The distance of the value from chance, see ``skill``, 0 if no such claim is made."""
    is_expected: bool = False
    """True if it holds for any model of the kind, or by construction: it is never at the top of a report."""
    weakness: str = ""
    """The weakness that it states, as ``Section.advice`` and a heading of docs/advice.md name it, empty if it states
    none.
    """
    short: str = ""
    """A shorter sentence for the top of a report, if there is one."""
    ability: Ability | None = None


def headline_findings(evaluation: EvaluationRecord) -> list[Finding]:
    """Return a sentence on each headline metric of an evaluation, or on its first metric."""
    sentences = []
    for name, metric in headlines(evaluation).items():
        title = isolated(full_title(name, metric, evaluation.subsets))
        values = "{value} of {n} samples" if metric.unit == "fraction" else "{value}, n = {n}"
        sentences.append(claim(values, metric, title=title))
    return sentences or [Finding("missing", f"{isolated(evaluation.name)} gave no metrics.")]


def defined(metrics: Mapping[str, Metric], *names: str) -> list[Metric | None]:
    """Return the metrics by name, in the order of ``names``, or None for one that is missing or undefined."""
    defined_metrics = []
    for name in names:
        metric = metrics.get(name)
        is_defined = metric is not None and metric.value is not None
        defined_metrics.append(metric if is_defined else None)
    return defined_metrics


def absence(evaluation: EvaluationRecord) -> tuple[str, str]:
    """Return whether an evaluation without numbers failed or was not measured, in words, and the reason."""
    status = "Failed" if evaluation.status == "failed" else "Not measured"
    return status, evaluation.reason or NO_REASON


def missing_finding(evaluation: EvaluationRecord, status: str, reason: str) -> Finding:
    """Return the finding that an evaluation has no numbers, and the reason."""
    return Finding("missing", f"{status}: {isolated(evaluation.name)} – {isolated(reason)}")


def cause_finding(evaluation: EvaluationRecord) -> Finding | None:
    """Return which tried changes of the texts raise a low score and which do not, None for other evaluations.

    A score is low if it is less than half of the way from chance to the best value.
    """
    metric = evaluation.metrics.get(METRICS.get(evaluation.task, ""))
    sentence = cause_sentence(evaluation.tries)
    if metric is None or metric.value is None or not sentence or skill(metric) >= HALF:
        return None
    n = max(change.n for change in evaluation.tries)
    return Finding("plain", f"{sentence}, on {fmt.counted(n, 'sample')}.", is_expected=True)


def claim(
    sentence: str,
    metric: Metric,
    *,
    title: str = "",
    weakness: str = "",
    ability: Ability | None = None,
    rule: BlindRule | None = None,
) -> Finding:
    """Return a sentence on one metric. Only a test against chance, or a rule, makes it a good or a bad one.

    Args:
        sentence: without a full stop. ``{value}`` stands for the value and its interval, with its unit unless the
            sentence names that, and ``{n}`` for the number of samples.
        title: placed before it, with a colon. Braces in it mean nothing.
        weakness: the one that it states unless the metric is better than chance.
        ability: the one that the metric measures. Its degree is set here.
        rule: ignores the input. If a test shows that it scores higher, the sentence says so instead of chance.

    Example:
        >>> metric = Metric(value=0.5, low=0.4, high=0.6, chance=0.1, n=90)
        >>> claim("Right in {value} of {n} cases", metric).text
        'Right in 50.0 % [40.0, 60.0] of 90 cases, where chance is 10.0 %.'
    """
    if metric.value is None:
        of = metric.title or title or sentence.partition("{value}")[0].rstrip(" :")
        return Finding("missing", f"{of}: undefined ({metric.reason or NO_REASON}).")
    unit = "" if metric.unit in (*sentence.split(), title.casefold()) else f" {fmt.symbol(metric.unit)}"
    value = f"{fmt.number(metric.value, metric.unit)}{unit}{fmt.bounds(metric)}"
    text = f"{title}: " if title else ""
    text += sentence.replace("{value}", value).replace("{n}", fmt.count(metric.n))
    if rule is not None and against_chance(rule.lead) == ["worse"]:
        return _below_rule(text, rule, weakness, ability)
    if metric.chance is None:
        return Finding("plain", f"{text}.")
    outcome = against_chance(metric)[0]
    below = "where chance"
    if outcome == "worse":
        below = "below chance, which" if metric.higher_is_better else "worse than chance, which"
    mark: Mark = "plain" if outcome is None else SIGNS[outcome]
    return Finding(
        mark,
        f"{text}, {below} is {fmt.number(metric.chance, metric.unit)}{unit}.",
        skill(metric) if outcome else 0.0,
        weakness=weakness if mark in ("level", "weak") else "",
        ability=ability and outcome and _with_degree(ability, metric, outcome),
    )


def _below_rule(text: str, rule: BlindRule, weakness: str, ability: Ability | None) -> Finding:
    """Return the sentence on a metric that a rule without a look at the input beats."""
    words, value = isolated(rule.words), fmt.quantity(rule.value, "fraction")
    reversed_ability = ability and Ability(f"{ability.does} less often than {words}", degree="reversed")
    lost = (rule.lead.value or 0.0) / rule.value if rule.value else 0.0
    return Finding("blind", f"{text}, below {words}, {value}.", lost, weakness=weakness, ability=reversed_ability)


def _with_degree(ability: Ability, metric: Metric, outcome: Standing) -> Ability:
    """Return an ability with its degree, which takes two tests unless the metric is worse than chance."""
    if outcome == "worse":
        return Ability(ability.failure or f"{ability.does} less often than by guessing", degree="reversed")
    return ability._replace(degree=_degree(metric, outcome))


def _degree(metric: Metric, outcome: Standing) -> Degree:
    chance, best, value = metric.chance or 0.0, 1.0 if metric.higher_is_better else 0.0, skill(metric)
    is_half, is_tenth = claimed([p_against(metric, chance + share * (best - chance)) for share in (HALF, TENTH)])
    if is_tenth and value < TENTH:
        return "barely" if outcome == "better" else "never"
    if outcome == "better":
        return "fully" if is_half and value > HALF else "partly"
    return "unclear" if is_half else "open"


def interval_in_brackets(metric: Metric) -> str:
    """Return the interval in brackets, with a space before it, or nothing where there is none."""
    return f" ({fmt.interval_name([metric])} {fmt.interval(metric)})" if metric.low is not None else ""


def not_better(metrics: Mapping[str, Metric], say: Callable[[str], str] = isolated) -> dict[str, list[str]]:
    """Return the names of the metrics of one sentence that do not beat chance, by the words for their test."""
    words: dict[Standing, str] = {"level": "no difference shown", "worse": "below chance"}
    outcomes = against_chance(*metrics.values())
    names_by_phrase: dict[str, list[str]] = {}
    for failing_outcome, phrase in words.items():
        if names := [say(name) for name, outcome in zip(metrics, outcomes, strict=True) if outcome == failing_outcome]:
            names_by_phrase[phrase] = names
    return names_by_phrase


def mark_of(metrics: Iterable[Metric]) -> Mark:
    """Return the mark of a sentence on several metrics, which is the worst of their marks."""
    outcomes = against_chance(*metrics)
    for outcome in ("worse", "level"):
        if outcome in outcomes:
            return SIGNS[outcome]
    return "plain" if None in outcomes or not outcomes else "good"


def skill(metric: Metric) -> float:
    """Return the position of a fraction between chance (0) and the best (1) or the worst (-1) possible value.

    0 if its value, chance or direction is not known, or it is not a fraction.

    Example:
        >>> skill(Metric(value=0.75, chance=0.5, higher_is_better=True))
        0.5
        >>> skill(Metric(value=0.75, chance=0.5, higher_is_better=False))
        -0.5
    """
    if metric.value is None or metric.chance is None or metric.higher_is_better is None or metric.unit != "fraction":
        return 0.0
    if not (0 <= metric.value <= 1 and 0 <= metric.chance <= 1):
        return 0.0
    lead = metric.value - metric.chance
    if not lead:
        return 0.0
    span = 1 - metric.chance if lead > 0 else metric.chance
    return (lead if metric.higher_is_better else -lead) / span
