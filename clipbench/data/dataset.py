"""A data set: an identity, and a table of samples whose images are references until they are needed."""

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
from jaxtyping import Bool, Int64

from clipbench.data import questions
from clipbench.data.images import ImageRef, check_ids
from clipbench.data.modalities import IMAGE, Modalities, check_modalities
from clipbench.data.questions import Attack, Contrast, Judgements
from clipbench.errors import DataError, MissingPart, UsageError, data_option, did_you_mean, option
from clipbench.untrusted.reading import is_int64

T = TypeVar("T")
LONE_SURROGATE = re.compile("[\ud800-\udfff]")


class LabelSet(NamedTuple):
    """One way to sort a data set's images into classes."""

    labels: Int64[np.ndarray, " n_images"]
    """True class of each image, as a row of ``class_names``."""
    class_names: tuple[str, ...]
    templates: tuple[str, ...] | None = None
    """Prompt templates of its own, such as those in the language of the names; None for the data set's."""


class Groups(NamedTuple):
    """One way to slice a data set, such as by region or by language."""

    values: Sequence[str]
    """The group of each image, or of each caption; empty where it has none."""
    of_captions: bool = False
    main: str | None = None
    """The group of captions that the metrics of all data are of, such as English; None for all captions together."""

    @property
    def has_main(self) -> bool:
        """True where the metrics of all data are of the captions of one group."""
        return self.of_captions and self.main in self.values

    def take(self, rows: Int64[np.ndarray, " n_kept"]) -> "Groups":
        """Return the groups of some images, or captions."""
        return self._replace(values=_picked(self.values, rows))


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """Images with labels, captions, or both.

    A task says which parts it needs; a part that the data set lacks is None.

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
    """One for each image, distinct; compared runs pair their samples by them."""
    has_ids: bool = True
    """False where ids are numbers of rows: then only the position pairs the samples of two runs."""
    revision: str | None = None
    split: str | None = None
    cite: str | None = None
    """Citation for the data, where known."""
    labels: Int64[np.ndarray, " n_images"] | None = None
    """True class of each image, as a row of ``class_names``."""
    is_training: Bool[np.ndarray, " n_images"] | None = None
    """True for the images that a task may train on, which it then does not test; None where they are not told apart."""
    multilabels: Bool[np.ndarray, "n_images n_classes"] | None = None
    """True for each class that holds of the image, where several may."""
    class_names: tuple[str, ...] | None = None
    label_sets: Mapping[str, LabelSet] | None = None
    """Several ways to sort the images into classes, by name; classification is scored for each."""
    subsets: Mapping[str, str] = field(default_factory=dict)
    """Titles, for readers, of subsets and label sets by their names: ``swap_att`` is ``Attributes swapped``."""
    templates: tuple[str, ...] | None = None
    """Prompt templates that come with the data; ``{c}`` stands for the class name."""
    captions: Sequence[str] | None = None
    caption_image: Int64[np.ndarray, " n_captions"] | None = None
    """Row of each caption's image; several captions may share one."""
    caption_ids: Sequence[str] | None = None
    contrasts: Sequence[Contrast] | None = None
    """Questions about a few images and captions at a time."""
    attacks: Sequence[Attack] | None = None
    """Objects with and without written words on them; ``class_names`` holds objects and words."""
    modalities: Modalities | None = None
    """Items of modalities beside images and captions, or in place of them, and their pairs; the items of image and
    text, where it has them, are ``images`` and ``captions``.
    """
    judgements: Judgements | None = None
    """Queries, documents and how relevant a document is to a query; ``images`` holds those of both, and may be
    empty.
    """
    distractors: "Dataset | None" = None
    """Images without captions that captions search beside ``images``."""
    groups: Mapping[str, Groups] = field(default_factory=dict)
    """Ways to slice the data, by name; metrics are given for each slice too. They are no part of the fingerprint."""
    label_slices: Mapping[str, Mapping[str, LabelSet]] = field(default_factory=dict)
    """Ways to slice the data by classes of their own, such as ImageNet's in several languages, by name: the classes of
    each slice, which has only the images that belong to one of them; the label of all others is -1.
    """
    is_slice: bool = False
    """True for a slice of a larger data set: samples and measures are all that is used of its evaluation."""
    notes: tuple[str, ...] = field(default=())
    """Remarks on what loading left out or guessed."""
    missing: Mapping[str, str] = field(default_factory=dict)
    """Reason why a part is None, where that is known: a task that needs it is then unavailable, not failed."""

    def __repr__(self) -> str:
        known = ("labels", "multilabels", "captions", "contrasts", "attacks", "judgements")
        parts = [name for name in known if getattr(self, name) is not None]
        if self.modalities is not None and not len(self.images):
            return f"<data {self.id}: {len(self):,} groups of {' and '.join(self.modalities.names)}>"
        return f"<data {self.id}: {len(self):,} images with {' and '.join(parts) or 'nothing else'}>"

    def __len__(self) -> int:
        """Return the number of images; of data without any, that of groups of items that belong together."""
        return len(self.images) or (0 if self.modalities is None else self.modalities.n_groups)

    @property
    def gallery(self) -> Sequence[ImageRef]:
        """The images that captions search: those of the data, then the distractors."""
        return self.images if self.distractors is None else [*self.images, *self.distractors.images]

    def require(self, *parts: str) -> None:
        """Raise MissingPart unless the data set has all of these, such as ``"labels"`` and ``"class_names"``."""
        for part in parts:
            if getattr(self, part) is None:
                raise MissingPart(self.id, part)

    def take(self, rows: Int64[np.ndarray, " n_kept"]) -> "Dataset":
        """Return the data set of some images, in the order of ``rows``, each with all its captions.

        Contrasts stay where all their images do, attacks where the attacked image does, judged queries and documents
        where their image does, if they have one, and items of other modalities where an image that they belong to does.
        Of data without images, rows are groups of items that belong together.
        """
        if self.modalities is not None:
            is_kept = np.zeros(self.modalities.n_groups, bool)
            is_kept[rows if not len(self.images) else self.modalities.groups[IMAGE][rows]] = True
            modalities = self.modalities.take(is_kept)
            if not len(self.images):
                return replace(self, modalities=modalities)
            rows = np.flatnonzero(is_kept[self.modalities.groups[IMAGE]])
            return replace(replace(self, modalities=None).take(rows), modalities=modalities)
        new_row = np.full(len(self.images), -1, np.int64)
        new_row[rows] = np.arange(len(rows))
        new_rows = {row: number for number, row in enumerate(rows.tolist())}

        def of(labels: Mapping[str, LabelSet]) -> dict[str, LabelSet]:
            return {name: each._replace(labels=each.labels[rows]) for name, each in labels.items()}

        kept = replace(
            self,
            images=_picked(self.images, rows),
            image_ids=_picked(self.image_ids, rows),
            labels=None if self.labels is None else self.labels[rows],
            is_training=None if self.is_training is None else self.is_training[rows],
            multilabels=None if self.multilabels is None else self.multilabels[rows],
            label_sets=None if self.label_sets is None else of(self.label_sets),
            label_slices={name: of(sets) for name, sets in self.label_slices.items()},
            contrasts=None if self.contrasts is None else questions.contrasts_within(self.contrasts, new_rows),
            attacks=None if self.attacks is None else questions.attacks_within(self.attacks, new_rows),
            judgements=None if self.judgements is None else self.judgements.within(new_row),
            groups={name: each if each.of_captions else each.take(rows) for name, each in self.groups.items()},
        )
        if self.caption_image is None:
            return kept
        captions = np.flatnonzero(new_row[self.caption_image] >= 0)
        return replace(kept._with_captions(captions), caption_image=new_row[self.caption_image[captions]])

    def _with_captions(self, rows: Int64[np.ndarray, " n_kept"]) -> "Dataset":
        assert self.captions is not None and self.caption_image is not None
        return replace(
            self,
            captions=_picked(self.captions, rows),
            caption_image=self.caption_image[rows],
            caption_ids=None if self.caption_ids is None else _picked(self.caption_ids, rows),
            groups={name: each.take(rows) if each.of_captions else each for name, each in self.groups.items()},
        )

    def take_captions(self, rows: Int64[np.ndarray, " n_kept"]) -> "Dataset":
        """Return the data set of some captions, in the order of ``rows``, and of the images that have one of them."""
        self.require("captions", "caption_image")
        assert self.caption_image is not None
        return self._with_captions(rows).take(np.unique(self.caption_image[rows]))

    @property
    def main_slice(self) -> str:
        """The slice that the metrics of all data are of, as in ``{language=en}/acc1``; empty where they are of all."""
        return next((f"{{{name}={groups.main}}}/" for name, groups in self.groups.items() if groups.has_main), "")

    def whole(self) -> "Dataset":
        """Return the data set that the metrics of all data are of: without the captions that are for slices alone."""
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
        # Written into every result: a change here makes all old runs incomparable with new ones.
        parts: list[object] = [list(digests), list(self.image_ids), self.class_names, self.templates]
        parts += [list(self.captions or ()), list(self.caption_ids or ())]
        parts += [[tuple(each) for each in items] for items in (self.contrasts, self.attacks) if items is not None]
        hasher = hashlib.blake2b(repr(parts).encode(), digest_size=16)
        for name, label_set in (self.label_sets or {}).items():
            hasher.update(repr((name, label_set.class_names)).encode() + label_set.labels.tobytes())
        if self.is_training is not None:
            hasher.update(b"training" + self.is_training.tobytes())
        if self.main_slice:
            hasher.update(repr(self.main_slice).encode())
        for name, sets in self.label_slices.items():
            for value, (labels, *texts) in sets.items():
                hasher.update(repr((name, value, texts)).encode() + labels.tobytes())
        for array in (self.labels, self.multilabels, self.caption_image):
            hasher.update(b"-" if array is None else np.ascontiguousarray(array).tobytes())
        if self.modalities is not None:
            hasher.update(repr(self.modalities.parts()).encode())
        for part in () if self.judgements is None else self.judgements.content():
            hasher.update(part)
        if self.distractors is not None:
            hasher.update(repr(list(self.distractors.image_ids)).encode())
        return hasher.hexdigest()

    def unordered_fingerprint(self, digests: Sequence[str]) -> str | None:
        """Return a fingerprint that does not depend on the order of the samples; None where they have no ids, or
        several modalities.

        Captions without ids are told by their image and their order there, which therefore counts.
        """
        if not self.has_ids or self.modalities is not None:
            return None
        rows = sorted(range(len(self)), key=self.image_ids.__getitem__)
        dataset = self.take(np.array(rows, np.int64))
        if dataset.caption_image is not None:
            owners, ids = dataset.caption_image.tolist(), dataset.caption_ids
            by_image = sorted(range(len(owners)), key=lambda row: (owners[row], "" if ids is None else ids[row]))
            dataset = dataset._with_captions(np.array(by_image, np.int64))
        if dataset.contrasts is not None:
            dataset = replace(dataset, contrasts=tuple(sorted(dataset.contrasts, key=lambda each: each.id)))
        if dataset.attacks is not None:
            dataset = replace(dataset, attacks=tuple(sorted(dataset.attacks, key=lambda each: each.id)))
        if dataset.judgements is not None:
            dataset = replace(dataset, judgements=dataset.judgements.by_id())
        return dataset.fingerprint([*(digests[row] for row in rows), *digests[len(self.images) :]])

    def caption_names(self) -> list[str]:
        """Return what tells each caption from the others: its own id, or else its image's id and its number there."""
        if self.caption_ids is not None:
            return list(self.caption_ids)
        assert self.caption_image is not None
        seen = np.zeros(len(self), np.int64)
        names = []
        for image in self.caption_image:
            names.append(f"{self.image_ids[image]}#{seen[image]}")
            seen[image] += 1
        return names


