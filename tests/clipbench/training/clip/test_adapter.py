from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from clipbench.errors import ModelError, UsageError
from clipbench.models.checkpoints import holds_bundled_checkpoint
from clipbench.models.options import LoadOptions
from clipbench.training.clip import adapter as bundled
from clipbench.training.clip.checkpoint import load_model
from tests.bundled import save_bundled

TEXTS = ["a red disc", "Blue square", "", "red " * 40]
IMAGES = [Image.new("RGB", (20, 16), (200, 30, 30)), Image.new("L", (16, 40), 90)]


def test_vectors_are_the_models_own(tmp_path: Path) -> None:
    folder = save_bundled(tmp_path / "mine")
    model = bundled.load(str(folder), LoadOptions(device="cpu", batch_size=3))
    module, tokenizer = load_model(folder)
    pixels = torch.from_numpy(model.inputs_of(IMAGES))
    with torch.no_grad():
        images = module.encode_image(pixels).numpy()
        texts = module.encode_text(torch.from_numpy(tokenizer.encode(TEXTS))).numpy()
    np.testing.assert_allclose(model.encode_images(IMAGES), images, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(model.encode_texts(TEXTS), texts, rtol=1e-5, atol=1e-6)


def test_fingerprints_tell_models_apart_and_not_folders(tmp_path: Path) -> None:
    def fingerprint(name: str, precision: str = "fp32", **how: object) -> str:
        folder = save_bundled(tmp_path / name, **how)  # type: ignore[arg-type]
        return bundled.load(str(folder), LoadOptions(device="cpu", precision=precision)).info.fingerprint

    first = fingerprint("a")
    assert fingerprint("b") == first
    other_fingerprints = [fingerprint("c", seed=1), fingerprint("d", "bf16"), fingerprint("e", dtype=torch.float16)]
    assert len({first, *other_fingerprints}) == 4


def test_a_training_s_folder_loads_its_newest_checkpoint_with_a_note(tmp_path: Path) -> None:
    for step in (2, 10):
        save_bundled(tmp_path / "run" / f"step-{step}", seed=step)
    assert holds_bundled_checkpoint(tmp_path / "run")
    assert holds_bundled_checkpoint(tmp_path / "run" / "step-2")
    assert not holds_bundled_checkpoint(tmp_path)
    run, newest = (bundled.load(str(tmp_path / name), LoadOptions(device="cpu")) for name in ("run", "run/step-10"))
    assert run.info.fingerprint == newest.info.fingerprint
    assert run.info.notes == (f"the newest checkpoint of the run in {tmp_path / 'run'}: step-10",)


def test_wrong_folders_and_options_are_refused(tmp_path: Path) -> None:
    with pytest.raises(
        ModelError, match=r"is not a checkpoint of clipbench train: expected a folder with config\.json"
    ):
        bundled.load(str(tmp_path), LoadOptions(device="cpu"))
    folder = str(save_bundled(tmp_path / "mine"))
    with pytest.raises(UsageError, match="takes no option 'tag'"):
        bundled.load(folder, LoadOptions(device="cpu", options={"tag": "openai"}))
