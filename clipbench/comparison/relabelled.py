"""The record of a difference by two sets of labels: the recorded ones, and others of the same images."""

from dataclasses import dataclass

from clipbench.comparison.metric_difference import Difference
from clipbench.results.numbers import change, change_interval, counted, listed


@dataclass(frozen=True, kw_only=True)
class ChangedImage:
    """An image on which the two models differ and the two sets of labels disagree."""

    id: str
    recorded: tuple[str, ...]
    """Its recorded class, or classes."""
    labels: tuple[str, ...]
    """Its right classes by the other labels."""
    base: str
    """The class that the base predicts."""
    candidate: str
    """The class that the candidate predicts."""
    by_recorded: float
    """The candidate's credit minus the base's by the recorded labels: 1, 0 or -1, or in between for a tie."""
    by_new: float
    """The same by the other labels."""


@dataclass(frozen=True, kw_only=True)
class Relabelled:
    """Top-1 accuracy of two models by the recorded labels and by others, on the same images."""

    evaluation: str
    labels: str
    """The file of the other labels."""
    n: int
    """Images that count by both sets of labels."""
    n_missing: int
    """Images that the file lacks. They are left out of both differences, as are the two following."""
    n_without: int
    """Images that the file gives no class."""
    n_tied: int
    """Images with other labels for which a model's first place is tied: the runs keep one of the tied classes."""
    n_several: int
    """Images that count and have several right classes."""
    n_unlike: int
    """Images that count and whose right classes are not just the recorded one."""
    recorded: Difference
    """By the recorded labels. Both p-values are of one test each, without a correction."""
    relabelled: Difference
    """By the other labels, where a prediction is right if it is one of an image's classes."""
    changed: tuple[ChangedImage, ...]
    """Images on which the models predict different classes, and the sets of labels disagree who is right."""

    @property
    def sentence(self) -> str:
        """Both differences with their intervals."""
        new, recorded = _change_with_interval(self.relabelled), _change_with_interval(self.recorded)
        return f"By the new labels the difference is {new}; by the recorded ones, on the same images, {recorded}"

    @property
    def counts(self) -> str:
        """The images that count, and those that are left out, with the reason."""
        reasons = {
            f"not in {self.labels}": self.n_missing,
            "without a class": self.n_without,
            "tied for first place": self.n_tied,
        }
        left_out = [f"{n:,} {reason}" for reason, n in reasons.items() if n]
        suffix = f"; left out: {listed(left_out)}" if left_out else ""
        return (
            f"{counted(self.n, 'image')}, {self.n_unlike:,} with other labels, {self.n_several:,} with several{suffix}"
        )


def _change_with_interval(difference: Difference) -> str:
    interval = change_interval(difference.low, difference.high, "fraction")
    return f"{change(difference.value, 'fraction')} {interval}"
