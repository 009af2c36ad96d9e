"""Train text towers with and without yellow objects, and let `clipbench explain` look for the difference.

    python experiments/explain_forgotten.py --out runs/forgotten            # ten seeds, an hour on one core
    python experiments/explain_forgotten.py --out runs/forgotten --seeds 1 --steps 100 --fresh 1

For each seed three text towers are trained from random weights to the image tower of `tiny`, which stays as it is: two
on the same scenes in another order (the base and its twin), one without the captions that have the word. All seeds are
fixed beforehand. A line of the log has what is claimed of the candidate and of the twin, and for each claim the change
on fresh scenes, in galleries as large as the one that is explained.
"""

import argparse
import json
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

import clipbench as cb
from clipbench.data.scenes import draw, scenes_dataset, training_pair
from clipbench.training.clip.adapter import SHIPPED
from clipbench.training.clip.checkpoint import load_model
from clipbench.training.clip.inputs import ClipPreprocess, ClipTokenizer
from clipbench.training.clip.model import CLIP
from clipbench.training.step import clip_loss

WORD = "yellow"
FIRST = 1 << 50
"""Number of the first training scene: none of these has been seen by the bundled model."""
MOST_TOKENS = 32
"""Longest caption that is trained on: the pairs that are explained have 31 tokens at most."""
RATE, WARM_UP = 1e-3, 20
METRIC = "image_retrieval_recall@1"


@dataclass(frozen=True)
class Scenes:
    """Scenes as unit vectors of the image tower, with captions and their tokens."""

    images: Tensor
    captions: Sequence[str]
    tokens: Tensor
    ids: Sequence[str]

    @classmethod
    def embedded(cls, images: Sequence[np.ndarray], captions: Sequence[str], ids: Sequence[str]) -> "Scenes":
        module, tokenizer = load_model(SHIPPED["tiny"])
        mean, std = (torch.tensor(values)[:, None, None] for values in (module.config.mean, module.config.std))
        parts = torch.from_numpy(np.stack(images)).split(256)
        with torch.inference_mode():
            vectors = torch.cat([module.encode_image((part.float() / 255 - mean) / std) for part in parts])
        return cls(normalize(vectors, dim=-1).clone(), captions, tokens_of(tokenizer, captions), ids)


def tokens_of(tokenizer: ClipTokenizer, captions: Sequence[str]) -> Tensor:
    return torch.from_numpy(tokenizer.encode(list(captions))[:, :MOST_TOKENS])


def training_scenes(n: int, side: int, square: ClipPreprocess, tokenizer: ClipTokenizer) -> Scenes:
    drawn = [training_pair(FIRST + index) for index in range(n)]
    ends = tokenizer.encode([caption.text for _, caption in drawn]).argmax(axis=1)
    kept = np.flatnonzero(ends < MOST_TOKENS)
    images = [square.square(draw(drawn[index][0], side)) for index in kept]
    return Scenes.embedded(images, [drawn[index][1].text for index in kept], [str(index) for index in kept])


def held_out_scenes(n: int, side: int, square: ClipPreprocess, seed: int) -> Scenes:
    dataset = scenes_dataset("pairs", split="test", n=n, size=side, seed=seed)
    assert dataset.captions is not None
    return Scenes.embedded(
        [square.square(image.open()) for image in dataset.images], dataset.captions, dataset.image_ids
    )


def trained(scenes: Scenes, rows: np.ndarray, steps: int, batch: int, seed: int) -> CLIP:
    """Return a model whose text tower was trained from random weights on some of the scenes."""
    torch.manual_seed(seed)
    module, _ = load_model(SHIPPED["tiny"])
    module.initialize_text_tower()
    module.visual.requires_grad_(requires_grad=False)
    weights = [weight for weight in module.train().parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=RATE, weight_decay=0.1)
    rng = np.random.default_rng(seed)
    for step in range(steps):
        of_batch = torch.from_numpy(rng.choice(rows, batch, replace=False))
        for group in optimizer.param_groups:
            group["lr"] = RATE * min(1.0, (step + 1) / WARM_UP) * (1 - step / steps)
        texts = normalize(module.encode_text(scenes.tokens[of_batch]), dim=-1)
        loss = clip_loss(scenes.images[of_batch], texts, module.logit_scale.exp())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return module.eval()


def text_vectors(module: CLIP, scenes: Scenes) -> Tensor:
    with torch.inference_mode():
        return normalize(torch.cat([module.encode_text(part) for part in scenes.tokens.split(256)]), dim=-1)


