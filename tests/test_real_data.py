"""The main job on real photographs: models of true size with random weights, checked against open_clip itself.

Published vectors in the ordinary run; the models, on a subset and on everything, behind the `slow` marker.
"""

import subprocess
import sys
from pathlib import Path

import numpy as np
import open_clip
import pandas
import pytest
import torch
from PIL import Image

import clipbench as cb
from clipbench.results.run import Run, read_run

DATA = Path(__file__).parents[2] / "shared" / "data"
CLOTHING = DATA / "clothing10/images/test"
CAPTIONS = DATA / "captions/manifest.jsonl"

pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason=f"needs the photographs in {DATA}")


def clipbench(*arguments: str, out: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("CLIPBENCH_CACHE", str(out.parent / "cache"))
    code = "from clipbench.cli import main; main()"
    command = [sys.executable, "-c", code, "run", *arguments, "--out", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return read_run(out)


def open_clip_scores(name: str, weights: Path | None, table: pandas.DataFrame) -> np.ndarray:
    """Return open_clip's own zero-shot logits (images x classes) for the images of a table of samples."""
    model, _, preprocess = open_clip.create_model_and_transforms(
        name, pretrained=None if weights is None else str(weights), pretrained_image=False
    )
    model.eval()
    classes = sorted(folder.name for folder in CLOTHING.iterdir())
    with torch.inference_mode():
        heads = open_clip.build_zero_shot_classifier(
            model, open_clip.get_tokenizer(name), classes, [lambda c: f"a photo of a {c}."], device="cpu"
        )
        pixels = torch.stack([preprocess(Image.open(CLOTHING / sample)) for sample in table["sample_id"]])
        images = torch.nn.functional.normalize(model.encode_image(pixels), dim=-1)
        return (model.logit_scale.exp() * images @ heads).numpy()


def check_against(table: pandas.DataFrame, logits: np.ndarray, scale: float) -> None:
    """Compare predictions, margins and confidences with open_clip's logits, to 1e-4 of a logit."""
    classes = np.array(sorted(folder.name for folder in CLOTHING.iterdir()))
    truth = table["class"].to_numpy()
    rows = np.arange(len(table))
    other_logits = logits.copy()
    other_logits[rows, truth] = -np.inf
    np.testing.assert_allclose(table["margin"] * scale, logits[rows, truth] - other_logits.max(axis=1), atol=1e-4)
    probabilities = torch.softmax(torch.from_numpy(logits.astype(np.float64)), dim=1).numpy()
    np.testing.assert_allclose(table["confidence"], probabilities.max(axis=1), atol=1e-4)
    best_two = np.sort(logits, axis=1)[:, -2:]
    clear = best_two[:, 1] - best_two[:, 0] > 1e-4
    assert clear.mean() > 0.9
    assert (table["predicted"].to_numpy() == classes[logits.argmax(axis=1)])[clear].all()


@pytest.mark.slow
@pytest.mark.parametrize("subset", [["--limit", "40"], []])
def test_vit_b_32_on_photographs_agrees_with_open_clip(
    vit_b_32_checkpoint: Path, subset: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tasks = f"zero-shot@{CLOTHING},retrieval@{CAPTIONS},modality-gap@{CAPTIONS}"
    model = ["--model", str(vit_b_32_checkpoint), "--arch", "ViT-B-32"]
    run = clipbench(*model, "--tasks", tasks, *subset, out=tmp_path / "run", monkeypatch=monkeypatch)
    zero_shot, retrieval, gap = run.result.evaluations
    table = run.samples(zero_shot)
    check_against(table, open_clip_scores("ViT-B-32", vit_b_32_checkpoint, table), run.result.model["logit_scale"])
    n = 40 if subset else 372
    assert (zero_shot.dataset.n_samples, retrieval.dataset.n_samples) == (n, 40 if subset else 669)
    assert zero_shot.metrics["acc1"].value == pytest.approx(table["acc1"].mean())
    assert gap.metrics["gap"].value is not None and gap.encoded["images"] == gap.encoded["texts"] == 0


@pytest.mark.slow
@pytest.mark.parametrize("subset", [["--limit", "10"], []])
def test_siglip_b_16_on_photographs_agrees_with_open_clip(
    siglip_b_16_folder: Path, subset: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tasks = f"zero-shot@{CLOTHING},retrieval@{CAPTIONS}"
    reference = f"local-dir:{siglip_b_16_folder}"
    run = clipbench("--model", reference, "--tasks", tasks, *subset, out=tmp_path / "run", monkeypatch=monkeypatch)
    table = run.samples(run.result.evaluations[0])
    check_against(table, open_clip_scores(reference, None, table), run.result.model["logit_scale"])
    assert run.result.model["logit_bias"] == pytest.approx(-12.5)


@pytest.mark.parametrize("name", ["features_clip", pytest.param("features_clip_random", marks=pytest.mark.slow)])
def test_published_clip_vectors_give_the_known_values(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    published_values = {
        "features_clip": {
            "image_retrieval_recall@1": 0.506, "image_retrieval_recall@5": 0.766, "image_retrieval_recall@10": 0.862,
            "text_retrieval_recall@1": 0.552, "text_retrieval_recall@5": 0.808, "text_retrieval_recall@10": 0.892,
            "gap": 0.8514, "image_cone": 0.5315, "text_cone": 0.5152, "pair_cosine": 0.3099,
        },
        "features_clip_random": {"gap": 1.1361, "image_cone": 0.6814, "text_cone": 0.6635},
    }[name]  # fmt: skip
    images, texts = np.load(DATA / f"clip_embeddings/modality_gap/{name}.npy")
    np.savez(tmp_path / "vectors.npz", images=images, texts=texts)
    reference = f"embeddings:{tmp_path / 'vectors.npz'}"
    monkeypatch.setenv("CLIPBENCH_CACHE", str(tmp_path / "cache"))
    run = cb.run(reference, ["retrieval", "modality-gap"], out=tmp_path / "run")
    values = {name: metric.value for e in run.result.evaluations for name, metric in e.metrics.items()}
    assert {name: round(float(values[name] or 0), 4) for name in published_values} == published_values


@pytest.mark.slow
def test_clip_and_its_random_weights_see_published_pairs_alike_as_loops_find() -> None:
    sides = [
        np.load(DATA / f"clip_embeddings/modality_gap/{name}.npy") for name in ("features_clip", "features_clip_random")
    ]
    runs = [cb.run(cb.vectors(images=x, texts=y, name="m"), "modality-gap") for x, y in sides]
    result = cb.compare(*runs).similarity_frame().set_index(["modality", "metric"])["value"]
    for index, modality in enumerate(("image", "text")):
        near, kernels = [], []
        for side in sides:
            kernel = side[index].astype(float) @ side[index].T.astype(float)
            np.fill_diagonal(kernel, -np.inf)
            near.append(np.argsort(-kernel, axis=1)[:, :10].tolist())
            np.fill_diagonal(kernel, 0)
            centred = kernel - kernel.sum(0) / 498 - kernel.sum(1)[:, None] / 498 + kernel.sum() / (499 * 498)
            np.fill_diagonal(centred, 0)  # U-centred, as in the unbiased distance covariance
            kernels.append(centred)
        shared = np.mean([len(set(a) & set(b)) / 10 for a, b in zip(*near, strict=True)])
        alike = (kernels[0] * kernels[1]).sum() / np.sqrt((kernels[0] ** 2).sum() * (kernels[1] ** 2).sum())
        assert result[modality, "mutual_knn"] == pytest.approx(shared)
        assert result[modality, "cka"] == pytest.approx(alike, abs=1e-5)  # the vectors are of length 1 to 1e-6
    assert result.round(4).tolist() == [0.047, 0.1057, 0.1456, 0.2127]
    assert list(cb.compare(runs[0], runs[0]).similarity_frame()["value"]) == [1.0] * 4
