"""Attacks: the effect of a written word on classification, against the same image without it.

All images are classified among all class names, of objects and words, by the nearest class vector. An attack succeeds
when the class of its word comes first. The two-way choice is SCAM's protocol (Westerhoff et al. 2025): the object or
the word, with class vectors that are means of raw prompt vectors.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int64, Shaped

from clipbench.data.contrast_and_attack import Attack
from clipbench.data.dataset import Dataset
from clipbench.data.prompts import Prompts
from clipbench.evaluation.task import Evaluation
from clipbench.metrics import class_scores, top_k_credit
from clipbench.metrics.similarity import pair_scores, unit
from clipbench.models.protocol import Embedder
from clipbench.results.record import Curve
from clipbench.stats import intervals
from clipbench.stats.clusters import sharing
from clipbench.stats.measures import Definition, Fixed, Mean, Measure, define
from clipbench_tasks.class_prompts import class_vectors, prompt_vectors
from clipbench_tasks.tables import bounded_curve
from clipbench_tasks.text_in_image.probes import METRICS as OF_PROBES
from clipbench_tasks.text_in_image.probes import Probed, probed

CONDITIONS = ("clean", "blank", "benign", "attacked")
"""No label; a blank one; one with the object's own name; one with another name."""

LABELS = {
    "clean": "without a label",
    "blank": "with a blank label",
    "benign": "with a truthful label",
    "attacked": "under attack",
}

METRICS = {
    "attack_success": Definition(
        "Attack success rate",
        "Share of attacks in which the class of the written word scores highest.",
        is_headline=True,
    ),
    "drop": Definition(
        "Accuracy drop under attack", "Accuracy without a label less accuracy under attack, of the same objects."
    ),
    "drop_from_blank": Definition(
        "Accuracy drop from a blank label",
        "Accuracy with a blank label less accuracy under attack, of the same objects.",
    ),
    "attack_tie_rate": Definition("Ties", "Share of attacks in which a tie decides.", "attack_success"),
    **{
        f"{kind}_acc": Definition(f"Accuracy {label}", f"Share of objects {label} whose class scores highest.")
        for kind, label in LABELS.items()
    },
    **{
        f"{kind}_two_way_acc": Definition(
            f"Two-way accuracy {label}", f"Share of objects {label} that score above the attacking word."
        )
        for kind, label in LABELS.items()
    },
    **{
        f"{kind}_named_word": Definition(
            f"The word's class {LABELS[kind]}",
            f"Share of objects {LABELS[kind]} for which the class of the attacking word scores highest.",
            "attack_success",
        )
        for kind in ("clean", "blank")
    },
}

AXES = {
    "height": "height of a capital letter, widths of the image",
    "contrast": "contrast of ink and paper",
    "offset": "distance of the label below the middle, widths of the image",
}
"""Properties over which the shipped response curves run."""


def attacked(
    dataset: Dataset, attacks: Sequence[Attack], embedder: Embedder, *, prompts: Prompts, with_probes: bool = False
) -> Evaluation:
    """Return a row for each attack: the classification of the object in each of its images.

    Args:
        with_probes: attack a linear probe and k-NN too (``probes``).
    """
    dataset.require("class_names")
    names = dataset.class_names or ()
    texts = prompts.render(names)
    by_prompt = prompt_vectors(texts, embedder)
    judge = _Classifier(
        dataset=dataset,
        embedder=embedder,
        classes=class_vectors(by_prompt),
        raw_classes=class_vectors(by_prompt, of_raw=True),
        labels=np.array([attack.label for attack in attacks], np.int64),
        words=np.array([attack.word for attack in attacks], np.int64),
    )
    verdicts = {kind: judge.verdict([getattr(attack, kind) for attack in attacks]) for kind in CONDITIONS}
    samples = _samples(attacks, verdicts, names)
    of_probes = Probed({}, {}, {}, ())
    if with_probes:
        of_probes = probed(dataset, attacks, embedder, judge.classes, _is_usual(samples["condition"]))
    return Evaluation(
        samples={**samples, **of_probes.samples},
        measures=define({**_measures(samples, verdicts, len(names)), **of_probes.measures}, {**METRICS, **OF_PROBES}),
        curves=_response_curves(samples),
        controls=define({**_controls(verdicts, len(names)), **of_probes.controls}, {**METRICS, **OF_PROBES}),
        notes=(
            f"{len(attacks)} attacks by {len({attack.word for attack in attacks})} words, among {len(names)} classes",
            f"prompts for class '{names[0]}': {len(texts[0])}, the first '{texts[0][0]}'",
            *of_probes.notes,
        ),
    )


