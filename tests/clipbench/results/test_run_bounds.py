"""A run that another has made reads nothing outside its own folder, whatever its result names and wherever its links
lead.
"""

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas
import pytest

import clipbench
from clipbench.errors import ClipbenchError
from clipbench.files import is_inside
from clipbench.results.other_tools import open_results
from clipbench.results.record import DatasetRecord, Metric
from clipbench.results.run import Run, find_runs, read_run, write_result
from clipbench.training.history import read_history
from tests.made import record_of, result_of

SECRET = "the words of another file"


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    """A folder beside the run that a stranger would like to see: a table and arrays."""
    folder = tmp_path / "private"
    folder.mkdir()
    pandas.DataFrame({"sample_id": [SECRET], "margin": [-1.0], "acc1": [0.0]}).to_parquet(folder / "private.parquet")
    np.savez(folder / "private.npz", images=np.eye(3, dtype=np.float32))
    return folder


def write(folder: Path, **files: str) -> Run:
    """Write a run whose one evaluation names these files."""
    folder.mkdir(parents=True, exist_ok=True)
    data = DatasetRecord(id="digits", n_samples=1, fingerprint="f00")
    record = record_of(data=data, metrics={"acc1": Metric(value=0.5, n=1, column="acc1")}, files=files)
    write_result(result_of(record, model={"ref": folder.name}), folder)
    return read_run(folder)


READS: dict[str, Callable[[Run], object]] = {
    "samples": lambda run: run.samples("zero-shot"),
    "failures": lambda run: run.failures("zero-shot"),
    "arrays": lambda run: run.arrays(run.result.evaluations[0]),
}


@pytest.mark.parametrize("read", READS)
@pytest.mark.parametrize("way", ["up", "absolute", "link", "folder link", "circle", "nul"])
def test_files_outside_the_folder_of_a_run_are_refused(tmp_path: Path, secret: Path, read: str, way: str) -> None:
    kind, name = ("arrays", "private.npz") if read == "arrays" else ("samples", "private.parquet")
    folder = tmp_path / "stranger"
    (folder / kind).mkdir(parents=True)
    named = {
        "up": f"../private/{name}",
        "absolute": str(secret / name),
        "link": f"{kind}/link",
        "folder link": f"linked/{name}",
        "circle": f"{kind}/circle",
        "nul": f"{kind}/nul\0",
    }
    (folder / kind / "link").symlink_to(secret / name)
    (folder / "linked").symlink_to(secret)
    (folder / kind / "circle").symlink_to(folder / kind / "circle")
    run = write(folder, **{kind: named[way]})
    with pytest.raises(ClipbenchError, match="outside its folder, and is not read") as refused:
        READS[read](run)
    assert SECRET not in str(refused.value)


def test_links_inside_a_run_and_to_a_run_are_followed(tmp_path: Path, secret: Path) -> None:
    folder = tmp_path / "mine"
    (folder / "tables").mkdir(parents=True)
    (secret / "private.parquet").rename(folder / "tables" / "real.parquet")
    (folder / "link.parquet").symlink_to(folder / "tables" / "real.parquet")
    write(folder, samples="link.parquet")
    (tmp_path / "alias").symlink_to(folder)
    for path in (folder, tmp_path / "alias", tmp_path / "alias" / "result.json"):
        assert read_run(path).samples("zero-shot")["sample_id"].tolist() == [SECRET]


def test_a_result_that_is_a_link_to_another_run_is_refused(tmp_path: Path) -> None:
    private = write(tmp_path / "private")
    (tmp_path / "stranger").mkdir()
    (tmp_path / "stranger" / "result.json").symlink_to(private.folder / "result.json")
    for path in (tmp_path / "stranger", tmp_path / "stranger" / "result.json"):
        with pytest.raises(ClipbenchError, match="is a link that leads out of its folder"):
            clipbench.read_run(path)
        with pytest.raises(ClipbenchError, match="is a link that leads out of its folder"):
            open_results(path)


def test_a_link_among_several_runs_is_left_out_unless_it_is_named_itself(tmp_path: Path) -> None:
    private, series = write(tmp_path / "private").folder, tmp_path / "series"
    folder = write(series / "own").folder
    (series / "link").symlink_to(private)
    notes: list[str] = []
    assert find_runs([series], notes.append) == [folder]
    assert notes == [f"{series / 'link'} is left out: it is a link that leads out of {series}. Name the run itself"]
    assert find_runs([series / "own", series / "link"]) == [folder, series / "link"]


def test_a_history_follows_no_link_out_of_its_folder(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    log.write_text(json.dumps({"event": "evaluation", "step": 1, "gap": 0.5}) + "\n")
    (tmp_path / "training").mkdir()
    (tmp_path / "training" / "log.jsonl").symlink_to(log)
    with pytest.raises(ClipbenchError, match="is a link that leads out of its folder"):
        read_history(tmp_path / "training")
    write(tmp_path / "elsewhere" / "step-1")
    (tmp_path / "series").mkdir()
    (tmp_path / "series" / "step-1").symlink_to(tmp_path / "elsewhere" / "step-1")
    with pytest.raises(ClipbenchError, match="holds neither"):
        read_history(tmp_path / "series")


def test_results_of_other_tools_are_not_read_through_a_link(tmp_path: Path) -> None:
    values = {"dataset": "digits", "task": "zeroshot_classification", "model": "m", "metrics": {"acc1": 0.5}}
    (tmp_path / "private.json").write_text(json.dumps(values))
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "one.json").symlink_to(tmp_path / "private.json")
    with pytest.raises(ClipbenchError, match="is a link that leads out of"):
        open_results(tmp_path / "folder")


def test_a_copy_of_a_run_holds_no_file_of_another_place(tmp_path: Path, secret: Path) -> None:
    run = write(tmp_path / "stranger")
    (run.folder / "thumbs").mkdir()
    (run.folder / "thumbs" / "a.webp").symlink_to(secret / "private.parquet")
    with pytest.raises(ClipbenchError, match="is a link that leads out of the run"):
        run.save(tmp_path / "copy")
    assert not (tmp_path / "copy").exists()


def test_a_path_that_begins_like_a_folder_is_not_inside_it(tmp_path: Path) -> None:
    assert is_inside(tmp_path / "run" / "a", tmp_path / "run")
    assert not is_inside(tmp_path / "run-2" / "a", tmp_path / "run")
    assert not is_inside(tmp_path / ("a" * 5000), tmp_path / "run")
    os.symlink(tmp_path / "loop", tmp_path / "loop")
    assert not is_inside(tmp_path / "loop", tmp_path)
