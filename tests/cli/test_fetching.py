"""`clipbench run` on a machine without data: what it offers, fetches and says, with a Hub on this machine."""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from clipbench.cli import main
from clipbench.data.catalogue.entries import OWN_CATALOGUE, catalogue
from clipbench.results.run import read_run
from tests import hub_server, miniatures
from tests.cli.conftest import Call, holds_only_a_reason

ASKED = {"zero-shot": ["cifar-10"], "retrieval": ["flickr30k", "coco"], "modality-gap": ["coco"],
         "composition": ["sugarcrepe", "winoground"], "text-in-image": ["scam", "rta-100"], "long-caption": ["urban-1k"]}  # fmt: skip
"""A webdataset of labels, two of captions, files outside the Hub, parquet behind a gate and without, an archive, and
two that only a person can get.
"""
FETCHED = ["cifar-10", "coco", "sugarcrepe", "scam", "urban-1k"]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A folder with the miniatures, and the function that says where each catalogue looks for them."""
    root = tmp_path_factory.mktemp("miniatures")
    hub = hub_server.Hub(root)
    hub.address = "ADDRESS"
    names = sorted({"mnist", "imagenet", "babel-imagenet", *(name for names in ASKED.values() for name in names)})
    return hub, miniatures.mirror(hub, names)


@pytest.fixture
def world(hub: Any, served: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A machine with nothing on it but a suite: a cache, a catalogue and a current folder of its own."""
    source, text = served
    hub.root, hub.heads, hub.gated = source.root, dict(source.heads), set(source.gated)
    (tmp_path / "catalogue.toml").write_text(text.replace("ADDRESS", hub.address))
    suite = [f'[[evaluation]]\ntask = "{task}"\ndata = "{name}"\n' for task, names in ASKED.items() for name in names]
    (tmp_path / "small.toml").write_text("".join(suite))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(OWN_CATALOGUE, str(tmp_path / "catalogue.toml"))
    monkeypatch.setenv("CLIPBENCH_CACHE", str(tmp_path / "store"))
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.delenv("HF_TOKEN", raising=False)
    catalogue.cache_clear()
    yield hub
    catalogue.cache_clear()


@pytest.fixture
def run(call: Call, library_cache: Path) -> Call:
    model = ("--model", "python:clipbench.testing:ToyModel", "--suite", "small.toml", "--data-root", "data")
    return lambda *arguments, tasks="all": call("run", *model, "--tasks", tasks, *arguments)


def bodies(hub: Any) -> list[str]:
    return [path for method, path, _ in hub.requests if method == "GET" and ("/resolve/" in path or "/files/" in path)]


@pytest.mark.slow
def test_one_command_leads_from_nothing_to_a_report_with_all_tasks(world: Any, run: Call, tmp_path: Path) -> None:
    done = run("--yes", "--out", "out")
    assert done.status == 0, done.err
    assert done.out.splitlines()[-1] == "out/report.html" and Path("out/report.html").is_file()
    status = {evaluation.name: evaluation.status for evaluation in read_run(Path("out")).result.evaluations}
    missing = {"retrieval@flickr30k", "composition@winoground", "text-in-image@rta-100"}
    assert {name for name, evaluation in status.items() if evaluation != "ok"} == missing
    assert {name.partition("@")[0] for name, evaluation in status.items() if evaluation == "ok"} == set(ASKED)
    assert sorted(path.name for path in Path("data").iterdir()) == sorted(FETCHED)
    offer, _, rest = done.err.partition("fetching cifar-10")
    assert re.search(r"^To fetch into data \([\d.]+ GB free\):$", offer, re.MULTILINE)
    size = sum(
        sum(json.loads((Path("data") / name / ".clipbench.json").read_text())["files"].values()) for name in FETCHED
    )
    assert re.search(rf"^  in all +{round(size / 1000)} kB$", offer, re.MULTILINE)
    assert re.search(rf"^fetched 5 data sets: {round(size / 1000)} kB in ", rest, re.MULTILINE)
    for name in FETCHED:
        assert re.search(
            rf"^  {name} +{next(task for task in ASKED if name in ASKED[task])}.* kB  \w", offer, re.MULTILINE
        )
    for name in ("flickr30k", "winoground", "rta-100"):  # once, in one table
        assert len(re.findall(rf"^  {name} \(\d\) ", done.err, re.MULTILINE)) == 1
    assert "(1) ask the University of Illinois for it, then `clipbench data get" in rest
    assert "(2) accept the licence at" in rest and "(3) put into rta-100/ by hand: rta100.zip" in rest
    assert "to fetch:" not in done.err


