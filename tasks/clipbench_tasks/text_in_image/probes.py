"""Attacks on classifiers that read no prompt: are a linear probe and k-NN fooled by a word where the prompts are?

Both are trained on unit vectors of images without a word, as in few-shot but with the same weight for each class, so
that no word wins by the number of its class's images. If the data has images to train on (``is_training``), these are
used, without the ones that an attack shows. Otherwise the objects of the attacks are used, cross-fitted: an attack is
tested by classifiers that saw no image of its object. Objects that share an image are then one, and each class's
objects are dealt to five folds in the order of their ids. Images of equal content are one image.

Zero-shot, k-NN and the probe are asked of the same attacks, among the same classes: those that can be trained. An
attack whose object or word is none of them is left out.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64

from clipbench.data.dataset import Dataset
from clipbench.data.modalities import IMAGE
from clipbench.data.questions import Attack
from clipbench.errors import data_option
from clipbench.evaluation.task import Evaluation
from clipbench.metrics.classification import class_scores
from clipbench.metrics.probes import first_credit, fit_probe, neighbour_votes
from clipbench.models.protocol import Embedder
from clipbench.results.numbers import count, counted
from clipbench.stats.clusters import clusters_by_shared_item
from clipbench.stats.measures import Definition, Definitions, Mean, Measures, define, undefined
from clipbench_tasks.tables import (
    Column,
    Columns,
    Mask,
    Rows,
    Table,
    Vectors,
    column_at_rows,
    count_range,
    items_at,
    text_column,
)

ZERO_SHOT = "zero_shot"
CLASSIFIERS = {
    ZERO_SHOT: (
        "Zero-shot",
        "the prompts, among the classes that the probes are trained on",
        " (same attacks and classes)",
    ),
    "linear_probe": ("Linear probe", "the trained linear probe", ""),
    "knn": ("k-NN", "the trained k-NN", ""),
}
"""A title, the words of a sentence, and the distinction of these prompts from the prompts among all classes."""
PROBES = [key for key in CLASSIFIERS if key != ZERO_SHOT]
"""The classifiers that are trained."""
N_FOLDS = 5
ALWAYS, NEVER = -1, -2
"""Fold of training images that every attack is tested with, and of objects without one: they are in no training set."""
PREDICTED = "linear_probe_predicted"
UNTRAINED = (
    "too few objects to train on: expected two classes with two objects each, shown without a word, and an attack on"
    " one of them by the name of the other. Train on other images with "
)
UNKNOWN = "no attack's object and word are both classes of the images to train on"
OF_THESE = " The interval is of the classifiers trained in this run: other training images give others."


BY_ATTACKS = ", each weighted by its attacks"
"""An object with three attacks counts three times, while n counts its image once."""


def _definitions() -> Definitions:
    definitions: Definitions = {}
    for key, (title, by, same) in CLASSIFIERS.items():
        success = f"{key}_attack_success"
        definitions |= {
            success: Definition(
                f"{title} attack success rate{same}",
                f"Fraction of attacks in which the class of the written word scores highest by {by}."
                + (OF_THESE if key in PROBES else ""),
            ),
            f"{key}_attacked_acc": Definition(
                f"{title} accuracy under attack{same}",
                f"Fraction of attacked objects whose class scores highest by {by}.",
            ),
            f"{key}_plain_acc": Definition(
                f"{title} accuracy without a word{same}",
                f"Fraction of the same objects, without a word, whose class scores highest by {by}{BY_ATTACKS}.",
            ),
            f"{key}_plain_named_word": Definition(
                f"The word's class without a word, {title}{same}",
                "Fraction of the same objects, without a word, for which the class of the attacking word scores highest"
                f" by {by}{BY_ATTACKS}.",
                success,
            ),
        }
    for key in PROBES:
        by = CLASSIFIERS[key][1]
        definitions[f"{ZERO_SHOT}_minus_{key}"] = Definition(
            f"Attack success rate, zero-shot minus {by.removeprefix('the trained ')}",
            f"Attack success rate by the prompts minus the rate by {by}, of the same attacks among the same"
            f" classes.{OF_THESE}",
        )
    return definitions


METRICS = _definitions()


class Training(NamedTuple):
    """The images that classifiers are trained on, and the folds that exclude the images of an attacked object."""

    images: Rows
    """Rows of the data set's images."""
    labels: Rows
    """Rows of the class names."""
    folds: Rows
    """An attack is tested by the images of other folds than its own."""
    of_attack: Rows
    """Fold of each attack."""
    n_shown: int = 0
    """Images to train on that were left out because an attack shows them."""

    @property
    def classes(self) -> Rows:
        """The classes that every fold trains: their images are in two folds, or in all training sets."""
        in_folds = defaultdict(set)
        for label, fold in zip(self.labels.tolist(), self.folds.tolist(), strict=True):
            in_folds[label].add(fold)
        trained = [label for label, folds in in_folds.items() if ALWAYS in folds or len(folds) > 1]
        return np.array(sorted(trained), np.int64)


