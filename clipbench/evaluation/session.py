"""A session: models on tasks become runs. What ``clipbench run``, ``clipbench watch`` and ``clipbench.run`` do."""

import os
import platform
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from clipbench import __version__
from clipbench.checks.examination import preflight
from clipbench.data import Dataset, read_prompts
from clipbench.data.download import readable_size
from clipbench.data.images import ImageRef
from clipbench.data.needs import Need, fetch_needs, find_needs, look_up_needs
from clipbench.errors import FOREIGN, ClipbenchError, MachineError, Unavailable, UsageError, bug, cause
from clipbench.evaluation.ahead import Ahead
from clipbench.evaluation.average import average_of
from clipbench.evaluation.datasets import Datasets
from clipbench.evaluation.evaluate import RunOptions, evaluate
from clipbench.evaluation.plan import (
    Request,
    fitting_data,
    most_bytes,
    plan,
    read_suite,
    task_class,
    with_data,
    with_prompts,
)
from clipbench.evaluation.progress import Progress
from clipbench.evaluation.reuse import finished_run
from clipbench.evaluation.targets import REPORT, Target, Targets, check_folder, clear_leftovers, distinct_names, slug
from clipbench.files import alone_in, check_writable
from clipbench.models.embedder import KnownImage, load_embedder, remember
from clipbench.models.protocol import Embedder, LoadOptions, ModelInfo
from clipbench.models.reference import resolve
from clipbench.models.tower_costs import tower_costs, watch_memory
from clipbench.plugins import report_writer
from clipbench.results.record import AverageRecord, EvaluationRecord, Result
from clipbench.results.run import Run, check_record, write_result
from clipbench.results.trackers import Place, Trackers, run_config
from clipbench.untrusted.reading import is_there


@dataclass(frozen=True, kw_only=True)
class SessionOptions:
    """Tasks, data and options, the same for every model of a session."""

    tasks: Sequence[str] = ("all",)
    """``all``, ``TASK`` or ``TASK@DATA``."""
    suite: str = "standard"
    """An installed suite or a TOML file: the data of each task that names none."""
    data: str | Dataset | None = None
    """The data of every task, in place of the suite's."""
    prompts: Path | None = None
    """A file with prompts for the tasks that take some."""
    run: RunOptions = field(default_factory=RunOptions)
    load: LoadOptions = field(default_factory=LoadOptions)
    workers: int | None = None
    """Processes that decode images; None chooses."""
    checks_model: bool = True
    """Make the quick checks of each model before it is measured."""
    recalls_models: bool = False
    """Load a model only when something of it is not stored; where no code of the user's runs in the process."""
    writes_reports: bool = True
    fetches: bool | None = False
    """Fetch missing data sets of the catalogue; None leaves it to ``Progress.missing``."""
    log: Sequence[str] = ()
    """Experiment trackers that finished runs are logged to."""


