"""Print what the quick checks before a run cost: seconds of loading, of the checks, and of encoding, by model."""

import sys
import tempfile
import time
from pathlib import Path

from clipbench.checks.examination import preflight
from clipbench.models.encoding.embedder import StoreEmbedder
from clipbench.models.encoding.loading import load_embedder
from clipbench.models.fingerprint import TEXTS, probe_images
from clipbench.models.options import LoadOptions

MODELS = ("tiny", "open_clip:ViT-B-32/random", "open_clip:ViT-L-14/random")


def main(references: tuple[str, ...]) -> None:
    """Print a line for each model."""
    for reference in references:
        with tempfile.TemporaryDirectory() as root:
            start = time.perf_counter()
            embedder = load_embedder(reference, LoadOptions(), Path(root))
            loading = time.perf_counter() - start
            assert isinstance(embedder, StoreEmbedder)
            start = time.perf_counter()
            preflight(embedder)
            checks = time.perf_counter() - start
        start = time.perf_counter()
        embedder.model.encode_images(probe_images())
        image = (time.perf_counter() - start) / 3
        start = time.perf_counter()
        embedder.model.encode_texts(list(TEXTS))
        text = (time.perf_counter() - start) / 3
        share = checks / (checks + loading + 1000 * (image + text))
        print(
            f"{reference}: loading {loading:.1f} s, checks {checks:.2f} s, an image {image:.3f} s, a text {text:.3f} s:"
            f" {100 * share:.2f} % of a run on 1,000 pairs"
        )


if __name__ == "__main__":
    main(tuple(sys.argv[1:]) or MODELS)
