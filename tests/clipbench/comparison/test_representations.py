"""Similarity of two models on the same data: pairs that are held together, and what is said where there are none."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest

import clipbench as cb
from clipbench.comparison.representations import similarity_matrix
from clipbench.errors import ClipbenchError, UsageError
from clipbench.metrics.similarity import unit
from clipbench.metrics.structure import cka, mutual_neighbours
from clipbench.results.record import DatasetRecord, Metric
from clipbench.results.run import Run, read_run, write_result
from tests.made import record_of, result_of

N = 60
COCO = DatasetRecord(id="coco", fingerprint="f", n_samples=N)
IDS = [f"pair {k}" for k in range(N)]
KEEPS = "`clipbench run --tasks modality-gap` on the same data keeps them"


def vectors(seed: int, dim: int = 8) -> dict[str, np.ndarray]:
    shared = np.random.default_rng(0).standard_normal((N, 8))
    rng = np.random.default_rng(seed)
    sides = (shared @ rng.standard_normal((8, dim)) + rng.standard_normal((N, dim)) for _ in range(2))
    return {name: unit(side.astype(np.float32)) for name, side in zip(("images", "texts"), sides, strict=True)}


def write(folder: Path, arrays: dict[str, Any] | None, rows: np.ndarray | None = None, **changes: Any) -> Run:
    """Write a run of the modality gap that kept these rows of some vectors; None: it kept no file."""
    (folder / "arrays").mkdir(parents=True)
    pandas.DataFrame({"sample_id": IDS}).to_parquet(folder / "samples.parquet", index=False)
    rows = np.arange(N) if rows is None else rows
    if arrays is not None:
        arrays_of_rows = {name: np.asarray(array)[rows] for name, array in {"pair_id": np.array(IDS), **arrays}.items()}
        np.savez(folder / "arrays/gap.npz", **arrays_of_rows)  # type: ignore[arg-type]
    facts: dict[str, Any] = {
        "task_version": 2,
        "metrics": {"gap": Metric(value=0.5, n=N, unit="distance")},
        "files": {"samples": "samples.parquet", "arrays": "arrays/gap.npz"},
        "vectors": ["images", "texts", "pair_id"],
    }
    result = result_of(record_of("modality-gap", COCO, **{**facts, **changes}), model={"ref": folder.name})
    write_result(result, folder)
    return read_run(folder)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Run]:
    folder = tmp_path_factory.mktemp("runs")
    return [write(folder / str(seed), vectors(seed, dim)) for seed, dim in ((1, 8), (2, 12), (3, 8))]


def test_images_and_texts_have_both_measures_on_the_pairs_of_both_runs(runs: list[Run]) -> None:
    comparison = cb.compare(*runs[:2])
    frame = comparison.similarity_frame().set_index(["modality", "metric"])
    for modality, name in (("image", "images"), ("text", "texts")):
        one, other = vectors(1)[name], vectors(2, 12)[name]
        assert frame.loc[(modality, "mutual_knn"), "value"] == pytest.approx(mutual_neighbours(one, other))
        assert frame.loc[(modality, "cka"), "value"] == pytest.approx(cka(one, other).value)
    assert (frame["n"] == N).all() and (frame["low"] < frame["value"]).all() and (frame["value"] < frame["high"]).all()
    assert list(frame["chance"]) == pytest.approx([10 / (N - 1), 0, 10 / (N - 1), 0])
    assert comparison.notes == [] and [difference.name for difference in comparison.differences] == ["gap"]


def test_a_model_is_exactly_like_itself_and_like_its_rotation(runs: list[Run], tmp_path: Path) -> None:
    turn = np.linalg.qr(np.random.default_rng(5).standard_normal((8, 8)))[0]
    turned = {name: (3 * side @ turn).astype(np.float32) for name, side in vectors(1).items()}
    itself, rotated = cb.compare(runs[0], runs[0]), cb.compare(runs[0], write(tmp_path / "turned", turned))
    assert list(itself.similarity_frame()["value"]) == [1.0, 1.0, 1.0, 1.0]
    assert list(rotated.similarity_frame()["value"]) == pytest.approx([1.0] * 4, abs=1e-6)
    knn = itself.representational_similarity[0].mutual_knn
    assert (knn.low, knn.reason) == (None, "no interval: no sample moves the value")


def test_pairs_are_found_by_id_and_those_that_one_run_lacks_are_left_out(runs: list[Run], tmp_path: Path) -> None:
    mixed = np.random.default_rng(0).permutation(N)
    frames = [
        cb.compare(runs[0], write(tmp_path / name, vectors(2, 12), rows)).similarity_frame()
        for name, rows in (("mixed", mixed), ("part", mixed[:40]), ("sorted", np.sort(mixed[:40])))
    ]
    assert [set(frame["n"]) for frame in frames] == [{N}, {40}, {40}]
    assert list(frames[0]["value"]) == list(cb.compare(*runs[:2]).similarity_frame()["value"])
    assert list(frames[1]["value"]) == list(frames[2]["value"])
    few = cb.compare(runs[0], write(tmp_path / "few", vectors(2), mixed[:11]))
    assert few.representational_similarity == [] and few.differences
    (note,) = few.notes
    assert (
        note
        == "modality-gap@coco: mutual k-NN and CKA of the two models are not computed: the runs have 11 pairs in common"
        " (they kept 60, 11): expected at least 12. Runs with the same seed keep the same pairs, "
        "and keep_arrays=True keeps all"
    )


def test_runs_without_vectors_compare_as_before_with_a_line(runs: list[Run], tmp_path: Path) -> None:
    result = vectors(2)
    for index, (kept, message) in enumerate(
        (
            (None, f"lacks the arrays images, texts, pair_id: {KEEPS}"),
            ({"texts": result["texts"]}, f"lacks the array images: {KEEPS}"),
            ({**result, "images": result["images"][:, 0]}, "has no vector for each pair of modality-gap@coco"),
            ({**result, "pair_id": np.array(["same"] * N)}, "has no vector for each pair of modality-gap@coco"),
            ({**result, "images": result["images"] * np.nan}, "vector 0 has length nan"),
        )
    ):
        comparison = cb.compare(runs[0], write(tmp_path / str(index), kept))
        assert comparison.representational_similarity == [] and len(comparison.differences) == 1
        (note,) = comparison.notes
        assert note.startswith("modality-gap@coco: mutual k-NN and CKA of the two models are not computed: ")
        assert message in note
        assert comparison.similarity_frame().empty


def test_a_matrix_has_every_two_runs_on_the_pairs_of_all(runs: list[Run], tmp_path: Path) -> None:
    bare = write(tmp_path / "bare", None)
    matrix = similarity_matrix([*runs, bare])
    assert list(matrix.by_pair) == [(0, 1), (0, 2), (1, 2)] and (matrix.n, matrix.labels) == (N, ["1", "2", "3"])
    assert matrix.by_pair[0, 1] == cb.compare(*runs[:2]).representational_similarity
    assert matrix.left_out == [f"bare: {bare.folder} lacks the arrays images, texts, pair_id: {KEEPS}"]
    with pytest.raises(
        UsageError, match=r"^1 of 2 runs have vectors of pairs: expected at least 2 \(bare: .* lacks the arrays"
    ):
        similarity_matrix([runs[0], bare])
    with pytest.raises(UsageError, match=r"no vectors of pairs of sea: .* `clipbench run --tasks modality-gap@sea`"):
        similarity_matrix(runs, data="sea")
    other = write(tmp_path / "other", vectors(2), dataset=DatasetRecord(id="coco", fingerprint="g"))
    with pytest.raises(ClipbenchError, match=r"^modality-gap@coco differs between 1 and other \(contents of the data"):
        similarity_matrix([runs[0], other])


@pytest.mark.parametrize("n_others", [0, 2])
def test_equal_vectors_of_a_model_have_no_similarity(tmp_path: Path, runs: list[Run], n_others: int) -> None:
    collapsed = {name: np.where(np.arange(N)[:, None] < n_others, each, each[-1:]) for name, each in vectors(1).items()}
    representational_similarity = cb.compare(
        runs[0], write(tmp_path / "collapsed", collapsed)
    ).representational_similarity
    for each in representational_similarity:
        assert each.mutual_knn.value is None and each.cka.value is None
        assert each.mutual_knn.reason == f"all {each.modality}s are equal in one of the models, or all but one or two"


def test_few_pairs_have_a_mutual_k_nn_without_an_interval(tmp_path: Path) -> None:
    few = [write(tmp_path / str(seed), vectors(seed), np.arange(30)) for seed in (1, 3)]
    for similarity in cb.compare(*few).representational_similarity:
        assert similarity.mutual_knn.value is not None and similarity.mutual_knn.low is None
        assert similarity.mutual_knn.reason == "no interval: with 30 pairs, 34.5 % are neighbours by chance"
        assert similarity.cka.low is not None


def notes_on_one_model(base: Run, candidate: Run) -> list[str]:
    return [note for note in cb.compare(base, candidate).notes if "look like one model" in note]


def test_two_references_of_one_model_with_other_vectors_are_named_in_one_line(tmp_path: Path) -> None:
    base = write(tmp_path / "hf", vectors(1))
    partly = {name: side.copy() for name, side in vectors(1).items()}
    partly["images"][:7] = np.roll(partly["images"][:7], 1, axis=0)
    (note,) = notes_on_one_model(base, write(tmp_path / "onnx", partly))
    assert note.startswith(f"hf and onnx look like one model, but 7 of {N} images have other vectors: ")
    assert "`clipbench doctor --model hf --against onnx`" in note
    noise = np.random.default_rng(5).standard_normal((2, N, 8)).astype(np.float32) * 0.003
    rounded = {name: unit(side + error) for (name, side), error in zip(vectors(1).items(), noise, strict=True)}
    (note,) = notes_on_one_model(base, write(tmp_path / "bf16", rounded))
    assert "images and " in note and "texts have other vectors" in note


def test_the_same_vectors_and_other_weights_are_no_line(tmp_path: Path) -> None:
    base = write(tmp_path / "base", vectors(1))
    assert notes_on_one_model(base, write(tmp_path / "again", vectors(1))) == []
    noise = np.random.default_rng(5).standard_normal((N, 8)).astype(np.float32) * 0.1
    tuned = {name: unit(side + noise) for name, side in vectors(1).items()}
    assert notes_on_one_model(base, write(tmp_path / "tuned", tuned)) == []
    text_only = {"images": vectors(1)["images"], "texts": tuned["texts"]}
    assert notes_on_one_model(base, write(tmp_path / "text tower only", text_only)) == []
    assert notes_on_one_model(base, write(tmp_path / "other", vectors(3))) == []
