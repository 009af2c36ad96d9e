"""The position probe: one fact, stated early, in the middle, late or beyond the window of the text tower.

Each item is a contrast of captions that differ in a single statement, and its subset names the statement's place. The
place is measured in the model's own tokens: the first token in which the captions differ, counted from 1. From the last
place of the window on, which the end-of-text token takes, the model cannot read it.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int64

from clipbench.data import Contrast, Dataset
from clipbench.evaluation.task import Evaluation
from clipbench.metrics import chance_choices, choices, contrast_scores, truth_groups
from clipbench.metrics.similarity import unit
from clipbench.models.protocol import Embedder
from clipbench.results.record import Curve
from clipbench.stats.measures import Definition, Fixed, Mean, Measure, define
from clipbench_tasks.long_caption.prefixes import Count, shared_beginning
from clipbench_tasks.tables import bounded_curve

DIRECTION = "position"
"""Value of a sample column that tells the items of the probe from the queries of retrieval."""

METRICS = {
    "text_acc": Definition(
        "Position probe accuracy", "Share of images whose true caption scores above one that differs in a single fact."
    ),
    "shorter_caption": Definition(
        "Always the shorter caption", "Accuracy of the rule that the caption with fewer letters is true."
    ),
    "tie_rate": Definition("Ties", "Share of items in which the captions tie.", "text_acc"),
    "beyond_window": Definition(
        "Fact beyond the context", "Share of items whose deciding fact the model cuts off.", "text_acc"
    ),
}
TITLES = {
    "early": "Early",
    "middle": "Middle",
    "late": "Late",
    "beyond": "Beyond 77 tokens",
}


def probe(
    dataset: Dataset, embedder: Embedder, rng: np.random.Generator, *, count: Count | None, reason: str = ""
) -> Evaluation:
    """Return a row an item, and accuracy by place, for all contrasts in which an image chooses among captions.

    Captions that agree as far as the model reads are the same text to it: they get one vector and tie, so that rounding
    within a batch cannot decide between them.

    Args:
        dataset: images with contrasts.
        embedder: the model.
        rng: for the curve's intervals.
        count: the model's token counts; None where it has none.
        reason: why there are none.
    """
    items = [contrast for contrast in dataset.contrasts or () if len(contrast.captions) > 1]
    if not items:
        return Evaluation(samples={}, measures={})
    samples = _samples(dataset, items)
    if count is not None:
        samples["fact_token"] = count([shared_beginning(item.captions) for item in items]).astype(np.float64)
    context = embedder.info.context_length
    is_unread = np.zeros(len(items), bool)
    if count is not None and context is not None:
        is_unread = samples["fact_token"] >= context
        samples["beyond_window"] = is_unread.astype(np.float64)
    samples |= _credits(dataset, items, embedder, is_unread)
    places = list(dict.fromkeys(item.subset for item in items))
    samples |= _by_place(samples, places)
    missing = reason or "the model does not say how many tokens it takes"
    accuracies = {
        f"{place}/text_acc": Mean(
            column=f"{place}/text_acc", chance=_chance(samples["chance"][samples["place"] == place])
        )
        for place in places
    }
    return Evaluation(
        samples=samples,
        measures=define(accuracies, METRICS),
        controls=define(_controls(samples, places, missing), METRICS),
        curves=_curves(samples, places, rng) if count is not None else {},
        subsets={place: TITLES[place] for place in places if place in TITLES},
    )


def _samples(dataset: Dataset, items: Sequence[Contrast]) -> dict[str, np.ndarray]:
    images = np.array([item.images[0] for item in items], np.int64)
    return {
        "sample_id": np.array([f"{DIRECTION}:{item.id}" for item in items], object),
        "direction": np.full(len(items), DIRECTION, object),
        "cluster": np.array(dataset.image_ids, object)[images],
        "image": images,
        "place": np.array([item.subset for item in items], object),
    }


def _credits(
    dataset: Dataset, items: Sequence[Contrast], embedder: Embedder, is_unread: Bool[np.ndarray, " n_items"]
) -> dict[str, np.ndarray]:
    """Return the credit of each item, and that of the rule "the shorter caption is the true one".

    ``caption`` is the true caption with the lowest score, ``chosen_caption`` the false one with the highest.
    """
    distinct_images = sorted({row for item in items for row in item.images})
    distinct_captions = list(dict.fromkeys(caption for item in items for caption in item.captions))
    images = unit(embedder.images([dataset.images[row] for row in distinct_images]))
    texts = unit(embedder.texts(distinct_captions))
    image_row = {row: number for number, row in enumerate(distinct_images)}
    text_row = {text: number for number, text in enumerate(distinct_captions)}
    columns = ("text_acc", "margin", "shorter_caption", "chance", "right_cosine", "chosen_cosine")
    out = {name: np.full(len(items), np.nan) for name in columns}
    out |= {name: np.full(len(items), "", object) for name in ("caption", "chosen_caption")}
    for rows in truth_groups([item.truth for item in items]):
        group, truth = [items[row] for row in rows], items[rows[0]].truth
        captions = np.array([[text_row[text] for text in item.captions] for item in group])
        captions[is_unread[rows]] = captions[is_unread[rows], :1]  # one vector for all captions of an unread fact
        image_rows = np.array([[image_row[row] for row in item.images] for item in group])
        scores = contrast_scores(images, texts, image_rows, captions)
        decided = choices(scores, truth)
        shortness = -np.array([[len(text) for text in item.captions] for item in group], np.float32)
        by_length = choices(np.repeat(shortness[:, None, :], len(truth), axis=1), truth)
        out["text_acc"][rows], out["margin"][rows] = decided.text, decided.text_margin
        out["shorter_caption"][rows], out["chance"][rows] = by_length.text, chance_choices(truth).text
        for name, values in _compared(group, scores, truth).items():
            out[name][rows] = values
    return {**out, f"{DIRECTION}_margin": out["margin"]}


def _compared(
    items: Sequence[Contrast],
    scores: Float32[np.ndarray, "n_items images captions"],
    truth: Bool[np.ndarray, "images captions"],
) -> dict[str, np.ndarray]:
    """Return the two deciding captions of each item's first image, for items of one shape, with their cosines."""
    if truth[0].all() or not truth[0].any():
        return {}
    # The lowest true caption against the highest false one; infinity keeps each kind out of the other's choice.
    low, high = np.where(truth[0], scores[:, 0], np.inf), np.where(truth[0], -np.inf, scores[:, 0])
    true, false = low.argmin(axis=1), high.argmax(axis=1)
    return {
        "caption": np.array([item.captions[row] for item, row in zip(items, true, strict=True)], object),
        "chosen_caption": np.array([item.captions[row] for item, row in zip(items, false, strict=True)], object),
        "right_cosine": low.min(axis=1),
        "chosen_cosine": high.max(axis=1),
    }