class _Verdict(NamedTuple):
    """Classification of one image of each attack; NaN (or an empty name) where there is no such image."""

    object: Float64[np.ndarray, " n"]
    """Credit: the object's class came first."""
    word: Float64[np.ndarray, " n"]
    """Credit: the class of the attacking word came first."""
    two_way: Float64[np.ndarray, " n"]
    """Credit: the object is nearer than the word."""
    margin: Float64[np.ndarray, " n"]
    """Score of the object's class minus the best other one's."""
    right_cosine: Float64[np.ndarray, " n"]
    """Score of the object's class."""
    chosen_cosine: Float64[np.ndarray, " n"]
    """Score of the predicted class."""
    predicted: Int64[np.ndarray, " n"]

    @property
    def is_present(self) -> bool:
        """True if there is any such image."""
        return not np.isnan(self.object).all()


class _Classifier(NamedTuple):
    """Class vectors, and the object and word of each attack."""

    dataset: Dataset
    embedder: Embedder
    classes: Float32[np.ndarray, "n_classes dim"]
    raw_classes: Float32[np.ndarray, "n_classes dim"]
    labels: Int64[np.ndarray, " n"]
    words: Int64[np.ndarray, " n"]

    def verdict(self, image_rows: Sequence[int | None]) -> _Verdict:
        """Classify one image of each attack, by its row; None where an attack has no such image."""
        present = np.flatnonzero([row is not None for row in image_rows])
        if not len(present):
            none = np.full(len(image_rows), np.nan)
            return _Verdict(none, none, none, none, none, none, np.full(len(image_rows), -1, np.int64))
        rows, place = np.unique([row for row in image_rows if row is not None], return_inverse=True)
        images = unit(self.embedder.images([self.dataset.images[row] for row in rows.tolist()]))[place]
        scale, labels, words = self.embedder.info.logit_scale, self.labels[present], self.words[present]
        by_object = class_scores(images, self.classes, labels, logit_scale=scale)
        by_word = class_scores(images, self.classes, words, logit_scale=scale)
        lead = pair_scores(images, self.raw_classes[labels]) - pair_scores(images, self.raw_classes[words])

        def column_of(values: Shaped[np.ndarray, " n_present"]) -> Float64[np.ndarray, " n"]:
            column = np.full(len(image_rows), np.nan)
            column[present] = values
            return column

        predicted = np.full(len(image_rows), -1, np.int64)
        predicted[present] = by_object.predicted
        return _Verdict(
            object=column_of(top_k_credit(by_object.better, by_object.tied)),
            word=column_of(top_k_credit(by_word.better, by_word.tied)),
            two_way=column_of((1 + np.sign(lead.astype(np.float64))) / 2),  # 1 won, 0 lost, one half for a tie
            margin=column_of(by_object.margin),
            right_cosine=column_of(by_object.own),
            chosen_cosine=column_of(by_object.top),
            predicted=predicted,
        )


def _samples(
    attacks: Sequence[Attack], verdicts: Mapping[str, _Verdict], names: Sequence[str]
) -> dict[str, np.ndarray]:
    """Return the table: ``right`` and ``fooled`` of all attacks, and for each metric a column that is NaN for others."""
    conditions = np.array([attack.condition for attack in attacks], object)
    under = verdicts["attacked"]
    samples = {
        "sample_id": np.array([f"attack/{attack.id}" for attack in attacks], object),
        "cluster": _clusters(attacks),
        "image": np.array([attack.attacked for attack in attacks]),
        "margin": under.margin,
        "object": np.array([names[attack.label] for attack in attacks], object),
        "word": np.array([names[attack.word] for attack in attacks], object),
        "condition": conditions,
        "predicted": np.array([names[row] for row in under.predicted.tolist()], object),
        "right_cosine": under.right_cosine,
        "chosen_cosine": under.chosen_cosine,
        "right": under.object,
        "fooled": under.word,
    }
    is_usual = _is_usual(conditions)
    samples["attacked_margin"] = np.where(is_usual, under.margin, np.nan)
    for kind, verdict in verdicts.items():
        samples[f"{kind}_image"] = np.array([getattr(attack, kind) for attack in attacks], np.float64)
        samples[f"{kind}_acc"] = np.where(is_usual, verdict.object, np.nan)
        samples[f"{kind}_two_way_acc"] = np.where(is_usual, verdict.two_way, np.nan)
    samples["attack_success"] = np.where(is_usual, under.word, np.nan)
    samples["drop"] = samples["clean_acc"] - samples["attacked_acc"]
    samples["drop_from_blank"] = samples["blank_acc"] - samples["attacked_acc"]
    samples["clean_named_word"] = np.where(is_usual, verdicts["clean"].word, np.nan)
    samples["blank_named_word"] = np.where(is_usual, verdicts["blank"].word, np.nan)
    samples["attack_tied"] = np.where(is_usual, _is_tied(under.object) | _is_tied(under.word), np.nan)
    for name in _other_conditions(conditions):
        parts = {"attacked_acc": under.object, "attacked_two_way_acc": under.two_way, "attack_success": under.word}
        samples |= {f"{name}/{key}": np.where(conditions == name, part, np.nan) for key, part in parts.items()}
    return samples


def _is_tied(credit: Float64[np.ndarray, " n"]) -> Bool[np.ndarray, " n"]:
    return (credit > 0) & (credit < 1)


