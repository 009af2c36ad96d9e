"""Measure a model with no download: scikit-learn's digits, a ViT-B-32 with random weights. Run by `make demo`.

The weights are drawn with a seed, not trained, so whatever needs text scores chance; pictures still find pictures of
the same digit, as random features keep some of what the pixels say. What there is to see is the way from a model and
pictures to numbers with intervals and a report.
"""

import argparse
import csv
import sys
from datetime import datetime
from pathlib import Path

from PIL import Image
from sklearn.datasets import load_digits

from clipbench.cli import main

NAMES = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]


def write_digits(folder: Path, per_class: int) -> Path:
    """Write the first pictures of each digit, with a caption and a label each, and return their manifest."""
    folder.mkdir(parents=True, exist_ok=True)
    digits = load_digits()
    rows = []
    for label, name in enumerate(NAMES):
        for row in (digits.target == label).nonzero()[0][:per_class]:
            pixels = (255 - digits.images[row] * 255 / 16).astype("uint8")
            file = f"{name}-{row}.png"
            Image.fromarray(pixels).resize((64, 64), Image.Resampling.BICUBIC).save(folder / file)
            rows.append({"image": file, "label": name, "caption": f"number {row} of the digits, a {name}"})
    with open(folder / "digits.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, ["image", "label", "caption"])
        writer.writeheader()
        writer.writerows(rows)
    return folder / "digits.csv"


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--limit", type=int, default=200, help="pictures to score")
    return parser.parse_args()


if __name__ == "__main__":
    limit = parse().limit
    data = write_digits(Path("runs") / "demo-data", per_class=-(-limit // len(NAMES)))
    out = Path("runs") / f"demo-{datetime.now():%Y%m%d-%H%M%S}"
    print(
        f"A ViT-B-32 with RANDOM weights on {limit} of scikit-learn's digits: expect the scores of chance.", flush=True
    )
    tasks = ",".join(f"{task}@{data}" for task in ("zero-shot", "retrieval", "modality-gap"))
    model = ["--model", "open_clip:ViT-B-32/random", "--model-option", "seed=0"]
    try:
        main(["run", *model, "--tasks", tasks, "--out", str(out)])
    except SystemExit as end:
        if not end.code:
            print(f"open {out / 'report.html'}")
        sys.exit(end.code)
