"""Accuracies of composition by subset, such as ``swap_att/text_acc``; some are means of others."""

from collections.abc import Iterable, Mapping

from clipbench.results.record import EvaluationRecord, Metric

MEANS = ("micro", "macro")


def subsets_of(names: Iterable[str]) -> list[str]:
    """Return the subsets of metric names, without means over all and over a category; "" is a set without subsets.

    A subset is a category where others have its name and an underscore before their own, as ``swap`` and ``swap_att``.

    Example:
        >>> subsets_of(["macro/text_acc", "swap/text_acc", "swap_att/text_acc", "swap_obj/text_acc", "twin_cosine"])
        ['swap_att', 'swap_obj', '']
    """
    found = list(dict.fromkeys(name.rpartition("/")[0] for name in names))
    return [each for each in found if each not in MEANS and not (each and _is_category(each, found))]


def by_subset(evaluation: EvaluationRecord, score: str) -> Mapping[str, Metric]:
    """Return a score's defined values by subset."""
    known = {subset: f"{subset}/{score}" if subset else score for subset in subsets_of(evaluation.metrics)}
    metrics = {subset: evaluation.metrics[name] for subset, name in known.items() if name in evaluation.metrics}
    return {subset: metric for subset, metric in metrics.items() if metric.value is not None}


def _is_category(subset: str, subsets: Iterable[str]) -> bool:
    return any(other.startswith(f"{subset}_") for other in subsets)
