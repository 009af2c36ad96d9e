"""The captions of a data set's images: a part of it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
from jaxtyping import Int64

from clipbench.data.images import check_ids
from clipbench.data.part import DataPart, Fields, LimitedFields, RowSelection, array_bytes, check_unicode, sample
from clipbench.errors import DataError


class CaptionBeginnings(NamedTuple):
    """The beginnings of a caption that vectors are held of, short to long, the whole caption last."""

    texts: tuple[str, ...]
    tokens: tuple[int, ...]
    """Number of tokens that the caption was cut to, ascending; of the last, the tokens of the whole caption."""


@dataclass(frozen=True, kw_only=True)
class CaptionPart(DataPart):
    """Captions, of any length, and the image that each describes."""

    _caption_columns = MappingProxyType(
        {
            "captions": "captions",
            "caption_image": "rows of images",
            "caption_ids": "caption ids",
            "caption_beginnings": "beginnings of captions",
        }
    )

    captions: Sequence[str] | None = None
    caption_image: Int64[np.ndarray, " n_captions"] | None = None
    """Row of each caption's image, which several captions may share."""
    caption_ids: Sequence[str] | None = None
    caption_beginnings: Sequence[CaptionBeginnings] | None = None
    """None where the model can encode the beginning of a caption."""

    def caption_names(self) -> list[str]:
        """Return a distinct name for each caption: its id, or its image's id and its number among the captions of the
        image.
        """
        if self.caption_ids is not None:
            return list(self.caption_ids)
        assert self.caption_image is not None
        n_seen = np.zeros(len(self.images), np.int64)
        names = []
        for image in self.caption_image:
            names.append(f"{self.image_ids[image]}#{n_seen[image]}")
            n_seen[image] += 1
        return names

    def _take(self, selection: RowSelection) -> Fields:
        if self.caption_image is None:
            return {}
        return {"caption_image": selection.new_image[self.caption_image[selection.captions]]}

    def _texts(self) -> list[object]:
        beginnings = [] if self.caption_beginnings is None else [[tuple(held) for held in self.caption_beginnings]]
        return [list(self.captions or ()), list(self.caption_ids or ()), *beginnings]

    def _content(self) -> Iterable[bytes]:
        return (array_bytes(self.caption_image),)

    def _check(self) -> None:
        check_unicode(self.id, "caption", self.captions or ())
        check_unicode(self.id, "caption id", self.caption_ids or ())
        check_ids(self.caption_ids or (), "caption id", self.id)
        if self.captions is None or self.caption_image is None:
            return
        for caption, image in zip(self.captions, self.caption_image, strict=True):
            if not 0 <= image < len(self.images):
                raise DataError(
                    f"data set {self.id} has a caption with the image index {image}, expected 0 to"
                    f" {len(self.images) - 1}"
                )
            if not caption.strip():
                raise DataError(f"data set {self.id} has an empty caption for image '{self.image_ids[image]}'")

    def _limit(self, n: int, rng: np.random.Generator) -> LimitedFields:
        """Return n of the images that have captions."""
        captioned = [] if self.caption_image is None else np.unique(self.caption_image).tolist()
        return {}, sample(captioned, n, rng)
