"""Gap, loss, recall and accuracy when the vectors are moved along the gap, or corrected afterwards."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import NamedTuple

from clipbench.models.protocol import NO_LOGIT_SCALE
from clipbench.results import numbers as fmt
from clipbench.stats.intervals import wilson
from clipbench_reports.drawing.marks import (
    Chart,
    Line,
    Mark,
    Panel,
    Role,
    Rule,
    nice_axis,
    percent_axis,
    tight_axis,
)
from clipbench_reports.drawing.models import Panels, Statement, chart, facets
from clipbench_reports.figures._figure import CHANCE, curve_line, why_lacking
from clipbench_reports.page.evidence import ByModel, Evidence, MissingEvidence, ModelEvidence, PlottedCurve, read_each

Ways = Mapping[str, tuple[str, Role, bool]]
"""Ways to move vectors: the words, the role and whether the line is dashed."""

SHIFTS: Ways = {
    "shift_both": ("both moved by half", "ink", False),
    "shift_image": ("images moved", "image", False),
    "shift_text": ("texts moved", "text", False),
}
CORRECTIONS: Ways = {
    "centring": ("centred", "ink", False),
    "standardising": ("standardised", "pair", False),
    "collapse": ("centred, length kept", "ink", True),
    "realign": ("ReAlign", "text", False),
}


BAND = (
    "Bands: 95 % intervals of each share by itself, drawn for the first of several lines in a plane; lines are of the same "
    "pairs, and may differ by less."
)


class Quantity(NamedTuple):
    """A quantity that is measured anew after the vectors were moved."""

    label: str
    is_percent: bool


QUANTITIES = {
    "gap": Quantity("Gap", False),
    "loss": Quantity("Contrastive loss", False),
    "image_retrieval_recall@1": Quantity("Text-to-image R@1, %", True),
    "text_retrieval_recall@1": Quantity("Image-to-text R@1, %", True),
    "acc1": Quantity("Zero-shot top-1 accuracy, %", True),
}
"""Each has a panel; recall at more than the first place is in the result only."""

CHANCES = {"gap": "gap_chance"}
"""Curves of the level that would show by chance, by the quantity that they are drawn with."""

MOVED = frozenset(
    f"{quantity}_by_{way}"
    for way in (*SHIFTS, *CORRECTIONS)
    for quantity in (
        *QUANTITIES,
        *CHANCES.values(),
        *(f"{side}_retrieval_recall@{k}" for side in ("image", "text") for k in (5, 10)),
    )
)
"""Curves that these figures show, or that are more of the same; each of zero-shot has the name of its label set before it."""


class _Moved(NamedTuple):
    """The curves of one model, its gap, the words on them, and the titles of its label sets."""

    curves: dict[str, PlottedCurve]
    gap: float | None
    claim: Statement
    subsets: Mapping[str, str]


def shift(models: Sequence[ModelEvidence]) -> Chart:
    """Return gap, loss, recall and accuracy as the modalities are moved along the gap vector (Liang et al., 2022).

    Raises:
        MissingEvidence: no run holds such curves.
    """
    by_model = read_each(models, partial(_read, ways=SHIFTS, label="Distance moved", claim=_closing))
    return chart(
        _panels(by_model, SHIFTS, "Distance moved", marks_gap=True),
        by_model.map(lambda each: each.claim),
        by_model,
        n_columns=2,
        reading="Vectors are moved along the unit gap vector by the distance on the axis, towards each other to the right, "
        "and normalized again; all is then scored anew, the loss over all pairs shown at the model’s own "
        f"temperature. {BAND}",
    )


def corrections(models: Sequence[ModelEvidence]) -> Chart:
    """Return gap, loss, recall and accuracy under corrections that are fitted on one half, scored on the other.

    Raises:
        MissingEvidence: no run holds such curves.
    """
    by_model = read_each(models, partial(_read, ways=CORRECTIONS, label="Strength of the correction", claim=_centring))
    return chart(
        _panels(by_model, CORRECTIONS, "Strength of the correction"),
        by_model.map(lambda each: each.claim),
        by_model,
        n_columns=2,
        reading="The mean of each modality (and its spread by dimension, where vectors are standardised) is taken from one "
        "half of the pairs, subtracted in part or, at 1, in whole from the other half, which is then scored anew. "
        "Centred and standardised vectors are normalized again; where the length is kept, scores are dot "
        "products. ReAlign moves texts alone, to the mean and the spread of images. Chance: the gap that so many pairs would show if none remained. "
        f"{BAND}",
    )


def _read(evidence: Evidence, *, ways: Ways, label: str, claim: Callable[[Evidence], Statement]) -> _Moved:
    names = [name for name in evidence.evaluation.curves if name.rpartition("_by_")[2] in ways]
    if f"gap_by_{next(iter(ways))}" not in names:
        raise MissingEvidence(f"the run holds no curves by {label.lower()}: {why_lacking(evidence, 'gap')}")
    gap = evidence.evaluation.metrics.get("gap")
    n = _n_scored(evidence, is_halved=ways is CORRECTIONS)
    curves = {name: _bounded(name, evidence.curve(name), n) for name in names}
    return _Moved(curves, None if gap is None else gap.value, claim(evidence), evidence.evaluation.subsets)


def _n_scored(evidence: Evidence, *, is_halved: bool) -> int:
    """Return how many pairs were scored anew; 0 where it is not known."""
    gap, most = evidence.evaluation.metrics.get("gap"), evidence.evaluation.params.get("rescored_sample")
    n = 0 if gap is None or gap.n is None else gap.n
    n = min(n, most) if isinstance(most, int) else n
    return n - n // 2 if is_halved else n


def _bounded(name: str, curve: PlottedCurve, n: int) -> PlottedCurve:
    """Return a curve of shares of n pairs with the interval of each, where the run recorded none."""
    score = name.rpartition("_by_")[0].rpartition("/")[2]
    if curve.low or n < 1 or not (score == "acc1" or "_recall@" in score):
        return curve
    ends = [wilson(y * n, n)[:2] if 0 <= y <= 1 else (None, None) for y in curve.y]
    low, high = ([math.nan if end is None else end for end in bound] for bound in zip(*ends, strict=True))
    return curve._replace(low=low, high=high)


def _panels(by_model: ByModel[_Moved], ways: Ways, label: str, *, marks_gap: bool = False) -> list[Panels]:
    """Return the panels of each quantity, and of zero-shot accuracy those of each label set."""
    end = f"_by_{next(iter(ways))}"
    held = dict.fromkeys(name for each in by_model.all for name in each.curves if name.endswith(end))
    quantities = {name: quantity for name, quantity in QUANTITIES.items() if f"{name}{end}" in held}
    quantities |= {name.removesuffix(end): QUANTITIES["acc1"] for name in held if name.endswith(f"/acc1{end}")}
    parts = []
    for name, quantity in quantities.items():
        drawn = {model: _lines(each, name, ways) for model, each in by_model.values.items()}
        lines = [line for own in drawn.values() for line in own]
        axis = percent_axis if quantity.is_percent else nice_axis
        plane = Panel(
            x=tight_axis([x for line in lines for x in line.xs], label),
            y=axis([y for line in lines for y in (*line.ys, *(line.lows or ()), *(line.highs or ()))], quantity.label),
            title=_set_title(by_model, name.rpartition("/")[0]),
        )
        uprights = by_model.map(_uprights) if marks_gap else {}
        parts.append(facets(plane, {model: [*uprights.get(model, ()), *own] for model, own in drawn.items()}, by_model))
    return parts


def _set_title(by_model: ByModel[_Moved], label_set: str) -> str:
    titles = (each.subsets.get(label_set) for each in by_model.all)
    return next(filter(None, titles), label_set)


def _lines(moved: _Moved, name: str, ways: Ways) -> list[Line]:
    """Return a quantity by each way to move the vectors, under it the level that would show by chance, where that is known."""
    chances = [
        replace(
            curve_line(moved.curves[chance]), role="chance", name=CHANCE, of=words, has_dots=False, is_reference=True
        )
        for way, (words, _, _) in ways.items()
        if (chance := f"{CHANCES.get(name)}_by_{way}") in moved.curves
    ]
    own = [
        replace(
            curve_line(moved.curves[f"{name}_by_{way}"], role, words, is_dashed=is_dashed),
            has_band=way == next(iter(ways)),
        )
        for way, (words, role, is_dashed) in ways.items()
        if f"{name}_by_{way}" in moved.curves
    ]
    return [*chances, *own]


def _uprights(moved: _Moved) -> list[Mark]:
    places, name = ([0, moved.gap], "unmoved, and moved by the gap") if moved.gap else ([0], "unmoved")
    return [Rule(at=place, axis="x", role="chance", name=name) for place in places]


def _closing(evidence: Evidence) -> Statement:
    """Return gap and loss unmoved, and with both modalities moved by the gap: no curve has a test of where it is least."""
    gap = _finite(evidence.curve("gap_by_shift_both"))
    if 0.0 not in gap:
        raise MissingEvidence("the gap is not known where nothing is moved")
    moved = min(gap, key=lambda x: abs(x - gap[0.0]))
    gaps = [fmt.number(gap[x], "distance") for x in (0.0, moved)]
    has_scale = evidence.run.result.model.get("logit_scale") is not None
    before, after = _losses(evidence, moved) if has_scale else ("", "")
    return Statement(
        title=f"Unmoved, the gap is {gaps[0]}{before}; with both modalities moved by {fmt.significant(moved)}, {gaps[1]}{after}.",
        subject="The gap as it is, and with both modalities moved by it",
        value=" and ".join(gaps),
        reading=_not_drawn(evidence),
    )


def _not_drawn(evidence: Evidence) -> str:
    """Return why the loss or zero-shot accuracy has no panel; nothing where both have one."""
    lacking = []
    if evidence.run.result.model.get("logit_scale") is None:
        lacking.append(f"The loss is undefined: {NO_LOGIT_SCALE}.")
    if not any("acc1_by_" in name for name in evidence.evaluation.curves):
        lacking.append("Zero-shot accuracy takes one label for each image, which these data lack.")
    return " ".join(lacking)


def _losses(evidence: Evidence, moved: float) -> tuple[str, str]:
    """Return the loss unmoved and at a distance; nothing for the distance where it is not known."""
    loss = _finite(evidence.curve("loss_by_shift_both"))
    if 0.0 not in loss:
        raise MissingEvidence("the loss is not known where nothing is moved")
    after = f" and {fmt.number(loss[moved], 'nats')}" if moved in loss else ""
    return f" and the loss {fmt.number(loss[0.0], 'nats')}", after


def _finite(curve: PlottedCurve) -> dict[float, float]:
    """Return the finite heights of a curve, by distance."""
    return {x: y for x, y in zip(curve.x, curve.y, strict=True) if math.isfinite(y)}


def _centring(evidence: Evidence) -> Statement:
    recall = evidence.curve("image_retrieval_recall@1_by_centring")
    before, after = fmt.percent(recall.y[0]), fmt.percent(recall.y[-1])
    return Statement(
        # Values, and no change: a curve has no paired interval that could tell one.
        title=f"Text-to-image R@1 is {before} % as it is, and {after} % with each modality centred.",
        subject="Text-to-image R@1 before and after centring each modality",
        value=f"{before} and {after} %",
        reading=_not_drawn(evidence),
    )