def measured(module: CLIP, scenes: Scenes, name: str, folder: Path) -> "cb.Run":
    """Return a run of retrieval among the scenes."""
    vectors = cb.vectors(
        images=scenes.images.numpy(),
        texts=text_vectors(module, scenes).numpy(),
        text_ids=list(scenes.captions),
        image_ids=list(scenes.ids),
        name=name,
    )
    return cb.run(vectors, "retrieval").save(folder)


def first_is_right(module: CLIP, scenes: Scenes, gallery: int) -> np.ndarray:
    """Return 1 where the image of a caption is nearest to it, among the scenes of its gallery."""
    pairs = zip(text_vectors(module, scenes).split(gallery), scenes.images.split(gallery), strict=True)
    return np.concatenate(
        [((texts @ images.T).argmax(dim=1) == torch.arange(len(images))).numpy() for texts, images in pairs]
    ).astype(float)


def has_samples(claimed: str, captions: Sequence[str]) -> np.ndarray:
    """Return which captions are in a group, from its name."""
    if word := re.fullmatch(r'caption has "(.+)"', claimed):
        return np.array([bool(re.search(rf"\b{re.escape(word[1])}\b", text.lower())) for text in captions])
    if length := re.fullmatch(r"caption words at (most|least) ([\d.]+)", claimed):
        n_words = np.array([len(text.split()) for text in captions])
        return n_words <= float(length[2]) if length[1] == "most" else n_words >= float(length[2])
    raise ValueError(f"no rule for the group '{claimed}'")


def checked(claims: Sequence[cb.Claim], change: np.ndarray, captions: Sequence[str]) -> list[dict[str, object]]:
    """Return each claim with the change on fresh scenes, without those of the claims before it, and whether it is so.

    Elsewhere is in no claimed group so far: next to a large loss, all other groups look better.
    """
    lines: list[dict[str, object]] = []
    is_left = np.ones(len(captions), bool)
    for claim in claims:
        is_member = has_samples(claim.slice, captions)
        here, elsewhere = float(change[is_left & is_member].mean()), float(change[is_left & ~is_member].mean())
        is_left &= ~is_member
        difference = here - elsewhere if claim.claim.endswith("elsewhere") else here
        lines.append(
            {
                "claim": claim.slice,
                "kind": claim.claim,
                "difference": claim.difference,
                "share of loss": claim.share_of_loss,
                "fresh": here,
                "fresh elsewhere": elsewhere,
                "is so": difference < 0 if claim.claim.startswith("worse") else difference > 0,
            }
        )
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--pool", type=int, default=12_000, help="training scenes")
    parser.add_argument("--test", type=int, default=1_500, help="scenes that are explained")
    parser.add_argument("--fresh", type=int, default=14, help="galleries of other scenes that claims are checked on")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    module, tokenizer = load_model(SHIPPED["tiny"])
    square, side = ClipPreprocess(module.config), module.config.image_size
    start = time.perf_counter()
    pool = training_scenes(arguments.pool, side, square, tokenizer)
    test = held_out_scenes(arguments.test, side, square, 5)
    fresh = held_out_scenes(arguments.fresh * arguments.test, side, square, 6)
    every_row = np.arange(len(pool.captions))
    without = np.flatnonzero([WORD not in caption.lower() for caption in pool.captions])
    print(
        f"{len(without) / len(every_row):.1%} of the captions are without {WORD};"
        f" drawn and embedded in {time.perf_counter() - start:.0f} s",
        flush=True,
    )
    for seed in range(arguments.first_seed, arguments.first_seed + arguments.seeds):
        start = time.perf_counter()
        trainings = {"base": (every_row, 100), "twin": (every_row, 200), "candidate": (without, 300)}
        runs, right = {}, {}
        for name, (rows, first) in trainings.items():
            module = trained(pool, rows, arguments.steps, arguments.batch, first + seed)
            runs[name] = measured(module, test, f"{name}-{seed}", arguments.out / f"{seed}-{name}")
            right[name] = first_is_right(module, fresh, arguments.test)
        line: dict[str, object] = {"seed": seed}
        for name in ("candidate", "twin"):
            explanation = cb.explain(runs["base"], runs[name], metric=METRIC)
            line[name] = {
                "base": explanation.base_value,
                "value": explanation.candidate_value,
                "p uneven": explanation.uneven.p,
                "claims": checked(explanation.claims, right[name] - right["base"], fresh.captions),
                "names it": any(WORD in claim.slice for claim in explanation.losses),
            }
        line["seconds"] = round(time.perf_counter() - start)
        print(json.dumps(line), flush=True)
        with (arguments.out / "log.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    main()
