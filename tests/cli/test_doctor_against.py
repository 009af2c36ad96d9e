"""``clipbench doctor --against``: what it prints and writes, its exit status, and one line for everything wrong."""

import json
from pathlib import Path

import numpy as np
import pytest

from clipbench import plugins
from clipbench.checks.agreement.fixed_inputs import fixed_inputs
from tests.cli.conftest import Call

SERVED = """
from PIL import Image
import clipbench as cb

class Served:
    fingerprint = "served"
    def __init__(self):
        self.model = cb.load_model("tiny", device="cpu")
    def encode_images(self, images):
        return self.model.encode_images([image.resize((64, 64)) for image in images])
    def encode_texts(self, texts):
        return self.model.encode_texts(texts)

def load():
    return Served()
"""


@pytest.fixture
def doctor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: Call) -> Call:
    """Return what runs the command in a folder with a program that squashes pictures."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CLIPBENCH_CACHE", str(tmp_path / "cache"))
    (tmp_path / "served.py").write_text(SERVED)
    return lambda *arguments: call("doctor", *arguments)


def test_the_same_vectors_end_with_status_0_and_a_verdict(doctor: Call) -> None:
    done = doctor("--model", "tiny", "--against", "tiny", "--against-option", "batch_size=3")
    assert (done.status, done.err) == (0, "")
    assert done.out.splitlines()[0] == "tiny against tiny" and done.out.splitlines()[-1] == "verdict: same"


def test_other_vectors_end_with_status_1_json_and_a_page(doctor: Call, tmp_path: Path) -> None:
    arguments = ["--model", "tiny", "--against", "python:served.py:load", "--json"]
    has_page = "against" in plugins.names(plugins.REPORTS)
    done = doctor(*arguments, *(["-o", "page.html"] if has_page else []))
    assert done.status == 1
    content = json.loads(done.out)
    assert content["verdict"] == "same space, other inputs" and content["share_index"] is None
    assert [cause["stage"] for cause in content["causes"]] == ["pixels"]
    assert {*content["causes"][0]} == {"stage", "tower", "evidence"}
    assert {"cosine_min", "cosine_median", "worst"} <= {*content["image"]} and content["text"]["worst"] == []
    if not has_page:
        pytest.fail("the entry point of the page is not installed: run `make install`")
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert page.count('<img src="data:image/webp;base64,') == 5
    assert "Not the same vectors: pixels differ" in page and "only pictures that are not square differ" in page.lower()


def test_inputs_are_written_without_a_model(doctor: Call, tmp_path: Path) -> None:
    done = doctor("--write-inputs", "inputs")
    assert (done.status, done.out) == (0, "wrote 18 pictures and texts.jsonl to inputs\n")
    assert len([*(tmp_path / "inputs").iterdir()]) == len(fixed_inputs().images) + 1


def test_wrong_usage_is_one_line(doctor: Call, tmp_path: Path) -> None:
    images, texts = fixed_inputs()
    np.savez(
        tmp_path / "half.npz",
        images=np.ones((4, 128), np.float32),
        texts=np.ones((len(texts), 128), np.float32),
        image_ids=[image.name for image in images[:4]],
        text_ids=[text.id for text in texts],
    )
    against = ("--model", "tiny", "--against")
    for arguments, words in (
        ((), "Missing option '--model'"),
        (("--model", "tiny", "-o", "page.html"), "-o has no effect without --against"),
        (("--model", "tiny", "--against-option", "a=b"), "--against-option has no effect without --against"),
        ((*against, "tiny", "--expect", "50"), "--expect has no effect together with --against"),
        (("--model", "tiny", "--write-inputs", "inputs"), "remove --model and --against"),
        ((*against, "tiny", "--against-option", "batch_size=no"), "expected an integer"),
        ((*against, "api:http://127.0.0.1:9/v1"), "needs the model's name on the server: --against-option model=NAME"),
        ((*against, "embeddings:half.npz"), "has no vector of 14 of 18 pictures"),
        ((*against, "nobody"), "unknown model 'nobody'"),
    ):
        done = doctor(*arguments)
        assert done.status == 2 and done.out == ""
        assert words in done.err and done.err.count("\n") == 1, done.err
