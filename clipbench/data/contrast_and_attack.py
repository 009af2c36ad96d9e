"""Questions that are asked of a few images and texts at a time: contrasts, and attacks by a written word."""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool

from clipbench.errors import DataError


class Contrast(NamedTuple):
    """A few images and captions, and which caption is true of which image.

    SugarCrepe's item is one image with a true and a false caption, Winoground's two of each, a sentence of NLVR one
    caption with several images; to read a written word is to choose among captions that quote one each.

    Example:
        >>> Contrast("7", "swap_att", (3,), ("a red cube", "a blue cube"), ((True, False),)).truth.shape
        (1, 2)
    """

    id: str
    """Distinct within a data set."""
    subset: str
    """What is contrasted, such as ``swap_att``; scores are kept apart by subset."""
    images: tuple[int, ...]
    """Rows of the data set's images."""
    captions: tuple[str, ...]
    is_true: tuple[tuple[bool, ...], ...]
    """A row for each image, a column for each caption."""
    group: str | None = None
    """Items of one group, such as a relation, are averaged first where a published score is a mean of means."""

    @property
    def truth(self) -> Bool[np.ndarray, "n_images n_captions"]:
        """``is_true`` as an array."""
        return np.array(self.is_true, bool).reshape(len(self.images), len(self.captions))


class Attack(NamedTuple):
    """One object in up to four images: as it is, and with a label that is blank, names it, or names something else."""

    id: str
    """Distinct within a data set."""
    label: int
    """Row of the data set's class names: what the object is."""
    word: int
    """Row of the class names: what the attacking label says; not ``label``."""
    attacked: int
    """Row of the data set's images, as the others are."""
    clean: int | None = None
    blank: int | None = None
    benign: int | None = None
    condition: str = ""
    """How the label is written, such as ``height=0.1``, where that is varied; "" for the data set's one way."""
    object: str | None = None
    """Attacks on one object are no independent samples: they are one cluster. None where each has its own."""

    @property
    def images(self) -> tuple[int, ...]:
        """Return the rows of the images that there are."""
        return tuple(row for row in (self.attacked, self.clean, self.blank, self.benign) if row is not None)


def contrasts_within(contrasts: Iterable[Contrast], place: Mapping[int, int]) -> tuple[Contrast, ...]:
    """Return the contrasts all of whose images are kept, with their new rows.

    Args:
        place: old row to new row, of the images that are kept.
    """
    return tuple(
        each._replace(images=tuple(place[row] for row in each.images))
        for each in contrasts
        if all(row in place for row in each.images)
    )


def attacks_within(attacks: Iterable[Attack], place: Mapping[int, int]) -> tuple[Attack, ...]:
    """Return the attacks whose attacked image is kept, with the new rows of whatever else is kept of them."""
    kept = []
    for each in attacks:
        if each.attacked in place:
            clean, blank, benign = (
                None if row is None else place.get(row) for row in (each.clean, each.blank, each.benign)
            )
            kept.append(each._replace(attacked=place[each.attacked], clean=clean, blank=blank, benign=benign))
    return tuple(kept)


def check_contrasts(contrasts: Sequence[Contrast], n_images: int, data: str) -> None:
    """Raise DataError unless each contrast is a question: distinct, of images that are there, with true and false."""
    _check_ids(contrasts, data)
    for each in contrasts:
        what = f"data set {data}: item '{each.id}'"
        if not each.images or min(each.images) < 0 or max(each.images) >= n_images:
            raise DataError(f"{what} has the images {each.images}, expected rows from 0 to {n_images - 1}")
        shape = {len(row) for row in each.is_true}
        if len(each.is_true) != len(each.images) or shape != {len(each.captions)}:
            raise DataError(f"{what} does not say of each image and caption whether they belong together")
        if not all(caption.strip() for caption in each.captions):
            raise DataError(f"{what} has an empty caption")
        if each.truth.all() or not each.truth.any():
            raise DataError(f"{what} has nothing to choose: expected something true and something false")


def check_attacks(attacks: Sequence[Attack], n_images: int, n_classes: int, data: str) -> None:
    """Raise DataError unless each attack's images are there and its word is another class than its object."""
    _check_ids(attacks, data)
    for each in attacks:
        what = f"data set {data}: item '{each.id}'"
        if min(each.images) < 0 or max(each.images) >= n_images:
            raise DataError(f"{what} has the images {each.images}, expected rows from 0 to {n_images - 1}")
        if not (0 <= each.label < n_classes and 0 <= each.word < n_classes):
            raise DataError(f"{what} has the classes {each.label} and {each.word}, expected 0 to {n_classes - 1}")
        if each.label == each.word:
            raise DataError(f"{what} is attacked by its own name: expected the name of another class")


def _check_ids(items: Sequence[Contrast] | Sequence[Attack], data: str) -> None:
    seen: set[str] = set()
    for each in items:
        if each.id in seen:
            raise DataError(f"data set {data} has the item '{each.id}' twice: ids must be distinct")
        seen.add(each.id)
