"""Sentences with numbers, by rule: none says more than its interval carries."""

from collections.abc import Callable, Mapping
from typing import Literal, NamedTuple

from clipbench.results import numbers as fmt
from clipbench.results.record import EvaluationRecord, Metric
from clipbench_reports.page.groups import NO_REASON
from clipbench_reports.page.label_sets import PLAIN, label_sets, within
from clipbench_reports.page.sentences.words import describe, label_set_words
from clipbench_reports.page.subsets import by_subset
from clipbench_reports.page.text import isolated, quoted

Mark = Literal["good", "weak", "plain", "missing", "ahead", "level"]
"""``good``: better than chance; ``weak``: not; ``plain``: no such claim is made; ``missing``: there is no number; of
several models, ``ahead``: one is; ``level``: there is no evidence either way."""


class Finding(NamedTuple):
    """One sentence, and its mark."""

    mark: Mark
    text: str
    skill: float = 0.0
    """How far what it says lies from chance, as ``skill`` has it; 0 where it makes no such claim."""


def findings(evaluation: EvaluationRecord) -> list[Finding]:
    """Return what an evaluation says at a glance: one to three sentences, or one for each of its label sets."""
    if evaluation.status != "ok":
        status = "Failed" if evaluation.status == "failed" else "Not measured"
        return [missing(evaluation.name, status, evaluation.reason or NO_REASON)]
    return _RULES.get(evaluation.task, _any)(evaluation)


def label_set_findings(evaluation: EvaluationRecord, label_set: str) -> list[Finding]:
    """Return what the classification of one label set says, with the set's name in the sentence."""
    own = within(evaluation, label_set)
    if "acc1" in own.metrics:
        return [_claim(*_named_right(evaluation.dataset.id, label_set), own.metrics["acc1"])]
    if label_set == PLAIN:
        return _any(own)
    return [finding._replace(text=f"{quoted(label_set)}: {finding.text}") for finding in _any(own)]


def missing(what: str, status: str, reason: str) -> Finding:
    """Return that something has no numbers, and why."""
    return Finding("missing", f"{status}: {isolated(what)} – {isolated(reason)}")


def against_chance(metric: Metric) -> Literal["better", "level", "worse"] | None:
    """Return how a metric stands to chance, or None where its interval, chance or direction is not known.

    ``level`` means that the interval holds chance, its ends included.

    Example:
        >>> against_chance(Metric(value=0.5, low=0.4, high=0.6, chance=0.4, higher_is_better=True))
        'level'
    """
    if metric.low is None or metric.high is None or metric.chance is None or metric.higher_is_better is None:
        return None
    if metric.low <= metric.chance <= metric.high:
        return "level"
    return "better" if (metric.low > metric.chance) == metric.higher_is_better else "worse"


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
    room = 1 - metric.chance if lead > 0 else metric.chance
    return (lead if metric.higher_is_better else -lead) / room if lead else 0.0


def _zero_shot(evaluation: EvaluationRecord) -> list[Finding]:
    return [found for label_set in label_sets(evaluation) for found in label_set_findings(evaluation, label_set)]


def _named_right(data: str, label_set: str) -> tuple[str, str]:
    """Return what stands before and after the share of images that a label set is told right for."""
    words = label_set_words(data, label_set)
    if words:
        return f"Names the {words} right in", "of {n} images"
    of_set = f" of {quoted(label_set)}" if label_set != PLAIN else ""
    return f"Names the right class{of_set} first for", "of {n} images"


def _retrieval(evaluation: EvaluationRecord) -> list[Finding]:
    ways = {
        "image_retrieval_recall@1": ("A caption finds its image first in", "of {n} cases"),
        "text_retrieval_recall@1": ("An image finds a caption of its own first in", "of {n} cases"),
    }
    known = [_claim(*words, evaluation.metrics[name]) for name, words in ways.items() if name in evaluation.metrics]
    return known or _any(evaluation)


