"""Names of metrics, evaluations, slices and subsets. No other module writes their signs or takes them apart.

A metric has the full name ``task@data{grouping=group}/subset/metric``. The slice is missing in metrics of all data, and
the subset in metrics of all samples. Ids of data have slashes, and groups have braces, so that a full name in one piece
cannot be taken apart: ``MetricName`` keeps its parts.
"""

from typing import NamedTuple, Self


class MetricName(str):
    """The full name of a metric, which keeps its parts.

    Example:
        >>> name = MetricName("retrieval@hf:org/birds", "mrr", "language", "de")
        >>> name, name.evaluation, name.slice
        ('retrieval@hf:org/birds{language=de}/mrr', 'retrieval@hf:org/birds', '{language=de}')
        >>> name = MetricName("composition@hf:org/words", "swap_att/text_acc")
        >>> name.task, name.data, name.subset, name.base
        ('composition', 'hf:org/words', 'swap_att', 'text_acc')
    """

    evaluation: str
    """``task@data``."""
    metric: str
    """The name of the metric in its evaluation, such as ``swap_att/text_acc``."""
    grouping: str
    """The name by which the data is grouped, empty for the whole."""
    group: str
    """The group of a slice, or one of ``SUMMARIES``, empty for the whole."""
    slice: str
    """``{grouping=group}``, empty for the whole."""

    def __new__(cls, evaluation: str, metric: str, grouping: str = "", group: str = "") -> Self:
        """Return the name of a metric of an evaluation, or of a slice of it."""
        suffix = slice_suffix(grouping, group) if grouping else ""
        self = super().__new__(cls, f"{evaluation}{suffix}/{metric}")
        self.evaluation, self.metric, self.slice = evaluation, metric, suffix
        self.grouping, self.group = grouping, group
        return self

    def __reduce__(self) -> tuple[type[Self], tuple[str, ...]]:
        """Return what a copy is made from."""
        return type(self), (self.evaluation, self.metric, self.grouping, self.group)

    @classmethod
    def from_text(cls, text: str) -> Self:
        """Return the name that a text spells, if the data's id has no slash and the metric is of all data.

        Example:
            >>> MetricName.from_text("zero-shot@scenes/kind/acc1").metric
            'kind/acc1'
        """
        evaluation, _, metric = text.partition("/")
        return cls(evaluation, metric)

    @property
    def task(self) -> str:
        """The task, such as ``retrieval``."""
        return split_evaluation(self.evaluation).task

    @property
    def data(self) -> str:
        """The id of the data, empty if the name has none."""
        return split_evaluation(self.evaluation).data

    @property
    def subset(self) -> str:
        """The subset or label set of the metric, empty for all samples."""
        return subset_of(self.metric)

    @property
    def base(self) -> str:
        """The name of the metric without its subset."""
        return base_name(self.metric)

    @property
    def in_evaluation(self) -> str:
        """The name in its evaluation with the slice in front, such as ``{language=de}/mrr``."""
        return f"{self.slice}/{self.metric}" if self.slice else self.metric

    @property
    def without_data(self) -> str:
        """The name without the data, ``task{grouping=group}/metric``: a pattern of any data."""
        return f"{self.task}{self.slice}/{self.metric}"


class EvaluationName(NamedTuple):
    """The parts of ``task@data``."""

    task: str
    data: str
    """Empty if the name has no data, or names it as nothing."""


class SubsetMetric(NamedTuple):
    """The parts of ``subset/metric``."""

    subset: str
    """Empty for all samples."""
    metric: str


def evaluation_name(task: str, data: str) -> str:
    """Return the name of a task on a data set."""
    return f"{task}@{data}"


def split_evaluation(name: str) -> EvaluationName:
    """Return the task and the data of an evaluation's name.

    Example:
        >>> split_evaluation("retrieval@hf:org/birds")
        EvaluationName(task='retrieval', data='hf:org/birds')
    """
    task, _, data = name.partition("@")
    return EvaluationName(task, data)


def names_data(selector: str) -> bool:
    """Return whether a choice of tasks names data, as ``task@data`` does."""
    return "@" in selector


def slice_suffix(grouping: str, group: str | None = None) -> str:
    """Return the end of the name of an evaluation's slice, or of all slices of a grouping.

    Example:
        >>> slice_suffix("language", "de"), slice_suffix("language")
        ('{language=de}', '{language}')
    """
    return f"{{{grouping}}}" if group is None else f"{{{grouping}={group}}}"


def is_of_slice(name: str) -> bool:
    """Return whether a name, or a pattern of names, begins with a slice or has one."""
    return "{" in name


