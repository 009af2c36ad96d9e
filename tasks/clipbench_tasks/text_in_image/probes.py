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


class Classifier(NamedTuple):
    """The words for a classifier that is attacked."""

    title: str
    description: str
    """In a sentence."""
    remark: str = ""
    """What distinguishes these prompts from the prompts among all classes."""


CLASSIFIERS = {
    ZERO_SHOT: Classifier(
        "Zero-shot",
        "the prompts, among the classes that the probes are trained on",
        " (same attacks and classes)",
    ),
    "linear_probe": Classifier("Linear probe", "the trained linear probe"),
    "knn": Classifier("k-NN", "the trained k-NN"),
}
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
    for key, (title, by, remark) in CLASSIFIERS.items():
        success = f"{key}_attack_success"
        of_these = OF_THESE if key in PROBES else ""
        definitions[success] = Definition(
            f"{title} attack success rate{remark}",
            f"Fraction of attacks in which the class of the written word scores highest by {by}.{of_these}",
        )
        definitions[f"{key}_attacked_acc"] = Definition(
            f"{title} accuracy under attack{remark}",
            f"Fraction of attacked objects whose class scores highest by {by}.",
        )
        definitions[f"{key}_plain_acc"] = Definition(
            f"{title} accuracy without a word{remark}",
            f"Fraction of the same objects, without a word, whose class scores highest by {by}{BY_ATTACKS}.",
        )
        definitions[f"{key}_plain_named_word"] = Definition(
            f"The word's class without a word, {title}{remark}",
            "Fraction of the same objects, without a word, for which the class of the attacking word scores highest"
            f" by {by}{BY_ATTACKS}.",
            success,
        )
    for key in PROBES:
        by = CLASSIFIERS[key].description
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

    def of_classes(self, classes: Rows) -> "Training":
        """Return the images of some classes, whose labels are their numbers among these classes."""
        is_kept = np.isin(self.labels, classes)
        return self._replace(
            images=self.images[is_kept],
            labels=np.searchsorted(classes, self.labels[is_kept]),
            folds=self.folds[is_kept],
        )


class AttackClasses(NamedTuple):
    """Classes of each attack, numbered among the trained ones."""

    object: Rows
    word: Rows


class Credits(NamedTuple):
    """Credits of one image of each attack."""

    object: Column
    """The object's class came first."""
    word: Column
    """The class of the attacking word came first."""


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
    labels = np.array([attack.label for attack in attacks], np.int64)
    words = np.array([attack.word for attack in attacks], np.int64)
    probed_rows = np.flatnonzero(is_usual & np.isin(labels, trained) & np.isin(words, trained))
    if len(trained) < 2 or not len(probed_rows):
        reason = UNTRAINED + data_option(train="DATA") if dataset.is_training is None else UNKNOWN
        if training.n_shown:
            reason += f", of which {count(training.n_shown)} are left out because an attack shows them"
        missing = {"linear_probe_attack_success": undefined(reason, higher_is_better=False)}
        return Evaluation(samples={}, measures=define(missing, METRICS))
    training = training.of_classes(trained)
    probed = items_at(attacks, probed_rows)
    plain = np.array([_plain_image(attack) for attack in probed], np.int64)
    attacked = np.array([attack.attacked for attack in probed], np.int64)
    plain_or_any = np.where(plain >= 0, plain, attacked)  # the credits of the attacked image are not used
    of_training, *test_vectors = image_vectors(dataset, embedder, training.images, attacked, plain_or_any)
    scores = _scores_by_fold(training, of_training, test_vectors, training.of_attack[probed_rows], len(trained))
    targets = AttackClasses(
        object=np.searchsorted(trained, labels[probed_rows]), word=np.searchsorted(trained, words[probed_rows])
    )
    credits = {ZERO_SHOT: [_credits_of_prompts(images, classes[trained], targets) for images in test_vectors]}
    for key, scores_of_kinds in scores.items():
        credits[key] = [_credits_of_scores(image_scores, targets) for image_scores in scores_of_kinds]
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
    if attack.clean is not None:
        return attack.clean
    return -1 if attack.blank is None else attack.blank


