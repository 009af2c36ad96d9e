"""Composition: does the model know which words belong together, or only which words there are?

Each item is a few images and captions that differ in how the parts are put together (SugarCrepe, ARO, Winoground,
ColorSwap, BiVLC, VALSE, NLVR, scenes). Whatever is true must score above whatever is false: ``text_acc`` for each
image's captions, ``image_acc`` for each caption's images, ``group_acc`` for both (``clipbench.metrics.choice``). A
tie gets the credit that a coin would; ``..._strict``, among the controls, counts it as a failure.

- With several images of one caption (NLVR), ``image_acc`` asks that all true ones come above all false ones, and
  ``image_pair_acc`` is the share of pairs, a true and a false image, in the right order.
- With two true captions and a false one (SugarCrepe++), ``text_acc`` is its image-to-text accuracy, ``text_only_acc``
  its text-only one.
- Data with captions and no contrasts get ARO's order test: each caption among four shuffles of itself.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from clipbench.data.contrast_and_attack import Contrast
from clipbench.data.contrasts import order_contrasts
from clipbench.data.dataset import Dataset
from clipbench.errors import MissingPart
from clipbench.evaluation.task import Evaluation
from clipbench.metrics import Choices, truth_groups
from clipbench.models.protocol import Embedder
from clipbench.stats.measures import Definition, Mean, Measure, define
from clipbench_tasks.composition import rows as of_rows
from clipbench_tasks.composition.means import TITLES, means

SCORES = ("text_acc", "image_acc", "group_acc", "text_pair_acc", "image_pair_acc", "text_only_acc")
"""Metrics that are reported by subset, and averaged over subsets."""
PAIRS = ("text_pair_acc", "image_pair_acc")
"""Said only where one image, or caption, has more than one pair."""
Columns = Mapping[str, np.ndarray]

METRICS = {
    "text_acc": Definition(
        "Text score", "Share of items in which all true captions score above all false ones.", is_headline=True
    ),
    "image_acc": Definition(
        "Image score", "Share of items in which all true images score above all false ones.", is_headline=True
    ),
    "group_acc": Definition("Group score", "Share of items in which both captions and images are told apart."),
    "text_pair_acc": Definition(
        "Text pair accuracy", "Share of pairs, a true and a false caption, in the right order."
    ),
    "image_pair_acc": Definition(
        "Image pair accuracy", "Share of pairs, a true and a false image, in the right order."
    ),
    "text_only_acc": Definition(
        "Text-only score", "Share of items whose two true captions are nearer to each other than to the false one."
    ),
    "word_order_acc": Definition(
        "Word-order accuracy", "Share of captions that are nearer to their image than the same words shuffled."
    ),
    "twin_cosine": Definition(
        "Cosine of a caption and its false twin", "Mean cosine of a true caption and a false one of the same item."
    ),
    "shuffled_cosine": Definition(
        "Cosine of a caption and its shuffle", "Mean cosine of a caption and the same words shuffled."
    ),
    "other_cosine": Definition("Cosine of unrelated captions", "Mean cosine of captions of different items."),
    "tie_rate": Definition("Ties", "Share of items in which a tie decides."),
    "shorter_caption": Definition(
        "Always the shorter caption", "Text score of the rule that the caption with fewer words is true.", "text_acc"
    ),
    "same_words": Definition(
        "Captions of the same words", "Share of false captions that have the words of the true one.", "text_acc"
    ),
}
METRICS |= {
    f"macro_{name}": Definition(
        f"{METRICS[name].title}, mean over groups", "Mean over groups of the score of each group."
    )
    for name in SCORES
}
METRICS |= {
    f"{name}_strict": Definition(
        f"{METRICS[name].title}, ties as misses", "The score where a tie counts as a miss.", name
    )
    for name in SCORES
}


@dataclass(frozen=True)
class Composition:
    """Accuracy by subset, how alike a caption and its twin are, and what blind rules score."""

    name: ClassVar[str] = "composition"
    version: ClassVar[int] = 1
    summary: ClassVar[str] = "a true caption against a false one of the same words, and images likewise, by subset"
    question: ClassVar[str] = (
        "Each image has a true caption and a false one much like it, and a caption may have a true and a false image: "
        "does the model know how the parts are put together, or only which parts there are?"
    )
    scoring: ClassVar[str] = (
        "An item is right when everything true scores above everything false; a tie scores what a coin flip would. "
        "Text score: the captions of each image; image score: the images of each caption; group score: both."
    )

    def evaluate(self, dataset: Dataset, embedder: Embedder, rng: np.random.Generator) -> Evaluation:
        """Return a row for each contrast. Needs contrasts, or captions to be put into other orders."""
        contrasts, notes = _contrasts(dataset)
        shuffles = of_rows.shuffles_of(contrasts, rng)
        texts = [caption for each in contrasts for caption in each.captions]
        vectors = of_rows.vectors_of(dataset, [*texts, *shuffles.others], embedder)
        found, nearest = of_rows.decided(contrasts, vectors)
        shuffled_cosine, word_order_acc = of_rows.word_order(shuffles, vectors, len(contrasts))
        scores = _scores(found, of_rows.text_only(contrasts, vectors))
        likeness = {
            "twin_cosine": of_rows.twin_cosine(contrasts, vectors),
            "shuffled_cosine": shuffled_cosine,
            "other_cosine": of_rows.other_cosine(contrasts, vectors, rng),
            "word_order_acc": word_order_acc,
        }
        table = _Table(contrasts, scores, _scores(of_rows.chances(contrasts), of_rows.text_only(contrasts, None)))
        averaged = means(contrasts, table.scores, table.chances)
        if len(shuffles.rows) == of_rows.MOST_SHUFFLED < len(contrasts):
            notes = (*notes, f"word order: a seeded sample of {of_rows.MOST_SHUFFLED:,} captions")
        measures = {**averaged.overall, **table.measures(), **averaged.of_groups, **_likeness(table, likeness)}
        subsets = {name.rpartition("/")[0] for name in measures}
        return Evaluation(
            samples={
                **_identity(dataset, contrasts, nearest),
                "margin": np.fmin(found.text_margin, found.image_margin),
                "text_margin": found.text_margin,
                "image_margin": found.image_margin,
                **_cosines(nearest),
                **table.columns(),
                **{name: column for name, column in likeness.items() if not np.isnan(column).all()},
                **table.columns_of("twin_cosine", likeness["twin_cosine"]),
                **averaged.columns,
                **table.control_columns(),
            },
            measures=define(measures, METRICS),
            controls=define(table.controls(), METRICS),
            notes=(*notes, *averaged.notes),
            subsets={name: title for name, title in TITLES.items() if name in subsets},
        )


def _contrasts(dataset: Dataset) -> tuple[Sequence[Contrast], tuple[str, ...]]:
    if dataset.contrasts:
        return dataset.contrasts, ()
    if dataset.captions is None or dataset.caption_image is None:
        raise MissingPart(dataset.id, "contrasts")
    found = order_contrasts(dataset.captions, dataset.caption_image, dataset.caption_names())
    if not found:
        raise MissingPart(dataset.id, "captions whose words have another order")
    note = (
        "the data have only captions, so each must beat word-shuffled copies of itself, as in ARO; the shuffles use a list "
        "of function words in place of a tagger, so that numbers are near ARO's published ones but not comparable"
    )
    return found, (note,)


def _scores(found: Choices, text_only: np.ndarray) -> dict[str, np.ndarray]:
    columns = (found.text, found.image, found.group, found.text_pairs, found.image_pairs, text_only)
    return dict(zip(SCORES, columns, strict=True))


def _identity(dataset: Dataset, contrasts: Sequence[Contrast], nearest: of_rows.Nearest) -> dict[str, np.ndarray]:
    """Return the columns that say what each sample is; those that share their first image are a cluster."""
    return {
        "sample_id": np.array([each.id for each in contrasts], object),
        "cluster": np.array([dataset.image_ids[min(each.images)] for each in contrasts], object),
        "subset": np.array([each.subset for each in contrasts], object),
        "image": nearest.image,
        "caption": np.array(nearest.caption, object),
        "preferred": np.array(nearest.preferred, object),
        **_asked_captions(nearest),
    }


def _asked_captions(nearest: of_rows.Nearest) -> dict[str, np.ndarray]:
    """Return, where captions choose among images, the nearest to failing with the right image and the false one."""
    if not any(nearest.asked_caption):
        return {}
    return {
        "asked_caption": np.array(nearest.asked_caption, object),
        "right_image": nearest.right_image,
        "preferred_image": nearest.preferred_image,
    }


def _cosines(nearest: of_rows.Nearest) -> dict[str, np.ndarray]:
    """Return the cosines that the margins are differences of, for each side on which something is asked."""
    right, chosen = nearest.cosines.T
    found = {"right_cosine": right, "chosen_cosine": chosen}
    if any(nearest.asked_caption):
        right, chosen = nearest.image_cosines.T
        found |= {"right_image_cosine": right, "preferred_image_cosine": chosen}
    return found


class _Table:
    """Columns by subset, named as their metrics are, with NaN for the samples of other subsets."""

    def __init__(self, contrasts: Sequence[Contrast], scores: Columns, chances: Columns) -> None:
        self.subset = np.array([each.subset for each in contrasts], object)
        self.subsets = list(dict.fromkeys(self.subset.tolist()))
        kept = [name for name in SCORES if not np.isnan(scores[name]).all()]
        kept = [name for name in kept if name not in PAIRS or _has_more_pairs(contrasts, name)]
        self.scores = {name: scores[name] for name in kept}
        self.chances = {name: chances[name] for name in kept}
        self._blind = {
            "shorter_caption": of_rows.shorter_caption(contrasts),
            "same_words": of_rows.same_words(contrasts),
        }

    def columns_of(self, name: str, column: np.ndarray) -> dict[str, np.ndarray]:
        """Return a column for each subset in which it is defined."""
        found = {_named(subset, name): np.where(self.subset == subset, column, np.nan) for subset in self.subsets}
        return {key: values for key, values in found.items() if not np.isnan(values).all()}

    def columns(self) -> dict[str, np.ndarray]:
        return {
            key: part for name, column in self.scores.items() for key, part in self.columns_of(name, column).items()
        }

    def measures(self) -> dict[str, Measure]:
        """Return the accuracies, subset after subset."""
        found: dict[str, Measure] = {}
        for subset in self.subsets:
            for name, column in self.scores.items():
                defined = (self.subset == subset) & ~np.isnan(column)
                if defined.any():
                    chance = float(self.chances[name][defined].mean())
                    found[_named(subset, name)] = Mean(column=_named(subset, name), chance=chance)
        return found

    def control_columns(self) -> dict[str, np.ndarray]:
        columns = {"tied": self._tied()}
        for name, column in (self._blind | self._strict()).items():
            columns |= self.columns_of(name, column)
        return columns

    def controls(self) -> dict[str, Measure]:
        """Return blind rules, accuracies in which a tie fails, and how often there are ties."""
        found: dict[str, Measure] = {"tie_rate": Mean(column="tied", higher_is_better=None)}
        columns = self.control_columns()
        for subset in self.subsets:
            for name in (*self._blind, *self._strict()):
                key = _named(subset, name)
                if key in columns:
                    found[key] = Mean(column=key, higher_is_better=True if name.endswith("_strict") else None)
        return found

    def _strict(self) -> dict[str, np.ndarray]:
        main = [name for name in self.scores if name not in PAIRS]
        return {
            f"{name}_strict": np.where(np.isnan(self.scores[name]), np.nan, self.scores[name] == 1) for name in main
        }

    def _tied(self) -> np.ndarray:
        """Return whether a coin decides anything of each sample."""
        main = [column for name, column in self.scores.items() if name not in PAIRS]
        return np.any([(column > 0) & (column < 1) for column in main], axis=0).astype(np.float64)


def _likeness(table: _Table, likeness: Columns) -> dict[str, Measure]:
    """Return how alike captions and their twins, their shuffled selves and others are, on the whole and by subset."""
    found: dict[str, Measure] = {}
    if not np.isnan(likeness["word_order_acc"]).all():
        found["word_order_acc"] = Mean(column="word_order_acc", chance=0.5)
    cosines = [
        name for name in ("twin_cosine", "shuffled_cosine", "other_cosine") if not np.isnan(likeness[name]).all()
    ]
    by_subset = table.columns_of("twin_cosine", likeness["twin_cosine"]) if len(table.subsets) > 1 else {}
    found |= {name: Mean(column=name, unit="cosine", higher_is_better=None) for name in (*cosines, *by_subset)}
    return found


def _has_more_pairs(contrasts: Sequence[Contrast], name: str) -> bool:
    """Return whether any image (or caption) has more than one pair of a true and a false caption (or image)."""
    axis = 1 if name == "text_pair_acc" else 0
    truths = (contrasts[rows[0]].truth for rows in truth_groups([each.truth for each in contrasts]))
    return any((truth.sum(axis=axis) * (~truth).sum(axis=axis)).max() > 1 for truth in truths)


def _named(subset: str, name: str) -> str:
    return f"{subset}/{name}" if subset else name
