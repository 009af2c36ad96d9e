"""Families with a way of their own by ``hf:``: vectors as their authors' READMEs and code compute them; others are
refused.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from PIL import Image
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel

from clipbench.errors import ModelError, UsageError
from clipbench.models.adapters import sentence_transformers
from clipbench.models.adapters.transformers import load
from clipbench.models.options import LoadOptions
from tests.clipbench.models import small_models
from tests.clipbench.models.small_models import same

SMALL = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
TEXT = {**SMALL, "vocab_size": 300, "pad_token_id": 0, "eos_token_id": 1}
SIZES = ((640, 480), (448, 448), (336, 320), (160, 320), (64, 48))
"""Images of which FG-CLIP 2's authors take 1,024, 784, 576, 256 and 128 patches (``determine_max_value`` in its
README).
"""
BUDGETS = (1024, 784, 576, 256, 128)


def images() -> list[Image.Image]:
    rng = np.random.default_rng(0)
    small = [Image.fromarray(rng.integers(0, 256, (9, 9, 3), np.uint8)) for _ in SIZES]
    return [image.resize(size) for image, size in zip(small, SIZES, strict=True)]


def siglip2(**text: Any) -> Any:
    config = transformers.Siglip2Config(text_config={**TEXT, **text}, vision_config={**SMALL, "patch_size": 16})
    module = transformers.Siglip2Model(config).eval()
    small_models.randomize(module)
    return module


def save(folder: Path, state: dict[str, torch.Tensor], settings: dict[str, Any]) -> Path:
    save_file({key: value.contiguous() for key, value in state.items()}, folder / "model.safetensors", {"format": "pt"})
    (folder / "config.json").write_text(json.dumps(settings))
    small_models.gemma_tokenizer(folder)
    transformers.Siglip2ImageProcessor(patch_size=16).save_pretrained(folder)
    return folder


@pytest.fixture
def fgclip2(tmp_path: Path) -> Path:
    """SigLIP 2's towers with what FG-CLIP 2 has beside them, under its authors' names."""
    module, generator = siglip2(max_position_embeddings=64), torch.Generator().manual_seed(1)
    shapes = {
        "text_model.embeddings.position_embedding_res.weight": (196, 32),
        "text_model.embeddings.position_embedding_ori.weight": (196, 32),
        **{f"{head}text_head.{name}": shape for head in ("long", "box") for name, shape in (("weight", (32, 32)), ("bias", (32,)))},
        "dense_feature_head.probe": (1, 1, 32),
    }  # fmt: skip
    extra = {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}
    settings = module.config.to_dict() | {"model_type": "fgclip2", "architectures": ["Fgclip2Model"]}
    settings["auto_map"] = {"AutoModelForCausalLM": "modeling_fgclip2.Fgclip2Model"}
    settings["text_config"] |= {"model_type": "fgclip2_text_model", "keep_len": 20, "longtext_len": 196}
    settings["vision_config"]["model_type"] = "fgclip2_vision_model"
    return save(tmp_path, {**module.state_dict(), **extra}, settings)


def texts_of(module: Any, folder: Path, length: int) -> np.ndarray:
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    lowered = [text.lower() for text in small_models.TEXTS]
    tokens = tokenizer(lowered, padding="max_length", max_length=length, truncation=True, return_tensors="pt")
    with torch.no_grad():
        return np.asarray(module.get_text_features(input_ids=tokens.input_ids).pooler_output)


def images_of(module: Any, budgets: tuple[int, ...]) -> np.ndarray:
    processor = transformers.Siglip2ImageProcessor(patch_size=16)
    with torch.no_grad():
        return np.concatenate(
            [
                module.get_image_features(**processor(image, max_num_patches=n, return_tensors="pt")).pooler_output
                for image, n in zip(images(), budgets, strict=True)
            ]
        )


def test_fgclip2_takes_patches_by_size_and_short_texts(fgclip2: Path) -> None:
    model = load(str(fgclip2), LoadOptions(batch_size=2))

    module = siglip2(max_position_embeddings=64)
    same(model.encode_texts(small_models.TEXTS), texts_of(module, fgclip2, 64))
    same(model.encode_images(images()), images_of(module, BUDGETS))
    assert (model.info.family, model.info.context_length) == ("transformers/Fgclip2", 64)
    fixed = load(str(fgclip2), LoadOptions(options={"max_num_patches": "1024"}))
    same(fixed.encode_images(images()), images_of(module, (1024,) * 5))
    assert fixed.info.fingerprint != model.info.fingerprint


def test_fgclip2_gives_long_texts_positions_and_a_head_of_their_own(fgclip2: Path) -> None:
    model = load(str(fgclip2), LoadOptions(options={"walk_type": "long"}))

    state, module = load_file(fgclip2 / "model.safetensors"), siglip2(max_position_embeddings=196)
    plain = {key: value for key, value in state.items() if key in siglip2(max_position_embeddings=64).state_dict()}
    text = "text_model.embeddings.position_embedding"
    is_kept = torch.arange(196)[:, None] < 20
    plain[f"{text}.weight"] = torch.where(is_kept, state[f"{text}_ori.weight"], state[f"{text}_res.weight"])
    plain |= {f"text_model.head.{name}": state[f"longtext_head.{name}"] for name in ("weight", "bias")}
    module.load_state_dict(plain)
    same(model.encode_texts(small_models.TEXTS), texts_of(module, fgclip2, 196))
    assert model.info.context_length == 196 and model.info.id.endswith("walk_type=long")


def test_the_patches_of_siglip2_are_an_option(tmp_path: Path) -> None:
    module = siglip2(max_position_embeddings=64)
    folder = save(tmp_path, module.state_dict(), module.config.to_dict())

    result = {
        n: load(str(folder), LoadOptions(options={"max_num_patches": n} if n else {})) for n in ("", "64", "1024")
    }

    for n, model in result.items():
        same(model.encode_images(images()), images_of(module, (int(n or 256),) * 5))
    assert len({model.info.fingerprint for model in result.values()}) == 3
    assert result["1024"].info.id == f"hf:{folder} max_num_patches=1024"


# ----- jina-embeddings-v4

MARKS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>")  # fmt: skip
IDS = {mark: 256 + row for row, mark in enumerate(MARKS)}
VISION = {"depth": 1, "hidden_size": 32, "intermediate_size": 48, "num_heads": 2, "out_hidden_size": 32, "window_size": 112, "fullatt_block_indexes": [0]}  # fmt: skip
RANK, ALPHA = 4, 8


def qwen() -> Any:
    ids = {"vision_start_token_id": IDS["<|vision_start|>"], "vision_end_token_id": IDS["<|vision_end|>"], "image_token_id": IDS["<|image_pad|>"]}  # fmt: skip
    rope = {"rope_type": "default", "mrope_section": [2, 3, 3], "rope_theta": 10_000.0}
    text = {**SMALL, "num_key_value_heads": 2, "vocab_size": 263, "rope_parameters": rope}
    config = transformers.Qwen2_5_VLConfig(text_config=text, vision_config=VISION, tie_word_embeddings=False, **ids)
    module = transformers.Qwen2_5_VLForConditionalGeneration(config).eval()
    small_models.randomize(module)
    return module


@pytest.fixture
def jina(tmp_path: Path) -> Path:
    """Qwen2.5-VL with adapters for two tasks, as peft saves them."""
    module, generator = qwen(), torch.Generator().manual_seed(1)
    module.save_pretrained(tmp_path)
    settings = json.loads((tmp_path / "config.json").read_text()) | {"matryoshka_dims": [8, 16]}
    settings |= {
        "architectures": ["JinaEmbeddingsV4Model"],
        "auto_map": {"AutoModel": "modeling.JinaEmbeddingsV4Model"},
    }
    (tmp_path / "config.json").write_text(json.dumps(settings))
    added = {}
    for name, part in module.model.language_model.named_modules():
        if name.endswith("_proj"):
            for task in ("retrieval", "code"):
                before = f"base_model.model.model.language_model.{name}.lora_"
                added[f"{before}A.{task}.weight"] = torch.randn(RANK, part.in_features, generator=generator) * 0.2
                added[f"{before}B.{task}.weight"] = torch.randn(part.out_features, RANK, generator=generator) * 0.2
    (tmp_path / "adapters").mkdir()
    save_file(added, tmp_path / "adapters/adapter_model.safetensors")
    (tmp_path / "adapters/adapter_config.json").write_text(json.dumps({"r": RANK, "lora_alpha": ALPHA}))
    words = Tokenizer(BPE({letter: row for row, letter in enumerate(sorted(ByteLevel.alphabet()))}, []))
    words.pre_tokenizer = ByteLevel(add_prefix_space=False)
    words.add_special_tokens([*MARKS])
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=words, pad_token=MARKS[0], extra_special_tokens=[*MARKS[1:]]
    ).save_pretrained(tmp_path)
    transformers.Qwen2VLImageProcessor(size={"shortest_edge": 3136, "longest_edge": 602_112}).save_pretrained(tmp_path)
    transformers.Qwen2VLVideoProcessor().save_pretrained(tmp_path)
    return tmp_path


def jina_vectors(folder: Path, task: str, texts: list[str], images: list[Image.Image]) -> np.ndarray:
    """Return what the authors' ``encode_text`` or ``encode_image`` computes: one item at a time, each matrix with its
    task's low-rank matrices beside it.
    """
    module, added = qwen().model, load_file(folder / "adapters/adapter_model.safetensors")
    for name, part in module.language_model.named_modules():
        if name.endswith("_proj"):
            down, up = (
                added[f"base_model.model.model.language_model.{name}.lora_{side}.{task}.weight"] for side in "AB"
            )
            part.register_forward_hook(lambda _, x, y, down=down, up=up: y + x[0] @ down.T @ up.T * ALPHA / RANK)
    processor = transformers.Qwen2_5_VLProcessor.from_pretrained(folder)
    prompt = "<|im_start|>user\n<|vision_start|><|image_pad|><|vision_end|>Describe the image.<|im_end|>\n"
    encodings = [processor(text=[text], return_tensors="pt") for text in texts]
    encodings += [processor(text=[prompt], images=[image], return_tensors="pt") for image in images]
    result = []
    for encoding in encodings:
        ids = encoding["input_ids"][0].tolist()
        with torch.no_grad():
            states = module(**encoding).last_hidden_state[0]
        if "pixel_values" in encoding:
            states = states[ids.index(IDS["<|vision_start|>"]) : ids.index(IDS["<|vision_end|>"]) + 1]
        mean = states.mean(dim=0)
        result.append((mean / mean.norm()).numpy())
    return np.stack(result)


@pytest.mark.parametrize("task", ["retrieval", "code"])
def test_jina_v4_gets_the_vectors_of_its_task_by_role(jina: Path, task: str) -> None:
    model: Any = load(str(jina), LoadOptions(options={"task": task}, batch_size=2))

    texts = ["a dog", "a photo of a cat", "x"]
    for role, prefix in ((None, "Query"), ("query", "Query"), ("document", "Passage")):
        expected = jina_vectors(jina, task, [f"{prefix}: {text}" for text in texts], [])
        same(model.encode("text", texts, role), expected)
    expected = jina_vectors(jina, task, [], images()[-2:])
    same(model.encode_images(images()[-2:]), expected)
    assert model.info.roles == {"text": {"query": "Query: ", "document": "Passage: "}}
    cut: Any = load(str(jina), LoadOptions(options={"task": task, "truncate_dim": "8"}))
    same(cut.encode_images(images()[-2:]), expected[:, :8] / np.linalg.norm(expected[:, :8], axis=1, keepdims=True))


# ----- what is refused


@pytest.mark.parametrize(
    ("fixture", "options", "error", "message"),
    [
        ("jina", {}, UsageError, "has other weights for each task: add model_options={'task': 'retrieval'}"),
        ("jina", {"task": "retrival"}, UsageError, "model option task=retrival: did you mean 'retrieval'"),
        ("jina", {"task": "text-matching"}, ModelError, "has adapters for 0 of 14 matrices in the task text-matching"),
        ("jina", {"task": "code", "truncate_dim": "9"}, UsageError, "truncate_dim=9: hf:.* was trained for 8, 16, 32"),
        ("jina", {"task": "code", "max_num_patches": "9"}, UsageError, "takes no option 'max_num_patches'"),
        ("fgclip2", {"walk_type": "box"}, UsageError, "walk_type.*box.*: expected short or long"),
        ("fgclip2", {"max_num_patches": "0"}, UsageError, "max_num_patches=0: expected 1 to 16,384 patches per image"),
        ("jina", {"task": "code", "context": "99"}, UsageError, "takes no option 'context'"),
        ("fgclip2", {"task": "code"}, UsageError, "takes no option 'task'"),
    ],
)
def test_options_that_a_family_does_not_have_are_refused(
    request: pytest.FixtureRequest, fixture: str, options: dict[str, str], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message) as caught:
        load(str(request.getfixturevalue(fixture)), LoadOptions(options=options))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("adapter", [load, sentence_transformers.load])
@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"model_type": "colpali"}, "because colpali gives many vectors per item"),
        ({"model_type": "qwen2_vl", "architectures": ["ColQwen2"]}, "because ColQwen2 gives many vectors per item"),
        ({"model_type": "x", "architectures": ["llama_NemoretrieverColEmbed"]}, "gives many vectors per item"),
        ({"model_type": "jina_clip", "auto_map": {"AutoModel": "org/code--modeling_clip.JinaCLIPModel"}}, "because JinaCLIPModel runs code of three"),
        ({"model_type": "clip", "architectures": ["FGCLIPModel"]}, "because FGCLIPModel squashes images"),
    ],
)  # fmt: skip
def test_families_that_were_not_compared_are_refused_by_name(
    tmp_path: Path, adapter: Any, settings: dict[str, Any], message: str
) -> None:
    if adapter is not load:
        pytest.importorskip("sentence_transformers", reason="the library that loads the modules")
    (tmp_path / "config.json").write_text(json.dumps(settings))
    with pytest.raises(ModelError, match=message):
        adapter(str(tmp_path), LoadOptions())


def test_jina_v4_by_sentence_transformers_points_to_hf(jina: Path) -> None:
    pytest.importorskip("sentence_transformers", reason="the library that loads the modules")
    with pytest.raises(ModelError, match=r"give hf: instead of st:, with model_options=\{'task': 'retrieval'\}"):
        sentence_transformers.load(str(jina), LoadOptions())
