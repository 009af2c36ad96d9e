"""How alike every two of several models arrange the same images, and the same texts."""

from collections.abc import Sequence

from clipbench.comparison.records import RepresentationalSimilarity
from clipbench.comparison.representations import K, SimilarityMatrix
from clipbench.results import numbers as fmt
from clipbench.results.record import Metric
from clipbench_reports.drawing.marks import Chart
from clipbench_reports.figures._modalities import MAX_BOUNDED, Matrix, matrix_panels


def representational_similarity(found: SimilarityMatrix, names: Sequence[str]) -> Chart:
    """Return a matrix of mutual k-NN and one of CKA, of images and of texts, with a row and a column for each model.

    Args:
        names: of the models.
    """
    is_bounded = len(names) <= MAX_BOUNDED
    return Chart(
        title=_title(found),
        panels=matrix_panels(names, [_matrix(found, *each) for each in MATRICES]),
        n_columns=2,
        reading=" ".join(_reading(found, is_bounded=is_bounded)),
        detail=" ".join(
            f"{names[one]} and {names[other]}, {_values(similar)}."
            for (one, other), pair in found.found.items()
            for similar in pair
        ),
    )


NOUNS = {"image": "images", "text": "texts"}
MATRICES = [
    (measure, modality, f"{title} of {noun}{unit}")
    for measure, title, unit in (("mutual_knn", "k-NN", ", %"), ("cka", "CKA", ""))
    for modality, noun in NOUNS.items()
]
"""Measure, modality and title of each panel."""


def _matrix(found: SimilarityMatrix, measure: str, modality: str, title: str) -> Matrix:
    cells = {
        place: similar.measures[measure]
        for (one, other), pair in found.found.items()
        for similar in pair
        if similar.modality == modality
        for place in ((one, other), (other, one))
    }
    itself = {
        (place, place): Metric(value=1.0, unit=next(iter(cells.values())).unit) for place in range(len(found.labels))
    }
    return Matrix(title, cells | itself, lambda value: value)


def _title(found: SimilarityMatrix) -> str:
    """Return the range of the mutual k-NN of images, and of texts, in a sentence; undefined values are not in it."""
    ranges = []
    for modality, noun in NOUNS.items():
        own = [each.mutual_knn.value for pair in found.found.values() for each in pair if each.modality == modality]
        values = [each for each in own if each is not None]
        if values:
            ends = dict.fromkeys(f"{fmt.percent(each)} %" for each in (min(values), max(values)))
            ranges.append(f"{' to '.join(ends)} of the nearest {noun}")
    if not ranges:
        return "Mutual k-NN of the models is undefined."
    return f"{'The two' if len(found.labels) == 2 else 'Pairs of'} models share {' and '.join(ranges)}."


def _reading(found: SimilarityMatrix, *, is_bounded: bool) -> list[str]:
    chance = K / (found.n - 1)
    said = [
        f"Each cell compares two models on the same {fmt.counted(found.n, 'pair')} of {found.evaluation}.",
        f"Mutual k-NN: mean share of an item’s {K} nearest that are the same in both, {fmt.percent(chance)} % by chance.",
        "CKA (debiased): correlation of all centred dot products, 0 by chance, 1 for the same up to rotation and scale.",
        "Alike is not better.",
    ]
    said += ["Brackets, where they fit, hold 95 % intervals."] if is_bounded else []
    return [*said, *(f"Not drawn: {each}." for each in found.left_out)]


def _values(similar: RepresentationalSimilarity) -> str:
    def said(metric: Metric) -> str:
        return fmt.quantity(metric.value, metric.unit)

    return f"{NOUNS[similar.modality]}: mutual k-NN {said(similar.mutual_knn)}, CKA {said(similar.cka)}"
