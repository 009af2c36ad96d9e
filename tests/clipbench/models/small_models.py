"""Models with seeded random weights, saved as the libraries save theirs. Needs no network and nothing of clipbench.

Small ones take a fraction of a second; ``save_vit_b_32`` and ``save_siglip_b_16`` have the true architectures.
"""

import gzip
import io
import json
import string
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import sentencepiece
import tokenizers
import torch
import transformers
from PIL import Image
from safetensors.torch import save_file

CORPUS = (
    "a photo of a cat and a dog",
    "a red cube on a blue sphere, left of the green cone",
    "two people walk along the beach at sunset",
    "the quick brown fox jumps over the lazy dog",
    "written words on a piece of paper: isn't it?",
)

TEXTS = (
    "a photo of a cat",
    "dog",
    "A Red Cube, on a BLUE sphere!",
    "the quick brown fox jumps over the lazy dog " * 22,  # 200 words: more than any context holds
    "two people walk along the beach",
    "",
)
"""Texts of very different lengths, with capitals, punctuation, an empty and a too long one."""

VISION = {"image_size": 32, "layers": 2, "width": 64, "head_width": 32, "patch_size": 8}
TEXT = {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2}

CLIP: dict[str, Any] = {"embed_dim": 24, "quick_gelu": True, "vision_cfg": VISION, "text_cfg": TEXT}
"""As OpenAI's: causal, QuickGELU, pooled at the largest id."""

CUSTOM_TEXT_CLIP: dict[str, Any] = {**CLIP, "quick_gelu": False, "custom_text": True}

MOBILE_CLIP: dict[str, Any] = {**CUSTOM_TEXT_CLIP, "text_cfg": {**TEXT, "no_causal_mask": True}}
"""As MobileCLIP S1: pooled at the end of the text, but every token sees the padding."""

TIMM_CLIP: dict[str, Any] = {
    **CUSTOM_TEXT_CLIP,
    "vision_cfg": {"timm_model_name": "test_vit", "timm_pool": "", "timm_proj": "linear", "image_size": 160},
}

COCA: dict[str, Any] = {
    "embed_dim": 24,
    "vision_cfg": {**VISION, "attentional_pool": True, "attn_pooler_heads": 2, "output_tokens": True},
    "text_cfg": {**TEXT, "context_length": 76, "embed_cls": True, "output_tokens": True},
    "multimodal_cfg": {**TEXT, "context_length": 76, "attn_pooler_heads": 2},
    "custom_text": True,
}

SIGLIP: dict[str, Any] = {
    "embed_dim": 24,
    "init_logit_bias": -10,
    "custom_text": True,
    "vision_cfg": VISION,
    "text_cfg": {
        **TEXT,
        "context_length": 16,
        "vocab_size": 120,
        "hf_tokenizer_name": "its folder",
        "tokenizer_kwargs": {"clean": "canonicalize"},
        "no_causal_mask": True,
        "proj_bias": True,
        "pool_type": "last",
        "output_tokens": False,
    },
}

HALVES = {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5], "interpolation": "bicubic", "resize_mode": "squash"}
"""Preprocessing as SigLIP has it."""


def same(ours: np.ndarray, theirs: np.ndarray) -> None:
    """Hold vectors to 1e-5 of their length: sums of another order differ by less, another token by far more."""
    assert ours.dtype == np.float32
    error = np.linalg.norm(ours - theirs, axis=1) / np.linalg.norm(theirs, axis=1)
    assert error.max() < 1e-5, error


def images() -> list[Image.Image]:
    """Return small images of several modes and sizes."""
    rng = np.random.default_rng(0)
    base = [
        Image.fromarray(rng.integers(0, 256, (*size, 3), dtype=np.uint8)) for size in ((40, 60), (32, 32), (90, 50))
    ]
    return [*base, base[0].convert("L"), base[2].convert("RGBA"), base[1].convert("P"), base[0].convert("CMYK")]


def open_clip_folder(folder: Path, config: Mapping[str, Any], *, seed: int = 0, preprocess: Any = None) -> Path:
    """Write a folder for ``local-dir:``; a tokenizer is written where the configuration names one."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": config, "preprocess_cfg": preprocess or {}}))
    if "hf_tokenizer_name" in config["text_cfg"]:
        unigram_tokenizer(folder, config["text_cfg"]["vocab_size"])
    save_file(random_state(f"local-dir:{folder}", seed=seed), folder / "open_clip_model.safetensors")
    return folder


def random_state(name: str, *, seed: int = 0) -> dict[str, torch.Tensor]:
    """Return seeded weights for what open_clip knows by a name; the two scalars are not at their initial values."""
    torch.manual_seed(seed)
    state = open_clip.create_model(name, load_weights=False, pretrained_text=False).state_dict()
    state["logit_scale"] = torch.tensor(4.0)
    if "logit_bias" in state:
        state["logit_bias"] = torch.tensor(-12.5)
    return {key: value.contiguous() for key, value in state.items()}


def save_vit_b_32(path: Path, *, seed: int = 0) -> Path:
    """Write a checkpoint for ``--arch ViT-B-32``, in half precision (300 MB); return its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({key: value.half() for key, value in random_state("ViT-B-32", seed=seed).items()}, path)
    return path


def save_siglip_b_16(folder: Path, *, seed: int = 0) -> Path:
    """Write a folder for ``local-dir:`` with the architecture of ViT-B-16-SigLIP and a small tokenizer of its kind."""
    folder.mkdir(parents=True, exist_ok=True)
    config = open_clip.get_model_config("ViT-B-16-SigLIP")
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": config, "preprocess_cfg": HALVES}))
    unigram_tokenizer(folder, 120)
    state = random_state(f"local-dir:{folder}", seed=seed)
    save_file({key: value.half() for key, value in state.items()}, folder / "open_clip_model.safetensors")
    return folder


