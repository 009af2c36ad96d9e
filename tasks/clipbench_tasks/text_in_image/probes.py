"""Attacks on classifiers that read no prompt: are a linear probe and k-NN fooled by a word where the prompts are?

Both are trained on unit vectors of images without a word, as in few-shot but with the same weight for each class, so
that no word wins by the number of its class's images: on images of their own where the data have them
(``is_training``), without those that an attack shows, else on the objects of the attacks, cross-fitted. Then an attack
is tested by classifiers that saw no image of its
object: objects that share an image are one, and each class's objects are dealt to five folds in the order of their ids.
Images of equal content are one image.

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
from clipbench.metrics.classification import class_scores, top_k_credit
from clipbench.metrics.probes import first_credit, fit_probe, neighbour_votes
from clipbench.models.protocol import Embedder
from clipbench.results.numbers import count, counted
from clipbench.stats.clusters import clusters_by_shared_item
from clipbench.stats.measures import Definition, Fixed, Mean, Measure, define
from clipbench_tasks.tables import Column, Mask, Rows, Table, Vectors, at_rows

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
"""A title, the words of a sentence, and what tells the prompts here from the prompts among all classes."""
PROBES = [key for key in CLASSIFIERS if key != ZERO_SHOT]
"""The classifiers that are trained."""
N_FOLDS = 5
ALWAYS, NEVER = -1, -2
"""Fold of training images that every attack is tested with, and of objects without one: they are in no training set."""
PREDICTED = "linear_probe_predicted"
UNTRAINED = (
    "too few objects to train on: expected two classes with two objects each, shown without a word, and an attack on"
    " one of them by the name of the other; train on other images with "
)
UNKNOWN = "no attack's object and word are both classes of the images to train on"
OF_THESE = " The interval is of the classifiers trained in this run: other training images give others."


BY_ATTACKS = ", each weighted by its attacks"
"""An object with three attacks counts three times, while n counts its image once."""


def _definitions() -> dict[str, Definition]:
    found = {}
    for key, (title, by, same) in CLASSIFIERS.items():
        success = f"{key}_attack_success"
        found[success] = Definition(
            f"{title} attack success rate{same}",
            f"Share of attacks in which the class of the written word scores highest by {by}."
            + (OF_THESE if key in PROBES else ""),
        )
        found[f"{key}_attacked_acc"] = Definition(
            f"{title} accuracy under attack{same}", f"Share of attacked objects whose class scores highest by {by}."
        )
        found[f"{key}_plain_acc"] = Definition(
            f"{title} accuracy without a word{same}",
            f"Share of the same objects, without a word, whose class scores highest by {by}{BY_ATTACKS}.",
        )
        found[f"{key}_plain_named_word"] = Definition(
            f"The word's class without a word, {title}{same}",
            "Share of the same objects, without a word, for which the class of the attacking word scores highest by"
            f" {by}{BY_ATTACKS}.",
            success,
        )
    for key in PROBES:
        by = CLASSIFIERS[key][1]
        found[f"{ZERO_SHOT}_minus_{key}"] = Definition(
            f"Attack success rate, zero-shot minus {by.removeprefix('the trained ')}",
            f"Attack success rate by the prompts less that by {by}, of the same attacks among the same"
            f" classes.{OF_THESE}",
        )
    return found


METRICS = _definitions()


class Training(NamedTuple):
    """The images that classifiers are trained on, and the folds that keep those of an attack's own object out."""

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
        """The classes that are trained whatever the fold: those of images in two folds, or of such as are in all
        sets.
        """
        in_folds = defaultdict(set)
        for label, fold in zip(self.labels.tolist(), self.folds.tolist(), strict=True):
            in_folds[label].add(fold)
        trained = [label for label, folds in in_folds.items() if ALWAYS in folds or len(folds) > 1]
        return np.array(sorted(trained), np.int64)


