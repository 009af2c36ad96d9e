"""Pairings that fit better than the given one are found, also where neighbours look alike."""

import numpy as np
import pytest

from clipbench import doctor, vectors

N, DIM = 64, 32


def sorted_vectors(shift: int) -> tuple[np.ndarray, np.ndarray]:
    """Return vectors of images and texts in groups of eight that look alike, the texts moved by some rows."""
    rng = np.random.default_rng(0)
    group = np.repeat(rng.standard_normal((N // 8, DIM)), 8, axis=0)
    meaning = group + rng.standard_normal((N, DIM))
    images, texts = (meaning + 0.3 * rng.standard_normal((N, DIM)) for _ in range(2))
    return images.astype(np.float32), np.roll(texts, shift, axis=0).astype(np.float32)


@pytest.mark.parametrize(
    ("shift", "words"),
    [(0, None), (1, "the text of each image is 1 row below it"), (-3, "the text of each image is 3 rows above it")],
)
def test_shifted_rows_of_sorted_data_are_named(shift: int, words: str | None) -> None:
    images, texts = sorted_vectors(shift)
    (pairs,) = (finding for finding in doctor(vectors(images=images, texts=texts)).findings if finding.check == "pairs")
    assert pairs.status == ("ok" if words is None else "fault")
    assert words is None or words in pairs.seen