def _modality_gap(evaluation: EvaluationRecord) -> list[Finding]:
    gap, separability = (evaluation.metrics.get(name) for name in ("gap", "separability"))
    if gap is None or gap.value is None:
        return _any(evaluation)
    text = f"The mean image and the mean text vector lie {fmt.number(gap.value, gap.unit)} apart"
    if separability is not None and separability.value is not None:
        text += f"; a linear rule tells images from texts in {fmt.percent(separability.value)} % of cases"
    return [Finding("plain", text + ".")]


def _text_in_image(evaluation: EvaluationRecord) -> list[Finding]:
    found = []
    reading, success = (evaluation.metrics.get(name) for name in ("reading_acc", "attack_success"))
    if reading is not None:
        found.append(_claim("Reads the written word right in", "of {n} images", reading))
    if success is not None and success.value is not None:
        found.append(_fooled(evaluation, success))
    return found or _any(evaluation)


def _fooled(evaluation: EvaluationRecord, success: Metric) -> Finding:
    """Return how often a label decides, and what else becomes of the object: more than chance is a weakness."""
    marks: dict[str | None, Mark] = {"better": "good", "worse": "weak"}
    mark = marks.get(against_chance(success), "plain")
    share = f"{fmt.percent(success.value)} % of {fmt.count(success.n)} attacks"
    text = f"Fooled by a written label in {share}{_bounds(success)}"
    on_it = {"clean_acc": "without a label", "blank_acc": "with a blank one", "attacked_acc": "under attack"}
    right = [
        f"{fmt.percent(metric.value)} % {words}"
        for name, words in on_it.items()
        if (metric := evaluation.metrics.get(name)) is not None and metric.value is not None
    ]
    text += f"; names the object in {', '.join(right)}." if right else "."
    return Finding(mark, text, skill(success))


def _composition(evaluation: EvaluationRecord) -> list[Finding]:
    """Return whether true beats false on the whole, in which subsets it does not, and how alike twins are."""
    ways = {
        "text_acc": ("Puts what is true of an image above what is not in", "of {n} items"),
        "image_acc": ("Puts the images that a caption is true of above the others in", "of {n} items"),
    }
    found = []
    for name, words in ways.items():
        metric = evaluation.metrics.get(f"micro/{name}") or evaluation.metrics.get(name)
        if metric is not None:
            found.append(_claim(*words, metric))
            found += _weak_subsets(evaluation, name)
    return [*found, *_twins(evaluation)] or _any(evaluation)


def _weak_subsets(evaluation: EvaluationRecord, name: str) -> list[Finding]:
    """Return the subsets in which a model does not beat chance, where there are several."""
    weak = {
        label_set_words(evaluation.dataset.id, subset) or subset: metric
        for subset, metric in by_subset(evaluation, name).items()
        if subset and against_chance(metric) in ("level", "worse")
    }
    if not weak:
        return []
    side = "captions" if name == "text_acc" else "images"
    listed = ", ".join(
        f"{quoted(words)} ({fmt.percent(metric.value)} %; chance {fmt.percent(metric.chance)})"
        for words, metric in weak.items()
    )
    return [
        Finding("weak", f"No better than chance at telling {side} apart in {listed}.", min(map(skill, weak.values())))
    ]


def _twins(evaluation: EvaluationRecord) -> list[Finding]:
    """Return how near a caption is to its twin, beside how near it is to any other caption."""
    twin, other = (evaluation.metrics.get(name) for name in ("twin_cosine", "other_cosine"))
    if twin is None or twin.value is None:
        return []
    text = f"A caption and its false twin have cosine {fmt.number(twin.value, twin.unit)} on average"
    if other is not None and other.value is not None:
        text += f"; a caption and an unrelated one {fmt.number(other.value, other.unit)}"
    return [Finding("plain", f"{text}.")]


