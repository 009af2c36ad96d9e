"""The small images that a run keeps are those that galleries and scatters show, within their budget."""

from pathlib import Path

import numpy as np
import PIL.Image

from clipbench.data import Dataset
from clipbench.evaluation.persist import (
    SIDE,
    SMALL_SIDE,
    gallery_rows,
    kept_copies,
    write_images,
    write_thumbnails,
)
from clipbench.evaluation.plan import RunOptions
from clipbench.evaluation.task import Evaluation
from clipbench.testing import NamedImage
from tests.made import data_of

N = 1000


def naive_worst(margin: np.ndarray, n: int) -> list[int]:
    rows = [row for row in range(len(margin)) if margin[row] == margin[row]]
    return sorted(rows, key=lambda row: (margin[row], row))[:n]


def test_the_worst_of_a_large_set_are_kept() -> None:
    margin = np.random.default_rng(0).normal(size=N).round(2)
    margin[::7] = np.nan
    for budget in (50, 950):  # 857 are known
        assert gallery_rows({"image": np.arange(N)[::-1], "margin": margin}, N, budget) == [
            N - 1 - row for row in naive_worst(margin, budget)
        ]


def test_galleries_take_turns_and_the_margin_of_the_whole_table_is_none_of_them() -> None:
    rng = np.random.default_rng(1)
    # One direction loses by thousands of ranks, the other by a few: both have their gallery.
    first, second = rng.normal(size=N), rng.normal(size=N)
    first[N // 2 :], second[: N // 2] = np.nan, np.nan
    samples = {"image": np.arange(N), "margin": np.arange(N, dtype=float), "one_margin": first, "two/margin": second}
    rows = gallery_rows(samples, N, 60)
    assert sorted(rows) == sorted(naive_worst(first, 30) + naive_worst(second, 30))


def test_all_images_of_a_failure_are_kept_together_and_each_once() -> None:
    samples = {
        "image": np.array([0, 1, 2, 0]),
        "predicted_image": np.array([5, -1, 0, 6]),
        "margin": np.array([-0.3, -0.2, -0.1, -0.4]),
        "x_image": np.zeros(4),
    }
    assert gallery_rows(samples, 100, 4) == [0, 6, 5, 1]
    assert gallery_rows(samples, 100, 50) == [0, 6, 5, 1, 2]


def test_a_task_with_vectors_and_margins_keeps_images_for_both_its_points_and_its_galleries(tmp_path: Path) -> None:
    data = data_of("abcd")
    samples = {"image": np.arange(4), "margin": np.array([0.3, -0.2, 0.1, 0.2])}
    both = Evaluation(samples=samples, measures={}, vectors={"images": np.ones((4, 2), np.float32)})
    write_images(both, data, list("abcd"), tmp_path, options=RunOptions(n_thumbnails=1))
    written = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.webp")}
    assert written == {"b.webp", *(f"small/{name}.webp" for name in "abcd")}


def test_images_are_small_and_the_ones_behind_points_smaller(tmp_path: Path) -> None:
    data = data_of("abc")
    big = Dataset(id="x", images=[_Wide()], image_ids=["w"])
    write_thumbnails(data.images, ["aa", "bb", "cc"], [2, 0], tmp_path, cache=tmp_path / "cache")
    assert {path.name for path in tmp_path.glob("*.webp")} == {"aa.webp", "cc.webp"}
    write_thumbnails(big.images, ["ww"], [0], tmp_path, cache=tmp_path / "cache")
    write_thumbnails(big.images, ["ww"], [0], tmp_path / "small", cache=tmp_path / "cache", side=SMALL_SIDE)
    sizes = []
    for path in (tmp_path / "ww.webp", tmp_path / "small" / "ww.webp"):
        with PIL.Image.open(path) as thumbnail:
            sizes.append(thumbnail.size)
    assert sizes == [(SIDE, SIDE // 2), (SMALL_SIDE, SMALL_SIDE // 2)]


def test_an_image_that_is_there_is_not_drawn_again_and_a_bad_one_is_left_out(tmp_path: Path) -> None:
    data = Dataset(id="x", images=[NamedImage("a"), NamedImage("bad one")], image_ids=["a", "b"])
    (tmp_path / "aa.webp").write_bytes(b"here")
    write_thumbnails(data.images, ["aa", "bb"], [0, 1], tmp_path, cache=tmp_path / "cache")
    assert (tmp_path / "aa.webp").read_bytes() == b"here" and not (tmp_path / "bb.webp").exists()
    write_thumbnails(data.images, ["aa", "bb"], [1], tmp_path / "none", cache=tmp_path / "cache")
    assert not (tmp_path / "none").exists()


def test_a_later_run_takes_the_copy_that_is_kept_unless_it_was_cut_off(tmp_path: Path) -> None:
    opened: list[str] = []

    class Watched(NamedImage):
        def open(self) -> PIL.Image.Image:
            opened.append(self.name)
            return super().open()

    data = Dataset(id="x", images=[Watched("a")], image_ids=["a"])
    cache = tmp_path / "cache"
    for run in ("first", "second"):
        write_thumbnails(data.images, ["aa"], [0], tmp_path / run, cache=cache)
    (copy,) = kept_copies(cache)
    content = (tmp_path / "first/aa.webp").read_bytes()
    assert opened == ["a"] and content == (tmp_path / "second/aa.webp").read_bytes() == copy.read_bytes()
    copy.write_bytes(content[:-1])
    write_thumbnails(data.images, ["aa"], [0], tmp_path / "third", cache=cache)
    assert opened == ["a", "a"] and (tmp_path / "third/aa.webp").read_bytes() == content == copy.read_bytes()


class _Wide(NamedImage):
    def __init__(self) -> None:
        super().__init__("wide")

    def open(self) -> PIL.Image.Image:
        return PIL.Image.new("RGB", (640, 320))
