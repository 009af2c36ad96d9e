"""How few dimensions make the gap, and what is left without them."""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from clipbench.results import numbers as fmt
from clipbench_reports.drawing.marks import (
    Chart,
    Line,
    ModelKey,
    Panel,
    Role,
    Rule,
    fraction_axis,
    log_axis,
    percent_axis,
)
from clipbench_reports.drawing.models import Panels, Series, Statement, chart, facets
from clipbench_reports.figures._figure import curve_line, why_lacking
from clipbench_reports.page.evidence import ByModel, Evidence, MissingEvidence, ModelEvidence, PlottedCurve, read_each

RECALLS: dict[str, tuple[str, Role]] = {
    "image_retrieval_recall@1_by_ablation": ("recall@1, caption → image", "image"),
    "text_retrieval_recall@1_by_ablation": ("recall@1, image → caption", "text"),
}
SHARE = "gap_share_by_dimensions"
DRAWN = frozenset(
    {
        "gap_spectrum",
        SHARE,
        "separability_by_dimensions",
        "gap_by_ablation",
        *RECALLS,
    }
)
"""Curves that this figure shows."""


class _Spectrum(NamedTuple):
    share: PlottedCurve
    separability: PlottedCurve | None
    gap: PlottedCurve | None
    recalls: dict[str, PlottedCurve]


def spectrum(models: Sequence[ModelEvidence]) -> Chart:
    """Return how the gap is spread over dimensions, and gap and recall when the dimensions that carry most are removed.

    Raises:
        MissingEvidence: no run kept a spectrum.
    """
    found = read_each(models, _read)
    return chart(
        [_concentration(found), _ablation(found)],
        found.map(_claim),
        found,
        reading="Above: dimensions in the order of their share of the squared distance of the two means, added up; and how "
        "many vectors a linear classifier tells right by so many dimensions, on pairs it has not seen. Below: what is "
        "left of the gap, and recall@1, when the dimensions that carry most are removed from all vectors, which are "
        "then put at unit length again; on the left edge, nothing is removed.",
    )


def _read(evidence: Evidence) -> _Spectrum:
    known = {name: evidence.curve(name) for name in DRAWN if name in evidence.evaluation.curves}
    if SHARE not in known:
        raise MissingEvidence(f"the run kept no spectrum of the gap: {why_lacking(evidence, 'gap_dimensions')}")
    recalls = {name: known[name] for name in RECALLS if name in known}
    return _Spectrum(known[SHARE], known.get("separability_by_dimensions"), known.get("gap_by_ablation"), recalls)


def _concentration(found: ByModel[_Spectrum]) -> Panels:
    name = "share of the squared gap"
    told = {m: curve_line(each.separability) for m, each in found.values.items() if each.separability is not None}
    series = [
        Series(name, "ink", found.map(lambda each: curve_line(each.share))),
        Series("told by a linear classifier", "pair", told),
    ]
    plane = Panel(
        x=log_axis([1, max(each.share.x[-1] for each in found.values.values())], "Dimensions kept"),
        y=fraction_axis("Share, %"),
        aspect=0.45,
    )
    most = Rule(at=0.9, axis="y", role="chance", name="90 %", of=name)
    return facets(plane, series, found, references=found.map(lambda _: [most]))


def _ablation(found: ByModel[_Spectrum]) -> Panels:
    """Return the panel of what is left; the point with nothing removed stands at the edge of the logarithmic axis."""
    gaps = {
        model: each.gap._replace(y=[y / (each.gap.y[0] or 1.0) for y in each.gap.y])
        for model, each in found.values.items()
        if each.gap is not None
    }
    lines: dict[tuple[str, Role], dict[ModelKey, Line]] = {
        ("gap, of the whole", "ink"): {model: _from_the_edge(gap) for model, gap in gaps.items()}
    }
    for name, way in RECALLS.items():
        lines[way] = {m: _from_the_edge(each.recalls[name]) for m, each in found.values.items() if name in each.recalls}
    highest = max((y for own in lines.values() for line in own.values() for y in line.ys), default=1.0)
    n_dimensions = max(each.share.x[-1] for each in found.values.values())
    x = log_axis([0.5, max(2.0, n_dimensions)], "Dimensions removed")
    plane = Panel(
        x=replace(x, names=["0", *x.words[1:]]),
        y=fraction_axis("Left, %") if highest <= 1 else percent_axis([0, highest], "Left, %"),
        aspect=0.45,
    )
    return facets(plane, [Series(*way, own) for way, own in lines.items()], found)


def _from_the_edge(curve: PlottedCurve) -> Line:
    return curve_line(curve._replace(x=[x or 0.5 for x in curve.x]))


def _claim(found: _Spectrum) -> Statement:
    """Return how many dimensions carry 90 % of the squared gap, and what is left without the first of them."""
    share, gap = found.share, found.gap
    needed, n = next((x for x, y in zip(share.x, share.y, strict=True) if y >= 0.9), share.x[-1]), share.x[-1]
    title = (
        f"{fmt.counted(int(needed), 'dimension')} of {fmt.count(n)} {'carries' if needed == 1 else 'carry'} 90 % of the "
        "squared gap"
    )
    recall = found.recalls.get("image_retrieval_recall@1_by_ablation")
    if gap is not None and recall is not None:
        half = next((k for k, y in enumerate(gap.y) if y <= gap.y[0] / 2), len(gap.y) - 1)
        title += (
            f"; without the first {fmt.count(gap.x[half])} the gap is {fmt.number(gap.y[half], 'distance')} instead of "
            f"{fmt.number(gap.y[0], 'distance')}, and recall@1 of images {fmt.percent(recall.y[half])} instead of "
            f"{fmt.percent(recall.y[0])} %"
        )
    return Statement(
        title=f"{title}.",
        subject="Dimensions that carry 90 % of the squared gap",
        value=f"{fmt.count(needed)} of {fmt.count(n)}",
    )