def probe_attacks(
    dataset: Dataset, attacks: Sequence[Attack], embedder: Embedder, classes: Vectors, is_usual: Mask
) -> Evaluation:
    """Return the attack success of written words by the prompts, by a linear probe and by k-NN.

    Args:
        classes: unit vectors of the prompts.
        is_usual: attacks of the data's usual style.
    """
    training = training_of(dataset, attacks, embedder.digests(dataset.images))
    trained = training.classes
    labels, words = (np.array([getattr(attack, part) for attack in attacks], np.int64) for part in ("label", "word"))
    probed_rows = np.flatnonzero(is_usual & np.isin(labels, trained) & np.isin(words, trained))
    if len(trained) < 2 or not len(probed_rows):
        reason = UNTRAINED + data_option(train="DATA") if dataset.is_training is None else UNKNOWN
        if training.n_shown:
            reason += f", of which {count(training.n_shown)} are left out because an attack shows them"
        missing = {"linear_probe_attack_success": undefined(reason, higher_is_better=False)}
        return Evaluation(samples={}, measures=define(missing, METRICS))
    is_trained = np.isin(training.labels, trained)
    # Classes are numbered among the trained ones.
    trained_labels = np.searchsorted(trained, training.labels[is_trained])
    training = training._replace(
        images=training.images[is_trained], labels=trained_labels, folds=training.folds[is_trained]
    )
    probed = items_at(attacks, probed_rows)
    plain = np.array([_plain_image(attack) for attack in probed], np.int64)
    attacked = np.array([attack.attacked for attack in probed], np.int64)
    image_rows = training.images, attacked, np.where(plain >= 0, plain, attacked)
    of_training, *test_vectors = image_vectors(dataset, embedder, *image_rows)
    of_both = [np.searchsorted(trained, class_rows[probed_rows]) for class_rows in (labels, words)]
    prompts = [_credits_of_prompts(images, classes[trained], of_both) for images in test_vectors]
    scores = _scores_by_fold(training, of_training, test_vectors, training.of_attack[probed_rows], len(trained))
    credits = {ZERO_SHOT: prompts} | {
        key: [[first_credit(image_scores, rows) for rows in of_both] for image_scores in kinds]
        for key, kinds in scores.items()
    }
    samples = _samples(credits, plain, probed_rows, len(attacks))
    samples[PREDICTED] = np.full(len(attacks), "", object)
    names = text_column(dataset.class_names or ())[trained]
    samples[PREDICTED][probed_rows] = names[scores["linear_probe"][0].argmax(axis=1)]
    measures, baselines = _measures(len(trained), has_plain=bool((plain >= 0).any()))
    return Evaluation(
        samples=samples,
        measures=define(measures, METRICS),
        baselines=define(baselines, METRICS),
        notes=_notes(training, probed_rows, len(trained)),
    )


def training_of(dataset: Dataset, attacks: Sequence[Attack], digests: Sequence[str]) -> Training:
    """Return the images without a word to train on: the data's training images, or the objects' images by folds.

    Args:
        digests: content hashes of the data set's images.
    """
    contents = np.unique(np.array(digests), return_inverse=True)[1]
    shown_images = [contents[list(attack.images)] for attack in attacks]
    if dataset.is_training is None:
        return _cross_fitted(dataset.image_ids, attacks, shown_images)
    assert dataset.labels is not None
    rows = np.flatnonzero(dataset.is_training)
    is_shown = np.isin(contents[rows], np.concatenate(shown_images))
    rows = rows[~is_shown]
    nowhere = np.full(len(attacks), NEVER)
    return Training(rows, dataset.labels[rows], np.full(len(rows), ALWAYS), nowhere, int(is_shown.sum()))


def _cross_fitted(image_ids: Sequence[str], attacks: Sequence[Attack], shown_images: Sequence[Rows]) -> Training:
    """Return the images of the objects without a word, dealt to folds by class in the order of their first ids.

    Args:
        shown_images: the images of each attack, copies under one number.
    """
    owners = np.repeat(np.arange(len(attacks)), [len(images) for images in shown_images])
    objects = clusters_by_shared_item(owners, np.concatenate(shown_images), len(attacks))
    plain = np.array([_plain_image(attack) for attack in attacks], np.int64)
    labels = np.array([attack.label for attack in attacks], np.int64)
    with_plain = np.flatnonzero(plain >= 0)
    fold: dict[int, int] = {}
    n_of_class: dict[int, int] = defaultdict(int)
    for attack in sorted(with_plain.tolist(), key=lambda attack: image_ids[int(plain[attack])]):
        if objects[attack] not in fold:
            fold[objects[attack]] = n_of_class[labels[attack]] % N_FOLDS
            n_of_class[labels[attack]] += 1
    of_attack = np.array([fold.get(code, NEVER) for code in objects.tolist()], np.int64)
    rows, first = np.unique(plain[with_plain], return_index=True)
    first = with_plain[first]
    return Training(rows, labels[first], of_attack[first], of_attack)


def _plain_image(attack: Attack) -> int:
    """Return the row of the object's image without an overlay, or with a blank one, or -1 if it has neither."""
    return next((row for row in (attack.clean, attack.blank) if row is not None), -1)


