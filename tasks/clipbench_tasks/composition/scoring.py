"""Rows of composition: who won each contrast, how alike its captions are, what a blind rule chooses, and means over
subsets.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from importlib.resources import files
from math import sqrt
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool

from clipbench.data.contrasts import shuffle_words, words
from clipbench.data.questions import Contrast
from clipbench.metrics.choice import choices
from clipbench.metrics.similarity import pair_scores
from clipbench.results.metric_name import split_outer_subset
from clipbench.stats.measures import Mean, Measure, Measures, undefined
from clipbench_tasks.choices import ItemVectors
from clipbench_tasks.tables import Column, Columns, Table, mean_over_parts, sample_rows, text_column

MAX_SHUFFLED = 2_000
"""Captions that are shuffled, a seeded sample of a larger set: each shuffle must be encoded."""
SETS = ("controlled_a", "controlled_b")
"""Subsets of What'sUp whose groups are sets: four images of the same two objects, each in another place."""


def set_of(contrast: Contrast) -> str | None:
    """Return the set of an image of What'sUp, or None for all other items."""
    is_of_set = contrast.subset in SETS and contrast.group is not None and len(contrast.images) == 1
    return f"{contrast.subset}/{contrast.group}" if is_of_set else None


def all_of_pair_and_set(contrasts: Sequence[Contrast], text: Column) -> Columns:
    """Return What'sUp's pair and set accuracy: the credit of all images of a pair, and of a set, being right.

    A pair is the two images of a set in which the objects are left and right of each other, or the other two. Each pair
    (and set) has its value at its first item. The others, and incomplete ones, have NaN.
    """
    sets: dict[tuple[str, ...], list[int]] = {}
    pairs: dict[tuple[str, ...], list[int]] = {}
    for row, contrast in enumerate(contrasts):
        name = set_of(contrast)
        if name is not None:
            true = contrast.captions[contrast.is_true[0].index(True)]
            sets.setdefault((name,), []).append(row)
            pairs.setdefault((name, "side" if {"left", "right"} & set(words(true)) else "other"), []).append(row)
    columns = {name: np.full(len(contrasts), np.nan) for name in ("pair_acc", "set_acc")}
    for column, parts, size in zip(columns.values(), (pairs, sets), (2, 4), strict=True):
        for rows in parts.values():
            if len(rows) == size:
                column[rows[0]] = text[rows].prod()
    return columns


def same_words(contrasts: Sequence[Contrast]) -> Column:
    """Return the fraction of each contrast's hard negatives that have the same words as often, NaN if there are
    none.
    """

    def judge(true: list[str], false: list[str]) -> list[bool]:
        bag = {text: sorted(words(text)) for text in {*true, *false}}
        return [bag[a] == bag[b] for a, b in zip(true, false, strict=True)]

    return _mean_of_pairs(contrasts, judge)


def hard_negative_cosine(contrasts: Sequence[Contrast], vectors: ItemVectors) -> Column:
    """Return the mean cosine of a true caption with a false one of the same image, or NaN if there are none."""
    return _mean_of_pairs(contrasts, vectors.cosines)


def _mean_of_pairs(
    contrasts: Sequence[Contrast], judge: Callable[[list[str], list[str]], Sequence[float] | np.ndarray]
) -> Column:
    """Return the mean over each contrast's pairs of a true caption and a hard negative, judged all at once."""
    pairs = [(row, a, b) for row, contrast in enumerate(contrasts) for a, b in _hard_negative_pairs(contrast)]
    if not pairs:
        return np.full(len(contrasts), np.nan)
    values = np.asarray(judge([a for _, a, _ in pairs], [b for _, _, b in pairs]), np.float64)
    rows = np.array([row for row, _, _ in pairs])
    counts = np.bincount(rows, minlength=len(contrasts)).astype(np.float64)
    sums = np.bincount(rows, values, minlength=len(contrasts))
    return np.divide(sums, counts, out=np.full(len(contrasts), np.nan), where=counts > 0)


