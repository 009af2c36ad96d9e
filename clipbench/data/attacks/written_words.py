"""Words written onto the images of any classification set: each image as it is, and with three overlays.

An overlay is drawn as in the generated scenes, in the middle of the central square that models crop, and measured in
widths of that square. The image without an overlay is the data set's own, so that its vector is shared with zero-shot
classification.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from PIL import Image

from clipbench.data.dataset import Dataset, check
from clipbench.data.images import Examined, ImageRef, content_digest, examine
from clipbench.data.questions import Attack
from clipbench.data.scenes.drawing import missing_characters, paint_writing
from clipbench.data.scenes.scene_questions import OVERLAY_FONT, PLAIN_OVERLAY, Overlay, varied_attacks
from clipbench.data.scenes.world import Writing
from clipbench.data.subset import random_subset
from clipbench.errors import BadImage, DataError, data_option
from clipbench.seeding import Sampler, generator
from clipbench.untrusted.limits import too_many_resized

N_WRITTEN_IMAGES = 500
"""Default number of images to write on."""
VERSION = 1
"""Part of each digest, raised whenever the same words would be drawn differently."""
SMALLEST_SIDE = 224
"""Pixels to which smaller images are enlarged first, as models do: letters three pixels high could not be read."""


@dataclass(frozen=True)
class WrittenImage:
    """An image with an overlay, drawn when it is opened, as an ImageRef."""

    base: ImageRef
    writing: Writing

    @property
    def name(self) -> str:
        overlay = "a blank overlay" if self.writing.is_blank else f"the overlay '{self.writing.word}'"
        return f"{self.base.name} with {overlay}"

    def digest(self) -> str:
        """Return a hash of the image's own digest and of everything that decides how the overlay looks."""
        return content_digest(repr((VERSION, self.base.digest(), self.writing)).encode())

    def examine(self) -> Examined:
        """Return that hash. Notes about the image's own pixels are made for the image without an overlay."""
        return Examined(self.digest(), examine(self.base).reading._replace(remarks=()))

    def open(self) -> Image.Image:
        image = self.base.open().convert("RGB")  # always a copy: the next user of the image has it without
        enlarged = SMALLEST_SIDE / min(image.size)
        if enlarged > 1:
            if fault := too_many_resized(*image.size, SMALLEST_SIDE):
                raise BadImage(self.base.name, fault)
            image = image.resize([round(side * enlarged) for side in image.size], Image.Resampling.BICUBIC)
        side = min(image.size)
        left, top = (image.width - side) // 2, (image.height - side) // 2
        canvas = np.array(image.crop((left, top, left + side, top + side)), np.float32)
        paint_writing(canvas, self.writing)
        canvas += 0.5
        np.clip(canvas, 0, 255, out=canvas)  # in place: the canvas of a large image takes a gigabyte
        image.paste(Image.fromarray(canvas.astype(np.uint8)), (left, top))
        return image


class _BaseImage:
    """An image that is read for its digest once, which each of up to 18 overlays on it needs."""

    def __init__(self, image: ImageRef) -> None:
        self.name, self.open, self._image = image.name, image.open, image

    @cached_property
    def _examined(self) -> Examined:
        return examine(self._image)

    def digest(self) -> str:
        return self._examined.digest

    def examine(self) -> Examined:
        return self._examined


def with_written_words(dataset: Dataset, *, n: int = N_WRITTEN_IMAGES) -> Dataset:
    """Return attacks on a stratified subset of ``n`` images of a labelled data set, one in four of them in 18 ways.

    The attacking word is the name of another class, drawn only from the image's id, so it does not depend on n.

    Raises:
        MissingPart: the data set has no labels or no class names.
        DataError: the classes have fewer than two different names, or the font lacks characters of a name.
    """
    dataset.require("labels", "class_names")
    _check_names(dataset)
    chosen = random_subset(dataset, n, generator(0, "written words", dataset.id))
    assert chosen.labels is not None and chosen.class_names is not None
    names = chosen.class_names
    other_classes = _other_classes(names)
    images, ids = list(chosen.images), list(chosen.image_ids)  # each written image is added to these
    bases = [_BaseImage(image) for image in chosen.images]

    def write(row: int, writing: Writing, suffix: str) -> int:
        images.append(WrittenImage(bases[row], writing))
        ids.append(f"{ids[row]}|{suffix}")
        return len(images) - 1

    def draw(row: int, overlay: Overlay, condition: str) -> int:
        return write(row, overlay.writing(names[plain[row].word]), condition)

    plain = []
    for row, (id, label) in enumerate(zip(chosen.image_ids, chosen.labels.tolist(), strict=True)):
        word = Sampler("written word", id).one_of(other_classes[label])
        attacking = PLAIN_OVERLAY.writing(names[word])
        blank = write(row, replace(attacking, is_blank=True), "blank")
        benign = write(row, PLAIN_OVERLAY.writing(names[label]), "benign")
        attacked = write(row, attacking, "attacked")
        plain.append(Attack(id, label, word, attacked, row, blank, benign, object=id))
    written = Dataset(
        id=chosen.id,
        revision=chosen.revision,
        split=chosen.split,
        cite=chosen.cite,
        licence=chosen.licence,
        attacks=[*plain, *varied_attacks(plain, draw, "|")],
        images=images,
        image_ids=ids,
        has_ids=chosen.has_ids,
        class_names=names,
        templates=chosen.templates,
        notes=(*chosen.notes, f"words were written onto {len(plain)} images by the built-in renderer {VERSION}"),
    )
    return check(written)


def _other_classes(names: Sequence[str]) -> list[list[int]]:
    """Return, for each class, the first class of every other name: two classes may share a name, as in ImageNet."""
    firsts: dict[str, int] = {}
    for row, name in enumerate(names):
        firsts.setdefault(name.casefold(), row)
    other_classes = []
    for name in names:
        other_classes.append([row for folded, row in firsts.items() if folded != name.casefold()])
    return other_classes


def _check_names(dataset: Dataset) -> None:
    names = dataset.class_names or ()
    if len({name.casefold() for name in names}) < 2:
        raise DataError(f"data set {dataset.id} has {len(names)} class: an attack needs the name of another one")
    for name in names:
        letters = missing_characters(name, OVERLAY_FONT)
        if letters:
            raise DataError(
                f"data set {dataset.id}: the built-in font cannot write '{letters}' of the class name '{name}': give"
                f" names that it can write with {data_option(class_names='FILE')}"
            )