def _picked(items: Sequence[T], rows: Int64[np.ndarray, " n_kept"]) -> list[T]:
    return [items[row] for row in rows.tolist()]


@dataclass(frozen=True, kw_only=True)
class DataOptions:
    """Options of loading data; every loader gets the same."""

    data_root: Path | None = None
    """Folder that holds data sets by name."""
    form: str = "pairs"
    """The form that a task asks for (``Task.data_form``): the generated scenes have each, and "attacks" and "training"
    are made of any images of classes.
    """
    allow_partial: bool = False
    """Leave out samples whose images are missing, and classes without samples, instead of refusing."""
    n_images: int | None = None
    """Images that will be used: a part of a data set that has as many is enough. None for all."""
    options: Mapping[str, str] = field(default_factory=dict)
    """``--data-option key=value`` pairs, such as column names and the split; a loader refuses those it does not
    know.
    """

    def whole_number(self, name: str, expected: str = "a whole number", *, least: int = 0) -> int | None:
        """Return an option as a whole number, None where it is not given; raise UsageError where it is no whole number,
        or below ``least``."""
        text = self.options.get(name)
        if text is None:
            return None
        if not text.isdecimal() or not is_int64(text) or int(text) < least:
            raise UsageError(f"{data_option(**{name: text})}: expected {expected}")
        return int(text)

    def refuse_unknown(self, known: Iterable[str], data: str) -> None:
        """Raise UsageError when an option is not among those that the data take."""
        names = list(known)
        for name in self.options:
            if name not in names:
                raise UsageError(f"data '{data}' has no option '{name}': {did_you_mean(name, names)}")


