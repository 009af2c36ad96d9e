"""Long captions: does the model find their images, and how much of such a caption does it use?

The task measures retrieval on the captions as they are, cut by the model where needed, the fraction of captions that
are
longer than the window, recall@1 by the tokens kept with the effective length, and the same fact stated early, in the
middle, late or beyond the window (``probe``).

**recall@1 by the tokens kept.** Each caption is cut to its longest beginning of whole words that takes at most n
tokens, including start and end, for n = 5, 10, 15, ... Finally it is left whole, and the model cuts it to its context.
In image-to-text retrieval, all captions of the gallery are cut to the same n.

**Effective length**: the smallest number of tokens at which text-to-image recall@1 reaches a share, 95 %, of its value
for whole captions. Between two measured lengths the curve is taken to be straight. If the shortest length reaches the
share, it is the value. Only the query is cut in this direction, so a hit depends only on the query's own beginning. The
interval holds the lengths at which recall is not distinguishable from that fraction of the end (``crossing_interval``):
noise lets a curve come near early, and resamples more so. It is undefined if recall@1 of whole captions is not
distinguishable from chance. Zhang et al. (Long-CLIP, ECCV 2024, arXiv 2403.15378), who introduced it, read it off a
plot as the length after which the gain is small.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from clipbench.data import Dataset
from clipbench.data.modalities import IMAGE, TEXT
from clipbench.errors import NoTokenCounts, UsageError
from clipbench.evaluation.task import Evaluation, Task
from clipbench.metrics.ranking import cross_ranks, recall_at_k
from clipbench.models.protocol import Embedder
from clipbench.results.metric_name import split_outer_subset
from clipbench.results.numbers import significant
from clipbench.results.record import Metric
from clipbench.results.sample_inputs import InputKind
from clipbench.stats.crossings import crossing_interval
from clipbench.stats.estimators import Estimator, Samples
from clipbench.stats.measures import (
    Definition,
    Definitions,
    Mean,
    Measures,
    Statistic,
    define,
    defined_values,
    undefined,
)
from clipbench_tasks.caption_prefixes import Count, HeldPrefixes, Prefixes, prefixes_of
from clipbench_tasks.choices import decide, vectors_of
from clipbench_tasks.directions import search_both_ways
from clipbench_tasks.retrieval import Retrieval
from clipbench_tasks.tables import (
    Column,
    Curves,
    Rows,
    Table,
    bounded_curve,
    check_cutoffs,
    column_at_rows,
    curve_of_means,
    join_evaluations,
    split_by_subset,
    text_column,
)

TO_IMAGE, TO_TEXT = "image_retrieval", "text_retrieval"
"""Directions of retrieval: captions looking for their image, and images for a caption of theirs."""

ROUNDING = 1e-12
"""Rounding error of a mean of fractions: a constant model's recall may come out that much above chance."""

TOKENS = "tokens"
"""Unit of lengths."""

METRICS = {
    "caption_tokens": Definition("Tokens per caption", "Mean number of tokens of a caption before any is cut off."),
    "truncated_fraction": Definition(
        "Captions longer than the context", "Fraction of captions of which the model cuts something off."
    ),
    "tokens_lost": Definition(
        "Tokens cut off per caption", "Mean number of tokens of a caption beyond the model's context."
    ),
    "text_acc": Definition(
        "Position probe accuracy",
        "Fraction of images whose true caption scores above one that differs in a single fact.",
    ),
    "shorter_caption": Definition(
        "Always the shorter caption", "Accuracy of the rule that the caption with fewer characters is true."
    ),
    "tie_rate": Definition("Ties", "Fraction of items in which the captions tie.", "text_acc"),
    "beyond_window": Definition(
        "Fact beyond the context", "Fraction of items whose deciding fact the model cuts off.", "text_acc"
    ),
}


