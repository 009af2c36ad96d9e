"""Text in images: can the model read it, does it hijack the classification, and how large must it be for that?

A data set has one or both of two kinds of item. *Contrasts* of an image with a written word and several captions, each
of which quotes a word: the nearest caption should be the true one. *Attacks*: an object with a label that names
something else, beside the same object without a label, with a blank one and with its own name, all classified as in
zero-shot.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from clipbench.data.dataset import Dataset
from clipbench.data.prompts import Prompts, prompts_of
from clipbench.errors import MissingPart
from clipbench.evaluation.task import Evaluation
from clipbench.models.protocol import Embedder
from clipbench_tasks.tables import stacked
from clipbench_tasks.text_in_image.attacks import attacked
from clipbench_tasks.text_in_image.reading import reading


@dataclass(frozen=True)
class TextInImage:
    """Reading a written word among candidates, and the effect of a written word on classification."""

    name: ClassVar[str] = "text-in-image"
    version: ClassVar[int] = 1
    summary: ClassVar[str] = "reading a written word, and being fooled by one: reading_acc, attack_success, drop"
    needs_model: ClassVar[bool] = True
    question: ClassVar[str] = (
        "Can the model read a written word, and does a word written on an object decide its class?"
    )
    scoring: ClassVar[str] = (
        "A word counts as read when the caption that quotes it is the nearest; an attack succeeds when the class of the "
        "written word scores highest. The accuracy drop compares each object with itself; in two-way choices only the "
        "object and the word are compared. A tie scores what a coin flip would."
    )

    prompts: Prompts | None = None
    """Prompts of the classes; None takes the data set's own templates, or else the default."""
    probes: bool = False
    """Attack a linear probe and k-NN too, trained on the objects without a word; so are data with images to train on."""

    def evaluate(self, dataset: Dataset, embedder: Embedder, rng: np.random.Generator) -> Evaluation:
        """Return a row for each word to read and each attack. Needs attacks with class names, or contrasts."""
        parts = []
        if dataset.contrasts:
            parts.append(reading(dataset, dataset.contrasts, embedder))
        if dataset.attacks:
            prompts = self.prompts or prompts_of(dataset)
            with_probes = self.probes or dataset.is_training is not None
            parts.append(attacked(dataset, dataset.attacks, embedder, prompts=prompts, with_probes=with_probes))
        if not parts:
            raise MissingPart(dataset.id, "attacks")
        return _joined(parts)


def _joined(parts: Sequence[Evaluation]) -> Evaluation:
    return Evaluation(
        samples=stacked(*(part.samples for part in parts)),
        measures={name: measure for part in parts for name, measure in part.measures.items()},
        curves={name: curve for part in parts for name, curve in part.curves.items()},
        controls={name: measure for part in parts for name, measure in part.controls.items()},
        notes=tuple(note for part in parts for note in part.notes),
    )
