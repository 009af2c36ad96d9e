"""The small images that a run keeps are those that galleries and scatters show, within their budget."""

import errno
import os
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from clipbench.data import DataOptions, Dataset
from clipbench.data.memory import dataset_in_memory
from clipbench.evaluation.persist import (
    POINTS_EACH,
    SIDE,
    SMALL_SIDE,
    gallery_rows,
    is_image,
    kept_copies,
    point_rows,
    remove_copies,
    write_images,
    write_thumbnails,
)
from clipbench.evaluation.plan import RunOptions
from clipbench.evaluation.task import Evaluation
from clipbench.results.even_spacing import MAX_POINTS, evenly_spaced
from clipbench.testing import NamedImage

N = 1000


def naive_worst(margin: np.ndarray, n: int) -> list[int]:
    known = [row for row in range(len(margin)) if margin[row] == margin[row]]
    return sorted(known, key=lambda row: (margin[row], row))[:n]


def test_a_small_set_is_kept_whole_and_a_budget_of_none_keeps_nothing() -> None:
    samples = {"image": np.arange(5), "margin": np.arange(5.0)}
    assert gallery_rows(samples, 5, 5) == gallery_rows({}, 5, 200) == [0, 1, 2, 3, 4]
    assert gallery_rows(samples, 5, 0) == []
    assert len(point_rows(samples, np.arange(5), 0)) == 0


def test_without_margins_or_images_the_first_are_kept() -> None:
    assert gallery_rows({"image": np.arange(9)}, 9, 3) == gallery_rows({"margin": np.arange(9.0)}, 9, 3) == [0, 1, 2]


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
    found = gallery_rows(samples, N, 60)
    assert sorted(found) == sorted(naive_worst(first, 30) + naive_worst(second, 30))


def test_all_images_of_a_failure_are_kept_together_and_each_once() -> None:
    samples = {
        "image": np.array([0, 1, 2, 0]),
        "chosen_image": np.array([5, -1, 0, 6]),
        "margin": np.array([-0.3, -0.2, -0.1, -0.4]),
        "x_image": np.zeros(4),
    }
    assert gallery_rows(samples, 100, 4) == [0, 6, 5, 1]
    assert gallery_rows(samples, 100, 50) == [0, 6, 5, 1, 2]


def test_only_rows_are_images() -> None:
    rows = np.arange(3)
    assert is_image("image", rows) and is_image("chosen_image", rows) and is_image("image", rows.astype(np.int32))
    assert not is_image("chosen_image", rows.astype(float)) and not is_image("class", rows)


@pytest.mark.parametrize("n", [3, 999, 1500, 5000])
@pytest.mark.parametrize("budget", [2, 200])
def test_points_have_images_up_to_five_times_the_budget(n: int, budget: int) -> None:
    kept = np.sort(np.random.default_rng(2).choice(5000, min(n, 2000), replace=False))
    image = np.random.default_rng(3).permutation(5000)
    found = point_rows({"image": image}, kept, budget).tolist()
    shown = [int(image[kept[row]]) for row in evenly_spaced(len(kept), MAX_POINTS)]
    assert set(found) <= set(shown) and len(found) == min(len(shown), POINTS_EACH * budget)
    if budget == 200:
        assert found == shown


def test_a_point_without_an_image_has_none() -> None:
    samples = {"image": np.array([3, -1, 0, -1], np.int32)}
    assert point_rows(samples, np.arange(4), 200).tolist() == [3, 0]


def test_a_task_with_vectors_and_margins_keeps_images_for_both_its_points_and_its_galleries(tmp_path: Path) -> None:
    data = Dataset(id="x", images=[NamedImage(name) for name in "abcd"], image_ids=list("abcd"))
    samples = {"image": np.arange(4), "margin": np.array([0.3, -0.2, 0.1, 0.2])}
    both = Evaluation(samples=samples, measures={}, vectors={"images": np.ones((4, 2), np.float32)})
    write_images(both, data, list("abcd"), tmp_path, options=RunOptions(n_thumbnails=1))
    written = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.webp")}
    assert written == {"b.webp", *(f"small/{name}.webp" for name in "abcd")}


def test_an_image_in_memory_keeps_its_size(tmp_path: Path) -> None:
    image = PIL.Image.new("RGB", (400, 300))
    write_thumbnails(dataset_in_memory([(image, "a card")], DataOptions()), ["aa"], [0], tmp_path, kept=tmp_path)
    assert image.size == (400, 300)


