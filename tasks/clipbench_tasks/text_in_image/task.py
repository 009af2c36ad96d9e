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
from clipbench.stats.clusters import clusters_by_shared_item
from clipbench.stats.estimators import Samples
from clipbench.stats.measures import Definition, Fixed, Mean, Measures, define, undefined
from clipbench_tasks.choices import decide, vectors_of
from clipbench_tasks.tables import (
    Column,
    Curves,
    Mask,
    Rows,
    Table,
    Vectors,
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
    vectors = vectors_of(
        dataset, (text for contrast in contrasts for text in contrast.captions), embedder, of=contrasts
    )
    decided, by_chance, shortest, nearest = decide(contrasts, vectors, len)
    images = nearest["image"]
    mean = vectors.images[np.unique(images)].mean(axis=0, dtype=np.float64, keepdims=True).astype(np.float32)
    of_mean = vectors._replace(images=np.broadcast_to(embedder.scoring_vectors(mean), vectors.images.shape))
    blind, credit = decide(contrasts, of_mean, len)[0].text, decided.text
    subset = text_column(contrast.subset for contrast in contrasts)
    right, wrong = nearest["target_cosine"], nearest["predicted_cosine"]
    chances, chance = by_chance.text, float(by_chance.text.mean())
    measures: Measures = {"reading_acc": Mean(column="reading_acc", chance=chance)}
    of_subsets = split_by_subset(subset, {"reading_acc": credit}) if len(set(subset)) > 1 else {}
    for name, column in of_subsets.items():
        measures[name] = Mean(column=name, chance=float(chances[~np.isnan(column)].mean()))
    baselines: Measures = {
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
        inputs={"subset": "condition"},
        samples={
            "sample_id": text_column(f"reading/{contrast.id}" for contrast in contrasts),
            "cluster": text_column(f"image {row}" for row in images),
            "image": images,
            "margin": decided.text_margin,
            "reading_margin": decided.text_margin,
            "target_cosine": right,
            "predicted_cosine": np.maximum(right, wrong),
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
        baselines=define(baselines, METRICS),
        notes=(f"{len(contrasts)} words to read, the first among {len(contrasts[0].captions)} captions",),
    )


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
    **{
        f"{kind}_acc": Definition(
            f"Accuracy {overlay}", f"Fraction of objects {overlay} whose class scores highest{BY_ATTACKS}."
        )
        for kind, overlay in OVERLAYS.items()
    },
    **{
        f"{kind}_two_way_acc": Definition(
            f"Two-way accuracy {overlay}",
            f"Fraction of objects {overlay} that score above the attacking word{BY_ATTACKS}.",
        )
        for kind, overlay in OVERLAYS.items()
    },
    **{
        f"{kind}_named_word": Definition(
            f"The word's class {OVERLAYS[kind]}",
            f"Fraction of objects {OVERLAYS[kind]} for which the class of the attacking word scores"
            f" highest{BY_ATTACKS}.",
            "attack_success",
        )
        for kind in ("clean", "blank")
    },
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
    classes = class_vectors(by_prompt, embedder), class_vectors(by_prompt, embedder, of_raw=True)
    verdicts = {kind: _verdict(dataset, embedder, attacks, kind, classes) for kind in CONDITIONS}
    samples = _samples(attacks, verdicts, names)
    baselines: Measures = {
        f"{kind}_named_word": Mean(
            column=f"{kind}_named_word", chance=1 / len(names), higher_is_better=None, image=f"{kind}_image"
        )
        for kind in ("clean", "blank")
        if verdicts[kind].is_present
    }
    baselines["attack_tie_rate"] = Mean(column="attack_tied", higher_is_better=None)
    of_probes = Evaluation(samples={}, measures={})
    if with_probes:
        of_probes = probe_attacks(dataset, attacks, embedder, classes[0], _is_usual(samples["condition"]))
    return Evaluation(
        samples={**samples, **of_probes.samples},
        inputs={"object": "condition", "word": "condition", "condition": "condition"},
        measures={**define(_measures(samples, verdicts, len(names)), METRICS), **of_probes.measures},
        curves=_response_curves(samples, 1 / len(names)),
        baselines={**define(baselines, METRICS), **of_probes.baselines},
        notes=(
            f"{len(attacks)} attacks by {len({attack.word for attack in attacks})} words, among {len(names)} classes",
            f"prompts for class '{names[0]}': {len(texts[0])}, the first '{texts[0][0]}'",
            *of_probes.notes,
        ),
    )


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
    dataset: Dataset, embedder: Embedder, attacks: Sequence[Attack], kind: str, classes: tuple[Vectors, Vectors]
) -> _Verdict:
    """Classify one image of each attack.

    Args:
        classes: unit vectors of the classes, and those from the means of raw vectors.
    """
    image_rows = [getattr(attack, kind) for attack in attacks]
    present = np.flatnonzero([row is not None for row in image_rows])
    verdict = _Verdict._make([*np.full((6, len(attacks)), np.nan), np.full(len(attacks), -1)])
    if not len(present):
        return verdict
    (images,) = image_vectors(dataset, embedder, np.array([row for row in image_rows if row is not None]))
    labels, words = (
        np.array([getattr(attacks[row], part) for row in present.tolist()], np.int64) for part in ("label", "word")
    )
    by_object, by_word = (class_scores(images, classes[0], class_rows) for class_rows in (labels, words))
    lead = pair_scores(images, classes[1][labels]) - pair_scores(images, classes[1][words])
    columns = (
        by_object.credit(),
        by_word.credit(),
        (1 + np.sign(lead.astype(np.float64))) / 2,  # 1 won, 0 lost, one half for a tie
        by_object.margin,
        by_object.true_score,
        by_object.top,
        by_object.predicted,
    )
    for column, values in zip(verdict, columns, strict=True):
        column[present] = values
    return verdict


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
        samples |= {f"{kind}_acc": of_usual(verdict.object), f"{kind}_two_way_acc": of_usual(verdict.two_way)}
    is_tied = [(credit > 0) & (credit < 1) for credit in (under.object, under.word)]
    samples |= {
        "attack_success": of_usual(under.word),
        "drop": samples["clean_acc"] - samples["attacked_acc"],
        "drop_from_blank": samples["blank_acc"] - samples["attacked_acc"],
        **{f"{kind}_named_word": of_usual(verdicts[kind].word) for kind in ("clean", "blank")},
        "attack_tied": of_usual(is_tied[0] | is_tied[1]),
    }
    # The conditions that are no points of a curve have metrics of their own.
    for name in (name for name in dict.fromkeys(conditions.tolist()) if name and _setting(name) is None):
        parts = {"attacked_acc": under.object, "attacked_two_way_acc": under.two_way, "attack_success": under.word}
        samples |= {f"{name}/{key}": np.where(conditions == name, part, np.nan) for key, part in parts.items()}
    return samples


def _clusters(attacks: Sequence[Attack]) -> Shaped[np.ndarray, " n"]:
    """Return the cluster of each attack: attacks of one object, or of one image if objects have no names, share one."""
    cluster_names = [
        (
            [f"image {row}" for row in (attack.clean, attack.blank, attack.benign, attack.attacked) if row is not None]
            if attack.object is None
            else [f"object {attack.object}"]
        )
        for attack in attacks
    ]
    rows = np.repeat(np.arange(len(attacks)), [len(names) for names in cluster_names])
    groups = clusters_by_shared_item(rows, np.concatenate(cluster_names), len(attacks))
    return text_column(names[0] for names in cluster_names)[groups]


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


def _measures(samples: Samples, verdicts: Mapping[str, _Verdict], n_classes: int) -> Measures:
    chance, present = 1 / n_classes, [kind for kind in CONDITIONS if verdicts[kind].is_present]
    reason = "the data has no clean images of the objects"
    # Differences are paired: each object against itself.
    drop = Mean(column="drop", unit="difference", chance=0.0, higher_is_better=False)
    no_drop = undefined(reason, "difference", higher_is_better=False)
    measures: Measures = {
        # No chance: a model that reads no overlay still takes some objects for the word. ``clean_named_word`` says how
        # many.
        "attack_success": Mean(column="attack_success", higher_is_better=False),
        "clean_acc": undefined(reason, higher_is_better=True),
        **{f"{kind}_acc": Mean(column=f"{kind}_acc", chance=chance, image=f"{kind}_image") for kind in present},
        "drop": drop if "clean" in present else no_drop,
    }
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


def _response_curves(samples: Samples, chance: float) -> Curves:
    """Return curves of attack success and accuracy under attack by the properties that the conditions vary."""
    points: dict[str, list[tuple[float, np.ndarray]]] = defaultdict(list)
    for condition in sorted(set(samples["condition"].tolist()), key=lambda name: (_setting(name) or ("", 0.0), name)):
        setting = _setting(condition)
        if setting is not None:
            points[setting[0]].append((setting[1], np.flatnonzero(samples["condition"] == condition)))
    return {
        f"{key}_by_{name}": curve_of_means(
            [x for x, _ in settings],
            [(samples[column][rows], samples["cluster"][rows]) for _, rows in settings],
            chance=[chance] * len(settings) if role == "image" else None,
            x_label=AXES.get(name, name),
            y_label="predicted class",
            figure=f"by {name}",
            series=series,
            role=role,
        )
        for name, settings in points.items()
        for key, column, series, role in (
            ("attack_success", "fooled", "attacking word", "text"),
            ("attacked_acc", "right", "object", "image"),
        )
    }
