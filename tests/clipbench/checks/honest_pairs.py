"""Pairs of programs that run one model honestly: one state dict in two libraries, and an ONNX export. Needs no network."""

import shutil
from pathlib import Path
from typing import Any

import open_clip
import torch
import transformers

from tests.clipbench.models import small_models

HEADS = {"vision": 2, "text": 2}


def of_transformers(source: Path, folder: Path) -> Path:
    """Write the state dict of a small open_clip folder as transformers saves it."""
    module: Any = open_clip.create_model(f"local-dir:{source}")
    text, vision = small_models.TEXT, small_models.VISION
    config = transformers.CLIPConfig(
        text_config=_shape(text["width"], text["layers"], text["heads"])
        | {"vocab_size": 49408, "max_position_embeddings": 77, "bos_token_id": 49406, "eos_token_id": 49407},
        vision_config=_shape(vision["width"], vision["layers"], vision["width"] // vision["head_width"])
        | {"image_size": vision["image_size"], "patch_size": vision["patch_size"]},
        projection_dim=small_models.CLIP["embed_dim"],
    )
    model = transformers.CLIPModel(config)
    state = module.state_dict()
    theirs = {
        "logit_scale": state["logit_scale"],
        "visual_projection.weight": state["visual.proj"].T,
        "text_projection.weight": state["text_projection"].T,
        "vision_model.embeddings.class_embedding": state["visual.class_embedding"],
        "vision_model.embeddings.patch_embedding.weight": state["visual.conv1.weight"],
        "vision_model.embeddings.position_embedding.weight": state["visual.positional_embedding"],
        "text_model.embeddings.token_embedding.weight": state["token_embedding.weight"],
        "text_model.embeddings.position_embedding.weight": state["positional_embedding"],
    }
    norms = {
        "vision_model.pre_layrnorm": "visual.ln_pre",
        "vision_model.post_layernorm": "visual.ln_post",
        "text_model.final_layer_norm": "ln_final",
    }
    for tower, prefix in (("vision_model", "visual.transformer"), ("text_model", "transformer")):
        for layer in range(2):
            block, ours = f"{tower}.encoder.layers.{layer}", f"{prefix}.resblocks.{layer}"
            norms |= {f"{block}.layer_norm1": f"{ours}.ln_1", f"{block}.layer_norm2": f"{ours}.ln_2"}
            norms |= {f"{block}.mlp.fc1": f"{ours}.mlp.c_fc", f"{block}.mlp.fc2": f"{ours}.mlp.c_proj"}
            norms |= {f"{block}.self_attn.out_proj": f"{ours}.attn.out_proj"}
            for part in ("weight", "bias"):
                parts = state[f"{ours}.attn.in_proj_{part}"].chunk(3)
                names = zip(("q_proj", "k_proj", "v_proj"), parts, strict=True)
                theirs |= {f"{block}.self_attn.{name}.{part}": values for name, values in names}
    for name, ours in norms.items():
        theirs |= {f"{name}.{part}": state[f"{ours}.{part}"] for part in ("weight", "bias")}
    missing, unexpected = model.load_state_dict(theirs, strict=False)
    assert not unexpected and all("position_ids" in name for name in missing), (missing, unexpected)
    model.save_pretrained(folder)
    small_models.clip_tokenizer(folder)
    side = vision["image_size"]
    images = transformers.CLIPImageProcessor(size={"shortest_edge": side}, crop_size={"height": side, "width": side})
    transformers.CLIPProcessor(images, transformers.CLIPTokenizer.from_pretrained(folder)).save_pretrained(folder)
    images.save_pretrained(folder)
    return folder


def _shape(width: int, layers: int, heads: int) -> dict[str, Any]:
    return {
        "hidden_size": width,
        "intermediate_size": 4 * width,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "hidden_act": "quick_gelu",
    }


def of_sentence_transformers(source: Path, folder: Path) -> Path:
    """Write a folder of transformers as sentence-transformers saves it."""
    import sentence_transformers

    sentence_transformers.SentenceTransformer(str(source), device="cpu").save(str(folder))
    return folder


def of_onnx(source: Path, folder: Path) -> Path:
    """Export both towers of a small open_clip folder, with the files of its inputs."""
    from tests.clipbench.models.test_onnx import export

    shutil.copytree(source, folder)
    side = small_models.VISION["image_size"]
    module = open_clip.create_model(f"local-dir:{source}")
    pixels, ids = torch.zeros(2, 3, side, side), torch.ones(2, 77, dtype=torch.long)
    return export(folder, module, ("encode_image", "encode_text"), pixels, ids)
