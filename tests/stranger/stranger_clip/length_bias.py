"""Does a model like long captions better, whatever they say?"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from clipbench.data.dataset import Dataset
from clipbench.evaluation.task import Evaluation
from clipbench.metrics.similarity import unit
from clipbench.models.protocol import Embedder
from clipbench.stats.measures import Mean


@dataclass(frozen=True)
class LengthBias:
    """How often the longest caption of another image beats an image's own."""

    name: ClassVar[str] = "length-bias"
    version: ClassVar[int] = 1
    summary: ClassVar[str] = "how often the longest of all captions beats an image's own"

    def evaluate(self, dataset: Dataset, embedder: Embedder, rng: np.random.Generator) -> Evaluation:
        """Return one row a caption. Needs captions."""
        dataset.require("captions", "caption_image")
        assert dataset.captions is not None and dataset.caption_image is not None
        images = unit(embedder.images(dataset.images))[dataset.caption_image]
        texts = unit(embedder.texts(dataset.captions))
        longest = texts[np.argmax([len(caption) for caption in dataset.captions])]
        own, other = (images * texts).sum(axis=1), images @ longest
        samples = {
            "sample_id": np.arange(len(texts)).astype(str).astype(object),
            "cluster": dataset.caption_image,
            "longest_wins": (other > own) + 0.5 * (other == own),
        }
        measure = Mean(column="longest_wins", chance=0.5, higher_is_better=False)
        return Evaluation(samples=samples, measures={"longest_wins": measure})