@dataclass(frozen=True)
class LongCaption(Task):
    """Retrieval with long captions, whole and cut to growing lengths, and the position probe."""

    name = "long-caption"
    version = 1
    takes_dot = True
    data_form = "long-captions"
    summary = "recall on long captions against the tokens kept, effective length, position of a fact"
    needs_model = True
    held_parts = ("caption_beginnings",)
    question = (
        "Captions of a paragraph search for their image, whole and cut to fewer and fewer tokens. One fact is stated"
        " early in a paragraph, in the middle, late, and beyond the model's context: how much of a caption"
        " counts?"
    )
    scoring = (
        "The effective length is the number of tokens with which captions reach most of the R@1 of whole captions, 95 %"
        " unless another share was set. In the position probe the true one of two captions has to score higher, and a"
        " tie scores as a random choice would."
    )

    ks: tuple[int, ...] = (1, 5, 10)
    tokens: tuple[int, ...] = (5, 10, 15, 20, 30, 40, 60, 77, 100, 125, 150, 200, 248, 350, 512)
    """Numbers of tokens to keep, as far as the model's context and the longest caption go."""
    share: float = 0.95
    """Fraction of the whole captions' recall that the effective length must reach."""

    def __post_init__(self) -> None:
        check_cutoffs(self.name, "ks", self.ks)
        check_cutoffs(self.name, "tokens", self.tokens)
        if not 0 < self.share < 1:
            raise UsageError(f"task long-caption: share = {self.share}, expected a fraction between 0 and 1")

    def check(self, dataset: Dataset) -> None:
        """Raise unless there are captions."""
        dataset.require("captions", "caption_image")

    def evaluate(self, dataset: Dataset, embedder: Embedder, rng: np.random.Generator) -> Evaluation:
        """Return one row per query and one per item of the position probe. Needs captions.

        Images that only the probe uses are not part of the gallery.
        """
        assert dataset.caption_image is not None
        captioned = np.unique(dataset.caption_image)
        gallery = replace(dataset.take(captioned), labels=None)
        retrieval = Retrieval(ks=self.ks).evaluate(gallery, embedder, rng)
        try:
            prefixes = prefixes_of(gallery, embedder)
            cut = _tokens_kept(gallery, embedder, prefixes=prefixes, tokens=self.tokens, share=self.share)
        except NoTokenCounts as error:
            cut = _undefined(str(error), share=self.share)
        try:
            probed = probe(dataset, embedder, rng, count=embedder.count_tokens)
        except NoTokenCounts as error:
            probed = probe(dataset, embedder, rng, count=None, reason=str(error))
        queries = {**retrieval.samples, **_rows_of_data(retrieval.samples, captioned)}
        for name, values in cut.samples.items():
            is_of_direction = queries["direction"] == split_outer_subset(name).subset
            queries[name] = column_at_rows(values, is_of_direction, len(is_of_direction))
        neighbours = {**retrieval.neighbours, **_rows_of_data(retrieval.neighbours, captioned)}
        searched = replace(retrieval, samples=queries, neighbours=neighbours, notes=())
        joint = join_evaluations([searched, replace(cut, samples={}), probed])
        return replace(joint, arrays=retrieval.arrays, subsets=probed.subsets, lists={})


def _rows_of_data(samples: Samples, captioned: Rows) -> Table:
    """Return the columns of image rows as rows of the data set instead of the gallery. -1 (no image) stays."""
    images = [name for name in samples if name == "image" or name.endswith("_image")]
    rows = np.append(captioned, -1)
    return {name: rows[samples[name]] for name in images}


