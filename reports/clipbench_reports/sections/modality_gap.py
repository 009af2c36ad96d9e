"""The modality gap: two cones, the dimensions of the gap, and the effect of closing it."""

import math
from functools import partial

from clipbench.models.protocol import no_logit_scale
from clipbench.results import numbers as fmt
from clipbench.results.record import EvaluationRecord
from clipbench.stats.intervals import wilson
from clipbench_reports.drawing.facets import Statement
from clipbench_reports.drawing.marks import Mark, Rule, tight_axis
from clipbench_reports.evidence import Evidence, PlottedCurve
from clipbench_reports.figures import geometry, maps
from clipbench_reports.figures.curves import Curves, CurvesFigure, References, no_marks, state_at_both_ends
from clipbench_reports.findings import Finding, claim, defined
from clipbench_reports.sections.section import Plot, Section

BAND = "Bands: separate 95 % intervals, for the first of several lines. The lines share their pairs."


def _moved_figure(name: str, reading: str, share_scored: float, references: References = no_marks) -> CurvesFigure:
    """Return the figure of gap, loss, recall and accuracy of vectors that were moved.

    Args:
        share_scored: fraction of the pairs that are scored again.
    """
    return CurvesFigure(
        name=name,
        reading=f"{reading} {BAND}",
        x_axis=tight_axis,
        is_zoomed=True,
        has_all_bands=False,
        references=references,
        complete=partial(_with_intervals, share_scored),
        state=_state,
        metric="gap",
    )


def _with_intervals(share_scored: float, evidence: Evidence, curve: PlottedCurve) -> PlottedCurve:
    """Return a curve of fractions of pairs with the interval of each, if the run recorded none."""
    gap = evidence.evaluation.metrics.get("gap")
    if gap is None or curve.low or curve.unit != "fraction":
        return curve
    max_rescored = evidence.evaluation.params.get("rescored_sample")
    n_pairs = min(gap.n, max_rescored) if isinstance(max_rescored, int) else gap.n
    n = math.ceil(n_pairs * share_scored)
    if n < 1:
        return curve
    lows, highs = list[float](), list[float]()
    for y in curve.y:
        low, high = wilson(y * n, n)[:2] if 0 <= y <= 1 else (None, None)
        lows.append(math.nan if low is None else low)
        highs.append(math.nan if high is None else high)
    return curve._replace(low=lows, high=highs)


def _unmoved_reference(evidence: Evidence, y_label: str) -> list[Mark]:
    """Return the places of vectors as they are, and moved by the gap."""
    (gap,) = defined(evidence.evaluation.metrics, "gap")
    positions = [0.0] if gap is None or not gap.value else [0.0, gap.value]
    name = "unmoved, and moved by the gap" if len(positions) > 1 else "unmoved"
    return [Rule(at=position, axis="x", role="chance", name=name) for position in positions]


def _state(evidence: Evidence, curves: Curves) -> Statement:
    """Return the gap as it is and with both modalities moved by it, or for corrections the gap at both ends."""
    statement, gap = state_at_both_ends(curves)._replace(reading=_not_drawn(evidence, curves)), curves[0]
    if 0.0 not in gap.x or gap.x[0] == 0.0:
        return statement
    unmoved_gap = gap.y[gap.x.index(0.0)]
    nearest_x = min(gap.x, key=lambda x: abs(x - unmoved_gap))  # where the distance moved is the gap
    moved_gap = gap.y[gap.x.index(nearest_x)]
    return statement._replace(
        subject="The gap as it is, and with both modalities moved by it",
        value=f"{fmt.number(unmoved_gap, 'distance')} and {fmt.number(moved_gap, 'distance')}",
    )


