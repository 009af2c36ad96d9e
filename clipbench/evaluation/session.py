"""A session: models on tasks become runs. What ``clipbench run`` and ``clipbench.run`` do."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path

from clipbench.checks.examination import change_during_run, preflight
from clipbench.data import Dataset
from clipbench.data.catalogue.needs import Need
from clipbench.distributed.rounds import current_rounds
from clipbench.errors import (
    FOREIGN,
    ClipbenchError,
    MachineError,
    Unavailable,
    UsageError,
    bug_summary,
    error_summary,
    option,
)
from clipbench.evaluation.datasets import Datasets
from clipbench.evaluation.measure import average_of, empty_result, measure, now
from clipbench.evaluation.output_folders import (
    REPORT,
    Target,
    Targets,
    check_folder,
    clear_leftovers,
    finished_run,
    has_results,
    slug,
)
from clipbench.evaluation.plan import (
    Request,
    RunOptions,
    build_task,
    drop_unsupported,
    most_bytes,
    plan,
    read_suite,
    task_class,
)
from clipbench.evaluation.progress import Progress
from clipbench.evaluation.task import OF_UNIT_VECTORS, can_use_vectors, supports_similarity
from clipbench.evaluation.tries import tried_texts
from clipbench.files import check_writable, folder_lock
from clipbench.models.encoding.image_hashes import ImageHashes
from clipbench.models.encoding.loading import load_embedder
from clipbench.models.encoding.sharing import encode_together
from clipbench.models.introspection.costs import tower_costs
from clipbench.models.introspection.price import PriceTag
from clipbench.models.large_arrays import memory_bytes
from clipbench.models.options import LoadOptions
from clipbench.models.protocol import Embedder, ModelEmbedder, SearchEmbedder, capability
from clipbench.plugins import report_writer
from clipbench.results.metric_name import evaluation_name, names_data
from clipbench.results.record import EvaluationRecord, PriceRecord, Result
from clipbench.results.run import Run, write_result
from clipbench.results.run_names import distinct_names
from clipbench.results.trackers import Trackers, TrackerTarget, run_config
from clipbench.untrusted.reading import is_there


@dataclass(frozen=True, kw_only=True)
class SessionOptions:
    """Tasks, data and options, the same for every model of a session."""

    tasks: Sequence[str] = ("all",)
    """``all``, ``TASK`` or ``TASK@DATA``."""
    suite: str = "standard"
    """An installed suite or a TOML file: the data of each task that names none."""
    data: str | Dataset | None = None
    """The data of every task, instead of the suite's."""
    prompts: Path | None = None
    """A file with prompts for the tasks that take some."""
    run: RunOptions = field(default_factory=RunOptions)
    load: LoadOptions = field(default_factory=LoadOptions)
    workers: int | None = None
    """Processes that decode images, None to choose their number."""
    checks_model: bool = True
    """Make the quick checks of each model before it is measured."""
    owns_process: bool = False
    """True if the process runs only this session: no code of the user's, and no other models."""
    prices: bool = False
    """Measure what one query costs with each model."""
    writes_reports: bool = True
    fetches: bool | None = False
    """Fetch missing data sets of the catalogue, None to leave it to ``Progress.missing``."""
    log: Sequence[str] = ()
    """Experiment trackers that finished runs are logged to."""


