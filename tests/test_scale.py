"""Memory grows with the number of images and texts, not with its square: the peak of a whole run at two sizes.

The file is a program too, which measures one size in a process of its own: test_scale.py KIND N.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest

from tests.made import data_of
from tests.peak_memory import peak_bytes

DIM = 64
CAPTIONS = 4
"""Captions of an image."""


def encoded(n: int, folder: Path) -> None:
    """Run retrieval on so many images with captions, encoded by a model and stored."""
    from clipbench.models.encoding.embedder import StoreEmbedder
    from clipbench.testing import ToyModel

    class Quick(ToyModel):
        def encode_images(self, images: object) -> np.ndarray:
            return random_vectors(len(images))  # type: ignore[arg-type]

        def encode_texts(self, texts: object) -> np.ndarray:
            return random_vectors(len(texts))  # type: ignore[arg-type]

    names = [f"image {number}" for number in range(n)]
    data = data_of(
        names,
        captions=[f"caption {number} of an image" for number in range(CAPTIONS * n)],
        caption_image=np.repeat(np.arange(n), CAPTIONS),
    )
    run(StoreEmbedder(Quick(embed_dim=DIM), folder, workers=0), data, folder / "out")


def given(n: int, folder: Path) -> None:
    """Run retrieval on so many pairs of vectors."""
    from clipbench import vectors

    run(vectors(images=random_vectors(n), texts=random_vectors(n)), None, folder / "out")


def run(embedder: object, data: object, out: Path) -> None:
    from clipbench.evaluation.output_folders import Target, Targets
    from clipbench.evaluation.plan import RunOptions
    from clipbench.evaluation.session import Session, SessionOptions

    target = Target("many", "many", out, embedder=embedder)  # type: ignore[arg-type]
    options = SessionOptions(tasks=["retrieval"], data=data, run=RunOptions(n_thumbnails=20))  # type: ignore[arg-type]
    session = Session(options, Targets(out, [target]))
    record = session.measure(target)
    assert record.result.is_complete, record.result.evaluations[0].reason
    session.report(record)


def random_vectors(n: int) -> np.ndarray:
    return np.random.default_rng(n).standard_normal((n, DIM), np.float32)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize(
    ("kind", "n", "most"),
    [
        # Found: 20 kB an image with four captions. One byte a pair of an image and a caption would add 48 kB.
        ("encoded", 4_000, 30_000),
        # Found: 2.5 kB a pair, where blocks have their full size. One byte a pair of an image and a text would be 60 kB.
        ("given", 20_000, 5_000),
    ],
)
def test_twice_as_many_take_twice_the_memory(kind: str, n: int, most: int) -> None:
    peaks = []
    for size in (n, 2 * n):
        command = [sys.executable, __file__, kind, str(size)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=900)
        assert done.returncode == 0, done.stderr
        peaks.append(int(done.stdout))
    assert (peaks[1] - peaks[0]) / n < most, peaks


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place:
        {"encoded": encoded, "given": given}[sys.argv[1]](int(sys.argv[2]), Path(place))
    print(peak_bytes())
