"""Sixteen ways in which two programs that run one model come to differ, each planted into the bundled CLIP."""

import copy
import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image, ImageOps
from tokenizers import Tokenizer
from torch import nn

from clipbench.data.images import decode
from clipbench.models.protocol import Internals, Tokens
from clipbench.training.clip.adapter import SHIPPED
from clipbench.training.clip.checkpoint import load_model
from clipbench.training.clip.inputs import ClipPreprocess, ClipTokenizer

Pixels = Callable[[Image.Image], np.ndarray]
LENGTH = 77


@cache
def bundled() -> tuple[Any, ClipTokenizer]:
    module, tokenizer = load_model(SHIPPED["tiny"])
    return module.eval().requires_grad_(False), tokenizer


@dataclass(frozen=True, kw_only=True)
class Program:
    """A program that runs the bundled CLIP and shows its parts."""

    name: str = "program"
    net: Any = None
    pixels: Pixels | None = None
    tokenize: Callable[[list[str]], np.ndarray] | None = None
    image_tower: Callable[[Any, torch.Tensor], torch.Tensor] = lambda net, pixels: net.encode_image(pixels)
    text_tower: Callable[[Any, torch.Tensor], torch.Tensor] = lambda net, tokens: net.encode_text(tokens)
    reads: Callable[[bytes], Image.Image] | None = None

    @property
    def open_image(self) -> Callable[[bytes], Image.Image] | None:
        return self.reads

    @property
    def module(self) -> Any:
        return bundled()[0] if self.net is None else self.net

    def preprocess(self, image: Image.Image) -> np.ndarray:
        return np.asarray((self.pixels or ClipPreprocess(bundled()[0].config))(image), np.float32)

    def encode_pixels(self, pixels: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return self.image_tower(self.module, torch.from_numpy(np.ascontiguousarray(pixels))).numpy()

    def ids(self, texts: Sequence[str]) -> Tokens:
        return {"text": (self.tokenize or bundled()[1].encode)(list(texts))}

    def encode_tokens(self, tokens: Tokens) -> np.ndarray:
        with torch.no_grad():
            return self.text_tower(self.module, torch.from_numpy(np.ascontiguousarray(tokens["text"]))).numpy()

    def encode_images(self, images: Sequence[Image.Image]) -> np.ndarray:
        return self.encode_pixels(np.stack([self.preprocess(image) for image in images]))

    def encode_texts(self, texts: Sequence[str]) -> np.ndarray:
        return self.encode_tokens(self.ids(texts))

    def internals(self) -> Internals:
        return Internals(
            preprocess=self.preprocess,
            encode_pixels=self.encode_pixels,
            tokenize=self.ids,
            encode_tokens=self.encode_tokens,
            module=self.module,
        )


class Service:
    """A program behind two methods, which shows nothing."""

    def __init__(self, program: Program) -> None:
        self.program, self.name = program, "service"
        self.encode_images, self.encode_texts = program.encode_images, program.encode_texts
        self.open_image = program.open_image


class Planted(NamedTuple):
    """A difference, with the stage and the tower that it is in."""

    stage: str
    tower: str
    program: Program
    base: Program = Program(name="base")


def normalized(pixels: np.ndarray) -> np.ndarray:
    """Return pixels (height, width, 3) in [0, 1] as the tower takes them."""
    config = bundled()[0].config
    return ((pixels - np.array(config.mean)) / np.array(config.std)).transpose(2, 0, 1).astype(np.float32)


def side() -> int:
    return bundled()[0].config.image_size


def resized(image: Image.Image, shorter: int, method: Image.Resampling) -> Image.Image:
    scale = shorter / min(image.size)
    return image.resize([max(1, int(scale * length)) for length in image.size], method)


def middle(image: Image.Image) -> Image.Image:
    left, top = (round((length - side()) / 2) for length in image.size)
    return image.crop((left, top, left + side(), top + side()))


def as_array(image: Image.Image) -> np.ndarray:
    return np.asarray(image.convert("RGB"), np.float32) / 255


def squashed(image: Image.Image) -> np.ndarray:
    return normalized(as_array(image.convert("RGB").resize((side(), side()), Image.Resampling.BICUBIC)))


def cropped(image: Image.Image) -> np.ndarray:
    return normalized(as_array(middle(resized(image.convert("RGB"), side() * 256 // 224, Image.Resampling.BICUBIC))))


def bilinear(image: Image.Image) -> np.ndarray:
    return normalized(as_array(middle(resized(image.convert("RGB"), side(), Image.Resampling.BILINEAR))))


def not_antialiased(image: Image.Image) -> np.ndarray:
    tensor = torch.from_numpy(as_array(image)).permute(2, 0, 1)[None]
    scale = side() / min(image.size)
    size = [int(scale * length) for length in image.size[::-1]]
    small = nn.functional.interpolate(tensor, size, mode="bicubic", antialias=False)[0].clamp(0, 1)
    top, left = (round((length - side()) / 2) for length in size)
    return normalized(small[:, top : top + side(), left : left + side()].permute(1, 2, 0).numpy())


def blue_first(image: Image.Image) -> np.ndarray:
    return ClipPreprocess(bundled()[0].config)(Image.merge("RGB", image.convert("RGB").split()[::-1]))


def upright(data: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(data))
    if image.getexif().get(0x0112, 1) == 1:
        return decode(data, "image")
    return ImageOps.exif_transpose(image).convert("RGB")


def on_ground(data: bytes, ground: str) -> Image.Image:
    image = Image.open(io.BytesIO(data))
    if not image.has_transparency_data:
        return decode(data, "image")
    return Image.alpha_composite(Image.new("RGBA", image.size, ground), image.convert("RGBA")).convert("RGB")


def cut_to_8_bits(data: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(data))
    if not image.mode.startswith("I"):
        return decode(data, "image")
    return Image.fromarray(np.minimum(np.asarray(image), 255).astype(np.uint8)).convert("RGB")


def other_version(texts: list[str]) -> np.ndarray:
    """Return the tokens of a version that lacks the last merges, so that it splits some words otherwise."""
    settings = json.loads((SHIPPED["tiny"] / "tokenizer.json").read_text())
    settings["model"]["merges"] = settings["model"]["merges"][:-150]
    return ClipTokenizer(Tokenizer.from_str(json.dumps(settings)), LENGTH).encode(texts)


def cut_at_the_start(texts: list[str]) -> np.ndarray:
    """Return tokens whose beginning is cut off, not their end."""
    vectors = bundled()[1].with_context(4096).encode(texts)
    rows = np.zeros((len(texts), LENGTH), vectors.dtype)
    for row, ids in enumerate(vectors):
        kept = ids[: int(ids.argmax()) + 1]
        kept = kept if len(kept) <= LENGTH else np.concatenate([kept[:1], kept[1 - LENGTH :]])
        rows[row, : len(kept)] = kept
    return rows


def without_end(texts: list[str]) -> np.ndarray:
    ids = bundled()[1].encode(texts)
    ids[np.arange(len(ids)), ids.argmax(axis=1)] = 0
    return ids


def padded_to_longest(texts: list[str]) -> np.ndarray:
    ids = bundled()[1].encode(texts)
    return ids[:, : int(ids.argmax(axis=1).max()) + 1]


def mean_of_patches(net: Any, pixels: torch.Tensor) -> torch.Tensor:
    return _image_vectors(net, pixels, lambda x: x.mean(dim=1)) @ net.visual.proj


def mean_of_tokens(net: Any, tokens: torch.Tensor) -> torch.Tensor:
    x = net.token_embedding(tokens) + net.positional_embedding[: tokens.shape[1]]
    return net.ln_final(net.transformer(x).mean(dim=1)) @ net.text_projection


def image_without_projection(net: Any, pixels: torch.Tensor) -> torch.Tensor:
    return _image_vectors(net, pixels, lambda x: x[:, 0])


def text_without_projection(net: Any, tokens: torch.Tensor) -> torch.Tensor:
    x = net.transformer(net.token_embedding(tokens) + net.positional_embedding[: tokens.shape[1]])
    return net.ln_final(x[torch.arange(len(x)), tokens.argmax(dim=-1)])


def _image_vectors(net: Any, pixels: torch.Tensor, pool: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
    visual = net.visual
    patches = visual.conv1(pixels).flatten(2).transpose(1, 2)
    first = visual.class_embedding.expand(patches.shape[0], 1, -1)
    x = torch.cat([first, patches], dim=1) + visual.positional_embedding
    return visual.ln_post(pool(visual.transformer(visual.ln_pre(x))))


def unit_images(net: Any, pixels: torch.Tensor) -> torch.Tensor:
    return nn.functional.normalize(net.encode_image(pixels), dim=1)


def unit_texts(net: Any, tokens: torch.Tensor) -> torch.Tensor:
    return nn.functional.normalize(net.encode_text(tokens), dim=1)


@cache
def reads_padding() -> Any:
    """Return the module with a text tower whose tokens see the padding."""
    net = copy.deepcopy(bundled()[0])
    for block in net.transformer.resblocks:
        block.attn.is_causal = False
    return net


class Int8Linear(nn.Module):
    """A linear layer of int8 weights, whose inputs are rounded to int8 with one scale per batch."""

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        self.scale = float(layer.weight.abs().max()) / 127
        self.codes = nn.Buffer((layer.weight / self.scale).round().to(torch.int8))
        self.bias = layer.bias

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        step = x.abs().max() / 127
        return nn.functional.linear((x / step).round() * step, self.codes.float() * self.scale, self.bias)


@cache
def quantized() -> Any:
    net = copy.deepcopy(bundled()[0])
    for parent in list(net.modules()):
        for name, part in parent.named_children():
            if isinstance(part, nn.Linear):
                setattr(parent, name, Int8Linear(part))
    return net


def planted_differences() -> Mapping[str, Planted]:
    """Return the sixteen differences by name."""
    program = partial(Program, name="program")
    base = Program(name="base")
    return {
        "squash": Planted("pixels", "image", program(pixels=squashed)),
        "crop": Planted("pixels", "image", program(pixels=cropped)),
        "interpolation": Planted("pixels", "image", program(pixels=bilinear)),
        "antialias": Planted("pixels", "image", program(pixels=not_antialiased)),
        "channel order": Planted("pixels", "image", program(pixels=blue_first)),
        "EXIF": Planted("pixels", "image", program(reads=upright)),
        "alpha": Planted(
            "pixels", "image", program(reads=partial(on_ground, ground="black")),
            replace(base, reads=partial(on_ground, ground="white")),
        ),
        "16 bits": Planted("pixels", "image", program(reads=cut_to_8_bits)),
        "tokenizer version": Planted("tokens", "text", program(tokenize=other_version)),
        "truncation side": Planted("tokens", "text", program(tokenize=cut_at_the_start)),
        "no end-of-text": Planted("tokens", "text", program(tokenize=without_end)),
        "mean pooling": Planted("pooling", "image", program(image_tower=mean_of_patches, text_tower=mean_of_tokens)),
        "no projection": Planted(
            "projection", "image", program(image_tower=image_without_projection, text_tower=text_without_projection)
        ),
        "no normalization": Planted(
            "normalization", "image", program(), replace(base, image_tower=unit_images, text_tower=unit_texts)
        ),
        "int8": Planted("precision", "image", program(net=quantized())),
        "padding in a batch": Planted(
            "batch", "text", program(net=reads_padding(), tokenize=padded_to_longest), replace(base, net=reads_padding())
        ),
    }  # fmt: skip
