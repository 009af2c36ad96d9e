"""Means over subsets and over groups: SugarCrepe's categories, ARO's macro accuracy, and the mean over all items.

A mean of means is a smooth function of means, as recall by class is; parts may be small (a relation of ARO in a few
hundred samples), for which the influences of samples allow (``recall_influence``).
"""

from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool

from clipbench.data.questions import Contrast
from clipbench.stats.measures import Fixed, Mean, Measure
from clipbench_tasks.composition.scoring import SETS
from clipbench_tasks.tables import Column, Table, mean_over_parts

SUGARCREPE = {
    "replace_obj": "Object replaced",
    "replace_att": "Attribute replaced",
    "replace_rel": "Relation replaced",
    "swap_obj": "Objects swapped",
    "swap_att": "Attributes swapped",
    "add_obj": "Object added",
    "add_att": "Attribute added",
}
"""Subsets with their titles; the part before the underscore is the category. SugarCrepe++ has the first five."""
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
"""Titles of subsets of published benchmarks, unless the data say otherwise."""
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
    "vg_attribution": f"no pair of attributes has {FEWEST_CASES} cases, as ARO's mean asks",
}
"""Reasons why no group enters it."""


class Means(NamedTuple):
    """Measures over several subsets or groups, with the columns that they are made from."""

    columns: Table
    overall: dict[str, Measure]
    of_groups: dict[str, Measure]
    notes: tuple[str, ...]


def means(contrasts: Sequence[Contrast], scores: Mapping[str, Column], chances: Mapping[str, Column]) -> Means:
    """Return ``macro/...`` over subsets, ``micro/...`` over samples, category means and means over groups.

    With a single subset, only the means over its groups are returned.

    Args:
        scores: columns by name, NaN where undefined.
        chances: score of a constant model on each sample, by name; what is not there has no chance.
    """
    subset_of = np.array([contrast.subset for contrast in contrasts], object)
    group_of = np.array([contrast.group or "" for contrast in contrasts], object)
    subsets, found = list(dict.fromkeys(subset_of.tolist())), Means({}, {}, {}, ())

    def add(measures: dict[str, Measure], title: str, column: Column, parts: np.ndarray, chance: Column | None) -> None:
        columns, measures[title] = mean_over_parts(title, column, parts, chance=chance)
        found.columns.update(columns)

    for name, column in scores.items():
        chance, defined = chances.get(name), ~np.isnan(column)
        if len(subsets) > 1:
            present = list(dict.fromkeys(subset_of[defined].tolist()))
            for title, members in {"macro": present, **_categories(present)}.items():
                of_members = np.where(np.isin(subset_of, members), column, np.nan)
                add(found.overall, f"{title}/{name}", of_members, subset_of, chance)
            found.columns[f"micro/{name}"] = column
            found.overall[f"micro/{name}"] = Mean(
                column=f"micro/{name}",
                chance=None if chance is None else float(chance[defined].mean()),
                is_headline=name in ("text_acc", "image_acc", "image_jaccard"),
            )
        for subset in (subset for subset in subsets if subset not in SETS):
            group = np.where(subset_of == subset, group_of, "")
            is_scored = (group != "") & defined
            enters = is_scored & _enters(subset, group)
            title = f"{subset}/macro_{name}" if subset else f"macro_{name}"
            if enters.any():
                add(found.of_groups, title, np.where(enters, column, np.nan), group, chance)
            elif is_scored.any():
                found.of_groups[title] = Fixed(value=None, reason=NO_GROUP[subset], higher_is_better=True)
    titles = list(dict.fromkeys(name.partition("/")[0] for name in found.overall))
    by_title = dict(sorted(found.overall.items(), key=lambda each: titles.index(each[0].partition("/")[0])))
    return found._replace(overall=by_title, notes=_notes(subsets, found.of_groups))


def _categories(subsets: Sequence[str]) -> dict[str, list[str]]:
    """Return SugarCrepe's categories with two subsets or more."""
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


def _enters(subset: str, group: np.ndarray) -> Bool[np.ndarray, " n"]:
    """Return which samples are of a group that enters the published mean; in other data, all do."""
    if subset == "vg_relation":
        return ~np.isin(group, list(symmetric_relations()))
    if subset == "vg_attribution":
        _, code, counts = np.unique(group, return_inverse=True, return_counts=True)
        return counts[code] >= FEWEST_CASES
    return np.ones(len(group), bool)


def _notes(subsets: Sequence[str], of_groups: Mapping[str, Measure]) -> tuple[str, ...]:
    notes = [
        f"{TITLES[subset]}: the macro accuracy is the mean over {rule}, as published; the text score is over all samples"
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