def probed(
    dataset: Dataset, attacks: Sequence[Attack], embedder: Embedder, classes: Vectors, is_asked: Mask
) -> Evaluation:
    """Return how often a written word decides the class by the prompts, by a linear probe and by k-NN.

    Args:
        classes: unit vectors of the prompts.
        is_asked: attacks of the data's usual style.
    """
    training = training_of(dataset, attacks, embedder.digests(dataset.images))
    trained = training.classes
    labels, words = (np.array([getattr(each, part) for each in attacks], np.int64) for part in ("label", "word"))
    asked = np.flatnonzero(is_asked & np.isin(labels, trained) & np.isin(words, trained))
    if len(trained) < 2 or not len(asked):
        reason = UNTRAINED + data_option(train="DATA") if dataset.is_training is None else UNKNOWN
        if training.n_shown:
            reason += f", of which {count(training.n_shown)} are left out because an attack shows them"
        name = "linear_probe_attack_success"
        undefined = Fixed(value=None, reason=reason, higher_is_better=False)
        return Evaluation(samples={}, measures=define({name: undefined}, METRICS))
    kept = np.isin(training.labels, trained)
    own = np.searchsorted(trained, training.labels[kept])  # classes are numbered among those that are trained
    training = training._replace(images=training.images[kept], labels=own, folds=training.folds[kept])
    plain = np.array([_plain(attacks[row]) for row in asked.tolist()], np.int64)
    attacked = np.array([attacks[row].attacked for row in asked.tolist()], np.int64)
    wanted = training.images, attacked, np.where(plain >= 0, plain, attacked)
    of_training, *of_asked = image_vectors(dataset, embedder, *wanted)
    of_both = [np.searchsorted(trained, each[asked]) for each in (labels, words)]
    prompts = [_credits_of_prompts(images, classes[trained], of_both) for images in of_asked]
    scores = _by_folds(training, of_training, of_asked, training.of_attack[asked], len(trained))
    credits = {ZERO_SHOT: prompts} | {
        key: [[first_credit(each, rows) for rows in of_both] for each in both] for key, both in scores.items()
    }
    samples = _samples(credits, plain, asked, len(attacks))
    samples[PREDICTED] = np.full(len(attacks), "", object)
    names = np.array(dataset.class_names, object)[trained]
    samples[PREDICTED][asked] = names[scores["linear_probe"][0].argmax(axis=1)]
    measures, controls = _measures(len(trained), has_plain=bool((plain >= 0).any()))
    return Evaluation(
        samples=samples,
        measures=define(measures, METRICS),
        controls=define(controls, METRICS),
        notes=_notes(training, asked, len(trained)),
    )


def training_of(dataset: Dataset, attacks: Sequence[Attack], digests: Sequence[str]) -> Training:
    """Return the images without a word to train on: the data's own for that, or those of the objects, by folds.

    Args:
        digests: content hashes of the data set's images.
    """
    contents = np.unique(np.array(digests), return_inverse=True)[1]
    shown = [contents[list(each.images)] for each in attacks]
    if dataset.is_training is None:
        return _cross_fitted(dataset.image_ids, attacks, shown)
    assert dataset.labels is not None
    rows = np.flatnonzero(dataset.is_training)
    is_shown = np.isin(contents[rows], np.concatenate(shown))
    rows = rows[~is_shown]
    nowhere = np.full(len(attacks), NEVER)
    return Training(rows, dataset.labels[rows], np.full(len(rows), ALWAYS), nowhere, int(is_shown.sum()))


def _cross_fitted(image_ids: Sequence[str], attacks: Sequence[Attack], shown: Sequence[Rows]) -> Training:
    """Return the images of the objects without a word, those of each class dealt to folds in the order of their first
    ids.

    Args:
        shown: the images of each attack, copies under one number.
    """
    owners = np.repeat(np.arange(len(attacks)), [len(each) for each in shown])
    objects = clusters_by_shared_item(owners, np.concatenate(shown), len(attacks))
    plain = np.array([_plain(each) for each in attacks], np.int64)
    labels = np.array([each.label for each in attacks], np.int64)
    with_plain = np.flatnonzero(plain >= 0)
    fold: dict[int, int] = {}
    n_of_class: dict[int, int] = defaultdict(int)
    for attack in sorted(with_plain.tolist(), key=lambda attack: image_ids[int(plain[attack])]):
        if objects[attack] not in fold:
            fold[objects[attack]] = n_of_class[labels[attack]] % N_FOLDS
            n_of_class[labels[attack]] += 1
    of_attack = np.array([fold.get(thing, NEVER) for thing in objects.tolist()], np.int64)
    rows, first = np.unique(plain[with_plain], return_index=True)
    first = with_plain[first]
    return Training(rows, labels[first], of_attack[first], of_attack)


def _plain(attack: Attack) -> int:
    """Return the row of the object's image without a label, or else with a blank one; -1 for neither."""
    return next((row for row in (attack.clean, attack.blank) if row is not None), -1)


def image_vectors(dataset: Dataset, embedder: Embedder, *rows: Rows) -> list[Vectors]:
    """Return the unit vectors of each list of images; an image in several is encoded once."""
    distinct, place = np.unique(np.concatenate(rows), return_inverse=True)
    vectors = embedder.scoring_vectors(
        embedder.encode(IMAGE, [dataset.images[row] for row in distinct.tolist()], "query")
    )[place]
    return np.split(vectors, np.cumsum([len(each) for each in rows])[:-1])


