"""Does a model like long captions better, whatever they say?"""

from dataclasses import dataclass

import numpy as np

from clipbench import Dataset, Embedder, Evaluation, Mean, Task, pair_scores, unit


@dataclass(frozen=True)
class LengthBias(Task):
    """Frequency with which the longest caption of another image beats an image's own."""

    name = "length-bias"
    version = 1
    summary = "how often the longest of all captions beats an image's own"
    question = "Does the longest of all captions score above the one that is true of an image?"
    scoring = "A tie scores half; the longest caption always ties with itself."

    def evaluate(self, dataset: Dataset, embedder: Embedder, rng: np.random.Generator) -> Evaluation:
        """Return one row a caption. Needs captions."""
        dataset.require("captions", "caption_image")
        assert dataset.captions is not None and dataset.caption_image is not None
        images = unit(embedder.images(dataset.images))[dataset.caption_image]
        texts = unit(embedder.texts(dataset.captions))
        longest = int(np.argmax([len(caption) for caption in dataset.captions]))
        true_scores = pair_scores(images, texts)
        other = pair_scores(images, np.repeat(texts[[longest]], len(texts), axis=0))
        samples = {
            "sample_id": np.arange(len(texts)).astype(str).astype(object),
            "cluster": dataset.caption_image,
            "image": dataset.caption_image,
            "caption": np.array(dataset.captions, object),
            "longest_caption": np.full(len(texts), dataset.captions[longest], object),
            "n_letters": np.array([float(len(caption)) for caption in dataset.captions]),
            "margin": (true_scores - other).astype(np.float64),
            "longest_wins": (other > true_scores) + 0.5 * (other == true_scores),
            "tied": (other == true_scores).astype(np.float64),
        }
        wins = Mean(
            column="longest_wins",
            chance=0.5,
            higher_is_better=False,
            title="Longest caption wins",
            description="Fraction of captions that score below the longest of all captions.",
            is_headline=True,
        )
        margin = Mean(
            column="margin",
            unit="cosine",
            title="Lead over the longest caption",
            description="Mean cosine of an image with its caption minus its mean cosine with the longest of all.",
        )
        ties = Mean(
            column="tied",
            higher_is_better=None,
            title="Ties",
            description="Fraction of captions that score exactly as the longest.",
            baseline_of="longest_wins",
        )
        return Evaluation(
            samples=samples,
            measures={"longest_wins": wins, "lead": margin},
            baselines={"tie_rate": ties},
            inputs={"caption": "caption", "n_letters": "number"},
            vectors={"images": images, "texts": texts, "pair_id": samples["sample_id"].astype(str)},
        )
