"""Rate of claims that a format loses less than a point where it does lose as much, and coverage of paired differences.

    python experiments/rates_compression.py     # about half an hour on a quiet core; tables of experiments/coverage.md

Answers: five kinds of five formats each, whose credits are lost and won with given chances, independently of each
other, which makes most errors; one query an image, or five that are alike. Vectors: pairs of images and captions that
share a part whose size falls with the dimension, stored in the formats of the task; the truth is the mean of all
samples of a size. Classes: images around 50 class vectors of 256 dimensions, of which none varies most, stored as
components that the task cross-fits; the truth is the change of 5,000 new images, by components of all images of a
sample.
"""

import argparse
from collections.abc import Mapping, Sequence

import numpy as np

from clipbench.metrics.classification import class_scores, top_k_credit
from clipbench.metrics.compression import Components, Format, Kind, compress, principal_components
from clipbench.metrics.ranking import cross_ranks, recall_at_k
from clipbench.metrics.similarity import unit
from clipbench.stats.intervals import DIFFERENCES, mean_interval
from clipbench.stats.noninferiority import walk
from clipbench_tasks.compression import (
    ALL,
    N_FOLDS,
    Compression,
    CompressionQuestion,
    Some,
    _credit,
    _fits,
    _least_stored,
)

SIZES = (25, 100, 1_000, 5_000)
MARGIN = 0.01
ANSWERS: Mapping[str, Sequence[tuple[float, float]]] = {
    "none: no answer changes": [(0.0, 0.0)] * 5,
    "none: 1 % lost, 1 % won": [(0.01, 0.01)] * 5,
    "small: 1 % lost": [(0.01, 0.0)] * 5,
    "small: 3 % lost, 2 % won": [(0.03, 0.02)] * 5,
    "large: none, then 6 % lost, 1 % won": [(0.0, 0.0)] + [(0.06, 0.01)] * 4,
}
"""Formats of each kind, from the largest to the smallest, with their chances of losing and winning an answer."""
VECTORS = {"none": 100.0, "small": 0.35, "large": 0.8}
"""Noise of each vector, where the shared part has a length of about 1: pairs that share nothing, and easy and hard
ones.
"""
DIM = 64
N_CLASSES, CLASS_DIM = 50, 256
N_NEW = 5_000
FITTED: Sequence[Kind] = ("pca", "pca_int8")
CLASSES = {"none": 1.0, "small": 2.6, "large": 4.0}
"""Noise of an image in each dimension, where a class vector has about 1."""


def of_answers(repeats: int, per_image: int) -> None:
    for name, formats in ANSWERS.items():
        for n in SIZES[:3] if per_image > 1 else SIZES:
            rng = np.random.default_rng((n, per_image))
            clusters = np.repeat(np.arange(n), per_image)
            wrong, chosen, covered = 0, 0, []
            for repeat in range(repeats):
                kinds = [
                    {f"{kind}@{place}": _changes(rng, clusters, *each) for place, each in enumerate(formats)}
                    for kind in range(5)
                ]
                passed = walk(kinds, MARGIN, clusters=clusters).passed
                lost = {f"{kind}@{place}": a - b for kind in range(5) for place, (a, b) in enumerate(formats)}
                wrong += any(lost[form] >= MARGIN - 1e-12 for form in passed)
                chosen += len(passed) > 0
                if repeat < repeats // 4:
                    for form, change in kinds[0].items():
                        covered.append(_covers(change, clusters, -lost[form]))
            rates = f"wrong {wrong / repeats:.4f}, any {chosen / repeats:.3f}, covered {np.mean(covered):.3f}"
            print(f"answers, {per_image} an image, {name}, n = {n}: {rates}", flush=True)


def _changes(rng: np.random.Generator, clusters: np.ndarray, lost: float, won: float) -> np.ndarray:
    """Return changes of credits; two thirds of those of an image, where it has several, are the same."""
    u = rng.random(clusters[-1] + 1)[clusters]
    own = rng.random(len(clusters)) < 1 / 3
    u[own] = rng.random(int(own.sum()))
    return np.where(u < lost, -1.0, np.where(u < lost + won, 1.0, 0.0))


def of_vectors(most: int) -> None:
    chains = Compression()._chains(DIM)
    for n in SIZES[:3]:
        repeats = most if n < 1_000 else 2 * most // 5
        for effect, noise in VECTORS.items():
            rng = np.random.default_rng(n)
            kept = [[form for form in chain if n >= _least_stored(form)] for chain in chains]
            kinds = [chain for chain in kept if chain]
            forms = [form for chain in kinds for form in chain]
            changes = [_credits(rng, n, noise, forms) for _ in range(repeats)]
            true = {form.name: float(np.mean([each[form.name].mean() for each in changes])) for form in forms}
            wrong, chosen, covered = 0, 0, []
            for each in changes:
                passed = walk([{form.name: each[form.name] for form in chain} for chain in kinds], MARGIN).passed
                wrong += any(-true[form] >= MARGIN for form in passed)
                chosen += len(passed) > 0
                covered += [_covers(change, None, true[form]) for form, change in each.items()]
            rates = f"wrong {wrong / repeats:.4f}, any {chosen / repeats:.3f}, covered {np.mean(covered):.3f}"
            print(
                f"vectors, {effect}, n = {n}: {rates}; {min(true.values()):.3f} to {max(true.values()):.3f}", flush=True
            )


