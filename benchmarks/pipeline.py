"""Images from files to stored vectors: read, hashed, decoded, preprocessed, encoded, stored, against the forward passes
alone.
"""

import multiprocessing
import tempfile
from pathlib import Path

import torch

from clipbench.data.images import FileImage
from clipbench.models.adapters.open_clip import load
from clipbench.models.encoding.embedder import StoreEmbedder
from clipbench.models.options import DEFAULT_BATCH_SIZE, LoadOptions
from clipbench.models.towers.torch_model import as_tensors
from photos import write_photos
from rows import Reach, Row, in_turns, ratio, times

ARCH, SEED = "ViT-B-32", 0
IMAGES = {"small": 8, "default": 128, "full": 2_000}
ROUNDS = {"small": 1, "default": 3, "full": 1}


def measure(size: str) -> Row:
    # A row's process is spawned, and would spawn the workers too, each of which would import torch; a command forks them.
    multiprocessing.set_start_method(multiprocessing.get_all_start_methods()[0], force=True)
    model = load(f"{ARCH}/random", LoadOptions(device="cpu", options={"seed": str(SEED)}))
    with tempfile.TemporaryDirectory() as folder:
        refs = [FileImage(path) for path in write_photos(Path(folder) / "photos", IMAGES[size])]
        steps = range(0, len(refs), DEFAULT_BATCH_SIZE)
        batches = [
            as_tensors(model.inputs_of([ref.open() for ref in refs[start : start + DEFAULT_BATCH_SIZE]]))
            for start in steps
        ]

        def whole() -> None:
            with tempfile.TemporaryDirectory(dir=folder) as store:
                StoreEmbedder(model, Path(store)).images(refs)

        def forward() -> None:
            with torch.inference_mode():
                for batch in batches:
                    model.image_tower(batch)

        timed = in_turns({"ours": whole, "bare": forward}, rounds=ROUNDS[size], warm_up=size != "full")
    of_cpu = ratio(timed["ours"], timed["bare"], of_cpu=True)
    is_judged = size != "small"
    return Row(
        what=f"{len(refs):,} JPEGs from files to stored vectors, {ARCH}",
        ours=timed["ours"],
        limit=timed["bare"],
        limit_is="forward passes over ready tensors",
        reaches=[
            Reach(
                what="times the forward passes, processor seconds of all processes",
                found=of_cpu,
                at_most=1.08,
                is_judged=is_judged,
            ),
            times("the forward passes", timed["ours"], timed["bare"], at_most=1.08, is_judged=is_judged),
        ],
    )
