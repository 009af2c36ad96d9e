"""How many labels a class the prompts are worth: with so many, a linear probe reaches the zero-shot accuracy.

Between two numbers of labels that were tried, the accuracy of the probe is taken to be a straight line over the logarithm of the
number. The interval is of the numbers at which the two accuracies cannot be told from each other, on the same images.
"""

from dataclasses import dataclass

import numpy as np

from clipbench.results.numbers import percent, significant
from clipbench.results.record import Metric
from clipbench.stats.crossings import crossing_interval
from clipbench.stats.estimators import Estimator, Samples
from clipbench.stats.intervals import DIFFERENCES, Interval, mean_interval
from clipbench.stats.measures import Definition, Statistic, defined

LABELS = "labels"
"""Unit of the worth: labelled images of each class."""


@dataclass(frozen=True, kw_only=True)
class Worth(Definition):
    """The number of labels a class with which an accuracy first reaches another, or why there is none."""

    columns: tuple[str, ...]
    """Hits of the probe with each number of labels."""
    target: str
    """Hits of what it is to reach."""
    labels: tuple[float, ...]
    """Numbers of labels a class, ascending."""

    def metric(self, samples: Samples, rng: np.random.Generator) -> Metric:
        """Return the number; None where the probe has reached the target with the fewest labels, or never does."""
        columns = (*self.columns, self.target)
        hits, clusters = zip(*(defined(samples, name) for name in columns), strict=True)
        means = [float(column.mean()) for column in hits]
        excess = np.column_stack(hits[:-1]) - hits[-1][:, None]
        reason = self._reason(means[:-1], means[-1], excess, clusters[0])
        if reason is not None:
            return self.define(Metric(value=None, unit=LABELS, n=len(hits[0]), higher_is_better=True, reason=reason))
        interval = self._interval(excess, clusters[0])
        number = Estimator("labels_reaching", columns, {"labels": list(self.labels)})
        return self.define(
            Statistic(function=number, columns=columns, unit=LABELS, interval=interval).metric(samples, rng)
        )

    def _reason(
        self, accuracy: list[float], target: float, excess: np.ndarray, clusters: np.ndarray | None
    ) -> str | None:
        """Return why there is no number, as the end of a sentence on the accuracy of the prompts."""
        best = int(np.argmax(accuracy))
        if accuracy[0] < target <= accuracy[best]:
            return None
        is_reached = accuracy[0] >= target
        place = 0 if is_reached else best
        head = (
            f"reached with {labels_a_class(self.labels[0])} already"
            if is_reached
            else f"not reached with up to {labels_a_class(self.labels[-1])}"
        )
        low, high, _ = mean_interval(excess[:, place], clusters=clusters, within=DIFFERENCES)
        is_noise = low is not None and high is not None and low <= 0 <= high
        return (
            f"{head}: the accuracy of the probe is {percent(accuracy[place])} %{'' if is_reached else ' at most'}, that of the prompts "
            f"{percent(target)} %{', not significantly different' if is_noise else ''}"
        )

    def _interval(self, excess: np.ndarray, clusters: np.ndarray | None) -> Interval:
        """Return the interval; where it ends at the fewest or the most labels, those beyond cannot be excluded either."""
        places = np.log(self.labels).tolist()
        found = crossing_interval(excess, places, what="the probe's hits less those of the prompts", clusters=clusters)
        if found.low is None or found.high is None:
            return found
        beyond = [f"{significant(self.labels[0])} or fewer"] * (found.low <= places[0])
        beyond += [f"{significant(self.labels[-1])} or more"] * (found.high >= places[-1])
        method = "; ".join([found.method, *beyond])
        return Interval(float(np.exp(found.low)), float(np.exp(found.high)), method)


def labels_a_class(number: int | float) -> str:  # noqa: PYI041 (a checker of types at run time tells them apart)
    """Return a number of labels in words.

    Example:
        >>> labels_a_class(1.0), labels_a_class(90.0), labels_a_class(12.5)
        ('1 label a class', '90 labels a class', '12.5 labels a class')
    """
    return f"{significant(number)} {'label' if number == 1 else 'labels'} a class"
