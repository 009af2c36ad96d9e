"""All evaluations of one model, written into a run folder."""

import os
import platform
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from clipbench import __version__
from clipbench.errors import UsageError
from clipbench.evaluation.datasets import Datasets
from clipbench.evaluation.evaluate import RunOptions, evaluate
from clipbench.evaluation.locks import alone_in
from clipbench.evaluation.plan import Request
from clipbench.models.protocol import Embedder, ModelInfo
from clipbench.results.record import EvaluationRecord, Result
from clipbench.results.run import Run, write_result

OUR_FILES = {"samples", "arrays", "thumbs", ".result.json.half"}
"""What an interrupted run may have left in its folder."""


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
    embedder: Embedder,
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
            records.append(evaluate(request, embedder, datasets, folder, stem=stem, options=options))
            say(records[-1])
        result = _result(embedder.info, records, options)
        write_result(result, folder)
    return Run(folder, result)


def _result(info: ModelInfo, records: list[EvaluationRecord], options: RunOptions) -> Result:
    return Result(
        clipbench_version=__version__,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        command=list(options.command),
        seed=options.seed,
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
