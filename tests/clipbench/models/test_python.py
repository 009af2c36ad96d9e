"""Objects of the user's own: found, called, checked, and told in one line what is wrong with them."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from clipbench.data.modalities import JOINT
from clipbench.errors import ModelError, UsageError
from clipbench.models.adapters import interpreter
from clipbench.models.adapters.python import PythonModel, load
from clipbench.models.options import LoadOptions
from clipbench.models.protocol import Model, Role

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
def module_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
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


@pytest.mark.parametrize("empty", ["np.empty((9, 3), np.float32)", "__import__('torch').empty(9, 3)"])
def test_an_object_may_give_every_batch_in_the_same_memory(module_folder: Path, empty: str) -> None:
    body = f"""buffer = {empty}
    def encode_texts(self, texts):
        self.buffer[: len(texts)] = len(texts[0])
        return self.buffer[: len(texts)]"""
    model = load(with_method(module_folder, body), LoadOptions(batch_size=2))
    assert model.encode_texts(["a", "b", "cc", "dd", "eee"])[:, 0].tolist() == [1, 1, 2, 2, 3]


def test_tensors_with_gradients_in_half_precision_are_taken() -> None:
    assert load("my_model:tensors", LoadOptions()).encode_images([Image.new("RGB", (2, 2))]).tolist() == [[1, 1, 1]]


def test_the_fingerprint_is_of_the_code_and_the_options_and_says_so(module_folder: Path) -> None:
    first = load("my_model:build", LoadOptions()).info
    assert "fingerprint from my_model.py, the factory's options and the vectors of a few probes" in first.notes[0]
    assert load("my_model:build", LoadOptions()).info.fingerprint == first.fingerprint
    assert load("my_model:build", LoadOptions(options={"shift": "1"})).info.fingerprint != first.fingerprint

    del sys.modules["my_model"]
    (module_folder / "my_model.py").write_text(GOOD + "\n# another\n")
    assert load("my_model:build", LoadOptions()).info.fingerprint != first.fingerprint


def test_the_fingerprint_is_also_of_the_module_that_a_factory_comes_from(module_folder: Path) -> None:
    (module_folder / "other_model.py").write_text(
        "from functools import partial\nfrom my_model import build\nfixed = partial(build, '3')\n"
    )
    note = load("other_model:build", LoadOptions()).info.notes[0]

    assert "fingerprint from my_model.py and other_model.py, the factory's options" in note
    assert "fingerprint from other_model.py, the" in load("other_model:fixed", LoadOptions()).info.notes[0]


def test_a_factory_that_fails_is_named_with_the_first_line_of_its_cause() -> None:
    with pytest.raises(ModelError, match=r"python:my_model:broken: the factory failed \(ValueError: no weights"):
        load("my_model:broken", LoadOptions())


def test_a_module_that_fails_is_told_from_one_that_is_not_there(module_folder: Path) -> None:
    (module_folder / "fails.py").write_text("import no_such_library\n")
    with pytest.raises(ModelError, match=r"importing fails failed \(ModuleNotFoundError: No module named"):
        load("fails:build", LoadOptions())
    (module_folder / "fails.py").write_text("1 / 0\n")
    with pytest.raises(ModelError, match=r"importing fails failed \(ZeroDivisionError"):
        load("fails:build", LoadOptions())


@pytest.mark.parametrize(
    ("method", "message"),
    [
        ("def encode_texts(self, texts): return np.ones((len(texts), 4))", r"encode_texts gave shape \(1, 4\) for a batch of 1: expected \(1, 3\)"),
        ("def encode_images(self, images): return np.ones(3)", r"encode_images gave shape \(3,\) for a batch of 1: expected \(1, d\)"),
        ("def encode_images(self, images): return np.ones((len(images) + 1, 3))", r"encode_images gave shape \(2, 3\) for a batch of 1: expected \(1, d\)"),
        ("def encode_texts(self, texts): return [None]", r"encode_texts gave shape|encode_texts gave an object of type list: expected an array of real numbers"),
        ("def encode_texts(self, texts): return {'a': 1}", r"encode_texts gave an object of type dict: expected an array of real numbers"),
        ("def encode_texts(self, texts): return np.ma.masked_array(np.ones((len(texts), 3)), True)", "gave an object of type MaskedArray of float64: expected"),
        ("def encode_texts(self, texts): return np.ones((len(texts), 3)) + 1j", "gave an object of type ndarray of complex128: expected"),
        ("def encode_texts(self, texts): import torch; return torch.ones(len(texts), 3) + 1j", r"gave an object of type Tensor of torch\.complex64: expected"),
        ("def encode_texts(self, texts): import torch; return torch.ones(len(texts), 3, device='meta')", r"expected an array .* \(NotImplementedError: Cannot copy out of meta"),
        ("def encode_texts(self, texts): raise KeyError('dog')", r"encode_texts failed \(KeyError: 'dog'\): see its traceback"),
        ("logit_scale = 'high'", r"logit_scale is 'high': expected a number"),
        ("context_length = '77'", r"context_length is '77': expected an integer number of tokens"),
        ("logit_scale = 0", r"logit_scale is 0.0: expected a finite number above 0"),
        ("logit_bias = float('nan')", r"logit_bias is nan: expected a finite number"),
    ],
)  # fmt: skip
def test_a_method_that_gives_what_is_no_vectors_is_named(module_folder: Path, method: str, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        load(with_method(module_folder, method), LoadOptions())


def test_a_fault_in_a_later_batch_is_found_too(module_folder: Path) -> None:
    reference = with_method(module_folder, "def encode_texts(self, texts): return np.ones((min(3, len(texts)), 3))")
    model = load(reference, LoadOptions(batch_size=4))

    with pytest.raises(ModelError, match=r"encode_texts gave shape \(3, 3\) for a batch of 4: expected \(4, 3\)"):
        model.encode_texts(["a", "b", "c", "d", "e"])


# ----- in another interpreter

FAR = """
import os, signal, sys, time
import numpy as np
import helper


