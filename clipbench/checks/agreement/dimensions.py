"""Two sides whose vectors have other dimensions: is it another space, or does one side lack its last step?"""

from collections.abc import Iterator

import numpy as np

from clipbench.checks.agreement.sides import ComparedSide, Rows, cosines
from clipbench.data.modalities import IMAGE, TEXT
from clipbench.errors import ModelError
from clipbench.models.introspection.tower_outputs import projection_matrices

NEAR = 1e-3
"""Median distance of cosines from 1 up to which a step of one side makes its vectors of the other's."""


def check_dimensions(first: ComparedSide, second: ComparedSide) -> None:
    """Raise ModelError if vectors of two sides cannot be compared, with the missing step if one is found."""
    if first.dim == second.dim:
        return
    sizes = f"{first.name} gives vectors of dimension {first.dim}, and {second.name} {second.dim}"
    step = next(_missing_steps(first, second), None)
    if step is not None:
        raise ModelError(f"{sizes}: {step}")
    raise ModelError(
        f"{sizes}: the vectors are of different spaces, and no setting turns one into the other."
        f" Check that both have the same"
        " weights, and that both give the projected embedding"
    )


def _missing_steps(first: ComparedSide, second: ComparedSide) -> Iterator[str]:
    """Yield the step of one side that turns the other side's vectors into its own."""
    for side, other in ((first, second), (second, first)):
        for modality in (IMAGE, TEXT):
            one, two = (candidate.encoded[modality] for candidate in (side, other))
            ids = [id for id in one.ids if id in two.ids]
            rows = one.rows([one.ids.index(id) for id in ids])
            other_rows = two.rows([two.ids.index(id) for id in ids])
            if other.dim < side.dim and _is_near(rows[:, : other.dim], other_rows):
                yield f"{other.name} gives only the first {other.dim} numbers of the vectors of {side.name}"
            for name, projected in _projections(side, other_rows):
                if _is_near(projected, rows):
                    yield (
                        f"{other.name} lacks the projection. {name} of {side.name} turns its vectors of"
                        f" {modality}s into the embeddings: return the projected vectors"
                    )


def _projections(side: ComparedSide, vectors: Rows) -> Iterator[tuple[str, Rows]]:
    """Yield vectors after each matrix of a side that fits."""
    if side.parts.module is None:
        return
    for name, matrix in projection_matrices(side.parts.module, vectors.shape[1], side.dim).items():
        yield name, np.asarray(vectors @ matrix.cpu().numpy(), np.float32)


def _is_near(rows: Rows, target: Rows) -> bool:
    has_direction = bool(rows.any(axis=1).all())
    return has_direction and float(np.median(1 - cosines(rows, target))) <= NEAR
