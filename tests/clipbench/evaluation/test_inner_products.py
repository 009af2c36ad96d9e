"""Models that rank by the inner product: ranks of raw vectors, the Lorentz distance by the recipe of the docs, and a
reason in place of each number that is of unit vectors.
"""

import json
import re
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest
from PIL import Image

import clipbench as cb
from clipbench.comparison.formats._terminal import terminal as as_terminal
from clipbench.errors import ModelError, UsageError
from clipbench.models.adapters.python import wrap

N, DIM, CURVATURE = 40, 6, 0.7
TEMPLATES = ("a {c}", "the {c}", "one {c}")


def tangent(names: list[str]) -> np.ndarray:
    """Vectors of different lengths; the digits of a name say what it is near to."""
    rows = []
    for name in names:
        values = np.random.default_rng(zlib.crc32(name.encode())).normal(size=DIM)
        shared = np.random.default_rng(int(re.sub(r"\D", "", name) or 0) % 8).normal(size=DIM)
        rows.append((shared + values) * 0.7 * np.exp(values[0] / 2))
    return np.array(rows)


def of_images(images: list[Image.Image]) -> np.ndarray:
    return tangent([f"image {np.asarray(image)[0, 0, 0] // 6}" for image in images])


@pytest.fixture
def photos() -> pandas.DataFrame:
    images = [Image.new("RGB", (8, 8), (6 * row, 0, 0)) for row in range(N)]
    labels = [f"class {row % 8}" for row in range(N)]
    return pandas.DataFrame({"image": images, "caption": [f"thing {row}" for row in range(N)], "label": labels})


def recipe() -> Any:
    """Return the model of the recipe in docs/model-object.md."""
    page = (Path(__file__).parents[3] / "docs/model-object.md").read_text(encoding="utf-8")
    answers = re.search(r"```python\n([^`]*class Lorentz:.*?)```", page, re.DOTALL)
    assert answers is not None
    names: dict[str, Any] = {}
    exec(answers[1], names)  # noqa: S102
    return names["Lorentz"](of_images, tangent, CURVATURE)


def distances(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Geodesic distances of points given by their tangent vectors: Desai et al., MERU, ICML 2023, equations 1, 2, 4 and
    5.
    """
    lifted = []
    for v in (x, y):
        length = np.sqrt(CURVATURE) * np.linalg.norm(v, axis=1)[:, None]
        space = np.sinh(length) / length * v
        lifted.append((space, np.sqrt(1 / CURVATURE + np.sum(space**2, axis=1))))
    (x_space, x_time), (y_space, y_time) = lifted
    inner = x_space @ y_space.T - np.outer(x_time, y_time)
    return np.sqrt(1 / CURVATURE) * np.arccosh(np.maximum(-CURVATURE * inner, 1))


def ranks(scores: np.ndarray) -> list[int]:
    """The place, from 1, of each row's own column."""
    return (1 + (scores > np.diag(scores)[:, None]).sum(axis=1)).tolist()


def test_the_recipe_ranks_by_the_lorentz_distance(photos: pandas.DataFrame, tmp_path: Path) -> None:
    (tmp_path / "prompts.json").write_text(json.dumps(TEMPLATES))
    run = cb.run(recipe(), ["retrieval", "zero-shot"], data=photos, prompts=tmp_path / "prompts.json")

    images, texts = tangent([f"image {row}" for row in range(N)]), tangent(photos["caption"].tolist())
    samples = run.samples("retrieval")
    for name, near in (("text_retrieval", distances(images, texts)), ("image_retrieval", distances(texts, images))):
        assert samples.loc[samples["direction"] == name, f"{name}_rank"].tolist() == ranks(-near)
    of_images = samples[
        samples["direction"] == "image_image"
    ]  # one side of a search against the other, of one modality
    near = distances(images, images) + np.diag(np.full(N, np.inf))
    ids = of_images["image"].tolist()
    assert of_images["predicted_image"].tolist() == [ids[row] for row in near.argmin(axis=1)]
    classes = [f"class {row}" for row in range(8)]
    by_prompt = [tangent([template.format(c=name) for template in TEMPLATES]) for name in classes]
    right = distances(images, np.array([array.mean(axis=0) for array in by_prompt])).argmin(axis=1)
    assert run.samples("zero-shot")["predicted"].tolist() == [classes[row] for row in right]


def test_ranks_are_of_raw_vectors_and_the_gap_is_of_none(tmp_path: Path) -> None:
    draws = np.random.default_rng(1)
    images, texts = (draws.normal(size=(N, DIM)) * draws.lognormal(size=(N, 1)) for _ in range(2))
    np.savez(tmp_path / "dot.npz", images=images, texts=texts, similarity="dot")
    dot = cb.run(f"embeddings:{tmp_path / 'dot.npz'}", ["retrieval", "modality-gap"])
    cosine = cb.run(cb.vectors(images=images, texts=texts), ["retrieval"])

    table = dot.samples("retrieval")
    assert table.loc[table["direction"] == "text_retrieval", "text_retrieval_rank"].tolist() == ranks(images @ texts.T)
    _, gap = dot.result.evaluations
    assert gap.status == "unavailable" and "is defined only for vectors of length 1" in str(gap.reason)
    assert dot.result.model["similarity"] == "dot"
    assert "note: similarity cosine in the base, dot in the candidate" in as_terminal([cb.compare(cosine, dot)])
    assert "modality-gap" in cb.run(f"embeddings:{tmp_path / 'dot.npz'}", "all").result.left_out


def test_cosines_are_undefined_and_the_key_of_the_store_says_the_similarity(photos: pandas.DataFrame) -> None:
    lorentz, plain = recipe(), recipe()
    lorentz.fingerprint = plain.fingerprint = "same weights"
    plain.similarity = "cosine"
    result = cb.run(lorentz, ["composition"], data=photos).evaluation("composition")

    assert result.metrics["word_order_acc"].value is not None
    reason = "shuffled_cosine is defined only for vectors of length 1, and this model ranks by the inner product"
    assert str(result.metrics["shuffled_cosine"].reason).startswith(reason)
    assert len({wrap(model, "x", batch_size=4).info.fingerprint for model in (lorentz, plain)}) == 2


def test_another_similarity_is_refused_wherever_it_is_said() -> None:
    model = recipe()
    model.similarity = "l2"
    for make in (
        lambda: wrap(model, "x", batch_size=4),
        lambda: cb.vectors(images=np.eye(2), texts=np.eye(2), similarity="l2"),
    ):
        with pytest.raises(UsageError, match="says similarity = 'l2': expected 'cosine' or 'dot'"):
            make()
    model.similarity = np.inner  # a method, as objects of sentence-transformers have one
    assert wrap(model, "x", batch_size=4).info.similarity == "cosine"


def test_a_way_to_combine_prompts_must_give_one_vector(photos: pandas.DataFrame) -> None:
    model = recipe()
    model.combine_prompts = lambda vectors: vectors[:, :-1]
    with pytest.raises(ModelError, match=r"combine_prompts gave shape \(1, 1, 6\) for a batch of 1: expected \(1, 7\)"):
        cb.run(model, ["zero-shot"], data=photos)
