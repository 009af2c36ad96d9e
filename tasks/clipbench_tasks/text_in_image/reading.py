"""Reading: which of several captions, each with another word in it, is nearest to an image with a word?"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int64

from clipbench.data.contrast_and_attack import Contrast
from clipbench.data.dataset import Dataset
from clipbench.errors import DataError
from clipbench.evaluation.task import Evaluation
from clipbench.metrics.choice import chance_choices, choices, contrast_scores, truth_groups
from clipbench.metrics.similarity import unit
from clipbench.models.protocol import Embedder
from clipbench.stats.measures import Definition, Mean, Measure, define

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
    """Return a row for each image with a word: which caption was chosen, and the credit for it.

    Raises:
        DataError: a contrast has several images.
    """
    for each in contrasts:
        if len(each.images) != 1:
            raise DataError(
                f"data set {dataset.id}: item '{each.id}' has {len(each.images)} images: to read a word takes one"
                " image and several captions"
            )
    captions = list(dict.fromkeys(caption for each in contrasts for caption in each.captions))
    rows = [each.images[0] for each in contrasts]
    image_rows, place = np.unique(rows, return_inverse=True)
    images = unit(embedder.images([dataset.images[row] for row in image_rows.tolist()]))
    texts = unit(embedder.texts(captions))
    found = _Answers(contrasts, {caption: row for row, caption in enumerate(captions)})
    found.decide(images, texts, place.astype(np.int64))
    return Evaluation(
        samples=found.samples(np.array(rows)),
        measures=define(found.measures(), METRICS),
        controls=define(found.controls(), METRICS),
        notes=(f"{len(contrasts)} words to read, the first among {len(contrasts[0].captions)} captions",),
    )


class _Answers:
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
        """Fill in the answers.

        Args:
            images: unit vectors of the distinct images.
            texts: unit vectors of the distinct captions.
            place: of each contrast's image among ``images``.
        """
        middle = unit(images.mean(axis=0, dtype=np.float64, keepdims=True).astype(np.float32))
        for rows in truth_groups([each.truth for each in self.contrasts]):
            truth = self.contrasts[rows[0]].truth
            asked = np.array([[self.text_row[text] for text in self.contrasts[row].captions] for row in rows.tolist()])
            scores = contrast_scores(images, texts, place[rows][:, None], asked)
            self.credit[rows], self.margin[rows] = (found := choices(scores, truth)).text, found.text_margin
            self.chance[rows] = chance_choices(truth).text
            self.blind[rows] = _credit(contrast_scores(middle, texts, np.zeros((len(rows), 1), np.int64), asked), truth)
            self.shortest[rows] = _credit(self._brevity(rows), truth)
            self.right_cosine[rows], self.chosen_cosine[rows] = (
                scores[:, 0, truth[0].argmax()],
                scores[:, 0].max(axis=1),
            )
            for row, best in zip(rows.tolist(), scores[:, 0].argmax(axis=1).tolist(), strict=True):
                self.chosen[row] = self.contrasts[row].captions[best]

    def _brevity(self, rows: Int64[np.ndarray, " rows"]) -> Float32[np.ndarray, "rows 1 captions"]:
        lengths = [[len(text) for text in self.contrasts[row].captions] for row in rows.tolist()]
        return -np.array(lengths, np.float32)[:, None, :]

    @property
    def subsets(self) -> dict[str, Bool[np.ndarray, " n"]]:
        """Return which contrasts are of each subset, where there are several."""
        of = np.array([each.subset for each in self.contrasts], object)
        names = list(dict.fromkeys(of.tolist()))
        return {name: of == name for name in names} if len(names) > 1 else {}

    def samples(self, images: Int64[np.ndarray, " n"]) -> dict[str, np.ndarray]:
        """Return the table."""
        true = [each.captions[int(each.truth[0].argmax())] for each in self.contrasts]
        return {
            "sample_id": np.array([f"reading/{each.id}" for each in self.contrasts], object),
            "cluster": np.array([f"image {row}" for row in images.tolist()], object),
            "image": images,
            "margin": self.margin,
            "reading_margin": self.margin,
            "right_cosine": self.right_cosine,
            "chosen_cosine": self.chosen_cosine,
            "subset": np.array([each.subset for each in self.contrasts], object),
            "written": np.array(true, object),
            "read": np.array(self.chosen, object),
            "n_candidates": np.array([float(len(each.captions)) for each in self.contrasts]),
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
        """Return what rules score that look at no image, and ties."""
        chance = float(self.chance.mean())
        return {
            "reading_blind": Mean(column="reading_blind", chance=chance, higher_is_better=None),
            "reading_shortest": Mean(column="reading_shortest", chance=chance, higher_is_better=None),
            "reading_tie_rate": Mean(column="reading_tied", higher_is_better=None),
        }


def _credit(
    scores: Float32[np.ndarray, "rows 1 captions"], truth: Bool[np.ndarray, "1 captions"]
) -> Float64[np.ndarray, " rows"]:
    return choices(scores, truth).text