def _tokens_kept(
    gallery: Dataset, embedder: Embedder, *, prefixes: Prefixes | HeldPrefixes, tokens: Sequence[int], share: float
) -> Evaluation:
    """Return hits by tokens kept, lengths of captions, and tokens that are cut off.

    Columns are named ``DIRECTION/...`` and have a value for each query of that direction, in order.
    """
    context = embedder.info.context_length
    end = int(prefixes.n_tokens.max()) if context is None else min(context, int(prefixes.n_tokens.max()))
    lengths = [*prefixes.lengths(tokens, end), end]
    columns: Table = {}
    images = embedder.encode_sides(IMAGE, gallery.images)
    owner, n_empty = gallery.caption_image, 0
    assert owner is not None
    for n in lengths:
        texts = prefixes.texts if n == end else prefixes.truncate(n)
        n_empty = max(n_empty, texts.count(""))
        by_image, by_text = search_both_ways(cross_ranks, images, embedder.encode_sides(TEXT, texts), owner)
        columns[f"{TO_IMAGE}/recall@1/{n}_tokens"] = recall_at_k(by_text, 1)
        columns[f"{TO_TEXT}/recall@1/{n}_tokens"] = recall_at_k(by_image, 1)
    axes = {
        "chance": [1 / len(gallery)] * len(lengths),
        "x_label": "tokens kept",
        "y_label": "recall@1",
        "figure": "tokens kept",
    }
    xs = [float(n) for n in lengths]
    of_captions = [(columns[f"{TO_IMAGE}/recall@1/{n}_tokens"], owner) for n in lengths]
    of_images = [(columns[f"{TO_TEXT}/recall@1/{n}_tokens"], None) for n in lengths]
    curves = {
        f"{TO_IMAGE}_recall@1_by_tokens": curve_of_means(xs, of_captions, series="text → image", role="image", **axes),
        f"{TO_TEXT}_recall@1_by_tokens": curve_of_means(xs, of_images, series="image → text", role="text", **axes),
    }
    n_tokens = prefixes.n_tokens.astype(np.float64)
    columns[f"{TO_IMAGE}/n_tokens"] = n_tokens
    if context is not None:
        columns[f"{TO_IMAGE}/truncated"] = (n_tokens > context).astype(np.float64)
        columns[f"{TO_IMAGE}/tokens_lost"] = np.maximum(n_tokens - context, 0)
    reason = prefixes.undefined_length(lengths)
    kinds: dict[str, InputKind] = {f"{TO_IMAGE}/n_tokens": "tokens", f"{TO_IMAGE}/tokens_lost": "tokens cut off"}
    notes = (f"not a single word of {n_empty} captions fits into {lengths[0]} tokens",) if n_empty else ()
    return Evaluation(
        samples=columns,
        inputs={name: kind for name, kind in kinds.items() if name in columns},
        measures=define(_measures(lengths, len(gallery), context, share=share, reason=reason), _definitions(share)),
        curves=curves,
        notes=notes,
    )


def _undefined(reason: str, *, share: float) -> Evaluation:
    missing = dict.fromkeys(("effective_length", "caption_tokens", "tokens_lost"), TOKENS)
    missing["truncated_fraction"] = "fraction"
    measures = {name: undefined(reason, unit) for name, unit in missing.items()}
    return Evaluation(samples={}, measures=define(measures, _definitions(share)))


def _definitions(share: float) -> Definitions:
    reached = f"reaches {significant(100 * share)} % of its value with whole captions"
    length = Definition(
        "Effective length", f"Tokens of a caption with which text-to-image R@1 {reached}.", is_headline=True
    )
    return {"effective_length": length, **METRICS}


def _measures(lengths: Sequence[int], n_images: int, context: int | None, *, share: float, reason: str) -> Measures:
    """Return the measures of lengths.

    Args:
        reason: why the effective length is undefined, empty if it may be defined.
    """
    effective_length = EffectiveLength(
        columns=tuple(f"{TO_IMAGE}/recall@1/{n}_tokens" for n in lengths),
        lengths=tuple(float(n) for n in lengths),
        share=share,
        chance=1 / n_images,
    )
    measures: Measures = {
        "effective_length": undefined(reason, TOKENS) if reason else effective_length,
        "caption_tokens": Mean(column=f"{TO_IMAGE}/n_tokens", unit=TOKENS, higher_is_better=None),
    }
    if context is None:
        reason = "the model does not say how many tokens it takes"
        measures["truncated_fraction"] = undefined(reason)
        measures["tokens_lost"] = undefined(reason, TOKENS)
        return measures
    measures["truncated_fraction"] = Mean(column=f"{TO_IMAGE}/truncated", higher_is_better=False)
    measures["tokens_lost"] = Mean(column=f"{TO_IMAGE}/tokens_lost", unit=TOKENS, higher_is_better=False)
    return measures


