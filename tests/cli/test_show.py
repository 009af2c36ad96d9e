"""`clipbench show` from the command line: what `run` printed, whose numbers they are, and what is missing."""

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from clipbench.cli.summary import Printer, evaluation_lines, headline_lines
from clipbench.results.record import DatasetRecord, EvaluationRecord, Metric, Result, SlicesRecord, TowerRecord
from clipbench.results.run import write_result
from clipbench.stats.intervals import wilson

if TYPE_CHECKING:
    from tests.cli.conftest import Done


Call = Callable[..., "Done"]
ENCODED = {"images": 3, "texts": 4, "stored_images": 5, "stored_texts": 6}
RETRIEVAL = EvaluationRecord(
    task="retrieval",
    task_version=2,
    params={"ks": [1]},
    dataset=DatasetRecord(id="coco", revision="r7", split="test", n_samples=5000, fingerprint="da7a"),
    status="ok",
    seconds={"load": 1.0, "score": 0.5},
    encoded=ENCODED,
    metrics={
        "recall@1": Metric(value=0.5, low=0.25, high=0.75, n=5000, chance=0.0002, method="Wilson"),
        "hub": Metric(value=0.1, n=5000, reason="no interval: resampled vectors have other neighbours"),
        "isoscore": Metric(value=None, reason="of rank 3 at most"),
    },
    controls={"tie_rate": Metric(value=0.0, n=5000)},
    notes=["captions as they stand"],
)
MISSING = EvaluationRecord(
    task="zero-shot",
    task_version=1,
    params={},
    dataset=DatasetRecord(id="imagenet"),
    status="unavailable",
    reason="no folder imagenet: clipbench data get imagenet",
)
RESULT = Result(
    clipbench_version="9.1",
    created="2026-11-24T12:34:56+00:00",
    command=["clipbench", "run", "--model", "vit-b-32"],
    seed=3,
    environment={"torch": "2.9"},
    model={"ref": "vit-b-32", "id": "open_clip:ViT-B-32/openai", "fingerprint": "f00", "n_parameters": 151277313},
    evaluations=[RETRIEVAL, MISSING],
)


def test_a_headline_without_an_interval_has_its_reason_below() -> None:
    smallest = Metric(
        value=128.0, unit="bytes", n=900, is_headline=True, reason="128 dimensions as int8 lose less than 1 point"
    )
    record = replace(RETRIEVAL, metrics={"acc1_smallest": smallest})
    lines = headline_lines([record, replace(RETRIEVAL, task="zero-shot")])
    assert lines[-1] == "(1) acc1_smallest: 128 dimensions as int8 lose less than 1 point" and "128 (1)" in lines[1]
    assert len(lines) == 4  # a value with an interval has no note


def test_the_line_of_an_evaluation_says_why_a_headline_has_no_value(capsys: pytest.CaptureFixture[str]) -> None:
    never = Metric(value=None, is_headline=True, reason="not reached with up to 30 labels a class: −2.0 pp")
    metrics = {"acc1": Metric(value=0.5, is_headline=True), "worth": never, "other": never}
    Printer(quiet=False, as_json=False, several=False).evaluation(replace(RETRIEVAL, metrics=metrics))
    assert capsys.readouterr().err.endswith(
        "; acc1 50.0 %; worth, other undefined: not reached with up to 30 labels a class: -2.0 pp\n"
    )


