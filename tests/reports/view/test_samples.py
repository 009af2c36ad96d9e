"""Samples are filtered, searched and sorted by what their margins and texts say."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from clipbench.errors import ClipbenchError, NotComparable
from clipbench.results.run import read_run
from clipbench_reports.view.samples import SampleChoice, Samples, read_samples
from clipbench_reports.view.vectors import find_vectors


def samples(tmp_path: Path, parts: SimpleNamespace, *tables: dict[str, Any], task: str = "task") -> Samples:
    runs = [
        parts.write_run(
            tmp_path / f"{k}", {f"{task}@data": {"samples": {name: np.array(column) for name, column in table.items()}}}
        )
        for k, table in enumerate(tables)
    ]
    return read_samples(runs, f"{task}@data")


IDS = np.array(["a", "b", "c", "d", "e"], object)


def test_one_run_is_filtered_by_the_sign_of_the_margin(tmp_path: Path, parts: SimpleNamespace) -> None:
    table = samples(tmp_path, parts, {"sample_id": IDS, "margin": [0.5, -1.0, 0.0, np.nan, -2.0]})
    rows = {show: table.rows(SampleChoice(show=show, by="margin")).tolist() for show in table.filters}
    assert rows == {"all": [4, 1, 2, 0, 3], "wrong": [4, 1], "tie": [2], "right": [0]}
    assert table.rows(SampleChoice(by="margin", is_falling=True)).tolist() == [0, 2, 1, 4, 3]
    assert table.rows(SampleChoice(sort="row")).tolist() == [0, 1, 2, 3, 4]


def test_two_runs_are_paired_by_id_and_filtered_by_both(tmp_path: Path, parts: SimpleNamespace) -> None:
    first = {"sample_id": IDS, "margin": [1.0, 1.0, -1.0, 0.0, -1.0]}
    other = {"sample_id": np.array(["e", "d", "c", "b", "z"], object), "margin": [-2.0, 0.0, 3.0, -1.0, 1.0]}
    table = samples(tmp_path, parts, first, other)
    names = table.tables[0]["sample_id"].tolist()
    names_by_filter = {
        show: [names[row] for row in table.rows(SampleChoice(show=show, by="margin", sort="row"))]
        for show in table.filters
    }
    assert names_by_filter == {"all": ["b", "c", "d", "e"], "lost": ["b"], "gained": ["c"], "flipped": ["b", "c"], "tie": ["d"],
                     "wrong": ["e"]}  # fmt: skip
    assert [names[row] for row in table.rows(SampleChoice(by="margin", sort="change"))] == ["b", "e", "d", "c"]
    assert "2 samples only in one run: not shown" in table.notes


def test_a_search_needs_all_words_in_texts_and_takes_none_for_a_pattern(tmp_path: Path, parts: SimpleNamespace) -> None:
    table = {"sample_id": IDS, "caption": np.array(["A red Cube", "a blue cube", "", ".*", "ring"], object),
             "label": np.array(["x", "red", "y", "z", "red"], object), "image": np.array(["f" * 32] * 5, object)}  # fmt: skip
    result = samples(tmp_path, parts, table)

    def rows(words: str) -> list[int]:
        return list(result.rows(SampleChoice(words=words, sort="row")).tolist())

    assert (rows("cube RED"), rows("ring"), rows(".*"), rows("ffff")) == ([0, 1], [4], [3], [])
    assert result.margins == [] and list(result.filters) == ["all"]


def test_a_card_shows_what_the_report_shows(tmp_path: Path, parts: SimpleNamespace) -> None:
    task_parts = parts.retrieval(np.random.default_rng(2), n=4)
    n = len(task_parts["samples"]["sample_id"])
    words = {"caption": [f"caption {k}" for k in range(n)], "image": ["a" * 32] * n, "predicted_image": ["b" * 32] * n}
    table = task_parts["samples"] | {name: np.array(word, object) for name, word in words.items()}
    near = {"sample_id": [table["sample_id"][0]], "rank": [1], "text": ["a moon"], "image": ["b" * 32], "cosine": [0.5],
            "is_right": [False]}  # fmt: skip
    run = parts.write_run(tmp_path / "run", {"retrieval@d": {**task_parts, "samples": table, "neighbours": near}})
    parts.write_thumbnails(run.folder, ["b" * 32])
    samples_of_run = read_samples([run], "retrieval@d")
    sample: Any = samples_of_run.sample(0, "")
    assert ("Caption", "caption 0") in sample["words"]
    assert [(role, bool(image)) for role, image in sample["images"]] == [("Right", False), ("First", True)]
    ((title, nearest),) = samples_of_run.nearest(0)
    assert (title, nearest[0].words, nearest[0].cosine, bool(nearest[0].address)) == ("", "a moon", "0.5000", True)
    assert samples_of_run.nearest(1) == []
    assert "Caption" in dict(samples_of_run.cells(0)) and "Chosen image" not in dict(samples_of_run.cells(0))


def test_the_classes_of_all_label_sets_are_shown_with_their_set(tmp_path: Path, parts: SimpleNamespace) -> None:
    sets = {name: parts.zero_shot(np.random.default_rng(1), parts.classes[:2], n=3) for name in ("kind", "colour")}
    run = parts.write_run(tmp_path / "run", {"zero-shot@d": parts.side_by_side(sets)})
    table = read_samples([run], "zero-shot@d")
    all_sets: Any = table.sample(0, "")
    of_one: Any = table.sample(0, "kind/margin")
    words = dict(all_sets["words"])
    assert words["True class (kind)"] == sets["kind"]["samples"]["label"][0] and "Taken for (colour)" in words
    assert set(dict(of_one["words"])) == {"True class", "Taken for"}
    assert dict(table.cells(0))[table.title("kind/acc1")] == [f"{100 * sets['kind']['samples']['acc1'][0]:.1f} %"]


def test_only_margins_that_cross_zero_at_success_are_offered(tmp_path: Path, parts: SimpleNamespace) -> None:
    table = {"sample_id": IDS, "margin": [0.0] * 5, "kind/margin": [1.0] * 5, "text_retrieval_cosine_margin": [0.0] * 5}
    assert samples(tmp_path, parts, table).margins == ["margin", "kind/margin"]


def test_runs_of_other_samples_are_not_put_side_by_side(tmp_path: Path, parts: SimpleNamespace) -> None:
    one, other = (
        parts.write_run(tmp_path / str(k), {"task@data": {"samples": {"sample_id": IDS}, "params": {"k": k}}})
        for k in range(2)
    )
    with pytest.raises(NotComparable, match="not the same samples"):
        read_samples([one, other], "task@data")


def test_samples_outside_the_run_are_not_read(tmp_path: Path, parts: SimpleNamespace) -> None:
    run = parts.write_run(tmp_path / "run", {"task@data": {"samples": {"sample_id": IDS}}})
    table = next((run.folder / "samples").iterdir())
    table.rename(tmp_path / "outside.parquet")
    table.symlink_to(tmp_path / "outside.parquet")
    with pytest.raises(ClipbenchError, match="outside its folder"):
        read_samples([run], "task@data")


def test_the_nearest_are_those_of_the_largest_cosine(viewed: Path) -> None:
    vectors = find_vectors(read_run(viewed / "good"), "scenes")
    texts, images = vectors.neighbours(5)
    cosines = vectors.texts @ vectors.images[5]
    assert [row for row, _, _ in texts[2]] == np.argsort(-cosines)[:8].tolist()
    assert [row for row, _, _ in images[2]] == np.argsort(-(vectors.images @ vectors.texts[5]))[:8].tolist()
    assert f"number {1 + (cosines > cosines[5]).sum()} of 40" in texts[1]
    assert np.allclose(np.linalg.norm(vectors.images, axis=1), 1)
