"""Long captions: does the model find their images, and how much of such a caption does it use?

Retrieval on the captions as they are, cut by the model where needed; recall@1 by the tokens kept, and the effective
length (``tokens_kept``); the captions that are longer than the window; and the same fact stated early, in the middle,
late or beyond the window (``position_probe``).
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from jaxtyping import Int64

from clipbench.data import Dataset
from clipbench.errors import NoTokenCounts, UsageError
from clipbench.evaluation.task import Evaluation
from clipbench.models.protocol import Embedder
from clipbench_tasks.long_caption.position_probe import probe
from clipbench_tasks.long_caption.prefixes import Prefixes
from clipbench_tasks.long_caption.tokens_kept import tokens_kept, undefined
from clipbench_tasks.retrieval import Retrieval
from clipbench_tasks.tables import stacked


@dataclass(frozen=True)
class LongCaption:
    """Retrieval with long captions, whole and cut to growing lengths, and the position probe."""

    name: ClassVar[str] = "long-caption"
    version: ClassVar[int] = 1
    summary: ClassVar[str] = "recall on long captions against the tokens kept, effective length, position of a fact"
    needs_model: ClassVar[bool] = True
    question: ClassVar[str] = (
        "Captions of a paragraph search for their image, whole and cut to fewer and fewer tokens; and one fact is stated "
        "early in a paragraph, in the middle, late, and beyond the model's context: how much of a caption counts?"
    )
    scoring: ClassVar[str] = (
        "The effective length is the number of tokens with which R@1 reaches most of that of the whole captions, 95 % unless "
        "another share was set. In the position probe the true one of two captions has to score higher; a tie scores what a coin flip would."
    )

    ks: tuple[int, ...] = (1, 5, 10)
    tokens: tuple[int, ...] = (5, 10, 15, 20, 30, 40, 60, 77, 100, 125, 150, 200, 248, 350, 512)
    """Numbers of tokens to keep, as far as the model's context and the longest caption go."""
    share: float = 0.95
    """Share of the whole captions' recall that the effective length must reach."""

    def __post_init__(self) -> None:
        for name, numbers in (("ks", self.ks), ("tokens", self.tokens)):
            if not numbers or min(numbers) < 1:
                raise UsageError(f"task long-caption: {name} = {list(numbers)}, expected numbers from 1 up")
        if not 0 < self.share < 1:
            raise UsageError(f"task long-caption: share = {self.share}, expected a fraction between 0 and 1")

    def evaluate(self, dataset: Dataset, embedder: Embedder, rng: np.random.Generator) -> Evaluation:
        """Return a row a query and a row an item of the position probe. Needs captions.

        Images that only the probe uses are not part of the gallery.
        """
        dataset.require("captions", "caption_image")
        assert dataset.caption_image is not None
        captioned = np.unique(dataset.caption_image)
        gallery = replace(dataset.take(captioned), labels=None)
        whole = Retrieval(ks=self.ks).evaluate(gallery, embedder, rng)
        try:
            prefixes = Prefixes(list(gallery.captions or ()), embedder.count_tokens)
            cut = tokens_kept(gallery, embedder, prefixes=prefixes, tokens=self.tokens, share=self.share)
            probed = probe(dataset, embedder, rng, count=embedder.count_tokens)
        except NoTokenCounts as error:
            cut, probed = (
                undefined(str(error), share=self.share),
                probe(dataset, embedder, rng, count=None, reason=str(error)),
            )
        queries = {**whole.samples, **_rows_of_data(whole.samples, captioned)}
        queries |= _placed(cut.samples, queries["direction"])
        return Evaluation(
            samples=stacked(queries, probed.samples),
            measures={**whole.measures, **cut.measures, **probed.measures},
            curves={**whole.curves, **cut.curves, **probed.curves},
            controls={**whole.controls, **cut.controls, **probed.controls},
            arrays=whole.arrays,
            neighbours={**whole.neighbours, **_rows_of_data(whole.neighbours, captioned)},
            notes=(*cut.notes, *probed.notes),
            subsets=probed.subsets,
        )


def _rows_of_data(
    samples: Mapping[str, np.ndarray], captioned: Int64[np.ndarray, " n_captioned"]
) -> dict[str, np.ndarray]:
    """Return the columns of image rows, with rows of the data set instead of the gallery's; -1 (no image) stays."""
    images = [name for name in samples if name == "image" or name.endswith("_image")]
    rows = np.append(captioned, -1)
    return {name: rows[samples[name]] for name in images}


def _placed(columns: Mapping[str, np.ndarray], direction: np.ndarray) -> dict[str, np.ndarray]:
    """Return columns ``DIRECTION/NAME`` of one direction's queries, with NaN for the other rows."""
    placed = {}
    for name, values in columns.items():
        placed[name] = np.full(len(direction), np.nan)
        placed[name][direction == name.partition("/")[0]] = values
    return placed
