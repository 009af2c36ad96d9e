"""Captions in tokens of the model's own tokenizer: their lengths, and recall by the tokens of them that are kept."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float64

from clipbench.results import numbers as fmt
from clipbench.results.record import EvaluationRecord, Metric
from clipbench_reports.drawing.marks import Bars, Chart, Mark, Panel, Role, Rule, Shade, fraction_axis, nice_axis
from clipbench_reports.drawing.models import Layer, Statement, facet_chart
from clipbench_reports.figures._figure import chance_rule, curve_line, lines_of, points_in_words
from clipbench_reports.page.evidence import Evidence, MissingEvidence, ModelEvidence, PlottedCurve, read_each

N_BINS = 30
KEPT: dict[str, tuple[Role, str]] = {
    "image_retrieval_recall@1_by_tokens": ("image", "text → image"),
    "text_retrieval_recall@1_by_tokens": ("text", "image → text"),
}
"""Curves of recall by tokens kept: the role of what is looked for, and the label."""


def token_lengths(models: Sequence[ModelEvidence]) -> Chart:
    """Return the distribution of the captions' lengths in tokens, with the window of the text tower.

    Raises:
        MissingEvidence: the tokens could not be counted.
    """
    by_model = read_each(models, _read_lengths)
    bars = [mark for layer in by_model.all for mark in layer.marks if isinstance(mark, Bars)]
    ends = [0, *(each.edges[-1] for each in bars), *(context_of(evidence) or 0 for _, evidence in models)]
    plane = Panel(
        x=nice_axis(ends, "Tokens of a caption"),
        y=nice_axis([0, *(max(each.counts) for each in bars)], "Captions"),
        aspect=0.55,
    )
    return facet_chart(
        plane,
        by_model,
        reading="Lengths by the model's own tokenizer before anything is cut off, start and end of text among them. "
        "What stands to the right of the window is never read.",
        keys=["captions"],
    )


def _read_lengths(evidence: Evidence) -> Layer:
    if "caption_tokens" not in evidence.evaluation.metrics:
        raise MissingEvidence(f"the lengths of captions in tokens ({reason_of(evidence)})")
    lengths, context = evidence.numbers("image_retrieval/n_tokens"), context_of(evidence)
    lengths = lengths[np.isfinite(lengths)]
    if not len(lengths):
        raise MissingEvidence("no caption has a length in tokens")
    low, high = (fmt.count(float(end)) for end in (lengths.min(), lengths.max()))
    middle = fmt.number(float(np.median(lengths)), "tokens")
    statement = Statement(
        title=f"The median caption takes {middle} tokens.",
        subject="Median length of the captions",
        value=f"{middle} tokens",
        detail=f"Shortest {low}, median {middle}, longest {high} tokens.",
    )
    if context is not None:
        share = f"{fmt.percent(float((lengths > context).mean()))} %"
        title = f"{share} of the captions are longer than the window of {context} tokens."
        statement = statement._replace(title=title, subject="Captions that are longer than the window", value=share)
    return Layer([_histogram(lengths), *window(context)], statement)


def _histogram(lengths: Float64[np.ndarray, " n"]) -> Bars:
    """Return counts over whole numbers of tokens, in at most ``N_BINS`` bins of equal width."""
    low, high = int(lengths.min()), int(lengths.max()) + 1
    width = max(1, -(-(high - low) // N_BINS))
    counts, edges = np.histogram(lengths, bins=np.arange(low, high + width, width))
    return Bars(edges=edges.tolist(), counts=counts.tolist(), role="text", name="captions")


def tokens_kept(models: Sequence[ModelEvidence]) -> Chart:
    """Return recall@1 against the tokens kept of each caption, both ways, with the effective length.

    Raises:
        MissingEvidence: no run kept such a curve; the text says why.
    """
    by_model = read_each(models, _read_recall)
    ends = [line.xs[-1] for line in lines_of(by_model)] + [context_of(evidence) or 0 for _, evidence in models]
    return facet_chart(
        Panel(x=nice_axis([0, *ends], "Tokens kept"), y=fraction_axis("Recall@1, %")),
        by_model,
        reading="Each caption is cut to its first whole words that fit into so many tokens, start and end of text among "
        "them; the last point is the whole caption. Bands: 95 % intervals. The effective length is the number of tokens at "
        f"which captions reach {share_of_recall(models[0].evidence.evaluation)} % of their last point; its interval is shaded.",
    )


def _read_recall(evidence: Evidence) -> Layer:
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
    return Layer(marks, _state_recall(curves, length, share_of_recall(evidence.evaluation)))


def share_of_recall(evaluation: EvaluationRecord) -> str:
    """Return the share of the whole captions' recall, in per cent, that the effective length reaches."""
    share = evaluation.params.get("share")
    return fmt.significant(100 * share) if isinstance(share, int | float) else "95"


def _effective(length: Metric | None) -> list[Mark]:
    """Return the line at the effective length and the shade of its interval, under one name."""
    if length is None or length.value is None:
        return []
    name, of = "effective length", KEPT["image_retrieval_recall@1_by_tokens"][1]
    line = Rule(at=length.value, axis="x", role="ink", name=name, is_dashed=True, of=of)
    if length.low is None or length.high is None:
        return [line]
    return [line, Shade(low=length.low, high=length.high, name=name, of=of)]


def _state_recall(curves: Mapping[str, PlottedCurve], length: Metric | None, share: str) -> Statement:
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


def context_of(evidence: Evidence) -> int | None:
    """Return how many tokens the text tower takes, where the run knows."""
    context = evidence.run.result.model.get("context_length")
    return context if isinstance(context, int) else None


def reason_of(evidence: Evidence) -> str:
    """Return why the tokens of captions could not be counted."""
    length = evidence.evaluation.metrics.get("effective_length")
    return (length.reason if length is not None else None) or "the run does not say why"


def window(context: int | None) -> list[Mark]:
    """Return an upright line at the end of the window; nothing where it is not known."""
    return [] if context is None else [Rule(at=context, axis="x", role="ink", name="end of the window")]
