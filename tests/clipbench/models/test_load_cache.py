"""A model that was loaded before is not loaded to say it again, unless anything that it may depend on has changed."""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clipbench import plugins
from clipbench.checks import examination
from clipbench.errors import ModelError
from clipbench.models import load_model
from clipbench.models.encoding import load_cache, loading
from clipbench.models.encoding.embedder import StoreEmbedder
from clipbench.models.encoding.loading import load_embedder
from clipbench.models.encoding.store import SUFFIX, TOKENS
from clipbench.models.options import LoadOptions
from clipbench.models.protocol import Model
from clipbench.models.reference import Loaded
from clipbench.results.record import CheckFinding
from clipbench.testing import ToyModel

FINDING = CheckFinding(check="padding", status="warning", seen="something", why="why", fix="fix")
TEXTS = ["a cat", "two words more"]


class Counted(ToyModel):
    """A toy model that says what it was loaded from."""

    def __init__(self, fingerprint: str, device: str, files: Sequence[Path] = ()) -> None:
        super().__init__(fingerprint=fingerprint)
        self.files = files
        self.info = replace(self.info, ref="ref", device=device, notes=("a note",), step=3, logit_scale=1 / 3)


class World:
    """A folder with a model, a repository in the Hub's cache, and a loader that names both and counts."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "cache"
        self.model = folder / "model"
        self.hub = folder / "hub/models--ORG--NAME"
        self.fingerprint = "f1"
        self.n_loaded = 0
        self.on_load: Callable[[], Any] = lambda: None
        for name, text in {
            "model/config.json": "{'a': 1}",
            "model/weights.bin": "weights",
            "model/1_Pooling/config.json": "{'mean': 1}",
            "hub/models--ORG--NAME/refs/main": "commit1",
            "hub/models--ORG--NAME/blobs/one": "tokens1",
            "hub/models--ORG--NAME/blobs/two": "tokens2",
            "elsewhere/merges.txt": "a b",
        }.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text)
        self.link = self.hub / "snapshots/commit1/tokenizer.json"
        self.link.parent.mkdir(parents=True)
        self.link.symlink_to("../../blobs/one")
        self.vocabulary = folder / "elsewhere/merges.txt"
        self.files: tuple[Path, ...] = (self.model, self.hub, self.vocabulary)

    def load(self, reference: str, options: LoadOptions) -> Loaded:
        self.n_loaded += 1
        self.on_load()
        return Loaded(Counted(self.fingerprint, options.device, self.files), None)

    def ask(self, reference: str | None = None, **options: Any) -> StoreEmbedder:
        """Return the model as a run has it."""
        embedder = load_embedder(
            reference or f"hf:{self.model}", LoadOptions(**options), self.root, workers=0, owns_process=True
        )
        assert isinstance(embedder, StoreEmbedder)
        return embedder

    def run(self, reference: str | None = None, **options: Any) -> StoreEmbedder:
        """Measure: ask for vectors, and remember."""
        embedder = self.ask(reference, **options)
        embedder.texts(TEXTS)
        embedder.count_tokens(TEXTS)
        embedder.store_findings([FINDING])
        return embedder

    def descriptions(self) -> list[Path]:
        return sorted(self.root.glob("store/*/loaded-*.json"))


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """A model that was measured once, in a process that has run no code of others."""
    stored_world = World(tmp_path)
    monkeypatch.setattr(loading, "load_with_probes", stored_world.load)
    monkeypatch.setattr(load_cache, "SETTLED_SECONDS", 0.0)
    monkeypatch.setattr(plugins, "_imported", set())
    load_cache._environment_key.cache_clear()
    stored_world.run()
    assert stored_world.n_loaded == 1 and len(stored_world.descriptions()) == 1
    yield stored_world
    load_cache._environment_key.cache_clear()


def overwritten(path: Path, text: str) -> None:
    """Write into a file, and set its times back, as ``cp -p`` does over a file that is there."""
    before = path.stat()
    assert len(text) == before.st_size
    path.write_text(text)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def test_what_is_stored_needs_no_model(world: World) -> None:
    again = world.ask()
    model = Counted("f1", "auto")
    assert again.info == model.info and again.notes == ()
    assert again.stored_findings() == [FINDING] == examination.preflight(again)
    assert np.array_equal(again.texts(TEXTS), model.encode_texts(TEXTS))
    counts = again.count_tokens([*TEXTS, TEXTS[0]])
    assert counts.dtype == np.int64 and counts.tolist() == model.count_tokens([*TEXTS, TEXTS[0]]).tolist()
    again.store_findings([FINDING])
    assert world.n_loaded == 1


@pytest.mark.parametrize("ask", [lambda each: each.texts(["new"]), lambda each: each.count_tokens(["new"])])
def test_what_is_not_stored_has_the_model_loaded_once(world: World, ask: Callable[[StoreEmbedder], object]) -> None:
    again = world.ask()
    ask(again)
    ask(again)
    assert again.model is again.model and world.n_loaded == 2
    again.store_findings([FINDING])
    world.run()
    assert world.n_loaded == 2


CHANGES: dict[str, Callable[[World], object]] = {
    "weights overwritten, size and times set back": lambda it: overwritten(it.model / "weights.bin", "WEIGHTS"),
    "configuration edited": lambda it: (it.model / "config.json").write_text("{'a': 2}"),
    "file added": lambda it: (it.model / "added.json").write_text("{}"),
    "file removed": lambda it: (it.model / "weights.bin").unlink(),
    "vocabulary edited": lambda it: it.vocabulary.write_text("a c"),
    "another commit of the repository": lambda it: overwritten(it.hub / "refs/main", "commit2"),
    "blob overwritten": lambda it: overwritten(it.hub / "blobs/one", "tokens9"),
    "file added to the snapshot": lambda it: it.link.with_name("config.json").write_text("{}"),
    "folder linked, whose files nobody follows": lambda it: (it.model / "linked").symlink_to(it.hub),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_changed_file_has_the_model_loaded(world: World, change: Callable[[World], object]) -> None:
    change(world)
    world.fingerprint = "f2"
    assert world.ask().info.fingerprint == "f2"
    assert world.n_loaded == 2


@pytest.mark.parametrize(
    "options",
    [
        {"precision": "bf16"},
        {"device": "cpu"},
        {"options": {"context": "248"}},
        {"batch_size": 1},
        {"trust_remote_code": True},
    ],
)
def test_another_way_of_loading_has_the_model_loaded(world: World, options: dict[str, Any]) -> None:
    world.ask(**options)
    assert world.n_loaded == 2
    world.run()
    assert world.n_loaded == 2


SURROUNDINGS: dict[str, Callable[[World, pytest.MonkeyPatch, Path], object]] = {
    "environment": lambda it, patch, path: patch.setenv("HF_HUB_CACHE", str(path)),
    "devices that are hidden": lambda it, patch, path: patch.setenv("CUDA_VISIBLE_DEVICES", "1"),
    "working folder": lambda it, patch, path: patch.chdir(path),
    "accelerators": lambda it, patch, path: patch.setattr(load_cache, "ACCELERATORS", (str(path),)),
    "version of Python": lambda it, patch, path: patch.setattr("platform.python_version", lambda: "3.99"),
    "version of clipbench": lambda it, patch, path: patch.setattr(load_cache, "__version__", "99"),
    "code of clipbench": lambda it, patch, path: patch.setattr(load_cache, "__file__", str(path / "a/b/load_cache.py")),
    "version of a library": lambda it, patch, path: patch.setattr(
        load_cache, "version", lambda name: f"another {name}"
    ),
}


@pytest.mark.parametrize("change", SURROUNDINGS.values(), ids=SURROUNDINGS)
def test_other_surroundings_have_the_model_loaded(
    world: World,
    change: Callable[[World, pytest.MonkeyPatch, Path], object],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    change(world, monkeypatch, tmp_path)
    load_cache._environment_key.cache_clear()
    world.ask()
    assert world.n_loaded == 2


def test_adapters_name_their_files_where_these_are_all_of_a_model(
    tmp_path: Path, small_clip_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "made_here.py").write_text("from clipbench.testing import ToyModel as build")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)

    def named(reference: str) -> Sequence[Path]:
        model = load_model(reference, LoadOptions())
        assert isinstance(model, Model)
        return model.files

    assert named("pair:tiny+tiny") == named("python:made_here:build") == ()
    assert named(f"local-dir:{small_clip_folder}") == (small_clip_folder,)
    assert {file.name for file in named("tiny")} >= {"tiny"}


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(path.read_bytes().replace(b'"f1"', b'"f3"')),
        lambda path: path.write_bytes(path.read_bytes()[:-20]),
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(bytes(range(256))),
        lambda path: path.write_bytes(load_cache._sum(b"[]") + b"[]"),
        lambda path: path.unlink(),
    ],
)
def test_a_damaged_or_deleted_memory_costs_a_load(world: World, damage: Callable[[Path], object]) -> None:
    damage(world.descriptions()[0])
    assert world.run().info.fingerprint == "f1"
    world.run()
    assert world.n_loaded == 2


def test_a_file_that_was_changed_just_now_is_not_trusted(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    config = world.model / "config.json"
    world.on_load = lambda: os.utime(config, (4e9, 4e9))  # later than the start of loading, however coarse times are
    overwritten(world.model / "weights.bin", "WEIGHTS")
    world.run()
    world.run()
    assert world.n_loaded == 3
    monkeypatch.setattr(load_cache, "SETTLED_SECONDS", 600.0)
    world.on_load = lambda: None
    os.utime(config, (0, 0))
    world.run()
    world.run()
    assert world.n_loaded == 5


def test_a_model_that_was_changed_during_the_run_ends_it(world: World) -> None:
    again = world.ask()
    world.fingerprint = "f2"  # after the memory was believed
    with pytest.raises(ModelError, match="ref has changed since the run began, because its files were changed"):
        again.texts(["new"])
    with pytest.raises(
        ModelError, match="has changed since the run began"
    ):  # recorded as a failed evaluation, it ends the run all the same
        again.store_findings([])
    assert world.descriptions() == [] and world.n_loaded == 2


def test_code_of_others_always_has_the_model_loaded(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    options = LoadOptions()
    assert load_cache.load_cache_of("ref", "theirs", "body", options, world.root) is None
    assert load_cache.load_cache_of("ref", "hf", "body", options, world.root) is not None
    with monkeypatch.context() as patch:
        patch.setattr(plugins, "distribution", lambda group, name: "theirs")
        assert load_cache.load_cache_of("ref", "hf", "body", options, world.root) is None
    monkeypatch.setattr(plugins, "_imported", {"clipbench", "theirs"})
    world.run()
    assert world.n_loaded == 2


def test_a_damaged_count_is_counted_again(world: World) -> None:
    for chunk in world.root.glob(f"store/f1/{TOKENS}/*{SUFFIX}"):
        content = bytearray(chunk.read_bytes())
        content[-20] ^= 1
        chunk.write_bytes(content)
    assert world.ask().count_tokens(TEXTS).tolist() == ToyModel().count_tokens(TEXTS).tolist()
    assert world.n_loaded == 2