def _hard_negative_pairs(contrast: Contrast) -> list[tuple[str, str]]:
    """Return the pairs of a true caption and a hard negative of one image, each pair once."""
    pairs = {
        tuple(sorted((a, b)))
        for line in contrast.is_true
        for a, line_a in enumerate(line)
        for b, line_b in enumerate(line)
        if line_a and not line_b
    }
    return [(contrast.captions[a], contrast.captions[b]) for a, b in sorted(pairs)]


def other_cosine(
    contrasts: Sequence[Contrast], vectors: ItemVectors, rng: np.random.Generator
) -> tuple[Column, Column]:
    """Return the cosines of the contrasts' first captions with first captions of random others, and their influences.

    Each caption is drawn once. The cosine of two equal texts is NaN.

    Each caption has two cosines, so that neighbours in the draw are alike: their covariance is at most half of the
    variance (Hoeffding, Ann. Math. Statist. 19 (1948), of a symmetric function of two). The influence of a caption is
    the sum of its two cosines' distances from the mean, times sqrt(2 / 3), which is right for the most alike and never
    too small.
    """
    captions = [contrast.captions[0] for contrast in contrasts]
    order = rng.permutation(len(captions))
    partner = np.empty_like(order)
    partner[order] = np.roll(order, 1)
    cosines = vectors.cosines(captions, [captions[row] for row in partner]).astype(np.float64)
    is_same = np.array([captions[row] == captions[other] for row, other in enumerate(partner)], bool)
    column = np.where(is_same, np.nan, cosines)
    if is_same.all():
        return column, column.copy()
    distance = np.where(is_same, 0.0, cosines - np.nanmean(column))
    of_partner = np.empty(len(captions))
    of_partner[partner] = distance
    return column, sqrt(2 / 3) * (distance + of_partner) / (~is_same).mean()


def text_only(contrasts: Sequence[Contrast], vectors: ItemVectors | None) -> Column:
    """Return SugarCrepe++'s text-only credit: two true captions are nearer to each other than either to a false one.

    It uses the first two true captions of the first image, and all false ones, and is NaN if there are fewer.

    Args:
        vectors: the model's, None for a constant model.
    """
    credit = np.full(len(contrasts), np.nan)
    pairs_by_count: dict[int, dict[int, list[tuple[str, str]]]] = {}
    for row, contrast in enumerate(contrasts):
        first = list(zip(contrast.captions, contrast.is_true[0], strict=True))
        true, false = ([caption for caption, is_true in first if is_true == side] for side in (True, False))
        if len(true) > 1 and false:
            pairs = [(true[0], true[1]), *((one, other) for one in true[:2] for other in false)]
            pairs_by_count.setdefault(len(pairs), {})[row] = pairs
    for n_pairs, pairs_by_row in pairs_by_count.items():
        left, right = zip(*(pair for pairs in pairs_by_row.values() for pair in pairs), strict=True)
        scores = np.zeros(len(left), np.float32) if vectors is None else vectors.cosines(left, right)
        credit[list(pairs_by_row)] = choices(scores.reshape(-1, 1, n_pairs), np.arange(n_pairs)[None, :] == 0).text
    return credit


def shuffles_of(contrasts: Sequence[Contrast], rng: np.random.Generator) -> list[tuple[int, int, str, str]]:
    """Return the rows of the contrasts that can be shuffled, with an image, a true caption and its shuffled words."""
    shuffles = []
    for row in sample_rows(np.arange(len(contrasts)), MAX_SHUFFLED, rng).tolist():
        image, caption = np.argwhere(contrasts[row].truth)[0]
        other = shuffle_words(contrasts[row].captions[caption])
        if other is not None:
            shuffles.append((row, contrasts[row].images[image], contrasts[row].captions[caption], other))
    return shuffles


