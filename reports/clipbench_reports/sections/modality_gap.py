"""The modality gap: two cones, what carries the gap, and what closing it does."""

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import NamedTuple

from clipbench.models.protocol import no_logit_scale
from clipbench.results import numbers as fmt
from clipbench.results.record import EvaluationRecord
from clipbench.stats.intervals import wilson
from clipbench_reports.drawing.marks import Chart, Line, Mark, Panel, Role, Rule, nice_axis, percent_axis, tight_axis
from clipbench_reports.drawing.models import Panels, Statement, chart, facets
from clipbench_reports.evidence import ByModel, Evidence, MissingEvidence, Models, PlottedCurve, read_each
from clipbench_reports.figures import geometry, maps
from clipbench_reports.figures.shared import CHANCE, curve_line, why_lacking
from clipbench_reports.findings import Finding, claim, defined
from clipbench_reports.sections.section import Plot, Section

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
    "Bands: 95 % intervals of each share by itself, drawn for the first of several lines in a plane; lines are of the"
    " same pairs, and may differ by less."
)


QUANTITIES = {
    "gap": ("Gap", nice_axis),
    "loss": ("Contrastive loss", nice_axis),
    "image_retrieval_recall@1": ("Text-to-image R@1, %", percent_axis),
    "text_retrieval_recall@1": ("Image-to-text R@1, %", percent_axis),
    "acc1": ("Zero-shot top-1 accuracy, %", percent_axis),
}
"""Quantities that are measured anew after the vectors were moved, a panel each: the label and the kind of its axis.

Recall at more than the first place is in the result only."""

CHANCES = {"gap": "gap_chance"}
"""Curves of the level that would show by chance, by the quantity that they are drawn with."""


class _Moved(NamedTuple):
    curves: dict[str, PlottedCurve]
    gap: float | None
    claim: Statement
    subsets: Mapping[str, str]


def shift(models: Models) -> Chart:
    """Return gap, loss, recall and accuracy as the modalities are moved along the gap vector (Liang et al., 2022)."""
    by_model = read_each(models, partial(_read, ways=SHIFTS, label="Distance moved", claim=_closing))
    return chart(
        _panels(by_model, SHIFTS, "Distance moved", marks_gap=True),
        by_model.map(lambda each: each.claim),
        n_columns=2,
        reading=(
            "Vectors are moved along the unit gap vector by the distance on the axis, towards each other to the right, "
            "and normalized again; all is then scored anew, the loss over all pairs shown at the model’s own "
            f"temperature. {BAND}"
        ),
    )


def corrections(models: Models) -> Chart:
    """Return gap, loss, recall and accuracy under corrections that are fitted on one half, scored on the other."""
    by_model = read_each(models, partial(_read, ways=CORRECTIONS, label="Strength of the correction", claim=_centring))
    return chart(
        _panels(by_model, CORRECTIONS, "Strength of the correction"),
        by_model.map(lambda each: each.claim),
        n_columns=2,
        reading=(
            "The mean of each modality (and its spread by dimension, where vectors are standardised) is taken from one"
            " half of the pairs, subtracted in part or, at 1, in whole from the other half, which is then scored anew."
            " Centred and standardised vectors are normalized again; where the length is kept, scores are dot"
            " products. ReAlign moves texts alone, to the mean and the spread of images. Chance: the gap that so many"
            f" pairs would show if none remained. {BAND}"
        ),
    )


def _read(evidence: Evidence, *, ways: Ways, label: str, claim: Callable[[Evidence], Statement]) -> _Moved:
    names = [name for name in evidence.evaluation.curves if name.rpartition("_by_")[2] in ways]
    if f"gap_by_{next(iter(ways))}" not in names:
        raise MissingEvidence(f"the run holds no curves by {label.lower()}: {why_lacking(evidence, 'gap')}")
    gap, most = evidence.evaluation.metrics.get("gap"), evidence.evaluation.params.get("rescored_sample")
    n = 0 if gap is None or gap.n is None else gap.n
    n = min(n, most) if isinstance(most, int) else n
    if ways is CORRECTIONS:  # scored on the other half
        n -= n // 2
    curves = {name: _bounded(name, evidence.curve(name), n) for name in names}
    return _Moved(curves, None if gap is None else gap.value, claim(evidence), evidence.evaluation.subsets)


