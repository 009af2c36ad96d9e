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
    panels = by_model.map(lambda matrix_and_scale: _panels(*matrix_and_scale))
    return chart(
        [side_by_side(panels, keys=TITLES)],
        by_model.map(lambda matrix_and_scale: _state(*matrix_and_scale)),
        n_columns=3,
        reading=("A row is an image, a column a text. Cosines: black is the highest. Softmax: black is 1."),
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
    depths = np.zeros((n, n))
    if high > low:
        depths = np.clip((cosines - low) / (high - low), 0, 1)
    by_row = softmax(scale * cosines, axis=1)
    by_column = softmax(scale * cosines, axis=0)
    cosine_title, row_title, column_title = TITLES
    matrices = [
        Cells(depths=depths, values=cosines, name=cosine_title),
        Cells(depths=by_row, values=by_row, is_percent=True, name=row_title),
        Cells(depths=by_column, values=by_column, is_percent=True, name=column_title),
    ]
    x = Axis(low=0, high=n, ticks=[n / 2], names=["texts"])
    y = Axis(low=n, high=0, ticks=[n / 2], names=["images"])
    return [Panel(title=cells.name, x=x, y=y, marks=[cells], aspect=1.0, has_grid=False) for cells in matrices]


def _median_of_others(cosines: Float64[np.ndarray, "n n"]) -> float:
    return float(np.median(cosines[~np.eye(len(cosines), dtype=bool)]))


def _state(matrix: Float64[np.ndarray, "n n"], scale: float) -> Statement:
    from scipy.special import softmax

    n = len(matrix)
    of_pairs = np.diag(matrix)
    diagonal, rest = float(of_pairs.mean()), float((matrix.sum() - np.trace(matrix)) / (n * n - n))
    off_diagonal = np.where(np.eye(n, dtype=bool), -np.inf, matrix)
    n_highest = int((of_pairs > off_diagonal.max(axis=1)).sum())
    by_row = fmt.percent(float(np.diag(softmax(scale * matrix, axis=1)).mean()))
    by_column = fmt.percent(float(np.diag(softmax(scale * matrix, axis=0)).mean()))
    return Statement(
        subject="Rows in which the true pair, on the diagonal, has the highest cosine",
        value=f"{n_highest} of {n}",
        reading=(
            f"Mean cosine: {fmt.number(diagonal, 'cosine')} of the pairs, {fmt.number(rest, 'cosine')} of all others. "
            f"Mean softmax of the true pair: {by_row} % by row, {by_column} % by column."
        ),
    )


CONE, BY_DIRECTION = "cone", "recall@1"
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
    panels = by_model.map(lambda metrics: matrix_panels(_with_spaces(modalities(metrics)), _matrices(metrics)))
    reading = (
        "Gap: the distance between the mean vectors of two modalities. Cosines: the mean of matched pairs, and"
        " on the diagonal the mean of two different items of the modality. R@1: the fraction of the row’s items"
        " whose partner in the column comes first. "
        "Separability: the accuracy of a linear classifier that separates the two, 50 % by chance."
    )
    if any(len(modalities(metrics)) <= MAX_BOUNDED for metrics in by_model.all):
        reading += " Brackets, where they fit, hold separate 95 % intervals: about one in twenty misses the true value."
    return chart([side_by_side(panels, keys=_TITLES)], by_model.map(_state_modalities), n_columns=2, reading=reading)


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
                if metric is not None:
                    pair_metrics[row, column] = pair_metrics[column, row] = metric
        return pair_metrics

    cones = {(row, row): metrics[f"{name}/{CONE}"] for row, name in enumerate(names)}
    recalls: dict[tuple[int, int], Metric] = {}
    for row, source in enumerate(names):
        for column, target in enumerate(names):
            metric = metrics.get(f"{source}-to-{target}/{BY_DIRECTION}")
            if metric is not None:
                recalls[row, column] = metric
    gap_title, cosine_title, recall_title, separability_title = _TITLES
    # A gap is at most 2, and a separability of one half is chance. The root makes small recalls visible.
    return [
        Matrix(gap_title, of_pairs("gap"), lambda value: value / 2),
        Matrix(cosine_title, of_pairs("pair_cosine") | cones, lambda value: value),
        Matrix(recall_title, recalls, lambda value: value**0.5),
        Matrix(separability_title, of_pairs("separability"), lambda value: 2 * value - 1),
    ]


_TITLES = ("Gap", "Cosine", "R@1, %", "Separability, %")


def matrix_panels(names: Sequence[str], matrices: Sequence[Matrix]) -> list[Panel]:
    """Return a panel for each matrix, with the same names for its rows and its columns."""
    words = [shorten(name, NAME_LENGTH) for name in names]
    n = len(names)
    middles = [index + 0.5 for index in range(n)]
    x = Axis(low=0, high=n, ticks=middles, names=words, is_turned=sum(len(word) for word in words) > MOST_LETTERS)
    y = Axis(low=n, high=0, ticks=middles, names=words)
    return [
        Panel(title=matrix.title, x=x, y=y, marks=[_cells(matrix, words)], aspect=0.8, has_grid=False)
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
        if n <= MAX_WRITTEN:
            written.append((row, column, _cell_words(metric, has_bounds=n <= MAX_BOUNDED)))
    is_percent = matrix.title.endswith("%")
    return Cells(
        depths=depths, values=values, is_percent=is_percent, names=(names, names), words=written, name=matrix.title
    )


def _cell_words(metric: Metric, *, has_bounds: bool) -> str:
    """Return a value as it fits into a cell, and its interval on a second line."""
    value = _cell_number(metric.value, metric.unit)
    if not has_bounds or metric.low is None or metric.high is None:
        return value
    return f"{value}\n[{_cell_number(metric.low, metric.unit)}, {_cell_number(metric.high, metric.unit)}]"


def _cell_number(value: float | None, unit: str) -> str:
    if value is None:
        return ""
    return fmt.percent(value) if unit == "fraction" else f"{value:.2f}".replace("-", "−")


def _state_modalities(metrics: Mapping[str, Metric]) -> Statement:
    gaps = _gaps(metrics)
    recall = metrics.get("mean_recall@1")
    values = []
    if gaps:
        ends = dict.fromkeys(fmt.number(gap, "distance") for gap in (min(gaps.values()), max(gaps.values())))
        values.append(f"{'gaps' if len(gaps) > 1 else 'a gap'} of {' to '.join(ends)}")
    if recall is not None and recall.value is not None:
        mean_recall = f"{fmt.percent(recall.value)} %"
        values.append(f"mean R@1 over all directions {mean_recall}" if gaps else mean_recall)
    subject = modality_list(paired_modalities(modalities(metrics), metrics))
    return Statement(subject=subject, value="; ".join(values) or "no pairs, no gap")


def _gaps(metrics: Mapping[str, Metric]) -> dict[str, float]:
    """Return the gaps that are defined, by the two modalities."""
    gaps = {}
    for name, metric in metrics.items():
        if is_in_subset(name, "gap") and metric.value is not None:
            gaps[subset_of(name)] = metric.value
    return gaps


def paired_modalities(names: Sequence[str], metrics: Mapping[str, Metric]) -> list[str]:
    """Return the modalities with a gap to another one, so with partners, or all if no modality has one."""
    gaps = _gaps(metrics)
    with_partner: set[str] = set()
    for first in names:
        for second in names:
            if f"{first}-{second}" in gaps:
                with_partner |= {first, second}
    return [name for name in names if name in with_partner] or list(names)


def modality_list(names: Sequence[str]) -> str:
    """Return the names of modalities as the beginning of a sentence."""
    return sentence_case(fmt.listed(_with_spaces(names)))


def representational_similarity(comparison: SimilarityMatrix, names: Sequence[str]) -> Chart:
    """Return a matrix of mutual k-NN and one of CKA, of images and of texts, with a row and a column for each model."""
    matrices = []
    for modality, noun in NOUNS.items():
        matrices.append(_matrix(comparison, "mutual_knn", modality, f"k-NN of {noun}, %"))
    for modality, noun in NOUNS.items():
        matrices.append(_matrix(comparison, "cka", modality, f"CKA of {noun}"))
    return Chart(
        title=_title(comparison),
        panels=matrix_panels(names, matrices),
        n_columns=2,
        reading=" ".join(_reading(comparison)),
    )


NOUNS = {"image": "images", "text": "texts"}


def _matrix(comparison: SimilarityMatrix, measure: str, modality: str, title: str) -> Matrix:
    cells: dict[tuple[int, int], Metric] = {}
    for (row, column), similarities in comparison.by_pair.items():
        for similarity in similarities:
            if similarity.modality == modality:
                cells[row, column] = cells[column, row] = similarity.measures[measure]
    unit = next(iter(cells.values())).unit
    diagonal = {(row, row): Metric(value=1.0, unit=unit) for row in range(len(comparison.labels))}
    return Matrix(title, cells | diagonal, lambda value: value)


def _title(comparison: SimilarityMatrix) -> str:
    """Return the range of the mutual k-NN of images, and of texts, in a sentence, without undefined values."""
    ranges = []
    all_similarities = [similarity for similarities in comparison.by_pair.values() for similarity in similarities]
    for modality, noun in NOUNS.items():
        shared = [similarity.mutual_knn.value for similarity in all_similarities if similarity.modality == modality]
        values = [value for value in shared if value is not None]
        if values:
            ends = dict.fromkeys(f"{fmt.percent(end)} %" for end in (min(values), max(values)))
            ranges.append(f"{' to '.join(ends)} of the nearest {noun}")
    if not ranges:
        return "Mutual k-NN of the models is undefined."
    subject = "The two models" if len(comparison.labels) == 2 else "Pairs of models"
    return f"{subject} share {' and '.join(ranges)}."


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
    if len(comparison.labels) <= MAX_BOUNDED:
        sentences.append("Brackets, where they fit, hold 95 % intervals.")
    return [*sentences, *(f"Not drawn: {reason}." for reason in comparison.left_out)]