@dataclass(frozen=True, kw_only=True)
class EffectiveLength(Definition):
    """The length at which a curve of recall reaches a fraction of its end, with the interval of
    ``crossing_interval``.
    """

    columns: tuple[str, ...]
    """Hits at each length. The last length is the whole caption."""
    lengths: tuple[float, ...]
    """Lengths in tokens, ascending."""
    share: float
    chance: float
    """Recall at random."""

    def metric(self, samples: Samples, rng: np.random.Generator) -> Metric:
        """Return the length, or None if the end of the curve does not differ from chance."""
        end = Mean(column=self.columns[-1]).metric(samples, rng)
        if end.value is None or end.low is None or end.low <= self.chance + ROUNDING:
            reason = "recall@1 of the whole captions cannot be distinguished from chance, so no length can be found"
            return self.define(Metric(value=None, unit=TOKENS, n=end.n, reason=reason))
        length = Estimator("first_length_reaching", self.columns, {"lengths": list(self.lengths), "share": self.share})
        hits, clusters = zip(*(defined_values(samples, name) for name in self.columns), strict=True)
        recall = np.column_stack(hits)
        interval = crossing_interval(
            recall - self.share * recall[:, -1:],
            self.lengths,
            excess_name="recall minus its share",
            clusters=clusters[0],
        )
        statistic = Statistic(
            function=length, columns=self.columns, unit=TOKENS, higher_is_better=None, interval=interval
        )
        return self.define(statistic.metric(samples, rng))


DIRECTION = "position"
"""Value of a sample column that distinguishes the items of the probe from the queries of retrieval."""

TITLES = {"early": "Early", "middle": "Middle", "late": "Late", "beyond": "Beyond 77 tokens"}


