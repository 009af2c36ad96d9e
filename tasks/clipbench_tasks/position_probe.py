"""The position probe: one fact, stated early, in the middle, late or beyond the window of the text tower.

Each item is a contrast of captions that differ in a single statement, and its subset names the statement's place. The
place is measured in the model's own tokens: the first token in which the captions differ, counted from 1. From the last
place of the window on, which the end-of-text token takes, the model cannot read it.
"""

from collections.abc import Callable, Mapping, Sequence
from itertools import takewhile

import numpy as np

from clipbench.data import Dataset
from clipbench.evaluation.task import Evaluation
from clipbench.models.protocol import Embedder
from clipbench.results.record import Curve
from clipbench.stats.measures import Definition, Fixed, Mean, Measure, define
from clipbench_tasks.choices import decide, vectors_of
from clipbench_tasks.tables import Column, Rows, Table, bounded_curve, by_subset

Count = Callable[[Sequence[str]], Rows]
"""Returns the tokens of each text before any is cut off, start and end among them."""
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
TITLES = {"early": "Early", "middle": "Middle", "late": "Late", "beyond": "Beyond 77 tokens"}


def probe(
    dataset: Dataset, embedder: Embedder, rng: np.random.Generator, *, count: Count | None, reason: str = ""
) -> Evaluation:
    """Return a row an item, and accuracy by place, for all contrasts in which an image chooses among captions.

    Captions that agree as far as the model reads are the same text to it: they get one vector and tie, so that rounding
    within a batch cannot decide between them.

    Args:
        count: the model's token counts; None where it has none.
        reason: why there are none.
    """
    items = [contrast for contrast in dataset.contrasts or () if len(contrast.captions) > 1]
    if not items:
        return Evaluation(samples={}, measures={})
    images, place = np.array([item.images[0] for item in items]), np.array([item.subset for item in items], object)
    samples: Table = {
        "sample_id": np.array([f"{DIRECTION}:{item.id}" for item in items], object),
        "direction": np.full(len(items), DIRECTION, object),
        "cluster": np.array(dataset.image_ids, object)[images],
        "image": images,
        "place": place,
    }
    if count is not None:
        samples["fact_token"] = count([shared_beginning(item.captions) for item in items]).astype(np.float64)
    context = embedder.info.context_length
    is_unread = np.zeros(len(items), bool)
    if count is not None and context is not None:
        is_unread = samples["fact_token"] >= context
        samples["beyond_window"] = is_unread.astype(np.float64)
    captions = [item.captions for item in items]
    vectors = vectors_of(dataset, (caption for each in captions for caption in each), embedder, of=items)
    read = [each[:1] * len(each) if unread else each for each, unread in zip(captions, is_unread, strict=True)]
    decided, by_chance, shorter, nearest = decide(items, vectors, len, read)
    margin, chance = decided.text_margin, by_chance.text
    samples |= {
        "text_acc": decided.text,
        "margin": margin,
        f"{DIRECTION}_cosine_margin": margin,
        "shorter_caption": shorter,
        "chance": chance,
        "caption": nearest["caption"],
        "chosen_caption": nearest["preferred"],
        "right_cosine": nearest["right_cosine"],
        "chosen_cosine": nearest["chosen_cosine"],
    }
    of_places = {"text_acc": decided.text, "tied": np.where(np.isnan(margin), np.nan, margin == 0)}
    of_places |= {name: samples[name] for name in ("beyond_window",) if name in samples}
    samples |= by_subset(place, of_places)
    places = list(dict.fromkeys(place.tolist()))
    accuracies = {
        f"{each}/text_acc": Mean(column=f"{each}/text_acc", chance=_chance(chance[place == each])) for each in places
    }
    rule = Mean(column="shorter_caption", chance=_chance(chance), higher_is_better=None)
    controls: dict[str, Measure] = {"shorter_caption": rule}
    missing = Fixed(value=None, reason=reason or "the model does not say how many tokens it takes")
    for each in places:
        controls[f"{each}/tie_rate"] = Mean(column=f"{each}/tied", higher_is_better=None)
        beyond = f"{each}/beyond_window"
        controls[beyond] = Mean(column=beyond, higher_is_better=None) if beyond in samples else missing
    return Evaluation(
        samples=samples,
        measures=define(accuracies, METRICS),
        controls=define(controls, METRICS),
        curves=_curves(samples, places, rng) if count is not None else {},
        subsets={each: TITLES[each] for each in places if each in TITLES},
    )


def _chance(chances: Column) -> float | None:
    """Return the mean score of a constant model on some items; None where none of them has a choice."""
    return None if np.isnan(chances).all() else float(np.nanmean(chances))


def _curves(samples: Mapping[str, np.ndarray], places: Sequence[str], rng: np.random.Generator) -> dict[str, Curve]:
    """Return accuracy as a function of the deciding token's place, the median of each kind of place."""
    at = [float(np.median(samples["fact_token"][samples["place"] == place])) for place in places]
    order: Rows = np.argsort(at, kind="stable")
    metrics = [Mean(column=f"{places[row]}/text_acc").metric(samples, rng) for row in order]
    by_place = zip(order, metrics, strict=True)
    points = [(at[row], each.value, (each.low, each.high)) for row, each in by_place if each.value is not None]
    if not points:
        return {}
    x, y, bounds = zip(*points, strict=True)
    labels = {"x_label": "place of the deciding token", "y_label": "true caption chosen"}
    return {"text_acc_by_position": bounded_curve(x, y, bounds, **labels)}


def shared_beginning(texts: Sequence[str]) -> str:
    """Return the words with which all texts begin, up to the first word in which any two differ.

    Example:
        >>> shared_beginning(["It is old. A red cube.", "It is old. A red cone."])
        'It is old. A red'
    """
    at_places = zip(*(text.split() for text in texts), strict=False)
    return " ".join(words[0] for words in takewhile(lambda words: len(set(words)) == 1, at_places))
