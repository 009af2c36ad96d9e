"""What a run says as it goes: a file with a line of JSON for each event, and a progress bar."""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from clipbench.files import write_atomic

if TYPE_CHECKING:
    from clipbench.training.scalars import Number

FILE = "log.jsonl"


class Log:
    """The history of a run, a JSON object a line: ``event`` is ``start``, ``step``, ``evaluation``, ... ``end``.

    Of a run that is resumed, what came after its last checkpoint is dropped, as it will come again.

    Args:
        out: the run's folder; None for a process that leaves writing to another.
        resumed_at: step of the checkpoint that the run goes on from.
    """

    def __init__(self, out: Path | None, *, resumed_at: int | None = None) -> None:
        self._file = None
        if out is not None:
            out.mkdir(parents=True, exist_ok=True)
            if resumed_at is not None and (out / FILE).is_file():
                _cut(out / FILE, resumed_at)
            self._file = (out / FILE).open("a", encoding="utf-8")

    def write(self, event: str, step: int, values: Mapping[str, object]) -> None:
        """Add a line, for others to read at once."""
        if self._file is None:
            return
        self._file.write(log_line(event, step, values))
        self._file.flush()

    def close(self) -> None:
        if self._file is not None:
            self._file.close()


def log_line(event: str, step: "Number", values: Mapping[str, object]) -> str:
    """Return an event as a line of a log.

    Example:
        >>> log_line("evaluation", 250, {"gap": 0.75})
        '{"event": "evaluation", "step": 250, "gap": 0.75}\\n'
    """
    return json.dumps({"event": event, "step": step, **values}, allow_nan=False) + "\n"


def read_log(path: Path) -> list[dict[str, object]]:
    """Return the events of a log, in order; a last line that was cut off is left out."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if _step(line) >= 0]


class Bar:
    """A progress bar on standard error with loss, temperature, gap, rate and time left."""

    def __init__(self, *, steps: int, done: int, is_shown: bool) -> None:
        from tqdm import tqdm  # a log is read where nothing is trained, and tqdm may not be installed

        seconds = 0.2 if sys.stderr.isatty() else 30.0  # in a file, each refresh is a line to scroll past
        self._bar = tqdm(
            total=steps, initial=done, unit="step", mininterval=seconds, disable=not is_shown, dynamic_ncols=True
        )
        self._gap: float | None = None

    def close(self) -> None:
        self._bar.close()

    def evaluated(self, values: "Mapping[str, Number | None]") -> None:
        """Take in what was measured."""
        self._gap = values["gap"]

    def step(self, *, loss: float, temperature: float, pairs_per_second: float) -> None:
        """Move on by a step."""
        gap = "" if self._gap is None else f", gap {self._gap:.3f}"
        text = f"loss {loss:.3f}, temperature {temperature:.3f}{gap}, {pairs_per_second:,.0f} pairs/s"
        self._bar.set_postfix_str(text, refresh=False)
        self._bar.update()


def _step(line: str) -> int:
    """Return the step of a line; one that was cut off by a kill belongs to none."""
    try:
        return int(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return -1


def _cut(path: Path, step: int) -> None:
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if 0 <= _step(line) <= step]
    write_atomic({path: "".join(f"{line}\n" for line in lines).encode()})