class Far:
    logit_scale = np.float32(20)
    similarity = "dot"

    def __init__(self, fault, at="9"):
        self.fault, self.left = fault, int(at)

    def encode_images(self, images, role=None):
        print("not a frame")
        return np.stack([np.asarray(image, np.float64)[0, :2].ravel() / 7 for image in images]) + (role == "query")

    def encode_texts(self, texts):
        self.left -= 1
        if self.left <= 0 and self.fault:
            print("last words", file=sys.stderr)
            return eval(self.fault)
        return np.array([[hash_of(text), 1, 2, 3, 4, 5] for text in texts]) / 7

    def encode_joint(self, images, texts):
        return self.encode_images(images) * self.encode_texts(texts)

    def encode_audio(self, items):
        return np.stack([item[:6] if isinstance(item, np.ndarray) else np.full(6, item.stat().st_size) for item in items])

    def count_tokens(self, texts):
        return [len(text.encode()) for text in texts]

    def combine_prompts(self, vectors):
        return np.median(vectors, axis=0)


def hash_of(text):
    return sum(text.encode("utf-8", "surrogatepass"))


def write_everywhere(data):
    for number in range(3, 30):
        try:
            os.write(number, data)
        except OSError:
            pass


def build(fault="", at="9", needs=""):
    if needs == "nothing else":
        assert not {"clipbench", "torch"} & set(sys.modules)
    return Far(fault, at)
