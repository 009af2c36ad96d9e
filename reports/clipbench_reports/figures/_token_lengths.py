"""The lengths of captions in tokens of the model's own tokenizer."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float64

from clipbench.results import numbers as fmt
from clipbench_reports.drawing.marks import Bars, Chart, Panel, nice_axis
from clipbench_reports.drawing.models import Layer, Statement, facet_chart
from clipbench_reports.figures._window import context_of, reason_of, window
from clipbench_reports.page.evidence import Evidence, MissingEvidence, ModelEvidence, read_each

N_BINS = 30


def token_lengths(models: Sequence[ModelEvidence]) -> Chart:
    """Return the distribution of the captions' lengths in tokens, with the window of the text tower.

    Raises:
        MissingEvidence: the tokens could not be counted.
    """
    by_model = read_each(models, _read)
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


def _read(evidence: Evidence) -> Layer:
    if "caption_tokens" not in evidence.evaluation.metrics:
        raise MissingEvidence(f"the lengths of captions in tokens ({reason_of(evidence)})")
    lengths, context = evidence.column("image_retrieval/n_tokens").astype(np.float64), context_of(evidence)
    lengths = lengths[np.isfinite(lengths)]
    if not len(lengths):
        raise MissingEvidence("no caption has a length in tokens")
    low, high = (fmt.count(float(end)) for end in (lengths.min(), lengths.max()))
    middle = fmt.number(float(np.median(lengths)), "tokens")
    statement = Statement(
        title=f"Half of the captions take more than {middle} tokens.",
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