def _bounded(name: str, curve: PlottedCurve, n: int) -> PlottedCurve:
    """Return a curve of shares of n pairs with the interval of each, where the run recorded none."""
    score = name.rpartition("_by_")[0].rpartition("/")[2]
    if curve.low or n < 1 or not (score == "acc1" or "_recall@" in score):
        return curve
    ends = [wilson(y * n, n)[:2] if 0 <= y <= 1 else (None, None) for y in curve.y]
    low, high = ([math.nan if end is None else end for end in bound] for bound in zip(*ends, strict=True))
    return curve._replace(low=low, high=high)


def _panels(by_model: ByModel[_Moved], ways: Ways, label: str, *, marks_gap: bool = False) -> list[Panels]:
    end = f"_by_{next(iter(ways))}"
    held = dict.fromkeys(name for each in by_model.all for name in each.curves if name.endswith(end))
    quantities = {name: quantity for name, quantity in QUANTITIES.items() if f"{name}{end}" in held}
    quantities |= {name.removesuffix(end): QUANTITIES["acc1"] for name in held if name.endswith(f"/acc1{end}")}
    parts = []
    for name, (words, axis) in quantities.items():
        lines = [line for each in by_model.all for line in _lines(each, name, ways)]
        label_set = name.rpartition("/")[0]
        titles = (each.subsets.get(label_set) for each in by_model.all)
        plane = Panel(
            x=tight_axis([x for line in lines for x in line.xs], label),
            y=axis([y for line in lines for y in (*line.ys, *(line.lows or ()), *(line.highs or ()))], words),
            title=next(filter(None, titles), label_set),
        )

        def marks(moved: _Moved, name: str = name) -> list[Mark]:
            places, unmoved = ([0, moved.gap], "unmoved, and moved by the gap") if moved.gap else ([0], "unmoved")
            rules = [Rule(at=place, axis="x", role="chance", name=unmoved) for place in places if marks_gap]
            return [*rules, *_lines(moved, name, ways)]

        parts.append(facets(plane, by_model.map(marks)))
    return parts


def _lines(moved: _Moved, name: str, ways: Ways) -> list[Line]:
    """Return a quantity by each way to move the vectors, under it the level that would show by chance, where that is
    known.
    """
    chances, own = list[Line](), list[Line]()
    for way, (words, role, is_dashed) in ways.items():
        if chance := moved.curves.get(f"{CHANCES.get(name)}_by_{way}"):
            line = replace(curve_line(chance, "chance", CHANCE), of=words, has_dots=False, is_reference=True)
            chances.append(line)
        if curve := moved.curves.get(f"{name}_by_{way}"):
            line = curve_line(curve, role, words, is_dashed=is_dashed)
            own.append(replace(line, has_band=way == next(iter(ways))))
    return [*chances, *own]


def _closing(evidence: Evidence) -> Statement:

    def finite(name: str) -> dict[float, float]:
        curve = evidence.curve(f"{name}_by_shift_both")
        known = {x: y for x, y in zip(curve.x, curve.y, strict=True) if math.isfinite(y)}
        if 0.0 not in known:
            raise MissingEvidence(f"the {name} is not known where nothing is moved")
        return known

    gap = finite("gap")
    moved = min(gap, key=lambda x: abs(x - gap[0.0]))
    before, after = gaps = [fmt.number(gap[x], "distance") for x in (0.0, moved)]
    if evidence.run.result.model.get("logit_scale") is not None:
        loss = finite("loss")
        before += f" and the loss {fmt.number(loss[0.0], 'nats')}"
        after += f" and {fmt.number(loss[moved], 'nats')}" if moved in loss else ""
    return Statement(
        title=f"Unmoved, the gap is {before}; with both modalities moved by {fmt.significant(moved)}, {after}.",
        subject="The gap as it is, and with both modalities moved by it",
        value=" and ".join(gaps),
        reading=_not_drawn(evidence),
    )


def _not_drawn(evidence: Evidence) -> str:
    """Return why the loss or zero-shot accuracy has no panel; nothing where both have one."""
    lacking = []
    if evidence.run.result.model.get("logit_scale") is None:
        lacking.append(f"The loss is undefined: {no_logit_scale()}.")
    if not any("acc1_by_" in name for name in evidence.evaluation.curves):
        lacking.append("Zero-shot accuracy takes one label for each image, which these data lack.")
    return " ".join(lacking)


