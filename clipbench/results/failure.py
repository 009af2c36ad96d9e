"""``failed.json``: why a model could not be measured, in the folder in which its run would be."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from clipbench import __version__
from clipbench.errors import ClipbenchError
from clipbench.files import write_atomic, write_errors
from clipbench.results.record import SCHEMA_VERSION, strict_json
from clipbench.untrusted.reading import is_there, read_json
from clipbench.untrusted.schema import SchemaError, parse_record

FAILED = "failed.json"


@dataclass(frozen=True, kw_only=True)
class FailedRun:
    """A model that could not be measured."""

    schema_version: str = SCHEMA_VERSION
    clipbench_version: str
    created: str
    """Time of the failure: UTC, ISO 8601."""
    command: list[str]
    model: str
    """The model's reference."""
    reason: str
    """The line that the command printed."""


def write_failure(folder: Path, *, model: str, command: Sequence[str], reason: str) -> None:
    """Write ``failed.json`` into a folder, atomically.

    Raises:
        MachineError: it, or the folder, cannot be written.
    """
    failure = FailedRun(
        clipbench_version=__version__,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        command=list(command),
        model=model,
        reason=reason,
    )
    content = f"{strict_json(failure, indent=1)}\n".encode(errors="backslashreplace")
    with write_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    write_atomic({folder / FAILED: content})


def failure_reason(folder: Path) -> str:
    """Return why the model of a folder could not be measured, empty if the folder does not say so.

    Raises:
        ClipbenchError: the file is damaged.
    """
    path = folder / FAILED
    if not is_there(path):
        return ""
    try:
        return parse_record(FailedRun, read_json(path, ClipbenchError)).reason
    except SchemaError as error:
        raise ClipbenchError(f"{path} is damaged ({error}): make the run again") from error
