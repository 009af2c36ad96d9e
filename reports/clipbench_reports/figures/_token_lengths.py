"""How long the captions are, for the model's own tokenizer."""

import numpy as np
from jaxtyping import Float64

from clipbench.results import numbers as fmt
from clipbench_reports.drawing.marks import Bars, Chart, Panel, nice_axis
from clipbench_reports.figures._window import context_of, reason_of, window
from clipbench_reports.page.evidence import Evidence, MissingEvidence

N_BINS = 30


def token_lengths(evidence: Evidence) -> Chart:
    """Return how many tokens the captions take, with the window of the text tower.

    Raises:
        MissingEvidence: the tokens could not be counted.
    """
    if "caption_tokens" not in evidence.evaluation.metrics:
        raise MissingEvidence(f"the lengths of captions in tokens ({reason_of(evidence)})")
    lengths = evidence.column("image_retrieval/n_tokens").astype(np.float64)
    lengths, context = lengths[np.isfinite(lengths)], context_of(evidence)
    if not len(lengths):
        raise MissingEvidence("no caption has a length in tokens")
    bars = _histogram(lengths)
    middle = fmt.number(float(np.median(lengths)), "tokens")
    said, share = f"Half of the captions take more than {middle} tokens", 0.0
    if context is not None:
        share = float((lengths > context).mean())
        said = f"{fmt.percent(share)} % of the captions are longer than the window of {context} tokens"
    return Chart(
        title=f"{said}.",
        panels=[
            Panel(
                x=nice_axis([0, float(bars.edges[-1]), context or 0], "Tokens of a caption"),
                y=nice_axis([0, float(max(bars.counts))], "Captions"),
                marks=[bars, *window(context)],
                aspect=0.55,
            )
        ],
        reading="Lengths by the model's own tokenizer before anything is cut off, start and end of text among them. "
        "What stands to the right of the window is never read.",
        detail=f"Shortest {fmt.count(float(lengths.min()))}, median {middle}, "
        f"longest {fmt.count(float(lengths.max()))} tokens.",
        keys=[bars.name],
        subject="Captions that are longer than the window" if context is not None else "Median length of the captions",
        value=f"{fmt.percent(share)} %" if context is not None else f"{middle} tokens",
    )


def _histogram(lengths: Float64[np.ndarray, " n"]) -> Bars:
    """Return counts over whole numbers of tokens, in at most ``N_BINS`` bins of equal width."""
    low, high = int(lengths.min()), int(lengths.max()) + 1
    width = max(1, -(-(high - low) // N_BINS))
    counts, edges = np.histogram(lengths, bins=np.arange(low, high + width, width))
    return Bars(edges=edges.tolist(), counts=counts.tolist(), role="text", name="captions")