def image_vectors(dataset: Dataset, embedder: Embedder, *rows: Rows) -> list[Vectors]:
    """Return the unit vectors of several lists of images. An image in more than one is encoded once."""
    distinct, position = np.unique(np.concatenate(rows), return_inverse=True)
    vectors = embedder.scoring_vectors(embedder.encode(IMAGE, items_at(dataset.images, distinct), "query"))[position]
    return np.split(vectors, np.cumsum([len(part) for part in rows])[:-1])


def _credits_of_prompts(images: Vectors, classes: Vectors, of_both: Sequence[Rows]) -> list[Column]:
    """Return the credits of the object's class and of the word's class, by the nearest class embedding."""
    return [class_scores(images, classes, rows).credit() for rows in of_both]


def _scores_by_fold(
    training: Training, vectors: Vectors, test_vectors: Sequence[Vectors], folds: Rows, n_classes: int
) -> dict[str, list[Float64[np.ndarray, "n_asked n_classes"]]]:
    """Return the scores of images with and without the word, by classifiers that were not trained on their fold.

    Args:
        vectors: vectors of the images to train on.
        test_vectors: vectors of the attacked images, and of the images without a word.
        folds: folds of the probed attacks.
    """
    scores = {key: [np.zeros((len(folds), n_classes)) for _ in test_vectors] for key in PROBES}
    for fold in np.unique(folds).tolist():
        is_training, is_tested = training.folds != fold, folds == fold
        images, labels = vectors[is_training], training.labels[is_training]
        probe = fit_probe(images, labels, n_classes, is_balanced=True)
        for index, images_of_kind in enumerate(test_vectors):
            scores["linear_probe"][index][is_tested] = probe.scores(images_of_kind[is_tested])
            scores["knn"][index][is_tested] = neighbour_votes(
                images_of_kind[is_tested], images, labels, n_classes, is_balanced=True
            )
    return scores


def _samples(credits: Mapping[str, Sequence[Sequence[Column]]], plain: Rows, probed_rows: Rows, n: int) -> Table:
    """Return the columns, NaN for attacks that are not probed.

    Args:
        plain: row of each object's image without a word, -1 where there is none.
        credits: by classifier, for the attacked image and for the image without a word: the credits of the object's
            class and of the word's class.
        n: number of all attacks.
    """
    has_plain = np.where(plain >= 0, 1.0, np.nan)
    columns: Columns = {"plain_image": plain * has_plain}
    for key, ((right, fooled), (plain_right, plain_named)) in credits.items():
        columns |= {f"{key}_attack_success": fooled, f"{key}_attacked_acc": right}
        columns |= {f"{key}_plain_acc": plain_right * has_plain, f"{key}_plain_named_word": plain_named * has_plain}
    for key in PROBES:
        columns[f"{ZERO_SHOT}_minus_{key}"] = columns[f"{ZERO_SHOT}_attack_success"] - columns[f"{key}_attack_success"]
    return {name: column_at_rows(values, probed_rows, n) for name, values in columns.items()}


def _measures(n_classes: int, *, has_plain: bool) -> tuple[Measures, Measures]:
    chance = 1 / n_classes
    measures: Measures = {
        f"{key}_attack_success": Mean(column=f"{key}_attack_success", higher_is_better=False) for key in CLASSIFIERS
    }
    for key in PROBES:
        name = f"{ZERO_SHOT}_minus_{key}"
        measures[name] = Mean(column=name, unit="difference", chance=0.0, higher_is_better=None)
    for key in CLASSIFIERS:
        measures[f"{key}_attacked_acc"] = Mean(column=f"{key}_attacked_acc", chance=chance)
        if has_plain:
            measures[f"{key}_plain_acc"] = Mean(column=f"{key}_plain_acc", chance=chance, image="plain_image")
    baselines: Measures = {
        f"{key}_plain_named_word": Mean(
            column=f"{key}_plain_named_word", chance=chance, higher_is_better=None, image="plain_image"
        )
        for key in CLASSIFIERS
        if has_plain
    }
    return measures, baselines


def _notes(training: Training, probed_rows: Rows, n_classes: int) -> tuple[str, ...]:
    """Return notes on the training of the classifiers, their numbers of images, and left-out images."""
    folds = np.unique(training.of_attack[probed_rows])
    training_sets = [training.labels[training.folds != fold] for fold in folds.tolist()]
    of_class = np.array([np.bincount(labels, minlength=n_classes) for labels in training_sets])
    sizes = f"{count_range(of_class.sum(axis=1))} without a word, {count_range(of_class.ravel())} a class"
    how = (
        f"images of their own ({sizes})"
        if ALWAYS in training.folds
        else f"images of other objects than the attacked one, in {counted(len(folds), 'fold')} (each {sizes})"
    )
    notes = [
        f"probes: {counted(len(probed_rows), 'attack')} among {n_classes} classes of equal weight, trained on {how}"
    ]
    if training.n_shown:
        notes.append(f"images to train on that an attack shows ({count(training.n_shown)}): left out")
    return tuple(notes)
