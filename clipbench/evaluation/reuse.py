"""Finished runs that need not be made again: results are never overwritten, and a series goes on where it was."""

import json
from collections.abc import Sequence
from pathlib import Path

from clipbench.errors import UsageError
from clipbench.evaluation.datasets import Datasets
from clipbench.evaluation.evaluate import KEPT_ROWS, RunOptions, describe
from clipbench.evaluation.plan import Request
from clipbench.models.protocol import Embedder
from clipbench.results.record import EvaluationRecord
from clipbench.results.run import Run, read_run


def finished_run(
    embedder: Embedder,
    requests: Sequence[Request],
    folder: Path,
    *,
    options: RunOptions,
    datasets: Datasets,
) -> Run | None:
    """Return the run in a folder if it is the one that is asked for, None where the folder holds no finished run.

    It is that one when model fingerprint, seed, tasks with their versions and parameters, and data are the same, and
    it has all arrays if all are to be kept.

    Raises:
        UsageError: the folder holds another run; the message says in what it differs.
    """
    if not (folder / "result.json").is_file():
        return None
    run = read_run(folder)
    difference = _difference(run, embedder, requests, options, datasets)
    if difference is not None:
        raise UsageError(
            f"{folder} holds a finished run of {difference}: results are never overwritten, name another --out or move"
            " the folder away"
        )
    return run


def _difference(
    run: Run,
    embedder: Embedder,
    requests: Sequence[Request],
    options: RunOptions,
    datasets: Datasets,
) -> str | None:
    """Return what a run was made of that is not asked for."""
    if run.result.model.get("fingerprint") != embedder.info.fingerprint:
        return "other weights, or at another precision"
    if run.result.seed != options.seed:
        return f"seed {run.result.seed}"
    if options.keep_arrays and _has_sampled_arrays(run):
        return "a sample of the arrays, made without --keep-arrays"
    if len(run.result.evaluations) != len(requests):
        return f"other tasks ({', '.join(record.name for record in run.result.evaluations)})"
    for request, record in zip(requests, run.result.evaluations, strict=True):
        if not _is_same(describe(request, embedder, datasets, options), record):
            return f"another {request.task}: other parameters, version or data ({record.name})"
    return None


def _has_sampled_arrays(run: Run) -> bool:
    records = run.result.evaluations
    are_many = any("arrays" in each.files and each.dataset.n_samples > KEPT_ROWS for each in records)
    return are_many and "--keep-arrays" not in run.result.command


def _is_same(asked: EvaluationRecord, made: EvaluationRecord) -> bool:
    if (asked.task, asked.task_version) != (made.task, made.task_version):
        return False
    if json.loads(json.dumps(asked.params)) != made.params:
        return False
    fingerprints = {asked.dataset.fingerprint, made.dataset.fingerprint}
    return len(fingerprints - {None}) < 2