"""


@pytest.fixture
def far(module_folder: Path) -> Callable[..., PythonModel]:
    (module_folder / "far.py").write_text(FAR)
    (module_folder / "helper.py").write_text("__version__ = '1'\n")
    return lambda interpreter=sys.executable, **given: load(
        "far.py:build",
        LoadOptions(batch_size=4, options={**given, **({"interpreter": interpreter} if interpreter else {})}),
    )


def test_another_interpreter_gives_the_same_vectors_to_the_last_bit(
    far: Callable[..., PythonModel], module_folder: Path
) -> None:
    near, model = far(None), far(needs="nothing else")
    images = [Image.new("RGB", (3, 2), (number, 2 * number, 250)) for number in range(10)]
    texts = [f"{number} 🐈\ud800" for number in range(10)]
    items: dict[str, list[Any]] = {
        "image": images,
        "text": texts,
        JOINT: list(zip(images, texts, strict=True)),
        "audio": [np.arange(9) / 3, np.array([1, 2, 3, 4, 5, 6.1], np.float16), module_folder / "far.py"],
    }
    for modality, inputs in items.items():
        role: Role = "query" if modality == "image" else None
        expected, result = near.encode(modality, inputs, role), model.encode(modality, inputs, role)
        assert result.dtype == np.float32 and (expected == result).all() and len({*map(bytes, result)}) == len(inputs)
    assert (model.count_tokens(["a", "🐈"]) == [1, 4]).all()
    assert np.array_equal(*(encoders.combine(near.encode_texts(texts)) for encoders in (model, near)))  # type: ignore[arg-type]
    info = replace(model.info, fingerprint=near.info.fingerprint, notes=near.info.notes)
    assert info == near.info and info.is_joint and {*info.roles} == {"image"} and info.similarity == "dot"
    assert "runs in another interpreter (python 3." in model.info.notes[-1]
    with pytest.raises(ModelError, match="an item of type object cannot be passed to another interpreter"):
        model.encode("audio", [object()])


def test_the_versions_there_are_part_of_the_fingerprint(far: Callable[..., PythonModel], module_folder: Path) -> None:
    first, again = far().info.fingerprint, far().info.fingerprint
    (module_folder / "helper.py").write_text("__version__ = '11'\n")
    assert first == again != far().info.fingerprint


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("os.kill(os.getpid(), signal.SIGKILL)", r"the other interpreter was killed \(Killed\)\. Its output ends with: .*last words$"),
        ("os._exit(3)", r"the other interpreter ended with status 3\. Its output ends with: .*last words$"),
        ("os._exit(9) if os.fork() else time.sleep(600)", r"the other interpreter ended with status 9\. Its output ends with"),
        ("sys.exit(3)", r"encode_texts failed \(sys.exit\(3\)\)\. Its output ends with: .*last words$"),
        ("1 / 0", r"encode_texts failed \(ZeroDivisionError: division by zero\)\. Its output ends with"),
        ("np.array([object()])", r"gave an object of type ndarray of object: expected an array of real numbers"),
        ("np.ones((2, 5))", r"encode_texts gave shape \(2, 5\) for a batch of 2: expected \(2, 6\)"),
        ("write_everywhere(b'hello' * 9)", "the other interpreter sent b'hellohellohelloh' where a frame begins"),
        ("write_everywhere(b'clipbench pipe 1' + bytes(7) + b'9')", r"sent a frame of 4,107,\d{3},[\d,]* bytes"),
        ("write_everywhere(b'clipbench pipe 1' + b'2' + bytes(7) + b'[' * 50)", "sent 50 bytes that are not a message"),
        ("time.sleep(600)", r"no answer within 3 s: model_options={'timeout': 'SECONDS'} allows more"),
    ],
)  # fmt: skip
def test_what_goes_wrong_there_is_one_line(far: Callable[..., PythonModel], fault: str, message: str) -> None:
    model = far(fault=fault, at="3", timeout="3" if "sleep" in fault else "60")
    for _ in range(2):  # and stays so
        with pytest.raises(ModelError, match=message) as caught:
            model.encode_texts(["a", "b"])
        assert "\n" not in str(caught.value) and "far.py:build: encode_texts" in str(caught.value)


def test_an_answer_to_a_call_that_was_interrupted_is_not_taken_for_the_next(
    far: Callable[..., PythonModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = far()

    def interrupted(*arguments: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(interpreter, "read_message", interrupted)
        model.encode_texts(["a"])
    with pytest.raises(ModelError, match="encode_texts: the call before was interrupted"):
        model.encode_texts(["b"])


@pytest.mark.parametrize(
    ("script", "message"),
    [
        (None, r"interpreter=.*/other: \[Errno 2\] .*: expected a Python with numpy and pillow, such as"),
        ("exit 4", "the other interpreter ended with status 4: expected a Python with numpy and pillow"),
        ("echo no frame, but a line of words", "the other interpreter sent b'no frame, but a ' where a frame begins"),
        (f"exec '{sys.executable}' -I -S \"$@\"", r"ended with status 1\. Its output ends with: .*No module named 'numpy'"),
    ],
)  # fmt: skip
def test_an_interpreter_that_is_no_python_is_refused(
    far: Callable[..., PythonModel], module_folder: Path, script: str | None, message: str
) -> None:
    if script is not None:
        (module_folder / "other").write_text(f"#!/bin/sh\n{script}\n")
        (module_folder / "other").chmod(0o755)
    with pytest.raises(UsageError, match=message) as caught:
        far(str(module_folder / "other"))
    assert "\n" not in str(caught.value)


def test_a_parent_that_is_killed_leaves_no_child(far: Callable[..., PythonModel], module_folder: Path) -> None:
    os.mkfifo(module_folder / "held")
    fault = "[file := open('held', 'w'), file.write('asleep'), file.flush(), time.sleep(60), file.write('awake')]"
    options = {"interpreter": sys.executable, "fault": fault, "at": "3"}
    code = (
        "from tests.clipbench.models.test_python import *; load('far.py:build',"
        f" LoadOptions(options={options})).encode_texts(['a'])"
    )
    root = Path(__file__).parents[3]
    path = os.pathsep.join([str(root), os.environ.get("PYTHONPATH", "")])
    parent = subprocess.Popen([sys.executable, "-c", code], cwd=module_folder, env={**os.environ, "PYTHONPATH": path})
    with open(module_folder / "held") as held:
        assert held.read(6) == "asleep"
        parent.kill()
        parent.wait()
        assert held.read() == ""  # its end is closed, long before it would wake


def test_the_page_on_models_has_an_object_that_works_and_every_attribute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = (Path(__file__).parents[3] / "docs/model-object.md").read_text(encoding="utf-8")
    (code,) = (block.partition("```")[0] for block in page.split("```python\n")[1:] if "class Mine:" in block)
    (tmp_path / "of_the_page.py").write_text(code)
    monkeypatch.syspath_prepend(str(tmp_path))
    model = load("of_the_page:Mine", LoadOptions())
    assert (model.info.logit_scale, model.info.embed_dim) == (100.0, 192)
    for attribute in ("logit_scale", "logit_bias", "context_length", "fingerprint"):
        assert f"| `{attribute}` |" in page, attribute
