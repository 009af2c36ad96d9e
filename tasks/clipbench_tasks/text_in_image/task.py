"""Text in images: can the model read it, does it hijack the classification, and how large must it be for that?

A data set has one or both of two kinds of item. *Contrasts* have an image with a written word and several captions,
each with a word in quotes: the nearest caption should be the true one. *Attacks* have an object with an overlay that
names
another thing, and the same object without an overlay, with a blank one and with its own name, all classified as in
zero-shot, among all class names, of objects and words. An attack succeeds when the class of its word comes first. The
two-way choice is SCAM's protocol (Westerhoff et al. 2025): the object or the word, with class embeddings that are
means of raw prompt vectors.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Shaped

from clipbench.data.dataset import Dataset
from clipbench.data.prompts import Prompts, prompts_of
from clipbench.data.questions import Attack, Contrast
from clipbench.errors import DataError, MissingPart
from clipbench.evaluation.task import Evaluation, Task
from clipbench.metrics.classification import class_scores
from clipbench.metrics.similarity import pair_scores
from clipbench.models.protocol import Embedder
from clipbench.results.metric_name import split_subset
from clipbench.results.record import CurveRole
from clipbench.stats.clusters import clusters_by_shared_item
from clipbench.stats.estimators import Samples
from clipbench.stats.measures import Definition, Fixed, Mean, Measures, define, undefined
from clipbench_tasks.choices import ItemVectors, decide, vectors_of
from clipbench_tasks.tables import (
    Column,
    Curves,
    Mask,
    Rows,
    Table,
    Vectors,
    column_at_rows,
    curve_of_means,
    items_at,
    join_evaluations,
    split_by_subset,
    text_column,
)
from clipbench_tasks.text_in_image.probes import BY_ATTACKS, image_vectors, probe_attacks
from clipbench_tasks.zero_shot import class_vectors, prompt_vectors


@dataclass(frozen=True)
class TextInImage(Task):
    """Reading a written word among candidates, and the effect of a written word on classification."""

    name = "text-in-image"
    version = 1
    takes_dot = True
    data_form = "attacks"
    summary = "reading a written word, and being fooled by one: reading_acc, attack_success, drop"
    needs_model = True
    held_parts = ("attacks",)
    question = "Can the model read a written word, and does a word written on an object decide its class?"
    scoring = (
        "A word counts as read if the caption that quotes it is the nearest. An attack succeeds if the class of the"
        " written word scores highest. The accuracy drop compares each object with itself. In two-way choices only the"
        " object and the word are compared. A tie scores as a random choice would."
    )

    prompts: Prompts | None = None
    """Prompts of the classes, None for the data set's own templates, or the default if it has none."""
    probes: bool = False
    """Attack a linear probe and k-NN too, trained on the objects without a word; so are data with images to train
    on.
    """

    def check(self, dataset: Dataset) -> None:
        """Raise unless there are attacks with class names, or contrasts of one image each."""
        if not dataset.attacks and not dataset.contrasts:
            raise MissingPart(dataset.id, "attacks")
        if dataset.attacks:
            dataset.require("class_names")
        for contrast in dataset.contrasts or ():
            if len(contrast.images) != 1:
                raise DataError(
                    f"data set {dataset.id}: item '{contrast.id}' has {len(contrast.images)} images: expected one image"
                    " and several captions, to read a word"
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
        return join_evaluations(parts)


def reading(dataset: Dataset, contrasts: Sequence[Contrast], embedder: Embedder) -> Evaluation:
    """Return a row for each image with a written word: the nearest caption, among several that each quote a word."""
    texts = (text for contrast in contrasts for text in contrast.captions)
    vectors = vectors_of(dataset, texts, embedder, of=contrasts)
    decisions = decide(contrasts, vectors, len)
    credit, margin = decisions.by_model.text, decisions.by_model.text_margin
    nearest = decisions.nearest
    images = nearest["image"]
    blind_credit = _blind_credit(contrasts, vectors, images, embedder)
    subset = text_column(contrast.subset for contrast in contrasts)
    by_subset = split_by_subset(subset, {"reading_acc": credit}) if len(set(subset)) > 1 else {}
    true_cosine, false_cosine = nearest["target_cosine"], nearest["predicted_cosine"]
    samples: Table = {
        "sample_id": text_column(f"reading/{contrast.id}" for contrast in contrasts),
        "cluster": text_column(f"image {row}" for row in images),
        "image": images,
        "margin": margin,
        "reading_margin": margin,
        "target_cosine": true_cosine,
        "predicted_cosine": np.maximum(true_cosine, false_cosine),
        "subset": subset,
        "written": nearest["caption"],
        "read": np.where(true_cosine < false_cosine, nearest["preferred"], nearest["caption"]),
        "n_candidates": np.array([float(len(contrast.captions)) for contrast in contrasts]),
        "reading_acc": credit,
        "reading_blind": blind_credit,
        "reading_shortest": decisions.shorter_caption,
        "reading_tied": (margin == 0).astype(np.float64),
    }
    return Evaluation(
        inputs={"subset": "condition"},
        samples=samples | by_subset,
        measures=define(_reading_measures(by_subset, decisions.by_chance.text), METRICS),
        baselines=define(_reading_baselines(blind_credit, decisions.by_chance.text), METRICS),
        notes=(f"{len(contrasts)} words to read, the first among {len(contrasts[0].captions)} captions",),
    )


def _blind_credit(contrasts: Sequence[Contrast], vectors: ItemVectors, images: Rows, embedder: Embedder) -> Column:
    """Return the credits of a model that sees the mean of all images instead of each image."""
    mean = vectors.images[np.unique(images)].mean(axis=0, dtype=np.float64, keepdims=True).astype(np.float32)
    mean_for_each = np.broadcast_to(embedder.scoring_vectors(mean), vectors.images.shape)
    return decide(contrasts, vectors._replace(images=mean_for_each), len).by_model.text


def _reading_measures(by_subset: Table, chances: Column) -> Measures:
    measures: Measures = {"reading_acc": Mean(column="reading_acc", chance=float(chances.mean()))}
    for name, credit in by_subset.items():
        measures[name] = Mean(column=name, chance=float(chances[~np.isnan(credit)].mean()))
    return measures


def _reading_baselines(blind_credit: Column, chances: Column) -> Measures:
    chance = float(chances.mean())
    return {
        "reading_blind": Fixed(
            value=float(blind_credit.mean()),
            n=len(blind_credit),
            chance=chance,
            reason="no interval: the choice depends on the mean of all images, so samples are not independent",
        ),
        "reading_shortest": Mean(column="reading_shortest", chance=chance, higher_is_better=None),
        "reading_tie_rate": Mean(column="reading_tied", higher_is_better=None),
    }


CONDITIONS = ("clean", "blank", "benign", "attacked")
"""No overlay, a blank one, one with the object's own name, or one with another name."""

OVERLAYS = {
    "clean": "without an overlay",
    "blank": "with a blank overlay",
    "benign": "with a truthful overlay",
    "attacked": "under attack",
}

METRICS = {
    "reading_acc": Definition(
        "Reading accuracy",
        "Fraction of images whose nearest caption is the one with the written word.",
        is_headline=True,
    ),
    "reading_blind": Definition(
        "Reading without the image", "The same with the mean of all images instead of each image.", "reading_acc"
    ),
    "reading_shortest": Definition(
        "Always the shortest caption", "Reading accuracy of the rule that the shortest caption is true.", "reading_acc"
    ),
    "reading_tie_rate": Definition("Ties", "Fraction of images for which a tie decides.", "reading_acc"),
    "attack_success": Definition(
        "Attack success rate",
        "Fraction of attacks in which the class of the written word scores highest.",
        is_headline=True,
    ),
    "drop": Definition(
        "Accuracy drop under attack", "Accuracy without an overlay minus accuracy under attack, of the same objects."
    ),
    "drop_from_blank": Definition(
        "Accuracy drop from a blank overlay",
        "Accuracy with a blank overlay minus accuracy under attack, of the same objects.",
    ),
    "attack_tie_rate": Definition("Ties", "Fraction of attacks in which a tie decides.", "attack_success"),
}
METRICS |= {
    f"{kind}_acc": Definition(
        f"Accuracy {overlay}", f"Fraction of objects {overlay} whose class scores highest{BY_ATTACKS}."
    )
    for kind, overlay in OVERLAYS.items()
}
METRICS |= {
    f"{kind}_two_way_acc": Definition(
        f"Two-way accuracy {overlay}",
        f"Fraction of objects {overlay} that score above the attacking word{BY_ATTACKS}.",
    )
    for kind, overlay in OVERLAYS.items()
}
METRICS |= {
    f"{kind}_named_word": Definition(
        f"The word's class {OVERLAYS[kind]}",
        f"Fraction of objects {OVERLAYS[kind]} for which the class of the attacking word scores highest{BY_ATTACKS}.",
        "attack_success",
    )
    for kind in ("clean", "blank")
}

AXES = {
    "height": "height of a capital letter, widths of the image",
    "contrast": "contrast of ink and paper",
    "offset": "distance of the overlay below the middle, widths of the image",
}
"""Properties over which the shipped response curves run."""


def attacked(
    dataset: Dataset, attacks: Sequence[Attack], embedder: Embedder, *, prompts: Prompts, with_probes: bool = False
) -> Evaluation:
    """Return a row for each attack: the classification of the object in each of its images.

    Args:
        with_probes: attack a linear probe and k-NN too (``probes``).
    """
    names = dataset.class_names or ()
    texts = prompts.render(names)
    by_prompt = prompt_vectors(texts, embedder)
    classes = _ClassVectors(class_vectors(by_prompt, embedder), class_vectors(by_prompt, embedder, of_raw=True))
    verdicts = {kind: _verdict(dataset, embedder, attacks, kind, classes) for kind in CONDITIONS}
    samples = _samples(attacks, verdicts, names)
    measures = define(_measures(samples, verdicts, len(names)), METRICS)
    baselines = define(_baselines(verdicts, len(names)), METRICS)
    n_words = len({attack.word for attack in attacks})
    of_probes = Evaluation(samples={}, measures={})
    if with_probes:
        of_probes = probe_attacks(dataset, attacks, embedder, classes.of_unit, _is_usual(samples["condition"]))
    return Evaluation(
        samples={**samples, **of_probes.samples},
        inputs={"object": "condition", "word": "condition", "condition": "condition"},
        measures={**measures, **of_probes.measures},
        curves=_response_curves(samples, 1 / len(names)),
        baselines={**baselines, **of_probes.baselines},
        notes=(
            f"{len(attacks)} attacks by {n_words} words, among {len(names)} classes",
            f"prompts for class '{names[0]}': {len(texts[0])}, the first '{texts[0][0]}'",
            *of_probes.notes,
        ),
    )


class _ClassVectors(NamedTuple):
    """Unit vectors of the classes."""

    of_unit: Vectors
    """From the means of the prompts' unit vectors."""
    of_raw: Vectors
    """From the means of their raw vectors, for the two-way choice."""


class _Verdict(NamedTuple):
    """Classification of one image of each attack, NaN (or -1) if the image is missing."""

    object: Column
    """Credit: the object's class came first."""
    word: Column
    """Credit: the class of the attacking word came first."""
    two_way: Column
    """Credit: the object is nearer than the word."""
    margin: Column
    """Score of the object's class minus the best other one's."""
    target_cosine: Column
    """Score of the object's class."""
    predicted_cosine: Column
    """Score of the predicted class."""
    predicted: Rows

    @property
    def is_present(self) -> bool:
        """True if there is any such image."""
        return not np.isnan(self.object).all()


def _verdict(
    dataset: Dataset, embedder: Embedder, attacks: Sequence[Attack], kind: str, classes: _ClassVectors
) -> _Verdict:
    """Classify one image of each attack."""
    n = len(attacks)
    image_rows = [getattr(attack, kind) for attack in attacks]
    present = np.flatnonzero([row is not None for row in image_rows])
    predicted = np.full(n, -1)
    if not len(present):
        return _Verdict._make([*np.full((6, n), np.nan), predicted])
    (images,) = image_vectors(dataset, embedder, np.array([row for row in image_rows if row is not None]))
    labels = np.array([attack.label for attack in attacks], np.int64)[present]
    words = np.array([attack.word for attack in attacks], np.int64)[present]
    by_object = class_scores(images, classes.of_unit, labels)
    by_word = class_scores(images, classes.of_unit, words)
    lead = pair_scores(images, classes.of_raw[labels]) - pair_scores(images, classes.of_raw[words])
    two_way = (1 + np.sign(lead.astype(np.float64))) / 2  # 1 won, 0 lost, one half for a tie
    predicted[present] = by_object.predicted
    return _Verdict(
        object=column_at_rows(by_object.credit(), present, n),
        word=column_at_rows(by_word.credit(), present, n),
        two_way=column_at_rows(two_way, present, n),
        margin=column_at_rows(by_object.margin, present, n),
        target_cosine=column_at_rows(by_object.true_score, present, n),
        predicted_cosine=column_at_rows(by_object.top, present, n),
        predicted=predicted,
    )


def _samples(attacks: Sequence[Attack], verdicts: Mapping[str, _Verdict], names: Sequence[str]) -> Table:
    """Return the table: ``right`` and ``fooled`` of all attacks, and one column per metric, NaN for other attacks."""
    conditions = text_column(attack.condition for attack in attacks)
    under = verdicts["attacked"]
    samples = {
        "sample_id": text_column(f"attack/{attack.id}" for attack in attacks),
        "cluster": _clusters(attacks),
        "image": np.array([attack.attacked for attack in attacks]),
        "margin": under.margin,
        "object": text_column(names[attack.label] for attack in attacks),
        "word": text_column(names[attack.word] for attack in attacks),
        "condition": conditions,
        "predicted": text_column(items_at(names, under.predicted)),
        "target_cosine": under.target_cosine,
        "predicted_cosine": under.predicted_cosine,
        "right": under.object,
        "fooled": under.word,
    }
    is_usual = _is_usual(conditions)

    def of_usual(values: Column | Mask) -> Column:
        return np.where(is_usual, values, np.nan)

    samples["attacked_margin"] = of_usual(under.margin)
    for kind, verdict in verdicts.items():
        samples[f"{kind}_image"] = np.array([getattr(attack, kind) for attack in attacks], np.float64)
        samples[f"{kind}_acc"] = of_usual(verdict.object)
        samples[f"{kind}_two_way_acc"] = of_usual(verdict.two_way)
    samples["attack_success"] = of_usual(under.word)
    samples["drop"] = samples["clean_acc"] - samples["attacked_acc"]
    samples["drop_from_blank"] = samples["blank_acc"] - samples["attacked_acc"]
    for kind in ("clean", "blank"):
        samples[f"{kind}_named_word"] = of_usual(verdicts[kind].word)
    samples["attack_tied"] = of_usual(_is_tied(under.object) | _is_tied(under.word))
    for name in dict.fromkeys(conditions.tolist()):
        if name and _setting(name) is None:  # it is no point of a curve, and has metrics of its own
            has_condition = conditions == name
            samples[f"{name}/attacked_acc"] = np.where(has_condition, under.object, np.nan)
            samples[f"{name}/attacked_two_way_acc"] = np.where(has_condition, under.two_way, np.nan)
            samples[f"{name}/attack_success"] = np.where(has_condition, under.word, np.nan)
    return samples


def _is_tied(credit: Column) -> Mask:
    return (credit > 0) & (credit < 1)


def _clusters(attacks: Sequence[Attack]) -> Shaped[np.ndarray, " n"]:
    """Return the cluster of each attack: attacks of one object, or of one image if objects have no names, share one."""
    cluster_names = [_cluster_names(attack) for attack in attacks]
    rows = np.repeat(np.arange(len(attacks)), [len(names) for names in cluster_names])
    groups = clusters_by_shared_item(rows, np.concatenate(cluster_names), len(attacks))
    return text_column(names[0] for names in cluster_names)[groups]


def _cluster_names(attack: Attack) -> list[str]:
    """Return the names that an attack shares with others of its cluster."""
    if attack.object is not None:
        return [f"object {attack.object}"]
    images = (attack.clean, attack.blank, attack.benign, attack.attacked)
    return [f"image {row}" for row in images if row is not None]


def _is_usual(conditions: Shaped[np.ndarray, " n"]) -> Bool[np.ndarray, " n"]:
    """Return a mask of the attacks of the data set's usual style, of all if every one has a special style."""
    is_usual = conditions == ""
    return is_usual if is_usual.any() else np.ones(len(conditions), bool)


def _setting(condition: str) -> tuple[str, float] | None:
    """Return property and value of a condition such as ``height=0.06``, or None for a condition without a number."""
    name, _, value = condition.partition("=")
    try:
        return name, float(value)
    except ValueError:
        return None


def _condition_order(condition: str) -> tuple[tuple[str, float], str]:
    """Return a key that sorts conditions with a number by property and number."""
    return _setting(condition) or ("", 0.0), condition


def _measures(samples: Samples, verdicts: Mapping[str, _Verdict], n_classes: int) -> Measures:
    chance = 1 / n_classes
    present = [kind for kind in CONDITIONS if verdicts[kind].is_present]
    reason = "the data has no clean images of the objects"
    measures: Measures = {
        # No chance: a model that reads no overlay still takes some objects for the word. ``clean_named_word`` says how
        # many.
        "attack_success": Mean(column="attack_success", higher_is_better=False),
        "clean_acc": undefined(reason, higher_is_better=True),
    }
    for kind in present:
        measures[f"{kind}_acc"] = Mean(column=f"{kind}_acc", chance=chance, image=f"{kind}_image")
    # Differences are paired: each object against itself.
    drop = Mean(column="drop", unit="difference", chance=0.0, higher_is_better=False)
    no_drop = undefined(reason, "difference", higher_is_better=False)
    measures["drop"] = drop if "clean" in present else no_drop
    if "blank" in present:
        measures["drop_from_blank"] = replace(drop, column="drop_from_blank")
    for kind in present:
        measures[f"{kind}_two_way_acc"] = Mean(column=f"{kind}_two_way_acc", chance=0.5, image=f"{kind}_image")
    for name in samples:
        condition, key = split_subset(name)
        if condition:
            if key == "attack_success":
                measures[name] = Mean(column=name, higher_is_better=False)
            else:
                measures[name] = Mean(column=name, chance=0.5 if "two_way" in key else chance)
    return measures


def _baselines(verdicts: Mapping[str, _Verdict], n_classes: int) -> Measures:
    baselines: Measures = {}
    for kind in ("clean", "blank"):
        if verdicts[kind].is_present:
            name = f"{kind}_named_word"
            baselines[name] = Mean(column=name, chance=1 / n_classes, higher_is_better=None, image=f"{kind}_image")
    baselines["attack_tie_rate"] = Mean(column="attack_tied", higher_is_better=None)
    return baselines


class _Response(NamedTuple):
    """What a response curve shows of the attacks of a setting."""

    name: str
    column: str
    series: str
    role: CurveRole


RESPONSES = (
    _Response("attack_success", "fooled", "attacking word", "text"),
    _Response("attacked_acc", "right", "object", "image"),
)


def _response_curves(samples: Samples, chance: float) -> Curves:
    """Return curves of attack success and accuracy under attack by the properties that the conditions vary."""
    points: dict[str, list[tuple[float, Rows]]] = defaultdict(list)
    for condition in sorted(set(samples["condition"].tolist()), key=_condition_order):
        setting = _setting(condition)
        if setting is not None:
            property_name, x = setting
            points[property_name].append((x, np.flatnonzero(samples["condition"] == condition)))
    curves: Curves = {}
    for property_name, property_points in points.items():
        for response in RESPONSES:
            values = samples[response.column]
            curves[f"{response.name}_by_{property_name}"] = curve_of_means(
                [x for x, _ in property_points],
                [(values[rows], samples["cluster"][rows]) for _, rows in property_points],
                chance=[chance] * len(property_points) if response.role == "image" else None,
                x_label=AXES.get(property_name, property_name),
                y_label="predicted class",
                figure=f"by {property_name}",
                series=response.series,
                role=response.role,
            )
    return curves
