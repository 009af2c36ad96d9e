"""Experiment trackers: what ``--log`` sends to Weights & Biases, TensorBoard, Trackio and MLflow.

Each is written by its own library, which is imported only where it is asked for. A tracker that fails costs a message:
the run is on disk before it is sent anywhere.
"""

import os
import re
import struct
import sys
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clipbench.errors import FOREIGN, ClipbenchError, PluginFault, UsageError, did_you_mean, option
from clipbench.files import temporary_folder
from clipbench.plugins import import_optional, plotter
from clipbench.results.record import Metric, finished_evaluations
from clipbench.results.run import Run
from clipbench.untrusted.reading import is_file

if TYPE_CHECKING:
    from collections.abc import Iterator

PROJECT = "clipbench"
"""The project, or experiment, where no environment variable of the library names one."""
STEP = "step"
DPI = 200
"""Resolution of the figures."""
MLFLOW_BATCH = 500
"""Metrics that are sent to MLflow at a time, which takes 1,000 at most."""
SENT_FILES = ("report.html", "result.json")
MODEL_FACTS = ("family", "embed_dim", "context_length", "image_size", "n_parameters")

Step = int | float | None
"""The training step, None if a model has none."""
Scalars = Mapping[str, float]
"""Numbers by their names."""
ImageFiles = Mapping[str, Path]
"""PNG files by the names of their figures."""


@dataclass(frozen=True, kw_only=True)
class TrackerTarget:
    """The run and the folder that a tracker writes to."""

    name: str
    """Name of the run in the tracker."""
    folder: Path
    """Folder for TensorBoard's file. The other trackers ignore it."""
    config: Mapping[str, str | int | float] = field(default_factory=dict)
    joins: bool = False
    """True to write to the run that this process has open, if there is one, instead of a new one."""