def _clusters(attacks: Sequence[Attack]) -> Shaped[np.ndarray, " n"]:
    """Return the cluster of each attack: those of one object are one; without a name, those that share an image."""
    things = [_things(attack) for attack in attacks]
    rows = np.repeat(np.arange(len(attacks)), [len(each) for each in things])
    groups = sharing(rows, np.concatenate(things), len(attacks))
    return np.array([each[0] for each in things], object)[groups]


def _things(attack: Attack) -> list[str]:
    if attack.object is not None:
        return [f"object {attack.object}"]
    return [f"image {row}" for row in (attack.clean, attack.blank, attack.benign, attack.attacked) if row is not None]


def _is_usual(conditions: Shaped[np.ndarray, " n"]) -> Bool[np.ndarray, " n"]:
    """Return a mask of the attacks of the data set's usual style; of all where every attack has a special style."""
    is_usual = conditions == ""
    return is_usual if is_usual.any() else np.ones(len(conditions), bool)


def _setting(condition: str) -> tuple[str, float] | None:
    """Return property and value of a condition such as ``height=0.06``; None for a condition without a number."""
    name, _, value = condition.partition("=")
    try:
        return name, float(value)
    except ValueError:
        return None


def _other_conditions(conditions: Shaped[np.ndarray, " n"]) -> list[str]:
    """Return the conditions that are no points of a curve and get metrics of their own."""
    names = dict.fromkeys(conditions[conditions != ""].tolist())
    return [name for name in names if _setting(name) is None]


def _measures(
    samples: Mapping[str, np.ndarray], verdicts: Mapping[str, _Verdict], n_classes: int
) -> dict[str, Measure]:
    chance, present = 1 / n_classes, [kind for kind in CONDITIONS if verdicts[kind].is_present]
    measures: dict[str, Measure] = {
        # No chance: a model that reads no label still takes some objects for the word. ``clean_named_word`` says how many.
        "attack_success": Mean(column="attack_success", higher_is_better=False),
        "clean_acc": _missing("clean"),
        **{f"{kind}_acc": Mean(column=f"{kind}_acc", chance=chance, image=f"{kind}_image") for kind in present},
        "drop": _drop("drop") if "clean" in present else _missing("clean", unit="difference", higher_is_better=False),
    }
    if "blank" in present:
        measures["drop_from_blank"] = _drop("drop_from_blank")
    for kind in present:
        measures[f"{kind}_two_way_acc"] = Mean(column=f"{kind}_two_way_acc", chance=0.5, image=f"{kind}_image")
    for name in samples:
        condition, _, key = name.rpartition("/")
        if condition:
            if key == "attack_success":
                measures[name] = Mean(column=name, higher_is_better=False)
            else:
                measures[name] = Mean(column=name, chance=0.5 if "two_way" in key else chance)
    return measures


def _drop(column: str) -> Mean:
    """Return the mean of paired differences: each object against itself."""
    return Mean(column=column, unit="difference", chance=0.0, higher_is_better=False)


def _missing(kind: str, *, unit: str = "fraction", higher_is_better: bool = True) -> Fixed:
    reason = f"the data have no {kind} images of the objects"
    return Fixed(value=None, reason=reason, unit=unit, higher_is_better=higher_is_better)


def _controls(verdicts: Mapping[str, _Verdict], n_classes: int) -> dict[str, Measure]:
    """Return how often the word's class comes first without being written, and how often a tie decides."""
    named: dict[str, Measure] = {
        f"{kind}_named_word": Mean(
            column=f"{kind}_named_word", chance=1 / n_classes, higher_is_better=None, image=f"{kind}_image"
        )
        for kind in ("clean", "blank")
        if verdicts[kind].is_present
    }
    return {**named, "attack_tie_rate": Mean(column="attack_tied", higher_is_better=None)}


def _response_curves(samples: Mapping[str, np.ndarray]) -> dict[str, Curve]:
    """Return attack success and accuracy under attack as functions of each property that the conditions vary."""
    points: dict[str, list[tuple[float, str]]] = defaultdict(list)
    for condition in dict.fromkeys(samples["condition"].tolist()):
        setting = _setting(condition)
        if setting is not None:
            points[setting[0]].append((setting[1], condition))
    return {
        f"{key}_by_{name}": _curve(samples, sorted(settings), column, label=AXES.get(name, name))
        for name, settings in points.items()
        for key, column in (("attack_success", "fooled"), ("attacked_acc", "right"))
    }


def _curve(
    samples: Mapping[str, np.ndarray],
    points: Sequence[tuple[float, str]],
    column: str,
    *,
    label: str,
) -> Curve:
    values, bounds = [], []
    for _, condition in points:
        rows = samples["condition"] == condition
        values.append(float(samples[column][rows].mean()))
        low, high, _ = intervals.mean_interval(samples[column][rows], clusters=samples["cluster"][rows])
        bounds.append((low, high))
    return bounded_curve([x for x, _ in points], values, bounds, x_label=label, y_label="share of attacks")
