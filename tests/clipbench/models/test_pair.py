"""Pairs: each tower is that of its model, and two that share no space are refused."""

import pickle
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clipbench.errors import UsageError
from clipbench.models import load_model
from clipbench.models.adapters.pair import PairModel, load
from clipbench.models.options import LoadOptions
from clipbench.models.protocol import Model
from clipbench.testing import ToyModel
from tests.clipbench.models import small_models

SOURCE = """
from clipbench.testing import ToyModel

def toy(dim="32"):
    model = ToyModel(embed_dim=int(dim))
    model.fingerprint = f"toy-{dim}"
    return model
"""


@pytest.fixture(autouse=True)
def toys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A module ``pair_toys`` in the current folder."""
    (tmp_path / "pair_toys.py").write_text(SOURCE)
    np.savez(tmp_path / "vectors.npz", images=np.eye(3), texts=np.eye(3))
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "pair_toys", raising=False)


def test_each_tower_is_that_of_its_model(small_clip_folder: Path) -> None:
    clip: Any = load_model(f"local-dir:{small_clip_folder}", LoadOptions(device="cpu"))
    toy: Any = load_model("python:pair_toys:toy", LoadOptions(options={"dim": "24"}))
    reference = f"pair:local-dir:{small_clip_folder}+python:pair_toys:toy"
    options = {"text.dim": "24", "logit_scale": "20"}

    model = load_model(reference, LoadOptions(options=options))

    assert isinstance(model, Model) and pickle.dumps(model.preprocess) == pickle.dumps(clip.preprocess)
    np.testing.assert_array_equal(model.encode_images(small_models.images()), clip.encode_images(small_models.images()))
    np.testing.assert_array_equal(model.encode_texts(small_models.TEXTS), toy.encode_texts(small_models.TEXTS))
    info = model.info
    assert (info.embed_dim, info.logit_scale, info.image_size, info.context_length) == (24, 20, 32, None)
    assert info.family == "pair/open_clip/CLIP+python/ToyModel"
    assert info.ref == reference and len({info.fingerprint, clip.info.fingerprint, toy.info.fingerprint}) == 3
    assert model.internals().preprocess is not None and model.internals().module is None


def test_tokens_are_counted_by_the_model_of_texts() -> None:
    model = load("tiny+tiny", LoadOptions(device="cpu"))

    assert model.count_tokens(["a red cube"]).tolist() == [5]
    assert model.info.logit_scale is None  # of two models, nobody knows that they were trained together


def test_a_pair_has_the_precision_that_both_have() -> None:
    info = load("tiny+tiny", LoadOptions(device="cpu")).info
    mixed = load("tiny+tiny", LoadOptions(device="cpu", options={"text.precision": "bf16"})).info

    assert (info.device, info.precision, info.notes) == ("cpu", "fp32", ())
    assert (mixed.device, mixed.precision) == ("cpu", None)
    assert mixed.notes[0] == "precision: fp32 for images, bf16 for texts"


def test_it_works_in_one_process_where_one_of_its_models_has_to() -> None:
    class Paid(ToyModel):
        is_sole = True

    assert PairModel(ToyModel().info, ToyModel(), Paid()).is_sole
    assert not PairModel(ToyModel().info, ToyModel(), ToyModel()).is_sole


@pytest.mark.parametrize("body", ["tiny", "a+b+tiny", "+tiny", "tiny+"])
def test_what_is_not_two_models_is_refused(body: str) -> None:
    with pytest.raises(UsageError, match=r"is not two models: expected pair:IMAGE_REF.TEXT_REF"):
        load(body, LoadOptions(device="cpu"))
