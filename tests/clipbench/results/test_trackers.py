"""Experiment trackers: what each library is handed, what a failure costs, and what the libraries read back of their
files.
"""

import io
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

import clipbench
from clipbench import __version__
from clipbench.errors import ClipbenchError, PluginFault
from clipbench.results import trackers
from clipbench.results.record import AverageRecord, DatasetRecord, Metric
from clipbench.results.run import Run, write_result
from clipbench.results.trackers import TRACKERS, Trackers, TrackerTarget, run_config, run_figures
from tests.made import record_of, result_of

SCALARS = {
    "zero-shot@birds/acc1": 0.5,
    "zero-shot@birds/acc1_low": 0.25,
    "zero-shot@birds/acc1_high": 0.75,
    "zero-shot@birds/ece": 0.1,
    "average@mine": 0.4,
}


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Return a run of step 7 with a report, whose one figure is quickly drawn."""
    metrics = {
        "acc1": Metric(value=0.5, low=0.25, high=0.75, n=7, chance=0.1),
        "ece": Metric(value=0.1),
        "acc5": Metric(value=None, reason="of 3 classes"),
    }
    result = result_of(
        record_of(data=DatasetRecord(id="birds", n_samples=7), metrics=metrics),
        seed=3,
        environment={"device": "cpu"},
        model={"ref": "tiny", "step": 7},
        average=AverageRecord(suite="mine", metric=Metric(value=0.4), parts=[]),
    )
    folder = tmp_path / "run"
    folder.mkdir()
    write_result(result, folder)
    (folder / "report.html").write_text("<html>")
    png = io.BytesIO()
    Image.new("RGB", (4, 3)).save(png, "PNG")
    figure = SimpleNamespace(savefig=lambda path, dpi: path.write_bytes(png.getvalue()))
    monkeypatch.setattr(trackers, "run_figures", lambda *_: iter([("gap@hf:a/b", figure)]))
    return Run(folder, result)


def place(run: Run) -> TrackerTarget:
    return TrackerTarget(name="mine", folder=run.folder, config=run_config(run))


class Recorder(SimpleNamespace):
    """An object that takes any call and notes it, with what it returns for some names."""

    def __init__(self, **known: Any) -> None:
        super().__init__(calls=[], **known)

    def __getattr__(self, name: str) -> Any:
        def call(*arguments: Any, **keywords: Any) -> SimpleNamespace:
            self.calls.append((name, arguments, keywords))
            return SimpleNamespace(arguments=arguments, **keywords)

        return call

    def of(self, name: str) -> list[Any]:
        return [arguments for call, arguments, _ in self.calls if call == name]


def stub(monkeypatch: pytest.MonkeyPatch, **modules: object) -> None:
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name.replace("__", "."), module)


def log(name: str, run: Run) -> None:
    failures: list[tuple[str, BaseException]] = []
    sent = Trackers([name], failed=lambda *failure: failures.append(failure))
    sent.run(run, place(run))
    sent.close(run.folder / "nothing.html")
    assert not failures


def test_wandb_gets_all_at_the_step_in_a_run_of_its_own(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    artifact, theirs = Recorder(), Recorder(id="x1")
    wandb = Recorder(run="another's", init=lambda **arguments: theirs.calls.append(("init", (), arguments)) or theirs)
    wandb.Artifact = lambda *named, **arguments: artifact
    stub(monkeypatch, wandb=wandb)
    log("wandb", run)
    ((_, _, arguments),) = (call for call in theirs.calls if call[0] == "init")
    assert (arguments["project"], arguments["name"], arguments["reinit"]) == ("clipbench", "mine", "create_new")
    assert arguments["config"] == {"model": "tiny", "device": "cpu", "seed": 3, "clipbench_version": __version__}
    (scalars,), (images,) = theirs.of("log")
    assert scalars == {**SCALARS, "step": 7} and list(images) == ["figures/gap@hf:a/b", "step"]
    assert [call[2] for call in theirs.calls if call[0] == "define_metric"] == [{}, {"step_metric": "step"}]
    assert [call[2]["name"] for call in artifact.calls] == ["report.html", "result.json"]
    assert theirs.of("log_artifact") == [(artifact,)] and len(theirs.of("finish")) == 1


def test_trackio_gets_all_at_the_step(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    theirs, trackio = Recorder(), Recorder()
    trackio.init = lambda **given: theirs.calls.append(("init", (), given)) or theirs
    stub(monkeypatch, trackio=trackio)
    log("trackio", run)
    assert theirs.calls[0][2]["project"] == "clipbench" and theirs.calls[0][2]["config"]["model"] == "tiny"
    logged = [(arguments[0], keywords) for name, arguments, keywords in theirs.calls if name == "log"]
    assert logged[0] == (SCALARS, {"step": 7}) and list(logged[1][0]) == ["figures/gap@hf:a/b"]
    assert [artifact[0].name for artifact in theirs.of("log_artifact")] == ["report.html", "result.json"]
    assert len(trackio.of("finish")) == 1


def test_mlflow_gets_all_at_the_step_under_names_that_it_takes(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    client = Recorder(
        get_experiment_by_name=lambda _: None,
        create_experiment=lambda name: name,
        create_run=lambda experiment, run_name: SimpleNamespace(info=SimpleNamespace(run_id=(experiment, run_name))),
    )
    stub(monkeypatch, mlflow=Recorder(MlflowClient=lambda: client, entities=Recorder(), active_run=lambda: None))
    log("mlflow", run)
    batches = [keywords for name, _, keywords in client.calls if name == "log_batch"]
    assert ("model", "tiny") in [batch.arguments for batch in batches[0]["params"]]
    result = {batch.arguments[0]: (batch.arguments[1], batch.arguments[3]) for batch in batches[1]["metrics"]}
    assert result["zero-shot_at_birds/acc1_low"] == (0.25, 7) and len(result) == len(SCALARS)
    assert [(Path(file).name, where) for _, file, where in client.of("log_artifact")] == [
        ("gap@hf-a-b.png", "figures/step-7"),
        ("report.html", "step-7"),
        ("result.json", "step-7"),
    ]
    assert client.of("set_terminated") == [(("clipbench", "mine"),)]


def test_tensorboard_gets_all_at_the_step(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    writer, proto = Recorder(), SimpleNamespace
    value = SimpleNamespace(PluginData=SimpleNamespace)

    class Namespace(SimpleNamespace):
        Value, Image, PluginData = proto, proto, proto

    stub(
        monkeypatch,
        tensorboard=value,
        tensorboard__summary__writer__event_file_writer=SimpleNamespace(EventFileWriter=lambda _: writer),
        tensorboard__compat__proto__event_pb2=SimpleNamespace(Event=proto),
        tensorboard__compat__proto__summary_pb2=SimpleNamespace(Summary=Namespace, SummaryMetadata=Namespace),
    )
    log("tensorboard", run)
    config, scalars, images, files = (event for (event,) in writer.of("add_event"))
    assert {
        logged_value.tag: logged_value.simple_value for logged_value in scalars.summary.value
    } == SCALARS and scalars.step == 7
    assert (images.summary.value[0].image.width, images.summary.value[0].image.height) == (4, 3)
    assert str(run.folder / "report.html") in files.summary.value[0].tensor["string_val"][0].decode()
    assert "| model | tiny |" in config.summary.value[0].tensor["string_val"][0].decode()
    assert len(writer.of("close")) == 1


class Fake:
    """A tracker that notes what it gets; with ``fails``, it can be opened and does nothing more."""

    opened: "list[Fake]" = []  # noqa: RUF012  emptied by the fixture

    def __init__(self, library: Any, tracker_target: TrackerTarget) -> None:
        self.place, self.logged, self.is_closed = tracker_target, list[tuple[str, Any, Any]](), False
        self.fails = library.fails
        self.opened.append(self)

    def scalars(self, values: Any, step: Any) -> None:
        if self.fails:
            raise ConnectionError("no route")
        self.logged.append(("scalars", values, step))

    def images(self, files: Any, step: Any) -> None:
        self.logged.append(("images", files, step))

    def files(self, files: Any, step: Any) -> None:
        self.logged.append(("files", files, step))

    def close(self) -> None:
        self.is_closed = True


@pytest.fixture
def fakes(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Fake]]:
    """Return the trackers that are opened: ``wandb`` works, ``mlflow`` fails."""
    for name, fails in (("wandb", False), ("mlflow", True)):
        stub(monkeypatch, **{name: SimpleNamespace(fails=fails)})
    changed = dict.fromkeys(TRACKERS, Fake)
    monkeypatch.setattr(trackers, "TRACKERS", changed)
    monkeypatch.setattr(trackers, "run_figures", lambda *_: iter(()))
    Fake.opened.clear()
    yield Fake.opened
    Fake.opened.clear()


def test_a_tracker_that_fails_costs_neither_the_others_nor_the_run(
    fakes: list[Fake], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from clipbench.cli import main

    x = np.eye(6, dtype=np.float32)
    np.savez(tmp_path / "x.npz", images=x, texts=x)
    out = tmp_path / "out"
    command = ["run", "--model", f"embeddings:{tmp_path / 'x.npz'}", "--tasks", "retrieval", "--out", str(out)]
    with pytest.raises(SystemExit) as end:
        main([*command, "--log", "mlflow", "--log", "wandb", "--no-report"])
    assert not end.value.code
    error_text = capsys.readouterr().err
    assert "--log: mlflow failed (ConnectionError: no route), but the run folder is complete" in error_text
    assert clipbench.read_run(out).result.is_complete
    _, wandb = fakes
    assert wandb.logged[0][1]["retrieval@embeddings/text_retrieval_recall@1"] == 1 and wandb.is_closed
    assert (wandb.place.folder, wandb.logged[0][2]) == (out, None)


def test_a_figure_that_cannot_be_drawn_costs_the_figures(
    fakes: list[Fake], run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> Iterator[tuple[str, Any]]:
        raise ZeroDivisionError
        yield

    monkeypatch.setattr(trackers, "run_figures", broken)
    failures: list[str] = []
    sent = Trackers(["wandb"], failed=lambda name, _: failures.append(name))
    sent.run(run, place(run))
    assert failures == ["figures"] and [each[0] for each in fakes[0].logged] == ["scalars", "images", "files"]


def test_a_plot_that_raises_costs_no_other_figure(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def draw(name: str, *_: object) -> str:
        if name == "bare":
            raise ClipbenchError("nothing to draw")
        if name != "good":
            raise PluginFault("it failed") if name == "faulty" else KeyError("a mark")
        return "figure"

    names = ["faulty", "bare", "raising", "good"]
    maker = SimpleNamespace(plots=lambda: names, draw_plot=draw, PlotOptions=SimpleNamespace)
    monkeypatch.setattr(trackers, "plotter", lambda: maker)
    failures: list[str] = []
    assert list(run_figures(run, lambda name, _: failures.append(name))) == [("good", "figure")]
    assert failures == ["plot faulty", "plot raising"]


# ----- what the libraries read back of what they have written


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_tensorboard_reads_its_file_back(run: Run) -> None:
    reading = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator", reason="needs tensorboard")
    log("tensorboard", run)
    event_log = reading.EventAccumulator(str(run.folder))
    event_log.Reload()
    values = {
        tag: (event_log.Scalars(tag)[0].step, event_log.Scalars(tag)[0].value) for tag in event_log.Tags()["scalars"]
    }
    assert values == {name: (7, pytest.approx(value)) for name, value in SCALARS.items()}
    (image,) = event_log.Images("figures/gap@hf:a/b")
    assert (image.width, image.height) == Image.open(io.BytesIO(image.encoded_image_string)).size
    assert str(run.folder / "report.html") in event_log.Tensors("report")[0].tensor_proto.string_val[0].decode()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_trackio_reads_its_database_back(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    pytest.importorskip("trackio", reason="needs trackio")
    from trackio.sqlite_storage import SQLiteStorage

    log("trackio", run)
    scalars, images = SQLiteStorage.get_logs("clipbench", "mine")
    assert {name: scalars[name] for name in (*SCALARS, "step")} == {**SCALARS, "step": 7}
    assert (tmp_path / "trackio/media" / images["figures/gap@hf:a/b"]["file_path"]).is_file()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_mlflow_reads_its_database_back(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mlflow = pytest.importorskip("mlflow", reason="needs mlflow")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    monkeypatch.chdir(tmp_path)
    log("mlflow", run)
    client: Any = mlflow.MlflowClient()
    (result,) = client.search_runs([client.get_experiment_by_name("clipbench").experiment_id])
    assert (result.info.status, result.data.params["model"]) == ("FINISHED", "tiny")
    assert result.data.metrics["zero-shot_at_birds/acc1_high"] == 0.75
    assert [artifact.step for artifact in client.get_metric_history(result.info.run_id, "average_at_mine")] == [7]
    names = [artifact.path for artifact in client.list_artifacts(result.info.run_id, "step-7")]
    assert names == ["step-7/report.html", "step-7/result.json"]
