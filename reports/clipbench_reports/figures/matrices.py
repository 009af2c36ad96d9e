"""Matrices: of pairs, of every two modalities, and of every two models."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64

from clipbench.comparison.representations import K, SimilarityMatrix
from clipbench.models.protocol import no_logit_scale
from clipbench.results import numbers as fmt
from clipbench.results.metric_name import is_in_subset, subset_of
from clipbench.results.record import Metric
from clipbench_reports.drawing.facets import Statement, chart, side_by_side
from clipbench_reports.drawing.marks import Axis, Cells, Chart, Panel
from clipbench_reports.evidence import Evidence, MissingEvidence, Models, read_each
from clipbench_reports.figures.shared import refuse_judged
from clipbench_reports.text import sentence_case, shorten

TITLES = ("Cosine", "By row", "By column")


def similarity(models: Models) -> Chart:
    """Return the cosines between the images and the texts of a sample of pairs, and their softmax by row and column."""
    by_model = read_each(models, _read)
    return chart(
        [side_by_side(by_model.map(lambda matrix_and_scale: _panels(*matrix_and_scale)), keys=TITLES)],
        by_model.map(lambda matrix_and_scale: _state(*matrix_and_scale)),
        n_columns=3,
        reading=(
            "A row is an image, a column a text. Cosines: blank from their median off the diagonal downwards, black at "
            "the highest. By row and by column: softmax at the model’s own logit scale, blank 0, black 1."
        ),
    )


def _read(evidence: Evidence) -> tuple[Float64[np.ndarray, "n n"], float]:
    refuse_judged(evidence)
    matrix = evidence.matrix("similarity")
    n = len(matrix)
    if matrix.shape != (n, n) or n < 2:
        raise MissingEvidence(f"the kept similarity matrix has shape {matrix.shape}, expected a square one")
    scale = evidence.run.result.model.get("logit_scale")
    if not isinstance(scale, int | float) or not np.isfinite(scale):
        raise MissingEvidence(
            f"the run has no logit scale of the model (got {scale}), which the softmax needs: {no_logit_scale()}"
        )
    return matrix, float(scale)


def _panels(cosines: Float64[np.ndarray, "n n"], scale: float) -> list[Panel]:
    from scipy.special import softmax

    n = len(cosines)
    low, high = _median_of_others(cosines), float(cosines.max())
    depths = np.clip((cosines - low) / (high - low), 0, 1) if high > low else np.zeros((n, n))
    by_row, by_column = softmax(scale * cosines, axis=1), softmax(scale * cosines, axis=0)
    parts = zip(TITLES, (depths, by_row, by_column), (cosines, by_row, by_column), strict=True)
    return [
        Panel(
            title=title,
            x=Axis(low=0, high=n, ticks=[n / 2], names=["texts"]),
            y=Axis(low=n, high=0, ticks=[n / 2], names=["images"]),
            marks=[Cells(depths=shades, values=values, is_percent=title != TITLES[0], name=title)],
            aspect=1.0,
            has_grid=False,
        )
        for title, shades, values in parts
    ]


def _median_of_others(cosines: Float64[np.ndarray, "n n"]) -> float:
    return float(np.median(cosines[~np.eye(len(cosines), dtype=bool)]))


def _state(matrix: Float64[np.ndarray, "n n"], scale: float) -> Statement:
    from scipy.special import softmax

    n = len(matrix)
    diagonal, rest = float(np.diag(matrix).mean()), float((matrix.sum() - np.trace(matrix)) / (n * n - n))
    off_diagonal = np.where(np.eye(n, dtype=bool), -np.inf, matrix)
    lit = int((np.diag(matrix) > off_diagonal.max(axis=1)).sum())
    by_row, by_column = (fmt.percent(float(np.diag(softmax(scale * matrix, axis=axis)).mean())) for axis in (1, 0))
    return Statement(
        subject="Rows in which the true pair, on the diagonal, has the highest cosine",
        value=f"{lit} of {n}",
        reading=(
            f"{n} pairs: median {fmt.number(_median_of_others(matrix), 'cosine')}, highest"
            f" {fmt.number(float(matrix.max()), 'cosine')}, logit scale {fmt.significant(scale)}. The mean cosine of"
            f" the pairs is {fmt.number(diagonal, 'cosine')}, of all others {fmt.number(rest, 'cosine')}. The mean"
            f" softmax of the true pair is {by_row} % by row and {by_column} % by column."
        ),
    )


CONE, DRAWN_BY_PAIR, BY_DIRECTION = "cone", ("gap", "pair_cosine", "separability"), "recall@1"
MAX_BOUNDED, MAX_WRITTEN = 3, 6
"""Modalities up to which the cells have their intervals, and their values, written in them."""
MOST_LETTERS = 26
"""Total characters of names up to which they are next to each other below a matrix."""
NAME_LENGTH = 14
FULL = 0.44
"""Darkest shade on which words are legible on a light and on a dark page."""


class Matrix(NamedTuple):
    """One measure of every two modalities, or models, a row and a column for each."""

    title: str
    metrics: Mapping[tuple[int, int], Metric]
    """By row and column. A missing or undefined metric leaves its cell blank."""
    depth: Callable[[float], float]
    """From a value to its shade, 0 to 1."""


def modality_matrices(models: Models) -> Chart:
    """Return gap, cosines, recall@1 and separability of every two modalities, a matrix each."""
    by_model = read_each(models, metrics_of)
    bounded = ""
    if any(len(modalities(metrics)) <= MAX_BOUNDED for metrics in by_model.all):
        bounded = " Brackets, where they fit, hold separate 95 % intervals: about one in twenty misses the true value."
    panels = by_model.map(lambda metrics: matrix_panels(_with_spaces(modalities(metrics)), _matrices(metrics)))
    return chart(
        [side_by_side(panels, keys=_TITLES)],
        by_model.map(_state_modalities),
        n_columns=2,
        reading=(
            "Gap: the distance between the mean vectors of two modalities. Cosines: the mean of matched pairs, and"
            " on the diagonal the mean of two different items of the modality. R@1: the fraction of the row’s items"
            " whose partner in the column comes first. "
            "Separability: the accuracy of a linear classifier that separates the two, 50 % by chance."
        )
        + bounded,
    )


def modalities(metrics: Mapping[str, Metric]) -> list[str]:
    """Return the names of the modalities that an evaluation has metrics of."""
    return [subset_of(name) for name in metrics if is_in_subset(name, CONE)]


def metrics_of(evidence: Evidence) -> Mapping[str, Metric]:
    """Return the metrics of an evaluation of two modalities or more.

    Raises:
        MissingEvidence: it has none.
    """
    metrics = evidence.evaluation.metrics
    if len(modalities(metrics)) < 2:
        raise MissingEvidence("the run has no metrics of two modalities")
    return metrics


def _with_spaces(names: Sequence[str]) -> list[str]:
    return [name.replace("_", " ") for name in names]


def _matrices(metrics: Mapping[str, Metric]) -> list[Matrix]:
    names = modalities(metrics)

    def of_pairs(kind: str) -> dict[tuple[int, int], Metric]:
        pair_metrics: dict[tuple[int, int], Metric] = {}
        for row, first in enumerate(names):
            for column in range(row + 1, len(names)):
                metric = metrics.get(f"{first}-{names[column]}/{kind}")
                pair_metrics |= {} if metric is None else {(row, column): metric, (column, row): metric}
        return pair_metrics

    cones = {(row, row): metrics[f"{name}/{CONE}"] for row, name in enumerate(names)}
    directed = {
        (row, column): metrics[key]
        for row, source in enumerate(names)
        for column, target in enumerate(names)
        if (key := f"{source}-to-{target}/{BY_DIRECTION}") in metrics
    }
    gap, cosine, separability = map(of_pairs, DRAWN_BY_PAIR)
    return [
        Matrix(_TITLES[0], gap, lambda value: value / 2),
        Matrix(_TITLES[1], cosine | cones, lambda value: value),
        Matrix(_TITLES[2], directed, lambda value: value**0.5),
        Matrix(_TITLES[3], separability, lambda value: 2 * value - 1),
    ]


_TITLES = ("Gap", "Cosine", "R@1, %", "Separability, %")


def matrix_panels(names: Sequence[str], matrices: Sequence[Matrix]) -> list[Panel]:
    """Return a panel for each matrix, with the same names for its rows and its columns."""
    words = [shorten(name, NAME_LENGTH) for name in names]
    n, ticks = len(names), [index + 0.5 for index in range(len(names))]
    is_turned = sum(map(len, words)) > MOST_LETTERS
    return [
        Panel(
            title=matrix.title,
            x=Axis(low=0, high=n, ticks=ticks, names=words, is_turned=is_turned),
            y=Axis(low=n, high=0, ticks=ticks, names=words),
            marks=[_cells(matrix, words)],
            aspect=0.8,
            has_grid=False,
        )
        for matrix in matrices
    ]


def _cells(matrix: Matrix, names: Sequence[str]) -> Cells:
    n = len(names)
    values, depths = np.full((n, n), np.nan), np.zeros((n, n))
    written = []
    for (row, column), metric in matrix.metrics.items():
        if metric.value is None:
            continue
        values[row, column] = metric.value
        depths[row, column] = FULL * min(1.0, max(0.0, matrix.depth(metric.value)))
        written += [(row, column, _cell_words(metric, has_bounds=n <= MAX_BOUNDED))] if n <= MAX_WRITTEN else []
    is_percent = matrix.title.endswith("%")
    return Cells(
        depths=depths, values=values, is_percent=is_percent, names=(names, names), words=written, name=matrix.title
    )


def _cell_words(metric: Metric, *, has_bounds: bool) -> str:
    """Return a value as it fits into a cell, and its interval on a second line."""
    value, low, high = (
        "" if bound is None else fmt.percent(bound) if metric.unit == "fraction" else f"{bound:.2f}".replace("-", "−")
        for bound in (metric.value, metric.low, metric.high)
    )
    return f"{value}\n[{low}, {high}]" if has_bounds and low and high else value


def _state_modalities(metrics: Mapping[str, Metric]) -> Statement:
    names = modalities(metrics)
    gaps = [metric.value for name, metric in metrics.items() if is_in_subset(name, "gap") and metric.value is not None]
    recall = metrics.get("mean_recall@1")
    mean_recall = "" if recall is None or recall.value is None else f"{fmt.percent(recall.value)} %"
    values = [mean_recall] if mean_recall else []
    if gaps:
        ends = dict.fromkeys(fmt.number(gap, "distance") for gap in (min(gaps), max(gaps)))
        recalls = [f"mean R@1 over all directions {value}" for value in values]
        values = [f"{'gaps' if len(gaps) > 1 else 'a gap'} of {' to '.join(ends)}", *recalls]
    return Statement(
        subject=modality_list(paired_modalities(names, metrics)), value="; ".join(values) or "no pairs, no gap"
    )


def paired_modalities(names: Sequence[str], metrics: Mapping[str, Metric]) -> list[str]:
    """Return the modalities with a gap to another one, so with partners, or all if no modality has one."""
    with_gap = {
        subset_of(name) for name, metric in metrics.items() if is_in_subset(name, "gap") and metric.value is not None
    }
    pairs = [(first, second) for first in names for second in names if f"{first}-{second}" in with_gap]
    return [name for name in names if any(name in pair for pair in pairs)] or list(names)


def modality_list(names: Sequence[str]) -> str:
    """Return the names of modalities as the beginning of a sentence."""
    return sentence_case(fmt.listed(_with_spaces(names)))


def representational_similarity(comparison: SimilarityMatrix, names: Sequence[str]) -> Chart:
    """Return a matrix of mutual k-NN and one of CKA, of images and of texts, with a row and a column for each model."""
    return Chart(
        title=_title(comparison),
        panels=matrix_panels(names, [_matrix(comparison, *panel_spec) for panel_spec in MATRICES]),
        n_columns=2,
        reading=" ".join(_reading(comparison)),
    )


NOUNS = {"image": "images", "text": "texts"}
MATRICES = [
    (measure, modality, f"{title} of {noun}{unit}")
    for measure, title, unit in (("mutual_knn", "k-NN", ", %"), ("cka", "CKA", ""))
    for modality, noun in NOUNS.items()
]
"""Measure, modality and title of each panel."""


def _matrix(comparison: SimilarityMatrix, measure: str, modality: str, title: str) -> Matrix:
    cells = {
        position: similarity.measures[measure]
        for (row, column), similarities in comparison.by_pair.items()
        for similarity in similarities
        if similarity.modality == modality
        for position in ((row, column), (column, row))
    }
    unit = next(iter(cells.values())).unit
    diagonal = {(row, row): Metric(value=1.0, unit=unit) for row in range(len(comparison.labels))}
    return Matrix(title, cells | diagonal, lambda value: value)


def _title(comparison: SimilarityMatrix) -> str:
    """Return the range of the mutual k-NN of images, and of texts, in a sentence, without undefined values."""
    ranges = []
    for modality, noun in NOUNS.items():
        values = [
            similarity.mutual_knn.value
            for similarities in comparison.by_pair.values()
            for similarity in similarities
            if similarity.modality == modality and similarity.mutual_knn.value is not None
        ]
        if values:
            ends = dict.fromkeys(f"{fmt.percent(end)} %" for end in (min(values), max(values)))
            ranges.append(f"{' to '.join(ends)} of the nearest {noun}")
    if not ranges:
        return "Mutual k-NN of the models is undefined."
    return f"{'The two' if len(comparison.labels) == 2 else 'Pairs of'} models share {' and '.join(ranges)}."


def _reading(comparison: SimilarityMatrix) -> list[str]:
    chance = K / (comparison.n - 1)
    sentences = [
        f"Each cell compares two models on the same {fmt.counted(comparison.n, 'pair')} of {comparison.evaluation}.",
        (
            f"Mutual k-NN: mean fraction of an item’s {K} nearest that are the same in both, "
            f"{fmt.percent(chance)} % by chance."
        ),
        (
            "CKA (debiased): correlation of all centred dot products, "
            "0 by chance, 1 for the same up to rotation and scale."
        ),
        "Alike is not better.",
    ]
    sentences += ["Brackets, where they fit, hold 95 % intervals."] if len(comparison.labels) <= MAX_BOUNDED else []
    return [*sentences, *(f"Not drawn: {reason}." for reason in comparison.left_out)]
