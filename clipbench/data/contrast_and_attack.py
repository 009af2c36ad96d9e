"""Contrasts (a few images and captions, some of which match) and attacks (an image with a misleading written word)."""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool

from clipbench.errors import DataError


class Contrast(NamedTuple):
    """A few images and captions, and which caption is true of which image.

    In SugarCrepe an item is one image with a true and a false caption, in Winoground two of each, in NLVR one caption
    with several images; reading a written word is a choice among captions that quote one word each.

    Example:
        >>> Contrast("7", "swap_att", (3,), ("a red cube", "a blue cube"), ((True, False),)).truth.shape
        (1, 2)
    """

    id: str
    """Distinct within a data set."""
    subset: str
    """The kind of difference between true and false, such as ``swap_att``; each subset has scores of its own."""
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
    """One object in up to four images: without a label, with a blank one, with its own name, and with a wrong name."""

    id: str
    """Distinct within a data set."""
    label: int
    """Class of the object, as a row of the data set's class names."""
    word: int
    """Class that the attacking label names, as a row of the class names; not ``label``."""
    attacked: int
    """Row of the data set's images; so are ``clean``, ``blank`` and ``benign``."""
    clean: int | None = None
    blank: int | None = None
    benign: int | None = None
    condition: str = ""
    """Style of the label, such as ``height=0.1``, in data that vary it; "" for the data set's one style."""
    object: str | None = None
    """Name of the object: attacks on one object are one cluster, not independent samples. None where each has its own."""

    @property
    def images(self) -> tuple[int, ...]:
        """Rows of the images that exist, the attacked one first."""
        return tuple(row for row in (self.attacked, self.clean, self.blank, self.benign) if row is not None)


def contrasts_within(contrasts: Iterable[Contrast], new_rows: Mapping[int, int]) -> tuple[Contrast, ...]:
    """Return the contrasts all of whose images are kept, with their new rows.

    Args:
        new_rows: old row to new row, of the images that are kept.
    """
    return tuple(
        contrast._replace(images=tuple(new_rows[row] for row in contrast.images))
        for contrast in contrasts
        if all(row in new_rows for row in contrast.images)
    )


def attacks_within(attacks: Iterable[Attack], new_rows: Mapping[int, int]) -> tuple[Attack, ...]:
    """Return the attacks whose attacked image is kept, with the new rows of those of its other images that are."""
    within = []
    for attack in attacks:
        if attack.attacked in new_rows:
            clean, blank, benign = (
                None if row is None else new_rows.get(row) for row in (attack.clean, attack.blank, attack.benign)
            )
            within.append(attack._replace(attacked=new_rows[attack.attacked], clean=clean, blank=blank, benign=benign))
    return tuple(within)


def check_contrasts(contrasts: Sequence[Contrast], n_images: int, data: str) -> None:
    """Raise DataError unless each contrast has an id of its own, existing images, and both a true and a false pair."""
    _check_ids(contrasts, data)
    for contrast in contrasts:
        item = f"data set {data}: item '{contrast.id}'"
        if not contrast.images or min(contrast.images) < 0 or max(contrast.images) >= n_images:
            raise DataError(f"{item} has the images {contrast.images}, expected rows from 0 to {n_images - 1}")
        widths = {len(row) for row in contrast.is_true}
        if len(contrast.is_true) != len(contrast.images) or widths != {len(contrast.captions)}:
            raise DataError(f"{item} does not say of each image and caption whether they belong together")
        if not all(caption.strip() for caption in contrast.captions):
            raise DataError(f"{item} has an empty caption")
        if contrast.truth.all() or not contrast.truth.any():
            raise DataError(f"{item} has nothing to choose: expected something true and something false")


def check_attacks(attacks: Sequence[Attack], n_images: int, n_classes: int, data: str) -> None:
    """Raise DataError unless each attack has existing images and a word that names another class than its object."""
    _check_ids(attacks, data)
    for attack in attacks:
        item = f"data set {data}: item '{attack.id}'"
        if min(attack.images) < 0 or max(attack.images) >= n_images:
            raise DataError(f"{item} has the images {attack.images}, expected rows from 0 to {n_images - 1}")
        if not (0 <= attack.label < n_classes and 0 <= attack.word < n_classes):
            raise DataError(f"{item} has the classes {attack.label} and {attack.word}, expected 0 to {n_classes - 1}")
        if attack.label == attack.word:
            raise DataError(f"{item} is attacked by its own name: expected the name of another class")


def _check_ids(items: Sequence[Contrast] | Sequence[Attack], data: str) -> None:
    seen: set[str] = set()
    for item in items:
        if item.id in seen:
            raise DataError(f"data set {data} has the item '{item.id}' twice: ids must be distinct")
        seen.add(item.id)