def of_classes(repeats: int) -> None:
    forms = [Format(kind, k) for kind in FITTED for k in (128, 64)]
    for n in (500, 1_000):
        for effect, noise in CLASSES.items():
            rng = np.random.default_rng(n)
            wrong, wrong_fitted, chosen, covered, losses = 0, 0, 0, [], []
            for _ in range(repeats):
                classes = rng.standard_normal((N_CLASSES, CLASS_DIM))
                known, new = (_images(rng, classes, noise, each) for each in (n, N_NEW))
                found, on_known = _change(known, forms, rng.permutation(n) % N_FOLDS), _change(known, forms)
                on_new = _change(new, forms, fits=[(principal_components(known.stored), ALL)])
                true = {name: float(each.mean()) for name, each in on_new.items()}
                passed, passed_fitted = _passed(found), _passed(on_known)
                wrong += any(-true[name] >= MARGIN for name in passed)
                wrong_fitted += any(-true[name] >= MARGIN for name in passed_fitted)
                chosen += len(passed) > 0
                covered += [_covers(change, None, true[name]) for name, change in found.items()]
                losses.append([[each[form.name].mean() for each in (on_known, found, on_new)] for form in forms[:2]])
            rates = (
                f"wrong {wrong / repeats:.3f} (not cross-fitted {wrong_fitted / repeats:.3f}), any"
                f" {chosen / repeats:.3f}"
            )
            print(
                f"classes, {effect}, n = {n}: {rates}, covered {np.mean(covered):.3f}; pca@128 and @64 on the fitted,"
                f" cross-fitted, on new {np.mean(losses, axis=0).round(4).tolist()}",
                flush=True,
            )


def _images(rng: np.random.Generator, classes: np.ndarray, noise: float, n: int) -> CompressionQuestion:
    labels = rng.integers(N_CLASSES, size=n)
    images = unit((classes[labels] + noise * rng.standard_normal((n, CLASS_DIM))).astype(np.float32))

    def credit(stored: np.ndarray, queries: np.ndarray, asked: Some) -> np.ndarray:
        scores = class_scores(stored[asked], queries, labels[asked], logit_scale=None)
        return top_k_credit(scores.better, scores.tied)

    rows, queries = np.arange(n), unit(classes.astype(np.float32))
    return CompressionQuestion("acc1", rows, rows, rows, images, queries, credit, 1 / N_CLASSES)


def _change(
    question: CompressionQuestion,
    forms: Sequence[Format],
    folds: np.ndarray | None = None,
    fits: list[tuple[Components | None, Some]] | None = None,
) -> dict[str, np.ndarray]:
    fits = fits or _fits(question._replace(folds=folds))
    whole = question.credit(question.stored, question.queries, ALL)
    return {form.name: _credit(question, form, fits) - whole for form in forms}


def _passed(changes: Mapping[str, np.ndarray]) -> Sequence[str]:
    """Return the formats that pass, where the three kinds without components never do."""
    kinds = [{name: each for name, each in changes.items() if name.startswith(f"{kind}@")} for kind in FITTED]
    return walk([*kinds, {}, {}, {}], MARGIN).passed


def _credits(rng: np.random.Generator, n: int, noise: float, forms: Sequence[Format]) -> dict[str, np.ndarray]:
    """Return the change of each caption's credit in each format."""
    sizes = np.exp(-np.arange(DIM) / 12)
    sizes /= np.linalg.norm(sizes)
    shown = rng.standard_normal((n, DIM)) * sizes
    images, texts = (shown + noise * rng.standard_normal((n, DIM)) * sizes + 0.2 for _ in range(2))
    images, texts, owner = unit(images.astype(np.float32)), unit(texts.astype(np.float32)), np.arange(n)
    components = principal_components(images)
    whole = recall_at_k(cross_ranks(images, texts, owner)[1], 1)
    return {
        form.name: recall_at_k(cross_ranks(*compress(form, images, texts, components), owner)[1], 1) - whole
        for form in forms
    }


def _covers(change: np.ndarray, clusters: np.ndarray | None, true: float) -> bool:
    low, high, _ = mean_interval(change, clusters=clusters, within=DIFFERENCES)
    return low is not None and high is not None and low - 1e-9 <= true <= high + 1e-9


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--repeats", type=int, default=1_000)
    parser.add_argument("--only", choices=["answers", "vectors", "classes"])
    options = parser.parse_args()
    if options.only in (None, "answers"):
        for per_image in (1, 5):
            of_answers(options.repeats, per_image)
    if options.only in (None, "vectors"):
        of_vectors(options.repeats // 4)
    if options.only in (None, "classes"):
        of_classes(options.repeats // 20)


if __name__ == "__main__":
    main()
