"""Which metric a control belongs to, by its name, and what it says in few words beside it."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from clipbench.results.numbers import number, symbol
from clipbench.results.record import Metric

RULES = (
    (r"(.+)_strict", r"\1", "a tie fails"),
    (r"(.*/)?majority_class", r"\1acc1", "always the commonest class"),
    (r"(.*/)?tie_rate", r"\1acc1", "ties"),
    (r"(.+/)tie_rate", r"\1text_acc", "ties"),  # without a subset it is of the text, the image and the group score
    (r"(.+_(?:retrieval|image|text))_tie_rate", r"\1_recall@[0-9]+", "ties"),
    (r"(.*/)?shorter_caption", r"\1text_acc", "shorter caption wins"),
    (r"(.*/)?same_words", r"\1text_acc", "same bag of words"),
    (r"(.*/)?beyond_window", r"\1text_acc", "fact beyond the window"),
    (r"reading_blind", r"reading_acc", "without looking"),
    (r"reading_shortest", r"reading_acc", "shortest caption"),
    (r"reading_tie_rate", r"reading_acc", "ties"),
    (r"clean_named_word", r"attack_success", "the word without a label"),
    (r"blank_named_word", r"attack_success", "the word with a blank label"),
    (r"attack_tie_rate", r"attack_success", "ties"),
)
"""The name of a control, that of the metrics it belongs to, and what it is called beside them."""


@dataclass(frozen=True, kw_only=True)
class Control:
    """What a blind rule scores, or how often scores tie, beside the metric that is read against it."""

    words: str
    value: str
    """With its unit."""


def controls_of(name: str, metrics: Mapping[str, Metric], controls: Mapping[str, Metric]) -> list[Control]:
    """Return the controls of a metric, in their order; a strict value only where it differs from the metric's own.

    One without a value is left out: the table of controls says why.

    Example:
        >>> metrics = {"text_acc": Metric(value=0.5)}
        >>> controls = {"text_acc_strict": Metric(value=0.5), "same_words": Metric(value=1.0), "mine": Metric(value=0.0)}
        >>> controls_of("text_acc", metrics, controls)
        [Control(words='same bag of words', value='100.0 %')]
    """
    mine = {control: words for control in controls if (words := _words(control, name)) is not None}
    return [
        _control(words, controls[control])
        for control, words in mine.items()
        if controls[control].value is not None
        and not (control.endswith("_strict") and controls[control].value == metrics[name].value)
    ]


def loose_controls(metrics: Iterable[str], controls: Mapping[str, Metric]) -> list[Control]:
    """Return the controls that belong to no metric and whose name says what they are.

    Example:
        >>> loose_controls(["swap/text_acc"], {"tie_rate": Metric(value=0.0), "swap/same_words": Metric(value=1.0)})
        [Control(words='ties', value='0.0 %')]
    """
    names = list(metrics)
    return [
        _control(words, metric)
        for control, metric in controls.items()
        if metric.value is not None
        and (words := _rule_words(control)) is not None
        and all(_words(control, name) is None for name in names)
    ]


def _words(control: str, metric: str) -> str | None:
    """Return what a control is called beside a metric, or None where it does not belong to it."""
    for pattern, owner, words in RULES:
        if (found := re.fullmatch(pattern, control)) and re.fullmatch(_owner(found, owner), metric):
            return words
    return None


def _owner(found: re.Match[str], owner: str) -> str:
    """Return the pattern of the owner's name; what the control's name gives to it is no pattern."""
    return owner.replace(r"\1", re.escape((found.groups() or ("",))[0] or ""))


def _rule_words(control: str) -> str | None:
    """Return what a control is called anywhere; one of a subset without that subset's metric says which it is of."""
    for pattern, _, words in RULES:
        if re.fullmatch(pattern, control):
            subset = control.rpartition("/")[0]
            return f"{words} ({subset})" if subset else words
    return None


def _control(words: str, metric: Metric) -> Control:
    return Control(words=words, value=f"{number(metric.value, metric.unit)} {symbol(metric.unit)}")
