"""Rows of composition: who won each contrast, how alike its captions are, what a blind rule chooses, and means over
subsets.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from importlib.resources import files
from itertools import chain, product
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
    sets: dict[str, list[int]] = defaultdict(list)
    pairs: dict[tuple[str, bool], list[int]] = defaultdict(list)
    for row, contrast in enumerate(contrasts):
        set_name = set_of(contrast)
        if set_name is not None:
            true = contrast.captions[contrast.is_true[0].index(True)]
            is_sideways = not {"left", "right"}.isdisjoint(words(true))
            sets[set_name].append(row)
            pairs[set_name, is_sideways].append(row)
    return {"pair_acc": _all_right(text, pairs.values(), 2), "set_acc": _all_right(text, sets.values(), 4)}


def _all_right(credit: Column, groups: Iterable[list[int]], size: int) -> Column:
    """Return the credit of all rows of a group being right, at its first row. Groups of another size have none."""
    column = np.full(len(credit), np.nan)
    for rows in groups:
        if len(rows) == size:
            column[rows[0]] = credit[rows].prod()
    return column


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
    rows: list[int] = []
    firsts: list[str] = []
    seconds: list[str] = []
    for row, contrast in enumerate(contrasts):
        for first, second in _hard_negative_pairs(contrast):
            rows.append(row)
            firsts.append(first)
            seconds.append(second)
    if not rows:
        return np.full(len(contrasts), np.nan)
    values = np.asarray(judge(firsts, seconds), np.float64)
    counts = np.bincount(rows, minlength=len(contrasts)).astype(np.float64)
    sums = np.bincount(rows, values, minlength=len(contrasts))
    return np.divide(sums, counts, out=np.full(len(contrasts), np.nan), where=counts > 0)


def _hard_negative_pairs(contrast: Contrast) -> list[tuple[str, str]]:
    """Return the pairs of a true caption and a hard negative of one image, each pair once.

    Of two captions that are each true of another image, either may come first.
    """
    pairs: set[tuple[int, int]] = set()
    for line in contrast.is_true:
        true = [column for column, is_true in enumerate(line) if is_true]
        negatives = [column for column, is_true in enumerate(line) if not is_true]
        for one, other in product(true, negatives):
            pairs.add((min(one, other), max(one, other)))
    return [(contrast.captions[one], contrast.captions[other]) for one, other in sorted(pairs)]


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
    pairs_by_count: dict[int, dict[int, list[tuple[str, str]]]] = defaultdict(dict)  # by row
    for row, contrast in enumerate(contrasts):
        pairs = _text_pairs(contrast)
        if pairs:
            pairs_by_count[len(pairs)][row] = pairs
    for n_pairs, pairs_by_row in pairs_by_count.items():
        left, right = zip(*chain(*pairs_by_row.values()), strict=True)
        scores = np.zeros(len(left), np.float32) if vectors is None else vectors.cosines(left, right)
        is_true = np.arange(n_pairs)[None, :] == 0  # the pair of true captions comes first
        credit[list(pairs_by_row)] = choices(scores.reshape(-1, 1, n_pairs), is_true).text
    return credit


def _text_pairs(contrast: Contrast) -> list[tuple[str, str]]:
    """Return the pair of the first two true captions of the first image, then each of both with each false one."""
    judged = list(zip(contrast.captions, contrast.is_true[0], strict=True))
    true = [caption for caption, is_true in judged if is_true]
    false = [caption for caption, is_true in judged if not is_true]
    if len(true) < 2 or not false:
        return []
    return [(true[0], true[1]), *product(true[:2], false)]


class Shuffle(NamedTuple):
    """A caption and the same words in another order."""

    row: int
    """Row of the contrast."""
    image: int
    """Row of an image that the caption is true of."""
    caption: str
    shuffled: str


def shuffles_of(contrasts: Sequence[Contrast], rng: np.random.Generator) -> list[Shuffle]:
    """Return the first true caption of each contrast, shuffled, without captions that have no other order."""
    shuffles = []
    for row in sample_rows(np.arange(len(contrasts)), MAX_SHUFFLED, rng).tolist():
        contrast = contrasts[row]
        image, column = np.argwhere(contrast.truth)[0]
        caption = contrast.captions[column]
        shuffled = shuffle_words(caption)
        if shuffled is not None:
            shuffles.append(Shuffle(row, contrast.images[image], caption, shuffled))
    return shuffles


def word_order(shuffles: Sequence[Shuffle], vectors: ItemVectors, n: int) -> tuple[Column, Column]:
    """Return the cosine of each contrast's caption with its shuffle, and the credit for preferring the caption."""
    cosine, credit = np.full((2, n), np.nan)
    if shuffles:
        rows, images, captions, shuffled_captions = map(list, zip(*shuffles, strict=True))
        cosine[rows] = vectors.cosines(captions, shuffled_captions)
        caption_scores = pair_scores(vectors.images[images], vectors.of(captions))
        shuffle_scores = pair_scores(vectors.images[images], vectors.of(shuffled_captions))
        credit[rows] = (1 + np.sign(caption_scores.astype(np.float64) - shuffle_scores)) / 2
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
    subsets = list(dict.fromkeys(subset_of.tolist()))
    columns: Table = {}
    overall: Measures = {}
    of_groups: Measures = {}
    for name, score in scores.items():
        chance = chances.get(name)
        if len(subsets) > 1:
            averages = _means_of_subsets(name, score, subset_of, chance)
            columns |= averages.columns
            overall |= averages.measures
        for subset in subsets:
            if subset not in SETS:
                group = np.where(subset_of == subset, group_of, "")
                averages = _mean_of_groups(subset, name, score, group, chance)
                columns |= averages.columns
                of_groups |= averages.measures
    aggregates = {name: split_outer_subset(name).subset for name in overall}  # macro, micro, or a category
    order = list(dict.fromkeys(aggregates.values()))
    names = sorted(overall, key=lambda name: order.index(aggregates[name]))
    return Means(columns, {name: overall[name] for name in names}, of_groups, _notes(subsets, of_groups))


