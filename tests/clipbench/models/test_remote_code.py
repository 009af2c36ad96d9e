"""Code that comes with a model runs from a pinned commit, after it was shown, and only where the user asks for it."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import transformers

from clipbench.errors import ModelError, Unavailable, UsageError
from clipbench.models.adapters import sentence_transformers
from clipbench.models.adapters import transformers as hf
from clipbench.models.foreign_code import TrustedCode, only_shown_code
from clipbench.models.hub_files import Pinned
from clipbench.models.options import LoadOptions
from clipbench.models.protocol import Model
from tests.clipbench.models import small_models

COMMIT, OTHER = "a" * 40, "b" * 40

CODE = """
import pathlib
from transformers import CLIPConfig, CLIPModel
pathlib.Path({trace!r}).write_text("it ran")
class OwnConfig(CLIPConfig):
    model_type = "own"
class OwnModel(CLIPModel):
    config_class = OwnConfig
"""


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of the Hub; whoever asks on the terminal whether to run code hears yes."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(transformers.dynamic_module_utils, "HF_MODULES_CACHE", str(tmp_path / "modules"))
    monkeypatch.setattr("builtins.input", lambda *_: "y")
    return tmp_path / "hub"


@pytest.fixture
def stranger(cache: Path, tmp_path: Path) -> Path:
    """A CLIP of classes of its own, in the cache as org/own; returns the file that its code writes."""
    folder, trace = small_models.transformers_clip(tmp_path / "own"), tmp_path / "it-ran"
    classes = {"AutoConfig": "own_model.OwnConfig", "AutoModel": "own_model.OwnModel"}
    small_models.change_json(folder / "config.json", model_type="own", auto_map=classes)
    (folder / "own_model.py").write_text(CODE.format(trace=str(trace)))
    small_models.hub_cache(cache, "org/own", folder)
    return trace


def trusting(**options: str) -> LoadOptions:
    return LoadOptions(trust_remote_code=True, options=options)


def test_trusted_code_of_a_commit_is_shown_and_run_and_recorded(
    stranger: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model: Any = hf.load(f"org/own@{COMMIT}", trusting())

    assert stranger.read_text() == "it ran" and isinstance(model, Model)
    library = transformers.AutoModel.from_pretrained(tmp_path / "own", trust_remote_code=True)
    assert type(library).__name__ == "OwnModel"
    error_text = capsys.readouterr().err
    assert (
        f"runs code of org/own@{COMMIT}: own_model.py (8 lines, sha256 " in error_text and ", stored in " in error_text
    )
    note = next(note for note in model.info.notes if "own_model.py" in note)
    assert COMMIT in note and COMMIT in model.info.id and model.info.family == "transformers/Own"
    plain = hf.load(str(small_models.transformers_clip(tmp_path / "plain")), LoadOptions())
    shutil.copy(tmp_path / "own/model.safetensors", tmp_path / "plain/model.safetensors")
    plain = hf.load(str(tmp_path / "plain"), LoadOptions())
    np.testing.assert_allclose(
        model.encode_texts(small_models.TEXTS), plain.encode_texts(small_models.TEXTS), atol=1e-6
    )
    np.testing.assert_array_equal(
        model.encode_images(small_models.images()), plain.encode_images(small_models.images())
    )


def test_other_code_is_another_model(stranger: Path, cache: Path) -> None:
    before = hf.load(f"org/own@{COMMIT}", trusting()).info.fingerprint
    code = next(cache.rglob("own_model.py"))
    changed = code.read_text() + "\n# changed\n"
    code.unlink()
    code.write_text(changed)

    assert hf.load(f"org/own@{COMMIT}", trusting()).info.fingerprint != before


@pytest.mark.parametrize(
    ("body", "trust", "error", "message"),
    [
        ("org/own", False, ModelError, "needs Python code from its repository, which is not run by default"),
        (f"org/own@{COMMIT}", False, ModelError, r"give trust_remote_code=True with ORG/REPO@COMMIT"),
        ("org/own", True, UsageError, r"names no commit, but trust_remote_code=True only runs code at a commit that you have read"),
        ("org/own@main", True, UsageError, "names 'main', which may change: expected a commit"),
        ("org/own@main", False, UsageError, "names 'main', which may change: expected a commit"),
        (f"org/own@{COMMIT[:7]}", True, UsageError, "expected a commit, hf:ORG/REPO@ and 40 hex digits"),
        (f"org/own@{OTHER}", True, Unavailable, "cannot get hf:org/own@b"),
        ("FOLDER", True, UsageError, "is a folder, so its code has no commit"),
    ],
)  # fmt: skip
def test_code_does_not_run_otherwise(
    stranger: Path, tmp_path: Path, body: str, trust: bool, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message) as caught:
        hf.load(body.replace("FOLDER", str(tmp_path / "own")), LoadOptions(trust_remote_code=trust))
    assert not stranger.exists() and "\n" not in str(caught.value)


def test_code_of_another_repository_needs_a_commit_of_its_own(
    stranger: Path, cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    code = next(cache.rglob("own_model.py"))
    (elsewhere / "own_model.py").write_text(code.read_text())
    code.unlink()
    config = next(cache.rglob("config.json"))
    classes = json.loads(config.read_text())["auto_map"]
    small_models.change_json(config, auto_map={key: f"org/code--{name}" for key, name in classes.items()})
    small_models.hub_cache(cache, "org/code", elsewhere, OTHER)

    with pytest.raises(ModelError, match="the code of org/own is in org/code, which its commit does not pin"):
        hf.load(f"org/own@{COMMIT}", trusting())
    assert not stranger.exists()

    hf.load(f"org/own@{COMMIT}", trusting(code_commit=OTHER))
    assert stranger.exists() and f"org/code@{OTHER}: own_model.py" in capsys.readouterr().err


def test_a_model_without_code_of_its_own_is_loaded_at_its_commit(
    cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small_models.hub_cache(cache, "org/plain", small_models.transformers_clip(tmp_path / "plain"))
    capsys.readouterr()

    for options in (LoadOptions(), trusting()):
        model = hf.load(f"org/plain@{COMMIT}", options)
        assert model.info.id == f"hf:org/plain@{COMMIT}" and model.info.notes == ()
    assert capsys.readouterr().err == ""


MODULE = """
import pathlib, torch
from sentence_transformers.sentence_transformer.modules import Module
pathlib.Path({trace!r}).write_text("it ran")
class Own(Module):
    config_keys = []
    modalities = ["text"]
    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.arange(4.0))
    def preprocess(self, texts, prompt=None, **kwargs):
        return {{"lengths": torch.tensor([[float(len(each))] for each in texts])}}
    def forward(self, features, **kwargs):
        features["sentence_embedding"] = features["lengths"] + self.weight
        return features
    def save(self, output_path, *args, **kwargs): pass
    @classmethod
    def load(cls, *args, **kwargs): return cls()
