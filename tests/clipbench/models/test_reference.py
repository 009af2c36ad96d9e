"""Meanings of references, and what is said of one that means nothing."""

import sys
from pathlib import Path

import numpy as np
import open_clip
import pytest
from PIL import Image

from clipbench.data.modalities import IMAGE, TEXT
from clipbench.errors import ModelError, UsageError
from clipbench.models import aliases, load_model
from clipbench.models.adapters.vectors import Embeddings
from clipbench.models.checkpoints import is_pattern, matching_checkpoints
from clipbench.models.options import LoadOptions
from clipbench.models.protocol import Internals, Model
from clipbench.models.reference import check_references, resolve
from clipbench.training.clip.adapter import SHIPPED
from tests.made import modules_after

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
        ("ViT-B/32", ("open_clip", "ViT-B-32-quickgelu/openai")),
        ("ViT-B/16", ("open_clip", "ViT-B-16-quickgelu/openai")),
        ("ViT-L/14", ("open_clip", "ViT-L-14-quickgelu/openai")),
        ("vit-l/14@336PX", ("open_clip", "ViT-L-14-336-quickgelu/openai")),
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
    assert resolve(reference, LoadOptions())[:2] == meant


@pytest.mark.parametrize("path", ["a/b.safetensors", "c.PT", "d e.pth", "f.bin"])
def test_a_checkpoint_with_its_architecture_is_open_clip_s(path: str) -> None:
    adapter, body, options = resolve(path, LoadOptions(arch="ViT-B-32"))
    assert (adapter, body, options.arch) == ("open_clip", path, "ViT-B-32")


def test_a_reference_names_architecture_and_checkpoint_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("mine.pt", "d,e.pth", "epoch_2.pt", "epoch_10.pt"):
        Path(name).touch()
    for reference in ("ViT-B-32,mine.pt", "ViT-B/32,mine.pt"):
        adapter, body, options = resolve(reference, LoadOptions(arch="RN50"))
        assert (adapter, body, options.arch) == ("open_clip", "mine.pt", reference.partition(",")[0])
    assert resolve("d,e.pth", LoadOptions(arch="RN50"))[1:] == ("d,e.pth", LoadOptions(arch="RN50"))
    assert is_pattern("ViT-B-32,epoch_*.pt")
    assert [member.reference for member in matching_checkpoints("ViT-B-32,epoch_*.pt")] == [
        "ViT-B-32,epoch_2.pt",
        "ViT-B-32,epoch_10.pt",
    ]
    with pytest.raises(
        UsageError, match=r"^no checkpoint gone\.pt: expected a file after 'ViT-B-32,'\. Check the path$"
    ):
        resolve("ViT-B-32,gone.pt", LoadOptions())
    with pytest.raises(UsageError, match=r"^'ViT-B-32,gone/epoch_2' names no checkpoint: expected ARCH,FILE"):
        resolve("ViT-B-32,gone/epoch_2", LoadOptions())


def test_an_architecture_is_for_the_references_that_need_one(tmp_path: Path) -> None:
    (tmp_path / "mine.pt").touch()
    mine, given = str(tmp_path / "mine.pt"), LoadOptions(arch="ViT-B-32")
    for other in ("tiny", "vit-b-32", f"ViT-B-16,{mine}", "embeddings:x.npz", "python:a:b"):
        assert resolve(other, given).options.arch in (None, "ViT-B-16")
        check_references([other, mine], given)
    for pair in (f"pair:tiny+{mine}", f"pair:{mine}+tiny"):
        assert resolve(pair, given).options.arch == "ViT-B-32"
        check_references([pair], given)
    with pytest.raises(
        UsageError, match=r"^arch='ViT-B-32' has no effect on 'tiny', 'vit-b-32': only a checkpoint file"
    ):
        check_references(["tiny", "vit-b-32"], given)


@pytest.mark.parametrize(
    ("first", "second"), [("vit-b-32", "ViT-B/32"), ("{mine}", "RN50,{mine}"), ("TINY", "bundled:tiny")]
)
def test_two_references_to_one_model_are_one_line(first: str, second: str, tmp_path: Path) -> None:
    (tmp_path / "mine.pt").touch()
    names = [name.format(mine=tmp_path / "mine.pt") for name in (first, second)]
    arch = "RN50" if "{mine}" in first else None
    with pytest.raises(UsageError, match=r"^'.*' and '.*' are the same model, .*\. Remove one of them$"):
        check_references(names, LoadOptions(arch=arch))


def test_every_alias_stands_for_weights_that_open_clip_knows() -> None:
    result = {each.alias: each.target.partition(":")[::2] for each in aliases()}
    for alias, (prefix, body) in result.items():
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
            each.description for each in aliases() if each.alias == alias
        )


def test_listing_and_resolving_import_no_torch() -> None:
    code = (
        "from clipbench.models import reference_rows; from clipbench.models.reference import resolve;"
        " from clipbench.models.options import LoadOptions; reference_rows(); resolve('vit-b-32', LoadOptions())"
    )
    assert not {"torch", "open_clip", "transformers", "pandas", "pyarrow"} & modules_after(code)


def test_a_reference_is_kept_as_it_was_given(small_clip_folder: Path, tmp_path: Path) -> None:
    text = f"LOCAL-dir:{small_clip_folder}"
    model = load_model(text, LoadOptions())
    assert model.info.ref == text and model.info.id == f"local-dir:{small_clip_folder}"
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
    with pytest.raises(ModelError, match=f"adapter 'Strange' returned an object of type {name} for 'strange:{body}':"):
        load_model(f"strange:{body}", LoadOptions())
