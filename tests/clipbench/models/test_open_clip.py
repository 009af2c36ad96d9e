"""open_clip models: vectors equal to the library's own at full length, whatever way the weights come in."""

import copy
import json
import math
import os
import pickle
import shutil
import sys
import warnings
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import huggingface_hub
import numpy as np
import open_clip
import pytest
import torch
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image
from safetensors.torch import load_file, save_file
from torch.distributed.checkpoint.state_dict_loader import load as load_shards
from torch.distributed.checkpoint.state_dict_saver import save as save_shards

from clipbench.data.images import FileImage
from clipbench.errors import ModelError, Unavailable, UsageError
from clipbench.models.adapters.open_clip import _preprocess_of, load, load_folder, load_hub
from clipbench.models.checkpoints import training_checkpoints
from clipbench.models.options import LoadOptions
from clipbench.models.reference import resolve
from clipbench.models.towers.torch_model import OpenClipPreprocess
from tests.clipbench.models import small_models
from tests.clipbench.models.small_models import same

CUT = {"CLIP": True, "CUSTOM_TEXT_CLIP": True, "TIMM_CLIP": True, "MOBILE_CLIP": False, "COCA": False, "SIGLIP": False}
ARCH = "small-clip-for-tests"


@pytest.fixture(scope="module", params=CUT)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of each family, with random weights."""
    folder = tmp_path_factory.mktemp("open_clip") / request.param
    return small_models.open_clip_folder(folder, getattr(small_models, request.param))


@pytest.fixture(scope="module")
def ours(folder: Path) -> Any:
    """The model of each family, as clipbench loads it."""
    return load_folder(str(folder), LoadOptions(batch_size=4))


@pytest.fixture(scope="module")
def small_clip(small_clip_folder: Path) -> Any:
    """The small CLIP, as clipbench loads it."""
    return load_folder(str(small_clip_folder), LoadOptions())


@pytest.fixture(scope="module")
def arch(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The name of a small architecture that open_clip knows as long as the fixture lives."""
    paths, configs = list(open_clip.factory._MODEL_CONFIG_PATHS), dict(open_clip.factory._MODEL_CONFIGS)
    folder = tmp_path_factory.mktemp("configs")
    (folder / f"{ARCH}.json").write_text(json.dumps({**small_models.CLIP, "quick_gelu": False}))
    (folder / f"{ARCH}-quickgelu.json").write_text(json.dumps(small_models.CLIP))
    open_clip.add_model_config(folder)
    yield ARCH
    open_clip.factory._MODEL_CONFIG_PATHS[:] = paths
    open_clip.factory._MODEL_CONFIGS = configs


@pytest.fixture(scope="module")
def state(arch: str) -> dict[str, torch.Tensor]:
    return small_models.random_state(arch, seed=3)


@cache
def reference(folder: Path) -> tuple[Any, Any]:
    """Return open_clip's own model and tokenizer of a folder; nobody changes them."""
    return open_clip.create_model(f"local-dir:{folder}").eval(), open_clip.get_tokenizer(f"local-dir:{folder}")


def reference_texts(model: Any, tokenizer: Any, texts: list[str]) -> np.ndarray:
    """Return what open_clip itself gives, one text at a time, at full length."""
    with torch.no_grad():
        return np.concatenate([model.encode_text(tokenizer([text]), normalize=False).numpy() for text in texts])


def reference_images(model: Any, images: list[Any]) -> np.ndarray:
    """Return what open_clip itself gives with its own evaluation transform, one image at a time."""
    transform = image_transform_v2(PreprocessCfg(**model.visual.preprocess_cfg), is_train=False)
    with torch.no_grad():
        return np.concatenate([model.encode_image(transform(image)[None], normalize=False).numpy() for image in images])


# ----- the vectors


def test_texts_get_the_vectors_that_open_clip_gives_at_full_length(ours: Any, folder: Path) -> None:
    texts = list(small_models.TEXTS)

    same(ours.encode_texts(texts), reference_texts(*reference(folder), texts))


def test_images_of_every_mode_get_the_vectors_that_open_clip_gives(ours: Any, folder: Path) -> None:
    images = small_models.images()

    same(ours.encode_images(images), reference_images(reference(folder)[0], images))


def test_only_causal_towers_pooled_at_the_end_are_cut(ours: Any, folder: Path) -> None:
    assert (ours.text_tower.lengths is not None) == CUT[folder.name]


