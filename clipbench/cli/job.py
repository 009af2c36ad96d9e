"""What one command line of ``clipbench run`` asks for, and doing it."""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import click

from clipbench.cli.summary import Printer
from clipbench.data import DataOptions, read_prompts
from clipbench.embedder import StoreEmbedder
from clipbench.errors import ClipbenchError, Unavailable
from clipbench.evaluate import EvaluateOptions
from clipbench.model import LoadOptions
from clipbench.models import load_model
from clipbench.models.embeddings import EmbeddingsFile
from clipbench.plan import Request, plan, with_prompts
from clipbench.plugins import report_writer
from clipbench.result import Run
from clipbench.runner import Datasets, RunOptions, check_folder, run_model, slug
from clipbench.store import default_root


class Job:
    """What one command line asks for, checked whole before any work starts."""

    def __init__(self, given: dict[str, Any], printer: Printer) -> None:
        self.given = given
        self.printer = printer
        self.references: list[str] = list(dict.fromkeys(given["models"]))
        self.is_complete = True
        self.options = _run_options(given)
        self.load_options = _load_options(given)
        self.requests = {reference: self._requests(reference) for reference in self.references}
        self.out, self.folders = _folders(given["out"], self.references)
        self.datasets = Datasets(self.options)
        for reference, requests in self.requests.items():
            if not _brings_samples(reference):
                self.datasets.check(requests)

    def run_all(self) -> list[Run]:
        """Return the runs that could be made; with one model, its failure is the command's."""
        runs: list[Run] = []
        first_failure: ClipbenchError | None = None
        for reference in self.references:
            try:
                runs.append(self._run(reference))
            except ClipbenchError as error:
                first_failure = first_failure or error
                self.is_complete = False
                others = self.data_problems(reference) if isinstance(error, Unavailable) else []
                self.printer.model_failed(reference, error, others)
        if first_failure is not None and not runs:
            raise first_failure
        return runs

    def report(self, runs: Sequence[Run]) -> None:
        """Write a report into each run folder, and a joint one beside several."""
        write = report_writer()
        for run in runs:
            write([run], run.folder / "report.html")
        if len(runs) > 1:
            write(runs, self.out / "report.html")

    def data_problems(self, reference: str) -> list[str]:
        """Return a line for each data set that is not there or is malformed, with the tasks that ask for it."""
        tasks: dict[str, list[str]] = {}
        for request in self.requests[reference]:
            try:
                self.datasets.get(request)
            except ClipbenchError as error:
                tasks.setdefault(str(error), []).append(request.task)
        return [f"{', '.join(names)}: {error}" for error, names in tasks.items()]

    def _requests(self, reference: str) -> list[Request]:
        requests = plan(self.given["tasks"] or ["all"], self.given["suite"], own_samples=_brings_samples(reference))
        prompts = self.given["prompts"]
        return requests if prompts is None else with_prompts(requests, read_prompts(prompts))

    def _run(self, reference: str) -> Run:
        self.printer.model(reference)
        embedder = _embedder(reference, self.load_options, self.given, show_progress=self.printer.shows_progress)
        return run_model(
            embedder,
            self.requests[reference],
            self.folders[reference],
            options=self.options,
            datasets=self.datasets,
            say=self.printer.evaluation,
        )


def _embedder(
    reference: str, options: LoadOptions, given: dict[str, Any], *, show_progress: bool
) -> StoreEmbedder | EmbeddingsFile:
    model = load_model(reference, options)
    if isinstance(model, EmbeddingsFile):
        return model
    return StoreEmbedder(
        model, default_root(), batch_size=options.batch_size, workers=given["workers"], show_progress=show_progress
    )


def _brings_samples(reference: str) -> bool:
    return reference.lower().startswith("embeddings:")


def _run_options(given: dict[str, Any]) -> RunOptions:
    evaluate = EvaluateOptions(
        seed=given["seed"],
        skip_bad_images=given["on_bad_image"] == "skip",
        keep_arrays=given["keep_arrays"],
        n_thumbnails=given["thumbnails"],
        raise_bugs=given["traceback"],
    )
    data = DataOptions(
        data_root=given["data_root"],
        allow_partial=given["allow_partial"],
        options=given["data_option"],
    )
    return RunOptions(
        limit=given["limit"],
        evaluate=evaluate,
        data=data,
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


def _folders(out: Path | None, references: list[str]) -> tuple[Path, dict[str, Path]]:
    """Return the parent (or only) folder and the run folder of each model, all free to be written."""
    stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
    if len(references) == 1:
        folder = out or Path("runs") / f"{stamp}-{slug(references[0])}"
        folders = {references[0]: folder}
    else:
        folder = out or Path("runs") / stamp
        names = [slug(reference) for reference in references]
        folders = {
            reference: folder / (name if names.count(name) == 1 else f"{name}-{number + 1}")
            for number, (reference, name) in enumerate(zip(references, names, strict=True))
        }
    for each in folders.values():
        check_folder(each)
    return folder, folders
