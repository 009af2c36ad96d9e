"""A stranger's model runs no code and reads no file of another place, whatever its files ask of the libraries."""

import io
import json
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import torch
import transformers

from clipbench.errors import ModelError
from clipbench.models.adapters import open_clip
from clipbench.models.adapters import transformers as hf
from clipbench.models.options import LoadOptions
from tests.clipbench.models import small_models

CODE = """
import pathlib
from transformers import PretrainedConfig, PreTrainedTokenizerFast
pathlib.Path({marker!r}).write_text("it ran")
class Stranger(PreTrainedTokenizerFast):
    pass
class Config(PretrainedConfig):
    model_type = "stranger"
"""


class Payload:
    """An object that writes a file when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, tuple[str, int]]:
        return os.mkdir, (str(self.marker), 0o700)


@pytest.fixture
def marker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file that a model's code writes when it runs; where it is asked whether to run, the answer is yes."""
    monkeypatch.setattr("builtins.input", lambda *_: "y")
    monkeypatch.setattr(transformers.dynamic_module_utils, "HF_MODULES_CACHE", str(tmp_path / "modules"))
    return tmp_path / "it-ran"


@pytest.fixture
def stranger(small_siglip_folder: Path, tmp_path: Path, marker: Path) -> Path:
    """An open_clip folder whose tokenizer is a class of its own."""
    folder = Path(shutil.copytree(small_siglip_folder, tmp_path / "stranger"))
    small_models.change_json(
        folder / "tokenizer_config.json",
        auto_map={"AutoTokenizer": [None, "code.Stranger"]},
        tokenizer_class="Stranger",
    )
    (folder / "code.py").write_text(CODE.format(marker=str(marker)))
    return folder


def change_text(folder: Path, **settings: object) -> None:
    """Add settings to the text tower of open_clip's configuration."""
    path = folder / "open_clip_config.json"
    config = json.loads(path.read_text())
    config["model_cfg"]["text_cfg"].update(settings)
    path.write_text(json.dumps(config))


def by_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], object]:
    return lambda: open_clip.load_folder(str(folder), LoadOptions())


def by_hub(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], object]:
    change_text(folder, hf_tokenizer_name="org/stranger")
    cache = small_models.hub_cache(folder.parent / "cache", "org/stranger", folder)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(cache))
    return lambda: open_clip.load_hub("org/stranger", LoadOptions())


@pytest.mark.parametrize("way", [by_folder, by_hub])
def test_a_tokenizer_argument_that_runs_code_is_refused_by_name(
    stranger: Path, marker: Path, monkeypatch: pytest.MonkeyPatch, way: Callable[..., Any]
) -> None:
    change_text(stranger, tokenizer_kwargs={"clean": "canonicalize", "trust_remote_code": True})
    load = way(stranger, monkeypatch)
    with pytest.raises(ModelError, match=r"sets model_cfg\.text_cfg\.tokenizer_kwargs, which passes trust_remote_code"):
        load()
    assert not marker.exists()


def test_code_of_a_tokenizer_is_not_run_even_where_nobody_said_so_and_somebody_says_yes(
    stranger: Path, marker: Path
) -> None:
    (stranger / "config.json").write_text(json.dumps({"model_type": "stranger"}))
    small_models.change_json(stranger / "config.json", auto_map={"AutoConfig": "code.Config"})
    with pytest.raises(ModelError, match="needs Python code from its repository, which is not run by default"):
        open_clip.load_folder(str(stranger), LoadOptions())
    assert not marker.exists()