def full_name(evaluation: str, metric: str) -> str:
    """Return the full name of a metric, for a metric of an evaluation or of its slice.

    Example:
        >>> full_name("retrieval@coco", "mrr"), full_name("retrieval@coco", "{language=de}/mrr")
        ('retrieval@coco/mrr', 'retrieval@coco{language=de}/mrr')
    """
    return f"{evaluation}{metric}" if metric.startswith("{") else f"{evaluation}/{metric}"


def metric_of(evaluation: str, full: str) -> str:
    """Return the name of a metric in its evaluation, or the full name of a metric of another evaluation.

    Example:
        >>> metric_of("retrieval@hf:org/birds", "retrieval@hf:org/birds/mrr")
        'mrr'
    """
    return full.removeprefix(f"{evaluation}/")


def split_column(column: str) -> tuple[str, str, str]:
    """Return task, data and metric of a column of published values, for data without a slash in its id.

    Example:
        >>> split_column("retrieval@cirr/ndcg@5"), split_column("retrieval@xm3600{language=de}/ndcg@5")
        (('retrieval', 'cirr', 'ndcg@5'), ('retrieval', 'xm3600', '{language=de}/ndcg@5'))
    """
    task, rest = split_evaluation(column)
    if not is_of_slice(rest):
        data, _, metric = rest.partition("/")
        return task, data, metric
    data, brace, metric = rest.partition("{")
    return task, data, f"{brace}{metric}"


def split_task_metric(text: str) -> tuple[str, str]:
    """Return the two parts of ``task/metric``, the second one empty if the text has one part.

    Example:
        >>> split_task_metric("zero-shot/kind/acc1")
        ('zero-shot', 'kind/acc1')
    """
    task, _, metric = text.partition("/")
    return task, metric


def names_task(pattern: str) -> bool:
    """Return whether a pattern of full names has a task in front of the metric."""
    return "/" in pattern


def split_subset(name: str) -> SubsetMetric:
    """Return the subset of a metric's name, and the name without it. A column of samples is named in the same way.

    Example:
        >>> split_subset("swap_att/text_acc"), split_subset("text_acc")
        (SubsetMetric(subset='swap_att', metric='text_acc'), SubsetMetric(subset='', metric='text_acc'))
    """
    subset, _, metric = name.rpartition("/")
    return SubsetMetric(subset, metric)


def split_outer_subset(name: str) -> SubsetMetric:
    """Return the first part of a name, and all after it: for subsets of subsets. A name of one part is the first.

    Example:
        >>> split_outer_subset("half/texts/recall@1")
        SubsetMetric(subset='half', metric='texts/recall@1')
    """
    subset, _, metric = name.partition("/")
    return SubsetMetric(subset, metric)


def subset_of(name: str) -> str:
    """Return the subset of a metric's name, empty for all samples."""
    return split_subset(name).subset


def base_name(name: str) -> str:
    """Return a metric's name without its subset."""
    return split_subset(name).metric


def in_subset(subset: str, metric: str) -> str:
    """Return the name of a metric of a subset, or of all samples if the subset is empty.

    Example:
        >>> in_subset("swap_att", "text_acc"), in_subset("", "text_acc")
        ('swap_att/text_acc', 'text_acc')
    """
    return f"{subset}/{metric}" if subset else metric


def is_in_subset(name: str, metric: str) -> bool:
    """Return whether a name is the name of a metric in some subset.

    Example:
        >>> is_in_subset("swap_att/text_acc", "text_acc"), is_in_subset("text_acc", "text_acc")
        (True, False)
    """
    return name.endswith(f"/{metric}")


def subset_prefix(*subsets: str) -> str:
    """Return the beginning of the names of a subset's metrics.

    Example:
        >>> subset_prefix("kind"), subset_prefix("half", "texts"), subset_prefix()
        ('kind/', 'half/texts/', '')
    """
    return "".join(f"{subset}/" for subset in subsets)


def over_rule(metric: str) -> str:
    """Return the name of the lead of a metric over the best rule that ignores the input.

    Example:
        >>> over_rule("acc1")
        'acc1_over_rule'
    """
    return f"{metric}_over_rule"


def without_cutoff(name: str) -> str:
    """Return a metric's name up to its cutoff.

    Example:
        >>> without_cutoff("text_retrieval_recall@5")
        'text_retrieval_recall'
    """
    return name.partition("@")[0]


def cutoff_of(name: str) -> str:
    """Return the cutoff of a metric, or its name if it has none.

    Example:
        >>> cutoff_of("text_retrieval_recall@5")
        '5'
    """
    return name.rpartition("@")[2]
