"""Read finished runs for others to print: what a result holds is checked before a number of it is written anywhere."""

import math
from collections.abc import Iterator
from pathlib import Path

from clipbench.errors import ClipbenchError, UsageError
from clipbench.result import EvaluationRecord, Metric, Run, read_run


def read_sound_run(path: Path) -> Run:
    """Return a run whose numbers are numbers.

    Raises:
        ClipbenchError: there is no run, it is damaged or newer, or something in the place of a number is none.
        UsageError: it is the folder of several runs.
    """
    inside = [] if (path / "result.json").is_file() else sorted(path.glob("*/result.json"))
    if inside:
        raise UsageError(
            f"{path} holds {len(inside)} run{'s' * (len(inside) > 1)}: name one, such as {inside[0].parent}"
        )
    run = read_run(path)
    for record in run.result.evaluations:
        for name, metric in (*record.metrics.items(), *record.controls.items()):
            for fault in _faults(metric):
                raise ClipbenchError(f"run {run.folder}: {record.name} {name} has {fault}: make the run again")
    return run


def origin(run: Run) -> str:
    """Return which weights a run is of, and how and when it was made, in one line."""
    result = run.result
    facts = [f"fingerprint {result.model.get('fingerprint')}", f"seed {result.seed}", result.created[:10]]
    return ", ".join([*filter(None, facts), f"clipbench {result.clipbench_version}"])


def why_missing(record: EvaluationRecord) -> str:
    """Return why an evaluation has no numbers, such as ``unavailable: no data in data/coco``."""
    return f"{record.status}: {record.reason or 'no reason was recorded'}"


def _faults(metric: Metric) -> Iterator[str]:
    numbers = {"value": metric.value, "low": metric.low, "high": metric.high, "chance": metric.chance}
    for name, value in {**numbers, "n": metric.n, "confidence": metric.confidence}.items():
        is_left_out = value is None and name in numbers
        if not is_left_out and not (isinstance(value, int | float) and math.isfinite(value)):
            yield f"{name} {value!r}, expected a number"