def test_a_text_tower_of_another_folder_is_refused_by_name(stranger: Path, marker: Path) -> None:
    small_models.change_json(
        stranger / "tokenizer_config.json", auto_map=None, tokenizer_class="PreTrainedTokenizerFast"
    )
    other = stranger.parent / "other"
    other.mkdir()
    shutil.copy(stranger / "code.py", other)
    (other / "config.json").write_text(json.dumps({"model_type": "its-own", "auto_map": {"AutoConfig": "code.Config"}}))
    change_text(stranger, hf_model_name=str(other))
    with pytest.raises(ModelError, match=r"text_cfg\.hf_model_name, which names a model elsewhere"):
        open_clip.load_folder(str(stranger), LoadOptions())
    assert not marker.exists()


NESTED = json.loads("[" * 101 + "]" * 101)

REFUSED: list[tuple[str, dict[str, object], str]] = [
    ("config.json", {"trust_remote_code": True}, r"sets trust_remote_code, which requests code"),
    ("config.json", {"text_config": {"trust_remote_code": True}}, r"sets text_config\.trust_remote_code"),
    ("config.json", {"code_revision": "main"}, r"sets code_revision"),
    ("config.json", {"attn_implementation": "stranger/kernel"}, r"sets attn_implementation, which names a kernel"),
    ("config.json", {"vision_config": {"_attn_implementation": "a|stranger/kernel:f"}}, r"names a kernel of the Hub"),
    ("config.json", {"kernel_config": {"RMSNorm": "stranger/kernel"}}, r"sets kernel_config"),
    ("config.json", {"vision_config": {"architecture": "hf-hub:stranger/model"}}, r"sets vision_config\.architecture"),
    ("config.json", {"vision_config": {"architecture": "local-dir:/home"}}, r"names a model elsewhere"),
    ("config.json", {"backbone": "/home/model"}, r"sets backbone"),
    ("config.json", {"vision_config": {"model_args": {"checkpoint_path": "/x.pt"}}}, r"passes checkpoint_path to timm"),
    ("config.json", {"backbone_kwargs": {"pretrained": True}}, r"sets backbone_kwargs, which passes pretrained"),
    ("config.json", {"transformers_weights": "../private.safetensors"}, r"names weights outside its folder"),
    ("tokenizer_config.json", {"trust_remote_code": 1}, r"tokenizer_config\.json sets trust_remote_code"),
    ("tokenizer_config.json", {"vocab_file": "{private}"}, r"sets vocab_file, which names a file outside its folder"),
    ("preprocessor_config.json", {"trust_remote_code": "yes"}, r"preprocessor_config\.json sets trust_remote_code"),
    ("processor_config.json", {"image_processor": {"code_revision": "x"}}, r"sets image_processor\.code_revision"),
    ("model.safetensors.index.json", {"weight_map": {"a": "../private"}}, r"sets weight_map, which names weights"),
    ("pytorch_model.bin.index.json", {"weight_map": {"a": "/private"}}, r"sets weight_map, which names weights"),
    ("config.json", {"trust_remote_code": True, "note": "\ud800"}, r"config\.json is not JSON: .* half a surrogate"),
    ("tokenizer_config.json", {"trust_remote_code": True, "note": NESTED}, r"are nested more than 100 deep"),
    ("adapter_config.json", {"base_model_name_or_path": "stranger/model"}, r"has adapter_config\.json"),
]


@pytest.mark.parametrize(("file", "settings", "message"), REFUSED)
def test_settings_by_which_a_library_would_run_code_or_read_elsewhere_or_that_only_it_can_read_are_refused_by_name(
    tmp_path: Path, file: str, settings: dict[str, object], message: str
) -> None:
    folder, private = tmp_path / "stranger", tmp_path / "private"
    folder.mkdir()
    private.write_text("{}")
    (folder / "config.json").write_text(json.dumps({"model_type": "clip"}))
    text = json.dumps({**(json.loads((folder / file).read_text()) if file == "config.json" else {}), **settings})
    (folder / file).write_text(text.replace("{private}", str(private)))
    with pytest.raises(ModelError, match=message):
        hf.load(str(folder), LoadOptions())