def word_order(shuffles: Sequence[tuple[int, int, str, str]], vectors: ItemVectors, n: int) -> tuple[Column, Column]:
    """Return the cosine of each contrast's caption with its shuffle, and the credit for preferring the caption."""
    cosine, credit = np.full((2, n), np.nan)
    if shuffles:
        rows, images, captions, shuffled_captions = map(list, zip(*shuffles, strict=True))
        cosine[rows] = vectors.cosines(captions, shuffled_captions)
        caption_score, shuffle_score = (
            pair_scores(vectors.images[images], vectors.of(texts)) for texts in (captions, shuffled_captions)
        )
        credit[rows] = (1 + np.sign(caption_score.astype(np.float64) - shuffle_score)) / 2
    return cosine, credit


SUGARCREPE = {
    "replace_obj": "Object replaced",
    "replace_att": "Attribute replaced",
    "replace_rel": "Relation replaced",
    "swap_obj": "Objects swapped",
    "swap_att": "Attributes swapped",
    "add_obj": "Object added",
    "add_att": "Attribute added",
}
"""Subsets with their titles. The part before the underscore is the category. SugarCrepe++ has the first five."""
TITLES = {
    **SUGARCREPE,
    "replace": "Replaced",
    "swap": "Swapped",
    "add": "Added",
    "vg_relation": "Visual Genome relations",
    "vg_attribution": "Visual Genome attributes",
    "order": "Word order",
    "coco_order": "Word order, COCO",
    "flickr30k_order": "Word order, Flickr30k",
    "existence": "Existence",
    "plurals": "Plurals",
    "counting-hard": "Counting, balanced",
    "counting-small-quant": "Counting, small numbers",
    "counting-adversarial": "Counting, adversarial",
    "relations": "Spatial relations",
    "action-replacement": "Action replaced",
    "actant-swap": "Actants swapped",
    "coreference-standard": "Coreference, standard",
    "coreference-hard": "Coreference, clean",
    "foil-it": "Noun replaced (FOIL it!)",
    "5-6": "5 or 6 images",
    "10-12": "10 or 12 images",
    "controlled_a": "Controlled images: on, under, left, right",
    "controlled_b": "Controlled images: in front, behind, left, right",
    "coco_qa_one_obj": "COCO, one object",
    "coco_qa_two_obj": "COCO, two objects",
    "vg_qa_one_obj": "Visual Genome, one object",
    "vg_qa_two_obj": "Visual Genome, two objects",
    "subj_neg": "Subject differs",
    "verb_neg": "Verb differs",
    "obj_neg": "Object differs",
    "positive": "Affirmation is true",
    "negative": "Negation is true",
    "hybrid": "Affirmation with negation is true",
    "atom": "Atom replaced",
    "negate": "Negated",
    "absolute_size": "Absolute size",
    "relative_size": "Relative size",
    "absolute_spatial": "Absolute position",
    "relative_spatial": "Relative position",
    "count": "Count",
}
"""Titles of subsets of published benchmarks, unless the data says otherwise."""
TITLES_OF_MEANS = {
    "macro": "Mean of the subsets",
    "micro": "All items",
    "replace": "Replaced (mean of its subsets)",
    "swap": "Swapped (mean of its subsets)",
    "add": "Added (mean of its subsets)",
}
"""Titles of means over all subsets, over all items and over the subsets of a category."""
FEWEST_CASES = 25
"""Cases that a pair of attributes needs to enter ARO's mean."""
NO_GROUP = {
    "vg_relation": "every relation of the sample is one that ARO leaves out",
    "vg_attribution": f"no pair of attributes has {FEWEST_CASES} cases, as ARO's mean requires",
}
"""Reasons why no group enters it."""


class Means(NamedTuple):
    """Measures over several subsets or groups, with the columns that they are made from."""

    columns: Table
    overall: Measures
    of_groups: Measures
    notes: tuple[str, ...]


