"""The calibration error with an interval of the true one, and the level that noise alone would show.

The plain binned value is biased upwards: where a bin holds few samples, accuracy misses confidence by chance, and every
miss adds to it. It is kept as papers print it. The interval is of the binned error that endless samples would give.
"""

from dataclasses import dataclass, replace
from math import pi, sqrt
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64, Int64

from clipbench.metrics.classification import confidence_bins, expected_calibration_error
from clipbench.results.record import Metric
from clipbench.stats.clusters import Clusters, Codes, Values, cluster_codes, cluster_sums
from clipbench.stats.estimators import Estimator, Samples
from clipbench.stats.intervals import Interval, Z, added_reaches, too_few
from clipbench.stats.measures import Estimated, defined

METHOD = "normal interval of the true error, less the noise of the bins below"


class CalibrationEstimate(NamedTuple):
    """A binned calibration error, its level without miscalibration, and bounds of the true one."""

    value: float
    """``expected_calibration_error``."""
    noise: float
    """The value that a calibrated model would show on average, on as many samples."""
    low: float
    high: float
    reaches: tuple[float, float]
    """Distances below and above its mean that the value may have by chance."""
    influence: Values


def calibration_estimate(
    confidence: Values, credit: Values, *, clusters: Clusters = None, n_bins: int = 15
) -> CalibrationEstimate:
    """Return the calibration error with its noise and an interval that contains it: low <= value <= high.

    With m_b the mean of credit - confidence in a bin, s_b its standard error and w_b the bin's share of the samples,
    the value is the sum of w_b |m_b|, and of a calibrated model about sqrt(2 / pi) times the sum of w_b s_b. The value
    lies above the true error by between nothing, where every |m_b| is large, and that noise, where all are 0; the
    interval allows for either: from value - noise - 1.96 sd, and at least 0, to value + 1.96 sd.

    The upper bound also leaves room for errors too rare to be seen: Wilson's bound for none in n.

    Args:
        confidence: at least one.
        credit: in [0, 1].
        clusters: of the samples; deviations are summed within them.
    """
    n, codes = len(confidence), cluster_codes(clusters)
    units = np.arange(n) if codes is None else codes
    _, bins = np.unique(confidence_bins(confidence, n_bins), return_inverse=True)
    counts = np.bincount(bins)
    miss = np.bincount(bins, credit - confidence) / counts
    squares, n_units = _squares(bins, units, credit - confidence - miss[bins])
    seen = squares / counts**2 * n_units / np.maximum(n_units - 1, 1)
    # Few samples that are all right have no spread; their confidences say what spread a calibrated model would have.
    expected = _squares(bins, units, np.sqrt(confidence * (1 - confidence)))[0] / counts**2
    squared_errors = np.where(n_units > 1, np.maximum(seen, expected / 2), expected)
    share = counts / n
    value = expected_calibration_error(confidence, credit, n_bins)
    noise = sqrt(2 / pi) * float(share @ np.sqrt(squared_errors))
    of_shares = np.bincount(units, np.abs(miss)[bins] - value)
    half = Z * sqrt(float(share**2 @ squared_errors) + float(of_shares @ of_shares) / n**2)
    unseen = Z**2 / (len(of_shares) + Z**2)
    above = sqrt(half**2 + unseen**2)
    influence = np.sign(miss)[bins] * (credit - confidence) - value
    return CalibrationEstimate(
        value, noise, max(0.0, value - noise - half), min(1.0, value + above), (half, above), influence
    )


def calibration_difference_interval(before: CalibrationEstimate, after: CalibrationEstimate, codes: Codes) -> Interval:
    """Return the interval of the difference of two true errors, from the estimates of both on the same samples.

    Each value lies above its true error by between nothing and its noise, so that their difference is too small by up to
    the noise of the one and too large by up to that of the other.
    """
    influences = [cluster_sums(each.influence, codes) for each in (after, before)]
    below, above = added_reaches(after.reaches, before.reaches, *influences)
    low, high = (-min(after.noise, after.value) - below, min(before.noise, before.value) + above)
    value = after.value - before.value
    return Interval(value + low, value + high, "normal interval of the true errors, with the noise of the bins")


def _squares(
    bins: Int64[np.ndarray, " n"], units: Int64[np.ndarray, " n"], values: Values
) -> tuple[Float64[np.ndarray, " n_bins"], Int64[np.ndarray, " n_bins"]]:
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
        confidence, clusters = defined(samples, self.confidence)
        if not len(confidence):
            return self._undefined(f"no sample has a value for '{self.confidence}'")
        credit = samples[self.credit][~np.isnan(samples[self.confidence])].astype(np.float64)
        found, codes = calibration_estimate(confidence, credit, clusters=clusters), cluster_codes(clusters)
        is_bounded = len(cluster_sums(confidence, codes)) > 1
        interval = Interval(found.low, found.high, METHOD) if is_bounded else too_few(codes)
        statistic = Estimator("expected_calibration_error", (self.confidence, self.credit)).record()
        return replace(self._estimated(found.value, len(confidence), interval), statistic=statistic)
