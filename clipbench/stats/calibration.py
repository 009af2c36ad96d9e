"""The calibration error with an interval of the true one, and its expected value for a calibrated model.

The plain binned value is biased upwards: where a bin holds few samples, accuracy misses confidence by chance, and every
miss adds to it. It is kept as papers print it. The interval is of the binned error that endless samples would give.
"""

from dataclasses import dataclass, replace
from math import pi, sqrt
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64, Int64

from clipbench.metrics.classification import confidence_bins, expected_calibration_error
from clipbench.metrics.similarity import Labels
from clipbench.results.record import Metric
from clipbench.stats.clusters import NEGLIGIBLE, Clusters, Codes, Units, Values, cluster_codes, cluster_sums
from clipbench.stats.estimators import Estimator, Samples
from clipbench.stats.intervals import CONFIDENCE, Bounds, Interval, Z, influence_correlation, too_few
from clipbench.stats.measures import Estimated, defined_values

Bins = Float64[np.ndarray, " n_bins"]
Deviates = Float64[np.ndarray, " n_deviates"]

METHOD = "normal interval of the true error, minus the noise of the bins below"
N_ERRORS, N_DEVIATES = 257, 129
"""True errors, and deviates of one model's value, between which an interval of two models is interpolated."""


class CalibrationEstimate(NamedTuple):
    """A binned calibration error, its level without miscalibration, and bounds of the true one."""

    value: float
    """``expected_calibration_error``."""
    noise: float
    """The mean value of a calibrated model on samples of this size."""
    low: float
    high: float
    influence: Values
    spread: float
    """Standard error of the value."""
    n_units: int
    """Number of samples, or of clusters."""
    shares: Bins
    """Fraction of the samples in each bin."""
    misses: Bins
    """Distance between accuracy and confidence in each bin."""
    errors: Bins
    """Standard error of each bin's miss."""

    def true_errors(self, deviates: Deviates, z: float) -> Deviates:
        """Return the true errors for which the value is ``deviates`` standard errors above its mean, without its bias.

        Bins as noisy as these show more than the true error: a miss shows the mean of a folded normal law. The misses
        keep their proportions.

        Source: Leone, Nelson and Nottingham, Technometrics 3 (1961).

        Args:
            deviates: at least -z, and at most z.
        """
        from scipy.special import ndtr

        shape = self.misses / self.value if self.value > NEGLIGIBLE else np.ones(len(self.misses))
        errors, (below, above) = np.maximum(self.errors, NEGLIGIBLE), _distances_to_bounds(self.spread, self.n_units, z)
        true = min(1.0, self.value + above) * np.linspace(0, 1, N_ERRORS) ** 2
        ratios = true[:, None] * shape / errors
        normal = sqrt(2 / pi) * np.exp(-(ratios**2) / 2)
        mean_values = (errors * (ratios * (2 * ndtr(ratios) - 1) + normal)) @ self.shares
        mean_values -= max(0.0, mean_values[0] - self.value)  # a value below a calibrated model's is no evidence
        return np.interp(self.value - deviates / z * np.where(deviates > 0, below, above), mean_values, true)


def _distances_to_bounds(spread: float, n_units: int, z: float) -> Bounds:
    """Return the distances from a value to the bounds of its mean, with Wilson's bound for 0 of n for the lower one."""
    return z * spread, sqrt((z * spread) ** 2 + (z**2 / (n_units + z**2)) ** 2)


