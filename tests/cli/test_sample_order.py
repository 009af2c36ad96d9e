"""Runs over the same samples in another order: paired by id where there are ids, refused where there are none."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas
import pytest
from PIL import Image

from clipbench.comparison.compare import compare
from clipbench.comparison.records import Flips
from clipbench.data.dataset import DataOptions
from clipbench.data.memory import dataset_in_memory
from clipbench.errors import NotComparable
from clipbench.results.matching import BY_POSITION, OTHER_ORDER
from clipbench.results.run import read_run

if TYPE_CHECKING:
    from tests.cli.conftest import Done


Command = Callable[..., "Done"]


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: Command) -> Command:
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


def test_the_same_samples_in_another_order_are_paired_by_id_and_a_note_says_so(command: Command) -> None:
    vectors("base.npz", list(range(10)), has_ids=True)
    vectors("same.npz", BACKWARDS, has_ids=True)
    vectors("other.npz", BACKWARDS, has_ids=True, noise=1.0)
    vectors("straight.npz", list(range(10)), has_ids=True, noise=1.0)
    for name in ("base", "same", "other", "straight"):
        assert command("run", "--model", f"embeddings:{name}.npz", *TASKS, "--out", name, "--no-report").status == 0
    done = command("compare", "base", "same")
    assert done.status == 0 and f"zero-shot@embeddings: {OTHER_ORDER}" in done.out, done
    same = {f"{each.evaluation}/{each.name}": each for each in compare("base", "same").differences}
    assert same["zero-shot@embeddings/acc1"].value == same["retrieval@embeddings/image_retrieval_recall@5"].value == 0
    assert all(each.flips is None or each.flips == Flips((), ()) for each in same.values())
    reordered, straight = (
        {each.name: each for each in compare("base", name).differences} for name in ("other", "straight")
    )
    for name in ("acc1", "image_retrieval_recall@5", "image_retrieval_median_rank"):
        assert reordered[name].p_value == straight[name].p_value, name
        assert reordered[name].flips == straight[name].flips


@pytest.mark.slow
def test_samples_without_ids_are_paired_by_position_which_compare_says(command: Command) -> None:
    vectors("base.npz", list(range(10)), has_ids=False)
    vectors("other.npz", list(range(10)), has_ids=False, noise=1.0)
    vectors("backwards.npz", BACKWARDS, has_ids=False)
    for name in ("base", "other", "backwards"):
        assert command("run", "--model", f"embeddings:{name}.npz", *TASKS, "--out", name, "--no-report").status == 0
    done = command("compare", "base", "other")
    assert done.status == 0 and f"zero-shot@embeddings: {BY_POSITION}" in done.out
    with pytest.raises(NotComparable, match="data fingerprint"):
        compare("base", "backwards")


def test_a_file_of_captions_in_another_order_has_the_same_samples(command: Command, world: Path) -> None:
    head, *lines = (world / "data.csv").read_text().splitlines()
    lines += [line.replace("image ", "a picture of ") for line in lines]
    for folder, order in (("a", lines), ("b", [*lines[4:9], *lines[:4], *lines[9:][::-1]])):
        (world / folder).mkdir()
        (world / f"{folder}/pairs.csv").write_text("\n".join([head, *order]) + "\n")
        for number in range(9):
            (world / f"{folder}/{number}.png").write_bytes((world / f"{number}.png").read_bytes())
    arguments = (
        "--model",
        "tiny",
        "--device",
        "cpu",
        "--no-report",
        "--tasks",
        "retrieval@pairs.csv,composition@pairs.csv",
    )
    for folder in ("a", "b"):
        done = command("run", *arguments, "--data-root", folder, "--out", f"run-{folder}")
        assert done.status == 0, done.err
    done = command("compare", "run-a", "run-b")
    assert done.status == 0, done
    assert f"retrieval@pairs.csv: {OTHER_ORDER}" in done.out
    one, other = (read_run(Path(f"run-{folder}")) for folder in "ab")
    for first, second in zip(one.result.evaluations, other.result.evaluations, strict=True):
        before, after = (
            run.samples(each).set_index("sample_id").sort_index() for run, each in ((one, first), (other, second))
        )
        assert before["caption"].equals(after["caption"]), first.name


def test_data_in_memory_have_ids_where_images_are_files_or_a_column_names_them() -> None:
    square = Image.new("RGB", (8, 8), "red"), Image.new("RGB", (8, 8), "blue")
    pairs = [(image, f"square {row}") for row, image in enumerate(square)]
    assert not dataset_in_memory(pairs, DataOptions()).has_ids
    named = pandas.DataFrame({"image": square, "caption": ["one", "two"], "id": ["a", "b"]})
    assert dataset_in_memory(named, DataOptions()).has_ids
