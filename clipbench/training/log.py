"""The log of a training, a line of JSON for each event."""

import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from clipbench.errors import ClipbenchError, MachineError, UsageError, error_summary
from clipbench.files import write_atomic
from clipbench.untrusted.reading import decode_json, is_file, read_bytes, read_text, reading

if TYPE_CHECKING:
    from clipbench.training.scalars import Number

LOG_FILE = "log.jsonl"
RESUME_ADVICE = "fix that, and --resume continues from the last checkpoint"


class Log:
    """A log file with a JSON object per line, where ``event`` is ``start``, ``resume``, ``step``, ``evaluation`` or
    ``stop``.

    When a training is resumed, the events after its last checkpoint are dropped, as they will come again.

    Args:
        out: folder of the training, or None for a process that does not write, as another one does.
        resumed_at: step of the checkpoint that the training continues from, or None for a new log.

    Raises:
        MachineError: it cannot be written.
    """

    def __init__(self, out: Path | None, *, resumed_at: int | None = None) -> None:
        self._file = None
        if out is not None:
            out.mkdir(parents=True, exist_ok=True)
            lines = [] if resumed_at is None else _lines(out / LOG_FILE)
            kept_lines = [line for line in lines if 0 <= _step(line) <= (resumed_at or 0)]
            write_atomic({out / LOG_FILE: "".join(f"{line}\n" for line in kept_lines).encode()})
            self._file = (out / LOG_FILE).open("a", encoding="utf-8")

    def write(self, event: str, step: int, values: Mapping[str, object]) -> None:
        """Add a line, and flush it for those who read along."""
        if self._file is None:
            return
        line = log_line(event, step, values)
        try:
            self._file.write(line)
            self._file.flush()
        except OSError as error:
            raise MachineError(f"cannot write {self._file.name} ({error_summary(error)}): {RESUME_ADVICE}") from error

    def close(self) -> None:
        if self._file is not None:
            with suppress(OSError):  # what a full disk did not take, which was said, is not taken now either
                self._file.close()


def log_line(event: str, step: "Number", values: Mapping[str, object]) -> str:
    """Return an event as a line of a log.

    Example:
        >>> log_line("evaluation", 250, {"gap": 0.75})
        '{"event": "evaluation", "step": 250, "gap": 0.75}\\n'
    """
    return json.dumps({"event": event, "step": step, **values}, allow_nan=False) + "\n"


def read_log(path: str | Path) -> list[dict[str, object]]:
    """Return the events of a log, in order, without a last line that was cut off."""
    lines = read_text(path, ClipbenchError, name=f"the log {path}").splitlines()
    return [decode_json(line) for line in lines if _step(line) >= 0]


def start_in(out: Path) -> dict[str, object] | None:
    """Return the event with which the log in a training's folder begins, or None if there is none."""
    lines = _lines(out / LOG_FILE)
    event = decode_json(lines[0]) if lines and _step(lines[0]) == 0 else {}
    return event if event.get("event") == "start" else None


def has_steps(out: Path) -> bool:
    """Return whether the log in a training's folder says that a step was taken."""
    return any(_step(line) > 0 for line in _lines(out / LOG_FILE))


def _lines(path: Path) -> list[str]:
    with reading(path, UsageError):
        return read_bytes(path).decode(errors="replace").splitlines() if is_file(path) else []


def _step(line: str) -> int:
    """Return the step of a line, or -1 for a line that was cut off when the process was killed."""
    try:
        return int(decode_json(line)["step"])
    except (ValueError, KeyError, TypeError, OverflowError):
        return -1
