"""Guarantees of speed without a clock: how often each image is read and encoded, and memory."""

from collections import Counter
from pathlib import Path

import pandas
import pytest
from PIL import Image

import clipbench as cb
from clipbench.data import images
from clipbench.testing import ToyModel


def test_all_tasks_encode_each_image_and_text_once_and_a_repeat_encodes_and_decodes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLIPBENCH_CACHE", str(tmp_path / "cache"))
    paths = [tmp_path / f"{number}.jpg" for number in range(12)]
    for number, path in enumerate(paths):  # the last is the first once more
        Image.effect_noise((60 + number % 11, 40), 90).convert("RGB").save(path)
    paths[-1].write_bytes(paths[0].read_bytes())
    labels = ["cat" if number % 2 else "dog" for number in range(12)]
    texts = [f"a {label} in colour {number // 3}" for number, label in enumerate(labels)]
    captions = pandas.DataFrame({"image": paths, "caption": texts, "label": labels})
    reads: Counter[str] = Counter()
    decoded: list[str] = []
    read, decode = vars(images)["read_bytes"], vars(images)["decode"]

    def counted_read(path: Path) -> bytes:
        reads[path.name] += 1
        data: bytes = read(path)
        return data

    def counted_decode(data: bytes, name: str) -> Image.Image:
        decoded.append(name)
        image: Image.Image = decode(data, name)
        return image

    monkeypatch.setattr(images, "read_bytes", counted_read)
    monkeypatch.setattr(images, "decode", counted_decode)
    tasks = ["zero-shot", "retrieval"]
    model, again = ToyModel(fingerprint="counted"), ToyModel(fingerprint="counted")
    cb.run(model, tasks=tasks, data=captions, preflight=False, workers=0, out=tmp_path / "one")
    assert (model.encoded_images, model.encoded_texts) == (11, 10)
    # By content, to encode it, and for its thumbnail.
    assert max(reads.values()) <= 3 and len(decoded) <= 2 * 11
    reads.clear()
    decoded.clear()
    cb.run(again, tasks=tasks, data=captions, preflight=False, workers=0, out=tmp_path / "two")
    assert (again.encoded_images, again.encoded_texts) == (0, 0)
    assert max(reads.values()) == 1 and not decoded
