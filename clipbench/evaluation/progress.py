"""Callbacks of a session. The module imports nothing that measures, since commands that only print use it too."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from clipbench.errors import ClipbenchError
from clipbench.results.record import CheckFinding, EvaluationRecord
from clipbench.results.run import Run

if TYPE_CHECKING:
    from clipbench.data.catalogue.needs import Need


class Progress:
    """The callbacks of a session. Each of them does nothing: override those that matter to you.

    Example:
        >>> class Lines(Progress):
        ...     def evaluation(self, record):
        ...         print(record.name, record.status)
        >>> from clipbench import run, vectors
        >>> _ = run(vectors(images=[[1.0, 0], [0, 1]], texts=[[1.0, 0], [0, 1]]), "retrieval", progress=Lines())
        retrieval@embeddings ok
    """

    shows_bars = False
    """Draw a bar on a terminal while images and texts are encoded."""

    def missing(self, needs: "Sequence[Need]") -> bool:
        """Data sets of the catalogue are not on this machine. Return True to fetch those that can be fetched."""
        return False

    def fetching(self, need: "Need", needs: "Sequence[Need]") -> None:
        """A data set, one of those that are missing, is about to be fetched."""

    def arrived(self, n_bytes: int) -> None:
        """More bytes have been fetched, negative if some of them have to be fetched again."""

    def fetched(self, left: "Sequence[Need]") -> None:
        """Fetching has ended. Each data set that is left has its reason."""

    def unmeasurable(self, name: str, error: ClipbenchError, *, data: str) -> None:
        """A task cannot be measured on the data, for a reason that is known before any model is loaded."""

    def model(self, name: str, number: int, n_models: int) -> None:
        """A model is about to be loaded, with a ``number`` from 0."""

    def reused(self, name: str, run: Run) -> None:
        """The folder of a model holds the finished run that is asked for."""

    def note(self, text: str) -> None:
        """A finished run is reused, though something about its data differs."""

    def warning(self, finding: CheckFinding) -> None:
        """A quick check of the model before the run has found something."""

    def left_out(self, reasons: Mapping[str, str]) -> None:
        """Evaluations of ``all`` are not made, as the data does not allow them; the reason of each by its name."""

    def evaluation(self, record: EvaluationRecord) -> None:
        """An evaluation has ended, well or not."""

    def model_failed(self, name: str, error: ClipbenchError, data_problems: Sequence[str]) -> None:
        """A model could not be measured; where it is unavailable, so may be data, which are named too."""

    def report_failed(self, report: Path, reason: str) -> None:
        """A report could not be written. Its runs are whole."""

    def log_failed(self, tracker: str, reason: str) -> None:
        """A finished run could not be logged to a tracker, or its ``figures`` could not be drawn. The run is whole."""