def image_vectors(dataset: Dataset, embedder: Embedder, *rows: Rows) -> list[Vectors]:
    """Return the unit vectors of several lists of images. An image in more than one is encoded once."""
    distinct, position = np.unique(np.concatenate(rows), return_inverse=True)
    encoded = embedder.encode(IMAGE, items_at(dataset.images, distinct), "query")
    vectors = embedder.scoring_vectors(encoded)[position]
    ends = np.cumsum([len(part) for part in rows])
    return np.split(vectors, ends[:-1])


def _credits_of_prompts(images: Vectors, classes: Vectors, targets: AttackClasses) -> Credits:
    """Return the credits by the nearest class embedding."""
    by_object = class_scores(images, classes, targets.object)
    by_word = class_scores(images, classes, targets.word)
    return Credits(by_object.credit(), by_word.credit())


def _credits_of_scores(scores: Float64[np.ndarray, "n_asked n_classes"], targets: AttackClasses) -> Credits:
    return Credits(first_credit(scores, targets.object), first_credit(scores, targets.word))


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
            tested = images_of_kind[is_tested]
            votes = neighbour_votes(tested, images, labels, n_classes, is_balanced=True)
            scores["linear_probe"][index][is_tested] = probe.scores(tested)
            scores["knn"][index][is_tested] = votes
    return scores


def _samples(credits: Mapping[str, Sequence[Credits]], plain: Rows, probed_rows: Rows, n: int) -> Table:
    """Return the columns, NaN for attacks that are not probed.

    Args:
        plain: row of each object's image without a word, -1 where there is none.
        credits: by classifier, of the attacked image and of the image without a word.
        n: number of all attacks.
    """
    has_plain = plain >= 0
    columns: Columns = {"plain_image": np.where(has_plain, plain, np.nan)}
    for key, (of_attacked, of_plain) in credits.items():
        columns[f"{key}_attack_success"] = of_attacked.word
        columns[f"{key}_attacked_acc"] = of_attacked.object
        columns[f"{key}_plain_acc"] = np.where(has_plain, of_plain.object, np.nan)
        columns[f"{key}_plain_named_word"] = np.where(has_plain, of_plain.word, np.nan)
    for key in PROBES:
        columns[f"{ZERO_SHOT}_minus_{key}"] = columns[f"{ZERO_SHOT}_attack_success"] - columns[f"{key}_attack_success"]
    return {name: column_at_rows(values, probed_rows, n) for name, values in columns.items()}


def _measures(n_classes: int, *, has_plain: bool) -> tuple[Measures, Measures]:
    chance = 1 / n_classes
    measures: Measures = {}
    baselines: Measures = {}
    for key in CLASSIFIERS:
        measures[f"{key}_attack_success"] = Mean(column=f"{key}_attack_success", higher_is_better=False)
    for key in PROBES:
        name = f"{ZERO_SHOT}_minus_{key}"
        measures[name] = Mean(column=name, unit="difference", chance=0.0, higher_is_better=None)
    for key in CLASSIFIERS:
        measures[f"{key}_attacked_acc"] = Mean(column=f"{key}_attacked_acc", chance=chance)
        if has_plain:
            measures[f"{key}_plain_acc"] = Mean(column=f"{key}_plain_acc", chance=chance, image="plain_image")
            named_word = f"{key}_plain_named_word"
            baselines[named_word] = Mean(column=named_word, chance=chance, higher_is_better=None, image="plain_image")
    return measures, baselines


def _notes(training: Training, probed_rows: Rows, n_classes: int) -> tuple[str, ...]:
    """Return notes on the training of the classifiers, their numbers of images, and left-out images."""
    folds = np.unique(training.of_attack[probed_rows])
    training_sets = [training.labels[training.folds != fold] for fold in folds.tolist()]
    of_class = np.array([np.bincount(labels, minlength=n_classes) for labels in training_sets])
    sizes = f"{count_range(of_class.sum(axis=1))} without a word, {count_range(of_class.ravel())} a class"
    if ALWAYS in training.folds:
        images = f"images of their own ({sizes})"
    else:
        images = f"images of other objects than the attacked one, in {counted(len(folds), 'fold')} (each {sizes})"
    n_attacks = counted(len(probed_rows), "attack")
    notes = [f"probes: {n_attacks} among {n_classes} classes of equal weight, trained on {images}"]
    if training.n_shown:
        notes.append(f"{count(training.n_shown)} training images are left out, because an attack shows them")
    return tuple(notes)
