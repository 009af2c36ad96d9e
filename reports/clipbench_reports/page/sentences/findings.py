"""Sentences with numbers, by rule: none says more than its interval carries."""

from collections.abc import Callable, Mapping
from typing import Literal, NamedTuple

from clipbench.results import numbers as fmt
from clipbench.results.record import EvaluationRecord, Metric
from clipbench.results.titles import full_title, headlines
from clipbench_reports.page.text import NO_REASON, isolated

Mark = Literal["good", "weak", "plain", "missing", "ahead", "level"]
"""``good``: better than chance; ``weak``: not; ``plain``: no such claim is made; ``missing``: there is no number; of
several models, ``ahead``: one is; ``level``: there is no evidence either way."""


class Finding(NamedTuple):
    """One sentence, and its mark."""

    mark: Mark
    text: str
    skill: float = 0.0
    """The distance of the value from chance, see ``skill``; 0 where no such claim is made."""


def headline_findings(evaluation: EvaluationRecord) -> list[Finding]:
    """Return a sentence on each headline metric of an evaluation, or on its first metric."""
    sentences = []
    for name, metric in headlines(evaluation).items():
        title = isolated(full_title(name, metric, evaluation.subsets))
        values = "{value} of {n} samples" if metric.unit == "fraction" else "{value}, n = {n}"
        sentences.append(claim(f"{title}: {values}", metric))
    return sentences or [Finding("missing", f"{isolated(evaluation.name)} gave no metrics.")]


def not_measured(evaluation: EvaluationRecord) -> Finding:
    """Return that an evaluation failed or could not be had, and why."""
    status = "Failed" if evaluation.status == "failed" else "Not measured"
    return missing(status, evaluation.name, evaluation.reason or NO_REASON)


def missing(status: str, what: str, reason: str) -> Finding:
    """Return that something has no numbers, and why."""
    return Finding("missing", f"{status}: {isolated(what)} – {isolated(reason)}")


def claim(sentence: str, metric: Metric) -> Finding:
    """Return a sentence on one metric; only an interval that excludes chance makes it a good or a bad one.

    Args:
        sentence: without a full stop; ``{value}`` stands for the value, with its unit unless the sentence names that, and
            ``{n}`` for the number of samples.

    Example:
        >>> claim("Right in {value} of {n} cases", Metric(value=0.5, low=0.4, high=0.6, chance=0.1, n=90)).text
        'Right in 50.0 % of 90 cases (95 % interval [40.0, 60.0]).'
    """
    if metric.value is None:
        of = metric.title or sentence.partition("{value}")[0].rstrip(" :")
        return Finding("missing", f"{of}: undefined ({metric.reason or NO_REASON}).")
    unit = "" if metric.unit in sentence.split() else f" {fmt.symbol(metric.unit)}"
    value = f"{fmt.number(metric.value, metric.unit)}{unit}"
    head = sentence.replace("{value}", value).replace("{n}", fmt.count(metric.n))
    chance = f"{fmt.number(metric.chance, metric.unit)}{unit}"
    bounds = f"{fmt.interval_name([metric])} {fmt.interval(metric)}"
    match against_chance(metric):
        case "better":
            return Finding("good", f"{head} ({bounds}; chance {chance}).", skill(metric))
        case "level":
            text = f"{head}: no better than chance ({chance}), which lies in the {bounds}."
            return Finding("weak", text, skill(metric))
        case "worse":
            side = "below" if metric.higher_is_better else "worse than"
            return Finding("weak", f"{head}: {side} chance ({chance}; {bounds}).", skill(metric))
        case None:
            return Finding("plain", f"{head} ({bounds})." if metric.low is not None else f"{head} (no interval).")


def interval_in_brackets(metric: Metric) -> str:
    """Return the interval in brackets, with a space before it, or nothing where there is none."""
    return f" ({fmt.interval_name([metric])} {fmt.interval(metric)})" if metric.low is not None else ""


def against_chance(metric: Metric) -> Literal["better", "level", "worse"] | None:
    """Return how a metric stands to chance, or None where its interval, chance or direction is not known.

    ``level`` means that the interval contains chance, its ends included.

    Example:
        >>> against_chance(Metric(value=0.5, low=0.4, high=0.6, chance=0.4, higher_is_better=True))
        'level'
    """
    if metric.low is None or metric.high is None or metric.chance is None or metric.higher_is_better is None:
        return None
    if metric.low <= metric.chance <= metric.high:
        return "level"
    return "better" if (metric.low > metric.chance) == metric.higher_is_better else "worse"


def not_better(metrics: Mapping[str, Metric], say: Callable[[str], str] = isolated) -> dict[str, list[str]]:
    """Return the names of metrics that do not beat chance, as they are said, by how they stand to it."""
    words = {"level": "no better than chance", "worse": "below chance"}
    found: dict[str, list[str]] = {}
    for against, phrase in words.items():
        if names := [say(name) for name, metric in metrics.items() if against_chance(metric) == against]:
            found[phrase] = names
    return found


def skill(metric: Metric) -> float:
    """Return where a fraction lies between chance and the best (1) or the worst (-1) that it could be.

    0 where its value, chance or direction is not known, or it is no fraction.

    Example:
        >>> skill(Metric(value=0.75, chance=0.5, higher_is_better=True))
        0.5
        >>> skill(Metric(value=0.75, chance=0.5, higher_is_better=False))
        -0.5
    """
    if metric.value is None or metric.chance is None or metric.higher_is_better is None or metric.unit != "fraction":
        return 0.0
    lead = metric.value - metric.chance
    span = 1 - metric.chance if lead > 0 else metric.chance
    return (lead if metric.higher_is_better else -lead) / span if lead else 0.0