"""


def load_sentences(**options: Any) -> Any:
    """Load the texts' side of org/st, whose modules are its own or another's."""
    lent: dict[str, Any] = {"towers": ["texts"]}
    return sentence_transformers.load(f"org/st@{COMMIT}", LoadOptions(**options, **lent))


def put_sentences(cache: Path, folder: Path, *types: str) -> None:
    """Put a model of some modules into the cache as org/st."""
    folder.mkdir(exist_ok=True)
    modules = [{"idx": idx, "name": str(idx), "path": "", "type": name} for idx, name in enumerate(types)]
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "model.safetensors").write_bytes(b"")
    small_models.hub_cache(cache, "org/st", folder)


def test_modules_of_sentence_transformers_run_from_a_commit_too(cache: Path, tmp_path: Path) -> None:
    pytest.importorskip("sentence_transformers", reason="the library that loads the modules")
    folder, trace = tmp_path / "st", tmp_path / "it-ran"
    folder.mkdir()
    (folder / "own_module.py").write_text(MODULE.format(trace=str(trace)))
    put_sentences(cache, folder, "own_module.Own")

    with pytest.raises(ModelError, match=r"needs own_module\.Own"):
        load_sentences()
    assert not trace.exists()

    model = load_sentences(trust_remote_code=True)
    assert trace.exists() and model.encode_texts(["abc"]).tolist() == [[3, 4, 5, 6]]
    assert "own_module.py" in model.info.notes[0]


def test_modules_of_another_repository_run_from_its_commit_each(
    cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("sentence_transformers", reason="the library that loads the modules")
    ran = {commit: tmp_path / commit for commit in (OTHER, "c" * 40)}
    for commit, trace in ran.items():  # the last is the branch main, which may hold other code every day
        elsewhere = tmp_path / f"code-{commit}"
        elsewhere.mkdir()
        (elsewhere / "own_module.py").write_text(MODULE.format(trace=str(trace)))
        shutil.rmtree(cache / "models--org--code/refs", ignore_errors=True)
        small_models.hub_cache(cache, "org/code", elsewhere, commit)
    put_sentences(cache, tmp_path / "st", "org/code--own_module.Own", "org/code--own_module.Own")

    with pytest.raises(ModelError, match="the code of org/st is in org/code, which its commit does not pin"):
        load_sentences(trust_remote_code=True)
    load_sentences(trust_remote_code=True, options={"code_commit": OTHER})
    assert f"org/code@{OTHER}: own_module.py" in capsys.readouterr().err
    assert [trace.exists() for trace in ran.values()] == [True, False]


def test_code_named_deep_in_a_file_is_shown_and_no_other_runs(stranger: Path, cache: Path, tmp_path: Path) -> None:
    home = next(cache.rglob("config.json")).parent
    nested = {"image_processor": {"auto_map": {"AutoImageProcessor": ["org/code--own_images.Own", None]}}}
    (home / "processor_config.json").write_text(json.dumps(nested))
    with pytest.raises(ModelError, match="the code of org/own is in org/code, which its commit does not pin"):
        hf.load(f"org/own@{COMMIT}", trusting())

    code = TrustedCode("", "", home, Pinned("org/code", OTHER))
    with (
        only_shown_code(code),
        pytest.raises(ModelError, match=r"requests code of org/third \(x\.py\), which is not the code that was shown"),
    ):
        transformers.dynamic_module_utils.get_class_from_dynamic_module("org/third--x.X", str(home))
    assert not stranger.exists()