def _long_caption(evaluation: EvaluationRecord) -> list[Finding]:
    found = []
    recall, length = (evaluation.metrics.get(name) for name in ("image_retrieval_recall@1", "effective_length"))
    if recall is not None:
        found.append(_claim("A long caption finds its image first in", "of {n} cases", recall))
    if length is not None:
        found.append(_used(evaluation, length))
    return [*found, *_told(by_subset(evaluation, "text_acc"))] or _any(evaluation)


def _used(evaluation: EvaluationRecord, length: Metric) -> Finding:
    """Return how much of a caption decides, and how much of it is never read."""
    if length.value is None:
        return Finding("missing", f"Effective length undefined ({length.reason or NO_REASON}).")
    text = f"Nearly all that it finds by, it finds by the first {fmt.number(length.value, length.unit)} tokens{_bounds(length)}"
    cut, lost = (evaluation.metrics.get(name) for name in ("truncated_fraction", "tokens_lost"))
    if cut is None or cut.value is None or lost is None or lost.value is None:
        return Finding("plain", f"{text}.")
    if cut.value == 0:
        return Finding("plain", f"{text}; every caption fits its window.")
    unread = f"{fmt.percent(cut.value)} % of the captions are longer than its window"
    return Finding("plain", f"{text}; {unread}, which costs {fmt.number(lost.value, lost.unit)} tokens on average.")


def _told(places: Mapping[str, Metric]) -> list[Finding]:
    """Return how well a fact is told by where it is stated, and where only by guessing."""
    if not places:
        return []
    shares = ", ".join(f"{fmt.percent(metric.value)} % ({isolated(name)})" for name, metric in places.items())
    guessed = [isolated(name) for name, metric in places.items() if against_chance(metric) != "better"]
    text = f"Tells a true statement from a false one, by where it stands in the caption, in {shares}"
    worst = min(map(skill, places.values()))
    if guessed:
        return [Finding("weak", f"{text}; no better than guessing: {', '.join(guessed)}.", worst)]
    return [Finding("good", f"{text}; better than guessing everywhere.", worst)]


def _any(evaluation: EvaluationRecord) -> list[Finding]:
    """Return the first metric of a task that no rule is known for."""
    for name, metric in evaluation.metrics.items():
        return [_claim(f"{describe(name) or isolated(name)}:", "(n = {n})", metric)]
    return [Finding("missing", f"{isolated(evaluation.name)} gave no metrics.")]


def _bounds(metric: Metric) -> str:
    """Return the interval in brackets, with a space before it, or nothing where there is none."""
    return f" ({fmt.interval_name([metric])} {fmt.interval(metric)})" if metric.low is not None else ""


def _claim(before: str, after: str, metric: Metric) -> Finding:
    """Return a sentence on one metric; only an interval that leaves out chance makes it a good or a bad one."""
    if metric.value is None:
        return Finding("missing", f"{before} – : undefined ({metric.reason or NO_REASON}).")
    unit = fmt.symbol(metric.unit)
    head = f"{before} {fmt.number(metric.value, metric.unit)} {unit} {after.replace('{n}', fmt.count(metric.n))}"
    chance = f"{fmt.number(metric.chance, metric.unit)} {unit}"
    bounds = f"{fmt.interval_name([metric])} {fmt.interval(metric)}"
    match against_chance(metric):
        case "better":
            return Finding("good", f"{head} ({bounds}; chance {chance}).", skill(metric))
        case "level":
            text = f"{head}: no better than chance ({chance}), which lies in the {bounds}."
            return Finding("weak", text, skill(metric))
        case "worse":
            return Finding("weak", f"{head}: worse than chance ({chance}; {bounds}).", skill(metric))
        case None:
            return Finding("plain", f"{head} ({bounds})." if metric.low is not None else f"{head} (no interval).")


_RULES: dict[str, Callable[[EvaluationRecord], list[Finding]]] = {
    "zero-shot": _zero_shot,
    "retrieval": _retrieval,
    "modality-gap": _modality_gap,
    "long-caption": _long_caption,
    "composition": _composition,
    "text-in-image": _text_in_image,
}
