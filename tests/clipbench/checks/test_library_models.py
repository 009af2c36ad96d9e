"""Eight healthy models of the libraries, of which no check says anything, and fifteen that are broken in one way each.

Their weights are random, but for the last layer of the text tower: it is fitted to the pairs that the checks look at,
so that true pairs stand out. Another activation costs such a model nothing, which test_model_checks.py plants where it
does.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import save_file

from clipbench import Diagnosis, doctor, vectors
from clipbench.checks.pairs import scene_pairs
from tests.clipbench.models import small_models, test_transformers
from tests.clipbench.models.test_costs import loaded

pytestmark = pytest.mark.slow

SHAPE = test_transformers.SHAPE
VISION = test_transformers.SIGLIP_VISION
CLIP_TEXT = {"hidden_size": 48, "intermediate_size": 96, "vocab_size": 49408, "max_position_embeddings": 77, **SHAPE}
SIGLIP_TEXT = {**test_transformers.SIGLIP_TEXT, "max_position_embeddings": 32}


def open_clip_clip(folder: Path) -> str:
    text = {**small_models.TEXT, "width": 48, "proj_bias": True}
    small_models.open_clip_folder(folder, {**small_models.CUSTOM_TEXT_CLIP, "text_cfg": text})
    return f"local-dir:{folder}"


def open_clip_siglip(folder: Path) -> str:
    text = {**small_models.SIGLIP["text_cfg"], "context_length": 32}
    small_models.open_clip_folder(folder, {**small_models.SIGLIP, "text_cfg": text}, preprocess=small_models.HALVES)
    return f"local-dir:{folder}"


def open_clip_siglip2(folder: Path) -> str:
    """As open_clip has SigLIP 2: Gemma's tokenizer behind the same cleaning."""
    text = {**small_models.SIGLIP["text_cfg"], "context_length": 32, "vocab_size": 300}
    small_models.open_clip_folder(folder, {**small_models.SIGLIP, "text_cfg": text}, preprocess=small_models.HALVES)
    small_models.gemma_tokenizer(folder)
    return f"local-dir:{folder}"


def transformers_clip(folder: Path) -> str:
    config = transformers.CLIPConfig(text_config=CLIP_TEXT, vision_config=VISION, projection_dim=24)
    return save(folder, transformers.CLIPModel(config), small_models.clip_tokenizer, test_transformers.clip_processor())


def transformers_siglip(folder: Path) -> str:
    config = transformers.SiglipConfig(text_config=SIGLIP_TEXT, vision_config=VISION)
    processor = transformers.SiglipImageProcessor(size={"height": 32, "width": 32})
    return save(folder, transformers.SiglipModel(config), small_models.siglip_tokenizer, processor)


def transformers_siglip2(folder: Path) -> str:
    reference = transformers_siglip(folder)
    (folder / "spiece.model").unlink()
    small_models.gemma_tokenizer(folder)
    return reference


def save(folder: Path, model: Any, tokenizer: Callable[[Path], Path], processor: Any) -> str:
    torch.manual_seed(0)
    for name, parameter in model.named_parameters():
        parameter.data = torch.randn(parameter.shape) * 0.2 + ("norm" in name and name.endswith("weight"))
    model.logit_scale.data.fill_(4.0)
    if hasattr(model, "logit_bias"):
        model.logit_bias.data.fill_(-12.5)
    model.save_pretrained(folder)
    tokenizer(folder)
    processor.save_pretrained(folder)
    return f"hf:{folder}"


BUILDERS: Mapping[str, Callable[[Path], str]] = {
    "open_clip CLIP": open_clip_clip,
    "open_clip SigLIP": open_clip_siglip,
    "open_clip SigLIP 2": open_clip_siglip2,
    "transformers CLIP": transformers_clip,
    "transformers SigLIP": transformers_siglip,
    "transformers SigLIP 2": transformers_siglip2,
}


def fit(reference: str) -> None:
    """Fit the last layer of the text tower to the pairs, as a training does, and write the weights back."""
    model = loaded(reference)
    parts = model.internals()
    module: Any = parts.module
    for name, parameter in module.named_parameters():
        if name.endswith(("c_fc.bias", "fc1.bias")):
            parameter.data -= 2.0  # where a trained perceptron works, and GELU differs most from QuickGELU
        if name.endswith("weight") and parameter.ndim == 1:
            parameter.data += 0.05 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1))
    head = next(part for name, part in module.named_modules() if name in HEADS)
    inputs: list[torch.Tensor] = []
    hook = head.register_forward_pre_hook(lambda _, given: inputs.append(given[0]))
    pairs = scene_pairs(model)
    inputs.clear()  # there texts go through the tower in the order of their lengths
    assert parts.tokenize is not None and parts.encode_tokens is not None
    parts.encode_tokens(parts.tokenize(list(pairs.texts)))
    hook.remove()
    features = torch.cat(inputs).double().numpy()
    middle = features.mean(axis=0)
    targets = pairs.image_vectors.astype(np.float64)
    targets = (targets - targets.mean(axis=0)) / targets.std()
    gram = (features - middle).T @ (features - middle)
    weights = np.linalg.solve(gram + 1e-4 * np.trace(gram) * np.eye(len(gram)), (features - middle).T @ targets)
    head.weight.data = torch.from_numpy(weights.T).float().contiguous()
    if head.bias is not None:
        head.bias.data = torch.from_numpy(-middle @ weights).float()
    folder = Path(reference.partition(":")[2])
    if reference.startswith("hf:"):
        module.save_pretrained(folder)
    else:
        state = {name: value.contiguous() for name, value in module.state_dict().items()}
        save_file(state, folder / "open_clip_model.safetensors")


HEADS = ("text.text_projection", "text_projection", "text_model.head")
"""Names of the last layer of a text tower."""


@pytest.fixture(scope="module")
def references(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """References of the healthy models of each family."""
    root = tmp_path_factory.mktemp("fitted")
    result = {name: build(root / name.replace(" ", "-")) for name, build in BUILDERS.items()}
    for reference in result.values():
        fit(reference)
    return {**result, "tiny": "tiny"}


@pytest.fixture(autouse=True)
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store of its own."""
    monkeypatch.setenv("CLIPBENCH_CACHE", str(tmp_path / "cache"))


def diagnosis(model: Any) -> Diagnosis:
    return doctor(model, device="cpu") if isinstance(model, str) else doctor(model)


def named(diagnosis: Diagnosis) -> set[str]:
    return {finding.check for finding in diagnosis.findings if finding.status in ("warning", "fault")}


@pytest.mark.parametrize("name", [*BUILDERS, "tiny"])
def test_a_healthy_model_is_left_alone(name: str, references: dict[str, str]) -> None:
    report = diagnosis(references[name])
    assert not named(report), report.frame().to_string()
    hidden = {finding.check for finding in report.findings if finding.status == "not examined"}
    # SigLIP's GELU of transformers is a function there, no module; none has roles, and not all a start of text
    assert hidden <= {"activation", "roles", "start-of-text"}


def test_vectors_of_a_healthy_model_are_left_alone() -> None:
    model = loaded("tiny")
    pairs = scene_pairs(model)
    report = diagnosis(vectors(images=pairs.image_vectors, texts=pairs.text_vectors, logit_scale=41.0))
    assert not named(report) and report.is_healthy
