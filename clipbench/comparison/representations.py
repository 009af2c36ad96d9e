"""Do two models see the same data alike? Mutual k-NN and CKA of the vectors that their runs kept, images and texts
apart.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float32

from clipbench.comparison.align import EvaluationPair
from clipbench.comparison.records import RepresentationalSimilarity
from clipbench.errors import ClipbenchError, UsageError, option
from clipbench.metrics.geometry import Estimate
from clipbench.metrics.similarity import unit
from clipbench.metrics.structure import cka, shared_neighbours
from clipbench.results.matching import check_same, match
from clipbench.results.numbers import percent
from clipbench.results.record import EvaluationRecord, Metric
from clipbench.results.run import Run, labels
from clipbench.seeding import generator
from clipbench.stats.intervals import Interval, cka_interval, shared_neighbours_interval
from clipbench.untrusted.reading import is_file

K = 10
"""Neighbours of the mutual k-NN, as in Huh et al. 2024."""
LEAST_PAIRS, MOST_PAIRS = K + 2, 1_000
"""Pairs that are needed, and a seeded sample of more: both measures cost n²."""
MOST_CHANCE = 0.25
"""Mutual k-NN of unrelated models from which on there is no interval: leaving one pair out hardly moves the value
then.
"""

SAME, ROUNDED = 1e-5, 2e-4
"""Distances of a cosine from 1 up to which vectors are the same, and up to which rounding to 16 bits explains it."""
LEAST_SAME = 0.05
"""Fraction of vectors that must be the same for two models to be one, unless all others differ by rounding only."""

Vectors = Float32[np.ndarray, "_ _"]
Modality = Literal["image", "text"]
PairVectors = Mapping[Modality, Vectors]
"""The vectors of pairs by their modality, a row per pair."""
ARRAYS: Mapping[Modality, str] = {"image": "images", "text": "texts"}
"""The array that holds the vectors of a modality."""
PAIR_ARRAYS = (*ARRAYS.values(), "pair_id")
"""Arrays of an evaluation that keeps the vectors of pairs."""


class KeptPairs(NamedTuple):
    """The vectors of the pairs that a run kept."""

    row: Mapping[str, int]
    """The row of each pair, by its id."""
    vectors: PairVectors


@dataclass(frozen=True, kw_only=True)
class SimilarityMatrix:
    """The representational similarity of every two of several models, on the pairs that all runs kept."""

    runs: Sequence[Run]
    labels: Sequence[str]
    evaluation: str
    n: int
    """Pairs."""
    by_pair: Mapping[tuple[int, int], Sequence[RepresentationalSimilarity]]
    """By the indices of two models, the lower one first."""
    left_out: Sequence[str]
    """Runs without vectors, each with its reason."""


def representational_similarity(
    base: Run, candidate: Run, pairs: Sequence[EvaluationPair]
) -> tuple[list[RepresentationalSimilarity], list[str]]:
    """Return how alike two models arrange the images, and the texts, of the pairs that both runs kept, paired by id.

    Args:
        pairs: evaluations of both runs. Those that keep no pairs, or are not of the same samples, are skipped.

    Returns:
        The similarity by data set and modality, and a line for each evaluation without it.
    """
    similarities: list[RepresentationalSimilarity] = []
    notes = []
    for pair in pairs:
        if not keeps_pairs(pair.base) or not match(*pair).is_same:
            continue
        try:
            one, other = _common_vectors([kept_pairs(base, pair.base), kept_pairs(candidate, pair.candidate)])
            similarities += _pair_similarity(one, other, pair.name)
        except ClipbenchError as error:
            notes.append(f"{pair.name}: mutual k-NN and CKA of the two models are not computed: {error}")
    return similarities, notes


def other_vectors_notes(base: Run, candidate: Run, pairs: Sequence[EvaluationPair]) -> list[str]:
    """Return a line if two references look like one model whose vectors are not the same, none otherwise.

    One model by two references has vectors that partly agree to rounding, or that all differ by rounding only. Weights
    that were trained further move all vectors, and by more.

    Args:
        pairs: evaluations of both runs. Those that keep no vectors of pairs are skipped.
    """
    references = [run.result.model.get("ref") for run in (base, candidate)]
    if None in references or references[0] == references[1]:
        return []
    for pair in pairs:
        if not (keeps_pairs(pair.base) and keeps_pairs(pair.candidate)) or not match(*pair).is_same:
            continue
        try:
            one, other = _common_vectors([kept_pairs(base, pair.base), kept_pairs(candidate, pair.candidate)])
        except ClipbenchError:  # mutual k-NN and CKA, which need the same vectors, say why
            continue
        differing = [
            text for modality, noun in ARRAYS.items() if (text := _other_vectors(one[modality], other[modality], noun))
        ]
        if differing:
            command = f"`clipbench doctor --model {references[0]} --against {references[1]}`"
            if any(str(reference).startswith("embeddings:") for reference in references):
                command = "`clipbench doctor --write-inputs DIR`"  # their vectors are of other inputs
            subject = f"{references[0]} and {references[1]} look like one model"
            return [f"{subject}, but {' and '.join(differing)} have other vectors: {command} helps to find the stage"]
    return []


def _other_vectors(one: Vectors, other: Vectors, noun: str) -> str:
    """Return how many vectors of one model differ, such as ``3 of 80 images``, empty if none do or models differ."""
    if one.shape != other.shape:
        return ""
    defects = np.linalg.norm(one.astype(np.float64) - other, axis=1) ** 2 / 2
    n_differing = int((defects > SAME).sum())
    is_one_model = n_differing < len(defects) * (1 - LEAST_SAME) or float(defects.max()) <= ROUNDED
    return f"{n_differing:,} of {len(defects):,} {noun}" if n_differing and is_one_model else ""


def similarity_matrix(runs: Sequence[Run], data: str | None = None) -> SimilarityMatrix:
    """Return the representational similarity of every two of several runs, all on the same pairs.

    Args:
        data: the data set, where runs have pairs of several.

    Raises:
        UsageError: fewer than two runs kept vectors, or a run has them of several data sets.
        ClipbenchError: runs were measured on different samples, or have too few pairs in common.
    """
    runs_with_pairs: list[tuple[str, Run, EvaluationRecord, KeptPairs]] = []
    left_out = []
    for name, run in zip(labels(runs), runs, strict=True):
        try:
            record = _evaluation_with_pairs(run, data)
            runs_with_pairs.append((name, run, record, kept_pairs(run, record)))
        except UsageError:
            raise
        except ClipbenchError as error:
            left_out.append(f"{name}: {error}")
    if len(runs_with_pairs) < 2:
        reason = f" ({left_out[0]})" if left_out else ""
        raise UsageError(
            f"{len(runs_with_pairs)} of {len(runs)} runs have vectors of pairs: expected at least 2{reason}"
        )
    names, matrix_runs, records, pairs = map(list, zip(*runs_with_pairs, strict=True))
    check_same(list(zip(names, records, strict=True)), "the models did not see the same data")
    common = _common_vectors(pairs)
    evaluation = records[0].name
    by_pair = {}
    for one, other in combinations(range(len(names)), 2):
        by_pair[one, other] = _pair_similarity(common[one], common[other], evaluation)
    return SimilarityMatrix(
        runs=matrix_runs,
        labels=names,
        evaluation=evaluation,
        n=len(common[0]["image"]),
        by_pair=by_pair,
        left_out=left_out,
    )


def keeps_pairs(evaluation: EvaluationRecord) -> bool:
    """Return whether an evaluation keeps the vectors of images and of their texts."""
    return evaluation.status == "ok" and set(PAIR_ARRAYS) <= set(evaluation.vectors)


def kept_pairs(run: Run, evaluation: EvaluationRecord) -> KeptPairs:
    """Return the vectors of pairs that an evaluation kept.

    Raises:
        ClipbenchError: there are none, or they are damaged.
    """
    has_file = is_file(run.folder / evaluation.files.get("arrays", "(no arrays)"))  # a gate may keep results alone
    arrays = run.arrays(evaluation) if has_file else {}
    missing = [name for name in PAIR_ARRAYS if name not in arrays]
    if missing:
        raise ClipbenchError(
            f"{run.label} lacks the {'array' if len(missing) == 1 else 'arrays'} {', '.join(missing)}:"
            f" `clipbench run --tasks {evaluation.task}` on the same data keeps them"
        )
    ids = arrays["pair_id"].astype(str).ravel().tolist()
    vectors = {modality: arrays[name] for modality, name in ARRAYS.items()}
    is_whole = all(array.ndim == 2 and array.dtype.kind == "f" and len(array) == len(ids) for array in vectors.values())
    if not is_whole or len(set(ids)) < len(ids):
        raise ClipbenchError(
            f"{run.label} has no vector for each pair of {evaluation.name}: the run is damaged, make it again"
        )
    return KeptPairs({name: row for row, name in enumerate(ids)}, vectors)


def _evaluation_with_pairs(run: Run, data: str | None) -> EvaluationRecord:
    """Return the evaluation of a run that keeps vectors of pairs: the only one, or the one on the named data."""
    records = [record for record in run.result.evaluations if keeps_pairs(record) and data in (None, record.dataset.id)]
    names = list(dict.fromkeys(record.dataset.id for record in records))
    if len(names) > 1:
        raise UsageError(f"run {run.label} has vectors of pairs of {', '.join(names)}: choose with {option('data')}")
    if not records:
        subject, on_data = (f" of {data}", f"@{data}") if data else ("", "")
        raise ClipbenchError(
            f"no vectors of pairs{subject}: measure a task that keeps them, such as `clipbench run --tasks"
            f" modality-gap{on_data}`"
        )
    return records[0]


def _common_vectors(pairs_by_run: Sequence[KeptPairs]) -> list[PairVectors]:
    """Return the vectors of the pairs that all have, or of a seeded sample of them, in one random order.

    The order is random because ties of neighbours go to the lower row, and ids may be sorted by class.
    """
    ids = sorted(set.intersection(*(set(pairs.row) for pairs in pairs_by_run)))
    if len(ids) < LEAST_PAIRS:
        counts = ", ".join(f"{len(pairs.row):,}" for pairs in pairs_by_run)
        raise ClipbenchError(
            f"the runs have {len(ids)} pairs in common (they kept {counts}): expected at least {LEAST_PAIRS}. Runs with"
            f" the same {option('seed')} keep the same pairs, and {option('keep_arrays', True)} keeps all"
        )
    chosen = [ids[row] for row in generator(0, "representations").permutation(len(ids))[:MOST_PAIRS]]
    common: list[PairVectors] = []
    for pairs in pairs_by_run:
        rows = [pairs.row[name] for name in chosen]
        common.append({modality: unit(vectors[rows]) for modality, vectors in pairs.vectors.items()})
    return common


def _pair_similarity(base: PairVectors, candidate: PairVectors, evaluation: str) -> list[RepresentationalSimilarity]:
    similarities = []
    for modality, noun in ARRAYS.items():
        cka = _cka(base[modality], candidate[modality], noun)
        undefined = cka.reason if cka.value is None else None
        mutual_knn = _mutual_knn(base[modality], candidate[modality], noun, undefined=undefined)
        similarities.append(
            RepresentationalSimilarity(evaluation=evaluation, modality=modality, mutual_knn=mutual_knn, cka=cka)
        )
    return similarities


def _mutual_knn(base: Vectors, candidate: Vectors, noun: str, *, undefined: str | None) -> Metric:
    """Return the mutual k-NN, without a value if vectors are equal, whose neighbours are the order of their rows."""
    chance = K / (len(base) - 1)
    like = Metric(
        value=None,
        chance=chance,
        title=f"Mutual k-NN of {noun}",
        description=f"Mean fraction of the {K} nearest {noun} that are the same in both models.",
        reason=undefined,
    )
    if undefined is not None:
        return like
    estimate = shared_neighbours(base, candidate, K)
    if chance > MOST_CHANCE:
        reason = f"with {len(base)} pairs, {percent(chance)} % are neighbours by chance"
        return _with_value(like, estimate, Interval(None, None, reason))
    return _with_value(like, estimate, shared_neighbours_interval(*estimate))


def _cka(base: Vectors, candidate: Vectors, noun: str) -> Metric:
    estimate = cka(base, candidate)
    like = Metric(
        value=None,
        unit="ratio",
        chance=0.0,
        title=f"CKA of {noun}",
        description=(
            f"Correlation of the models' centred dot products of {noun}: 1 is the same up to rotation and scale."
        ),
        reason=f"all {noun} are equal in one of the models, or all but one or two",
    )
    return like if np.isnan(estimate.influence).any() else _with_value(like, estimate, cka_interval(*estimate))


def _with_value(like: Metric, estimate: Estimate, interval: Interval) -> Metric:
    low, high, method = interval
    how = {"reason": f"no interval: {method}"} if low is None else {"method": method, "reason": None}
    return replace(like, value=estimate.value, low=low, high=high, n=len(estimate.influence), **how)
