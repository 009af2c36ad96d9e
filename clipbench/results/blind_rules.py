"""Rules that ignore the input, such as always answering the most frequent class, and the metrics below them."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from clipbench.results.metric_name import over_rule
from clipbench.results.numbers import metric_value, quantity
from clipbench.results.record import EvaluationRecord, Metric
from clipbench.results.titles import full_title, within_sentence


class BlindRule(NamedTuple):
    """A rule that ignores the input, and the lead of a metric over it."""

    words: str
    """What it does, as in ``always answering 'dress'``."""
    value: float
    """Its score."""
    lead: Metric
    """The metric minus the score of the rule on the same samples, with the interval of paired differences."""

    @property
    def is_ahead(self) -> bool:
        """True if the interval shows that the rule scores higher."""
        return self.lead.high is not None and self.lead.high < 0


def blind_rule(record: EvaluationRecord, name: str) -> BlindRule | None:
    """Return the rule that a metric is held against, None if the evaluation has none that differs from chance."""
    metric, lead = record.metrics.get(name), record.baselines.get(over_rule(name))
    if metric is None or lead is None or metric.value is None or lead.value is None or lead.low is None:
        return None
    return BlindRule(words=lead.reason or "a rule that ignores the input", value=metric.value - lead.value, lead=lead)


def rule_lines(evaluations: Iterable[EvaluationRecord]) -> Iterator[str]:
    """Yield a line per metric that a rule without a look at the input beats."""
    for record in evaluations:
        for name, metric in record.metrics.items():
            rule = blind_rule(record, name)
            if rule is not None and rule.is_ahead:
                title = within_sentence(full_title(name, metric, record.subsets))
                score = quantity(rule.value, metric.unit)
                yield f"{record.name}: {title} of {metric_value(metric)} is below {rule.words}, {score}"
