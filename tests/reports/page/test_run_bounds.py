"""Pages and figures of a stranger's run show nothing that lies outside its folder."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas
import PIL.Image
import pytest

from clipbench.cli import main
from clipbench.results.run import Run
from clipbench_reports.galleries import address

SECRET = "word-of-a-private-file"


@pytest.fixture
def strangers(make_run: Callable[..., Run], parts: SimpleNamespace) -> list[Run]:
    """Two runs whose tables and arrays are those of private runs beside them."""
    return [_stranger(make_run, parts, name, skill) for name, skill in (("one", 1.0), ("two", 0.6))]


def _stranger(make_run: Callable[..., Run], parts: SimpleNamespace, name: str, skill: float) -> Run:
    rng = np.random.default_rng(0)
    tasks = {
        "zero-shot@scenes": parts.zero_shot(rng, parts.classes, n=100, skill=skill),
        "modality-gap@scenes": parts.modality_gap(rng, n=60),
        "retrieval@scenes": parts.retrieval(rng, n=60),
    }
    private = make_run(tasks, name=f"private-{name}")
    for path in (private.folder / "samples").iterdir():
        table = pandas.read_parquet(path)
        table["sample_id"] = [f"{SECRET}-{row}" for row in range(len(table))]
        table.to_parquet(path, index=False)
    for path in (private.folder / "arrays").iterdir():
        with np.load(path) as arrays:
            found = dict(arrays)
        if "pair_id" in found:
            np.savez(path, allow_pickle=False, **{**found, "pair_id": np.full(len(found["pair_id"]), SECRET)})
    run = make_run(tasks, name=name)
    result = json.loads((run.folder / "result.json").read_text())
    for evaluation in result["evaluations"]:
        evaluation["files"] = {kind: f"../private-{name}/{file}" for kind, file in evaluation["files"].items()}
        evaluation["metrics"].get("acc1", {})["column"] = "acc1"
    (run.folder / "result.json").write_text(json.dumps(result))
    shutil.rmtree(run.folder / "samples")
    return run


@pytest.mark.parametrize(
    "arguments",
    [
        ["report", "{0}", "-o", "page.html"],
        ["compare", "{0}", "{1}", "--format", "json", "-o", "page.json"],
        ["plot", "gap", "{0}", "-o", "page.pdf"],
    ],
    ids=lambda arguments: " ".join(arguments[:1] + arguments[-3:-2]),
)
def test_no_word_of_another_file_is_in_what_a_command_writes(
    strangers: list[Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        main([argument.format(*(run.folder for run in strangers)) for argument in arguments])
    assert ended.value.code in (0, 2, 3)
    pages = [path.read_text(errors="replace") for path in tmp_path.glob("page.*")]
    assert not any(SECRET in page for page in pages)
    if arguments[0] == "report":
        assert any("outside its folder" in page for page in pages)
        for task in ("zero-shot", "retrieval"):  # what each of them shows of its samples is missing, with the reason
            assert any(f"for the samples of {task}@scenes, which is outside its folder" in page for page in pages)


def test_a_thumbnail_that_is_a_link_out_of_the_run_is_not_shown(
    make_run: Callable[..., Run], parts: SimpleNamespace, tmp_path: Path
) -> None:
    run = make_run({})
    digest = "0" * 32
    PIL.Image.new("RGB", (8, 8)).save(tmp_path / "private.webp")
    (run.folder / "thumbs").mkdir()
    (run.folder / "thumbs" / f"{digest}.webp").symlink_to(tmp_path / "private.webp")
    assert address(run, digest) == ""
    (run.folder / "thumbs").rename(tmp_path / "thumbs")
    (tmp_path / "thumbs" / f"{digest}.webp").unlink()
    PIL.Image.new("RGB", (8, 8)).save(tmp_path / "thumbs" / f"{digest}.webp")
    (run.folder / "thumbs").symlink_to(tmp_path / "thumbs")
    assert address(run, digest) == ""
    (run.folder / "thumbs").unlink()
    parts.write_thumbnails(run.folder, [digest])
    assert address(run, digest).startswith("data:image/webp;base64,")
