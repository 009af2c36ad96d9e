"""What a reference means, and what is said of one that means nothing."""

import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import open_clip
import pytest
from PIL import Image
from safetensors.torch import save_file

from clipbench import plugins
from clipbench.data.modalities import IMAGE, TEXT
from clipbench.errors import ModelError, UsageError
from clipbench.models import aliases, load_model, reference_rows
from clipbench.models.adapters.vectors import Embeddings
from clipbench.models.internals import Internals
from clipbench.models.options import LoadOptions
from clipbench.models.protocol import Model
from clipbench.models.reference import resolve
from clipbench.training.clip.adapter import SHIPPED

STRANGER = '''
from dataclasses import dataclass

import numpy as np
from clipbench import Model, ModelInfo


@dataclass(frozen=True)
class Strange(Model):
    """A model with an info that cannot be set."""

    info: ModelInfo

    def encode(self, modality, inputs, role=None):
        return np.full((len(inputs), 2), float(modality == "image"), np.float32)

    def costs(self):
        return ("1 coin",)


class Pixels(Strange):
    preprocess = staticmethod(lambda image: np.full((3, 1, 1), 7, np.float32))

    def encode(self, modality, inputs, role=None):
        return inputs[:, :2, 0, 0] if modality == "image" else super().encode(modality, inputs, role)


class Like:
    info, encode, modalities = None, Strange.encode, ("image", "text")


class Nameless(Model):
    encode = Strange.encode


def load(body, options):
    info = ModelInfo(ref="?", id=f"strange:{body}", fingerprint="f", family="strange", embed_dim=2,
                     context_length=None, image_size=None, logit_scale=1.0, logit_bias=0.0, n_parameters=0)
    others = {"junk": lambda: 3, "like": Like, "nameless": Nameless, "pixels": lambda: Pixels(info)}
    return others.get(body, lambda: Strange(info))()
'''


@pytest.fixture
def stranger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody's distribution that adds the prefix ``Strange``."""
    info = tmp_path / "stranger-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: stranger\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[clipbench.models]\nStrange = strange_adapter:load\n")
    (tmp_path / "strange_adapter.py").write_text(STRANGER)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "strange_adapter", raising=False)


@pytest.mark.parametrize(
    ("reference", "meant"),
    [
        ("vit-b-32", ("open_clip", "ViT-B-32-quickgelu/openai")),
        ("VIT-B-32", ("open_clip", "ViT-B-32-quickgelu/openai")),
        ("SigLIP2-b-16", ("open_clip", "ViT-B-16-SigLIP2/webli")),
        ("ViT-L-14,datacomp_xl_s13b_b90k", ("open_clip", "ViT-L-14/datacomp_xl_s13b_b90k")),
        ("ViT-B/32,openai", ("open_clip", "ViT-B/32/openai")),
        ("Open_CLIP:RN50/openai", ("open_clip", "RN50/openai")),
        ("HF-hub:org/Name", ("hf-hub", "org/Name")),
        ("local-dir:./A b", ("local-dir", "./A b")),
        ("hf:openai/clip-vit-base-patch32", ("hf", "openai/clip-vit-base-patch32")),
        ("embeddings:x,y.npz", ("embeddings", "x,y.npz")),
        ("python:my.module:build", ("python", "my.module:build")),
    ],
)
def test_every_form_leads_to_its_adapter(reference: str, meant: tuple[str, str]) -> None:
    assert resolve(reference, LoadOptions()) == meant


def test_a_number_that_nothing_can_hold_is_no_option() -> None:
    with pytest.raises(UsageError, match=r"model option seed=1111.*: expected a whole number"):
        LoadOptions(options={"seed": "1" * 5_000}).whole_number("seed")


@pytest.mark.parametrize("path", ["a/b.safetensors", "c.PT", "d,e.pth", "f.bin"])
def test_a_checkpoint_with_its_architecture_is_open_clip_s(path: str) -> None:
    assert resolve(path, LoadOptions(arch="ViT-B-32")) == ("open_clip", path)


def test_every_alias_stands_for_weights_that_open_clip_knows() -> None:
    found = {each.alias: each.target.partition(":")[::2] for each in aliases()}
    for alias, (prefix, body) in found.items():
        assert alias == alias.casefold()
        if prefix != "open_clip":
            assert body in SHIPPED if alias == "tiny" else body.startswith("google/"), alias
            continue
        arch, _, tag = body.partition("/")
        settings = open_clip.get_pretrained_cfg(arch, tag)
        assert settings, alias
        config = open_clip.get_model_config(arch)
        assert bool(settings.get("quick_gelu")) == bool(config.get("quick_gelu")), alias
        context = next(each.context for each in aliases() if each.alias == alias)
        assert config["text_cfg"].get("context_length", 77) == context, alias
        assert f"{config['vision_cfg']['image_size']} px" in next(
            each.what for each in aliases() if each.alias == alias
        )


def test_every_alias_and_form_is_listed(stranger: None) -> None:
    listed = dict(reference_rows())

    assert listed["vit-b-32"] == (
        "OpenAI CLIP, 151 M parameters, 224 px, 77 tokens, MIT (open_clip:ViT-B-32-quickgelu/openai)"
    )
    assert {"hf-hub:ORG/REPO", "FILE --arch ARCH", "embeddings:FILE", "Strange:..."} <= set(listed)
    prefixes = {row.partition(":")[0] for row in listed if ":" in row}
    assert prefixes >= set(plugins.names(plugins.MODELS))