class Session:
    """Models on tasks. All of it is planned, and all data is read, before any model is loaded.

    Raises:
        UsageError: a task, a parameter, a suite or a reference to data is wrong.
    """

    def __init__(self, options: SessionOptions, targets: Targets, progress: Progress | None = None) -> None:
        self.options = options
        self.targets = targets
        self.progress = progress or Progress()
        self._trackers = Trackers(
            options.log, failed=lambda name, error: self.progress.log_failed(name, error_summary(error))
        )
        self.is_complete = True
        """False once a model could not be measured, or a report not be written."""
        self.n_done = 0
        self.failures: dict[str, str] = {}
        """Why models could not be measured, by their references."""
        run, data = options.run, options.data
        kinds = {target.brings_samples for target in targets.models} or {False}
        target_with_samples = next((target.name for target in targets.models if target.brings_samples), None)
        if target_with_samples is not None and data is not None:
            raise UsageError(f"{target_with_samples} has samples of its own: remove {option('data')}")
        if target_with_samples is not None and options.prices:
            raise UsageError(
                f"{target_with_samples} encodes nothing, so it has no price: remove {option('price', True)}"
            )
        self._suite = read_suite(options.suite, needs_data=False in kinds)
        most = most_bytes(options.suite)
        self.datasets = Datasets(run, memory_dataset=data if isinstance(data, Dataset) else None)
        self._hashes = ImageHashes()
        self._prices: dict[str, PriceRecord] = {}
        self._prefetcher = EmbedderPrefetcher(self._load, self.datasets, is_lenient=run.skip_bad_images)
        self._requests = {
            own_samples: plan(options.tasks, options.suite, own_samples=own_samples, data=data, prompts=options.prompts)
            for own_samples in kinds
        }
        self._check_keeps_lists()
        check_writable(targets.out, advice=f"name another {option('out')}")
        targets.check_references(options.load)
        self.needs: list[Need] = []
        """Data sets of the catalogue that are not on this machine, after those were fetched that could be."""
        self._left_out: dict[str, str] = {}
        if False in kinds:
            is_suites_own = data is None and not any(map(names_data, options.tasks))
            self.needs = self.datasets.provide(
                self._requests[False],
                options.suite,
                may_fetch=options.fetches,
                most_bytes=most if is_suites_own else None,
                progress=self.progress,
            )
            self.datasets.check(self._requests[False])
            self._requests[False], self._left_out = self.datasets.supported_requests(self._requests[False])

    def _load(self, target: Target) -> Embedder:
        is_priced = self.options.prices and not has_results(target.folder)
        tag = PriceTag() if is_priced else None
        embedder = load_embedder(
            target.reference,
            self.options.load,
            workers=self.options.workers,
            show_progress=self.progress.shows_bars,
            hashes=self._hashes,
            owns_process=self.options.owns_process,
        )
        encoder = capability(embedder, ModelEmbedder)
        if tag is not None and encoder is not None:
            self._prices[target.reference] = tag.price(encoder.model)
        return embedder

    def run_all(self) -> list[Run]:
        """Measure every model and return the runs that could be made, each with its report.

        Raises:
            MachineError: the next model would fail as well, for example because the disk is full.
            ClipbenchError: no run could be made. The error is the first model's.
        """
        if not any(target.brings_samples for target in self.targets.models):
            self.datasets.require_any_measurable(self._requests.get(False, []))
        if self._left_out:
            self.progress.left_out(self._left_out)
        for request, error in self.datasets.failing_requests(self._requests.get(False, [])):
            self.progress.unmeasurable(request.name, error, data=str(request.data))
        runs: list[Run] = []
        first_failure: ClipbenchError | None = None
        for number, target in enumerate(self.targets.models):
            self.progress.model(target.name, number, len(self.targets.models))
            try:
                run = self.measure(target, next_targets=self.targets.models[number + 1 :])
            except MachineError:
                raise
            except ClipbenchError as error:
                first_failure = first_failure or error
                self.failures[target.reference] = str(error)
                self.is_complete = False
                requests = self._requests[target.brings_samples] if isinstance(error, Unavailable) else []
                self.progress.model_failed(target.name, error, self.datasets.problems(requests, self.needs))
            else:
                self.try_report(run)
                self.try_log(target, run)
                runs.append(run)
        if first_failure is not None and not runs:
            raise first_failure
        return runs

    def measure(
        self, target: Target, *, next_targets: Sequence[Target] = (), check_read: Callable[[], None] = lambda: None
    ) -> Run:
        """Return the run of one model: a new one, or the finished one of its folder.

        Args:
            next_targets: models that will be measured next, which may encode their images on the same decode.
            check_read: called when the model has been loaded. Its errors end the work.

        Raises:
            ClipbenchError: the model cannot be loaded, the folder holds another run, or another process writes to it.
        """
        requests = self._requests[target.brings_samples]
        self.datasets.require_any_measurable(requests)
        embedder = target.embedder or self._prefetcher.embedder(target, next_targets, requests)
        if embedder.dataset is not None:
            requests = drop_unsupported(requests, embedder.dataset)
        check_read()
        self._check_lists(embedder, requests)
        empty = empty_result(embedder.info, self.options.run)
        if target.may_be_finished:
            run = finished_run(
                embedder, requests, target.folder, self.options.run, self.datasets, note=self.progress.note
            )
            if run is not None and self.options.prices and run.result.price is None:
                raise UsageError(
                    f"{target.folder} holds a finished run without a price: name another {option('out')}, or remove"
                    f" {option('price', True)}"
                )
            if run is not None:
                self.n_done += 1
                self.progress.reused(target.name, run)
                return run
        with folder_lock(target.folder):
            check_folder(target.folder)  # another process may have finished while this one loaded
            clear_leftovers(target.folder)
            result = self._measure_requests(empty, embedder, requests, target.folder)
            result = replace(result, price=self._prices.get(target.reference))
            write_result(result, target.folder)
        self.n_done += 1
        return Run(target.folder, result)

    def _check_keeps_lists(self) -> None:
        """Raise UsageError if result lists are to be kept and no task has any."""
        depth = self.options.run.keep_lists
        tasks = {request.task for requests in self._requests.values() for request in requests}
        if depth and not any(task_class(task).takes_lists for task in tasks):
            raise UsageError(
                f"{option('keep_lists', depth)} has no effect on {', '.join(sorted(tasks))}, which have no result"
                " lists: add the task retrieval, or remove it"
            )

    def _check_lists(self, embedder: Embedder, requests: Sequence[Request]) -> None:
        """Raise DataError unless finished result lists fit the data. Data that cannot be read is reported later."""
        searcher = capability(embedder, SearchEmbedder)
        if searcher is None:
            return
        unreadable = [request for request, _ in self.datasets.failing_requests(requests)]
        for request in requests:
            if task_class(request.task).takes_lists and request not in unreadable:
                searcher.search_results(self.datasets.dataset_for(request, embedder).whole())

    def _measure_requests(self, empty: Result, embedder: Embedder, requests: Sequence[Request], folder: Path) -> Result:
        options = self.options
        encoder = capability(embedder, ModelEmbedder)
        findings = preflight(embedder) if options.checks_model else None
        for finding in findings or ():
            self.progress.warning(finding)
        if encoder and options.owns_process and len(self.targets.models) == 1:  # no tensors are there but the model's
            encoder.watch_memory()
        before = encoder.counts() if encoder else None
        records, left_out = self._evaluate(embedder, requests, folder)
        towers = {} if encoder is None else tower_costs(encoder, before)
        if findings is not None and any(tower.n_encoded for tower in towers.values()):
            changes = change_during_run(embedder, findings)
            for change in changes:
                self.progress.warning(change)
            findings = [*findings, *changes]
        if encoder is not None:
            encoder.store_findings(findings)
        is_whole = not options.run.may_be_part and options.prompts is None
        return replace(
            empty,
            created=now(),
            evaluations=[record for _, record in records],
            preflight=findings,
            left_out=self._left_out if embedder.dataset is None else left_out,
            towers=towers,
            average=average_of(
                options.suite,
                self._suite,
                {request.name: record for request, record in records},
                published_for=embedder.info if is_whole else None,
            ),
        )

    def _evaluate(
        self, embedder: Embedder, requests: Sequence[Request], folder: Path
    ) -> tuple[list[tuple[Request, EvaluationRecord]], dict[str, str]]:
        """Return the requests with their records, which hold errors too, and the reasons of left-out tasks."""
        records: list[tuple[Request, EvaluationRecord]] = []
        left_out: dict[str, str] = {}
        names = [evaluation_name(request.task, slug(request.data or "own")) for request in requests]
        stems = distinct_names(names, ignores_case=True)
        for request, stem in zip(requests, stems, strict=True):
            task = task_class(request.task)
            has_vectors = embedder.dataset is not None and can_use_vectors(task, embedder.dataset)
            if request.may_be_left_out and not has_vectors:
                left_out[request.task] = "needs the model itself"
                continue
            if request.is_optional and not supports_similarity(task, embedder):
                left_out[request.task] = OF_UNIT_VECTORS
                continue
            record = measure(request, embedder, self.datasets, folder, stem=stem, options=self.options.run)
            if request.may_be_left_out and record.status == "unavailable":
                left_out[request.task] = record.reason or ""
                continue
            if self.options.checks_model and record.status == "ok" and current_rounds().n == 1:
                tries = tried_texts(request, embedder, self.datasets, self.options.run.seed)
                record = replace(record, tries=tries)
            self.progress.evaluation(record)
            records.append((request, record))
        if not records:
            reasons = "; ".join(f"{task}: {reason}" for task, reason in left_out.items())
            raise Unavailable(f"{embedder.info.id} has no samples that a task can use ({reasons})")
        if left_out:
            self.progress.left_out(left_out)
        return records, left_out

    def covers_requests(self, run: Run) -> bool:
        """Return whether all requests were measured, except optional ones whose data only a person can get."""
        by_hand = {need.entry.name for need in self.needs if need.step is not None}
        excused = set()
        for request in chain.from_iterable(self._requests.values()):
            if request.is_optional and (request.data or "").lower() in by_hand:
                excused.add((request.task, request.data))
        missing = [record for record in run.result.evaluations if record.status != "ok"]
        return all((record.task, record.dataset.id) in excused for record in missing)

    def report(self, run: Run) -> None:
        """Write the report of one run into its folder, unless it is there already."""
        if self.options.writes_reports and not is_there(run.folder / REPORT):
            report_writer()([run], run.folder / REPORT)

    def try_report(self, run: Run) -> None:
        """Write the report of one run, or report the failure and go on."""
        with self._report_failures(run.folder / REPORT):
            self.report(run)

    def try_report_all(self, runs: Sequence[Run]) -> None:
        """Write a joint report of several runs next to their folders, or report the failure."""
        if self.options.writes_reports and len(runs) > 1:
            with self._report_failures(self.targets.out / REPORT):
                report_writer()(runs, self.targets.out / REPORT)

    @contextmanager
    def _report_failures(self, report: Path) -> Iterator[None]:
        try:
            yield
        except MachineError:
            raise
        except FOREIGN as error:  # a bug in the section of a plug-in must not cost the other models
            if self.options.run.raise_bugs:
                raise
            self.is_complete = False
            reason = str(error) if isinstance(error, ClipbenchError) else bug_summary(error, "a section of the report")
            self.progress.report_failed(report, reason)

    def try_log(self, target: Target, run: Run) -> None:
        """Log a finished run to the trackers, a series as one tracker run. Failures are reported, not raised."""
        is_series = self.targets.are_series
        name, folder = (self.targets.out.name, self.targets.out) if is_series else (target.name, run.folder)
        self._trackers.run(run, TrackerTarget(name=name, folder=folder, config=run_config(run)))
        if not is_series:
            self._trackers.close()

    def end_log(self) -> None:
        """End the trackers' run of a series, with its joint report."""
        self._trackers.close(self.targets.out / REPORT)


