"""From models and requests to run folders: the one place where data, vectors, tasks and results meet."""

import os
import platform
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from clipbench import __version__
from clipbench.data import DataOptions, Dataset, depends_on_task, limited, load_data
from clipbench.errors import ClipbenchError, UsageError
from clipbench.evaluation.evaluate import EvaluateOptions, evaluate
from clipbench.evaluation.locks import alone_in
from clipbench.evaluation.plan import Request
from clipbench.models.embedder import StoreEmbedder
from clipbench.models.embeddings import EmbeddingsFile
from clipbench.models.protocol import ModelInfo
from clipbench.results.record import EvaluationRecord, Result
from clipbench.results.run import Run, write_result
from clipbench.seeding import generator

OUR_FILES = {"samples", "arrays", "thumbs", ".result.json.half"}
"""What an interrupted run may have left in its folder."""


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """What holds for every evaluation of a run."""

    limit: int | None = None
    """Score a seeded, stratified subset of this many images; said in the result."""
    evaluate: EvaluateOptions = field(default_factory=EvaluateOptions)
    data: DataOptions = field(default_factory=DataOptions)
    command: Sequence[str] = ()


class Datasets:
    """Each data set that a run asks for, loaded once; what went wrong is kept too."""

    def __init__(self, options: RunOptions) -> None:
        self._options = options
        self._loaded: dict[tuple[str, ...], Dataset | ClipbenchError] = {}

    def get(self, request: Request) -> Dataset:
        """Return the data of a request, cut down to ``limit``; raise what loading it raised."""
        if request.data is None:
            raise UsageError(f"'{request.task}' has no data in this suite: name some, {request.task}@DATA")
        task = request.task if depends_on_task(request.data, request.task) else ""
        key = (request.data, repr(request.data_options), task)
        if key not in self._loaded:
            self._loaded[key] = self._load(request, request.data)
        found = self._loaded[key]
        if isinstance(found, ClipbenchError):
            raise found
        return found

    def check(self, requests: Sequence[Request]) -> None:
        """Load everything before any work.

        Raises:
            UsageError: a reference or an option is wrong, so nothing is worth starting before it is mended. Data
                that are malformed or not there are told later, by the evaluation that needs them.
        """
        for request in requests:
            try:
                self.get(request)
            except UsageError:
                raise
            except ClipbenchError:
                continue

    def _load(self, request: Request, reference: str) -> Dataset | ClipbenchError:
        every = self._options.data
        options = replace(every, task=request.task, options={**every.options, **request.data_options})
        try:
            return self.cut(load_data(reference, options))
        except ClipbenchError as error:
            return error

    def cut(self, dataset: Dataset) -> Dataset:
        """Return the subset that ``limit`` asks for, drawn with the run's seed."""
        limit = self._options.limit
        if limit is None or limit >= len(dataset):
            return dataset
        return limited(dataset, limit, generator(self._options.evaluate.seed, "limit", dataset.id))


def check_folder(folder: Path) -> None:
    """Raise UsageError when a run cannot be written there without touching what is not its own."""
    if folder.is_file():
        raise UsageError(f"--out {folder} is a file: expected a new folder")
    if (folder / "result.json").exists():
        raise UsageError(f"--out {folder} already holds a run: results are never overwritten, name another folder")
    foreign = sorted({entry.name for entry in folder.iterdir()} - OUR_FILES) if folder.is_dir() else []
    if foreign:
        raise UsageError(f"--out {folder} holds other files ({foreign[0]}): expected a new or empty folder")


def run_model(
    embedder: StoreEmbedder | EmbeddingsFile,
    requests: Sequence[Request],
    folder: Path,
    *,
    options: RunOptions,
    datasets: Datasets,
    say: Callable[[EvaluationRecord], None] = lambda record: None,
) -> Run:
    """Make every evaluation with one model and write the run folder, the result last.

    What goes wrong with one evaluation is recorded in it, and the others go on.

    Args:
        say: called with each evaluation as it ends.

    Raises:
        UsageError: another process writes to the folder, or has finished a run in it meanwhile.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with alone_in(folder):
        check_folder(folder)
        records: list[EvaluationRecord] = []
        for number, request in enumerate(requests):
            stem = _stem(request, number, requests)
            records.append(evaluate(request, embedder, datasets, folder, stem=stem, options=options.evaluate))
            say(records[-1])
        result = _result(embedder.info, records, options)
        write_result(result, folder)
    return Run(folder, result)


def _result(info: ModelInfo, records: list[EvaluationRecord], options: RunOptions) -> Result:
    return Result(
        clipbench_version=__version__,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        command=list(options.command),
        seed=options.evaluate.seed,
        environment=environment(info),
        model={name: value for name, value in asdict(info).items() if name not in ("device", "precision")},
        evaluations=records,
    )


def environment(info: ModelInfo) -> dict[str, Any]:
    """Return the versions, the machine and the device that the numbers are made with."""
    found: dict[str, Any] = {
        "device": info.device,
        "precision": info.precision,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpus": os.cpu_count(),
    }
    for package in ("torch", "open-clip-torch", "transformers", "numpy", "pillow", "scikit-learn"):
        try:
            found[package.removesuffix("-torch").replace("-", "_")] = version(package)
        except PackageNotFoundError:
            continue
    return found


def slug(text: str) -> str:
    """Return a text as a safe file name.

    Example:
        >>> slug("open_clip:ViT-B-32/openai")
        'open_clip-ViT-B-32-openai'
    """
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-.")[-80:] or "unnamed"


def _stem(request: Request, number: int, requests: Sequence[Request]) -> str:
    """Return ``task@data`` as a file name that no other request of the run has."""
    names = [f"{other.task}@{slug(other.data or 'own')}" for other in requests]
    return names[number] if names.count(names[number]) == 1 else f"{names[number]}-{number + 1}"
