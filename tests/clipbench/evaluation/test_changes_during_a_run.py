"""Data, models and clocks that change during a run: the result is of what was read, or the run says what changed."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import clipbench as cb
from clipbench.testing import ToyModel

N = 6
SIZE = (11, 9)
"""Width and height of the pictures, which no probe of a model has."""


@pytest.fixture
def captions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A table of six pictures with captions."""
    monkeypatch.setenv("CLIPBENCH_CACHE", str(tmp_path / "cache"))
    rng = np.random.default_rng(0)
    for number in range(N):
        Image.fromarray(rng.integers(0, 256, (*SIZE[::-1], 3), np.uint8)).save(tmp_path / f"{number}.png")
    table = tmp_path / "captions.csv"
    table.write_text("image,caption\n" + "".join(f"{number}.png,picture number {number}\n" for number in range(N)))
    return table


class Disturbing(ToyModel):
    """A model that does something before each batch of the data's pictures."""

    def __init__(self, disturb: Callable[[], object]) -> None:
        super().__init__()
        self.disturb = disturb

    def encode_images(self, images: Sequence[Image.Image]) -> Any:
        if images[0].size == SIZE:
            self.disturb()
        return super().encode_images(images)


class Wavering(ToyModel):
    """A model whose vectors are others in each batch."""

    n_batches = 0

    def encode_images(self, images: Sequence[Image.Image]) -> Any:
        self.n_batches += 1
        return super().encode_images(images) + 0.5 * self.n_batches


class Drifting(ToyModel):
    """A model whose vectors are others from the second batch of the data's pictures on."""

    n_batches = 0

    def encode_images(self, images: Sequence[Image.Image]) -> Any:
        self.n_batches += images[0].size == SIZE
        return super().encode_images(images) + (0.5 if self.n_batches > 1 else 0.0)


def measured(model: Any, captions: Path, **options: Any) -> cb.Run:
    return cb.run(model, "retrieval", data=captions, thumbnails=0, workers=0, batch_size=2, **options)


def test_a_table_that_is_replaced_during_a_run_is_measured_as_it_was_read(captions: Path) -> None:
    content, other = captions.read_text(), "image,caption\n0.png,something else\n1.png,and something else\n"
    result = measured(Disturbing(lambda: captions.write_text(other)), captions).result.evaluations[0]
    assert captions.read_text() == other

    captions.write_text(content)
    expected = measured(ToyModel(), captions).result.evaluations[0]
    assert result.dataset == expected.dataset
    assert {name: metric.value for name, metric in result.metrics.items()} == {
        name: metric.value for name, metric in expected.metrics.items()
    }


def test_an_image_that_is_replaced_during_a_run_ends_in_one_line(captions: Path) -> None:
    last = captions.parent / f"{N - 1}.png"
    content = last.read_bytes()
    with pytest.raises(cb.ClipbenchError, match=rf"{N - 1}\.png: its content changed during the run") as error:
        measured(Disturbing(lambda: Image.new("RGB", SIZE, "red").save(last)), captions)
    assert "\n" not in str(error.value)

    last.write_bytes(content)
    again = measured(ToyModel(), captions).result.evaluations[0]
    assert again.status == "ok"


def test_an_image_that_is_replaced_during_a_run_may_be_left_out(captions: Path) -> None:
    last = captions.parent / f"{N - 1}.png"
    model = Disturbing(lambda: Image.new("RGB", SIZE, "red").save(last))
    record = measured(model, captions, on_bad_image="skip").result.evaluations[0]
    assert record.dataset.n_samples == N - 1 and "its content changed" in " ".join(record.notes)


def test_a_model_that_changes_between_two_batches_is_named_by_doctor_and_by_a_run(captions: Path) -> None:
    findings = cb.doctor(Wavering()).frame().query("status == 'fault'")
    assert "determinism" in findings["check"].tolist()
    preflight = measured(Wavering(), captions).result.preflight
    assert "determinism" in [finding.check for finding in preflight or ()]


def test_a_model_that_changes_after_its_checks_is_named_once_at_the_end(captions: Path) -> None:
    findings = measured(Drifting(), captions).result.preflight or []
    assert len(findings) == 1
    fault = findings[0]
    assert fault.check == "determinism" and fault.status == "fault"
    assert "the same input encoded before and after the run gives vectors" in fault.seen
    assert "remove its stored vectors" in fault.fix and "\n" not in fault.seen + fault.fix
    # Nothing is encoded, so nothing is checked.
    stored = measured(Drifting(), captions)
    assert stored.result.towers["image"].n_encoded == 0 and not stored.result.preflight
    (random_fault,) = [
        finding for finding in measured(Wavering(), captions).result.preflight or () if finding.check == "determinism"
    ]
    assert "encoded twice" in random_fault.seen


def test_a_model_that_does_not_change_encodes_six_inputs_more(captions: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steady = ToyModel()
    assert measured(steady, captions).result.preflight == []
    unchecked = ToyModel()
    monkeypatch.setenv("CLIPBENCH_CACHE", str(captions.parent / "other"))
    monkeypatch.setattr("clipbench.evaluation.session.change_during_run", lambda embedder, findings: [])
    assert measured(unchecked, captions).result.preflight == []
    assert steady.encoded_images - unchecked.encoded_images == 3
    assert steady.encoded_texts - unchecked.encoded_texts == 3


def test_a_clock_that_jumps_back_makes_no_time_negative(captions: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, n_calls = time.time, [0]

    def jumping() -> float:
        n_calls[0] += 1
        return real() - 3600 * n_calls[0]

    monkeypatch.setattr(time, "time", jumping)
    record = measured(ToyModel(), captions).result.evaluations[0]
    assert record.status == "ok" and min(record.seconds.values()) >= 0