def _by_place(samples: Mapping[str, np.ndarray], places: Sequence[str]) -> dict[str, np.ndarray]:
    """Return the columns that are averaged by place, with NaN for the items of other places."""
    tied = np.where(np.isnan(samples["margin"]), np.nan, samples["margin"] == 0)
    columns = {"text_acc": samples["text_acc"], "tied": tied}
    if "beyond_window" in samples:
        columns["beyond_window"] = samples["beyond_window"]
    return {
        f"{place}/{name}": np.where(samples["place"] == place, values, np.nan)
        for place in places
        for name, values in columns.items()
    }


def _chance(chances: Float64[np.ndarray, " n_items"]) -> float | None:
    """Return the mean score of a constant model on some items; None where none of them has a choice."""
    return None if np.isnan(chances).all() else float(np.nanmean(chances))


def _controls(samples: Mapping[str, np.ndarray], places: Sequence[str], missing: str) -> dict[str, Measure]:
    controls: dict[str, Measure] = {
        "shorter_caption": Mean(column="shorter_caption", chance=_chance(samples["chance"]), higher_is_better=None)
    }
    for place in places:
        controls[f"{place}/tie_rate"] = Mean(column=f"{place}/tied", higher_is_better=None)
        controls[f"{place}/beyond_window"] = (
            Mean(column=f"{place}/beyond_window", higher_is_better=None)
            if f"{place}/beyond_window" in samples
            else Fixed(value=None, reason=missing)
        )
    return controls


def _curves(samples: Mapping[str, np.ndarray], places: Sequence[str], rng: np.random.Generator) -> dict[str, Curve]:
    """Return accuracy as a function of the deciding token's place, the median of each kind of place."""
    at = [float(np.median(samples["fact_token"][samples["place"] == place])) for place in places]
    order: Int64[np.ndarray, " n_places"] = np.argsort(at, kind="stable")
    metrics = [Mean(column=f"{places[row]}/text_acc").metric(samples, rng) for row in order]
    by_place = zip(order, metrics, strict=True)
    points = [(at[row], each.value, (each.low, each.high)) for row, each in by_place if each.value is not None]
    if not points:
        return {}
    x, y, bounds = zip(*points, strict=True)
    labels = {"x_label": "place of the deciding token", "y_label": "true caption chosen"}
    return {"text_acc_by_position": bounded_curve(x, y, bounds, **labels)}
