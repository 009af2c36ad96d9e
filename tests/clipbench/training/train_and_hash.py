"""A program for a test: trains on some data and prints hashes of the vocabulary, the weights and the state of the
optimiser.
"""

import hashlib
import sys
from pathlib import Path

from clipbench.training.clip import config
from clipbench.training.clip.config import ClipConfig, Tower
from clipbench.training.options import TrainOptions
from clipbench.training.train import train

SMALL = ClipConfig(
    embed_dim=8,
    image_size=64,
    patch_size=32,
    vision=Tower(width=16, layers=1, heads=1),
    text=Tower(width=16, layers=1, heads=1),
    vocab_size=640,
    context_length=12,
)


def main() -> None:
    config.CONFIGS["small-enough"] = SMALL
    data, out = sys.argv[1], Path(sys.argv[2])
    folder = train(TrainOptions(data=data, out=out, arch="small-enough", steps=2, batch_size=8, device="cpu", seed=3))
    for path in sorted(folder.glob("*")):
        if path.name == "tokenizer.json" or path.suffix == ".safetensors":
            print(path.name, hashlib.sha256(path.read_bytes()).hexdigest())


if __name__ == "__main__":
    main()
