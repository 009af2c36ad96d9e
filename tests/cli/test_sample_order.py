"""Runs over the same samples in another order: paired by id where there are ids, refused where there are none."""

from pathlib import Path

import numpy as np
import pytest

from clipbench.comparison.compare_runs import compare
from clipbench.comparison.metric_difference import Flips
from clipbench.results.matching import OTHER_ORDER
from tests.cli.conftest import Call


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: Call) -> Call:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CLIPBENCH_CACHE", str(tmp_path / "cache"))

    return call


def vectors(path: str, order: list[int], *, has_ids: bool, noise: float = 0.0) -> None:
    """Write ten images with a caption and a label each, in an order."""
    rng = np.random.default_rng(0)
    images, texts, classes = (rng.standard_normal((n, 8)).astype(np.float32) for n in (10, 10, 2))
    images += noise * np.random.default_rng(1).standard_normal((10, 8)).astype(np.float32)
    names = np.array([f"{row}.jpg" for row in range(10)])
    ids: dict[str, np.ndarray] = (
        {"image_ids": names[order], "text_ids": np.char.add("of ", names[order])} if has_ids else {}
    )
    labels = np.arange(10) % 2
    parts: dict[str, np.ndarray] = {
        "images": images[order],
        "texts": texts[order],
        "labels": labels[order],
        "class_texts": classes,
        **ids,
    }
    np.savez(path, allow_pickle=False, **parts)


TASKS = ("--tasks", "zero-shot,retrieval,modality-gap")
BACKWARDS = list(range(10))[::-1]


def test_the_same_samples_in_another_order_are_paired_by_id_and_a_note_says_so(command: Call) -> None:
    vectors("base.npz", list(range(10)), has_ids=True)
    vectors("same.npz", BACKWARDS, has_ids=True)
    vectors("other.npz", BACKWARDS, has_ids=True, noise=1.0)
    vectors("straight.npz", list(range(10)), has_ids=True, noise=1.0)
    for name in ("base", "same", "other", "straight"):
        assert command("run", "--model", f"embeddings:{name}.npz", *TASKS, "--out", name, "--no-report").status == 0
    done = command("compare", "base", "same", "-v")
    assert done.status == 0 and f"zero-shot@embeddings: {OTHER_ORDER}" in done.out, done
    same = {
        f"{difference.evaluation}/{difference.name}": difference for difference in compare("base", "same").differences
    }
    assert same["zero-shot@embeddings/acc1"].value == same["retrieval@embeddings/image_retrieval_recall@5"].value == 0
    assert all(difference.flips is None or difference.flips == Flips((), ()) for difference in same.values())
    reordered, straight = (
        {difference.name: difference for difference in compare("base", name).differences}
        for name in ("other", "straight")
    )
    for name in ("acc1", "image_retrieval_recall@5", "image_retrieval_median_rank"):
        assert reordered[name].p_value == straight[name].p_value, name
        assert reordered[name].flips == straight[name].flips