def test_listing_and_resolving_import_no_torch() -> None:
    code = (
        "import sys; from clipbench.models import reference_rows; from clipbench.models.reference import resolve;"
        " from clipbench.models.options import LoadOptions; reference_rows(); resolve('vit-b-32', LoadOptions());"
        " print(sorted({'torch', 'open_clip', 'transformers', 'pandas', 'pyarrow'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("vit-b-23", r"unknown model 'vit-b-23': did you mean 'vit-b-32'\? \(clipbench list models\)"),
        ("hff:openai/clip", r"no adapter 'hff': did you mean 'hf'\?"),
        ("hf:", "ends after its prefix: expected hf:ORG/REPO"),
        ("openai/clip-vit-base-patch32", "on the Hugging Face Hub it is hf:openai/clip-vit-base-patch32, or hf-hub:"),
        ("run/epoch_3.pt", r"checkpoint run/epoch_3.pt needs its architecture: add --arch ARCH, such as --arch ViT-B-32"),
        ("vectors.npz", "vectors in a file are embeddings:vectors.npz"),
        ("", "unknown model ''"),
    ],
)  # fmt: skip
def test_a_reference_that_means_nothing_is_told_what_is_near(reference: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        load_model(reference, LoadOptions())


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("open_clip_config.json", "a folder with open_clip_config.json is local-dir:"),
        ("config.json", "a folder with config.json is hf:"),
        ("images.npy", "a folder of vectors is embeddings:"),
        ("epoch_1.pt", "the folder has no config.json .* a checkpoint in it is FILE with --arch ARCH"),
    ],
)
def test_a_folder_is_told_which_kind_it_is(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / name).touch()

    with pytest.raises(UsageError, match=message):
        load_model(str(tmp_path), LoadOptions())


def test_a_file_of_another_kind_is_told_what_is_read(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").touch()

    with pytest.raises(
        UsageError, match=r"a checkpoint ends in .safetensors, .pt, .pth, .bin, a file of vectors in .npz"
    ):
        load_model(str(tmp_path / "model.onnx"), LoadOptions())


def test_a_reference_is_kept_as_it_was_given(small_clip_folder: Path, tmp_path: Path) -> None:
    given = f"LOCAL-dir:{small_clip_folder}"
    model = load_model(given, LoadOptions())
    assert model.info.ref == given and model.info.id == f"local-dir:{small_clip_folder}"
    assert isinstance(model, Model) and model.preprocess is not None

    np.savez(tmp_path / "x.npz", images=np.eye(2, dtype=np.float32), texts=np.eye(2, dtype=np.float32))
    file = load_model(f"Embeddings:{tmp_path / 'x.npz'}", LoadOptions())
    assert isinstance(file, Embeddings) and file.info.ref.startswith("Embeddings:")


def test_a_stranger_s_model_needs_to_know_nothing_of_the_reference(stranger: None) -> None:
    image = [Image.new("RGB", (2, 2))]
    plain, pixels = (load_model(f"STRANGE:{body}", LoadOptions()) for body in ("x", "pixels"))

    assert isinstance(plain, Model) and plain.preprocess is None and plain.internals() == Internals()
    assert (plain.info.ref, plain.info.id) == ("STRANGE:x", "strange:x")
    assert plain.costs() == ("1 coin",) and plain.modalities == (IMAGE, TEXT) and not plain.is_sole
    assert plain.encode_images(image).tolist() == [[1, 1]] and plain.encode_texts(["a"]).tolist() == [[0, 0]]
    assert isinstance(pixels, Model) and pixels.info.ref == "STRANGE:pixels"
    assert pixels.encode(IMAGE, pixels.inputs_of(image)).tolist() == pixels.encode_images(image).tolist() == [[7, 7]]


@pytest.mark.parametrize(("body", "name"), [("junk", "int"), ("like", "Like"), ("nameless", "Nameless")])
def test_an_adapter_that_returns_no_model_is_told_so(stranger: None, body: str, name: str) -> None:
    with pytest.raises(
        ModelError,
        match=f"adapter 'Strange' returned an object of type {name} for 'strange:{body}': expected a clipbench.Model with a",
    ):
        load_model(f"strange:{body}", LoadOptions())


def test_a_checkpoint_by_path_is_loaded(
    small_models: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(open_clip.factory, "_MODEL_CONFIG_PATHS", [*open_clip.factory._MODEL_CONFIG_PATHS])
    monkeypatch.setattr(open_clip.factory, "_MODEL_CONFIGS", open_clip.factory._MODEL_CONFIGS)
    (tmp_path / "Small-CLIP.json").write_text(json.dumps(small_models.CLIP))
    open_clip.add_model_config(tmp_path)
    state = small_models.random_state("Small-CLIP")
    save_file(state, tmp_path / "weights.safetensors")
    model = load_model(str(tmp_path / "weights.safetensors"), LoadOptions(arch="small-clip"))

    assert model.info.n_parameters == sum(each.numel() for each in state.values()) and model.info.embed_dim == 24
    assert isinstance(model, Model) and model.encode_texts(["a photo of a cat"]).shape == (1, 24)


@pytest.mark.slow
def test_a_checkpoint_of_true_size_is_loaded(vit_b_32_checkpoint: Path) -> None:
    model = load_model(str(vit_b_32_checkpoint), LoadOptions(arch="vit-b-32"))

    assert model.info.n_parameters == 151_277_313 and model.info.embed_dim == 512
    assert isinstance(model, Model) and model.encode_texts(["a photo of a cat"]).shape == (1, 512)
