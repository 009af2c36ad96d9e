"""Recall by the tokens of a caption that are kept."""

from collections.abc import Mapping, Sequence

from clipbench.results import numbers as fmt
from clipbench.results.record import Metric
from clipbench_reports.drawing.marks import Chart, Mark, Panel, Role, Rule, Shade, fraction_axis, nice_axis
from clipbench_reports.drawing.models import Layer, Statement, facet_chart
from clipbench_reports.figures._figure import chance_rule, curve_line, lines_of, points_in_words
from clipbench_reports.figures._window import context_of, reason_of, window
from clipbench_reports.page.evidence import Evidence, MissingEvidence, ModelEvidence, PlottedCurve, read_each

KEPT: dict[str, tuple[Role, str]] = {
    "image_retrieval_recall@1_by_tokens": ("image", "text → image"),
    "text_retrieval_recall@1_by_tokens": ("text", "image → text"),
}
"""Curves of recall by tokens kept: the role of what is looked for, and the label."""


def tokens_kept(models: Sequence[ModelEvidence]) -> Chart:
    """Return recall@1 against the tokens kept of each caption, both ways, with the effective length.

    Raises:
        MissingEvidence: no run kept such a curve; the text says why.
    """
    by_model = read_each(models, _read)
    ends = [line.xs[-1] for line in lines_of(by_model)] + [context_of(evidence) or 0 for _, evidence in models]
    return facet_chart(
        Panel(x=nice_axis([0, *ends], "Tokens kept"), y=fraction_axis("Recall@1, %")),
        by_model,
        reading="Each caption is cut to its first whole words that fit into so many tokens, start and end of text among "
        "them; the last point is the whole caption. Bands: 95 % intervals. The effective length is the number of tokens at "
        f"which captions reach {_share(models[0].evidence)} % of their last point; its interval is shaded.",
    )


def _read(evidence: Evidence) -> Layer:
    curves = evidence.curves(KEPT)
    if not curves:
        raise MissingEvidence(f"recall by tokens kept ({reason_of(evidence)})")
    length, recall = map(evidence.evaluation.metrics.get, ("effective_length", "image_retrieval_recall@1"))
    marks = [
        *_effective(length),
        *chance_rule(recall.chance if recall else None),
        *window(context_of(evidence)),
        *(curve_line(curve, *KEPT[name]) for name, curve in curves.items()),
    ]
    return Layer(marks, _state(curves, length, _share(evidence)))


def _share(evidence: Evidence) -> str:
    return fmt.significant(100 * float(evidence.evaluation.params.get("share", 0.95)))


def _effective(length: Metric | None) -> list[Mark]:
    """Return the line at the effective length and the shade of its interval, under one name."""
    if length is None or length.value is None:
        return []
    name, of = "effective length", KEPT["image_retrieval_recall@1_by_tokens"][1]
    line = Rule(at=length.value, axis="x", role="ink", name=name, is_dashed=True, of=of)
    if length.low is None or length.high is None:
        return [line]
    return [line, Shade(low=length.low, high=length.high, name=name, of=of)]


def _state(curves: Mapping[str, PlottedCurve], length: Metric | None, share: str) -> Statement:
    curve = next(iter(curves.values()))
    few, whole = fmt.percent(curve.y[0]), fmt.percent(curve.y[-1])
    title = f"Recall@1 is {few} % with {fmt.count(curve.x[0])} tokens and {whole} % with the whole caption"
    tokens = "undefined"
    if length is not None and length.value is not None:
        tokens = f"{fmt.number(length.value, 'tokens')} tokens"
        title += f"; {share} % of that takes {tokens}"
    return Statement(
        title=f"{title}.",
        subject="Recall@1 with the whole caption, and the effective length",
        value=f"{whole} % and {tokens}",
        detail=" ".join(points_in_words(KEPT[name][1], curve) for name, curve in curves.items()),
    )
