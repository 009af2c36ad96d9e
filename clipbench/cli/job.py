"""What one command line of ``clipbench run`` asks for, and doing it."""

from collections.abc import Callable, Sequence
from typing import Any

import click

from clipbench.cli.summary import Printer
from clipbench.cli.targets import Target, Targets
from clipbench.data import DataOptions, read_prompts
from clipbench.data.images import ImageRef
from clipbench.errors import ClipbenchError, Unavailable
from clipbench.evaluation.datasets import Datasets
from clipbench.evaluation.evaluate import RunOptions
from clipbench.evaluation.plan import Request, plan, with_prompts
from clipbench.evaluation.reuse import finished_run
from clipbench.evaluation.runner import run_model
from clipbench.models import brings_samples, load_model
from clipbench.models.embedder import StoreEmbedder
from clipbench.models.protocol import Embedder, LoadOptions
from clipbench.models.store import default_root
from clipbench.plugins import report_writer
from clipbench.results.run import Run

REPORT = "report.html"


class Job:
    """What one command line asks for, checked whole before any work starts."""

    def __init__(self, given: dict[str, Any], printer: Printer, targets: Targets) -> None:
        self.given = given
        self.printer = printer
        self.targets = targets
        self.is_complete = True
        self.n_done = 0
        self.options = _run_options(given)
        self.load_options = _load_options(given)
        self.datasets = Datasets(self.options.data, seed=self.options.seed, limit=self.options.limit)
        self._digests: dict[ImageRef, bytes] = {}
        kinds = {brings_samples(target.reference) for target in targets.each} or {False}
        self._requests = {own_samples: self._planned(own_samples=own_samples) for own_samples in kinds}
        if False in kinds:
            self.datasets.check(self._requests[False])

    def run_all(self) -> list[Run]:
        """Return the runs that could be made; when there is none, the first failure is the command's."""
        runs: list[Run] = []
        first_failure: ClipbenchError | None = None
        for number, target in enumerate(self.targets.each):
            self.printer.model(target.name, number, len(self.targets.each))
            try:
                run = self.measure(target)
            except ClipbenchError as error:
                first_failure = first_failure or error
                self.is_complete = False
                others = self.data_problems(target.reference) if isinstance(error, Unavailable) else []
                self.printer.model_failed(target.name, error, others)
            else:
                self.report(run)
                runs.append(run)
        if first_failure is not None and not runs:
            raise first_failure
        return runs

    def measure(self, target: Target, *, check_read: Callable[[], None] = lambda: None) -> Run:
        """Return the run of one model; of one that is finished already, that one.

        Args:
            check_read: called when the model has been read; what it raises ends it.
        """
        embedder = self._embedder(target.reference)
        check_read()
        requests = self._requests[brings_samples(target.reference)]
        run = None
        if target.may_be_finished:
            run = finished_run(embedder, requests, target.folder, options=self.options, datasets=self.datasets)
        if run is not None:
            self.printer.reused(target.name, run)
        else:
            run = run_model(
                embedder,
                requests,
                target.folder,
                options=self.options,
                datasets=self.datasets,
                say=self.printer.evaluation,
            )
        self.n_done += 1
        return run

    def report(self, run: Run) -> None:
        """Write the report of one run into its folder, unless it is there already."""
        if not (self.given["no_report"] or (run.folder / REPORT).exists()):
            report_writer()([run], run.folder / REPORT)

    def report_all(self, runs: Sequence[Run]) -> None:
        """Write a joint report of several runs beside their folders."""
        if len(runs) > 1 and not self.given["no_report"]:
            report_writer()(runs, self.targets.out / REPORT)

    def interrupted(self) -> str:
        """Return what to say when the command was stopped on its way."""
        said = f"interrupted: {self.n_done} of {len(self.targets.each)} models are finished, in {self.targets.out}"
        if not self.targets.are_series:
            return f"{said}; what was encoded is stored"
        return f"{said}; the same command with --out {self.targets.out} goes on from there"

    def data_problems(self, reference: str) -> list[str]:
        """Return a line for each data set that is not there or is malformed, with the tasks that ask for it."""
        problems = self.datasets.problems(self._requests[brings_samples(reference)])
        return [f"{', '.join(names)}: {error}" for error, names in problems.items()]

    def _planned(self, *, own_samples: bool) -> list[Request]:
        requests = plan(self.given["tasks"] or ["all"], self.given["suite"], own_samples=own_samples)
        prompts = self.given["prompts"]
        return requests if prompts is None else with_prompts(requests, read_prompts(prompts))

    def _embedder(self, reference: str) -> Embedder:
        model = load_model(reference, self.load_options)
        if isinstance(model, Embedder):
            return model
        return StoreEmbedder(
            model,
            default_root(),
            batch_size=self.load_options.batch_size,
            workers=self.given["workers"],
            show_progress=self.printer.shows_progress,
            digests=self._digests,
        )


def _run_options(given: dict[str, Any]) -> RunOptions:
    return RunOptions(
        seed=given["seed"],
        limit=given["limit"],
        skip_bad_images=given["on_bad_image"] == "skip",
        keep_arrays=given["keep_arrays"],
        n_thumbnails=given["thumbnails"],
        raise_bugs=given["traceback"],
        data=DataOptions(
            data_root=given["data_root"],
            allow_partial=given["allow_partial"],
            options=given["data_option"],
        ),
        command=click.get_current_context().obj,
    )


def _load_options(given: dict[str, Any]) -> LoadOptions:
    return LoadOptions(
        device=given["device"],
        precision=given["precision"],
        batch_size=given["batch_size"],
        arch=given["arch"],
        options=given["model_option"],
    )
