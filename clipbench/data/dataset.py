"""A data set: an identity, images that are references until they are needed, and its parts."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int64

from clipbench.data.caption_part import CaptionPart
from clipbench.data.images import ImageRef, check_ids
from clipbench.data.labels import LabelPart, LabelSet, LabelSetPart, SlicePart, TrainingPart
from clipbench.data.modalities import ModalityPart
from clipbench.data.part import DataPart, KeptRows, RowSelection, check_length, check_unicode, take_columns
from clipbench.data.questions import AttackPart, ContrastPart, JudgementPart
from clipbench.errors import DataError, MissingPart, UsageError, data_option, did_you_mean, option
from clipbench.untrusted.reading import is_int64


@dataclass(frozen=True, kw_only=True)
class Dataset(
    LabelSetPart,
    TrainingPart,
    SlicePart,
    LabelPart,
    CaptionPart,
    ContrastPart,
    AttackPart,
    ModalityPart,
    JudgementPart,
):
    """Images with labels, captions, or both.

    A task declares which parts it needs, and a part that the data set lacks is None.

    Example:
        >>> from clipbench import FileImage
        >>> images = [FileImage(Path("cat.png")), FileImage(Path("dog.png"))]
        >>> data = Dataset(
        ...     id="pets", images=images, image_ids=["1", "2"], labels=np.array([0, 1]), class_names=("cat", "dog")
        ... )
        >>> len(data), data.captions is None
        (2, True)
    """

    id: str
    """The name in results, such as ``imagenet`` or ``clothing10/images/test``."""
    images: Sequence[ImageRef]
    image_ids: Sequence[str]
    """One for each image, distinct, by which compared runs pair their samples."""
    has_ids: bool = True
    """False where ids are numbers of rows: then only the position pairs the samples of two runs."""
    revision: str | None = None
    split: str | None = None
    cite: str | None = None
    """Citation for the data, where known."""
    licence: str | None = None
    """Licence of the data, with the condition of a gate; None if unknown."""
    subsets: Mapping[str, str] = field(default_factory=dict)
    """Titles, for readers, of subsets and label sets by their names: ``swap_att`` is ``Attributes swapped``."""
    distractors: "Dataset | None" = None
    """Images without captions that captions search in addition to ``images``."""
    notes: tuple[str, ...] = field(default=())
    """Remarks on what loading left out or guessed."""
    missing: Mapping[str, str] = field(default_factory=dict)
    """Reason why a part is None, where that is known: a task that needs it is then unavailable, not failed."""

    def __repr__(self) -> str:
        if self.modalities is not None and not len(self.images):
            return f"<data {self.id}: {len(self):,} groups of {' and '.join(self.modalities.names)}>"
        parts = ("labels", "right_classes", "multilabels", "captions", "contrasts", "attacks", "judgements")
        names = [name for name in parts if getattr(self, name) is not None]
        return f"<data {self.id}: {len(self):,} images with {' and '.join(names) or 'nothing else'}>"

    def __len__(self) -> int:
        """Return the number of images, or of groups of items that belong together if there are no images."""
        return len(self.images) or (0 if self.modalities is None else self.modalities.n_groups)

    @property
    def gallery(self) -> Sequence[ImageRef]:
        """The images that captions search: first the images of the data, then the distractors."""
        return self.images if self.distractors is None else [*self.images, *self.distractors.images]

    def require(self, *parts: str) -> None:
        """Raise MissingPart unless the data set has all of these, such as ``"labels"`` and ``"class_names"``."""
        for part in parts:
            if getattr(self, part) is None:
                raise MissingPart(self.id, part)

    def why_missing(self, part: str) -> str | None:
        """Return the reason why a part is None, or None if it is not known."""
        if part == "labels" and self.right_classes is not None:
            return "its images have lists of right classes, of none, one or several"
        return self.missing.get(part)

    def take(self, rows: KeptRows) -> "Dataset":
        """Return the data set of some images, in the order of ``rows``, each with all its captions.

        Contrasts stay where all their images do, attacks where the attacked image does, judged queries and documents
        where their image does, if they have one, and items of other modalities where an image that they belong to does.
        If the data has no images, rows are groups of items that belong together.
        """
        return self._take_rows(rows)

    def take_captions(self, rows: KeptRows) -> "Dataset":
        """Return the data set of some captions, in the order of ``rows``, and of the images that have one of them."""
        self.require("captions", "caption_image")
        assert self.caption_image is not None
        return self._take_rows(np.unique(self.caption_image[rows]), rows)

    def _take_rows(self, rows: KeptRows, captions: Int64[np.ndarray, " n_kept_captions"] | None = None) -> "Dataset":
        """Return the data set of some images with some captions, all captions of these images if None."""
        images, groups = (rows, None) if self.modalities is None else self.modalities.rows_of_groups(rows)
        new_image = np.full(len(self.images), -1, np.int64)
        new_image[images] = np.arange(len(images))
        if captions is None:
            owners = np.zeros(0, np.int64) if self.caption_image is None else self.caption_image
            captions = np.flatnonzero(new_image[owners] >= 0)
        selection = RowSelection(images, captions, new_image, groups)
        fields = take_columns(self, ("images", "image_ids"), images)
        for part in PARTS:
            fields |= take_columns(self, part._image_columns, images)
            fields |= take_columns(self, part._caption_columns, captions)
            fields |= part._take(self, selection)
        return replace(self, **fields)

    def whole(self) -> "Dataset":
        """Return the data set of the overall metrics, without the captions that are only for slices."""
        for groups in self.groups.values():
            if groups.has_main:
                return self.take_captions(np.flatnonzero(np.array(groups.values, object) == groups.main))
        return self

    def take_classes(self, label_set: LabelSet) -> "Dataset":
        """Return the data set of the images that belong to a class of a slice, with the slice's classes and
        templates.
        """
        return replace(
            self,
            labels=label_set.labels,
            class_names=label_set.class_names,
            templates=label_set.templates or self.templates,
            label_slices={},
        ).take(np.flatnonzero(label_set.labels >= 0))

    def fingerprint(self, digests: Sequence[str]) -> str:
        """Return a hash of everything that scores depend on: images, ids, labels, names, templates and captions.

        Paths of files do not enter: a copy elsewhere has the same fingerprint.

        Args:
            digests: content hashes of the images of ``gallery``, in order.
        """
        # Written into every result: a change here, or in the order of parts, makes old runs incomparable with new ones.
        texts = [list(digests), list(self.image_ids), *(text for part in PARTS for text in part._texts(self))]
        hasher = hashlib.blake2b(repr(texts).encode(), digest_size=16)
        for part in PARTS:
            for content in part._content(self):
                hasher.update(content)
        if self.distractors is not None:
            hasher.update(repr(list(self.distractors.image_ids)).encode())
        return hasher.hexdigest()

    def unordered_fingerprint(self, digests: Sequence[str]) -> str | None:
        """Return a fingerprint that does not depend on the order of the samples, or None if they have no ids, or
        several modalities.

        Captions without ids are distinguished by their image and their order there, which therefore counts.
        """
        if not self.has_ids or self.modalities is not None:
            return None
        rows = sorted(range(len(self)), key=self.image_ids.__getitem__)
        dataset = self.take(np.array(rows, np.int64))
        if dataset.caption_image is not None:
            owners = dataset.caption_image.tolist()
            ids = [""] * len(owners) if dataset.caption_ids is None else dataset.caption_ids
            by_image = sorted(range(len(owners)), key=lambda row: (owners[row], ids[row]))
            dataset = dataset._take_rows(np.arange(len(rows)), np.array(by_image, np.int64))
        sorted_fields: dict[str, Any] = {}
        for part in PARTS:
            sorted_fields |= part._sort(dataset)
        image_digests, other_digests = [digests[row] for row in rows], digests[len(self.images) :]
        return replace(dataset, **sorted_fields).fingerprint([*image_digests, *other_digests])


PARTS: tuple[type[DataPart], ...] = Dataset.__bases__
"""The parts of a data set, in the order in which a fingerprint has them."""


@dataclass(frozen=True, kw_only=True)
class DataOptions:
    """Options of loading data, the same for every loader."""

    data_root: Path | None = None
    """Folder that holds data sets by name."""
    form: str = "pairs"
    """The form that a task needs (``Task.data_form``): the generated scenes have every form, and "attacks" and
    "training" are made of any images of classes.
    """
    allow_partial: bool = False
    """Leave out samples whose images are missing, and classes without samples, instead of refusing."""
    n_images: int | None = None
    """Number of images that will be used: a part of a data set is enough if it has this number. None for all."""
    options: Mapping[str, str] = field(default_factory=dict)
    """``--data-option key=value`` pairs, such as column names and the split. A loader refuses unknown ones.
    """

    def whole_number(self, name: str, expected: str | None = None, *, minimum: int = 0) -> int | None:
        """Return an option as an integer, or None if unset.

        Raises:
            UsageError: it is not an integer, or below ``minimum``.
        """
        text = self.options.get(name)
        if text is None:
            return None
        if not text.isdecimal() or not is_int64(text) or int(text) < minimum:
            raise UsageError(f"{data_option(**{name: text})}: expected {expected or f'an integer, {minimum} or more'}")
        return int(text)

    def refuse_unknown(self, allowed: Iterable[str], data: str) -> None:
        """Raise UsageError if an option is not among the ``allowed`` ones."""
        names = list(allowed)
        for name in self.options:
            if name not in names:
                raise UsageError(f"data '{data}' has no option '{name}': {did_you_mean(name, names)}")


def without_options(options: DataOptions, *names: str) -> DataOptions:
    """Return the options without some of the ``--data-option`` pairs."""
    return replace(options, options={name: value for name, value in options.options.items() if name not in names})


def check(dataset: Dataset, *, allow_partial: bool = False) -> Dataset:
    """Return the data set if its parts fit together, which the readers of files do not check themselves.

    Raises:
        DataError: it is empty, parts differ in length, an id is repeated, a text is not Unicode, a caption is blank, an
            image has no caption, a label names no class, or (unless ``allow_partial``) a class has no samples.
    """
    if not len(dataset.images) and dataset.modalities is None and dataset.judgements is None:
        raise DataError(f"data set {dataset.id} is empty: expected at least one image")
    check_unicode(dataset.id, "name", [dataset.id])
    check_unicode(dataset.id, "image id", dataset.image_ids)
    check_length(dataset.id, dataset.image_ids, "image ids", dataset.images, "images")
    check_ids(dataset.image_ids, "image id", dataset.id)
    for part in PARTS:
        for field_name, name in part._image_columns.items():
            check_length(dataset.id, getattr(dataset, field_name), name, dataset.images, "images")
        for field_name, name in part._caption_columns.items():
            check_length(dataset.id, getattr(dataset, field_name), name, dataset.captions or (), "captions")
        part._check(dataset)
    _check_captioned(dataset)
    if not allow_partial:
        _check_classes(dataset)
    return dataset


def _check_classes(dataset: Dataset) -> None:
    """Raise DataError if a class has no images."""
    counts, names = dataset._class_counts(), dataset.class_names
    if counts is None or names is None:
        return
    empty = [names[row] for row in np.flatnonzero(counts == 0)]
    if empty:
        raise DataError(
            f"data set {dataset.id} lacks samples of {len(empty)} of its {len(names)} classes, the first"
            f" '{empty[0]}': add images, remove the class, "
            f"or run with {option('allow_partial', True)} to score the others"
        )


def _check_captioned(dataset: Dataset) -> None:
    """Raise DataError if images of captioned data have neither a caption nor a question."""
    if dataset.caption_image is None:
        return
    in_contrasts = [row for contrast in dataset.contrasts or () for row in contrast.images]
    uncaptioned = np.setdiff1d(np.arange(len(dataset.images)), [*dataset.caption_image, *in_contrasts])
    if len(uncaptioned):
        first = dataset.image_ids[uncaptioned[0]]
        raise DataError(f"data set {dataset.id} has {len(uncaptioned)} images without a caption, the first '{first}'")
