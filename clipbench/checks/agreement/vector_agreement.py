"""How far the vectors of two sides agree: cosines and lengths by input, and what pattern the differences make."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float64

from clipbench.checks.agreement.fixed_inputs import FixedImage, FixedText, fixed_inputs
from clipbench.checks.agreement.sides import ComparedSide, Encoded, Rows, cosines
from clipbench.data.modalities import IMAGE
from clipbench.metrics.similarity import unit
from clipbench.results.numbers import counted

SAME = 1e-5
"""Distance of a cosine from 1 up to which two vectors are the same: float32 sums of another order stay below."""
SAME_LENGTH = 1e-3
"""Fraction by which the length of two same vectors may differ."""
UNIFORM = 4.0
"""Factor by which the distances of rounded vectors may differ from their median."""
CLEAR = 30.0
"""Factor between the median distance of inputs that differ and the distance of one that clearly does not."""
LEAST_OWN = 0.3
"""Fraction of inputs that must be nearest to their own vector for the space to be the same. Chance is 1 in 18 or 21."""

N_NAMED = 4
"""Inputs that a sentence names."""

PairDistances = Float64[np.ndarray, " n"]


@dataclass(frozen=True, eq=False)
class VectorAgreement:
    """The vectors of one modality on two sides, of the inputs that both have."""

    modality: str
    ids: Sequence[str]
    first: Rows
    second: Rows

    @cached_property
    def cosines(self) -> Float64[np.ndarray, " n"]:
        """Cosine of each input's two vectors."""
        return cosines(self.first, self.second)

    @property
    def distances(self) -> PairDistances:
        """Distance of each input's two unit vectors."""
        return np.sqrt(2 * np.maximum(0.0, 1 - self.cosines))

    @property
    def is_equal(self) -> Bool[np.ndarray, " n"]:
        """Which inputs have the same direction on both sides."""
        return self.cosines >= 1 - SAME

    @property
    def is_same(self) -> bool:
        """True if all directions are the same."""
        return bool(self.is_equal.all())

    @property
    def length_ratios(self) -> Float64[np.ndarray, " n"]:
        """Length of the second vector over the length of the first."""
        lengths = [np.linalg.norm(rows.astype(np.float64), axis=1) for rows in (self.second, self.first)]
        return lengths[0] / lengths[1]

    @property
    def is_uniform(self) -> bool:
        """True if distances vary as rounding errors do, from input to input by a small factor. Blank texts may not."""
        is_kept = np.array([id != "blank" for id in self.ids])
        distances = self.distances[is_kept]
        median = float(np.median(distances))
        is_near = (distances >= median / UNIFORM) & (distances <= median * UNIFORM)
        return median > 0 and bool(is_near.mean() >= 0.9)

    @property
    def is_partial(self) -> bool:
        """True if some inputs agree and others do not, with no rounding between the two: then the tower is the same."""
        differing = self.distances[~self.is_equal]
        if not len(differing):
            return False
        return bool((self.distances < float(np.median(differing)) / CLEAR).any())

    @cached_property
    def own_fraction(self) -> float:
        """Fraction of inputs whose nearest vector on the other side, less the mean of its side, is their own."""
        sides = [unit(rows).astype(np.float64) for rows in (self.first, self.second)]
        first, second = (rows - rows.mean(axis=0) for rows in sides)
        lengths = np.maximum(np.linalg.norm(second, axis=1), 1e-12)
        nearest = (first @ (second / lengths[:, None]).T).argmax(axis=1)
        return float((nearest == np.arange(len(nearest))).mean())

    @property
    def is_same_space(self) -> bool:
        """True if inputs are found again on the other side more often than chance would."""
        return self.own_fraction >= LEAST_OWN

    @property
    def order(self) -> Sequence[int]:
        """Rows, the input that differs most first."""
        return [int(row) for row in np.argsort(self.cosines, kind="stable")]

    def take(self, rows: Sequence[int]) -> "VectorAgreement":
        """Return some inputs."""
        kept = list(rows)
        return VectorAgreement(self.modality, [self.ids[row] for row in kept], self.first[kept], self.second[kept])


def agreement_of(first: ComparedSide, second: ComparedSide, modality: str) -> VectorAgreement:
    """Return the agreement of two sides, on vectors of the batch of many or of one, whichever agree less.

    Raises:
        ClipbenchError: a side fails, or lacks inputs.
    """
    one, other = first.encoded[modality], second.encoded[modality]
    rows = {id: row for row, id in enumerate(other.ids)}
    ids = [id for id in one.ids if id in rows]
    positions = {id: row for row, id in enumerate(one.ids)}
    pairs = [_least_agreeing(one, other, id, positions[id], rows[id]) for id in ids]
    firsts = np.concatenate([pair.first for pair in pairs])
    seconds = np.concatenate([pair.second for pair in pairs])
    return VectorAgreement(modality, ids, firsts, seconds)


class _VectorPair(NamedTuple):
    first: Rows
    second: Rows


def _least_agreeing(one: Encoded, other: Encoded, id: str, row: int, other_row: int) -> _VectorPair:
    """Return the two vectors of an input: among many inputs, or in a batch of one if these differ more."""
    among_many = _VectorPair(one.rows([row]), other.rows([other_row]))
    if id not in one.separate or id not in other.separate:
        return among_many
    separate = _VectorPair(one.separate[id], other.separate[id])
    return min(among_many, separate, key=lambda pair: float(cosines(*pair)[0]))


def inputs_of(modality: str) -> dict[str, FixedImage | FixedText]:
    """Return the fixed inputs of a modality by id."""
    images, texts = fixed_inputs()
    return {item.id: item for item in (images if modality == IMAGE else texts)}


def describe_difference(agreement: VectorAgreement, side_length: int | None = None) -> str:
    """Return which inputs differ, in words, such as ``only pictures that are not square differ``.

    Args:
        side_length: side of the square input in pixels, if known.
    """
    inputs = inputs_of(agreement.modality)
    differing: list[FixedImage | FixedText] = []
    agreeing: list[FixedImage | FixedText] = []
    for id, is_equal in zip(agreement.ids, agreement.is_equal, strict=True):
        (agreeing if is_equal else differing).append(inputs[id])
    noun = "picture" if agreement.modality == IMAGE else "text"
    if not agreeing:
        return f"all {len(differing)} {noun}s differ"
    common = set.intersection(*(set(item.groups(side_length)) for item in differing))
    common -= set().union(*(item.groups(side_length) for item in agreeing))
    for group in differing[0].groups(side_length):
        if group in common:
            return f"only {group} differ"
    names = ", ".join(item.id for item in differing[:N_NAMED]) + (", ..." if len(differing) > N_NAMED else "")
    return f"{len(differing)} of {counted(len(agreement.ids), noun)} differ ({names})"
