"""Models of other modalities in memory: encoders by name, data by column, and the store that finds vectors again."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest
from PIL import Image

import clipbench as cb
from clipbench.data.modalities import Modalities, ModalityItem, check_modalities
from clipbench.errors import ClipbenchError
from clipbench.models.adapters.python import wrap
from clipbench.models.encoding.stored_models import remove, stored_models

WORDS = [f"sound {row}" for row in range(12)]
SOUNDS = [np.eye(12, dtype=np.float32)[row] for row in range(12)]


class Clap:
    """Recordings and texts; it counts what it is given, and keeps the last batch."""

    def __init__(self, fingerprint: str | None = None) -> None:
        if fingerprint is not None:
            self.fingerprint = fingerprint
        self.n_recordings = 0
        self.batch: list[Any] = []

    def encode_texts(self, texts: list[str]) -> np.ndarray:
        rows = [WORDS.index(text) if text in WORDS else 0 for text in texts]
        return np.eye(12, dtype=np.float32)[rows] + 0.1

    def encode_audio(self, items: list[Any]) -> np.ndarray:
        self.n_recordings += len(items)
        self.batch = items
        return (
            np.stack([SOUNDS[0] if isinstance(item, str | os.PathLike | bytes | Player) else item for item in items])
            + 0.2
        )


class Player:
    """An item whose content cannot be hashed."""


class Bind(Clap):
    """Depth maps too, and images."""

    def encode_depth(self, items: list[Any]) -> np.ndarray:
        return np.stack(items) + np.float32(0.3)

    def encode_images(self, images: list[Image.Image]) -> np.ndarray:
        return np.stack([np.eye(12, dtype=np.float32)[image.size[0] % 12] for image in images]) + 0.4


def recall(run: cb.Run) -> dict[str, float | None]:
    (record,) = (evaluation for evaluation in run.result.evaluations if evaluation.task == "modalities")
    return {name: metric.value for name, metric in record.metrics.items() if name.endswith("/recall@1")}


def test_a_model_of_recordings_and_texts_is_measured_by_the_same_task() -> None:
    run = cb.run(Clap(), data={"audio": SOUNDS, "text": WORDS})
    assert [evaluation.task for evaluation in run.result.evaluations] == ["modalities"]
    assert recall(run) == {"audio-to-text/recall@1": 1.0, "text-to-audio/recall@1": 1.0}
    (record,) = run.result.evaluations
    assert record.encoded["audio"] == 12 and record.encoded["stored_audio"] == 0 and record.seconds["encode_audio"] >= 0
    assert record.dataset.n_samples == 12 and record.dataset.id == "memory"


def test_images_beside_other_modalities_are_read_as_always_and_feed_the_other_tasks() -> None:
    images = [Image.new("RGB", (12 + row, 12)) for row in range(12)]
    run = cb.run(
        Bind(), ["retrieval", "modalities"], data={"image": images, "text": WORDS, "audio": SOUNDS, "depth": SOUNDS}
    )
    assert [evaluation.status for evaluation in run.result.evaluations] == ["ok", "ok"]
    assert set(recall(run).values()) == {1.0} and len(recall(run)) == 12


def test_several_recordings_of_a_text_are_named_by_rows_and_ids() -> None:
    data = {"audio": SOUNDS[:4], "text": WORDS[:2], "audio_to_text": [0, 0, 1, 1], "audio_ids": ["a", "b", "c", "d"]}
    run = cb.run(Clap(), data=data)
    ids = run.samples("modalities")["sample_id"].tolist()
    assert "audio-to-text:d" in ids and run.result.evaluations[0].metrics["audio-to-text/recall@1"].n == 4


def test_a_frame_names_its_columns_of_modalities() -> None:
    frame = pandas.DataFrame({"audio": SOUNDS, "text": WORDS, "source": "web"})
    run = cb.run(Clap(), data=frame, data_options={"modalities": "audio, text"})
    assert set(recall(run).values()) == {1.0}
    with pytest.raises(ClipbenchError, match="has no column 'sound'"):
        cb.run(Clap(), data=frame, data_options={"modalities": "sound,text"})


def test_what_can_be_hashed_is_encoded_once_and_anything_else_each_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLIPBENCH_CACHE", str(tmp_path / "cache"))
    (tmp_path / "a.wav").write_bytes(b"sound")
    model = Clap(fingerprint="clap")
    data = {"audio": [str(tmp_path / "a.wav"), b"sound", SOUNDS[2], Player()], "text": WORDS[:4]}
    for expected in (4, 5, 6):  # the player alone goes through the model again
        cb.run(model, data=data)
        assert model.n_recordings == expected
    (tmp_path / "a.wav").write_bytes(b"another sound")
    cb.run(model, data=data)
    assert model.n_recordings == 8
    (stored,) = stored_models(tmp_path / "cache")
    assert stored.n_vectors == 4 + 4  # recordings: two of the file, bytes, array; texts
    remove([stored])
    assert not stored.folder.exists()


def test_equal_content_has_equal_hashes_whatever_holds_it(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(b"x")
    (tmp_path / "b.wav").write_bytes(b"x")
    paths = [ModalityItem(tmp_path / name, name).content for name in ("a.wav", "b.wav")]
    assert paths[0] == paths[1] != ModalityItem(b"x", "").content
    assert ModalityItem((SOUNDS[0], 16_000), "").content == ModalityItem((SOUNDS[0].copy(), 16_000), "").content
    assert ModalityItem((SOUNDS[0], 16_000), "").content != ModalityItem((SOUNDS[0], 44_100), "").content
    assert ModalityItem((SOUNDS[0], Player()), "").content is None


def test_other_recordings_have_another_fingerprint() -> None:
    of = {
        name: cb.load_data({"audio": sounds, "text": WORDS[:2]}).fingerprint([])
        for name, sounds in (
            ("first", SOUNDS[:2]),
            ("again", [sound.copy() for sound in SOUNDS[:2]]),
            ("other", SOUNDS[1:3]),
        )
    }
    assert of["first"] == of["again"] != of["other"]


MISTAKES: dict[str, tuple[Callable[[], object], str]] = {
    "no encoder": (
        lambda: cb.run(Clap(), data={"depth": SOUNDS, "text": WORDS}),
        r"has no encoder of depth: it encodes text and audio, and an object needs encode_depth\(items\) for it",
    ),
    "one modality": (lambda: cb.run(Clap(), data={"audio": SOUNDS}), "has only audio: expected two modalities"),
    "no pairs": (
        lambda: cb.run(Clap(), data={"audio": SOUNDS, "text": WORDS[:5]}),
        "no pairs of audio and text: give audio_to_text",
    ),
    "rows beyond the texts": (
        lambda: cb.run(Clap(), data={"audio": SOUNDS[:2], "text": WORDS[:1], "audio_to_text": [0, 1]}),
        r"audio_to_text has 2 row numbers from 0 to 1: expected 2 \(one per item of audio\), each from 0 to 0",
    ),
    "rows that are none": (
        lambda: cb.run(Clap(), data={"audio": SOUNDS[:1], "text": WORDS[:2], "audio_to_text": ["x"]}),
        "'audio_to_text' is an array of <U1 with shape",
    ),
    "a wrong link": (
        lambda: cb.run(Clap(), data={"audio": SOUNDS, "text": WORDS, "audio_to_txt": [0]}),
        "'audio_to_txt' is neither a modality nor the link .* did you mean 'audio_to_text'",
    ),
    "a plural": (
        lambda: cb.run(Clap(), data={"audio": SOUNDS, "texts": WORDS}),
        "'texts' is not a modality: call it 'text'",
    ),
    "no text": (lambda: cb.run(Clap(), data={"audio": SOUNDS[:1], "text": [3]}), "data, text 0 is 3: expected a text"),
    "no list": (
        lambda: cb.run(Clap(), data={"audio": "a.wav", "text": WORDS}),
        "'audio' is of type str: expected a list",
    ),
    "doctor": (lambda: cb.doctor(Clap()), "doctor examines only models of images and texts"),
    "a task of images": (
        lambda: cb.run(Clap(), "retrieval", data=[(Image.new("RGB", (8, 8)), "a"), (Image.new("RGB", (9, 8)), "b")]),
        "has no encoder of image: it encodes text and audio, and an object needs encode_images",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_line_that_says_what_to_do(mistake: str) -> None:
    call, message = MISTAKES[mistake]
    with pytest.raises(ClipbenchError, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)


def test_an_object_without_images_and_texts_says_its_dimension() -> None:
    class Other:
        embed_dim = 3

        def encode_audio(self, items: list[Any]) -> np.ndarray:
            return np.ones((len(items), 3), np.float32)

        encode_video = encode_audio

    assert wrap(Other(), "other", batch_size=2).modalities == ["audio", "video"]
    del Other.embed_dim
    with pytest.raises(ClipbenchError, match="embed_dim is None: expected the dimension"):
        wrap(Other(), "other", batch_size=2)


def test_a_link_without_rows_is_refused_with_its_numbers() -> None:
    items = {"audio": ["bark", "purr"], "text": ["a dog", "a cat"]}
    ids = {"audio": ("a", "b"), "text": ("c", "d")}
    modalities = Modalities(items, ids, {("audio", "text"): np.zeros(0, np.int64)})
    message = r"audio_to_text has 0 row numbers: expected 2 \(one per item of audio\), each from 0 to 1"
    with pytest.raises(ClipbenchError, match=message):
        check_modalities(modalities, "x")
