"""Fine-tune the bundled model with and without yellow objects, and let `clipbench explain` look for the difference.

    python experiments/explain_forgotten.py --out runs/forgotten            # ten seeds, an hour on two cores
    python experiments/explain_forgotten.py --out runs/forgotten --seeds 1 --steps 20

For each seed three models start from `tiny` and train as long: two on the same scenes in another order (the base and
its twin), one without the captions that have the word. All seeds are fixed beforehand. A line of the log has what is
claimed of the candidate and of the twin, and for each claim the change on fresh scenes.
"""

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

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


class Pairs:
    """Scenes as pixels, with their captions."""

    def __init__(self, images: Sequence[np.ndarray], captions: Sequence[str], ids: Sequence[str]) -> None:
        self.pixels = torch.from_numpy(np.stack(images))
        self.captions, self.ids = list(captions), list(ids)

    def take(self, rows: np.ndarray) -> "Pairs":
        part = Pairs.__new__(Pairs)
        part.pixels = self.pixels[torch.from_numpy(rows)]
        part.captions, part.ids = [self.captions[row] for row in rows], [self.ids[row] for row in rows]
        return part


def training_pairs(n: int, side: int, square: ClipPreprocess) -> Pairs:
    drawn = [training_pair(FIRST + index) for index in range(n)]
    images = [square.square(draw(scene, side)) for scene, _ in drawn]
    return Pairs(images, [caption.text for _, caption in drawn], [str(index) for index in range(n)])


def held_out_pairs(n: int, side: int, square: ClipPreprocess, seed: int) -> Pairs:
    dataset = scenes_dataset("pairs", split="test", n=n, size=side, seed=seed)
    assert dataset.captions is not None
    return Pairs([square.square(image.open()) for image in dataset.images], dataset.captions, dataset.image_ids)


def fine_tuned(pairs: Pairs, steps: int, batch: int, seed: int) -> tuple[CLIP, ClipTokenizer]:
    """Return the bundled model after some steps on pairs, in an order of the seed."""
    module, tokenizer = load_model(SHIPPED["tiny"])
    module.train()
    optimizer = torch.optim.AdamW(module.parameters(), lr=3e-4, weight_decay=0.1)
    rng = np.random.default_rng(seed)
    tokens = torch.from_numpy(tokenizer.encode(pairs.captions))
    for step in range(steps):
        rows = torch.from_numpy(rng.choice(len(pairs.captions), batch, replace=False))
        for group in optimizer.param_groups:
            group["lr"] = 3e-4 * min(1.0, (step + 1) / 10) * (1 - step / steps)
        images = torch.nn.functional.normalize(module.encode_image(normalised(pairs.pixels[rows], module)), dim=-1)
        texts = torch.nn.functional.normalize(module.encode_text(tokens[rows]), dim=-1)
        loss = clip_loss(images, texts, module.logit_scale.exp())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return module.eval(), tokenizer


def normalised(pixels: torch.Tensor, module: CLIP) -> torch.Tensor:
    mean, std = (torch.tensor(values)[:, None, None] for values in (module.config.mean, module.config.std))
    return (pixels.float() / 255 - mean) / std


def measured(model: tuple[CLIP, ClipTokenizer], pairs: Pairs, name: str, folder: Path) -> "cb.Run":
    """Return a run of text-to-image retrieval among the pairs."""
    module, tokenizer = model
    with torch.inference_mode():
        images = torch.cat([module.encode_image(normalised(part, module)) for part in pairs.pixels.split(256)])
        tokens = torch.from_numpy(tokenizer.encode(pairs.captions))
        texts = torch.cat([module.encode_text(part) for part in tokens.split(256)])
    vectors = cb.vectors(
        images=images.numpy(), texts=texts.numpy(), text_ids=pairs.captions, image_ids=pairs.ids, name=name
    )
    return cb.run(vectors, "retrieval").save(folder)


def check(claims: Sequence[cb.Claim], base: "cb.Run", candidate: "cb.Run") -> list[dict[str, object]]:
    """Return each claim of words with its change on fresh scenes, and whether it is so there."""
    column = "image_retrieval_recall@1"
    before, after = (
        run.samples("retrieval").dropna(subset=[column]).set_index("sample_id") for run in (base, candidate)
    )
    change = after[column] - before[column].loc[after.index]
    checked: list[dict[str, object]] = []
    for claim in claims:
        has_word = (
            after["caption"].str.lower().str.contains(rf"\b{claim.slice.split(chr(34))[1]}\b")
            if '"' in claim.slice
            else None
        )
        if has_word is None:
            checked.append({"claim": claim.slice, "kind": claim.claim, "fresh": None})
            continue
        here, elsewhere = float(change[has_word].mean()), float(change[~has_word].mean())
        difference = here - elsewhere if claim.claim.endswith("elsewhere") else here
        is_so = difference < 0 if claim.claim.startswith("worse") else difference > 0
        checked.append(
            {
                "claim": claim.slice,
                "kind": claim.claim,
                "difference": claim.difference,
                "fresh": here,
                "fresh elsewhere": elsewhere,
                "is so": is_so,
            }
        )
    return checked


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--pool", type=int, default=4_000, help="training scenes")
    parser.add_argument("--test", type=int, default=1_500, help="scenes that are explained")
    parser.add_argument("--fresh", type=int, default=20_000, help="other scenes that claims are checked on")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    module, _ = load_model(SHIPPED["tiny"])
    square, side = ClipPreprocess(module.config), module.config.image_size
    start = time.perf_counter()
    pool = training_pairs(arguments.pool, side, square)
    test, fresh = (held_out_pairs(n, side, square, seed) for n, seed in ((arguments.test, 5), (arguments.fresh, 6)))
    rows = np.array([WORD not in caption.lower() for caption in pool.captions])
    print(
        f"{rows.mean():.1%} of the captions are without {WORD}; drawn in {time.perf_counter() - start:.0f} s",
        flush=True,
    )
    for seed in range(arguments.first_seed, arguments.first_seed + arguments.seeds):
        start = time.perf_counter()
        trainings = {
            "base": (pool, 100 + seed),
            "twin": (pool, 200 + seed),
            "candidate": (pool.take(np.flatnonzero(rows)), 100 + seed),
        }
        runs = {}
        for name, (pairs, order) in trainings.items():
            model = fine_tuned(pairs, arguments.steps, arguments.batch, order)
            for part, of in (("test", test), ("fresh", fresh)):
                runs[name, part] = measured(model, of, f"{name}-{seed}", arguments.out / f"{seed}-{name}-{part}")
        line: dict[str, object] = {"seed": seed}
        for name in ("candidate", "twin"):
            explanation = cb.explain(runs["base", "test"], runs[name, "test"])
            line[name] = {
                "base": explanation.base_value,
                "value": explanation.candidate_value,
                "p uneven": explanation.uneven.p,
                "claims": check(explanation.claims, runs["base", "fresh"], runs[name, "fresh"]),
                "names it": any(WORD in claim.slice for claim in explanation.losses),
            }
        line["seconds"] = round(time.perf_counter() - start)
        print(json.dumps(line), flush=True)
        with (arguments.out / "log.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    main()