def check(dataset: Dataset, *, allow_partial: bool = False) -> Dataset:
    """Return the data set if its parts fit together; every loader ends with this.

    Raises:
        DataError: it is empty, parts differ in length, an id is repeated, a text is not Unicode, a caption is blank, an
            image has no caption, a label names no class, or (unless ``allow_partial``) a class has no samples.
    """
    if dataset.modalities is not None:
        check_modalities(dataset.modalities, dataset.id)
    if not len(dataset) and dataset.judgements is None:
        raise DataError(f"data set {dataset.id} is empty: expected at least one image")
    _check_lengths(dataset)
    _check_unicode(dataset)
    check_ids(dataset.image_ids, "image id", dataset.id)
    check_ids(dataset.caption_ids or (), "caption id", dataset.id)
    _check_captions(dataset)
    _check_labels(dataset, allow_partial=allow_partial)
    for name, label_set, least in _named_label_sets(dataset):
        _check_range(dataset, label_set, f"'{name}' label", least=least)
    questions.check_contrasts(dataset.contrasts or (), len(dataset), dataset.id)
    questions.check_attacks(dataset.attacks or (), len(dataset), len(dataset.class_names or ()), dataset.id)
    questions.check_judgements(dataset.judgements, len(dataset), dataset.id)
    return dataset