class Trackers:
    """The trackers that were asked for. Each is opened when there is something to log, and fails on its own.

    Args:
        names: some of ``TRACKERS``.
        failed: called with the name of a tracker, or ``figures``, and the error.

    Raises:
        UsageError: an unknown name, or a library that is not installed.
    """

    def __init__(self, names: Sequence[str], failed: Callable[[str, BaseException], object]) -> None:
        for name in names:
            if name not in TRACKERS:
                raise UsageError(f"{option('log', name)}: {did_you_mean(name, TRACKERS)}")
        self._libraries = {
            name: import_optional(name, extra=name, needed_by=option("log", name), kind=UsageError)
            for name in dict.fromkeys(names)
        }
        self._failed = failed
        self._open: dict[str, Tracker] = {}

    def run(self, run: Run, target: TrackerTarget) -> None:
        """Log the metrics of a run with their intervals, its figures, its report and its result."""
        if not self._libraries:
            return
        step = run.result.model.get("step")
        files = [run.folder / name for name in SENT_FILES if is_file(run.folder / name)]
        with temporary_folder("figures") as folder:
            images = self._figures(run, folder)
            for name in self._libraries:
                with self._tracker(name, target) as tracker:
                    tracker.scalars(run_scalars(run), step)
                    tracker.images(images, step)
                    tracker.files(files, step)

    def scalars(self, values: Scalars, step: Step, target: TrackerTarget) -> None:
        """Log numbers by name."""
        for name in self._libraries:
            with self._tracker(name, target) as tracker:
                tracker.scalars(values, step)

    def close(self, *files: Path) -> None:
        """End the runs that were opened here, with the last files that they are to keep."""
        for name, tracker in self._open.items():
            with self._report_failures(name):
                tracker.files([file for file in files if is_file(file)], None)
                tracker.close()
        self._open.clear()

    @contextmanager
    def _tracker(self, name: str, target: TrackerTarget) -> "Iterator[Tracker]":
        with self._report_failures(name):
            if name not in self._open:
                self._open[name] = TRACKERS[name](self._libraries[name], target)
            yield self._open[name]

    @contextmanager
    def _report_failures(self, name: str) -> "Iterator[None]":
        try:
            with redirect_stdout(sys.stderr):  # where libraries greet: results alone are on standard output
                yield
        except FOREIGN as error:
            self._failed(name, error)

    def _figures(self, run: Run, folder: Path) -> dict[str, Path]:
        figures: dict[str, Path] = {}
        with self._report_failures("figures"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for name, figure in run_figures(run, self._failed):
                file = folder / str(len(figures)) / f"{re.sub(r'[^A-Za-z0-9._@-]+', '-', name)}.png"
                file.parent.mkdir()
                figure.savefig(file, dpi=DPI)
                figures[name] = file
        return figures


def run_scalars(run: Run) -> dict[str, float]:
    """Return the metrics of a run by ``task@data/metric``, and their bounds as ``..._low`` and ``..._high``.

    Slices stay in the report and the result.
    """
    metrics: dict[str, Metric] = dict(run.metrics)
    if run.result.average is not None:
        metrics[f"average@{run.result.average.suite}"] = run.result.average.metric
    scalars: dict[str, float] = {}
    for name, metric in metrics.items():
        numbers = {name: metric.value, f"{name}_low": metric.low, f"{name}_high": metric.high}
        scalars |= {scalar: number for scalar, number in numbers.items() if number is not None}
    return scalars


def run_figures(run: Run, failed: Callable[[str, BaseException], object]) -> "Iterator[tuple[str, Any]]":
    """Yield the figures of ``clipbench plot`` that a run allows, one per data set if a figure needs one.

    Args:
        failed: told the name and the error of a plot that raises, which costs no other.
    """
    maker = plotter()
    data = dict.fromkeys(record.dataset.id for record in finished_evaluations(run.result))
    for name in maker.plots():
        for one in (None, *data):
            try:
                figure = maker.draw_plot(name, [run], maker.PlotOptions(data=one))
            except FOREIGN as error:
                if isinstance(error, ClipbenchError) and not isinstance(error, PluginFault):
                    continue  # there is nothing to draw, or it is to be drawn for each data set
                failed(f"plot {name}", error)
                break
            yield (name if one is None else f"{name}@{one}"), figure
            if one is None:
                break


def run_config(run: Run) -> dict[str, str | int | float]:
    """Return what a tracker shows of the settings of a run."""
    model, environment = run.result.model, run.result.environment
    facts = {
        "model": model.get("ref"),
        **{name: model.get(name) for name in MODEL_FACTS},
        **{name: environment.get(name) for name in ("device", "precision")},
        "seed": run.result.seed,
        "clipbench_version": run.result.clipbench_version,
    }
    return {name: fact for name, fact in facts.items() if isinstance(fact, str | int | float)}


# ----- One class for each library, all with the same four methods: log scalars, log PNG files by the names of figures,
# keep files, which may be gone afterwards, and end the run, unless it was another's.


class _Wandb:
    """Weights & Biases. Steps are a metric of their own, so that checkpoints may come in any order."""

    def __init__(self, wandb: Any, target: TrackerTarget) -> None:
        joined = wandb.run if target.joins else None
        project = os.environ.get("WANDB_PROJECT", PROJECT)
        self._wandb, self._owns_run = wandb, joined is None
        self._run = joined or wandb.init(
            project=project, name=target.name, config=dict(target.config), reinit="create_new"
        )
        self._step = STEP if self._owns_run else f"{PROJECT}/{STEP}"
        self._run.define_metric(self._step)
        self._run.define_metric("*" if self._owns_run else f"{PROJECT}/*", step_metric=self._step)

    def scalars(self, values: Scalars, step: Step) -> None:
        self._run.log({**values, **({} if step is None else {self._step: step})})

    def images(self, files: ImageFiles, step: Step) -> None:
        images = {f"figures/{name}": self._wandb.Image(str(file)) for name, file in files.items()}
        self._run.log({**images, **({} if step is None else {self._step: step})})

    def files(self, files: Sequence[Path], step: Step) -> None:
        if not files:
            return
        artifact = self._wandb.Artifact(f"report-{self._run.id}", type="report", metadata={STEP: step})
        for file in files:
            artifact.add_file(str(file), name=file.name)
        self._run.log_artifact(artifact)

    def close(self) -> None:
        if self._owns_run:
            self._run.finish()


class _TensorBoard:
    """A file of events. TensorBoard keeps no artifacts, so a text says where they are."""

    def __init__(self, tensorboard: Any, target: TrackerTarget) -> None:
        folder = os.environ.get("TENSORBOARD_LOGGING_DIR", target.folder)
        writer = import_module("tensorboard.summary.writer.event_file_writer")
        self._writer = writer.EventFileWriter(str(folder))
        self._event = import_module("tensorboard.compat.proto.event_pb2").Event
        self._proto = import_module("tensorboard.compat.proto.summary_pb2")
        if target.config:
            rows = "".join(f"| {name} | {value} |\n" for name, value in target.config.items())
            self._write(0, [self._text("config", f"| setting | value |\n| --- | --- |\n{rows}")])

    def scalars(self, values: Scalars, step: Step) -> None:
        value = self._proto.Summary.Value
        self._write(step, [value(tag=name, simple_value=number) for name, number in values.items()])

    def images(self, files: ImageFiles, step: Step) -> None:
        values = []
        for name, file in files.items():
            content = file.read_bytes()
            width, height = struct.unpack(">II", content[16:24])  # of a PNG's header
            image = self._proto.Summary.Image(width=width, height=height, colorspace=4, encoded_image_string=content)
            values.append(self._proto.Summary.Value(tag=f"figures/{name}", image=image))
        self._write(step, values)

    def files(self, files: Sequence[Path], step: Step) -> None:
        if files:
            self._write(step, [self._text("report", "  \n".join(str(file.resolve()) for file in files))])

    def close(self) -> None:
        self._writer.close()

    def _text(self, tag: str, text: str) -> Any:
        metadata = self._proto.SummaryMetadata
        tensor = {"dtype": "DT_STRING", "string_val": [text.encode()], "tensor_shape": {"dim": [{"size": 1}]}}
        return self._proto.Summary.Value(
            tag=tag, metadata=metadata(plugin_data=metadata.PluginData(plugin_name="text")), tensor=tensor
        )

    def _write(self, step: Step, values: list[Any]) -> None:
        summary = self._proto.Summary(value=values)
        self._writer.add_event(self._event(wall_time=time.time(), step=int(step or 0), summary=summary))
        self._writer.flush()


class _Trackio:
    """Trackio, on this machine or in a Space, as its environment variables say."""

    def __init__(self, trackio: Any, target: TrackerTarget) -> None:
        joined = trackio.context_vars.current_run.get() if target.joins else None
        self._trackio, self._owns_run = trackio, joined is None
        quiet = {"embed": False, "auto_log_gpu": False, "auto_log_cpu": False}
        self._run = joined or trackio.init(project=PROJECT, name=target.name, config=dict(target.config), **quiet)

    def scalars(self, values: Scalars, step: Step) -> None:
        self._run.log(dict(values), step=int(step or 0))

    def images(self, files: ImageFiles, step: Step) -> None:
        images = {f"figures/{name}": self._trackio.Image(file) for name, file in files.items()}
        self._run.log(images, step=int(step or 0))

    def files(self, files: Sequence[Path], step: Step) -> None:
        for file in files:
            self._run.log_artifact(file, name=file.stem, type="report")

    def close(self) -> None:
        if self._owns_run:
            self._trackio.finish()  # which, unlike its run's, is not said again when Python ends


class _MLflow:
    """MLflow, at MLFLOW_TRACKING_URI. Its client leaves the active run of the process as it is."""

    def __init__(self, mlflow: Any, target: TrackerTarget) -> None:
        joined = mlflow.active_run() if target.joins else None
        self._mlflow, self._owns_run = mlflow, joined is None
        self._client = mlflow.MlflowClient()
        if joined is None:
            name = os.environ.get("MLFLOW_EXPERIMENT_NAME", PROJECT)
            existing = self._client.get_experiment_by_name(name)
            experiment = self._client.create_experiment(name) if existing is None else existing.experiment_id
            joined = self._client.create_run(experiment, run_name=target.name)
            params = [mlflow.entities.Param(name, str(value)) for name, value in target.config.items()]
            self._client.log_batch(joined.info.run_id, params=params)
        self._id = joined.info.run_id

    def scalars(self, values: Scalars, step: Step) -> None:
        now, entity = int(time.time() * 1000), self._mlflow.entities.Metric
        metrics = [
            # As MLflow takes names: ``retrieval@hf:org/birds`` as ``retrieval_at_hf_org/birds``.
            entity(re.sub(r"[^\w./ -]", "_", name.replace("@", "_at_")), number, now, int(step or 0))
            for name, number in values.items()
        ]
        for start in range(0, len(metrics), MLFLOW_BATCH):
            self._client.log_batch(self._id, metrics=metrics[start : start + MLFLOW_BATCH])

    def images(self, files: ImageFiles, step: Step) -> None:
        for file in files.values():
            self._client.log_artifact(self._id, str(file), "/".join(["figures", *_folder_of(step)]))

    def files(self, files: Sequence[Path], step: Step) -> None:
        for file in files:
            self._client.log_artifact(self._id, str(file), "/".join(_folder_of(step)) or None)

    def close(self) -> None:
        if self._owns_run:
            self._client.set_terminated(self._id)


def _folder_of(step: Step) -> list[str]:
    return [] if step is None else [f"step-{step:g}"]


Tracker = _Wandb | _TensorBoard | _Trackio | _MLflow
"""An open run of a tracker."""
TRACKERS: Mapping[str, Callable[[Any, TrackerTarget], Tracker]] = {
    "wandb": _Wandb,
    "tensorboard": _TensorBoard,
    "trackio": _Trackio,
    "mlflow": _MLflow,
}
"""The trackers of ``--log``. Each name is also the name of the library, and of the extra that installs it."""
