"""The smallest format that is shown to lose less than a margin, and formats in words."""

from dataclasses import dataclass

import numpy as np

from clipbench.metrics.compression import Format
from clipbench.results.numbers import count, counted, percent, shortest
from clipbench.results.record import Metric
from clipbench.stats.clusters import cluster_codes
from clipbench.stats.compression import Walk, least_lost, least_queries, walk
from clipbench.stats.estimators import Samples
from clipbench.stats.intervals import mean_interval
from clipbench.stats.measures import Definition, defined


@dataclass(frozen=True, kw_only=True)
class Smallest(Definition):
    """Bytes of the smallest format that is shown to lose less than a margin, or why there is none."""

    question: str
    chains: tuple[tuple[Format, ...], ...]
    """The formats of each kind, from the largest to the smallest; a kind that the vectors are too few for has none."""
    dim: int
    points: float
    chance: float

    def walk(self, samples: Samples) -> Walk:
        """Return which formats are shown to lose less."""
        changes = [{form.name: self._changes(samples, form)[0] for form in chain} for chain in self.chains]
        return walk(changes, self.points / 100, clusters=self._changes(samples)[1])

    def chosen(self, samples: Samples, found: Walk) -> Format | None:
        """Return the smallest of those; of equal ones, that with the lowest bound of its loss; None where nothing can be lost."""
        passed = [form for chain in self.chains for form in chain if form.name in found.passed]
        if not self._can_lose(samples):
            return None
        return min(passed, key=lambda form: (form.n_bytes, found.most_lost[form.name]), default=None)

    def metric(self, samples: Samples, rng: np.random.Generator) -> Metric:
        """Return the bytes; the choice, in a sentence, is the reason why they have no interval."""
        changes, clusters = self._changes(samples)
        codes = cluster_codes(clusters)
        n = len(changes) if codes is None else int(codes.max(initial=-1)) + 1
        if not n:
            return self.define(Metric(value=None, unit="bytes", higher_is_better=None, reason="no query"))
        found = self.walk(samples)
        form = self.chosen(samples, found)
        # A model that has more to lose may need more bytes: between models, no direction is better.
        return self.define(
            Metric(
                value=None if form is None else float(form.n_bytes),
                n=len(changes),
                unit="bytes",
                higher_is_better=None,
                reason=self._none(samples, found, n) if form is None else self._sentence(samples, form),
            )
        )

    def _can_lose(self, samples: Samples) -> bool:
        """Return whether float32 is surely better than chance by the margin: a model at chance has nothing to lose."""
        whole, clusters = defined(samples, self.question)
        low = mean_interval(whole, clusters=clusters).low
        return low is not None and low - self.chance > self.points / 100

    def _sentence(self, samples: Samples, form: Format) -> str:
        """Return what a format saves. The margin is given beside float32's score, since one point of 2 % is a large loss."""
        margin, saved = self._margin(samples), f"{counted(form.n_bytes, 'byte')} instead of {count(4 * self.dim)}"
        return f"{words(form, self.dim)} lose less than {margin}: {saved}"

    def _margin(self, samples: Samples) -> str:
        return f"{in_points(self.points)} of the {self._whole(samples)} % of float32"

    def _whole(self, samples: Samples) -> str:
        """Return the score of float32, in percent."""
        return percent(float(defined(samples, self.question)[0].mean()))

    def _none(self, samples: Samples, found: Walk, n: int) -> str:
        margin, n_kinds = self.points / 100, len(self.chains)
        if not found.passed and least_lost(n, n_kinds) >= margin:
            return (
                f"at n = {count(n)} images no format is shown to lose less than {in_points(self.points)}: even one that changes no"
                f" answer may lose {percent(least_lost(n, n_kinds))} points; {count(least_queries(margin, n_kinds))} images are needed"
            )
        if not self._can_lose(samples):
            return f"float32 has {self._whole(samples)} %, not surely {in_points(self.points)} above chance: there is little to lose"
        name = min(found.most_lost, key=found.most_lost.__getitem__)
        form = next(form for chain in self.chains for form in chain if form.name == name)
        return (
            f"no format is shown to lose less than {self._margin(samples)}: {words(form, self.dim, is_first=False)} may lose"
            f" {percent(found.most_lost[name])} points"
        )

    def _changes(self, samples: Samples, form: Format | None = None) -> tuple[np.ndarray, np.ndarray | None]:
        """Return the changes of a format, or of any, whose clusters are the same."""
        form = form or next(form for chain in self.chains for form in chain)
        return defined(samples, f"{form.name}/{self.question}_change")


def words(form: Format, dim: int, *, is_first: bool = True) -> str:
    """Return a format in words, in the plural.

    Example:
        >>> words(Format("int8", 128), 512), words(Format("pca_int8", 64), 512), words(Format("binary", 512), 512)
        ('The first 128 dimensions as int8', '64 principal components as int8', 'The signs of all 512 dimensions')
    """
    if form.is_fitted:
        kept = f"{count(form.dim)} principal components"
    elif form.dim == dim:
        kept = f"all {count(dim)} dimensions"
    else:
        kept = f"the first {count(form.dim)} dimensions"
    said = f"the signs of {kept}" if form.kind == "binary" else kept
    said = f"{said} as {form.number}" if form.number in ("int8", "float16") else said
    return f"{said[:1].upper()}{said[1:]}" if is_first else said


def in_points(points: float) -> str:
    return f"{shortest(points)} {'point' if points == 1 else 'points'}"
