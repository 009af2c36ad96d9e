"""Generated scenes as training pairs: endless, and drawn at the size that the model sees."""

from collections.abc import Iterator

from PIL import Image

from clipbench.data import DataOptions
from clipbench.data.scenes import SCENES_VERSION, draw, primer_pair, scenes_dataset, training_pair
from clipbench.training.pairs import HELD_OUT, SCENES, Corpus, DatasetPairs

VOCABULARY_CAPTIONS = 20_000
SEED_STRIDE = 1 << 40
"""Distance between the scene numbers of two seeds, so that trainings of other seeds see other scenes."""
HELD_OUT_SEED = 1
"""Differs from the seed that tasks measure, so that watching a training does not mean looking at the test data."""


class ScenePairs:
    """Scenes of the train split with a true caption each, after ``primer`` images of single objects."""

    def __init__(self, size: int, seed: int, primer: int = 0) -> None:
        self.name = f"scenes {SCENES_VERSION} (train)"
        self.n_pairs: int | None = None
        self.size = size
        self.first = seed * SEED_STRIDE
        self.primer = primer

    def pair(self, index: int, epoch: int) -> tuple[Image.Image, str]:
        scene, caption = (primer_pair if index < self.primer else training_pair)(self.first + index)
        return draw(scene, self.size), caption

    def captions(self) -> Iterator[str]:
        for index in range(VOCABULARY_CAPTIONS):
            yield training_pair(self.first + index).caption


def scene_corpus(options: DataOptions, *, size: int, seed: int) -> Corpus:
    """Return scenes to train on, and pairs of the test split to measure on.

    Scenes are never cropped: a crop could cut off an object that the caption counts, or a letter of a word.

    Args:
        options: ``primer`` is the number of images of single objects that come first.
        size: side of the images in pixels, 64 to 512.
        seed: seed of the training.

    Raises:
        UsageError: an unknown option, or a primer that is no number.
    """
    options.refuse_unknown(["primer"], SCENES)
    primer = options.whole_number("primer", "a number of pairs, 0 or more") or 0
    held_out = scenes_dataset("retrieval", split="test", n=HELD_OUT, size=size, seed=HELD_OUT_SEED)
    return Corpus(ScenePairs(size, seed, primer), DatasetPairs(held_out), may_crop=False)
