"""Recall as a function of the caption's tokens that are kept, and the length after which there is little to gain.

**recall@1 by the tokens kept.** Each caption is cut to its longest beginning of whole words that takes at most n
tokens, start and end among them, for n = 5, 10, 15, ...; finally it is left whole, and the model cuts it to its context.
In image-to-text retrieval, all captions of the gallery are cut alike.

**Effective length**: the smallest number of tokens at which text-to-image recall@1 reaches a share, 95 %, of that of
the whole captions. Between two measured lengths the curve is taken to be straight; where the shortest reaches it, that one is the
value. Only the query is cut in this direction, so a hit depends on the query's own beginning alone. Its interval holds the
lengths at which recall cannot be told from that share of the end (``crossing_interval``): noise lets a curve come near early, and resamples more so. It is undefined where recall@1 of the whole captions cannot be told from chance.
Zhang et al. (Long-CLIP, ECCV 2024, arXiv 2403.15378), who introduced it, read it off a plot as the length after which
the gain is small.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from clipbench.data import Dataset
from clipbench.evaluation.task import Evaluation
from clipbench.metrics import cross_ranks, recall_at_k
from clipbench.metrics.similarity import unit
from clipbench.models.protocol import Embedder
from clipbench.results.numbers import significant
from clipbench.results.record import Curve, Metric
from clipbench.stats import intervals
from clipbench.stats.crossings import crossing_interval
from clipbench.stats.estimators import Estimator, Samples
from clipbench.stats.measures import Definition, Fixed, Mean, Measure, Statistic, define, defined
from clipbench_tasks.long_caption.prefixes import Prefixes
from clipbench_tasks.tables import bounded_curve

TO_IMAGE, TO_TEXT = "image_retrieval", "text_retrieval"
"""Directions of retrieval: captions looking for their image, and images for a caption of theirs."""

ROUNDING = 1e-12
"""Rounding error of a mean of fractions: a constant model's recall may come out that much above chance."""

TOKENS = "tokens"
"""Unit of lengths."""

METRICS = {
    "caption_tokens": Definition("Tokens per caption", "Mean number of tokens of a caption before any is cut off."),
    "truncated_fraction": Definition(
        "Captions longer than the context", "Share of captions of which the model cuts something off."
    ),
    "tokens_lost": Definition(
        "Tokens cut off per caption", "Mean number of tokens of a caption beyond the model's context."
    ),
}


@dataclass(frozen=True, kw_only=True)
class EffectiveLength(Definition):
    """The length at which a curve of recall reaches a share of its end, with that of ``crossing_interval``."""

    columns: tuple[str, ...]
    """Hits at each length; the last are those of the whole captions."""
    lengths: tuple[float, ...]
    """Lengths in tokens, ascending."""
    share: float
    chance: float
    """Recall at random."""

    def metric(self, samples: Samples, rng: np.random.Generator) -> Metric:
        """Return the length; None where the end of the curve cannot be told from chance."""
        end = Mean(column=self.columns[-1]).metric(samples, rng)
        if end.value is None or end.low is None or end.low <= self.chance + ROUNDING:
            reason = "recall@1 of the whole captions cannot be told from chance: there is nothing to come near to"
            return self.define(Metric(value=None, unit=TOKENS, n=end.n, reason=reason))
        length = Estimator("first_length_reaching", self.columns, {"lengths": list(self.lengths), "share": self.share})
        hits, clusters = zip(*(defined(samples, name) for name in self.columns), strict=True)
        recall = np.column_stack(hits)
        interval = crossing_interval(
            recall - self.share * recall[:, -1:], self.lengths, what="recall less its share", clusters=clusters[0]
        )
        statistic = Statistic(
            function=length, columns=self.columns, unit=TOKENS, higher_is_better=None, interval=interval
        )
        return self.define(statistic.metric(samples, rng))