def test_images_are_small_and_the_ones_behind_points_smaller(tmp_path: Path) -> None:
    data = Dataset(id="x", images=[NamedImage(name) for name in "abc"], image_ids=list("abc"))
    big = Dataset(id="x", images=[_Wide()], image_ids=["w"])
    write_thumbnails(data, ["aa", "bb", "cc"], [2, 0], tmp_path, kept=tmp_path / "cache")
    assert {path.name for path in tmp_path.glob("*.webp")} == {"aa.webp", "cc.webp"}
    write_thumbnails(big, ["ww"], [0], tmp_path, kept=tmp_path / "cache")
    write_thumbnails(big, ["ww"], [0], tmp_path / "small", kept=tmp_path / "cache", side=SMALL_SIDE)
    sizes = []
    for path in (tmp_path / "ww.webp", tmp_path / "small" / "ww.webp"):
        with PIL.Image.open(path) as thumbnail:
            sizes.append(thumbnail.size)
    assert sizes == [(SIDE, SIDE // 2), (SMALL_SIDE, SMALL_SIDE // 2)]


def test_an_image_that_is_there_is_not_drawn_again_and_a_bad_one_is_left_out(tmp_path: Path) -> None:
    data = Dataset(id="x", images=[NamedImage("a"), NamedImage("bad one")], image_ids=["a", "b"])
    (tmp_path / "aa.webp").write_bytes(b"here")
    write_thumbnails(data, ["aa", "bb"], [0, 1], tmp_path, kept=tmp_path / "cache")
    assert (tmp_path / "aa.webp").read_bytes() == b"here" and not (tmp_path / "bb.webp").exists()


def test_a_later_run_takes_the_copy_that_is_kept_unless_it_was_cut_off(tmp_path: Path) -> None:
    opened: list[str] = []

    class Watched(NamedImage):
        def open(self) -> PIL.Image.Image:
            opened.append(self.name)
            return super().open()

    data = Dataset(id="x", images=[Watched("a")], image_ids=["a"])
    kept = tmp_path / "cache"
    for run in ("first", "second"):
        write_thumbnails(data, ["aa"], [0], tmp_path / run, kept=kept)
    (copy,) = kept_copies(kept)
    whole = (tmp_path / "first/aa.webp").read_bytes()
    assert opened == ["a"] and whole == (tmp_path / "second/aa.webp").read_bytes() == copy.read_bytes()
    copy.write_bytes(whole[:-1])
    write_thumbnails(data, ["aa"], [0], tmp_path / "third", kept=kept)
    assert opened == ["a", "a"] and (tmp_path / "third/aa.webp").read_bytes() == whole == copy.read_bytes()


def test_a_cache_that_cannot_be_written_to_costs_no_image(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file where a folder should be")
    data = Dataset(id="x", images=[NamedImage("a")], image_ids=["a"])
    write_thumbnails(data, ["aa"], [0], tmp_path / "run", kept=tmp_path / "cache")
    assert (tmp_path / "run/aa.webp").stat().st_size > 20


class _Wide(NamedImage):
    def __init__(self) -> None:
        super().__init__("wide")

    def open(self) -> PIL.Image.Image:
        return PIL.Image.new("RGB", (640, 320))


@pytest.mark.parametrize("has_links", [True, False])
def test_a_kept_copy_gets_a_second_name_where_the_file_system_has_links(
    has_links: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> None:
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    if not has_links:
        monkeypatch.setattr(os, "link", refused)
    images = [NamedImage("a"), NamedImage("b")]
    dataset = Dataset(id="some", images=images, image_ids=["0", "1"])
    digests = [image.digest() for image in images]
    for run in ("first", "second"):
        write_thumbnails(dataset, digests, [0, 1, 1], tmp_path / run / "thumbs", kept=tmp_path / "cache")
    copies = kept_copies(tmp_path / "cache")
    for copy in copies:
        files = [tmp_path / run / "thumbs" / copy.name for run in ("first", "second")]
        assert all(file.samefile(copy) == has_links for file in files)
    before = {copy.name: copy.read_bytes() for copy in copies}
    remove_copies(copies)
    assert {path.name: path.read_bytes() for path in (tmp_path / "second/thumbs").iterdir()} == before
