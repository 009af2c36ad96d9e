"""Reading: the caption nearest to an image with a written word, among several that each quote another word."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float32, Int64

from clipbench.data.contrast_and_attack import Contrast
from clipbench.data.dataset import Dataset
from clipbench.errors import DataError
from clipbench.evaluation.task import Evaluation
from clipbench.metrics.choice import chance_choices, choices, contrast_scores, truth_groups
from clipbench.metrics.similarity import unit
from clipbench.models.protocol import Embedder
from clipbench.stats.measures import Definition, Fixed, Mean, Measure, define

METRICS = {
    "reading_acc": Definition(
        "Reading accuracy", "Share of images whose nearest caption is the one with the written word.", is_headline=True
    ),
    "reading_blind": Definition(
        "Reading without the image", "The same with the mean of all images in place of each image.", "reading_acc"
    ),
    "reading_shortest": Definition(
        "Always the shortest caption", "Reading accuracy of the rule that the shortest caption is true.", "reading_acc"
    ),
    "reading_tie_rate": Definition("Ties", "Share of images for which a tie decides.", "reading_acc"),
}


def reading(dataset: Dataset, contrasts: Sequence[Contrast], embedder: Embedder) -> Evaluation:
    """Return a row for each image with a word: the chosen caption, and its credit.

    Raises:
        DataError: a contrast has several images.
    """
    for contrast in contrasts:
        if len(contrast.images) != 1:
            raise DataError(
                f"data set {dataset.id}: item '{contrast.id}' has {len(contrast.images)} images: expected one image and"
                " several captions, to read a word"
            )
    captions = list(dict.fromkeys(caption for contrast in contrasts for caption in contrast.captions))
    rows = [contrast.images[0] for contrast in contrasts]
    image_rows, place = np.unique(rows, return_inverse=True)
    images = unit(embedder.images([dataset.images[row] for row in image_rows.tolist()]))
    texts = unit(embedder.texts(captions))
    readings = _Readings(contrasts, {caption: row for row, caption in enumerate(captions)})
    readings.decide(images, texts, place.astype(np.int64))
    return Evaluation(
        samples=readings.samples(np.array(rows)),
        measures=define(readings.measures(), METRICS),
        controls=define(readings.controls(), METRICS),
        notes=(f"{len(contrasts)} words to read, the first among {len(contrasts[0].captions)} captions",),
    )


class _Readings:
    """The caption chosen in each contrast; contrasts of one form are decided at once."""

    def __init__(self, contrasts: Sequence[Contrast], text_row: dict[str, int]) -> None:
        n = len(contrasts)
        self.contrasts = contrasts
        self.text_row = text_row
        self.credit, self.chance, self.margin, self.blind, self.shortest = np.zeros((5, n))
        self.right_cosine, self.chosen_cosine = np.zeros((2, n))
        self.chosen: list[str] = [""] * n

    def decide(
        self,
        images: Float32[np.ndarray, "n_images dim"],
        texts: Float32[np.ndarray, "n_texts dim"],
        place: Int64[np.ndarray, " n"],
    ) -> None:
        """Fill in the choices.

        Args:
            images: unit vectors of the distinct images.
            texts: unit vectors of the distinct captions.
            place: row of each contrast's image among ``images``.
        """
        mean_image = unit(images.mean(axis=0, dtype=np.float64, keepdims=True).astype(np.float32))
        for rows in truth_groups([contrast.truth for contrast in self.contrasts]):
            truth = self.contrasts[rows[0]].truth
            captions = [self.contrasts[row].captions for row in rows.tolist()]
            text_rows = np.array([[self.text_row[text] for text in texts_of_one] for texts_of_one in captions])
            scores = contrast_scores(images, texts, place[rows][:, None], text_rows)
            decided = choices(scores, truth)
            self.credit[rows], self.margin[rows] = decided.text, decided.text_margin
            self.chance[rows] = chance_choices(truth).text
            blind_scores = contrast_scores(mean_image, texts, np.zeros((len(rows), 1), np.int64), text_rows)
            self.blind[rows] = choices(blind_scores, truth).text
            brevity = -np.array([[len(text) for text in texts_of_one] for texts_of_one in captions], np.float32)
            self.shortest[rows] = choices(brevity[:, None, :], truth).text
            self.right_cosine[rows], self.chosen_cosine[rows] = (
                scores[:, 0, truth[0].argmax()],
                scores[:, 0].max(axis=1),
            )
            for row, best in zip(rows.tolist(), scores[:, 0].argmax(axis=1).tolist(), strict=True):
                self.chosen[row] = self.contrasts[row].captions[best]

    @property
    def subsets(self) -> dict[str, Bool[np.ndarray, " n"]]:
        """Mask of the contrasts of each subset, if there are several subsets."""
        subset = np.array([contrast.subset for contrast in self.contrasts], object)
        names = list(dict.fromkeys(subset.tolist()))
        return {name: subset == name for name in names} if len(names) > 1 else {}

    def samples(self, images: Int64[np.ndarray, " n"]) -> dict[str, np.ndarray]:
        """Return the table."""
        true = [contrast.captions[int(contrast.truth[0].argmax())] for contrast in self.contrasts]
        return {
            "sample_id": np.array([f"reading/{contrast.id}" for contrast in self.contrasts], object),
            "cluster": np.array([f"image {row}" for row in images.tolist()], object),
            "image": images,
            "margin": self.margin,
            "reading_margin": self.margin,
            "right_cosine": self.right_cosine,
            "chosen_cosine": self.chosen_cosine,
            "subset": np.array([contrast.subset for contrast in self.contrasts], object),
            "written": np.array(true, object),
            "read": np.array(self.chosen, object),
            "n_candidates": np.array([float(len(contrast.captions)) for contrast in self.contrasts]),
            "reading_acc": self.credit,
            "reading_blind": self.blind,
            "reading_shortest": self.shortest,
            "reading_tied": (self.margin == 0).astype(np.float64),
            **{f"{name}/reading_acc": np.where(rows, self.credit, np.nan) for name, rows in self.subsets.items()},
        }

    def measures(self) -> dict[str, Measure]:
        """Return the accuracy, and that of each subset."""
        parts = {
            f"{name}/reading_acc": Mean(column=f"{name}/reading_acc", chance=float(self.chance[rows].mean()))
            for name, rows in self.subsets.items()
        }
        return {"reading_acc": Mean(column="reading_acc", chance=float(self.chance.mean())), **parts}

    def controls(self) -> dict[str, Measure]:
        """Return the scores of rules that look at no image, and the rate of ties."""
        chance = float(self.chance.mean())
        return {
            "reading_blind": Fixed(
                value=float(self.blind.mean()),
                n=len(self.blind),
                chance=chance,
                reason="no interval: other images have another mean, which changes the choice for many images at once",
            ),
            "reading_shortest": Mean(column="reading_shortest", chance=chance, higher_is_better=None),
            "reading_tie_rate": Mean(column="reading_tied", higher_is_better=None),
        }
