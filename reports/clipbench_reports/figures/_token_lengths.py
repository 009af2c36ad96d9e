"""How long the captions are, for the model's own tokenizer."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64

from clipbench.results import numbers as fmt
from clipbench_reports.drawing.marks import Bars, Chart, Panel, nice_axis
from clipbench_reports.drawing.models import Series, Statement, chart, facets
from clipbench_reports.figures._window import context_of, reason_of, window
from clipbench_reports.page.evidence import Evidence, MissingEvidence, ModelEvidence, read_each

N_BINS = 30


class _Lengths(NamedTuple):
    n_tokens: Float64[np.ndarray, " n"]
    context: int | None


def token_lengths(models: Sequence[ModelEvidence]) -> Chart:
    """Return how many tokens the captions take, with the window of the text tower.

    Raises:
        MissingEvidence: the tokens could not be counted.
    """
    found = read_each(models, _read)
    bars, contexts = found.map(_histogram), [each.context or 0 for each in found.values.values()]
    plane = Panel(
        x=nice_axis([0, *(each.edges[-1] for each in bars.values()), *contexts], "Tokens of a caption"),
        y=nice_axis([0, *(max(each.counts) for each in bars.values())], "Captions"),
        aspect=0.55,
    )
    references = found.map(lambda each: window(each.context))
    return chart(
        [facets(plane, [Series("captions", "text", bars)], found, references=references, keys=["captions"])],
        found.map(_claim),
        found,
        reading="Lengths by the model's own tokenizer before anything is cut off, start and end of text among them. "
        "What stands to the right of the window is never read.",
    )


def _read(evidence: Evidence) -> _Lengths:
    if "caption_tokens" not in evidence.evaluation.metrics:
        raise MissingEvidence(f"the lengths of captions in tokens ({reason_of(evidence)})")
    lengths = evidence.column("image_retrieval/n_tokens").astype(np.float64)
    lengths = lengths[np.isfinite(lengths)]
    if not len(lengths):
        raise MissingEvidence("no caption has a length in tokens")
    return _Lengths(lengths, context_of(evidence))


def _histogram(found: _Lengths) -> Bars:
    """Return counts over whole numbers of tokens, in at most ``N_BINS`` bins of equal width."""
    low, high = int(found.n_tokens.min()), int(found.n_tokens.max()) + 1
    width = max(1, -(-(high - low) // N_BINS))
    counts, edges = np.histogram(found.n_tokens, bins=np.arange(low, high + width, width))
    return Bars(edges=edges.tolist(), counts=counts.tolist(), role="text")


def _claim(found: _Lengths) -> Statement:
    low, high = (fmt.count(float(end)) for end in (found.n_tokens.min(), found.n_tokens.max()))
    middle = fmt.number(float(np.median(found.n_tokens)), "tokens")
    title, subject, value = (
        f"Half of the captions take more than {middle} tokens",
        "Median length of the captions",
        f"{middle} tokens",
    )
    if found.context is not None:
        value = f"{fmt.percent(float((found.n_tokens > found.context).mean()))} %"
        title = f"{value} of the captions are longer than the window of {found.context} tokens"
        subject = "Captions that are longer than the window"
    detail = f"Shortest {low}, median {middle}, longest {high} tokens."
    return Statement(title=f"{title}.", subject=subject, value=value, detail=detail)