def _credits_of_prompts(images: Vectors, classes: Vectors, of_both: Sequence[Rows]) -> list[Column]:
    """Return the credits of the object's class and of the word's, by the nearest class vector."""
    found = [class_scores(images, classes, rows, logit_scale=None) for rows in of_both]
    return [top_k_credit(each.better, each.tied) for each in found]


def _by_folds(
    training: Training, vectors: Vectors, of_asked: Sequence[Vectors], folds: Rows, n_classes: int
) -> dict[str, list[Float64[np.ndarray, "n_asked n_classes"]]]:
    """Return the scores of the attacked images, and of those without a word, by classifiers that saw none of their
    fold.

    Args:
        vectors: of the images to train on.
        of_asked: of the attacked images, and of those without a word.
        folds: of the attacks that are asked.
    """
    found = {key: [np.zeros((len(folds), n_classes)) for _ in of_asked] for key in PROBES}
    for fold in np.unique(folds).tolist():
        others, here = training.folds != fold, folds == fold
        images, labels = vectors[others], training.labels[others]
        probe = fit_probe(images, labels, n_classes, is_balanced=True)
        for place, each in enumerate(of_asked):
            found["linear_probe"][place][here] = probe.scores(each[here])
            found["knn"][place][here] = neighbour_votes(each[here], images, labels, n_classes, is_balanced=True)
    return found


def _samples(credits: Mapping[str, Sequence[Sequence[Column]]], plain: Rows, asked: Rows, n: int) -> Table:
    """Return the columns, NaN for attacks that are not asked.

    Args:
        plain: row of each object's image without a word, -1 where there is none.
        credits: by classifier, of the attacked image and of the one without a word: that of the object's class, and of
            the word's.
        n: number of all attacks.
    """
    has_plain = np.where(plain >= 0, 1.0, np.nan)
    found: dict[str, Column] = {"plain_image": plain * has_plain}
    for key, ((right, fooled), (plain_right, plain_named)) in credits.items():
        found |= {f"{key}_attack_success": fooled, f"{key}_attacked_acc": right}
        found |= {f"{key}_plain_acc": plain_right * has_plain, f"{key}_plain_named_word": plain_named * has_plain}
    for key in PROBES:
        found[f"{ZERO_SHOT}_minus_{key}"] = found[f"{ZERO_SHOT}_attack_success"] - found[f"{key}_attack_success"]
    return {name: at_rows(values, asked, n) for name, values in found.items()}


def _measures(n_classes: int, *, has_plain: bool) -> tuple[dict[str, Measure], dict[str, Measure]]:
    chance = 1 / n_classes
    measures: dict[str, Measure] = {
        f"{key}_attack_success": Mean(column=f"{key}_attack_success", higher_is_better=False) for key in CLASSIFIERS
    }
    for key in PROBES:
        name = f"{ZERO_SHOT}_minus_{key}"
        measures[name] = Mean(column=name, unit="difference", chance=0.0, higher_is_better=None)
    for key in CLASSIFIERS:
        measures[f"{key}_attacked_acc"] = Mean(column=f"{key}_attacked_acc", chance=chance)
        if has_plain:
            measures[f"{key}_plain_acc"] = Mean(column=f"{key}_plain_acc", chance=chance, image="plain_image")
    controls: dict[str, Measure] = {
        f"{key}_plain_named_word": Mean(
            column=f"{key}_plain_named_word", chance=chance, higher_is_better=None, image="plain_image"
        )
        for key in CLASSIFIERS
        if has_plain
    }
    return measures, controls


def _notes(training: Training, asked: Rows, n_classes: int) -> tuple[str, ...]:
    """Return how the classifiers were trained, on how many images each, and what was left out."""
    folds = np.unique(training.of_attack[asked])
    training_sets = [training.labels[training.folds != fold] for fold in folds.tolist()]
    of_class = np.array([np.bincount(labels, minlength=n_classes) for labels in training_sets])
    sizes = f"{_range(of_class.sum(axis=1))} without a word, {_range(of_class.ravel())} a class"
    how = (
        f"images of their own ({sizes})"
        if ALWAYS in training.folds
        else f"images of other objects than the attacked one, in {counted(len(folds), 'fold')} (each {sizes})"
    )
    notes = [f"probes: {counted(len(asked), 'attack')} among {n_classes} classes of equal weight, trained on {how}"]
    if training.n_shown:
        notes.append(f"images to train on that an attack shows ({count(training.n_shown)}): left out")
    return tuple(notes)


def _range(numbers: Rows) -> str:
    fewest, most = int(numbers.min()), int(numbers.max())
    return count(fewest) if fewest == most else f"{count(fewest)} to {count(most)}"
