import numpy as np
import pytest
import torch

from clipbench.training.batches import Batch
from clipbench.training.clip.config import ClipConfig
from clipbench.training.clip.model import CLIP
from clipbench.training.step import Towers, measure, unit_vectors
from tests.clipbench.training.test_monitor import naive

N = 70


@pytest.fixture
def towers(micro: ClipConfig) -> Towers:
    torch.manual_seed(0)
    return Towers(model=CLIP(micro.for_siglip()), device=torch.device("cpu"))


def pairs(n: int, *, captions: int) -> Batch:
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (n, 3, 16, 16), dtype=torch.uint8, generator=generator)
    tokens = torch.randint(1, 500, (captions, 12), generator=generator)[torch.arange(n) % captions]
    tokens[:, 11] = 559
    return Batch(pixels, tokens)


def test_measurements_equal_a_naive_computation(towers: Towers) -> None:
    batch = pairs(N, captions=N)
    images, texts = (side.astype(np.float64) for side in unit_vectors(towers, batch))
    record = measure(towers, batch)
    expected = {
        **naive(images, texts),
        "image_effective_rank": _effective_rank(images),
        "text_effective_rank": _effective_rank(texts),
        "image_duplicates": 0,
        "text_duplicates": 0,
        "n_distinct_images": N,
        "n_distinct_texts": N,
        "non_finite": 0,
        "temperature": 0.1,
        "logit_bias": -10,
    }
    assert record.keys() == expected.keys()
    for name, value in expected.items():
        assert record[name] == pytest.approx(value, rel=1e-5, abs=1e-6), name


def _effective_rank(vectors: np.ndarray) -> float:
    singular = np.linalg.svd(vectors - vectors.mean(axis=0), compute_uv=False)
    p = singular[singular > 1e-9] / singular.sum()
    return float(np.exp(-(p * np.log(p)).sum()))


def test_equal_captions_score_what_a_random_choice_would(towers: Towers) -> None:
    record = measure(towers, pairs(N, captions=1))
    assert record["text_retrieval_recall@1"] == pytest.approx(1 / N)
    assert record["image_retrieval_recall@1"] == pytest.approx(1 / N)


def test_vectors_are_those_of_the_model_one_by_one(towers: Towers) -> None:
    batch = pairs(3, captions=3)
    images, texts = unit_vectors(towers, batch)
    for row in range(3):
        vectors = unit_vectors(towers, Batch(batch.pixels[row : row + 1], batch.tokens[row : row + 1]))
        np.testing.assert_allclose(images[row], vectors[0][0], atol=1e-6)
        np.testing.assert_allclose(texts[row], vectors[1][0], atol=1e-6)
