"""Vectors on a plane, as the table of the plot ``gap`` has them: against linear algebra written out anew."""

import csv
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from clipbench.errors import ClipbenchError
from clipbench.results.run import Run
from clipbench_reports.drawing import paper
from clipbench_reports.drawing.marks import Chart
from clipbench_reports.figures import maps
from clipbench_reports.plots.plots import PlotOptions, write_plot
from tests.reports.conftest import MakeRun

Draw = Callable[..., tuple[np.ndarray, np.ndarray, str]]


@pytest.fixture
def run(make_run: MakeRun, parts: SimpleNamespace) -> Run:
    return make_run({"modality-gap@scenes": parts.modality_gap(np.random.default_rng(5), n=200)})


@pytest.fixture
def draw(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Draw:
    """Return a function that gives the places of images and of texts in the table, and the caption."""

    def save(figure: Chart, path: Path, **options: object) -> None: ...

    def call(projection: str, seed: int = 0) -> tuple[np.ndarray, np.ndarray, str]:
        monkeypatch.setattr(paper, "save", save)
        write_plot("gap", [run.folder], tmp_path / "gap.svg", PlotOptions(projection=projection, seed=seed))
        with (tmp_path / "gap.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        assert [row["id"] for row in rows] == [f"pair-{k}" for k in range(200)] * 2
        images, texts = (
            np.array([[float(row["x"]), float(row["y"])] for row in rows if row["series"] == side])
            for side in ("image", "text")
        )
        return images, texts, (tmp_path / "gap.txt").read_text()

    return call


def vectors(run: Run) -> tuple[np.ndarray, np.ndarray]:
    arrays = run.arrays(run.result.evaluations[0])
    return arrays["images"].astype(np.float64), arrays["texts"].astype(np.float64)


def up_to_sign(values: np.ndarray, expected: np.ndarray) -> bool:
    """Whether columns are equal, but for the sign of each."""
    signs = np.sign((values * expected).sum(axis=0))
    return np.allclose(values, signs * expected, atol=1e-6)


@pytest.mark.parametrize("projection", ["svd", "pca"])
def test_components_are_those_of_numpy(run: Run, draw: Draw, projection: str) -> None:
    images, texts, caption = draw(projection)
    both = np.concatenate(vectors(run))
    both = both - both.mean(axis=0) if projection == "pca" else both
    left, sizes, _ = np.linalg.svd(both, full_matrices=False)
    assert up_to_sign(np.concatenate([images, texts]), left[:, :2] * sizes[:2])
    assert f"{100 * (sizes[:2] ** 2).sum() / (sizes**2).sum():.1f} %" in caption
    assert images[:, 0].mean() < texts[:, 0].mean()


def test_along_the_gap_the_means_lie_as_far_apart_as_in_the_whole_space(run: Run, draw: Draw) -> None:
    images, texts, caption = draw("gap-axis")
    means = [[sum(vector[d] for vector in side) / len(side) for d in range(48)] for side in vectors(run)]
    gap = sum((a - b) ** 2 for a, b in zip(*means, strict=True)) ** 0.5
    assert texts[:, 0].mean() - images[:, 0].mean() == pytest.approx(gap, abs=1e-9)
    assert texts[:, 1].mean() == pytest.approx(images[:, 1].mean(), abs=1e-9)  # nothing of the gap is left
    assert f"along the gap vector: {gap:.4f}" in caption


def test_what_lies_across_the_gap_is_the_first_component_of_the_rest(run: Run, draw: Draw) -> None:
    images, texts, _ = draw("gap-axis")
    image_vectors, words = vectors(run)
    direction = words.mean(axis=0) - image_vectors.mean(axis=0)
    direction /= np.linalg.norm(direction)
    both = np.concatenate([image_vectors, words])
    rest = both - np.outer(both @ direction, direction)
    left, sizes, _ = np.linalg.svd(rest - rest.mean(axis=0), full_matrices=False)
    assert up_to_sign(np.concatenate([images, texts])[:, 1:], left[:, :1] * sizes[:1])


def test_what_draws_at_random_gets_the_seed(draw: Draw, monkeypatch: pytest.MonkeyPatch) -> None:
    seeds: list[int] = []
    pca = maps.PROJECTIONS["pca"]

    def drawing(vectors: np.ndarray, seed: int) -> object:
        seeds.append(seed)
        return pca(vectors, seed)

    monkeypatch.setitem(maps.PROJECTIONS, "pca", drawing)
    draw("pca", 3)
    assert seeds == [3]


def test_umap_of_fewer_vectors_than_neighbours_is_refused(
    make_run: MakeRun, parts: SimpleNamespace, tmp_path: Path
) -> None:
    run = make_run({"modality-gap@scenes": parts.modality_gap(np.random.default_rng(0), n=7)}, name="few")
    with pytest.raises(ClipbenchError, match=r"UMAP needs more than 15 vectors: the run kept 14$"):
        write_plot("gap", [run.folder], tmp_path / "gap.svg", PlotOptions(projection="umap"))


@pytest.mark.slow
def test_umap_is_seeded_and_its_caption_warns_of_distances(draw: Draw) -> None:
    images, texts, caption = draw("umap", 3)
    again = draw("umap", 3)
    assert (images == again[0]).all() and (texts == again[1]).all()
    assert not np.allclose(images, draw("umap", 4)[0])
    assert "15 neighbours, minimal distance 0.1, cosine, seed 3" in caption
    assert "Distances in it are not to scale" in caption
    assert np.isfinite(images).all() and np.isfinite(texts).all()