def _check_unicode(dataset: Dataset) -> None:
    """Refuse half a surrogate pair, as JSON and file names may hold: neither a tokenizer nor a result can take it."""
    contrast_captions = [caption for contrast in dataset.contrasts or () for caption in contrast.captions]
    texts = {
        "name": [dataset.id],
        "image id": dataset.image_ids,
        "class name": dataset.class_names or (),
        "template": dataset.templates or (),
        "caption": [*(dataset.captions or ()), *contrast_captions],
        "caption id": dataset.caption_ids or (),
        **({} if dataset.judgements is None else dataset.judgements.strings()),
    }
    for part, strings in texts.items():
        for text in filter(LONE_SURROGATE.search, strings):
            escaped = text.encode(errors="backslashreplace").decode()
            raise DataError(
                f"data set {dataset.id} has the {part} '{escaped}', which is not Unicode text: correct it, or rename"
                " its file or folder"
            )


def _check_lengths(dataset: Dataset) -> None:
    of_images: dict[str, Sequence[object] | np.ndarray | None] = {
        "image ids": dataset.image_ids,
        "labels": dataset.labels,
        "marks of images to train on": dataset.is_training,
        "multilabels": dataset.multilabels,
    }
    of_captions: dict[str, Sequence[object] | np.ndarray | None] = {
        "rows of images": dataset.caption_image,
        "caption ids": dataset.caption_ids,
    }
    for name, groups in dataset.groups.items():
        (of_captions if groups.of_captions else of_images)[f"values of the group '{name}'"] = groups.values
    of_images |= {f"labels in the set '{name}'": each.labels for name, each, _ in _named_label_sets(dataset)}
    for parts, items, of in ((of_images, dataset.images, "images"), (of_captions, dataset.captions or (), "captions")):
        for name, part in parts.items():
            if part is not None and len(part) != len(items):
                raise DataError(f"data set {dataset.id} has {len(part)} {name}, and {len(items)} {of}")