def test_less_is_offered_only_where_it_could_be_fetched(world: Any, call: Call, library_cache: Path) -> None:
    command = ("run", "--model", "python:clipbench.testing:ToyModel", "--tasks", "zero-shot", "--data-root", "data")
    offer = "for a first look, with "
    done = call(*command)
    assert (done.status, bodies(world)) == (3, []) and offer in done.err and "--suite quick" in done.err
    done = call(*command, "--offline")
    assert done.status == 3 and "to fetch: clipbench data get imagenet" in done.err and offer not in done.err


def test_without_leave_nothing_is_fetched_and_one_command_is_named(world: Any, run: Call) -> None:
    done = run("--out", "out")
    assert (done.status, done.out, bodies(world)) == (3, "", [])
    assert not Path("data").exists() and holds_only_a_reason(Path("out"))
    lines = done.err.splitlines()
    assert len(lines) <= 24
    assert lines[0] == "Not in data:"
    command = "clipbench data get cifar-10 coco sugarcrepe scam urban-1k --data-root data"
    assert f"to fetch: {command}" in " ".join(done.err.split())
    assert (
        lines[-1]
        == "clipbench: none of the 8 data sets is on this machine: name your own, TASK@DATA, or try generated ones:"
        " clipbench run --model tiny --suite scenes"
    )
    with pytest.raises(SystemExit) as end:
        main(command.split()[1:])
    assert end.value.code == 0
    assert sorted(path.name for path in Path("data").iterdir()) == sorted(FETCHED)
    world.requests.clear()
    assert run("--out", "out", "--no-report", tasks="zero-shot").status == 0
    assert world.requests == []


@pytest.mark.parametrize("answer", [True, False])
def test_on_a_terminal_there_is_one_question_for_all(
    world: Any, run: Call, monkeypatch: pytest.MonkeyPatch, answer: bool
) -> None:
    questions: list[str] = []

    def confirm(question: str, **options: Any) -> bool:
        questions.append(question)
        return answer

    monkeypatch.setattr("clipbench.cli.printer.is_interactive", lambda: True)
    monkeypatch.setattr("click.confirm", confirm)
    done = run("--out", "out", "--no-report", tasks="zero-shot,long-caption")
    assert len(questions) == 1 and re.fullmatch(r"Fetch 2 data sets, \d+ kB\?", questions[0])
    assert done.status == (0 if answer else 3)
    assert Path("data/urban-1k").exists() == answer


def test_offline_asks_no_server_and_answers_in_one_screen(world: Any, run: Call) -> None:
    done = run("--yes", "--offline", "--out", "out")
    assert (done.status, world.requests) == (3, [])
    assert len(done.err.splitlines()) <= 24
    assert done.err.startswith("Not in data (offline, because of HF_HUB_OFFLINE or --offline):\n")
    assert "clipbench data get cifar-10" in done.err and holds_only_a_reason(Path("out"))


