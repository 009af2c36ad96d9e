"""Composition: does the model know which words belong together, or only which words there are?

Each item is a few images and captions that differ in how their parts are combined (SugarCrepe, ARO, Winoground,
ColorSwap, BiVLC, VALSE, NLVR, scenes). Everything true must score above everything false: ``text_acc`` for each image's
captions, ``image_acc`` for each caption's images, ``group_acc`` for both (``clipbench.metrics.choice``). A tie scores
as a random choice would. ``..._strict``, among the baselines, counts it as a failure.

- With several images of one caption (NLVR), ``image_acc`` requires all true ones above all false ones, and
  ``image_pair_acc`` is the fraction of pairs, a true and a false image, in the right order.
- With several true images of one caption (WinoGAViL), ``image_jaccard`` is the overlap of the true images with the
  same number of nearest ones.
- With two true captions and a false one (SugarCrepe++), ``text_acc`` is its image-to-text accuracy, ``text_only_acc``
  its text-only one.
- With four images of the same objects in other places (What'sUp), ``pair_acc`` and ``set_acc`` require all images of a
  pair, and of the set, to be right.
- If the data has only captions, each must beat four word-shuffled copies of itself (ARO's order test).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from clipbench.data.contrasts import order_contrasts, words
from clipbench.data.dataset import Dataset
from clipbench.data.images import ImageRef
from clipbench.data.questions import Contrast
from clipbench.errors import MissingPart
from clipbench.evaluation.task import Evaluation, Task
from clipbench.metrics.choice import Choices, truth_groups
from clipbench.models.protocol import Embedder
from clipbench.results.metric_name import base_name, subset_of
from clipbench.stats.clusters import clusters_by_shared_item
from clipbench.stats.measures import Definition, Mean, Measures, Smooth, define, undefined
from clipbench_tasks.choices import ItemVectors, decide, vectors_of
from clipbench_tasks.composition import scoring
from clipbench_tasks.composition.scoring import TITLES, TITLES_OF_MEANS, Means, means
from clipbench_tasks.tables import (
    Column,
    Columns,
    Rows,
    Table,
    captions_of,
    defined_columns,
    split_by_subset,
    text_column,
)

SCORES = (
    *("text_acc", "image_acc", "group_acc", "text_pair_acc", "image_pair_acc", "text_only_acc", "image_jaccard"),
    *("pair_acc", "set_acc"),
)
"""Metrics that are reported by subset, and averaged over subsets."""
PAIRS = ("text_pair_acc", "image_pair_acc", "image_jaccard")
"""Reported only where an image, or a caption, has more than one pair, or more than one true image."""
OF_CAPTIONS = ("query_caption", "target_image", "predicted_image", "target_image_cosine", "predicted_image_cosine")
"""Columns of captions that choose among images."""
FEW_IMAGES = 4
"""Images of a contrast up to which those that share one make a cluster, however large."""
ONE_CLUSTER = (
    "the items share images so widely that they are one cluster: intervals are of new items about the same images"
)
WITHOUT_WORDS = undefined(
    "captions are rows of vectors: their words are unknown, and shuffled ones cannot be encoded",
    higher_is_better=True,
)

METRICS = {
    "text_acc": Definition(
        "Text score", "Fraction of items in which all true captions score above all false ones.", is_headline=True
    ),
    "image_acc": Definition(
        "Image score", "Fraction of items in which all true images score above all false ones.", is_headline=True
    ),
    "group_acc": Definition("Group score", "Fraction of items in which both captions and images are distinguished."),
    "text_pair_acc": Definition(
        "Text pair accuracy", "Fraction of pairs, a true caption and a hard negative, in the right order."
    ),
    "image_pair_acc": Definition(
        "Image pair accuracy", "Fraction of pairs, a true and a false image, in the right order."
    ),
    "text_only_acc": Definition(
        "Text-only score", "Fraction of items whose two true captions are nearer to each other than to the false one."
    ),
    "image_jaccard": Definition(
        "Jaccard index of images",
        "Overlap of a caption's true images with the same number of nearest images, as a fraction of their union.",
        is_headline=True,
    ),
    "pair_acc": Definition("Pair accuracy", "Fraction of pairs of images of the same objects that are both right."),
    "set_acc": Definition("Set accuracy", "Fraction of sets of four images of the same objects that are all right."),
    "word_order_acc": Definition(
        "Word-order accuracy", "Fraction of captions that are nearer to their image than the same words shuffled."
    ),
    "hard_negative_cosine": Definition(
        "Cosine of a caption and its hard negative",
        "Mean cosine of a true caption and a hard negative of the same item.",
    ),
    "shuffled_cosine": Definition(
        "Cosine of a caption and its shuffle", "Mean cosine of a caption and the same words shuffled."
    ),
    "other_cosine": Definition("Cosine of unrelated captions", "Mean cosine of captions of different items."),
    "tie_rate": Definition("Ties", "Fraction of items in which a tie decides."),
    "shorter_caption": Definition(
        "Always the shorter caption", "Text score of the rule that the caption with fewer words is true.", "text_acc"
    ),
    "same_words": Definition(
        "Captions of the same words", "Fraction of hard negatives that have the words of the true one.", "text_acc"
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
    for name in (*SCORES, *(f"macro_{name}" for name in SCORES))
}


@dataclass(frozen=True)
class Composition(Task):
    """Accuracy by subset, similarity of captions and their hard negatives, and scores of blind rules."""

    name = "composition"
    version = 1
    takes_dot = True
    data_form = "contrasts"
    summary = "a true caption against a false one of the same words, and the same for images, by subset"
    question = (
        "Does the model know how the parts of an image are put together, or only which parts there are? Each image has "
        "a true caption and a false one much like it, and a caption may have a true and a false image."
    )
    scoring = (
        "An item is right if everything true scores above everything false, and a tie scores as a random choice would. "
        "The text score is over the captions of each image, the image score over the images of each caption, and the "
        "group score over both."
    )

    def first_images(self, dataset: Dataset) -> Sequence[ImageRef]:
        """Return the images that are encoded first: all."""
        return dataset.images

    def check(self, dataset: Dataset) -> None:
        """Raise unless there are contrasts, or captions to shuffle."""
        if not dataset.contrasts and dataset.captions is None:
            raise MissingPart(dataset.id, "contrasts")

    def evaluate(self, dataset: Dataset, embedder: Embedder, rng: np.random.Generator) -> Evaluation:
        """Return a row for each contrast. Needs contrasts, or captions, which are then shuffled."""
        has_words = embedder.dataset is None
        contrasts, notes = _contrasts(dataset, can_shuffle=has_words)
        shuffles = scoring.shuffles_of(contrasts, rng) if has_words else []
        texts = [caption for contrast in contrasts for caption in contrast.captions]
        vectors = vectors_of(dataset, [*texts, *(shuffle.shuffled for shuffle in shuffles)], embedder)
        decisions = decide(contrasts, vectors, _n_words)
        scores = _scores(contrasts, decisions.by_model, scoring.text_only(contrasts, vectors))
        chances = _scores(contrasts, decisions.by_chance, scoring.text_only(contrasts, None))
        # Fractions of pairs have no strict version: it would ask for all pairs of an item.
        main_scores = {name: column for name, column in scores.items() if name not in PAIRS}
        strict_scores = {f"{name}_strict": _ties_as_misses(column) for name, column in main_scores.items()}
        averaged, averaged_strict = means(contrasts, scores, chances), means(contrasts, strict_scores, chances={})
        cosines, other_influence = _cosines(contrasts, vectors, shuffles, rng)
        subset = text_column(contrast.subset for contrast in contrasts)
        scores_by_subset = split_by_subset(subset, scores)
        negative_cosines = {name: column for name, column in cosines.items() if name == "hard_negative_cosine"}
        negatives_by_subset = split_by_subset(subset, negative_cosines)
        blind_scores = {}
        if has_words:
            same_words = scoring.same_words(contrasts)
            blind_scores = {"shorter_caption": decisions.shorter_caption, "same_words": same_words}
        baselines_by_subset = split_by_subset(subset, blind_scores | strict_scores)
        identity = _identity(dataset, contrasts, decisions.nearest)
        if shuffles and len(contrasts) > scoring.MAX_SHUFFLED:
            notes = (*notes, f"word order: a seeded sample of {scoring.MAX_SHUFFLED:,} captions")
        if "cluster" not in identity:
            notes = (*notes, ONE_CLUSTER)
        measures: Measures = dict(averaged.overall)
        measures |= _measures_by_subset(scores_by_subset, chances)
        measures |= averaged.of_groups
        measures |= _likeness(cosines, negatives_by_subset)
        if not has_words:
            measures["word_order_acc"] = WITHOUT_WORDS
        baselines = _baselines(averaged_strict, baselines_by_subset)
        is_tied = np.any([(column > 0) & (column < 1) for column in main_scores.values()], axis=0)
        text_margin, image_margin = decisions.by_model.text_margin, decisions.by_model.image_margin
        return Evaluation(
            samples={
                **identity,
                "margin": np.fmin(text_margin, image_margin),
                "text_margin": text_margin,
                "image_margin": image_margin,
                **scores_by_subset,
                **cosines,
                "other_cosine_influence": other_influence,
                **negatives_by_subset,
                **averaged.columns,
                **averaged_strict.columns,
                "tied": is_tied.astype(np.float64),
                **baselines_by_subset,
            },
            inputs={"subset": "condition", "caption": "caption"},
            measures=define(measures, METRICS),
            baselines=define(baselines, METRICS),
            notes=(*notes, *averaged.notes),
            subsets=_subset_titles(measures, subset),
        )


def _n_words(caption: str) -> int:
    return len(words(caption))


def _ties_as_misses(credit: Column) -> Column:
    return np.where(np.isnan(credit), np.nan, credit == 1)


def _measures_by_subset(scores_by_subset: Columns, chances: Columns) -> Measures:
    measures: Measures = {}
    for name, column in scores_by_subset.items():
        chance = chances[base_name(name)][~np.isnan(column)].mean()
        measures[name] = Mean(column=name, chance=float(chance))
    return measures


def _baselines(averaged_strict: Means, by_subset: Columns) -> Measures:
    """Return the tie rate, blind rules by subset, and scores with ties as misses, by subset and averaged."""
    baselines: Measures = dict(averaged_strict.overall)
    baselines["tie_rate"] = Mean(column="tied", higher_is_better=None)
    for name in by_subset:
        baselines[name] = Mean(column=name, higher_is_better=True if name.endswith("_strict") else None)
    return baselines | averaged_strict.of_groups


def _subset_titles(measures: Iterable[str], subset: np.ndarray) -> dict[str, str]:
    """Return the titles of the means and of the published subsets that measures are of, by name."""
    measured = {subset_of(name) for name in measures}
    titles = TITLES_OF_MEANS | {name: title for name, title in TITLES.items() if name in subset}
    return {name: title for name, title in titles.items() if name in measured}


def _cosines(
    contrasts: Sequence[Contrast], vectors: ItemVectors, shuffles: Sequence[scoring.Shuffle], rng: np.random.Generator
) -> tuple[Columns, Column]:
    """Return cosines of captions and word-order accuracy, where defined, and the influences of unrelated captions."""
    shuffled_cosine, word_order_acc = scoring.word_order(shuffles, vectors, len(contrasts))
    other_cosine, other_influence = scoring.other_cosine(contrasts, vectors, rng)
    cosines = {
        "hard_negative_cosine": scoring.hard_negative_cosine(contrasts, vectors),
        "shuffled_cosine": shuffled_cosine,
        "other_cosine": other_cosine,
        "word_order_acc": word_order_acc,
    }
    return defined_columns(cosines), other_influence


def _contrasts(dataset: Dataset, *, can_shuffle: bool) -> tuple[Sequence[Contrast], tuple[str, ...]]:
    if dataset.contrasts:
        return dataset.contrasts, ()
    if not can_shuffle:
        raise MissingPart(dataset.id, "contrasts")
    contrasts = order_contrasts(*captions_of(dataset), dataset.caption_names())
    if not contrasts:
        raise MissingPart(dataset.id, "captions whose words can be put in another order")
    note = (
        "the data has only captions, so each must beat word-shuffled copies of itself, as in ARO. The shuffles use a"
        " list of function words instead of a tagger, so numbers are near ARO's published ones but not comparable"
    )
    return contrasts, (note,)


def _scores(contrasts: Sequence[Contrast], decided: Choices, text_only: Column) -> Columns:
    """Return the scores that are defined, ``PAIRS`` only for data with more than one pair."""
    scores = {
        "text_acc": decided.text,
        "image_acc": decided.image,
        "group_acc": decided.group,
        "text_pair_acc": decided.text_pairs,
        "image_pair_acc": decided.image_pairs,
        "text_only_acc": text_only,
        "image_jaccard": decided.image_jaccard,
        **scoring.all_of_pair_and_set(contrasts, decided.text),
    }
    reported = {}
    for name, column in defined_columns(scores).items():
        if name not in PAIRS or _has_more_pairs(contrasts, name):
            reported[name] = column
    return reported


def _has_more_pairs(contrasts: Sequence[Contrast], name: str) -> bool:
    """Return whether any image (or caption) has more than one pair of a true caption and a hard negative (or image),
    or, for the Jaccard index, any caption more than one true image.
    """
    axis = 1 if name == "text_pair_acc" else 0
    for rows in truth_groups([contrast.truth for contrast in contrasts]):
        truth = contrasts[rows[0]].truth
        n_true, n_false = truth.sum(axis=axis), (~truth).sum(axis=axis)
        is_more = (n_true > 1) & (n_false > 0) if name == "image_jaccard" else n_true * n_false > 1
        if is_more.any():
            return True
    return False


def _identity(dataset: Dataset, contrasts: Sequence[Contrast], nearest: Table) -> Table:
    """Return the columns that identify each sample. Contrasts that share an image, or are of a set, are a cluster.

    Where choices among many images tie most contrasts into one cluster, as in WinoGAViL, there is nothing to compare it
    with: each is then a sample of its own, and intervals are of new contrasts about the same images.
    """
    columns: Table = {"sample_id": text_column(contrast.id for contrast in contrasts)}
    clusters = _clusters(contrasts, len(dataset))
    has_many = max(len(contrast.images) for contrast in contrasts) > FEW_IMAGES
    is_one = has_many and 2 * np.bincount(clusters).max() > len(contrasts)
    if not is_one:
        first_images = text_column(dataset.image_ids[min(contrast.images)] for contrast in contrasts)
        columns["cluster"] = first_images[clusters]
    columns["subset"] = text_column(contrast.subset for contrast in contrasts)
    if not any(nearest["query_caption"]):  # no caption chooses among images
        nearest = {name: column for name, column in nearest.items() if name not in OF_CAPTIONS}
    return columns | nearest


def _clusters(contrasts: Sequence[Contrast], n_images: int) -> Rows:
    """Return the cluster of each contrast, as the row of its first contrast."""
    rows = np.repeat(np.arange(len(contrasts)), [len(contrast.images) for contrast in contrasts])
    images = np.concatenate([contrast.images for contrast in contrasts])
    sets: dict[int, str] = {}
    for row, contrast in enumerate(contrasts):
        set_name = scoring.set_of(contrast)
        if set_name is not None:
            sets[row] = set_name
    _, set_codes = np.unique(text_column(sets.values()), return_inverse=True)
    # A set is shared as an image is, and so has a number after those of the images.
    sharers = np.concatenate([rows, np.array([*sets], np.int64)])
    shared = np.concatenate([images, n_images + set_codes])
    return clusters_by_shared_item(sharers, shared, len(contrasts))


def _likeness(cosines: Columns, negatives_by_subset: Columns) -> Measures:
    """Return mean cosines of captions with their hard negatives, shuffles and others, and word-order accuracy."""
    measures: Measures = {}
    if "word_order_acc" in cosines:
        measures["word_order_acc"] = Mean(column="word_order_acc", chance=0.5)
    names: list[str] = [name for name in ("hard_negative_cosine", "shuffled_cosine", "other_cosine") if name in cosines]
    if len(negatives_by_subset) > 1:
        names += negatives_by_subset
    for name in names:
        measures[name] = Mean(column=name, unit="cosine", higher_is_better=None)
    if "other_cosine" in measures:  # each caption is in two cosines, which are not independent
        value = float(np.nanmean(cosines["other_cosine"]))
        measures["other_cosine"] = Smooth(value=value, influence="other_cosine_influence", unit="cosine")
    return measures