class _Averages(NamedTuple):
    """Means of a score, with the columns that they are made from."""

    columns: Table
    measures: Measures


def _means_of_subsets(name: str, score: Column, subset_of: np.ndarray, chance: Column | None) -> _Averages:
    """Return the means of a score over all subsets, over the subsets of each category, and over all samples."""
    columns: Table = {}
    measures: Measures = {}
    is_defined = ~np.isnan(score)
    present = list(dict.fromkeys(subset_of[is_defined].tolist()))
    for aggregate, members in {"macro": present, **_categories(present)}.items():
        macro = f"{aggregate}/{name}"
        of_members = np.where(np.isin(subset_of, members), score, np.nan)
        macro_columns, measures[macro] = mean_over_parts(macro, of_members, subset_of, chance=chance)
        columns |= macro_columns
    micro = f"micro/{name}"
    columns[micro] = score
    measures[micro] = Mean(
        column=micro,
        chance=None if chance is None else float(chance[is_defined].mean()),
        is_headline=name in ("text_acc", "image_acc", "image_jaccard"),
    )
    return _Averages(columns, measures)


def _mean_of_groups(subset: str, name: str, score: Column, group: np.ndarray, chance: Column | None) -> _Averages:
    """Return the mean of a score over a subset's groups, or nothing if no sample of the subset has a group.

    Args:
        group: the group of each sample, empty for samples of other subsets and for samples without a group.
    """
    macro = f"{subset}/macro_{name}" if subset else f"macro_{name}"
    is_scored = (group != "") & ~np.isnan(score)
    enters = is_scored & _enters_mean(subset, group)
    if enters.any():
        columns, measure = mean_over_parts(macro, np.where(enters, score, np.nan), group, chance=chance)
        return _Averages(columns, {macro: measure})
    if is_scored.any():
        return _Averages({}, {macro: undefined(NO_GROUP[subset], higher_is_better=True)})
    return _Averages({}, {})


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
    rules = {
        "vg_relation": f"relations, without the {len(symmetric_relations())} that are true both ways (parked near)",
        "vg_attribution": f"pairs of attributes with {FEWEST_CASES} cases or more",
    }
    notes = []
    for subset, rule in rules.items():
        if f"{subset}/macro_text_acc" in of_groups:
            notes.append(
                f"{TITLES[subset]}: the macro accuracy is, as in the paper, the mean over {rule}; the text score is the"
                " mean over all samples"
            )
    missing = [subset for subset in SUGARCREPE if subset not in subsets]
    if len(subsets) > 1 and set(subsets) < set(SUGARCREPE) and set(missing) - {"add_obj", "add_att"}:
        notes.append(f"the mean is only over the subsets of the data, without {', '.join(missing)}")
    return tuple(notes)
