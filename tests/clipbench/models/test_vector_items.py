"""Items of an embeddings folder: composition from vectors, equal to that of a model with the same vectors."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import clipbench as cb
from clipbench.cli.main import main
from clipbench.metrics.similarity import unit

SWAPPED = [[1, 0], [0, 1]]
ITEM: Mapping[str, Any] = {"id": "a", "images": [0, 1], "captions": [0, 1], "truth": SWAPPED}


def folder_of(path: Path, images: np.ndarray, texts: np.ndarray, items: Sequence[Mapping[str, Any]]) -> Path:
    path.mkdir()
    np.save(path / "images.npy", images)
    np.save(path / "texts.npy", texts)
    (path / "items.jsonl").write_text("".join(json.dumps(item) + "\n" for item in items))
    return path


def random_vectors(n: int, dim: int = 8) -> tuple[np.ndarray, np.ndarray]:
    """Return vectors of images and texts that belong together, more or less."""
    rng = np.random.default_rng(0)
    images = rng.standard_normal((n, dim)).astype(np.float32)
    return images, (images + 3 * rng.standard_normal((n, dim))).astype(np.float32)


def pairs_of_pairs(n: int) -> list[dict[str, Any]]:
    """Return items of two images and two texts each, in two subsets."""
    return [
        {"id": k, "images": [2 * k, 2 * k + 1], "captions": [2 * k, 2 * k + 1], "truth": SWAPPED, "subset": "ab"[k % 2]}
        for k in range(n)
    ]


def composition(model: Any, out: Path, data: Any = None) -> cb.Run:
    return cb.run(model, "composition", data=data, out=out)


def values(run: cb.Run) -> dict[str, float | None]:
    record = run.result.evaluations[0]
    return {name: metric.value for name, metric in record.metrics.items()}


def test_scores_are_those_of_winoground_worked_by_hand(tmp_path: Path) -> None:
    images, texts = random_vectors(40)
    run = composition(f"embeddings:{folder_of(tmp_path / 'x', images, texts, pairs_of_pairs(20))}", tmp_path / "run")

    cosines = unit(images) @ unit(texts).T
    blocks = np.array([cosines[2 * k : 2 * k + 2, 2 * k : 2 * k + 2] for k in range(20)])
    diagonal, other = np.diagonal(blocks, axis1=1, axis2=2), blocks[:, [0, 1], [1, 0]]
    text, image = np.all(diagonal > other, axis=1), np.all(diagonal > other[:, ::-1], axis=1)
    scores = values(run)
    assert 0 < text.mean() < 1 and 0 < image.mean() < 1
    assert scores["micro/text_acc"] == text.mean() and scores["micro/image_acc"] == image.mean()
    assert scores["micro/group_acc"] == (text & image).mean() and scores["a/text_acc"] == np.asarray(text)[::2].mean()
    assert run.samples("composition")["sample_id"].tolist() == [str(k) for k in range(20)]


class Numbered:
    """A model of the same vectors: an image shows its row, and a text ends with it."""

    logit_scale = None

    def __init__(self, images: np.ndarray, texts: np.ndarray) -> None:
        self.vectors = images, texts

    def encode_images(self, images: Sequence[Image.Image]) -> np.ndarray:
        return self.vectors[0][[row_shown(image) % len(self.vectors[0]) for image in images]]

    def encode_texts(self, texts: Sequence[str]) -> np.ndarray:
        rows = [int(text.split()[-1]) if text.split()[-1].isdecimal() else 0 for text in texts]
        return self.vectors[1][[row % len(self.vectors[1]) for row in rows]]


def row_shown(image: Image.Image) -> int:
    red, green, _ = image.getpixel((0, 0))  # type: ignore[misc]
    return int(256 * red + green)


def test_items_and_a_model_of_the_same_vectors_agree_to_the_last_bit(tmp_path: Path) -> None:
    images, texts = random_vectors(200)
    items = pairs_of_pairs(100)
    rows = []
    for row in range(200):
        Image.new("RGB", (8, 8), (row // 256, row % 256, 0)).save(tmp_path / f"{row}.png")
    for item in items:
        named = {
            "images": [f"{row}.png" for row in item["images"]],
            "captions": [f"text {row}" for row in item["captions"]],
        }
        rows.append({**item, **named})
    (tmp_path / "manifest.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    by_rows = composition(f"embeddings:{folder_of(tmp_path / 'x', images, texts, items)}", tmp_path / "rows")
    by_model = composition(Numbered(images, texts), tmp_path / "model", data=tmp_path / "manifest.jsonl")

    shared = {name: value for name, value in values(by_rows).items() if value is not None and "other" not in name}
    assert len(shared) > 12 and shared == {name: values(by_model)[name] for name in shared}
    columns = ["a/text_acc", "b/image_acc", "text_margin", "image_margin", "target_cosine", "predicted_cosine"]
    one, two = (run.samples("composition")[columns].to_numpy() for run in (by_rows, by_model))
    np.testing.assert_array_equal(one, two)


def test_arrays_in_memory_take_the_same_items(tmp_path: Path) -> None:
    images, texts = random_vectors(40)
    in_memory = composition(cb.vectors(images=images, texts=texts, items=pairs_of_pairs(20)), tmp_path / "memory")
    by_folder = composition(
        f"embeddings:{folder_of(tmp_path / 'x', images, texts, pairs_of_pairs(20))}", tmp_path / "run"
    )
    assert values(in_memory) == values(by_folder)


def test_nothing_is_said_of_words_that_are_unknown(tmp_path: Path) -> None:
    images, texts = random_vectors(40)
    record = composition(
        cb.vectors(images=images, texts=texts, items=pairs_of_pairs(20)), tmp_path / "run"
    ).result.evaluations[0]
    assert record.metrics["word_order_acc"].value is None and "words are unknown" in str(
        record.metrics["word_order_acc"].reason
    )
    assert "shuffled_cosine" not in record.metrics
    assert not any("same_words" in name or "shorter_caption" in name for name in record.baselines)


def test_captions_without_items_are_not_shuffled(tmp_path: Path) -> None:
    images, texts = random_vectors(8)
    with pytest.raises(cb.ClipbenchError, match=r"lacks items \(items.jsonl in a folder of arrays\)"):
        run = composition(cb.vectors(images=images, texts=texts), tmp_path / "run")
        raise cb.ClipbenchError(str(run.result.evaluations[0].reason))


def test_a_subset_keeps_whole_items(tmp_path: Path) -> None:
    images, texts = random_vectors(40)
    model = cb.vectors(images=images, texts=texts, items=pairs_of_pairs(20))
    table = composition(model, tmp_path / "whole").samples("composition").set_index("sample_id")
    part = cb.run(model, "composition", limit=7, out=tmp_path / "part").samples("composition").set_index("sample_id")
    assert 0 < len(part) < 20, len(part)
    np.testing.assert_array_equal(part["text_margin"], table.loc[part.index, "text_margin"])


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "a row of images": ({"images": [0, 4]}, "line 1: images names row 4, expected rows from 0 to 3"),
    "a row of texts": ({"captions": [-1, 1]}, "line 1: captions names row -1, expected rows from 0 to 3"),
    "an image twice": ({"images": [0, 0]}, "line 1: images names row 0 twice, expected different rows"),
    "a text twice": ({"captions": [1, 1]}, "line 1: captions names row 1 twice, expected different rows"),
    "a row that is true": ({"images": [True, 0]}, "line 1: images names row True, expected rows from 0 to 3"),
    "nothing in truth": ({"truth": [[1, None], [0, 1]]}, "line 1: truth holds None, expected 1 for true and 0 for"),
    "a row by its name": ({"images": ["0.jpg", "1.jpg"]}, "line 1: images names row '0.jpg'"),
    "no list of rows": ({"images": 0}, "line 1: images is 0, expected a list of rows"),
    "a line too many": ({"truth": [[1, 0], [0, 1], [0, 0]]}, "expected 2 lists of 2"),
    "a flat table": ({"truth": [1, 0, 0, 1]}, "line 1: truth is [1, 0, 0, 1], expected 2 lists of 2"),
    "a short line": ({"truth": [[1, 0], [0]]}, "expected 2 lists of 2"),
    "a probability": ({"truth": [[0.9, 0], [0, 1]]}, "line 1: truth holds 0.9, expected 1 for true and 0 for false"),
    "nothing false": ({"truth": [[1, 1], [1, 1]]}, "item 'a' has only true or only false pairs"),
    "a typo": ({"caption": [0, 1]}, "line 1: unknown key 'caption': did you mean 'captions'?"),
    "no truth": ({"truth": None}, "line 1: no field 'truth': got id, images, captions"),
    "an id twice": ({"id": "b"}, "the item 'b' twice"),
    "an id of another type": ({"id": ["a"]}, "line 1: id is ['a'], expected a text or an integer"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_wrong_items_end_in_one_line(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    change, message = WRONG[kind]
    item = {name: value for name, value in {**ITEM, **change}.items() if value is not None}
    folder_of(tmp_path / "wrong", *random_vectors(4), [item, {**ITEM, "id": "b"}])
    monkeypatch.chdir(tmp_path)

    with pytest.raises(SystemExit) as end:
        main(["run", "--model", "embeddings:wrong", "--tasks", "composition", "--out", "run", "--quiet"])
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("clipbench: ")]
    assert end.value.code == 2 and len(lines) == 1 and message in lines[0]


def test_a_damaged_line_is_named(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "wrong", *random_vectors(4), [ITEM])
    (folder / "items.jsonl").write_text(json.dumps(ITEM) + "\n{'id': 1}\n")
    with pytest.raises(cb.ClipbenchError, match=r"items.jsonl, line 2 is not JSON"):
        composition(f"embeddings:{folder}", tmp_path / "run")