@pytest.mark.parametrize(("logarithm", "text"), [(800.0, "800"), (math.nan, "nan")])
def test_a_scale_that_is_no_number_is_said_to_be_none(
    small_clip_folder: Path, tmp_path: Path, logarithm: float, text: str
) -> None:
    copy = Path(shutil.copytree(small_clip_folder, tmp_path / "copy"))
    state = load_file(copy / "open_clip_model.safetensors") | {"logit_scale": torch.tensor(logarithm)}
    save_file(state, copy / "open_clip_model.safetensors")
    with pytest.raises(ModelError, match=rf"has logit_scale {text} and logit_bias 0: its training has diverged, or"):
        load_folder(str(copy), LoadOptions())


def test_scale_and_bias_are_those_of_open_clip_s_forward_pass(folder: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    for scale in (200, 50, 0.3) if folder.name in ("CLIP", "SIGLIP") else (200,):
        check_scale(copy, scale)


def check_scale(copy: Path, scale: float) -> None:
    state = load_file(copy / "open_clip_model.safetensors") | {"logit_scale": torch.tensor(math.log(scale))}
    save_file(state, copy / "open_clip_model.safetensors")
    theirs, tokenizer = reference.__wrapped__(copy)
    image, text = small_models.images()[0], "a cat"
    applied = theirs.forward_intermediates(output_logit_scale_bias=True)

    model = load_folder(str(copy), LoadOptions())

    info = model.info
    assert info.logit_scale == pytest.approx(applied["logit_scale"].item()) == pytest.approx(scale)
    assert info.logit_bias == applied.get("logit_bias", torch.tensor(0.0)).item()
    if hasattr(theirs, "get_logits"):  # CoCa has none
        transform = image_transform_v2(PreprocessCfg(**theirs.visual.preprocess_cfg), is_train=False)
        with torch.no_grad():
            logits = theirs.get_logits(transform(image)[None], tokenizer([text]))[0].item()
        a, b = model.encode_images([image])[0], model.encode_texts([text])[0]
        cosine = a @ b / np.linalg.norm(a) / np.linalg.norm(b)
        assert info.logit_scale * cosine + info.logit_bias == pytest.approx(logits, abs=5e-6 * max(scale, 1))


def test_a_tower_that_pools_at_a_named_token_is_cut_behind_it(tmp_path: Path) -> None:
    text = {**small_models.TEXT, "pool_type": "eos", "eos_id": 49407}
    folder = small_models.open_clip_folder(tmp_path, {**small_models.CUSTOM_TEXT_CLIP, "text_cfg": text})
    model = load_folder(str(folder), LoadOptions())

    assert model.text_tower.lengths is not None
    same(model.encode_texts(small_models.TEXTS), reference_texts(*reference(folder), list(small_models.TEXTS)))


def test_batch_statistics_are_not_used(tmp_path: Path) -> None:
    resnet = {"image_size": 32, "layers": [1, 1, 1, 1], "width": 16, "head_width": 8}
    model = load_folder(
        str(small_models.open_clip_folder(tmp_path, {**small_models.CLIP, "vision_cfg": resnet})), LoadOptions()
    )
    images = small_models.images()

    same(model.encode_images(images)[:1], model.encode_images(images[:1]))


# ----- what is known of the model


def test_half_precision_differs_a_little_and_has_its_own_fingerprint(small_clip: Any, small_clip_folder: Path) -> None:
    full = small_clip
    half = load_folder(str(small_clip_folder), LoadOptions(precision="bf16"))

    exact, rough = full.encode_texts(small_models.TEXTS), half.encode_texts(small_models.TEXTS)

    error = np.linalg.norm(rough - exact, axis=1) / np.linalg.norm(exact, axis=1)
    assert rough.dtype == np.float32 and (error > 1e-5).all() and (error < 0.05).all()
    assert half.encode_images(small_models.images()).dtype == np.float32
    assert half.info.fingerprint != full.info.fingerprint


def test_the_fingerprint_tells_all_that_changes_vectors(tmp_path: Path) -> None:
    siglip = small_models.SIGLIP
    short = {**siglip["text_cfg"], "context_length": 20}
    heads = {**small_models.VISION, "head_width": 16}
    built = {
        "as it is": (siglip, {}, 0),
        "activation": ({**siglip, "quick_gelu": True}, {}, 0),
        "heads": ({**siglip, "vision_cfg": heads}, {}, 0),
        "context": ({**siglip, "text_cfg": short}, {}, 0),
        "preprocessing": (siglip, {"mean": [0.5, 0.5, 0.5]}, 0),
        "weights": (siglip, {}, 1),
    }
    result = {}
    for name, (config, preprocess, seed) in built.items():
        path = small_models.open_clip_folder(tmp_path / name, config, preprocess=preprocess, seed=seed)
        result[load_folder(str(path), LoadOptions()).info.fingerprint] = name

    assert len(result) == len(built)


# ----- ways in


WRAPPED: dict[str, Callable[[dict[str, torch.Tensor]], Any]] = {
    "training.pt": lambda state: {
        "epoch": 3,
        "name": "run",
        "state_dict": {f"module.{name}": value for name, value in state.items()},
        "optimizer": {"state": {}, "param_groups": [{"lr": 0.1}]},
    },
    "both.bin": lambda state: {f"module._orig_mod.{name}": value for name, value in state.items()},
}


def test_a_checkpoint_gives_the_same_however_it_was_saved(
    arch: str, state: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    save_file(state, tmp_path / "weights.safetensors")
    for name, wrap in WRAPPED.items():
        torch.save(wrap(state), tmp_path / name)
    theirs = open_clip.create_model(arch, pretrained=str(tmp_path / "weights.safetensors")).eval()
    texts = list(small_models.TEXTS[:3])
    expected = reference_texts(theirs, open_clip.get_tokenizer(arch), texts)

    models = [load(str(tmp_path / name), LoadOptions(arch=arch)) for name in ["weights.safetensors", *WRAPPED]]

    assert len({model.info.fingerprint for model in models}) == 1
    for model in models:
        same(model.encode_texts(texts), expected)


FORCED = {"force_quick_gelu": True, "force_context_length": 20, "force_image_size": 64, "image_mean": [0.5, 0.4, 0.3]}
"""Settings of a training, of which each changes vectors."""


@pytest.fixture(scope="module")
def training(arch: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a training as open_clip writes it: two steps, with a moving average, in a file and in shards."""
    run = tmp_path_factory.mktemp("logs") / "run"
    model, _, _ = open_clip.create_model_and_transforms(arch, init_logit_bias=-10.0, **FORCED)
    average, optimizer = copy.deepcopy(model), torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(2):
        images, texts = model.encode_image(torch.randn(4, 3, 64, 64)), model.encode_text(torch.randint(1, 99, (4, 20)))
        (model.logit_scale * (images * texts).sum() + model.logit_bias).backward()
        optimizer.step()
        for old, new in zip(average.parameters(), model.parameters(), strict=True):
            old.data.lerp_(new.data, 0.3)
    raw = model.state_dict()
    checkpoint = {"epoch": 5, "state_dict": {f"module.{name}": value for name, value in raw.items()}}
    (run / "checkpoints").mkdir(parents=True)
    ema = {"optimizer": optimizer.state_dict(), "state_dict_ema": average.state_dict()}
    torch.save({**checkpoint, **ema}, run / "checkpoints/epoch_5.pt")
    shards = {"model": {**raw, "logit_scale": raw["logit_scale"][None]}, "optimizer": optimizer.state_dict()}
    with warnings.catch_warnings(action="ignore"):  # of one process
        save_shards(shards, checkpoint_id=run / "checkpoints/epoch_6")
    settings = {"model": arch, "precision": "amp", "pretrained": "", "siglip": True, "name": "a: b", **FORCED}
    (run / "params.txt").write_text("".join(f"{name}: {value}\n" for name, value in settings.items()))
    return run


@pytest.mark.parametrize(
    ("name", "weights", "key"),
    [
        ("epoch_5.pt", None, "state_dict_ema"),
        ("epoch_5.pt", "ema", "state_dict_ema"),
        ("epoch_5.pt", "raw", "state_dict"),
        ("epoch_6", None, "sharded"),
    ],
)
def test_a_training_is_evaluated_as_open_clip_does(
    arch: str, training: Path, name: str, weights: str | None, key: str
) -> None:
    path = training / "checkpoints" / name
    theirs, _, transform = open_clip.create_model_and_transforms(arch, init_logit_bias=-10.0, **FORCED)
    if key == "state_dict_ema":
        theirs.load_state_dict(torch.load(path)[key])
    elif key == "state_dict":
        open_clip.load_checkpoint(theirs, str(path))
    else:
        shards = {**theirs.state_dict(), "logit_scale": torch.zeros(1)}
        with warnings.catch_warnings(action="ignore"):
            load_shards({"model": shards}, checkpoint_id=path)
        theirs.load_state_dict({**shards, "logit_scale": shards["logit_scale"][0]})

    assert resolve(str(path), LoadOptions())[:2] == ("open_clip", str(path))
    model = load(str(path), LoadOptions(options={} if weights is None else {"weights": weights}))

    for own, expected in zip(model.module.state_dict().values(), theirs.eval().state_dict().values(), strict=True):
        assert torch.equal(own, expected)
    texts, images = list(small_models.TEXTS), [image.convert("RGB") for image in small_models.images()]
    same(model.encode_texts(texts), reference_texts(theirs, open_clip.get_tokenizer(arch, context_length=20), texts))
    with torch.no_grad():
        expected = np.concatenate([theirs.encode_image(transform(image)[None]).numpy() for image in images])
    np.testing.assert_array_equal(np.concatenate([model.encode_images([image]) for image in images]), expected)
    info = model.info
    assert (info.precision, info.step, info.logit_bias) == ("fp32", int(name[6]), theirs.logit_bias.item())
    assert "Trained in amp, evaluated in fp32" in info.notes[0]
    assert info.notes[1].startswith("ema" if key == "state_dict_ema" else "raw")
    assert training / "params.txt" in model.files


def test_a_training_lists_its_shards_too(training: Path) -> None:
    assert [training_checkpoint.name for training_checkpoint in training_checkpoints(training)] == [
        "epoch_5.pt",
        "epoch_6",
    ]


class Program:
    """An object that ends the process when it is unpickled."""

    def __reduce__(self) -> tuple[object, ...]:
        return sys.exit, ("ran",)


def change_shards(run: Path, **changed: object) -> None:
    """Write the list of tensors of a training's shards with other attributes."""
    path = run / "checkpoints/epoch_6/.metadata"
    listed = pickle.loads(path.read_bytes())
    vars(listed).update(changed)
    path.write_bytes(pickle.dumps(listed))


def write_shards(run: Path, content: bytes) -> None:
    (run / "checkpoints/epoch_6/.metadata").write_bytes(content)


def change_ema(run: Path) -> None:
    path = run / "checkpoints/epoch_5.pt"
    checkpoint = torch.load(path)
    checkpoint["state_dict_ema"]["text_projection"] = torch.zeros(3, 4)
    torch.save(checkpoint, path)


def change_params(run: Path, old: str, new: str) -> None:
    (run / "params.txt").write_text((run / "params.txt").read_text().replace(old, new))


SHARDED, FILE = "epoch_6", "epoch_5.pt"
SHARDED_PATH = Path("checkpoints") / SHARDED


@pytest.mark.parametrize(
    ("change", "name", "options", "message"),
    [
        (change_ema, FILE, {}, r"\(state_dict_ema\) does not fit .* \(text_projection \(3, 4\).*'raw'"),
        (
            lambda run: change_params(run, "length: 20", "length: 21"),
            FILE,
            {},
            r"not fit .*params.txt belongs to this training",
        ),
        (lambda run: change_params(run, "model: ", "m: "), FILE, {}, "has no line 'model: ARCH'"),
        (
            lambda run: change_params(run, "size: 64", "size: 128"),
            FILE,
            {},
            r"1 of another shape .* belongs to this training",
        ),
        (lambda run: change_params(run, "siglip", "use_naflex"), FILE, {}, "NaFlex, which open_clip 3 cannot"),
        (None, FILE, {"arch": "RN50"}, r"arch='RN50' contradicts .*params.txt, which says that epoch_5.pt is a small"),
        (None, FILE, {"options": {"tag": "openai"}}, "{'tag': 'openai'} contradicts .*params.txt"),
        (None, FILE, {"options": {"weights": "emma"}}, "weights=emma: did you mean 'ema'"),
        (None, SHARDED, {"options": {"weights": "ema"}}, "epoch_6 has no EMA weights"),
        (None, FILE, {"options": {"context": "40"}}, "checkpoint with 20 text positions"),
        (lambda run: change_shards(run, planner_data=Program()), SHARDED, {}, "names sys.exit, .* run code"),
        (
            lambda run: write_shards(run, b"cpathlib\nPosixPath\n(N}Vname\nV../x\nstb."),
            SHARDED,
            {},
            r"damaged \(Unpickl",
        ),
        (lambda run: change_shards(run, storage_data={}), SHARDED, {}, r"cannot be read \(KeyError"),
        (lambda run: change_shards(run, storage_data=None), SHARDED, {}, "is not a list of tensors"),
        (lambda run: change_shards(run, state_dict_metadata={}), SHARDED, {}, "no tensor under 'model.'"),
        (lambda run: os.truncate(run / SHARDED_PATH / ".metadata", 99), SHARDED, {}, "is damaged"),
        (lambda run: os.truncate(run / SHARDED_PATH / "__0_0.distcp", 1 << 16), SHARDED, {}, "its end"),
        (lambda run: os.remove(run / SHARDED_PATH / "__0_0.distcp"), SHARDED, {}, "lacks file __0_0"),
    ],
)
def test_a_training_that_contradicts_itself_or_is_not_whole_is_refused(
    training: Path,
    tmp_path: Path,
    change: Callable[[Path], object] | None,
    name: str,
    options: dict[str, Any],
    message: str,
) -> None:
    run = Path(shutil.copytree(training, tmp_path / "run"))
    if change is not None:
        change(run)

    with pytest.raises(ModelError if change else UsageError, match=message):
        load(str(run / "checkpoints" / name), LoadOptions(**options))


def test_a_checkpoint_gets_the_preprocessing_that_its_architecture_was_trained_with() -> None:
    settings, notes = _preprocess_of("ViT-B-16-SigLIP")
    assert settings["resize_mode"] == "squash" and settings["mean"] == (0.5, 0.5, 0.5)
    assert "squash" in notes[0]

    settings, notes = _preprocess_of("ViT-L-14")
    assert not settings and "differ in it for ViT-L-14. Choose another with model_options={'tag': 'TAG'}" in notes[0]


def test_random_weights_are_had_on_purpose_by_seed(arch: str) -> None:
    first, again, other = (
        load(f"{arch}/random", LoadOptions(options={"seed": seed})).encode_texts(["a cat"]) for seed in ("1", "1", "2")
    )

    np.testing.assert_array_equal(first, again)
    assert not np.allclose(first, other, atol=1e-3)
    assert "random weights (seed 0)" in load(f"{arch}/RANDOM", LoadOptions()).info.notes[0]


@pytest.fixture
def cached_weights(
    arch: str,
    state: dict[str, torch.Tensor],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Path:
    """Weights in a Hugging Face cache, under a tag that open_clip says was trained with QuickGELU."""
    settings = {**open_clip.get_pretrained_cfg("ViT-B-32", "openai"), "hf_hub": "org/small/"}
    for name in (arch, f"{arch}-quickgelu"):
        monkeypatch.setitem(open_clip.pretrained._PRETRAINED, name, {"openai": settings})
    (tmp_path / "files").mkdir()
    save_file(state, tmp_path / "files/open_clip_model.safetensors")
    stored = small_models.hub_cache(tmp_path / "cache", "org/small", tmp_path / "files")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(stored))
    return tmp_path / "files/open_clip_model.safetensors"


def test_cached_weights_need_no_network_and_get_the_activation_they_were_trained_with(
    arch: str, cached_weights: Path
) -> None:
    texts, tokenizer = list(small_models.TEXTS), open_clip.get_tokenizer(arch)
    right, wrong = (
        reference_texts(open_clip.create_model(name, pretrained=str(cached_weights)).eval(), tokenizer, texts)
        for name in (f"{arch}-quickgelu", arch)
    )

    model = load(f"{arch.upper()}/OpenAI", LoadOptions())

    same(model.encode_texts(texts), right)
    assert np.abs(model.encode_texts(texts) - wrong).max() > 1e-3
    assert model.info.id == f"open_clip:{arch}-quickgelu/openai"
    assert f"openai was trained with QuickGELU: loaded as {arch}-quickgelu" in model.info.notes[0]


def test_the_same_weights_through_a_file_and_their_tag_have_one_fingerprint(arch: str, cached_weights: Path) -> None:
    by_tag = load(f"{arch}-quickgelu/openai", LoadOptions())
    by_file = load(str(cached_weights), LoadOptions(arch=arch, options={"tag": "openai"}))

    assert by_tag.info.fingerprint == by_file.info.fingerprint
    assert by_tag.info.notes == ()


def test_a_cached_hub_repository_needs_no_network(
    small_clip: Any, small_clip_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = small_models.hub_cache(tmp_path, "org/small", small_clip_folder)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(stored))

    by_hub, by_folder = load_hub("org/small", LoadOptions()), small_clip

    np.testing.assert_array_equal(by_hub.encode_texts(["a cat"]), by_folder.encode_texts(["a cat"]))
    assert by_hub.info.fingerprint == by_folder.info.fingerprint and by_hub.info.id == "hf-hub:org/small"


def test_a_data_sets_images_of_any_mode_reach_the_tower_as_torchvisions_loader_gives_them(tmp_path: Path) -> None:
    colours = Image.fromarray(np.random.default_rng(0).integers(0, 256, (90, 70, 3), np.uint8))
    grey = colours.convert("L")
    transform = OpenClipPreprocess(image_transform_v2(PreprocessCfg(size=32), is_train=False))
    images = {"RGB": colours, "L": grey, "P": colours.quantize(16), "1": grey.convert("1"), "LA": grey.convert("LA")}
    for mode, image in images.items():
        image.save(tmp_path / f"{mode}.png")
        with Image.open(tmp_path / f"{mode}.png") as theirs:
            assert theirs.mode == mode
            np.testing.assert_array_equal(
                transform(FileImage(tmp_path / f"{mode}.png").open()), transform(theirs.convert("RGB"))
            )


# ----- what goes wrong


def test_weights_that_would_have_to_be_fetched_are_unavailable_at_once() -> None:
    with pytest.raises(
        Unavailable,
        match=r"weights of open_clip:ViT-B-16/laion2b_s34b_b88k: not on this machine, and Hub repository"
        r" laion/CLIP-ViT-B-16-laion2B-s34B-b88K cannot be reached .*model='local-dir:FOLDER'.*HF_HOME",
    ):
        load("ViT-B-16/laion2b_s34b_b88k", LoadOptions())
    with pytest.raises(Unavailable, match=r"weights of open_clip:ViT-B-32-quickgelu/openai: .*timm/vit_base_patch32"):
        load("ViT-B-32/openai", LoadOptions())
    with pytest.raises(Unavailable, match=r"weights of hf-hub:org/name: .* repository org/name cannot be reached"):
        load_hub("org/name", LoadOptions())


def test_a_folder_that_is_not_whole_says_what_it_lacks(small_clip_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"has no open_clip_config.json: .*arch='ARCH'.*hf:FOLDER"):
        load_folder(str(tmp_path), LoadOptions())
    (tmp_path / "open_clip_config.json").write_text("{")
    with pytest.raises(ModelError, match=r"open_clip_config.json is not JSON: "):
        load_folder(str(tmp_path), LoadOptions())
    (tmp_path / "open_clip_config.json").write_text('{"model_cfg": {"embed_dim": 1}}')
    with pytest.raises(ModelError, match="has no integer embed_dim, or no objects vision_cfg and text_cfg"):
        load_folder(str(tmp_path), LoadOptions())
    (tmp_path / "open_clip_config.json").write_text((small_clip_folder / "open_clip_config.json").read_text())
    with pytest.raises(ModelError, match=r"no open_clip_model.safetensors, so exactly one other checkpoint"):
        load_folder(str(tmp_path), LoadOptions())
    for name in ("one.pt", "two.pt"):
        (tmp_path / name).touch()
    with pytest.raises(ModelError, match=r"found one.pt, two.pt"):
        load_folder(str(tmp_path), LoadOptions())


def test_a_folder_without_the_tokenizer_it_needs_is_refused(small_siglip_folder: Path, tmp_path: Path) -> None:
    for name in ("open_clip_config.json", "open_clip_model.safetensors"):
        (tmp_path / name).write_bytes((small_siglip_folder / name).read_bytes())

    with pytest.raises(ModelError, match="open_clip cannot load local-dir:"):
        load_folder(str(tmp_path), LoadOptions())
    (tmp_path / "tokenizer_config.json").write_text('{"tokenizer_class": "GemmaTokenizer"}')
    with pytest.raises(ModelError, match=r"the tokenizer of local-dir:.* the same tokens: its vocabulary is missing"):
        load_folder(str(tmp_path), LoadOptions())


def test_a_configuration_that_open_clip_cannot_build_is_refused(tmp_path: Path) -> None:
    folder = small_models.open_clip_folder(tmp_path, small_models.CLIP)
    config = {**small_models.CLIP, "vision_cfg": {"no_such_setting": 1}}
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": config}))

    with pytest.raises(ModelError, match=r"open_clip cannot load local-dir:.*no_such_setting"):
        load_folder(str(folder), LoadOptions())
