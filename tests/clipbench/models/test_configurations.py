"""A configuration of wrong types is refused in one line."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from clipbench.errors import ClipbenchError
from clipbench.models.adapters import open_clip
from clipbench.models.adapters import transformers as hugging_face
from clipbench.models.options import LoadOptions
from clipbench.training.clip import adapter
from clipbench.training.clip.checkpoint import TrainingProgress, write_progress
from tests.bundled import save_bundled
from tests.clipbench.models import small_models


def changed(file: Path, place: str, value: object) -> None:
    """Write a JSON file with another value at a place such as ``model_cfg.vision_cfg.layers``."""
    content = json.loads(file.read_text())
    *above, last = place.split(".")
    node = content
    for name in above:
        node = node[name]
    node[last] = value
    file.write_text(json.dumps(content))


def refused(load: Callable[[str, LoadOptions], Any], folder: Path, message: str) -> None:
    with pytest.raises(ClipbenchError, match=message) as error:
        load(str(folder), LoadOptions(device="cpu"))
    assert "\n" not in str(error.value), error.value


@pytest.fixture(scope="module")
def bundled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = save_bundled(tmp_path_factory.mktemp("bundled") / "step-7")
    write_progress(folder, TrainingProgress(arguments={}, data={}, step=7))
    return folder


@pytest.fixture(scope="module")
def hf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(small_models.transformers_clip(tmp_path_factory.mktemp("hf")))


@pytest.fixture
def copy(tmp_path: Path) -> Callable[[Path], Path]:
    return lambda folder: Path(shutil.copytree(folder, tmp_path / folder.name))


WRONG: tuple[object, ...] = (None, "64", [64], {"a": 64}, -1, 0, 1e400)
SIZES = {
    "bundled": ("embed_dim", "vision_cfg", "vision_cfg.image_size", "vision_cfg.width", "vision_cfg.layers",
                "vision_cfg.head_width", "text_cfg.context_length", "text_cfg.vocab_size", "text_cfg.heads"),
    "open_clip": ("embed_dim", "vision_cfg", "vision_cfg.image_size", "vision_cfg.width", "vision_cfg.layers",
                  "text_cfg.context_length", "text_cfg.vocab_size", "text_cfg.layers"),
    "hf": ("projection_dim", "vision_config", "vision_config.image_size", "vision_config.hidden_size",
           "vision_config.num_hidden_layers", "text_config.max_position_embeddings", "text_config.vocab_size",
           "text_config.intermediate_size"),
}  # fmt: skip


LOADERS: dict[str, tuple[Callable[[str, LoadOptions], Any], str, str, str]] = {
    "bundled": (adapter.load, "config.json", "model_cfg.",
                r"config\.json .*{place}|config\.json has |a size of |heads|head_width of 1 or more"),
    "open_clip": (open_clip.load_folder, "open_clip_config.json", "model_cfg.",
                  r"config\.json has |cannot load local-dir:|does not fit local-dir:|gives no tokens"),
    "hf": (hugging_face.load, "config.json", "", r"config\.json has |cannot load hf:.*Error: "),
}  # fmt: skip
"""Of each kind of folder the loader, the file of the configuration, where sizes are in it, and what is said."""


@pytest.fixture
def folders(bundled: Path, small_clip_folder: Path, hf: Path) -> dict[str, Path]:
    return {"bundled": bundled, "open_clip": small_clip_folder, "hf": hf}


@pytest.mark.parametrize(
    ("kind", "place"),
    [
        pytest.param(kind, place, marks=() if kind == "bundled" else pytest.mark.slow)
        for kind, size in SIZES.items()
        for place in size
    ],
)
def test_a_folder_of_other_sizes_is_refused(
    folders: dict[str, Path], copy: Callable[[Path], Path], kind: str, place: str
) -> None:
    (load, file, prefix, message), folder = LOADERS[kind], copy(folders[kind])
    assert load(str(folder), LoadOptions(device="cpu")).info.embed_dim == (16 if kind == "bundled" else 24)
    before = (folder / file).read_text()
    for value in WRONG:
        (folder / file).write_text(before)
        changed(folder / file, f"{prefix}{place}", value)
        if (kind, place) == ("hf", "vision_config.num_hidden_layers") and value in (-1, 0):
            notes = load(str(folder), LoadOptions(device="cpu")).info.notes
            assert any("weights of the checkpoint are not used by the model (vision" in note for note in notes), notes
        else:
            refused(load, folder, message.format(place=place))


@pytest.mark.parametrize(
    ("kind", "place", "value", "message"),
    [
        ("bundled", "preprocess_cfg.mean", [0.5, 0.5], "three numbers each"),
        ("bundled", "preprocess_cfg.std", [0.5, 0.5, 0], "three numbers each"),
        ("bundled", "preprocess_cfg.std", ["a", "b", "c"], r"std\[0\] is 'a', expected a number"),
        ("bundled", "preprocess_cfg", 5, "preprocess_cfg is 5, expected an object"),
        ("bundled", "model_cfg.quick_gelu", "no", "quick_gelu is 'no', expected true or false"),
        ("bundled", "model_cfg.init_logit_scale", "big", "init_logit_scale is 'big', expected a number"),
        ("bundled", "model_cfg.text_cfg.context_length", 1 << 18, "does not fit the configuration"),
        ("bundled", "format", [1], r"has format \[1\]"),
        ("open_clip", "model_cfg.embed_dim", "24", "no integer embed_dim"),
    ],
)
def test_a_configuration_says_what_is_wrong(
    folders: dict[str, Path], copy: Callable[[Path], Path], kind: str, place: str, value: object, message: str
) -> None:
    (load, file, *_), folder = LOADERS[kind], copy(folders[kind])
    changed(folder / file, place, value)
    refused(load, folder, message)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["config.json", "preprocessor_config.json", "tokenizer.json", "model.safetensors"])
def test_a_file_of_a_model_that_would_be_waited_for_is_refused(
    hf: Path, small_clip_folder: Path, bundled: Path, copy: Callable[[Path], Path], name: str
) -> None:
    loaders: dict[Path, Callable[[str, LoadOptions], Any]] = {
        hf: hugging_face.load, small_clip_folder: open_clip.load_folder, bundled: adapter.load
    }  # fmt: skip
    for folder, load in loaders.items():
        other = copy(folder)
        (other / name).unlink(missing_ok=True)
        os.mkfifo(other / name)
        if not (folder == bundled and name == "preprocessor_config.json"):  # which nothing reads there
            refused(
                load,
                other,
                "no(t a)? checkpoint|no such file" if folder == bundled else "is a FIFO, a device or a socket",
            )


@pytest.mark.slow
def test_a_processor_of_wrong_size_is_refused(hf: Path, copy: Callable[[Path], Path]) -> None:
    folder = copy(hf)
    for value in ({"shortest_edge": "big"}, 5.5, [1], 0, -5):
        changed(folder / "preprocessor_config.json", "size", value)
        refused(hugging_face.load, folder, r"preprocessor_config\.json has |cannot load hf:.*Error: ")
