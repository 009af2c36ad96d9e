"""Class prompts of zero-shot classification through a text tower, all sorted and cut, against class by class at 77
tokens.
"""

import numpy as np
import open_clip
import torch

import peer
from clipbench.models.adapters.open_clip import load
from clipbench.models.options import LoadOptions
from clipbench.models.towers.torch_model import quiet
from rows import Row, count, in_turns, times

ARCH, SEED = "ViT-B-32", 0
CLASSES = {"small": 1, "default": 4, "full": 1_000}
TEMPLATES = {"small": 8, "default": 80, "full": 80}


def measure(size: str) -> Row:
    names = open_clip.IMAGENET_CLASSNAMES[: CLASSES[size]]
    templates = open_clip.OPENAI_IMAGENET_TEMPLATES[: TEMPLATES[size]]
    prompts = [[template(name) for template in templates] for name in names]
    texts = [text for each in prompts for text in each]
    torch.manual_seed(SEED)
    with quiet():
        theirs = open_clip.create_model(ARCH).eval()
    tokenizer = open_clip.get_tokenizer(ARCH)
    ours = load(f"{ARCH}/random", LoadOptions(device="cpu", options={"seed": str(SEED)}))
    found: dict[str, np.ndarray] = {}

    def class_by_class() -> None:
        found["theirs"] = peer.classifier(theirs.encode_text, tokenizer, prompts).numpy()

    def by_length() -> None:
        found["ours"] = ours.encode_texts(texts)

    rounds = 2 if size == "default" else 1
    timed = in_turns({"ours": by_length, "peer": class_by_class}, rounds=rounds, warm_up=size == "small")
    vectors = found["ours"] / np.linalg.norm(found["ours"], axis=1, keepdims=True)
    means = vectors.reshape(len(prompts), len(templates), -1).mean(axis=1)
    means /= np.linalg.norm(means, axis=1, keepdims=True)
    error = float(np.linalg.norm(means - found["theirs"], axis=1).max())
    return Row(
        what=f"class prompts, {len(templates)} x {len(names):,}, {ARCH}",
        ours=timed["ours"],
        peer=timed["peer"],
        peer_is=f"class by class at 77 tokens, as {peer.NAME} does it",
        reaches=[
            times("as fast as class by class", timed["peer"], timed["ours"], at_least=8.0, is_judged=size != "small"),
            count("of their length, vectors differ at most", error, at_most=1e-5),
        ],
    )
