"""Objects of the user's own: found, called, checked, and told in one line what is wrong with them."""

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clipbench.errors import ModelError
from clipbench.models.adapters.python import load
from clipbench.models.options import LoadOptions
from clipbench.models.protocol import Model

GOOD = '''
import numpy as np


class Means:
    """The mean colour of an image, and the lengths of a text."""

    logit_scale = 20
    context_length = 5

    def __init__(self, shift=0.0):
        self.shift = float(shift)
        self.batches = []

    def encode_images(self, images):
        assert all(image.mode == "RGB" for image in images)
        self.batches.append(len(images))
        return np.stack([np.asarray(image).mean((0, 1)) + self.shift for image in images])

    def encode_texts(self, texts):
        self.batches.append(len(texts))
        return [[len(text), len(text.split()), 1] for text in texts]


def build(shift="0"):
    return Means(shift)


def tensors():
    import torch

    class Tensors(Means):
        def encode_images(self, images):
            return torch.ones(len(images), 3, dtype=torch.bfloat16, requires_grad=True)

    return Tensors()


def needs(weights):
    return Means()


def broken():
    raise ValueError("no weights here\\nsecond line")


def no_methods():
    return object()


number = 3
'''


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A current folder with a module, of which nothing is left in the interpreter afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)
    (tmp_path / "my_model.py").write_text(GOOD)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    yield tmp_path
    for name in set(sys.modules) - before:
        if name in ("my_model", "other_model", "fails"):
            del sys.modules[name]


def with_method(folder: Path, body: str) -> str:
    """Write a module whose model has one method replaced; return its reference."""
    code = f"{GOOD}\n\nclass Other(Means):\n    {body}\n"
    (folder / "other_model.py").write_text(code)
    return "other_model:Other"


def test_a_module_in_the_current_folder_is_found_and_its_vectors_are_in_order() -> None:
    model = load("my_model:build", LoadOptions(batch_size=2))

    vectors = model.encode_texts(["a", "a b", "ccc"])

    assert vectors.dtype == np.float32 and vectors.tolist() == [[1, 1, 1], [3, 2, 1], [3, 1, 1]]
    assert isinstance(model, Model) and model.preprocess is None


def test_images_come_as_rgb_and_in_batches() -> None:
    model = load("my_model:build", LoadOptions(batch_size=2))
    images = [Image.new(mode, (4, 4)) for mode in ("L", "RGBA", "P", "RGB", "CMYK")]

    assert model.encode_images(images).shape == (5, 3)
    assert model.encoders.batches[-3:] == [2, 2, 1]  # type: ignore[attr-defined]


def test_tensors_with_gradients_in_half_precision_are_taken() -> None:
    assert load("my_model:tensors", LoadOptions()).encode_images([Image.new("RGB", (2, 2))]).tolist() == [[1, 1, 1]]


def test_the_fingerprint_is_of_the_code_and_the_options_and_says_so(here: Path) -> None:
    first = load("my_model:build", LoadOptions()).info
    assert "fingerprint from my_model.py, the factory's options and the vectors of a few probes" in first.notes[0]
    assert load("my_model:build", LoadOptions()).info.fingerprint == first.fingerprint
    assert load("my_model:build", LoadOptions(options={"shift": "1"})).info.fingerprint != first.fingerprint

    del sys.modules["my_model"]
    (here / "my_model.py").write_text(GOOD + "\n# another\n")
    assert load("my_model:build", LoadOptions()).info.fingerprint != first.fingerprint


def test_the_fingerprint_is_also_of_the_module_that_a_factory_comes_from(here: Path) -> None:
    (here / "other_model.py").write_text(
        "from functools import partial\nfrom my_model import build\nfixed = partial(build, '3')\n"
    )
    note = load("other_model:build", LoadOptions()).info.notes[0]

    assert "fingerprint from my_model.py and other_model.py, the factory's options" in note
    assert "fingerprint from other_model.py, the" in load("other_model:fixed", LoadOptions()).info.notes[0]


