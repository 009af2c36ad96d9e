"""Kill `clipbench run` with SIGKILL at random moments, then let it finish: `kill_driver.py DATA OUT SEED KILLS`.

Everything is imported before the first fork, so that the kills fall into the encoding and not into the imports.
"""

import os
import random
import signal
import sys
import time
from pathlib import Path

import numpy as np
import torch.utils.data  # noqa: F401  imported here, so that no child has to

import clipbench.models.embedder
from clipbench.cli import main
from clipbench.testing import ToyModel

clipbench.models.embedder.COMMIT_VECTORS = 8


class Slow(ToyModel):
    """Takes long enough to be killed in the middle."""

    def encode_images(self, images: list) -> np.ndarray:  # type: ignore[type-arg, override]
        time.sleep(0.02)
        return super().encode_images(images)

    def encode_texts(self, texts: list) -> np.ndarray:  # type: ignore[type-arg, override]
        time.sleep(0.02)
        return super().encode_texts(texts)


def make() -> Slow:
    return Slow()


def run(data: str, out: Path) -> None:
    tasks = ",".join(f"{task}@{data}" for task in ("retrieval", "zero-shot", "modality-gap"))
    options = ["--batch-size", "4", "--workers", "0", "--quiet", "--no-report", "--thumbnails", "0"]
    main(["run", "--model", "python:kill_driver:make", "--tasks", tasks, "--out", str(out), *options])


if __name__ == "__main__":
    data, out, seed, kills = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
    moments = random.Random(seed)
    sys.path.insert(0, str(Path(__file__).parent))
    done = 0
    for _ in range(kills):
        child = os.fork()
        if child == 0:
            run(data, out)
        time.sleep(moments.uniform(0.05, 0.6))
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        done += os.WIFSIGNALED(status)
        stored = len(list(Path(os.environ["CLIPBENCH_CACHE"]).rglob("*.vectors")))
        print(f"killed: {os.WIFSIGNALED(status)}, chunks in the store: {stored}", flush=True)
    print(f"{done} of {kills} kills hit a running process")
    run(data, out)