def _named_label_sets(dataset: Dataset) -> list[tuple[str, LabelSet, int]]:
    of_slices = [(value, each, -1) for sets in dataset.label_slices.values() for value, each in sets.items()]
    return [*((name, each, 0) for name, each in (dataset.label_sets or {}).items()), *of_slices]


def _check_captions(dataset: Dataset) -> None:
    if dataset.captions is None or dataset.caption_image is None:
        return
    for caption, image in zip(dataset.captions, dataset.caption_image, strict=True):
        if not 0 <= image < len(dataset):
            raise DataError(f"data set {dataset.id} has a caption of image {image}, expected 0 to {len(dataset) - 1}")
        if not caption.strip():
            raise DataError(f"data set {dataset.id} has an empty caption for image '{dataset.image_ids[image]}'")
    in_contrasts = [row for contrast in dataset.contrasts or () for row in contrast.images]
    uncaptioned = np.setdiff1d(np.arange(len(dataset)), [*dataset.caption_image, *in_contrasts])
    if len(uncaptioned):
        first = dataset.image_ids[uncaptioned[0]]
        raise DataError(f"data set {dataset.id} has {len(uncaptioned)} images without a caption, the first '{first}'")


def _check_labels(dataset: Dataset, *, allow_partial: bool) -> None:
    if dataset.class_names is None:
        return
    n_classes = len(dataset.class_names)
    n_labels = n_classes if dataset.multilabels is None else dataset.multilabels.shape[1]
    if n_labels != n_classes:
        raise DataError(f"data set {dataset.id} has labels for {n_labels} classes, and {n_classes} class names")
    if dataset.labels is not None:
        _check_range(dataset, LabelSet(dataset.labels, dataset.class_names), "label")
        counts = np.bincount(dataset.labels, minlength=n_classes)
    elif dataset.multilabels is not None:
        counts = dataset.multilabels.sum(axis=0)
    else:
        return
    empty = [dataset.class_names[c] for c in np.flatnonzero(counts == 0)]
    if empty and not allow_partial:
        raise DataError(
            f"data set {dataset.id} lacks samples of {len(empty)} of its {n_classes} classes, the first '{empty[0]}':"
            f" add images, drop the class, or run with {option('allow_partial', True)} to score the others"
        )


def _check_range(dataset: Dataset, label_set: LabelSet, what: str, *, least: int = 0) -> None:
    labels, n_classes = label_set.labels, len(label_set.class_names)
    out_of_range = np.flatnonzero((labels < least) | (labels >= n_classes))
    if len(out_of_range):
        row = out_of_range[0]
        raise DataError(
            f"data set {dataset.id}: image '{dataset.image_ids[row]}' has {what} {labels[row]},"
            f" expected 0 to {n_classes - 1} ({n_classes} class names)"
        )