def test_subsets_have_their_titles_and_a_group_is_called_worst_only_if_tests_tell_it_from_each_other_one() -> None:
    def share(hits: float) -> Metric:
        low, high, _ = wilson(hits, 100)
        return Metric(value=hits / 100, low=low, high=high, n=100, is_headline=True, higher_is_better=True)

    def lines(**hits: float) -> str:
        groups = {group: {"kind/acc1": share(each)} for group, each in hits.items()}
        worst = min(hits, key=lambda group: hits[group])
        summaries = {name: {"kind/acc1": share(50.0)} for name in ("mean", "distance")}
        slices = SlicesRecord(
            of="images", groups=groups, worst=groups[worst], worst_group={"kind/acc1": worst}, **summaries
        )
        metrics, subsets = {"kind/acc1": share(50.0)}, {"kind": "Kind of object", "genus": "not asked"}
        record = replace(RETRIEVAL, metrics=metrics, subsets=subsets, slices={"language": slices})
        return "\n".join(evaluation_lines(record))

    assert "  subsets: kind: Kind of object\n" in lines(de=50.0, sw=48.0)
    assert "lowest sw 48.0 %" in lines(de=50.0, sw=48.0)
    assert "worst sw 8.0 %" in lines(de=50.0, sw=8.0, fr=60.0)
    assert "lowest sw 8.0 %" in lines(de=50.0, sw=8.0, fr=10.0)


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: Call) -> Call:
    """Return a function that runs a command in a folder with the run `run`."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run").mkdir()
    write_result(RESULT, tmp_path / "run")

    return call


def write(folder: Path, data: dict[str, Any]) -> None:
    (folder / "run/result.json").write_text(json.dumps(data))


def test_a_run_is_shown_with_whose_it_is_and_what_is_missing(call: Call) -> None:
    done = call("show", "run")
    assert (done.status, done.err) == (0, "")
    assert done.out.splitlines() == [
        "vit-b-32  open_clip:ViT-B-32/openai, 151 M parameters",
        "fingerprint f00, seed 3, 2026-11-24 12:34 UTC, clipbench 9.1",
        "",
        "task            metric     value  95 % interval  chance",
        "retrieval@coco  recall@1  50.0 %   [25.0, 75.0]   0.0 %",
        "2 more metrics, 1 note: --all",
        "",
        "zero-shot@imagenet  unavailable: no folder imagenet: clipbench data get imagenet",
        "",
        "missing: 1 of 2 evaluations: zero-shot@imagenet",
    ]


def test_the_lines_of_an_evaluation_are_those_that_run_printed(call: Call, tmp_path: Path) -> None:
    vectors = np.random.default_rng(0).normal(size=(2, 20, 8)).astype(np.float32)
    np.savez(tmp_path / "v.npz", images=vectors[0], texts=vectors[1])
    options = ("--model", "embeddings:v.npz", "--tasks", "retrieval", "--no-report", "--out")
    ran, verbose = call("run", *options, "made"), call("run", *options, "again", "-v")
    assert ran.status == verbose.status == 0 and len(verbose.out.splitlines()) > 10
    table, folded, _ = ran.out.partition("\n7 more metrics, 1 note: -v, or clipbench show made --all\n")
    assert folded and verbose.out.startswith(f"{table}\n\nretrieval@embeddings  ")
    assert call("show", "made").out.partition("\n\n")[2] == f"{table}\n7 more metrics, 1 note: --all\n"
    one = call("show", "again", "--task", "retrieval").out.partition("\n\n")[2]  # after what is said of the model
    assert verbose.out == f"{table}\n\n{one}results in again\n"
    assert one in call("show", "again", "--all").out


def test_one_task_is_shown(call: Call) -> None:
    for asked in ("retrieval", "retrieval@coco"):
        done = call("show", "run", "--task", asked)
        assert "recall@1" in done.out and "zero-shot" not in done.out and "missing" not in done.out
        for line in (
            "retrieval@coco  5,000 images; 3 images encoded and 5 from cache, 4 texts encoded and 6 from cache; 1.5 s",
            "  recall@1  50.0 %  [25.0, 75.0]  chance 0.0 %  n 5,000",
            "  hub       10.0 %                              n 5,000",
            "  undefined: isoscore: of rank 3 at most",
            "  note: captions as they stand",
        ):
            assert line in done.out.splitlines(), line
    both = call("show", "run", "--task", "retrieval", "--task", "zero-shot")
    assert "recall@1" in both.out and "zero-shot@imagenet  unavailable" in both.out
    alone = call("show", "run", "--task", "zero-shot").out
    assert "missing: 1 of 1 evaluations: zero-shot@imagenet" in alone and "recall@1" not in alone


def test_all_shows_what_run_does_not_print(call: Call) -> None:
    lines = call("show", "run", "--all").out.splitlines()
    assert set(call("show", "run").out.splitlines()) - set(lines) == {"2 more metrics, 1 note: --all"}
    for line in (
        "command: clipbench run --model vit-b-32",
        "environment: torch 2.9",
        "  data: revision r7, split test, fingerprint da7a",
        "  task: version 2, ks [1]",
        "    tie_rate  0.0 %  n 5,000",
        "  95 % interval by Wilson: recall@1",
        "  hub: no interval: resampled vectors have other neighbours",
    ):
        assert line in lines, line


def test_all_shows_what_the_towers_cost(call: Call, tmp_path: Path) -> None:
    towers = {"image": TowerRecord(flops=8_817_623_040, item="a square image", reasons={"n_parameters": "unseen"})}
    write(tmp_path, asdict(replace(RESULT, towers=towers)))
    lines = call("show", "run", "--all").out.splitlines()
    assert "8.82 GFLOPs per image" in lines[0]
    assert lines[lines.index("Cost of each tower") + 2].split() == ["Image", "8.82", "G", "(1)"]
    assert "  parameters: unseen" in lines


def test_an_old_run_is_shown_and_nothing_is_made_up(call: Call, tmp_path: Path) -> None:
    data = asdict(replace(RESULT, model={}, created=""))
    for evaluation in data["evaluations"]:
        del evaluation["encoded"], evaluation["files"]
        for metric in evaluation["metrics"].values():
            del metric["published"], metric["column"], metric["influence"]
    write(tmp_path, data)
    lines = call("show", "run", "--all").out.splitlines()
    assert lines[0] == "unnamed model"
    assert lines[1] == "fingerprint not recorded, seed 3, date not recorded, clipbench 9.1"
    assert "retrieval@coco  5,000 images; 1.5 s" in lines


def test_a_run_of_nothing_says_so(call: Call, tmp_path: Path) -> None:
    write(tmp_path, asdict(replace(RESULT, evaluations=[])))
    assert call("show", "run").out.splitlines()[-1] == "missing: the run has no evaluation"


def test_names_cannot_steer_the_terminal(call: Call, tmp_path: Path) -> None:
    hostile = "\x1b[2J\x07\r\u202eevil\nname"
    dataset = replace(RETRIEVAL.dataset, id=hostile)
    record = replace(RETRIEVAL, dataset=dataset, notes=[hostile], metrics={hostile: Metric(value=0.5, n=3)})
    write(tmp_path, asdict(replace(RESULT, evaluations=[record], model={"ref": hostile})))
    out = call("show", "run", "--all").out
    assert "evil name" in out and not {"\x1b", "\x07", "\r", "\u202e"} & set(out)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "Missing argument 'RUN'"),
        (["nowhere"], "no result.json in nowhere: expected a folder that `clipbench run` finished"),
        (["run", "--task", "retrieva"], "--task retrieva: the run has no such task: did you mean 'retrieval'?"),
        (["run", "--task", "retrieval@flickr"], "--task retrieval@flickr: the run has no such task"),
        (["run", "run"], "unexpected extra argument"),
    ],
)
def test_what_is_wrong_is_one_line(call: Call, arguments: list[str], told: str) -> None:
    done = call("show", *arguments)
    assert (done.status, done.out) == (2, "")
    assert done.err.startswith("clipbench: ") and done.err.count("\n") == 1 and told in done.err, done.err


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("{", "is not JSON"),
        ('{"schema_version": 99}', "has schema version 99"),
        ('{"schema_version": 1}', "is not a clipbench result"),
    ],
)
def test_a_damaged_run_is_one_line(call: Call, tmp_path: Path, content: str, told: str) -> None:
    (tmp_path / "run/result.json").write_text(content)
    done = call("show", "run")
    assert done.status == 2 and done.err.count("\n") == 1 and told in done.err


def test_a_folder_of_runs_is_told_with_one_of_them(call: Call, tmp_path: Path) -> None:
    done = call("show", str(tmp_path))
    assert (
        done.status == 2
        and f"{tmp_path} is a folder of 1 run, expected one run, such as {tmp_path / 'run'}" in done.err
    )


def test_a_value_that_is_no_number_is_told(call: Call, tmp_path: Path) -> None:
    metric = replace(RETRIEVAL.metrics["hub"], value=float("inf"))
    write(tmp_path, asdict(replace(RESULT, evaluations=[replace(RETRIEVAL, metrics={"hub": metric})])))
    done = call("show", "run")
    assert (done.status, done.out) == (2, "") and "metrics.hub.value is inf, expected a number" in done.err
