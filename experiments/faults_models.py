"""Two models for experiments/faults.py, which its page calls pictures and clothes. Each takes some minutes on two cores.

    python experiments/faults_models.py pictures captions.jsonl runs/pictures  # images with captions
    python experiments/faults_models.py clothes photos/ runs/clothes           # a folder per class

``pictures`` is a small convolutional network with a text tower that reads bytes and their padding, trained from nothing.
``clothes`` is ``tiny``, trained further. Both learn the data that they are measured on: the page needs models that work.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional

from clipbench import Internals, load_data
from clipbench.data import DataOptions, dataset_loading
from clipbench.models.protocol import Tokens
from clipbench.training.clip.adapter import SHIPPED
from clipbench.training.clip.checkpoint import load_model, save_model
from clipbench.training.clip.inputs import ClipPreprocess

SIDE = 64
CONTEXT = 64
DIM = 64
WEIGHTS = "weights.pt"
BATCH = 96
SHIFT = 4
"""Pixels by which an image moves at most in training."""


class Pictures(nn.Module):
    """The towers of ``pictures``."""

    def __init__(self) -> None:
        super().__init__()
        widths = (3, 32, 64, 128, 128)
        blocks = [
            nn.Sequential(nn.Conv2d(before, after, 3, stride=2, padding=1), nn.GroupNorm(8, after), nn.GELU())
            for before, after in pairwise(widths)
        ]
        self.visual = nn.Sequential(*blocks, nn.Flatten(), nn.Linear(128 * (SIDE // 16) ** 2, DIM))
        self.embedding = nn.Embedding(256, 32)
        self.text = nn.Sequential(nn.Flatten(), nn.Linear(32 * CONTEXT, 256), nn.GELU(), nn.Linear(256, DIM))

    def encode_image(self, pixels: Tensor) -> Tensor:
        """Return (n, 64) vectors of (n, 3, 64, 64) pixels."""
        return self.visual(pixels)

    def encode_text(self, ids: Tensor) -> Tensor:
        """Return (n, 64) vectors of (n, 64) bytes."""
        return self.text(self.embedding(ids))


class PicturesEncoder:
    """The object that clipbench measures, with all its parts."""

    def __init__(self, towers: Pictures) -> None:
        self.towers = towers.eval()

    def preprocess(self, image: Image.Image) -> np.ndarray:
        """Return the middle square of an image, in 64 px, as (value / 255 - .5) / .25."""
        side = min(image.size)
        left, top = (image.width - side) // 2, (image.height - side) // 2
        square = image.convert("RGB").crop((left, top, left + side, top + side))
        pixels = np.asarray(square.resize((SIDE, SIDE), Image.Resampling.BICUBIC), np.float32)
        return ((pixels / 255 - 0.5) / 0.25).transpose(2, 0, 1)

    def tokenize(self, texts: Sequence[str]) -> dict[str, np.ndarray]:
        """Return the bytes of each text, cut to 64 and padded with zeros."""
        rows = [text.encode()[:CONTEXT].ljust(CONTEXT, b"\0") for text in texts]
        return {"text": np.frombuffer(b"".join(rows), np.uint8).reshape(len(texts), CONTEXT).astype(np.int64)}

    def encode_pixels(self, pixels: np.ndarray) -> np.ndarray:
        """Return the vectors of preprocessed images."""
        with torch.inference_mode():
            return self.towers.encode_image(torch.from_numpy(np.asarray(pixels, np.float32))).numpy()

    def encode_tokens(self, tokens: Tokens) -> np.ndarray:
        """Return the vectors of tokens. Shorter rows are padded in a way that was never seen in training."""
        ids = np.asarray(tokens["text"])
        ids = np.pad(ids, ((0, 0), (0, CONTEXT - ids.shape[1])), constant_values=ord("~"))
        with torch.inference_mode():
            return self.towers.encode_text(torch.from_numpy(ids)).numpy()

    def encode_images(self, images: list[Image.Image]) -> np.ndarray:
        """Return the vectors of images."""
        return self.encode_pixels(np.stack([self.preprocess(image) for image in images]))

    def encode_texts(self, texts: list[str]) -> np.ndarray:
        """Return the vectors of texts."""
        return self.encode_tokens(self.tokenize(texts))

    def internals(self) -> Internals:
        """Return all parts."""
        return Internals(
            preprocess=self.preprocess,
            encode_pixels=self.encode_pixels,
            tokenize=self.tokenize,
            encode_tokens=self.encode_tokens,
        )


def pictures(folder: str = "runs/pictures") -> PicturesEncoder:
    """Return the trained model of pictures, for ``python:faults_models:pictures``."""
    towers = Pictures()
    towers.load_state_dict(torch.load(Path(folder) / WEIGHTS, weights_only=True))
    return PicturesEncoder(towers)


def train_pictures(data: str, out: Path, epochs: int) -> None:
    """Train the model of pictures on images with captions."""
    dataset = load_data(data)
    encoder = PicturesEncoder(Pictures())
    towers = encoder.towers.train()
    pixels = torch.from_numpy(np.stack([encoder.preprocess(ref.open()) for ref in dataset.images]))
    assert dataset.captions is not None and dataset.caption_image is not None
    ids = torch.from_numpy(encoder.tokenize(list(dataset.captions))["text"])
    pixels = pixels[dataset.caption_image]  # a row per caption
    log_scale = nn.Parameter(torch.tensor(2.5))

    def loss(rows: Tensor) -> Tensor:
        images, texts = towers.encode_image(moved(pixels[rows])), towers.encode_text(ids[rows])
        return contrastive_loss(images, texts, log_scale)

    optimize([*towers.parameters(), log_scale], loss, len(ids), epochs, rate=1e-3)
    torch.save(towers.state_dict(), out / WEIGHTS)


def train_clothes(data: str, out: Path, epochs: int) -> None:
    """Train ``tiny`` further on photographs of classes."""
    dataset = dataset_loading.load_data(data, DataOptions(form="classes"))
    towers, tokenizer = load_model(SHIPPED["tiny"])
    preprocess = ClipPreprocess(towers.config)
    pixels = torch.from_numpy(np.stack([preprocess(ref.open()) for ref in dataset.images]))
    assert dataset.labels is not None and dataset.class_names is not None
    labels = torch.from_numpy(np.asarray(dataset.labels))
    tokens = torch.from_numpy(tokenizer.encode([f"a photo of a {name}." for name in dataset.class_names]))

    def loss(rows: Tensor) -> Tensor:
        images, texts = towers.encode_image(moved(pixels[rows])), towers.encode_text(tokens)
        logits = functional.normalize(images, dim=-1) @ functional.normalize(texts, dim=-1).T
        return functional.cross_entropy(20 * logits, labels[rows])

    optimize(list(towers.parameters()), loss, len(labels), epochs, rate=1e-4)
    save_model(out, towers.eval(), tokenizer)


def moved(pixels: Tensor) -> Tensor:
    """Return images moved by some pixels, each in a direction of its own, and half of them mirrored."""
    padded = functional.pad(pixels, (SHIFT,) * 4, mode="replicate")
    offsets = torch.randint(2 * SHIFT + 1, (len(pixels), 2)).tolist()
    height, width = pixels.shape[2:]
    crops = [image[:, y : y + height, x : x + width] for image, (y, x) in zip(padded, offsets, strict=True)]
    return torch.stack([crop.flip(-1) if row % 2 else crop for row, crop in enumerate(crops)])


def contrastive_loss(images: Tensor, texts: Tensor, log_scale: Tensor) -> Tensor:
    """Return the loss of CLIP."""
    logits = log_scale.exp() * functional.normalize(images, dim=-1) @ functional.normalize(texts, dim=-1).T
    targets = torch.arange(len(logits))
    return (functional.cross_entropy(logits, targets) + functional.cross_entropy(logits.T, targets)) / 2


def optimize(
    parameters: list[Any], loss: Callable[[Tensor], Tensor], n_samples: int, epochs: int, *, rate: float
) -> None:
    """Minimize a loss of rows, and print it after every tenth epoch."""
    optimizer = torch.optim.AdamW(parameters, lr=rate, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
    for epoch in range(epochs):
        losses = []
        for rows in torch.randperm(n_samples).split(BATCH):
            optimizer.zero_grad()
            value = loss(rows)
            value.backward()
            optimizer.step()
            losses.append(value.item())
        schedule.step()
        if epoch % 10 == 9:
            print(f"epoch {epoch + 1}: loss {np.mean(losses):.3f}", file=sys.stderr, flush=True)


def main() -> None:
    """Train one of the two models."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    trainers = {"pictures": train_pictures, "clothes": train_clothes}
    parser.add_argument("model", choices=trainers)
    parser.add_argument("data")
    parser.add_argument("out", type=Path)
    parser.add_argument("--epochs", type=int, default=60)
    options = parser.parse_args()
    torch.manual_seed(0)
    options.out.mkdir(parents=True, exist_ok=True)
    trainers[options.model](options.data, options.out, options.epochs)


if __name__ == "__main__":
    main()