def test_a_factory_that_fails_is_named_with_the_first_line_of_its_cause() -> None:
    with pytest.raises(ModelError, match=r"python:my_model:broken: the factory failed \(ValueError: no weights"):
        load("my_model:broken", LoadOptions())


def test_a_module_that_fails_is_told_from_one_that_is_not_there(here: Path) -> None:
    (here / "fails.py").write_text("import no_such_library\n")
    with pytest.raises(ModelError, match=r"importing fails failed \(ModuleNotFoundError: No module named"):
        load("fails:build", LoadOptions())
    (here / "fails.py").write_text("1 / 0\n")
    with pytest.raises(ModelError, match=r"importing fails failed \(ZeroDivisionError"):
        load("fails:build", LoadOptions())


@pytest.mark.parametrize(
    ("method", "message"),
    [
        ("def encode_texts(self, texts): return np.ones((len(texts), 4))", r"encode_texts gave shape \(1, 4\) for 1: expected \(1, 3\)"),
        ("def encode_images(self, images): return np.ones(3)", r"encode_images gave shape \(3,\) for 1: expected \(1, d\)"),
        ("def encode_images(self, images): return np.ones((len(images) + 1, 3))", r"encode_images gave shape \(2, 3\) for 1: expected \(1, d\)"),
        ("def encode_texts(self, texts): return [None]", r"encode_texts gave shape|encode_texts gave an object of type list: expected an array of real numbers"),
        ("def encode_texts(self, texts): return {'a': 1}", r"encode_texts gave an object of type dict: expected an array of real numbers"),
        ("def encode_texts(self, texts): return np.ma.masked_array(np.ones((len(texts), 3)), True)", "gave an object of type MaskedArray of float64: expected"),
        ("def encode_texts(self, texts): return np.ones((len(texts), 3)) + 1j", "gave an object of type ndarray of complex128: expected"),
        ("def encode_texts(self, texts): import torch; return torch.ones(len(texts), 3) + 1j", r"gave an object of type Tensor of torch\.complex64: expected"),
        ("def encode_texts(self, texts): import torch; return torch.ones(len(texts), 3, device='meta')", r"expected an array .* \(NotImplementedError: Cannot copy out of meta"),
        ("def encode_texts(self, texts): raise KeyError('dog')", r"encode_texts failed \(KeyError: 'dog'\): see its traceback"),
        ("logit_scale = 'high'", r"logit_scale is 'high': expected a number"),
        ("context_length = '77'", r"context_length is '77': expected a whole number of tokens"),
        ("logit_scale = 0", r"logit_scale is 0.0: expected a finite number above 0"),
        ("logit_bias = float('nan')", r"logit_bias is nan: expected a finite number"),
    ],
)  # fmt: skip
def test_a_method_that_gives_what_is_no_vectors_is_named(here: Path, method: str, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        load(with_method(here, method), LoadOptions())


def test_a_fault_in_a_later_batch_is_found_too(here: Path) -> None:
    reference = with_method(here, "def encode_texts(self, texts): return np.ones((min(3, len(texts)), 3))")
    model = load(reference, LoadOptions(batch_size=4))

    with pytest.raises(ModelError, match=r"encode_texts gave shape \(3, 3\) for 4: expected \(4, 3\)"):
        model.encode_texts(["a", "b", "c", "d", "e"])


def test_the_page_on_models_has_an_object_that_works_and_every_attribute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = (Path(__file__).parents[3] / "docs/models.md").read_text(encoding="utf-8")
    (code,) = (block.partition("```")[0] for block in page.split("```python\n")[1:] if "class Mine:" in block)
    (tmp_path / "of_the_page.py").write_text(code)
    monkeypatch.syspath_prepend(str(tmp_path))
    model = load("of_the_page:Mine", LoadOptions())
    assert (model.info.logit_scale, model.info.embed_dim) == (100.0, 192)
    for attribute in ("logit_scale", "logit_bias", "context_length", "fingerprint"):
        assert f"| `{attribute}` |" in page, attribute
