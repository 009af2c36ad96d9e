"""Callbacks of a session. The module imports nothing that measures, since commands that only print use it too."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from clipbench.errors import ClipbenchError
from clipbench.results.record import CheckFinding, EvaluationRecord
from clipbench.results.run import Run

if TYPE_CHECKING:
    from clipbench.data.needs import Need


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
        """Data sets of the catalogue are not on this machine; return True to have those fetched that can be."""
        return False

    def fetching(self, need: "Need", needs: "Sequence[Need]") -> None:
        """A data set, one of those that are missing, is about to be fetched."""

    def arrived(self, n_bytes: int) -> None:
        """So many more bytes have been fetched; negative if some came in vain."""

    def fetched(self, left: "Sequence[Need]") -> None:
        """All has been fetched that could be; what is left has the reason with it."""

    def model(self, name: str, number: int, n_models: int) -> None:
        """A model is about to be loaded; ``number`` counts from 0."""

    def reused(self, name: str, run: Run) -> None:
        """A model was measured before, in just this way."""

    def note(self, text: str) -> None:
        """A finished run is taken for what is asked for, though something about its data differs."""

    def warning(self, finding: CheckFinding) -> None:
        """A quick check of the model before the run has found something."""

    def left_out(self, reasons: Mapping[str, str]) -> None:
        """Tasks that ``all`` stands for were not measured, since precomputed vectors do not allow them; why, by task."""

    def evaluation(self, record: EvaluationRecord) -> None:
        """An evaluation has ended, well or not."""

    def model_failed(self, name: str, error: ClipbenchError, data_problems: Sequence[str]) -> None:
        """A model could not be measured; where it is unavailable, so may be data, which are named too."""

    def report_failed(self, report: Path, why: str) -> None:
        """A report could not be written; the runs that it is of are whole."""

    def log_failed(self, tracker: str, why: str) -> None:
        """A finished run could not be logged to a tracker, or its ``figures`` not be drawn for them; the run is whole."""
