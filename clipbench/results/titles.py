"""Titles of metrics and subsets for a reader: the recorded titles, or without any the names made readable."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from clipbench.results.metric_name import base_name, subset_of
from clipbench.results.record import EvaluationRecord, Metric, Metrics


def metric_title(name: str, metric: Metric) -> str:
    """Return the title of a metric, without its subset.

    Example:
        >>> metric_title("kind/acc1", Metric(value=0.5, title="Top-1 accuracy"))
        'Top-1 accuracy'
        >>> metric_title("image_retrieval_recall@5", Metric(value=0.5))
        'Image retrieval recall@5'
    """
    return metric.title or readable(base_name(name))


def full_title(name: str, metric: Metric, subsets: Mapping[str, str]) -> str:
    """Return the title of a metric with the title of its subset in brackets.

    Example:
        >>> full_title("swap_att/text_acc", Metric(value=0.5, title="Text score"), {"swap_att": "Attributes swapped"})
        'Text score (attributes swapped)'
    """
    title, subset = metric_title(name, metric), subset_of(name)
    return f"{title} ({within_sentence(subset_title(subset, subsets))})" if subset else title


def subset_legend(names: Iterable[str], subsets: Mapping[str, str]) -> str:
    """Return the titles of the subsets that metric names begin with, if they say more than the names.

    Example:
        >>> subset_legend(["acc1", "kind/acc1", "kind/ece"], {"kind": "Kind of object", "other": "Not listed"})
        'kind: Kind of object'
        >>> subset_legend(["audio-text/gap"], {"audio-text": "Audio and text"})
        ''
    """
    entries = []
    for subset in dict.fromkeys(subset_of(name) for name in names):
        title = subsets.get(subset, "")
        says_more = _alphanumeric(title) not in ("", _alphanumeric(subset))
        if says_more:
            entries.append(f"{subset}: {title}")
    return "; ".join(entries)


def _alphanumeric(words: str) -> str:
    """Return only letters and digits, without the word "and": "Audio and text" says no more than audio-text."""
    return "".join(filter(str.isalnum, words.lower().replace(" and ", "")))


def subset_title(subset: str, subsets: Mapping[str, str]) -> str:
    """Return the recorded title of a subset or label set, or its own name."""
    return subsets.get(subset) or subset


def headlines(evaluation: EvaluationRecord) -> Metrics:
    """Return the metrics that represent an evaluation: its headlines, or its first metric if it has none."""
    marked = {name: metric for name, metric in evaluation.metrics.items() if metric.is_headline}
    return marked or dict(list(evaluation.metrics.items())[:1])


def first_headline(metrics: Mapping[str, Any], has_value: Callable[[str], bool] | None = None) -> str:
    """Return the name of the metric that stands for an evaluation where there is room for one.

    It is the first headline that has a value, or the first headline if none has a value. If no metric is marked, all
    count as headlines.

    Args:
        metrics: at least one, with ``is_headline``: metrics, or the measures that they are made by.
        has_value: whether a metric has a value; by default, where its ``value`` is not None.

    Example:
        >>> first_headline({"ece": Metric(value=0.1), "acc1": Metric(value=0.5, is_headline=True)})
        'acc1'
    """
    marked = [name for name, metric in metrics.items() if getattr(metric, "is_headline", False)] or list(metrics)
    has_value = has_value or (lambda name: metrics[name].value is not None)
    return next(filter(has_value, marked), marked[0])


def readable(name: str) -> str:
    """Return a name with spaces and a capital."""
    words = name.replace("_", " ").strip()
    return words[:1].upper() + words[1:]


def within_sentence(title: str) -> str:
    """Return a title for the middle of a sentence: in lower case unless its first word is an acronym or name.

    Example:
        >>> within_sentence("Top-1 accuracy"), within_sentence("IsoScore of images")
        ('top-1 accuracy', 'IsoScore of images')
    """
    first = title.split(" ", 1)[0]
    is_name = any(letter.isupper() for letter in first[1:]) or not first[1:2].isalpha()  # IsoScore, R@1
    return title if is_name and len(first) > 1 else title[:1].lower() + title[1:]