def probe(
    dataset: Dataset, embedder: Embedder, rng: np.random.Generator, *, count: Count | None, reason: str = ""
) -> Evaluation:
    """Return one row per contrast in which an image chooses among captions, and accuracy by place.

    The captions of a contrast differ in a single statement, and its subset names the statement's place. The place is
    measured in the model's own tokens: the first token in which the captions differ, counted from 1. From the last
    place of the window on, which the end-of-text token takes, the model cannot read the statement.

    Captions that agree as far as the model reads are the same text to it: they get one vector and tie, so that rounding
    within a batch cannot decide between them.

    Args:
        count: the model's token counts, None if it has none.
        reason: why there are none.
    """
    contrasts = [contrast for contrast in dataset.contrasts or () if len(contrast.captions) > 1]
    if not contrasts:
        return Evaluation(samples={}, measures={})
    images = np.array([contrast.images[0] for contrast in contrasts])
    subset = text_column(contrast.subset for contrast in contrasts)
    samples: Table = {
        "sample_id": text_column(f"{DIRECTION}:{contrast.id}" for contrast in contrasts),
        "direction": np.full(len(contrasts), DIRECTION, object),
        "cluster": text_column(dataset.image_ids)[images],
        "image": images,
        "place": subset,
    }
    if count is not None:
        beginnings = [shared_beginning(contrast.captions) for contrast in contrasts]
        samples["fact_token"] = count(beginnings).astype(np.float64)
    context = embedder.info.context_length
    is_unread = np.zeros(len(contrasts), bool)
    if count is not None and context is not None:
        is_unread = samples["fact_token"] >= context
        samples["beyond_window"] = is_unread.astype(np.float64)
    texts = (caption for contrast in contrasts for caption in contrast.captions)
    vectors = vectors_of(dataset, texts, embedder, of=contrasts)
    read: list[Sequence[str]] = []
    for contrast, unread in zip(contrasts, is_unread, strict=True):
        captions = contrast.captions
        read.append(captions[:1] * len(captions) if unread else captions)
    decisions = decide(contrasts, vectors, len, read)
    nearest = decisions.nearest
    credit, margin = decisions.by_model.text, decisions.by_model.text_margin
    chance = decisions.by_chance.text
    samples |= {
        "text_acc": credit,
        "margin": margin,
        f"{DIRECTION}_cosine_margin": margin,
        "shorter_caption": decisions.shorter_caption,
        "chance": chance,
        "caption": nearest["caption"],
        "predicted_caption": nearest["preferred"],
        "target_cosine": nearest["target_cosine"],
        "predicted_cosine": nearest["predicted_cosine"],
    }
    columns = {"text_acc": credit, "tied": np.where(np.isnan(margin), np.nan, margin == 0)}
    if "beyond_window" in samples:
        columns["beyond_window"] = samples["beyond_window"]
    samples |= split_by_subset(subset, columns)
    subsets = list(dict.fromkeys(subset.tolist()))
    measures: Measures = {}
    baselines: Measures = {}
    baselines["shorter_caption"] = Mean(column="shorter_caption", chance=_chance(chance), higher_is_better=None)
    missing = undefined(reason or "the model does not say how many tokens it takes")
    for name in subsets:
        measures[f"{name}/text_acc"] = Mean(column=f"{name}/text_acc", chance=_chance(chance[subset == name]))
        baselines[f"{name}/tie_rate"] = Mean(column=f"{name}/tied", higher_is_better=None)
        beyond = f"{name}/beyond_window"
        baselines[beyond] = Mean(column=beyond, higher_is_better=None) if beyond in samples else missing
    return Evaluation(
        samples=samples,
        inputs={"caption": "caption"},
        measures=define(measures, METRICS),
        baselines=define(baselines, METRICS),
        curves=_curves(samples, subsets, rng) if count is not None else {},
        subsets={name: TITLES[name] for name in subsets if name in TITLES},
    )


def _chance(chances: Column) -> float | None:
    """Return the mean score of a constant model on some contrasts, or None if none of them has a choice."""
    return None if np.isnan(chances).all() else float(np.nanmean(chances))


def _curves(samples: Samples, subsets: Sequence[str], rng: np.random.Generator) -> Curves:
    """Return accuracy by the deciding token's place, the median of each subset."""
    median_tokens = [float(np.median(samples["fact_token"][samples["place"] == subset])) for subset in subsets]
    x, y, bounds = [], [], []
    for row in np.argsort(median_tokens, kind="stable").tolist():
        metric = Mean(column=f"{subsets[row]}/text_acc").metric(samples, rng)
        if metric.value is not None:
            x.append(median_tokens[row])
            y.append(metric.value)
            bounds.append((metric.low, metric.high))
    if not x:
        return {}
    curve = bounded_curve(
        x,
        y,
        bounds,
        x_label="place of the deciding token",
        y_label="true caption chosen",
        unit="fraction",
        figure="positions",
        series="true caption chosen",
    )
    return {"text_acc_by_position": curve}


def shared_beginning(texts: Sequence[str]) -> str:
    """Return the words with which all texts begin, up to the first word in which any two differ.

    Example:
        >>> shared_beginning(["It is old. A red cube.", "It is old. A red cone."])
        'It is old. A red'
    """
    shared = []
    for words in zip(*(text.split() for text in texts), strict=False):
        if len(set(words)) > 1:
            break
        shared.append(words[0])
    return " ".join(shared)
