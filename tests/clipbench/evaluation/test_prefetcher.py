"""Models that are loaded together: as many as fit."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from clipbench.evaluation import session
from clipbench.evaluation.session import EmbedderPrefetcher


@pytest.mark.parametrize(
    ("millions", "n_loaded"),
    [([10] * 6, 4), ([10, 10, 30, 30], 3), ([10, 500, 500], 2), ([500, 10], 1), ([None, 10], 1), ([1] * 20, 16)],
)
def test_models_are_loaded_while_one_more_of_the_largest_would_fit(
    millions: list[int | None], n_loaded: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(session, "_free_memory", lambda _: 4 * 160e6)  # a quarter of it holds 40 M weights in fp32
    loaded: list[str] = []

    def load(target: Any) -> Any:
        loaded.append(target.reference)
        n = millions[int(target.reference)]
        return SimpleNamespace(info=SimpleNamespace(n_parameters=n and n * 10**6, precision="fp32", device="cpu"))

    targets: list[Any] = [
        SimpleNamespace(reference=str(k), embedder=None, brings_samples=False, folder=tmp_path)
        for k in range(len(millions))
    ]
    EmbedderPrefetcher(load, None, is_lenient=False).embedder(targets[0], targets[1:], [])  # type: ignore[arg-type]
    assert len(loaded) == n_loaded
