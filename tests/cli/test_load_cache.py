"""A run whose vectors are all stored loads no model."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from clipbench import plugins
from clipbench.models.encoding import embedder, load_cache, loading
from clipbench.models.options import LoadOptions
from clipbench.models.reference import Loaded, load_with_probes
from clipbench.results.run import read_run
from tests.cli.conftest import Call

TASKS = ("--tasks", "zero-shot,retrieval,long-caption", "--suite", "scenes", "--limit", "12", "--thumbnails", "0")


def measured(folder: Path) -> dict[str, Any]:
    """Return the content of a result but for times, counts of work and the command."""
    content: dict[str, Any] = json.loads((folder / "result.json").read_text())
    for name in ("created", "command"):
        del content[name]
    for evaluation in content["evaluations"]:
        del evaluation["seconds"], evaluation["encoded"]
    for tower in content["towers"].values():
        del tower["n_encoded"], tower["n_timed"], tower["items_per_second"], tower["reasons"]
    return content


def test_a_run_whose_vectors_are_stored_loads_no_model(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    call: Call,
    save: Callable[[Path, int], Path],
) -> None:
    monkeypatch.setenv("CLIPBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(load_cache, "SETTLED_SECONDS", 0.0)
    monkeypatch.setattr(plugins, "_imported", set())
    load_cache._environment_key.cache_clear()
    loaded = []

    def load(reference: str, options: LoadOptions) -> Loaded:
        loaded.append(reference)
        return load_with_probes(reference, options)

    monkeypatch.setattr(loading, "load_with_probes", load)
    watched: list[object] = []

    def watch(value: object) -> None:
        watched.append(value)

    monkeypatch.setattr(embedder.StoreEmbedder, "watch_memory", watch)
    model, run = save(tmp_path / "model", 0), ("run", "--no-report", *TASKS[2:], "--tasks", "long-caption", "--model")
    for out in ("first", "second"):
        done = call(*run, model, "--out", tmp_path / out)
        assert done.status == 0, done.err
    assert loaded == [str(model)] and len(watched) == 2
    assert measured(tmp_path / "second") == measured(tmp_path / "first")
    first, second = (read_run(tmp_path / out).result.towers["text"] for out in ("first", "second"))
    assert first.flops == second.flops != 0 and first.n_encoded > 0 == second.n_encoded
    assert first.items_per_second and second.reasons["items_per_second"] == "all vectors came from the cache"
    assert "1 file" not in call("cache").out and "tiny" not in call("cache").out
    call("cache", "prune", "--model", str(model), "--yes")
    assert not list((tmp_path / "cache/store").iterdir())
    load_cache._environment_key.cache_clear()
