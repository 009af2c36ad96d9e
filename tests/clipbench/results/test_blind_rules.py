"""Metrics that a rule beats without a look at the input: the most frequent class, or one item for every query."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clipbench import Dataset, FileImage, run
from clipbench.results.blind_rules import blind_rule, rule_lines

COUNTS = {"dress": 60, "hat": 12, "shoe": 8}


class Guessing:
    """Gives every input a vector of its own, drawn by its content."""

    fingerprint = "guessing"

    def encode_images(self, images: list[object]) -> np.ndarray:
        return np.stack([self._vector(np.asarray(image).tobytes()) for image in images])

    def encode_texts(self, texts: list[str]) -> np.ndarray:
        return np.stack([self._vector(text.encode()) for text in texts])

    @staticmethod
    def _vector(content: bytes) -> np.ndarray:
        seed = int.from_bytes(content[:64], "little") % 2**32 + sum(content)
        return np.random.default_rng(seed).standard_normal(16).astype(np.float32)


@pytest.fixture
def images(tmp_path: Path) -> list[FileImage]:
    rng, paths = np.random.default_rng(0), []
    for number in range(sum(COUNTS.values())):
        paths.append(tmp_path / f"{number:03}.png")
        Image.fromarray(rng.integers(0, 256, (9, 9, 3), np.uint8)).save(paths[-1])
    return [FileImage(path) for path in paths]


def test_an_accuracy_below_the_most_frequent_class_is_said_everywhere(images: list[FileImage], tmp_path: Path) -> None:
    labels = np.repeat(np.arange(len(COUNTS)), list(COUNTS.values()))
    ids = [str(number) for number in range(len(images))]
    data = Dataset(id="clothes", images=images, image_ids=ids, labels=labels, class_names=tuple(COUNTS))
    measured = run(Guessing(), "zero-shot", data=data, out=tmp_path / "run")
    record = measured.result.evaluations[0]
    rule = blind_rule(record, "acc1")
    assert rule is not None and rule.is_ahead and rule.value == pytest.approx(60 / 80)
    assert rule.words == "always answering 'dress'"
    assert "is below always answering 'dress', 75.0 %" in str(measured)
    page = (tmp_path / "run/report.html").read_text(encoding="utf-8")
    assert "Below a blind rule" in page and "names classes less often than always answering" in page.lower()


def test_recall_is_held_against_the_image_with_most_captions(images: list[FileImage]) -> None:
    owner = np.array([*[0] * 20, *range(40)])
    captions = [f"caption {number}" for number in range(len(owner))]
    ids = [str(number) for number in range(40)]
    data = Dataset(id="pairs", images=images[:40], image_ids=ids, captions=captions, caption_image=owner)
    record = run(Guessing(), "retrieval", data=data).result.evaluations[0]
    rule = blind_rule(record, "image_retrieval_recall@1")
    assert rule is not None and rule.value == pytest.approx(21 / 60)
    assert blind_rule(record, "text_retrieval_recall@1") is None or rule.words.endswith("the same image")


def test_classes_of_one_size_have_no_rule_but_chance(images: list[FileImage]) -> None:
    labels = np.arange(60) % 3
    ids = [str(number) for number in range(60)]
    data = Dataset(id="even", images=images[:60], image_ids=ids, labels=labels, class_names=tuple(COUNTS))
    record = run(Guessing(), "zero-shot", data=data).result.evaluations[0]
    assert blind_rule(record, "acc1") is None and list(rule_lines([record])) == []
