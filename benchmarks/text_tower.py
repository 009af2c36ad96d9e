"""Time the prompts of zero-shot classification: `python benchmarks/text_tower.py [N_CLASSES]`.

The 80 ImageNet templates x N classes (100 unless told) through the text tower of ViT-B-32, random weights, on the CPU:
as others do it, class by class at the full 77 tokens, and as clipbench's adapter does it, sorted by length and cut to
the longest text of a batch. Prints both times, the ratio, and the largest difference between the vectors.
"""

import sys
import time
from collections.abc import Callable

import numpy as np
import open_clip
import torch

from clipbench.models._torch_model import quiet
from clipbench.models.open_clip import load
from clipbench.models.protocol import LoadOptions

ARCH, SEED = "ViT-B-32", 0


def class_by_class(prompts: list[list[str]]) -> Callable[[], np.ndarray]:
    """Return the work of encoding the prompts of one class after the other, as open_clip and CLIP_benchmark do it."""
    torch.manual_seed(SEED)
    with quiet():
        model = open_clip.create_model(ARCH).eval()
    tokenizer = open_clip.get_tokenizer(ARCH)

    def work() -> np.ndarray:
        with torch.inference_mode():
            return np.concatenate([model.encode_text(tokenizer(each)).numpy() for each in prompts])

    return work


def by_length(prompts: list[list[str]]) -> Callable[[], np.ndarray]:
    """Return the work of encoding all prompts at once with clipbench's adapter."""
    model = load(f"{ARCH}/random", LoadOptions(device="cpu", options={"seed": str(SEED)}))
    return lambda: model.encode_texts([text for each in prompts for text in each])


def timed(encode: Callable[[], np.ndarray]) -> tuple[np.ndarray, float]:
    start = time.perf_counter()
    vectors = encode()
    return vectors, time.perf_counter() - start


def main() -> None:
    n_classes = int(sys.argv[1]) if len(sys.argv) > 1 else 100
    names = open_clip.IMAGENET_CLASSNAMES[:n_classes]
    prompts = [[template(name) for template in open_clip.OPENAI_IMAGENET_TEMPLATES] for name in names]
    print(f"{ARCH}, {sum(map(len, prompts)):,} prompts of {n_classes} classes, {torch.get_num_threads()} threads")
    slow_way, fast_way = class_by_class(prompts), by_length(prompts)
    theirs, slow = timed(slow_way)
    print(f"class by class, 77 tokens  {slow:8.1f} s", flush=True)
    ours, fast = timed(fast_way)
    print(f"sorted and cut             {fast:8.1f} s")
    error = np.linalg.norm(ours - theirs, axis=1) / np.linalg.norm(theirs, axis=1)
    print(f"{slow / fast:.1f} times faster; vectors differ by at most {error.max():.1e} of their length")


if __name__ == "__main__":
    main()