def calibration_estimate(
    confidence: Values, credit: Values, *, clusters: Clusters = None, n_bins: int = 15
) -> CalibrationEstimate:
    """Return the calibration error with its noise and an interval that contains it: low <= value <= high.

    With m_b the mean of credit - confidence in a bin, s_b its standard error and w_b the bin's fraction of the samples,
    the value is the sum of w_b |m_b|, and of a calibrated model about sqrt(2 / pi) times the sum of w_b s_b. The value
    exceeds the true error by between nothing, where every |m_b| is large, and that noise, where all are 0; the
    interval allows for either: from value - noise - 1.96 sd, and at least 0, to value + 1.96 sd.

    The upper bound also leaves room for errors too rare to be seen: Wilson's bound for none in n.

    Args:
        confidence: at least one.
        credit: in [0, 1].
        clusters: the cluster of each sample. Deviations are summed within clusters.
    """
    n, codes = len(confidence), cluster_codes(clusters)
    units = np.arange(n) if codes is None else codes
    _, bins = np.unique(confidence_bins(confidence, n_bins), return_inverse=True)
    counts = np.bincount(bins)
    miss = np.bincount(bins, credit - confidence) / counts
    squares, n_units = _squared_sums(bins, units, credit - confidence - miss[bins])
    observed = squares / counts**2 * n_units / np.maximum(n_units - 1, 1)
    # Few samples that are all right have no spread; their confidences say what spread a calibrated model would have.
    expected = _squared_sums(bins, units, np.sqrt(confidence * (1 - confidence)))[0] / counts**2
    squared_errors = np.where(n_units > 1, np.maximum(observed, expected / 2), expected)
    share = counts / n
    value = expected_calibration_error(confidence, credit, n_bins)
    noise = sqrt(2 / pi) * float(share @ np.sqrt(squared_errors))
    unit_deviations = np.bincount(units, np.abs(miss)[bins] - value)
    spread = sqrt(float(share**2 @ squared_errors) + float(unit_deviations @ unit_deviations) / n**2)
    below, above = _distances_to_bounds(spread, len(unit_deviations), Z)
    return CalibrationEstimate(
        value=value,
        noise=noise,
        low=max(0.0, value - noise - below),
        high=min(1.0, value + above),
        influence=np.sign(miss)[bins] * (credit - confidence) - value,
        spread=spread,
        n_units=len(unit_deviations),
        shares=share,
        misses=np.abs(miss),
        errors=np.sqrt(squared_errors),
    )


def calibration_difference_interval(
    before: CalibrationEstimate, after: CalibrationEstimate, codes: Codes, *, confidence: float = CONFIDENCE
) -> Interval:
    """Return the interval of the difference of two true errors, from the estimates of both on the same samples.

    Models may differ in accuracy, or in how far their confidences spread, so that noise adds more to one value than to
    the other. The interval holds the differences of all pairs of true errors of which both values, which correlate, are
    as likely as the confidence asks (a profile of their normal law), and the difference of the values.
    """
    correlation = influence_correlation(*(cluster_sums(estimate.influence, codes) for estimate in (before, after)))
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    deviates = np.linspace(-z, z, N_DEVIATES)
    reach = np.sqrt(np.maximum(0.0, (1 - correlation**2) * (z**2 - deviates**2)))
    true, value = before.true_errors(deviates, z), after.value - before.value
    low, high = (after.true_errors(np.clip(correlation * deviates + side * reach, -z, z), z) - true for side in (1, -1))
    method = "profile of both true errors, without the noise of the bins"
    return Interval(min(value, float(low.min())), max(value, float(high.max())), method)


def _squared_sums(bins: Labels, units: Units, values: Values) -> tuple[Bins, Int64[np.ndarray, " n_bins"]]:
    """Return, for each bin, the sum over its samples or clusters of their squared sums, and how many they are."""
    cells, cell = np.unique(bins * (units.max() + 1) + units, return_inverse=True)
    bin_of_cell = cells // (units.max() + 1)
    return np.bincount(bin_of_cell, np.bincount(cell, values) ** 2), np.bincount(bin_of_cell)


@dataclass(frozen=True, kw_only=True)
class CalibrationError(Estimated):
    """The expected calibration error of a column of confidences and one of credits."""

    confidence: str
    """Samples where it is NaN are left out."""
    credit: str
    higher_is_better: bool | None = False

    def metric(self, samples: Samples, rng: np.random.Generator) -> Metric:
        confidence, clusters = defined_values(samples, self.confidence)
        if not len(confidence):
            return self._undefined(f"no sample has a value for '{self.confidence}'")
        credit = samples[self.credit][~np.isnan(samples[self.confidence])].astype(np.float64)
        estimate, codes = calibration_estimate(confidence, credit, clusters=clusters), cluster_codes(clusters)
        is_bounded = len(cluster_sums(confidence, codes)) > 1
        interval = Interval(estimate.low, estimate.high, METHOD) if is_bounded else too_few(codes)
        statistic = Estimator("expected_calibration_error", (self.confidence, self.credit)).record()
        return replace(self._estimated(estimate.value, len(confidence), interval), statistic=statistic)