def tokens_kept(
    gallery: Dataset,
    embedder: Embedder,
    *,
    prefixes: Prefixes,
    tokens: Sequence[int],
    share: float,
) -> Evaluation:
    """Return hits by tokens kept, lengths of captions, and tokens that are cut off.

    Columns are named ``DIRECTION/...`` and have a value for each query of that direction, in order.
    """
    context = embedder.info.context_length
    end = int(prefixes.n_tokens.max()) if context is None else min(context, int(prefixes.n_tokens.max()))
    lengths = [*sorted({n for n in tokens if n < end}), end]
    columns: dict[str, np.ndarray] = {}
    images = unit(embedder.images(gallery.images))
    owner = gallery.caption_image
    assert owner is not None
    n_empty = 0
    for n in lengths:
        texts = prefixes.texts if n == end else prefixes.fitting(n)
        n_empty = max(n_empty, texts.count(""))
        by_image, by_text = cross_ranks(images, unit(embedder.texts(texts)), owner)
        columns[f"{TO_IMAGE}/recall@1/{n}_tokens"] = recall_at_k(by_text, 1)
        columns[f"{TO_TEXT}/recall@1/{n}_tokens"] = recall_at_k(by_image, 1)
    columns |= _losses(prefixes, context)
    return Evaluation(
        samples=columns,
        measures=define(_measures(lengths, len(gallery), context, share=share), _definitions(share)),
        curves={f"{way}_recall@1_by_tokens": _curve(columns, way, lengths, gallery) for way in (TO_IMAGE, TO_TEXT)},
        notes=(f"not a single word of {n_empty} captions fits into {lengths[0]} tokens",) if n_empty else (),
    )


def undefined(reason: str, *, share: float) -> Evaluation:
    """Return the undefined measures of a model that counts no tokens."""
    missing = dict.fromkeys(("effective_length", "caption_tokens", "tokens_lost"), TOKENS)
    missing["truncated_fraction"] = "fraction"
    measures = {name: Fixed(value=None, reason=reason, unit=unit) for name, unit in missing.items()}
    return Evaluation(samples={}, measures=define(measures, _definitions(share)))


def _definitions(share: float) -> dict[str, Definition]:
    reached = f"reaches {significant(100 * share)} % of what the whole captions give"
    length = Definition(
        "Effective length", f"Tokens of a caption with which text-to-image R@1 {reached}.", is_headline=True
    )
    return {"effective_length": length, **METRICS}


def _losses(prefixes: Prefixes, context: int | None) -> dict[str, np.ndarray]:
    n_tokens = prefixes.n_tokens.astype(np.float64)
    columns = {f"{TO_IMAGE}/n_tokens": n_tokens}
    if context is not None:
        columns[f"{TO_IMAGE}/truncated"] = (n_tokens > context).astype(np.float64)
        columns[f"{TO_IMAGE}/tokens_lost"] = np.maximum(n_tokens - context, 0)
    return columns


def _measures(lengths: Sequence[int], n_images: int, context: int | None, *, share: float) -> dict[str, Measure]:
    measures: dict[str, Measure] = {
        "effective_length": EffectiveLength(
            columns=tuple(f"{TO_IMAGE}/recall@1/{n}_tokens" for n in lengths),
            lengths=tuple(float(n) for n in lengths),
            share=share,
            chance=1 / n_images,
        ),
        "caption_tokens": Mean(column=f"{TO_IMAGE}/n_tokens", unit=TOKENS, higher_is_better=None),
    }
    if context is None:
        reason = "the model does not say how many tokens it takes"
        measures["truncated_fraction"] = Fixed(value=None, reason=reason)
        measures["tokens_lost"] = Fixed(value=None, reason=reason, unit=TOKENS)
        return measures
    measures["truncated_fraction"] = Mean(column=f"{TO_IMAGE}/truncated", higher_is_better=False)
    measures["tokens_lost"] = Mean(column=f"{TO_IMAGE}/tokens_lost", unit=TOKENS, higher_is_better=False)
    return measures


def _curve(columns: Samples, way: str, lengths: Sequence[int], gallery: Dataset) -> Curve:
    assert gallery.caption_image is not None
    clusters = gallery.caption_image if way == TO_IMAGE else None
    hits = [columns[f"{way}/recall@1/{n}_tokens"] for n in lengths]
    bounds = [intervals.mean_interval(column, clusters=clusters) for column in hits]
    return bounded_curve(
        [float(n) for n in lengths],
        [float(column.mean()) for column in hits],
        [(interval.low, interval.high) for interval in bounds],
        x_label="tokens kept",
        y_label="recall@1",
    )