def _not_drawn(evidence: Evidence, curves: Curves) -> str:
    """Return the reasons why the loss or zero-shot accuracy has no panel, empty if both have one."""
    reasons = []
    if evidence.run.result.model.get("logit_scale") is None:
        reasons.append(f"The loss is undefined: {no_logit_scale()}.")
    if not any(curve.y_label.startswith("zero-shot") for curve in curves):
        reasons.append("Zero-shot accuracy needs labels.")
    return " ".join(reasons)


SHIFT = _moved_figure(
    "shift",
    "Vectors are moved towards each other (to the right) along the gap, normalized and scored again (Liang et al., "
    "2022).",
    1.0,
    _unmoved_reference,
)
CORRECTIONS = _moved_figure(
    "corrections",
    "The correction is fitted on one half of the pairs and scored on the other, by strength up to 1. ReAlign moves "
    "only texts.",
    0.5,
)


APART = "Images and texts are in separate regions"
USUAL_SEPARABILITY = 0.99
"""Share that nearly every CLIP reaches, trained or not."""


def findings(evaluation: EvaluationRecord) -> list[Finding]:
    """Return the size of the gap, without praise or blame: no direction is better."""
    gap, separability = defined(evaluation.metrics, "gap", "separability")
    if gap is None:
        return []
    noise = "" if gap.chance is None else f". Without a gap, noise puts them {fmt.number(gap.chance, gap.unit)} apart"
    text = f"The mean image embedding and the mean text embedding are {fmt.bounded(gap)} apart{noise}."
    sentences = [Finding("plain", text, weakness=APART if (gap.low or 0) > 0 else "")]
    if separability is not None and separability.value is not None:
        words = "A linear classifier separates images from texts in {value} of cases, over {n} held-out pairs"
        finding = claim(words, separability)
        if separability.value >= USUAL_SEPARABILITY:
            text = f"{finding.text} Nearly any CLIP is that separable."
            finding = finding._replace(text=text, is_expected=True)
        sentences.append(finding)
    return sentences


DEFINITION = "The modality gap is the distance between the centroids of image and text embeddings (Liang et al., 2022)."
SECTION = Section(
    advice={
        APART: (
            "A gap is there in nearly every CLIP from the first step on, and the loss keeps it (Liang et al. "
            "2022, arXiv:2203.02053). It matters where cosines of different kinds are compared or mixed, for "
            "example image with image and image with text. Subtracting the mean of each modality is the usual remedy. "
            "Closing the gap by itself improves recall little or not at all (Liang et al. 2022, Schrodi et al. 2025, "
            "arXiv:2404.07983). The corrections above show its effect on this data."
        ),
    },
    title="Modality gap",
    figures=(
        maps.gap,
        geometry.cones,
        geometry.conformity,
        geometry.SPECTRUM,
        geometry.ABLATION,
        SHIFT,
        CORRECTIONS,
        geometry.MATCHES,
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
                "A cone is the mean cosine of different vectors of one modality (Ethayarajh, 2019, Liang et al., 2022)."
            ),
            draws=(geometry.cones,),
        ),
        "spectrum": Plot(
            summary="the dimensions that carry the gap, and gap and recall without them",
            definition=DEFINITION,
            draws=(geometry.SPECTRUM, geometry.ABLATION),
        ),
        "shift": Plot(
            summary="gap, loss, recall and accuracy as the modalities are moved along the gap",
            definition=DEFINITION,
            draws=(SHIFT,),
        ),
        "corrections": Plot(
            summary="gap, loss, recall and accuracy under corrections made afterwards",
            definition=(
                "Centring: I0T and GR-CLIP. Standardising: centring, and dividing by the standard deviation of each"
                " dimension. Centring with the length kept: the collapse of C3. "
                "ReAlign: texts at the mean and the spread of images."
            ),
            draws=(CORRECTIONS,),
        ),
        "similarity-calibration": Plot(
            summary="the probability of a match by cosine, within a modality and across the two",
            draws=(geometry.MATCHES,),
        ),
    },
    drawn_figures=("cosines", "conformity"),
    has_cloud=True,
)