def _centring(evidence: Evidence) -> Statement:
    recall = evidence.curve("image_retrieval_recall@1_by_centring")
    before, after = fmt.percent(recall.y[0]), fmt.percent(recall.y[-1])
    return Statement(
        # Values, and no change: a curve has no paired interval that could tell one.
        title=(
            f"Text-to-image R@1 among one half of the pairs is {before} % as it is, and {after} % with each modality"
            " centred."
        ),
        subject="Text-to-image R@1 before and after centring each modality",
        value=f"{before} and {after} %",
        reading=_not_drawn(evidence),
    )


APART = "Images and texts lie apart"
DRAWN = (
    *geometry.COSINES,
    *geometry.CONFORMITY,
    *geometry.KEPT,
    *geometry.REMOVED,
    *geometry.MATCHES,
    "gap_spectrum",
    *(f".*_by_{way}" for way in (*SHIFTS, *CORRECTIONS)),
)
"""Curves that the figures show, or that are more of the same."""
USUAL_SEPARABILITY = 0.99
"""Share that nearly every CLIP reaches, trained or not."""


def findings(evaluation: EvaluationRecord) -> list[Finding]:
    """Return the size of the gap, without praise or blame: no direction is better."""
    gap, separability = defined(evaluation.metrics, "gap", "separability")
    if gap is None:
        return []
    noise = "" if gap.chance is None else f"; without a gap, noise puts them {fmt.number(gap.chance, gap.unit)} apart"
    text = f"The mean image vector and the mean text vector are {fmt.bounded(gap)} apart{noise}."
    sentences = [Finding("plain", text, weakness=APART if (gap.low or 0) > 0 else "")]
    if separability is not None and separability.value is not None:
        finding = claim(
            "A linear classifier separates images from texts in {value} of cases, over {n} held-out pairs", separability
        )
        is_usual = separability.value >= USUAL_SEPARABILITY
        usual = " Nearly any CLIP is that separable." if is_usual else ""
        sentences.append(finding._replace(text=f"{finding.text}{usual}", is_expected=is_usual))
    return sentences


DEFINITION = "The modality gap is the distance between the centroids of image and text vectors (Liang et al., 2022)."
SECTION = Section(
    advice={
        APART: (
            "A gap is there in nearly every CLIP from the first step on, and the loss keeps it (Liang et al. "
            "2022, arXiv:2203.02053). It matters where cosines of different kinds are compared or mixed, such as "
            "image with image beside image with text. Subtracting the mean of each modality is the usual remedy. "
            "Closing the gap alone improves recall little or not at all (Liang et al. 2022; Schrodi et al. 2025, "
            "arXiv:2404.07983): the corrections above show what it does here."
        ),
    },
    title="Modality gap",
    figures=(
        maps.gap,
        geometry.cones,
        geometry.conformity,
        geometry.spectrum,
        shift,
        corrections,
        geometry.similarity_calibration,
    ),
    findings=findings,
    plots={
        "gap": Plot(
            summary="images and texts as points of a plane, pairs joined by lines",
            definition=DEFINITION,
            draws=(maps.gap,),
            is_projected=True,
        ),
        "cones": Plot(
            summary="distributions of cosines within and across the modalities",
            definition=(
                "A cone is the mean cosine of different vectors of one modality (Ethayarajh, 2019; Liang et al., 2022)."
            ),
            draws=(geometry.cones,),
        ),
        "spectrum": Plot(
            summary="the dimensions that carry the gap, and gap and recall without them",
            definition=DEFINITION,
            draws=(geometry.spectrum,),
        ),
        "shift": Plot(
            summary="gap, loss, recall and accuracy as the modalities are moved along the gap",
            definition=DEFINITION,
            draws=(shift,),
        ),
        "corrections": Plot(
            summary="gap, loss, recall and accuracy under corrections made afterwards",
            definition=(
                "Centring: I0T and GR-CLIP; standardising: centring, and dividing by the standard deviation of each"
                " dimension; centring with the length kept: the collapse of C3; ReAlign: texts at the mean and the"
                " spread of images."
            ),
            draws=(corrections,),
        ),
        "similarity-calibration": Plot(
            summary="the probability of a match by cosine, within a modality and across the two",
            draws=(geometry.similarity_calibration,),
        ),
    },
    drawn_curves=DRAWN,
    has_cloud=True,
)
