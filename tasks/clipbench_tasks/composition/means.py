"""Means over subsets and over groups: SugarCrepe's categories, ARO's macro accuracy, and the mean over all items.

A mean of means is a smooth function of means, as recall by class is; parts may be small (a relation of ARO in a few
hundred samples), for which the influences of samples allow (``recall_influence``).
"""

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import NamedTuple

import numpy as np
from jaxtyping import Shaped

from clipbench.data.contrast_and_attack import Contrast
from clipbench.stats.measures import Fixed, Mean, Measure
from clipbench_tasks.composition.scoring import SETS
from clipbench_tasks.tables import mean_over_parts

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


class Means(NamedTuple):
    """Measures over several subsets or groups, with the columns that they are made from."""

    columns: dict[str, np.ndarray]
    overall: dict[str, Measure]
    of_groups: dict[str, Measure]
    notes: tuple[str, ...]


def means(contrasts: Sequence[Contrast], scores: Mapping[str, np.ndarray], chances: Mapping[str, np.ndarray]) -> Means:
    """Return ``macro/...`` over subsets, ``micro/...`` over samples, category means and means over groups.

    With a single subset, only the means over its groups are returned.

    Args:
        contrasts: the items.
        scores: columns by name, NaN where undefined.
        chances: score of a constant model on each sample, by name; what is not there has no chance.
    """
    subset_of = np.array([contrast.subset for contrast in contrasts], object)
    averages = Means({}, {}, {}, ())
    subsets = list(dict.fromkeys(subset_of.tolist()))
    for name, column in scores.items():
        if len(subsets) > 1:
            _add_overall(averages, name, column, chances.get(name), subset_of)
        for subset in (subset for subset in subsets if subset not in SETS):
            _add_groups(averages, name, column, chances.get(name), contrasts, subset=subset)
    return averages._replace(overall=_by_title(averages.overall), notes=_notes(subsets, averages.of_groups))


def _by_title(measures: Mapping[str, Measure]) -> dict[str, Measure]:
    """Return the measures, ordered by the mean that they belong to."""
    titles = list(dict.fromkeys(name.partition("/")[0] for name in measures))
    return {name: measures[name] for title in titles for name in measures if name.startswith(f"{title}/")}


def _add_overall(averages: Means, name: str, column: np.ndarray, chance: np.ndarray | None, subset: np.ndarray) -> None:
    defined = ~np.isnan(column)
    present = list(dict.fromkeys(subset[defined].tolist()))
    averages.columns[f"micro/{name}"] = column
    parts = {"macro": present, **_categories(present)}
    for title, members in parts.items():
        of_members = np.where(np.isin(subset, members), column, np.nan)
        columns, averages.overall[f"{title}/{name}"] = mean_over_parts(
            f"{title}/{name}", of_members, subset, chance=chance
        )
        averages.columns.update(columns)
    is_headline = name in ("text_acc", "image_acc", "image_jaccard")
    chance_of_all = None if chance is None else float(chance[defined].mean())
    averages.overall[f"micro/{name}"] = Mean(column=f"micro/{name}", chance=chance_of_all, is_headline=is_headline)


def _categories(subsets: Sequence[str]) -> dict[str, list[str]]:
    """Return SugarCrepe's categories with two subsets or more."""
    if not set(subsets) <= set(SUGARCREPE):
        return {}
    by_category: dict[str, list[str]] = {}
    for subset in subsets:
        by_category.setdefault(subset.partition("_")[0], []).append(subset)
    return {category: members for category, members in by_category.items() if len(members) > 1}


def _add_groups(
    averages: Means,
    name: str,
    column: np.ndarray,
    chance: np.ndarray | None,
    contrasts: Sequence[Contrast],
    *,
    subset: str,
) -> None:
    group = np.array([contrast.group or "" if contrast.subset == subset else "" for contrast in contrasts], object)
    is_scored = (group != "") & ~np.isnan(column)
    if not is_scored.any():
        return
    title = f"{subset}/macro_{name}" if subset else f"macro_{name}"
    enters = is_scored & (_RULES[subset](group) if subset in _RULES else True)
    if not enters.any():
        averages.of_groups[title] = Fixed(value=None, reason=_NO_GROUP.get(subset, "no group"), higher_is_better=True)
        return
    of_groups = np.where(enters, column, np.nan)
    columns, averages.of_groups[title] = mean_over_parts(title, of_groups, group, chance=chance)
    averages.columns.update(columns)


@cache
def symmetric_relations() -> frozenset[str]:
    """Return the relations of ARO that hold both ways, or nearly, which its notebook leaves out of the mean."""
    text = files("clipbench_tasks").joinpath("aro_symmetric_relations.txt").read_text(encoding="utf-8")
    return frozenset(text.splitlines())


def _is_asymmetric(group: Shaped[np.ndarray, " n"]) -> Shaped[np.ndarray, " n"]:
    return ~np.isin(group, list(symmetric_relations()))


def _has_enough(group: Shaped[np.ndarray, " n"]) -> Shaped[np.ndarray, " n"]:
    _, code, counts = np.unique(group, return_inverse=True, return_counts=True)
    return counts[code] >= FEWEST_CASES


_RULES: Mapping[str, Callable[[Shaped[np.ndarray, " n"]], Shaped[np.ndarray, " n"]]] = {
    "vg_relation": _is_asymmetric,
    "vg_attribution": _has_enough,
}
"""Groups that enter the published mean; in other data, all do."""
_NO_GROUP = {
    "vg_relation": "every relation of the sample is one that ARO leaves out",
    "vg_attribution": f"no pair of attributes has {FEWEST_CASES} cases, as ARO's mean asks",
}


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