def test_a_network_that_goes_away_costs_what_is_left_and_the_same_command_goes_on(
    world: Any, run: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    shard, tasks = "data/train-00001-of-00002.parquet", "zero-shot,text-in-image@scam,long-caption"
    cut = hub_server.Fault(shard, "cut", after=700, times=1)
    world.faults = [cut, hub_server.Fault(shard, "cut", after=0)]
    with monkeypatch.context() as changed:
        changed.setattr("clipbench.data.catalogue.needs.unreachable_reason", _answers(None, "no connection"))
        done = run("--yes", "--out", "out", "--no-report", tasks=tasks)
    assert done.status == 3
    assert {path.name for path in Path("data").iterdir()} == {"cifar-10", ".scam.part"}
    text = " ".join(done.err.split())
    assert "(1) cannot get data set scam" in text and "the connection broke" in text and "(2) no connection" in text
    assert "to fetch: clipbench data get scam urban-1k --data-root data" in text
    assert [evaluation.status for evaluation in read_run(Path("out")).result.evaluations] == [
        "ok",
        "unavailable",
        "unavailable",
    ]
    world.faults, world.requests = [], []
    assert run("--yes", "--out", "again", "--no-report", tasks=tasks).status == 0
    assert [requests for method, path, requests in world.requests if method == "GET" and path.endswith(shard)] == [
        "bytes=700-"
    ]
    assert not any("cifar10" in path for path in bodies(world))


def _answers(*answers: str | None) -> Callable[[float], str | None]:
    """Return a look at the network that finds these, one after the other, and then the last."""
    left = list(answers)
    return lambda seconds: left.pop(0) if len(left) > 1 else left[0]


def test_whatever_the_servers_do_it_is_in_one_table_and_got_over(
    world: Any, run: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", 0.1)
    fault = hub_server.Fault
    world.faults = [
        fault("wds_vtab-cifar10/.*/test/0.tar", "status", status=429, times=2, method="GET"),  # passes
        fault("wds_mscoco_captions/resolve/.*/test/0.tar", "cut", after=900, times=1),  # is taken up
        fault("wds_mnist/resolve/.*/test/1.tar", "slow", seconds=0.3, method="GET"),
        fault("sugarcrepe/swap_att.json", "status", status=500, method="GET"),
        fault("SCAM/resolve/.*train-00001", "corrupt"),
        fault("/api/datasets/BeichenZhang/Urban1k", "status", status=404, headers={"X-Error-Code": "RepoNotFound"}),
    ]
    tasks = "zero-shot,zero-shot@mnist,retrieval@coco,composition,text-in-image@scam,long-caption"
    done = run("--yes", "--out", "out", "--no-report", tasks=tasks)
    assert (done.status, "Traceback" in done.err) == (3, False)
    ok = {evaluation.name for evaluation in read_run(Path("out")).result.evaluations if evaluation.status == "ok"}
    assert ok == {"zero-shot@cifar-10", "retrieval@coco"}
    table = done.err[done.err.index("Not in data:") :]
    text = " ".join(table.split())
    for name, reason in {
        "mnist": "the connection broke. Fix: once the Hub can be reached, repeat the command, which resumes where it ended",
        "sugarcrepe": "the server answered 500. Fix: repeat the command, which resumes where it ended",
        "winoground": "accept the licence at https://huggingface.co/datasets/facebook/winoground, then `hf auth login`",
        "scam": "repeat the command to fetch it again",
        "urban-1k": "the Hub has no such repository, or it is private: check the name",
    }.items():
        number = re.search(rf"^  {name} \((\d)\) ", table, re.MULTILINE)
        assert number is not None and re.search(rf"\({number[1]}\) [^(]*(\([^)]*\))?[^(]*{re.escape(reason)}", text), (
            name
        )
    assert text.endswith("to fetch: clipbench data get mnist sugarcrepe scam urban-1k --data-root data")
    assert len(table.splitlines()) <= 30
    world.faults, world.requests = [], []
    monkeypatch.setenv("HF_TOKEN", hub_server.LET_IN)
    assert run("--yes", "--out", "again", "--no-report", tasks=tasks).status == 0
    assert not any("cifar10" in path or "mscoco" in path for path in bodies(world)), "what had come stays"


def test_a_limit_fetches_only_the_shards_that_hold_it(world: Any, run: Call) -> None:
    done = run("--yes", "--limit", "4", "--out", "out", "--no-report", "-v", tasks="retrieval@coco")
    assert done.status == 0, done.err
    assert re.search(r"^  coco, 1 of 2 shards +retrieval +\d+ kB", done.err, re.MULTILINE)
    assert "note: 1 of 2 shards are on this machine (6 images)" in done.out
    assert "note: a seeded subset of 4 of 6 images" in done.out
    assert [path.name for path in Path("data").iterdir()] == ["coco-shards"]
    world.requests.clear()
    assert run("--yes", "--limit", "5", "--out", "more", "--no-report", "-v", tasks="retrieval@coco").status == 0
    assert bodies(world) == []


def test_a_suite_that_may_fetch_only_so_much_fetches_nothing_if_it_has_become_more(
    world: Any, call: Call, library_cache: Path
) -> None:
    suite = Path("small.toml").read_text()
    command = ("run", "--model", "python:clipbench.testing:ToyModel", "--suite", "small.toml", "--yes", "--no-report")
    Path("small.toml").write_text(f"most_bytes = 1_000\n{suite}")
    done = call(*command, "--tasks", "zero-shot,long-caption")
    assert (done.status, bodies(world)) == (3, [])
    assert re.fullmatch(
        r"clipbench: suite small.toml may fetch at most 1.0 kB, and the servers list \d+ kB: nothing was fetched\."
        r" `clipbench data get cifar-10 urban-1k` fetches all of this data, without a limit\n",
        done.err,
    )
    assert call(*command, "--out", "out", "--tasks", "zero-shot@cifar-10").status == 0, "asked for by name"
    Path("small.toml").write_text(f'most_bytes = "1 GB"\n{suite}')
    done = call(*command, "--tasks", "zero-shot")
    assert (done.status, done.err) == (
        2,
        "clipbench: suite small.toml: most_bytes is '1 GB': expected a number of bytes\n",
    )
