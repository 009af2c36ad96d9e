"""Text in images: can the model read it, does it hijack the classification, and how large must it be for that?

A data set has one or both of two kinds of item. *Contrasts* of an image with a written word and several captions, each
of which quotes a word: the nearest caption should be the true one. *Attacks*: an object with a label that names
something else, beside the same object without a label, with a blank one and with its own name, all classified as in
zero-shot.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from clipbench.data.dataset import Dataset
from clipbench.data.prompts import Prompts, prompts_of
from clipbench.data.questions import Contrast
from clipbench.errors import DataError, MissingPart
from clipbench.evaluation.task import Evaluation, Task
from clipbench.models.encoding.store import comparable
from clipbench.models.protocol import Embedder
from clipbench.stats.measures import Definition, Fixed, Mean, Measure, define
from clipbench_tasks.choices import decide, vectors_of
from clipbench_tasks.tables import by_subset, joined
from clipbench_tasks.text_in_image.attacks import attacked

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


@dataclass(frozen=True)
class TextInImage(Task):
    """Reading a written word among candidates, and the effect of a written word on classification."""

    name = "text-in-image"
    version = 1
    takes_dot = True
    data_form = "attacks"
    summary = "reading a written word, and being fooled by one: reading_acc, attack_success, drop"
    needs_model = True
    question = "Can the model read a written word, and does a word written on an object decide its class?"
    scoring = (
        "A word counts as read when the caption that quotes it is the nearest; an attack succeeds when the class of the "
        "written word scores highest. The accuracy drop compares each object with itself; in two-way choices only the "
        "object and the word are compared. A tie scores what a coin flip would."
    )

    prompts: Prompts | None = None
    """Prompts of the classes; None takes the data set's own templates, or else the default."""
    probes: bool = False
    """Attack a linear probe and k-NN too, trained on the objects without a word; so are data with images to train on."""

    def check(self, dataset: Dataset) -> None:
        """Raise unless there are attacks with class names, or contrasts of one image each."""
        if not dataset.attacks and not dataset.contrasts:
            raise MissingPart(dataset.id, "attacks")
        if dataset.attacks:
            dataset.require("class_names")
        for contrast in dataset.contrasts or ():
            if len(contrast.images) != 1:
                raise DataError(
                    f"data set {dataset.id}: item '{contrast.id}' has {len(contrast.images)} images: expected one image and"
                    " several captions, to read a word"
                )

    def evaluate(self, dataset: Dataset, embedder: Embedder, rng: np.random.Generator) -> Evaluation:
        """Return a row for each word to read and each attack. Needs attacks with class names, or contrasts."""
        parts = []
        if dataset.contrasts:
            parts.append(reading(dataset, dataset.contrasts, embedder))
        if dataset.attacks:
            prompts = self.prompts or prompts_of(dataset)
            with_probes = self.probes or dataset.is_training is not None
            parts.append(attacked(dataset, dataset.attacks, embedder, prompts=prompts, with_probes=with_probes))
        return joined(parts)


def reading(dataset: Dataset, contrasts: Sequence[Contrast], embedder: Embedder) -> Evaluation:
    """Return a row for each image with a written word: the nearest caption, among several that each quote a word."""
    vectors = vectors_of(
        dataset, (text for contrast in contrasts for text in contrast.captions), embedder, of=contrasts
    )
    decided, by_chance, shortest, nearest = decide(contrasts, vectors, len)
    images = nearest["image"]
    mean = vectors.images[np.unique(images)].mean(axis=0, dtype=np.float64, keepdims=True).astype(np.float32)
    of_mean = vectors._replace(images=np.broadcast_to(comparable(mean, embedder), vectors.images.shape))
    blind, credit = decide(contrasts, of_mean, len)[0].text, decided.text
    subset = np.array([contrast.subset for contrast in contrasts], object)
    right, wrong = nearest["right_cosine"], nearest["chosen_cosine"]
    chances, chance = by_chance.text, float(by_chance.text.mean())
    measures: dict[str, Measure] = {"reading_acc": Mean(column="reading_acc", chance=chance)}
    of_subsets = by_subset(subset, {"reading_acc": credit}) if len(set(subset)) > 1 else {}
    for name, column in of_subsets.items():
        measures[name] = Mean(column=name, chance=float(chances[~np.isnan(column)].mean()))
    controls: dict[str, Measure] = {
        "reading_blind": Fixed(
            value=float(blind.mean()),
            n=len(blind),
            chance=chance,
            reason="no interval: other images have another mean, which changes the choice for many images at once",
        ),
        "reading_shortest": Mean(column="reading_shortest", chance=chance, higher_is_better=None),
        "reading_tie_rate": Mean(column="reading_tied", higher_is_better=None),
    }
    return Evaluation(
        samples={
            "sample_id": np.array([f"reading/{contrast.id}" for contrast in contrasts], object),
            "cluster": np.array([f"image {row}" for row in images], object),
            "image": images,
            "margin": decided.text_margin,
            "reading_margin": decided.text_margin,
            "right_cosine": right,
            "chosen_cosine": np.maximum(right, wrong),
            "subset": subset,
            "written": nearest["caption"],
            "read": np.where(right < wrong, nearest["preferred"], nearest["caption"]),
            "n_candidates": np.array([float(len(contrast.captions)) for contrast in contrasts]),
            "reading_acc": credit,
            "reading_blind": blind,
            "reading_shortest": shortest,
            "reading_tied": (decided.text_margin == 0).astype(np.float64),
            **of_subsets,
        },
        measures=define(measures, METRICS),
        controls=define(controls, METRICS),
        notes=(f"{len(contrasts)} words to read, the first among {len(contrasts[0].captions)} captions",),
    )
