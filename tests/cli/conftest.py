"""The command line as a function; and what a training leaves: its folder, captioned images, small checkpoints, and an
architecture of one's own.
"""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import open_clip
import pytest
from PIL import Image

from clipbench.cli import main
from tests.bundled import save_bundled
from tests.clipbench.models import small_models


class Done(NamedTuple):
    """A command that has ended."""

    status: int
    out: str
    err: str


Call = Callable[..., Done]
WITH_CTRL_C = (
    "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); from clipbench.cli import main; main()"
)
"""The command with Ctrl-C as on a terminal: what starts in the background of a shell ignores it."""


@pytest.fixture
def call(capfd: pytest.CaptureFixture[str]) -> Call:
    """Return a function that gives clipbench some arguments."""

    def call(*arguments: str | Path) -> Done:
        with pytest.raises(SystemExit) as end:
            main([str(argument) for argument in arguments])
        return Done(int(end.value.code or 0), *capfd.readouterr())

    return call


@pytest.fixture
def save() -> Callable[[Path, int], Path]:
    """Return the function that writes a checkpoint of the bundled architecture, small, from a seed."""
    return lambda folder, seed: save_bundled(folder, seed=seed)


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with an empty one that a training writes to, and nine captioned images."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CLIPBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("COLUMNS", "100")
    (tmp_path / "train").mkdir()
    rng = np.random.default_rng(0)
    lines = ["image,caption"]
    for number in range(9):
        Image.fromarray(rng.integers(0, 256, (16, 16, 3), np.uint8)).save(tmp_path / f"{number}.png")
        lines.append(f"{number}.png,image {number}")
    (tmp_path / "data.csv").write_text("\n".join(lines) + "\n")
    return tmp_path


@pytest.fixture(scope="module")
def arch(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A small architecture that open_clip knows as long as the fixture lives."""
    paths, configs = list(open_clip.factory._MODEL_CONFIG_PATHS), dict(open_clip.factory._MODEL_CONFIGS)
    folder = tmp_path_factory.mktemp("configs")
    (folder / "trained-clip.json").write_text(json.dumps({**small_models.CLIP, "quick_gelu": False}))
    open_clip.add_model_config(folder)
    yield "trained-clip"
    open_clip.factory._MODEL_CONFIG_PATHS[:] = paths
    open_clip.factory._MODEL_CONFIGS = configs


def holds_only_a_reason(folder: Path) -> bool:
    """Return whether a run left nothing but why it could not be made."""
    return [path.name for path in folder.iterdir()] == ["failed.json"]
