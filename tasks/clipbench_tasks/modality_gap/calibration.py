"""Calibration of cosines across image-text, text-text and image-image pairs: errors and curves.

A match is defined by the kind of pair:

- image-text: an image and a caption of it; every other pair is no match.
- text-text: two captions of one image, where any image has several; else captions of two images with the same label.
- image-image: two images with the same label.

A label is a wider relation than a caption: where kinds are matched by different relations, part of the error is due to
that difference, not to the model. Models on the same data share the relations, so they can be compared.
"""

from collections.abc import Mapping

import numpy as np

from clipbench.metrics.similarity_calibration import (
    MatchCounts,
    MatchProbabilities,
    expected_noise,
    match_counts,
    match_probabilities,
)
from clipbench.results.record import Curve
from clipbench.stats.measures import Definition, Fixed, Measure, define
from clipbench_tasks.tables import Rows, Vectors, sampled

KINDS = ("image_text", "text_text", "image_image")
SAMPLED_IMAGES = 2_000
"""Images, a seeded sample of a larger set, with at most ``CAPTIONS_EACH`` captions each: cosines are n²."""
CAPTIONS_EACH = 2

METRICS = {
    "similarity_calibration_error": Definition(
        "Cosine calibration error",
        "How differently the same cosine predicts a match for image–text, text–text and image–image pairs; 0 is alike.",
    ),
    **{
        f"{kind}_calibration_error": Definition(
            f"Cosine calibration error, {kind.replace('_', '–')}",
            f"How far the match probability of {kind.replace('_', '–')} pairs lies from that of all pairs of one cosine.",
        )
        for kind in KINDS
    },
}

PairKind = MatchCounts | str
"""Counts of a kind of pair, or the reason why there are none."""


def calibration(
    images: Vectors, texts: Vectors, *, text_image: Rows, labels: Rows | None, rng: np.random.Generator
) -> tuple[dict[str, Measure], dict[str, Curve]]:
    """Return the similarity calibration errors, and P(match | cosine) of each kind as a curve.

    ``similarity_calibration_error`` is the mean over kinds, ``image_text_calibration_error`` and so on are of one
    (see ``metrics.similarity_calibration``). A kind without matches is undefined, with the reason; so are all, unless
    image-text and another are there.

    Args:
        images: unit vectors, of all images.
        texts: unit vectors, of all captions.
        text_image: row of each caption's image; every image has a caption.
        labels: of the images, where they have any.
        rng: draws the images where there are more than ``SAMPLED_IMAGES``.
    """
    chosen, captions = _sample(len(images), text_image, rng)
    place = np.full(len(images), -1, np.int64)
    place[chosen] = np.arange(len(chosen))
    images, texts, owners = images[chosen], texts[captions], place[text_image[captions]]
    labels = None if labels is None else labels[chosen]
    image_text = match_counts(images, texts, left_groups=np.arange(len(images)), right_groups=owners)
    text_groups = owners if len(texts) > len(images) else None if labels is None else labels[owners]
    kinds = {
        "image_text": _checked(image_text),
        "text_text": _among(texts, text_groups, "no image has several captions, and there are no labels"),
        "image_image": _among(images, labels, "there are no labels"),
    }
    counts = {name: kind for name, kind in kinds.items() if not isinstance(kind, str)}
    probabilities = match_probabilities(counts) if counts else None
    measures = define(_measures(kinds, counts, probabilities), METRICS)
    return measures, {} if probabilities is None else _curves(probabilities)


def _sample(n_images: int, text_image: Rows, rng: np.random.Generator) -> tuple[Rows, Rows]:
    """Return rows of images, and of the first captions of each."""
    chosen = sampled(np.arange(n_images), SAMPLED_IMAGES, rng)
    order = np.argsort(text_image, kind="stable")
    owners = text_image[order]
    number = np.arange(len(order)) - np.searchsorted(owners, owners)  # of a caption among those of its image
    return chosen, np.sort(order[(number < CAPTIONS_EACH) & np.isin(owners, chosen)])


def _among(vectors: Vectors, groups: Rows | None, reason: str) -> PairKind:
    if groups is None:
        return reason
    return _checked(match_counts(vectors, vectors, left_groups=groups, right_groups=groups, is_same=True))


def _checked(counts: MatchCounts) -> PairKind:
    n_matches, n_others = int(counts.matches.sum()), int(counts.others.sum())
    return counts if n_matches and n_others else f"it needs matches and others, and has {n_matches} and {n_others}"


def _measures(
    kinds: Mapping[str, PairKind], counts: Mapping[str, MatchCounts], probabilities: MatchProbabilities | None
) -> dict[str, Measure]:
    missing = "; ".join(f"{_words(name)}: {kind}" for name, kind in kinds.items() if isinstance(kind, str))
    n = {name: int(each.matches.sum()) for name, each in counts.items()}
    if probabilities is None or "image_text" not in counts or len(counts) < 2:
        reason = f"it compares image-text with other kinds of pairs ({missing})"
        return {
            "similarity_calibration_error": _undefined(reason),
            **{
                f"{name}_calibration_error": _undefined(kind if isinstance(kind, str) else reason)
                for name, kind in kinds.items()
            },
        }
    noise = expected_noise(n)
    over, mean_noise = ", ".join(_words(name) for name in counts), sum(noise.values()) / len(noise)
    values: dict[str, Measure] = {
        "similarity_calibration_error": _error(probabilities.error, min(n.values()), mean_noise, f"mean over {over}")
    }
    for name, kind in kinds.items():
        if isinstance(kind, str):
            values[f"{name}_calibration_error"] = _undefined(kind)
        else:
            what = f"{n[name]:,} matches, against all of {over}"
            values[f"{name}_calibration_error"] = _error(probabilities.errors[name], n[name], noise[name], what)
    return values


def _curves(probabilities: MatchProbabilities) -> dict[str, Curve]:
    curves = {}
    for name in probabilities.probability:
        held = ~np.isnan(probabilities.probability[name])
        curves[f"match_by_cosine_{name}"] = Curve(
            x=probabilities.cosine[name][held].tolist(),
            y=probabilities.probability[name][held].tolist(),
            x_label="cosine",
            y_label="probability of a match at even odds",
        )
    return curves


def _error(value: float, n: int, noise: float, what: str) -> Fixed:
    expected = f"kinds with the same P would show at least {noise:.2g} by noise"
    reason = f"{what}; no interval: a resampled image matches its own copies; {expected}"
    return Fixed(value=value, n=n, reason=reason, higher_is_better=False)


def _undefined(reason: str) -> Fixed:
    return Fixed(value=None, reason=reason, higher_is_better=False)


def _words(kind: str) -> str:
    return kind.replace("_", "-")
