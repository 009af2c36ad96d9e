"""How long the captions are, for the model's own tokeniser."""

import numpy as np
from jaxtyping import Float64
from markupsafe import Markup

from clipbench_reports import format as fmt
from clipbench_reports.evidence import Evidence, Lacking
from clipbench_reports.figures._figure import Figure, figure
from clipbench_reports.figures._window import TOP, context_of, reason_of, window
from clipbench_reports.svg import Plot, element, nice_axis

N_BINS = 30


def token_lengths(evidence: Evidence) -> Figure:
    """Return how many tokens the captions take, with the window of the text tower.

    Raises:
        Lacking: the tokens could not be counted.
    """
    if "caption_tokens" not in evidence.evaluation.metrics:
        raise Lacking(f"the lengths of captions in tokens ({reason_of(evidence)})")
    lengths = evidence.column("image_retrieval/n_tokens").astype(np.float64)
    lengths, context = lengths[np.isfinite(lengths)], context_of(evidence)
    if not len(lengths):
        raise Lacking("no caption has a length in tokens")
    counts, edges = _histogram(lengths)
    x = nice_axis([0, float(edges[-1]), context or 0], "Tokens of a caption")
    plot = Plot(x=x, y=nice_axis([0, float(counts.max())], "Captions"), top=TOP, height=258)
    middle = fmt.significant(float(np.median(lengths)))
    said = f"Half of the captions take more than {middle} tokens"
    if context is not None:
        share = float((lengths > context).mean())
        said = f"{fmt.percent(share)} % of the captions are longer than the window of {context} tokens"
    return figure(
        f"{said}.",
        [plot.frame(), _bars(plot, counts, edges), window(plot, context)],
        height=plot.height,
        reading="Lengths by the model's own tokeniser before anything is cut off, start and end of text among them. "
        "What stands to the right of the window is never read.",
        detail=f"Shortest {fmt.significant(float(lengths.min()))}, median {middle}, "
        f"longest {fmt.significant(float(lengths.max()))} tokens.",
    )


def _histogram(
    lengths: Float64[np.ndarray, " n"],
) -> tuple[Float64[np.ndarray, " bins"], Float64[np.ndarray, " edges"]]:
    """Return counts over whole numbers of tokens, in at most ``N_BINS`` bins of equal width."""
    low, high = int(lengths.min()), int(lengths.max()) + 1
    width = max(1, -(-(high - low) // N_BINS))
    counts, edges = np.histogram(lengths, bins=np.arange(low, high + width, width))
    return counts.astype(np.float64), edges.astype(np.float64)


def _bars(plot: Plot, counts: Float64[np.ndarray, " bins"], edges: Float64[np.ndarray, " edges"]) -> Markup:
    data = ""
    for n, low, high in zip(counts, edges[:-1], edges[1:], strict=True):
        if n:
            (left, top), (right, foot) = plot.at(low, n), plot.at(high, 0)
            data += f"M{left:.1f} {foot:.1f}V{top:.1f}H{max(left + 1, right - 0.5):.1f}V{foot:.1f}Z"
    return element("path", d=data, css="hill text")
