"""Read finished runs for others to print, and say what they are of and what they lack."""

from pathlib import Path

from clipbench.errors import UsageError
from clipbench.results.record import EvaluationRecord
from clipbench.results.run import Run, read_run


def read_one_run(path: Path) -> Run:
    """Return the run in a folder.

    Raises:
        ClipbenchError: there is no run, or it is damaged or newer.
        UsageError: it is the folder of several runs.
    """
    inside = [] if (path / "result.json").is_file() else sorted(path.glob("*/result.json"))
    if inside:
        raise UsageError(
            f"{path} holds {len(inside)} run{'s' * (len(inside) > 1)}: name one, such as {inside[0].parent}"
        )
    return read_run(path)


def origin(run: Run) -> str:
    """Return which weights a run is of, and how and when it was made, in one line."""
    result = run.result
    facts = [f"fingerprint {result.model.get('fingerprint')}", f"seed {result.seed}", result.created[:10]]
    return ", ".join([*filter(None, facts), f"clipbench {result.clipbench_version}"])


def why_missing(record: EvaluationRecord) -> str:
    """Return why an evaluation has no numbers, such as ``unavailable: no data in data/coco``."""
    return f"{record.status}: {record.reason or 'no reason was recorded'}"