def hub_cache(cache: Path, repository: str, folder: Path, commit: str = "a" * 40) -> Path:
    """Put the files of a folder into a Hugging Face cache, as a download of a repository would; return the cache."""
    home = cache / f"models--{repository.replace('/', '--')}"
    snapshot = home / "snapshots" / commit
    snapshot.mkdir(parents=True)
    (home / "refs").mkdir()
    (home / "refs/main").write_text(commit)
    for file in folder.iterdir():
        (snapshot / file.name).symlink_to(file)
    return cache


def unigram_tokenizer(folder: Path, vocab_size: int) -> Path:
    """Write a tokenizer as SigLIP's is in open_clip: a unigram vocabulary, ``</s>`` at the end and as padding, id 1."""
    words = sorted({f"▁{word}" for text in CORPUS for word in text.split()})
    pieces = ["<pad>", "</s>", "<unk>", *words, "▁", *string.ascii_lowercase]
    assert len(pieces) <= vocab_size, len(pieces)
    scores = [(piece, -1.0 - 5 * (len(piece) == 1)) for piece in pieces]  # a word is likelier than its letters
    model = tokenizers.Tokenizer(tokenizers.models.Unigram(scores, unk_id=2, byte_fallback=False))
    model.pre_tokenizer = tokenizers.pre_tokenizers.Metaspace()
    model.post_processor = tokenizers.processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=model, eos_token="</s>", pad_token="</s>", unk_token="<unk>"
    ).save_pretrained(folder)
    return folder


def clip_tokenizer(folder: Path) -> Path:
    """Write transformers' CLIP tokenizer, its vocabulary taken from open_clip's file."""
    ours = open_clip.tokenizer.SimpleTokenizer()
    special_tokens = {49406: "<|startoftext|>", 49407: "<|endoftext|>"}
    vocabulary = {special_tokens.get(number, token): number for token, number in ours.encoder.items()}
    lines = gzip.decompress(Path(open_clip.tokenizer.default_bpe()).read_bytes()).decode().split("\n")
    merges = [tuple(line.split()) for line in lines[1 : 49152 - 256 - 2 + 1]]
    transformers.CLIPTokenizer(vocab=vocabulary, merges=merges, model_max_length=77).save_pretrained(folder)
    return folder


def letters_tokenizer(folder: Path) -> Path:
    """Write transformers' CLIP tokenizer with a vocabulary of single bytes, 514 ids: it loads a hundred times as
    fast.
    """
    symbols = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
    words = [*symbols, *(f"{symbol}</w>" for symbol in symbols), "<|startoftext|>", "<|endoftext|>"]
    vocabulary = {word: row for row, word in enumerate(words)}
    transformers.CLIPTokenizer(vocab=vocabulary, merges=[], model_max_length=77).save_pretrained(folder)
    return folder


LETTERS = {"vocab_size": 514, "bos_token_id": 512, "eos_token_id": 513}
"""Settings of a text tower for the ids of ``letters_tokenizer``."""


def siglip_tokenizer(folder: Path, *, model_max_length: int = 16) -> Path:
    """Write transformers' SigLIP tokenizer on a small sentencepiece vocabulary."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(CORPUS * 20), model_writer=model, vocab_size=80, hard_vocab_limit=False,
        pad_id=0, eos_id=1, unk_id=2, bos_id=-1, minloglevel=2,
    )  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "spiece.model").write_bytes(model.getvalue())
    transformers.SiglipTokenizer(str(folder / "spiece.model"), model_max_length=model_max_length).save_pretrained(
        folder
    )
    return folder


def gemma_tokenizer(folder: Path) -> Path:
    """Write a tokenizer as SigLIP 2 has it on the Hub: ``GemmaTokenizer``, which leaves capitals as they are."""
    model = tokenizers.Tokenizer(tokenizers.models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    model.normalizer = tokenizers.normalizers.Replace(" ", "▁")
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=300, special_tokens=["<pad>", "<eos>", "<bos>", "<unk>", "<mask>"], show_progress=False
    )
    model.train_from_iterator([*CORPUS, *(text.upper() for text in CORPUS)] * 20, trainer)
    model.post_processor = tokenizers.processors.TemplateProcessing(single="$A <eos>", special_tokens=[("<eos>", 1)])
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=model, pad_token="<pad>", eos_token="<eos>", bos_token="<bos>", unk_token="<unk>"
    ).save_pretrained(folder)
    path = folder / "tokenizer_config.json"
    settings = {"tokenizer_class": "GemmaTokenizer", "add_bos_token": False, "add_eos_token": True}
    path.write_text(json.dumps({**json.loads(path.read_text()), **settings, "padding_side": "right"}))
    return folder


def change_json(path: Path, **settings: Any) -> None:
    """Add settings to a JSON file."""
    path.write_text(json.dumps({**json.loads(path.read_text()), **settings}))


def randomize(model: torch.nn.Module) -> None:
    """Give a model seeded weights."""
    generator = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator) * 0.1


def transformers_clip(folder: Path, **text: Any) -> Path:
    """Write a small CLIP of transformers whose words are single bytes, with seeded weights; its tokenizer loads at
    once.
    """
    shape = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    vision = {**shape, "image_size": 32, "patch_size": 8}
    config = transformers.CLIPConfig(text_config={**shape, **LETTERS, **text}, vision_config=vision, projection_dim=24)
    model = transformers.CLIPModel(config)
    randomize(model)
    model.logit_scale.data.fill_(4.0)
    model.save_pretrained(folder)
    letters_tokenizer(folder)
    processor = transformers.CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    processor.save_pretrained(folder)
    return folder
