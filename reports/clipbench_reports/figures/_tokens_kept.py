"""How recall grows with the tokens of a caption that are kept."""

from collections.abc import Mapping

from markupsafe import Markup

from clipbench.result import Curve, Metric
from clipbench_reports import format as fmt
from clipbench_reports.evidence import Evidence, Lacking
from clipbench_reports.figures._figure import Figure, banded_line, chance_line, figure
from clipbench_reports.figures._window import TOP, context_of, reason_of, window
from clipbench_reports.svg import WIDTH, Plot, element, fraction_axis, nice_axis, text

KEPT = {
    "image_retrieval_recall@1_by_tokens": ("image", "caption → image"),
    "text_retrieval_recall@1_by_tokens": ("text", "image → caption"),
}
"""Curves of recall by tokens kept: the colour of what is looked for, and the label."""


def tokens_kept(evidence: Evidence) -> Figure:
    """Return recall@1 against the tokens kept of each caption, both ways, with the effective length.

    Raises:
        Lacking: the run kept no such curve; the text says why.
    """
    curves = {name: evidence.curve(name) for name in KEPT if name in evidence.evaluation.curves}
    if not curves:
        raise Lacking(f"recall by tokens kept ({reason_of(evidence)})")
    context, ends = context_of(evidence), max(curve.x[-1] for curve in curves.values())
    plot = Plot(
        x=nice_axis([0, ends, context or 0], "Tokens kept"), y=fraction_axis("Found first, %"), top=TOP, height=318
    )
    length = evidence.evaluation.metrics.get("effective_length")
    share = fmt.significant(100 * float(evidence.evaluation.params.get("share", 0.95)))
    recall = evidence.evaluation.metrics.get("image_retrieval_recall@1")
    marks = [chance_line(plot, recall.chance if recall else None), window(plot, context)]
    if length is not None and length.value is not None:
        marks.append(_effective(plot, length))
    return figure(
        _kept_sentence(next(iter(curves.values())), length, share),
        [plot.frame(), *marks, *(_kept_line(plot, name, curves) for name in curves)],
        height=plot.height,
        reading="Each caption cut to its first whole words that fit into so many tokens, start and end of text among "
        "them; the last point is the caption whole. Blue: captions look for their image; orange: images for their "
        "caption. Bands: 95 % intervals. Dashed: where captions "
        f"reach {share} % of their last point, its interval shaded; "
        "dotted upright: the window of the text tower.",
        detail=" ".join(_kept_detail(KEPT[name][1], curve) for name, curve in curves.items()),
    )


def _kept_sentence(curve: Curve, length: Metric | None, share: str) -> str:
    said = (
        f"With {fmt.significant(curve.x[0])} tokens {fmt.percent(curve.y[0])} % of captions find their image, "
        f"with the whole caption {fmt.percent(curve.y[-1])} %"
    )
    if length is None or length.value is None:
        return f"{said}."
    return f"{said}; {share} % of that takes {fmt.significant(length.value)} tokens."


def _kept_detail(label: str, curve: Curve) -> str:
    points = ", ".join(f"{fmt.percent(y)} % at {fmt.significant(x)}" for x, y in zip(curve.x, curve.y, strict=True))
    return f"{label}: {points}."


def _kept_line(plot: Plot, name: str, curves: Mapping[str, Curve]) -> Markup:
    """Return a curve with its label: before the upper one, behind the lower one."""
    (css, label), curve = KEPT[name], curves[name]
    row = len(curve.x) // 2
    x, y = plot.at(curve.x[row], curve.y[row])
    is_upper = curve.y[row] == max(each.y[min(row, len(each.y) - 1)] for each in curves.values())
    place = (x - 10, y - 14, "end") if is_upper else (x + 12, y + 26, "start")
    words = text(label, place[0], place[1], css=f"halo name {css}", anchor=place[2])
    return Markup("").join([banded_line(plot, curve, css), words])


def _effective(plot: Plot, length: Metric) -> Markup:
    assert length.value is not None
    ends = [plot.y.low, plot.y.high]
    parts = [plot.line([length.value, length.value], ends, "ink dashed")]
    if length.low is not None and length.high is not None:
        (left, top), (right, foot) = plot.at(length.low, plot.y.high), plot.at(length.high, plot.y.low)
        parts.insert(0, element("rect", x=left, y=top, width=max(1, right - left), height=foot - top, css="area ink"))
    at, _ = plot.at(length.value, plot.y.low)
    far = at > WIDTH / 2
    words = text(
        f"effective length {fmt.significant(length.value)}",
        at - 8 if far else at + 8,
        plot.height - plot.bottom - 10,
        css="halo",
        anchor="end" if far else "start",
    )
    return Markup("").join([*parts, words])