@pytest.mark.parametrize(
    ("part", "settings", "message"),
    [
        ("text_cfg", {"tokenizer_kwargs": {"code_revision": "x"}}, "passes code_revision to the tokenizer's loader"),
        ("text_cfg", {"tokenizer_kwargs": {"tokenizer_file": "/etc/x"}}, "passes tokenizer_file"),
        ("text_cfg", {"tokenizer_kwargs": {"bpe_path": "/etc/x", "subfolder": "x"}}, "passes bpe_path, subfolder"),
        ("text_cfg", {"hf_model_name": "../x"}, "names a model elsewhere"),
        ("text_cfg", {"hf_model_name": "."}, "names a model elsewhere"),
        ("vision_cfg", {"timm_model_name": "hf-hub:stranger/model"}, r"vision_cfg\.timm_model_name, which names"),
        ("vision_cfg", {"timm_model_name": "local-dir:/home/model"}, r"vision_cfg\.timm_model_name, which names"),
        ("multimodal_cfg", {"hf_model_name": "/home/x"}, r"multimodal_cfg\.hf_model_name"),
    ],
)
def test_settings_of_open_clip_that_lead_elsewhere_are_refused_by_name(
    small_clip_folder: Path, tmp_path: Path, part: str, settings: dict[str, object], message: str
) -> None:
    config = json.loads((small_clip_folder / "open_clip_config.json").read_text())
    config["model_cfg"].setdefault(part, {}).update(settings)
    (tmp_path / "open_clip_config.json").write_text(json.dumps(config))
    (tmp_path / "open_clip_model.safetensors").write_bytes(b"not even read")
    with pytest.raises(ModelError, match=message):
        open_clip.load_folder(str(tmp_path), LoadOptions())


def test_what_published_models_have_is_taken(tmp_path: Path) -> None:
    from clipbench.models.model_settings import check_model

    settings: dict[str, dict[str, object]] = {
        "config.json": {"auto_map": {"AutoConfig": "x.X"}, "trust_remote_code": False, "attn_implementation": "sdpa"},
        "tokenizer_config.json": {"tokenizer_file": "/home/me/x.json", "special_tokens_map_file": "./map.json"},
        "model.safetensors.index.json": {"weight_map": {"a": "model-00001-of-00002.safetensors"}},
        "open_clip_config.json": {
            "model_cfg": {
                "text_cfg": {"hf_model_name": "org/bert-base", "tokenizer_kwargs": {"clean": "canonicalize"}},
                "vision_cfg": {"timm_model_name": "vit_base_patch16_siglip_224"},
            }
        },
    }
    for name, content in settings.items():
        (tmp_path / name).write_text(json.dumps(content))
    (note,) = check_model(str(tmp_path), "hf:it")
    assert "auto_map in config.json) was not run" in note


def test_objects_are_not_unpickled_while_a_library_loads_even_where_it_asks_for_them(
    marker: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from clipbench.models.foreign_code import no_foreign_code

    saved = io.BytesIO()
    torch.save({"a": Payload(marker)}, saved)
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    with no_foreign_code(), pytest.raises(pickle.UnpicklingError):
        torch.load(io.BytesIO(saved.getvalue()), weights_only=False)
    assert not marker.exists()
    assert os.environ["TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"] == "1" and "TORCH_FORCE_WEIGHTS_ONLY_LOAD" not in os.environ
    torch.load(io.BytesIO(saved.getvalue()), weights_only=False)
    assert marker.exists()


def test_python_files_are_not_imported_while_a_library_loads_even_where_it_asks_for_them(
    stranger: Path, marker: Path
) -> None:
    from clipbench.models.foreign_code import no_foreign_code

    with no_foreign_code(), pytest.raises(ValueError, match="the model's own code is not run"):
        transformers.AutoTokenizer.from_pretrained(stranger, trust_remote_code=True)
    assert not marker.exists()
    transformers.AutoTokenizer.from_pretrained(stranger, trust_remote_code=True)
    assert marker.exists()
