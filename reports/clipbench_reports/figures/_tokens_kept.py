"""How recall grows with the tokens of a caption that are kept."""

from collections.abc import Sequence
from typing import NamedTuple

from clipbench.results import numbers as fmt
from clipbench.results.record import Metric
from clipbench_reports.drawing.marks import Chart, Mark, Panel, Role, Rule, Shade, fraction_axis, nice_axis
from clipbench_reports.drawing.models import Series, Statement, chart, facets
from clipbench_reports.figures._figure import chance_rule, curve_line
from clipbench_reports.figures._window import context_of, reason_of, window
from clipbench_reports.page.evidence import Evidence, MissingEvidence, ModelEvidence, PlottedCurve, read_each

KEPT: dict[str, tuple[Role, str]] = {
    "image_retrieval_recall@1_by_tokens": ("image", "caption → image"),
    "text_retrieval_recall@1_by_tokens": ("text", "image → caption"),
}
"""Curves of recall by tokens kept: the role of what is looked for, and the label."""


class _TokensKept(NamedTuple):
    curves: dict[str, PlottedCurve]
    length: Metric | None
    references: list[Mark]
    context: int | None


def tokens_kept(models: Sequence[ModelEvidence]) -> Chart:
    """Return recall@1 against the tokens kept of each caption, both ways, with the effective length.

    Raises:
        MissingEvidence: no run kept such a curve; the text says why.
    """
    found = read_each(models, _read)
    share = fmt.significant(100 * float(models[0].evidence.evaluation.params.get("share", 0.95)))
    contexts = [each.context or 0 for each in found.values.values()]
    ends = [curve.x[-1] for each in found.values.values() for curve in each.curves.values()]
    plane = Panel(x=nice_axis([0, *ends, *contexts], "Tokens kept"), y=fraction_axis("Found first, %"))
    series = [
        Series(
            label,
            role,
            {m: curve_line(each.curves[name]) for m, each in found.values.items() if name in each.curves},
        )
        for name, (role, label) in KEPT.items()
    ]
    return chart(
        [facets(plane, series, found, references=found.map(lambda each: each.references))],
        found.map(lambda each: _claim(each, share)),
        found,
        reading="Each caption cut to its first whole words that fit into so many tokens, start and end of text among "
        "them; the last point is the caption whole. Bands: 95 % intervals. The effective length is where captions "
        f"reach {share} % of their last point, its interval shaded.",
    )


def _read(evidence: Evidence) -> _TokensKept:
    curves = {name: evidence.curve(name) for name in KEPT if name in evidence.evaluation.curves}
    if not curves:
        raise MissingEvidence(f"recall by tokens kept ({reason_of(evidence)})")
    context = context_of(evidence)
    length, recall = map(evidence.evaluation.metrics.get, ("effective_length", "image_retrieval_recall@1"))
    references = [*_effective(length), *chance_rule(recall.chance if recall else None), *window(context)]
    return _TokensKept(curves, length, references, context)


def _effective(length: Metric | None) -> list[Mark]:
    """Return the line at the effective length and the shade of its interval, under one name."""
    if length is None or length.value is None:
        return []
    name, of = "effective length", KEPT["image_retrieval_recall@1_by_tokens"][1]
    line = Rule(at=length.value, axis="x", role="ink", name=name, is_dashed=True, of=of)
    if length.low is None or length.high is None:
        return [line]
    return [line, Shade(low=length.low, high=length.high, name=name, of=of)]


def _claim(found: _TokensKept, share: str) -> Statement:
    curve, whole = next(iter(found.curves.values())), fmt.percent(next(iter(found.curves.values())).y[-1])
    title = (
        f"With {fmt.count(curve.x[0])} tokens {fmt.percent(curve.y[0])} % of captions find their image, "
        f"with the whole caption {whole} %"
    )
    tokens = "undefined"
    if found.length is not None and found.length.value is not None:
        tokens = f"{fmt.number(found.length.value, 'tokens')} tokens"
        title += f"; {share} % of that takes {tokens}"
    return Statement(
        title=f"{title}.",
        subject="Found by the whole caption, and the effective length",
        value=f"{whole} % and {tokens}",
        detail=" ".join(_detail(KEPT[name][1], curve) for name, curve in found.curves.items()),
    )


def _detail(label: str, curve: PlottedCurve) -> str:
    points = ", ".join(f"{fmt.percent(y)} % at {fmt.count(x)}" for x, y in zip(curve.x, curve.y, strict=True))
    return f"{label}: {points}."