def means(contrasts: Sequence[Contrast], scores: Columns, chances: Columns) -> Means:
    """Return ``macro/...`` over subsets, ``micro/...`` over samples, category means and means over groups.

    With a single subset, only the means over its groups are returned.

    Args:
        scores: columns by name, NaN where undefined.
        chances: score of a constant model on each sample, by name. A missing score has no chance.
    """
    subset_of = text_column(contrast.subset for contrast in contrasts)
    group_of = text_column(contrast.group or "" for contrast in contrasts)
    subsets, aggregates = list(dict.fromkeys(subset_of.tolist())), Means({}, {}, {}, ())

    def add(measures: Measures, title: str, column: Column, parts: np.ndarray, chance: Column | None) -> None:
        columns, measures[title] = mean_over_parts(title, column, parts, chance=chance)
        aggregates.columns.update(columns)

    for name, column in scores.items():
        chance, defined = chances.get(name), ~np.isnan(column)
        if len(subsets) > 1:
            present = list(dict.fromkeys(subset_of[defined].tolist()))
            for title, members in {"macro": present, **_categories(present)}.items():
                of_members = np.where(np.isin(subset_of, members), column, np.nan)
                add(aggregates.overall, f"{title}/{name}", of_members, subset_of, chance)
            aggregates.columns[f"micro/{name}"] = column
            aggregates.overall[f"micro/{name}"] = Mean(
                column=f"micro/{name}",
                chance=None if chance is None else float(chance[defined].mean()),
                is_headline=name in ("text_acc", "image_acc", "image_jaccard"),
            )
        for subset in (subset for subset in subsets if subset not in SETS):
            group = np.where(subset_of == subset, group_of, "")
            is_scored = (group != "") & defined
            enters = is_scored & _enters_mean(subset, group)
            title = f"{subset}/macro_{name}" if subset else f"macro_{name}"
            if enters.any():
                add(aggregates.of_groups, title, np.where(enters, column, np.nan), group, chance)
            elif is_scored.any():
                aggregates.of_groups[title] = undefined(NO_GROUP[subset], higher_is_better=True)
    title_of = {name: split_outer_subset(name).subset for name in aggregates.overall}
    titles = list(dict.fromkeys(title_of.values()))
    by_title = dict(sorted(aggregates.overall.items(), key=lambda pair: titles.index(title_of[pair[0]])))
    return aggregates._replace(overall=by_title, notes=_notes(subsets, aggregates.of_groups))


def _categories(subsets: Sequence[str]) -> dict[str, list[str]]:
    if not set(subsets) <= set(SUGARCREPE):
        return {}
    by_category: dict[str, list[str]] = {}
    for subset in subsets:
        by_category.setdefault(subset.partition("_")[0], []).append(subset)
    return {category: members for category, members in by_category.items() if len(members) > 1}


@cache
def symmetric_relations() -> frozenset[str]:
    """Return the relations of ARO that hold both ways, or nearly, which its notebook leaves out of the mean."""
    text = files("clipbench_tasks").joinpath("aro_symmetric_relations.txt").read_text(encoding="utf-8")
    return frozenset(text.splitlines())


def _enters_mean(subset: str, group: np.ndarray) -> Bool[np.ndarray, " n"]:
    """Return a mask of the samples whose group enters the published mean. In other data, all samples do."""
    if subset == "vg_relation":
        return ~np.isin(group, list(symmetric_relations()))
    if subset == "vg_attribution":
        _, code, counts = np.unique(group, return_inverse=True, return_counts=True)
        return counts[code] >= FEWEST_CASES
    return np.ones(len(group), bool)


def _notes(subsets: Sequence[str], of_groups: Mapping[str, Measure]) -> tuple[str, ...]:
    notes = [
        f"{TITLES[subset]}: the macro accuracy is the mean over {rule}, as published, and the text score is over all"
        " samples"
        for subset, rule in (
            ("vg_relation", f"relations, without {len(symmetric_relations())} that hold both ways"),
            ("vg_attribution", f"pairs of attributes with {FEWEST_CASES} cases or more"),
        )
        if f"{subset}/macro_text_acc" in of_groups
    ]
    missing = [subset for subset in SUGARCREPE if subset not in subsets]
    if len(subsets) > 1 and set(subsets) < set(SUGARCREPE) and set(missing) - {"add_obj", "add_att"}:
        notes.append(f"means are over the subsets of the data, without {', '.join(missing)}")
    return tuple(notes)