SHARE_OF_MEMORY = 0.25
"""Part of the device's free memory that the weights of models may take that are loaded together."""
MOST_MODELS = 16
"""The most models that are loaded together. More would hardly save more decoding."""


class EmbedderPrefetcher:
    """Loads the embedders of the next models together, and encodes the images that several of them need on one decode.

    Args:
        load: returns the embedder of a model.
        datasets: the data sets of the session.
        is_lenient: unreadable images are skipped.
    """

    def __init__(self, load: Callable[[Target], Embedder], datasets: Datasets, *, is_lenient: bool) -> None:
        self._load, self._datasets, self._is_lenient = load, datasets, is_lenient
        self._loaded: dict[str, Embedder] = {}

    def embedder(self, target: Target, next_targets: Sequence[Target], requests: Sequence[Request]) -> Embedder:
        """Return the embedder of a model. Some of the next models are loaded with it, and encode the same images.

        Raises:
            ClipbenchError: the model cannot be loaded.
            MachineError: the store cannot be written to, or a process was killed.
        """
        if target.reference not in self._loaded:
            self._loaded = {}  # before others are loaded
            self._loaded[target.reference] = self._load(target)
            self._load_next(next_targets)
            self._encode(requests)
        return self._loaded.pop(target.reference)

    def _load_next(self, targets: Sequence[Target]) -> None:
        """Load the models that follow, as long as one more of the largest so far would fit into memory."""
        (first,) = self._loaded.values()
        room = SHARE_OF_MEMORY * _free_memory(first.info.device) / current_rounds().n_here
        for target in targets:
            infos = [embedder.info for embedder in self._loaded.values()]
            # Bytes of the weights, 0 where unknown.
            sizes = []
            for info in infos:
                n_bytes = 2 if info.precision in ("bf16", "fp16") else 4
                sizes.append((info.n_parameters or 0) * n_bytes)
            if len(sizes) >= MOST_MODELS or not all(sizes) or sum(sizes) + max(sizes) > room:
                return
            if target.embedder is not None or target.brings_samples or has_results(target.folder):
                continue
            try:
                self._loaded[target.reference] = self._load(target)
            except ClipbenchError:  # said when its turn has come
                continue

    def _encode(self, requests: Sequence[Request]) -> None:
        """Encode the images that tasks need first, in the batches in which they would encode them."""
        if len(self._loaded) < 2:
            return
        unforeseen = set[str | None]()
        for request in requests:
            if request.data in unforeseen:
                continue
            try:
                dataset = self._datasets.get(request)
                images = build_task(request).first_images(dataset.whole())
            except FOREIGN:  # recorded by the evaluation
                continue
            if images is None:
                unforeseen.add(request.data)  # its batches are not known, and a later task finds them in the store
            else:
                encode_together([*self._loaded.values()], dataset.images if self._is_lenient else images)


def _free_memory(device: str | None) -> int:
    """Return the free bytes of a device, 0 where unknown."""
    if device is not None and device.startswith("cuda"):
        import torch

        return torch.cuda.mem_get_info(device)[0]
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    available = next((1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable")), 0)
    return min(available, memory_bytes())  # a container may have less than its machine
