"""Checks of vectors: finite, distinct, and true pairs nearer than shuffled ones."""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Float

from clipbench.checks.check import Check, CheckOutcome, NotExamined, fault, healthy, warning
from clipbench.checks.pairs import MIN_PAIRS, Pairs, margins, shuffle_test
from clipbench.checks.subject import Subject
from clipbench.metrics.similarity import unit
from clipbench.models import probes as probing
from clipbench.models.facts.modules import untrained_towers
from clipbench.results.numbers import counted

MAX_P = 0.01
"""Share of shuffles that may reach the true pairs' margin."""
EQUAL = 1e-6
"""Distance of unit vectors below which they are one."""
N_SHIFTS = 8
"""Rows by which texts are tried shifted, both ways."""
FOUND_AGAIN = 4.0
"""Margin of a shifted pairing, in standard errors above 0, that names it."""


def vectors(subject: Subject) -> CheckOutcome:
    """Look for vectors that are not finite, zero, all equal, or equal for different inputs."""
    for kind, rows, names in _inputs(subject):
        bad = ~np.isfinite(rows).all(axis=1)
        zero = ~rows.any(axis=1)
        for flags, what in ((bad, "not finite"), (zero, "zero")):
            if flags.any():
                first = names[int(np.flatnonzero(flags)[0])]
                return fault(
                    f"{int(flags.sum())} of {len(rows)} {kind} have a vector that is {what}, the first '{first}'",
                    "encode in fp32, and look for overflow or an empty text",
                )
        groups = _equal_rows(rows)
        if len(groups) == 1 and len(rows) > 1:
            return fault(f"all {len(rows)} {kind} have the same vector", "see whether the tower gets its input at all")
        twice = next((group for group in groups if len(group) > 1), None)
        if twice is not None and not subject.encodes:
            return warning(
                f"{len(rows) - len(groups)} of {len(rows)} {kind} have the vector of another: '{names[twice[0]]}' and"
                f" '{names[twice[1]]}'",
                "see whether these are the same image or text, or a cache that answers for another",
            )
        if twice is not None:
            return fault(
                f"different {kind} have the same vector: '{names[twice[0]]}' and '{names[twice[1]]}'",
                "see whether tokens or pixels are lost on the way to the tower",
            )
    return healthy("vectors are finite, not zero, and differ where inputs differ")


def pairs(subject: Subject) -> CheckOutcome:
    """Compare the cosines of true pairs with those of shuffled ones."""
    if subject.encodes and subject.parts.module is not None and untrained_towers(subject.parts.module):
        raise NotExamined("nothing was learned that could tell pairs (see weights)")
    found = subject.pairs
    if len(found.truth) < MIN_PAIRS:
        raise NotExamined(f"{len(found.truth)} pairs are too few to tell: expected {MIN_PAIRS} or more")
    if min(len(_equal_rows(found.image_vectors)), len(_equal_rows(found.text_vectors))) == 1:
        raise NotExamined("all vectors are equal (see vectors)")
    test = shuffle_test(found)
    margin = f"true pairs of {found.source} stand out by {test.margin:.2f} standard deviations"
    if test.p_value <= MAX_P:
        return healthy(f"{margin} (p {test.p_value:.3f} against shuffled pairs)")
    seen = f"{margin}, no more than shuffled ones (p {test.p_value:.2f})"
    again = next(_other_pairings(found), None)
    if again is not None:
        return fault(
            f"{seen}; but {again}", "bring images and texts into one order (text_to_image in a file of vectors)"
        )
    mend = "see whether both towers are of one model, were trained, and whether texts belong to these images"
    if not found.is_own:
        mend += "; for a model of another language or domain, give captioned images of its own with --data"
    return fault(seen, mend)


def _inputs(subject: Subject) -> Iterator[tuple[str, Float[np.ndarray, "n dim"], list[str]]]:
    """Yield vectors of inputs that all differ, with the names of the inputs."""
    if subject.encodes:
        images = [f"probe image {number}" for number in range(len(probing.SIZES))]
        yield "images", subject.probes.images, images
        yield "texts", subject.probes.texts, list(probing.TEXTS)
        return
    found, dataset = subject.pairs, subject.dataset
    assert dataset is not None
    yield "images", found.image_vectors, list(dataset.image_ids[: len(found.image_vectors)])
    yield "texts", found.text_vectors, [f"text {row}" for row in range(len(found.text_vectors))]


def _equal_rows(rows: Float[np.ndarray, "n dim"]) -> list[list[int]]:
    """Return the rows that have the same direction, in groups."""
    directions = np.round(unit(rows) / EQUAL).astype(np.int64)
    groups: dict[bytes, list[int]] = {}
    for row, direction in enumerate(directions):
        groups.setdefault(direction.tobytes(), []).append(row)
    return list(groups.values())


def _other_pairings(found: Pairs) -> Iterator[str]:
    """Yield the pairings, other than the given one, in which texts do stand out: shifted, or from last to first."""
    n = len(found.truth)
    if n != len(found.text_vectors):
        return
    shifts = [shift for size in range(1, N_SHIFTS + 1) for shift in (size, -size)]
    tried = {f"the text of each image stands {_rows(shift)} it": (found.truth + shift) % n for shift in shifts}
    tried["the texts stand in the reverse order of the images"] = found.truth[::-1]
    for name, truth in tried.items():
        standing = margins(found.image_vectors, found.text_vectors, truth)
        error = float(standing.std(ddof=1)) / np.sqrt(n)
        if error > 0 and standing.mean() / error > FOUND_AGAIN and standing.mean() > 0.5:
            yield name


def _rows(shift: int) -> str:
    return f"{counted(abs(shift), 'row')} {'below' if shift > 0 else 'above'}"


VECTORS = (
    Check(
        name="vectors",
        why="A vector that is not finite or zero has no direction; one vector for all scores chance.",
        examine=vectors,
        is_quick=True,
        needs_model=False,
    ),
)

PAIRS = (
    Check(
        name="pairs",
        why="If true pairs are no nearer than shuffled ones, no score of retrieval or zero-shot can be above chance.",
        examine=pairs,
        needs_model=False,
    ),
)
