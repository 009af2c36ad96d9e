"""How recall grows with the tokens of a caption that are kept."""

from clipbench.results import numbers as fmt
from clipbench.results.record import Curve, Metric
from clipbench_reports.drawing.marks import Chart, Mark, Panel, Role, Rule, Shade, fraction_axis, nice_axis
from clipbench_reports.figures._figure import chance_rule, curve_line
from clipbench_reports.figures._window import context_of, reason_of, window
from clipbench_reports.page.evidence import Evidence, MissingEvidence

KEPT: dict[str, tuple[Role, str]] = {
    "image_retrieval_recall@1_by_tokens": ("image", "caption → image"),
    "text_retrieval_recall@1_by_tokens": ("text", "image → caption"),
}
"""Curves of recall by tokens kept: the role of what is looked for, and the label."""


def tokens_kept(evidence: Evidence) -> Chart:
    """Return recall@1 against the tokens kept of each caption, both ways, with the effective length.

    Raises:
        MissingEvidence: the run kept no such curve; the text says why.
    """
    curves = {name: evidence.curve(name) for name in KEPT if name in evidence.evaluation.curves}
    if not curves:
        raise MissingEvidence(f"recall by tokens kept ({reason_of(evidence)})")
    context, ends = context_of(evidence), max(curve.x[-1] for curve in curves.values())
    length = evidence.evaluation.metrics.get("effective_length")
    recall = evidence.evaluation.metrics.get("image_retrieval_recall@1")
    share = fmt.significant(100 * float(evidence.evaluation.params.get("share", 0.95)))
    marks: list[Mark] = [
        *_effective(length),
        *chance_rule(recall.chance if recall else None),
        *window(context),
        *(curve_line(curve, *KEPT[name]) for name, curve in curves.items()),
    ]
    x, y = nice_axis([0, ends, context or 0], "Tokens kept"), fraction_axis("Found first, %")
    return Chart(
        title=_sentence(next(iter(curves.values())), length, share),
        panels=[Panel(x=x, y=y, marks=marks)],
        reading="Each caption cut to its first whole words that fit into so many tokens, start and end of text among "
        "them; the last point is the caption whole. Bands: 95 % intervals. The effective length is where captions "
        f"reach {share} % of their last point, its interval shaded.",
        detail=" ".join(_detail(KEPT[name][1], curve) for name, curve in curves.items()),
        subject="Found by the whole caption, and the effective length",
        value=_value(next(iter(curves.values())), length),
    )


def _sentence(curve: Curve, length: Metric | None, share: str) -> str:
    said = (
        f"With {fmt.count(curve.x[0])} tokens {fmt.percent(curve.y[0])} % of captions find their image, "
        f"with the whole caption {fmt.percent(curve.y[-1])} %"
    )
    if length is None or length.value is None:
        return f"{said}."
    return f"{said}; {share} % of that takes {fmt.number(length.value, 'tokens')} tokens."


def _value(curve: Curve, length: Metric | None) -> str:
    tokens = (
        f"{fmt.number(length.value, 'tokens')} tokens"
        if length is not None and length.value is not None
        else "undefined"
    )
    return f"{fmt.percent(curve.y[-1])} % and {tokens}"


def _detail(label: str, curve: Curve) -> str:
    points = ", ".join(f"{fmt.percent(y)} % at {fmt.count(x)}" for x, y in zip(curve.x, curve.y, strict=True))
    return f"{label}: {points}."


def _effective(length: Metric | None) -> list[Mark]:
    """Return the line at the effective length and the shade of its interval, under one name."""
    if length is None or length.value is None:
        return []
    name, of = "effective length", KEPT["image_retrieval_recall@1_by_tokens"][1]
    line = Rule(at=length.value, axis="x", role="ink", name=name, is_dashed=True, of=of)
    if length.low is None or length.high is None:
        return [line]
    return [line, Shade(low=length.low, high=length.high, name=name, of=of)]
