"""Finished runs that need not be made again: results are never overwritten, and a series goes on where it was."""

from collections.abc import Callable, Sequence
from pathlib import Path

from clipbench.errors import UsageError
from clipbench.evaluation.datasets import Datasets
from clipbench.evaluation.evaluate import RunOptions, describe
from clipbench.evaluation.plan import Request
from clipbench.evaluation.targets import RESULT
from clipbench.models.protocol import Embedder
from clipbench.results.matching import match
from clipbench.results.run import Run, read_run
from clipbench.untrusted.reading import is_file


def finished_run(
    embedder: Embedder,
    requests: Sequence[Request],
    folder: Path,
    *,
    options: RunOptions,
    datasets: Datasets,
    note: Callable[[str], None] = lambda _: None,
) -> Run | None:
    """Return the run in a folder if it is the one that is asked for, None where the folder holds no finished run.

    It is that one when model fingerprint and seed are equal, the evaluations are the same (``results.matching``), and it
    has all arrays if all are to be kept.

    Args:
        note: is called with what differs though the samples are the same, such as the data's revision.

    Raises:
        UsageError: the folder holds another run; the message says in what it differs.
    """
    if not is_file(folder / RESULT):
        return None
    run = read_run(folder)
    difference = _difference(run, embedder, requests, options, datasets, note)
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
    note: Callable[[str], None],
) -> str | None:
    """Return what a run was made of that is not asked for."""
    if run.result.model.get("fingerprint") != embedder.info.fingerprint:
        return "other weights, or at another precision"
    if run.result.seed != options.seed:
        return f"seed {run.result.seed}"
    if options.keep_arrays and any("arrays" in each.files and not each.has_all_rows for each in run.result.evaluations):
        return "a sample of the arrays, made without --keep-arrays"
    left_out = run.result.left_out
    requests = [each for each in requests if not (each.may_be_left_out and each.task in left_out)]
    if len(run.result.evaluations) != len(requests):
        return f"other tasks ({', '.join(record.name for record in run.result.evaluations)})"
    for request, record in zip(requests, run.result.evaluations, strict=True):
        same = match(record, describe(request, embedder, datasets, options))
        if not same.is_same:
            return f"{record.name} with other {same.names} than asked for now"
        for each in same.notes:
            note(f"{record.name}: {each}")
    return None
