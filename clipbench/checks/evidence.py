"""Evidence from pairs: whether true pairs would stand out more with one switch flipped."""

import math
from typing import NamedTuple

import numpy as np

from clipbench.checks.pairs import Pairs
from clipbench.models.towers.variants import Variant

LEAST_GAIN = 0.1
"""Share by which the mean margin must grow: small gains on a few images are the images', not the setting's."""
LEAST_T = 4.0
"""Mean gain in standard errors: by chance above it once in 10,000 at 64 pairs."""


class MarginGain(NamedTuple):
    """The mean margin of true pairs as the model is, and with a switch flipped."""

    before: float
    after: float
    t: float
    """Mean gain over its standard error."""

    @property
    def is_better(self) -> bool:
        """True where the gain is large and certain."""
        return self.after > 0 and self.after - self.before > LEAST_GAIN * abs(self.before) and self.t > LEAST_T

    @property
    def text(self) -> str:
        """Both margins, for a message."""
        return f"true pairs stand out by {self.after:.2f} standard deviations, and by {self.before:.2f} as it is"


def better(pairs: Pairs, variant: Variant) -> MarginGain:
    """Return the evidence for a variant."""
    before, after = pairs.margins(), pairs.with_vectors(variant, variant.changes).margins()
    gains = after - before
    error = float(gains.std(ddof=1)) / math.sqrt(len(gains))
    t = float(gains.mean()) / error if error > 0 else math.copysign(math.inf, gains.mean()) if gains.any() else 0.0
    return MarginGain(float(np.mean(before)), float(np.mean(after)), t)