class Session:
    """Models on tasks. All of it is planned, and all data are read, before any model is loaded.

    Raises:
        UsageError: a task, a parameter, a suite or a reference to data is wrong.
    """

    def __init__(self, options: SessionOptions, targets: Targets, progress: Progress | None = None) -> None:
        self.options = options
        self.targets = targets
        self.progress = progress or Progress()
        self._trackers = Trackers(options.log, failed=self._not_logged)
        self.is_complete = True
        """False once a model could not be measured, or a report not be written."""
        self.n_done = 0
        run, data = options.run, options.data
        kinds = {target.brings_samples for target in targets.each} or {False}
        self._suite = read_suite(options.suite, needs_data=False in kinds)
        self._most_bytes = most_bytes(options.suite)
        self.datasets = Datasets(
            run.data, seed=run.seed, limit=run.limit, given=data if isinstance(data, Dataset) else None
        )
        self._known: dict[ImageRef, KnownImage] = {}
        self._ahead = Ahead(self._load, self.datasets, is_lenient=run.skip_bad_images)
        self._requests = {own_samples: _plan(options, own_samples=own_samples) for own_samples in kinds}
        check_writable(targets.out, advice="name another --out")
        self._refuse_unknown_models()
        self.needs: list[Need] = []
        """Data sets of the catalogue that are not on this machine, after those were fetched that could be."""
        if False in kinds:
            self.needs = self._provide(self._requests[False])
            self.datasets.check(self._requests[False])

    def run_all(self) -> list[Run]:
        """Measure every model and return the runs that could be made, each with its report.

        Raises:
            MachineError: the disk is full, say: the next model would fail likewise.
            ClipbenchError: no run could be made; the error is the first model's.
        """
        if not any(target.brings_samples for target in self.targets.each):
            self._refuse_without_data(self._requests.get(False, []))
        runs: list[Run] = []
        first_failure: ClipbenchError | None = None
        for number, target in enumerate(self.targets.each):
            self.progress.model(target.name, number, len(self.targets.each))
            try:
                run = self.measure(target, next_ones=self.targets.each[number + 1 :])
            except MachineError:
                raise
            except ClipbenchError as error:
                first_failure = first_failure or error
                self.is_complete = False
                is_unavailable = isinstance(error, Unavailable)
                self.progress.model_failed(target.name, error, self._data_problems(target) if is_unavailable else [])
            else:
                self.try_report(run)
                self.try_log(target, run)
                runs.append(run)
        if first_failure is not None and not runs:
            raise first_failure
        return runs

    def measure(
        self, target: Target, *, next_ones: Sequence[Target] = (), check_read: Callable[[], None] = lambda: None
    ) -> Run:
        """Return the run of one model; where just this run is finished already, that one.

        Args:
            next_ones: models that will be measured next, which may encode their images on the same decode.
            check_read: called when the model has been loaded; what it raises ends the work.

        Raises:
            UsageError: the folder holds another run, or another process writes to it.
            ClipbenchError: the model cannot be loaded.
        """
        requests = self._requests[target.brings_samples]
        self._refuse_without_data(requests)
        embedder = target.embedder or self._ahead.embedder(target, next_ones, requests)
        if embedder.dataset is not None:
            requests = fitting_data(requests, embedder.dataset)
        check_read()
        result = self._without_evaluations(embedder.info)
        if target.may_be_finished:
            run = finished_run(
                embedder,
                requests,
                target.folder,
                options=self.options.run,
                datasets=self.datasets,
                note=self.progress.note,
            )
            if run is not None:
                self.n_done += 1
                self.progress.reused(target.name, run)
                return run
        with alone_in(target.folder):
            check_folder(target.folder)  # another process may have finished while this one loaded
            clear_leftovers(target.folder)
            findings = preflight(embedder) if self.options.checks_model else None
            for finding in findings or ():
                self.progress.warning(finding)
            if self.options.recalls_models and len(self.targets.each) == 1:  # no tensors are there but the model's
                watch_memory(embedder)
            before = embedder.counts()
            made, left_out = self._evaluate(embedder, requests, target.folder)
            towers = tower_costs(embedder, before)
            remember(embedder, findings)
            result = replace(
                result,
                created=_now(),
                evaluations=[record for _, record in made],
                preflight=findings,
                left_out=left_out,
                towers=towers,
                average=self._average(made, embedder.info),
            )
            write_result(result, target.folder)
        self.n_done += 1
        return Run(target.folder, result)

    def is_whole(self, run: Run) -> bool:
        """Return whether all was measured, but for what ``all`` asks of data that only a person can get."""
        by_hand = {need.entry.name for need in self.needs if need.step is not None}
        excused = {
            (request.task, request.data)
            for requests in self._requests.values()
            for request in requests
            if request.is_optional and request.data is not None and request.data.lower() in by_hand
        }
        return all(each.status == "ok" or (each.task, each.dataset.id) in excused for each in run.result.evaluations)

    def report(self, run: Run) -> None:
        """Write the report of one run into its folder, unless it is there already."""
        if self.options.writes_reports and not is_there(run.folder / REPORT):
            report_writer()([run], run.folder / REPORT)

    def try_report(self, run: Run) -> None:
        """Do as ``report`` does, but say what goes wrong, and go on: it costs no run."""
        with self._saying_why_not(run.folder / REPORT):
            self.report(run)

    def try_report_all(self, runs: Sequence[Run]) -> None:
        """Write a joint report of several runs beside their folders, or say what goes wrong."""
        if self.options.writes_reports and len(runs) > 1:
            with self._saying_why_not(self.targets.out / REPORT):
                report_writer()(runs, self.targets.out / REPORT)

    def try_log(self, target: Target, run: Run) -> None:
        """Log a finished run to the trackers, a series as one run of theirs; say what goes wrong, and go on."""
        is_series = self.targets.are_series
        name, folder = (self.targets.out.name, self.targets.out) if is_series else (target.name, run.folder)
        self._trackers.run(run, Place(name=name, folder=folder, config=run_config(run)))
        if not is_series:
            self._trackers.close()

    def end_log(self) -> None:
        """End the trackers' run of a series, with its joint report."""
        self._trackers.close(self.targets.out / REPORT)

    def _not_logged(self, name: str, error: BaseException) -> None:
        self.progress.log_failed(name, cause(error))

    @contextmanager
    def _saying_why_not(self, report: Path) -> Iterator[None]:
        try:
            yield
        except MachineError:
            raise
        except FOREIGN as error:  # a bug in the section of a plug-in must not cost the other models
            if self.options.run.raise_bugs:
                raise
            self.is_complete = False
            why = str(error) if isinstance(error, ClipbenchError) else bug(error, "a section of the report")
            self.progress.report_failed(report, why)

    def _refuse_unknown_models(self) -> None:
        """Raise UsageError where no reference means a model: a slip should not be found after hours of downloads."""
        errors = []
        for target in self.targets.each:
            try:
                if target.embedder is not None or resolve(target.reference.strip(), self.options.load):
                    return
            except UsageError as error:
                errors.append(error)
        if errors:
            raise errors[0]

    def _provide(self, requests: Sequence[Request]) -> list[Need]:
        """Fetch the data that are missing, if that is wanted, and return what is still missing."""
        needs = find_needs(self.datasets.uses(requests), self.options.run.data.data_root)
        if self.options.fetches is False or not needs:
            return needs
        if any(need.can_be_fetched for need in needs):
            needs = look_up_needs(needs)
            self._refuse_too_much(needs)
        if not self.progress.missing(needs) and not self.options.fetches:
            return needs
        left = fetch_needs(needs, begun=lambda need: self.progress.fetching(need, needs), arrived=self.progress.arrived)
        self.progress.fetched(left)
        return left

    def _refuse_too_much(self, needs: Sequence[Need]) -> None:
        """Raise Unavailable where what is missing of a suite's own data is more than may be fetched for it."""
        options, most = self.options, self._most_bytes
        if most is None or options.data is not None or any("@" in tasks for tasks in options.tasks):
            return
        fetched = [need for need in needs if need.can_be_fetched]
        n_bytes = sum((need.n_bytes or 0) - need.n_bytes_present for need in fetched)
        if n_bytes > most:
            names = " ".join(need.entry.name for need in fetched)
            raise Unavailable(
                f"suite {options.suite} may fetch at most {readable_size(most)}, and the servers list {readable_size(n_bytes)}:"
                f" nothing was fetched; `clipbench data get {names}` fetches these data whole, whatever their size"
            )

    def _refuse_without_data(self, requests: Sequence[Request]) -> None:
        """Raise Unavailable where no request has data: a run without a number would be no use, and loading takes long."""
        errors: dict[str | None, Unavailable] = {}
        for request in requests:
            try:
                if request.data is None or self.datasets.get(request) is not None:
                    return
            except Unavailable as error:
                errors[request.data] = error
            except ClipbenchError:
                return
        if len(errors) == 1:
            raise next(iter(errors.values()))
        if errors:
            raise Unavailable(
                f"nothing can be measured: none of the {len(errors)} data sets is on this machine;"
                " name data of your own, TASK@DATA, or measure built-in images, suite scenes"
            )

    def _load(self, reference: str) -> Embedder:
        return load_embedder(
            reference,
            self.options.load,
            workers=self.options.workers,
            show_progress=self.progress.shows_bars,
            known=self._known,
            may_recall=self.options.recalls_models,
        )

    def _without_evaluations(self, info: ModelInfo) -> Result:
        """Return the result to come; raise ClipbenchError if what a model says of itself cannot be recorded."""
        result = Result(
            clipbench_version=__version__,
            created=_now(),
            command=list(self.options.run.command),
            seed=self.options.run.seed,
            environment=_environment(info),
            model={name: value for name, value in asdict(info).items() if name not in ("device", "precision")},
            evaluations=[],
        )
        check_record(result, f"what model {info.ref} says of itself")
        return result

    def _evaluate(
        self, embedder: Embedder, requests: Sequence[Request], folder: Path
    ) -> tuple[list[tuple[Request, EvaluationRecord]], dict[str, str]]:
        """Make every evaluation, and say why some were left out; what goes wrong with one is recorded in it.

        Returns:
            The requests with their records, and the reasons by task.
        """
        made: list[tuple[Request, EvaluationRecord]] = []
        left_out: dict[str, str] = {}
        for request, stem in zip(requests, _stems(requests), strict=True):
            if request.may_be_left_out and getattr(task_class(request.task), "needs_model", False):
                left_out[request.task] = "needs the model itself"
                continue
            record = evaluate(request, embedder, self.datasets, folder, stem=stem, options=self.options.run)
            if request.may_be_left_out and record.status == "unavailable":
                left_out[request.task] = record.reason or ""
                continue
            self.progress.evaluation(record)
            made.append((request, record))
        if not made:
            reasons = "; ".join(f"{task}: {reason}" for task, reason in left_out.items())
            raise Unavailable(f"{embedder.info.id} has samples for no task ({reasons})")
        if left_out:
            self.progress.left_out(left_out)
        return made, left_out

    def _average(self, made: Sequence[tuple[Request, EvaluationRecord]], info: ModelInfo) -> AverageRecord | None:
        options = self.options
        is_whole = not options.run.may_be_part and options.prompts is None
        records = {request.name: record for request, record in made}
        return average_of(options.suite, self._suite, records, published_for=info if is_whole else None)

    def _data_problems(self, target: Target) -> list[str]:
        """Return a line for each data set that is malformed or not there, with the tasks that ask for it.

        Those of the catalogue that are not there are in ``needs``.
        """
        missing = {need.entry.name for need in self.needs}
        requests = self._requests[target.brings_samples]
        problems = self.datasets.problems([each for each in requests if (each.data or "").lower() not in missing])
        return [f"{', '.join(tasks)}: {error}" for error, tasks in problems.items()]


def _plan(options: SessionOptions, *, own_samples: bool) -> list[Request]:
    requests = plan(options.tasks, options.suite, own_samples=own_samples)
    if options.data is not None:
        named = next((task for task in options.tasks if "@" in task), None)
        if named is not None:
            raise UsageError(f"'{named}' names its data, and data are given for all tasks: drop one of the two")
        requests = with_data(requests, options.data)
    return requests if options.prompts is None else with_prompts(requests, read_prompts(options.prompts))


def _stems(requests: Sequence[Request]) -> list[str]:
    """Return ``task@data`` as a file name for each request, with a number where two are alike."""
    return distinct_names([f"{request.task}@{slug(request.data or 'own')}" for request in requests])


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _environment(info: ModelInfo) -> dict[str, Any]:
    """Return the versions, the machine and the device that the numbers are made with."""
    environment: dict[str, Any] = {
        "device": info.device,
        "precision": info.precision,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpus": os.cpu_count(),
    }
    for package in ("torch", "open-clip-torch", "transformers", "numpy", "pillow", "scipy"):
        try:
            environment[package.removesuffix("-torch").replace("-", "_")] = version(package)
        except PackageNotFoundError:
            continue
    return environment
