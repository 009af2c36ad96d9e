"""Evaluation and diagnostics for CLIP-style dual encoders.

Every public name is found here, and each is imported when it is first asked for: ``import clipbench`` itself imports
neither numpy nor torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from clipbench.api import compare, doctor, load_data, load_model, run
    from clipbench.checks.check import Check, CheckOutcome, NotExamined
    from clipbench.checks.subject import Subject
    from clipbench.comparison.across import Across, across
    from clipbench.comparison.records import Comparison, Difference
    from clipbench.comparison.robustness import effective_robustness
    from clipbench.data import (
        Attack,
        Contrast,
        DataOptions,
        Dataset,
        EncodedImage,
        FileImage,
        Groups,
        ImageRef,
        LabelSet,
    )
    from clipbench.errors import (
        BadImage,
        ClipbenchError,
        DataError,
        MissingPart,
        ModelError,
        NotComparable,
        NoTokenCounts,
        Unavailable,
        UsageError,
        VectorError,
    )
    from clipbench.evaluation.diagnosis import Diagnosis
    from clipbench.evaluation.progress import Progress
    from clipbench.evaluation.task import Evaluation, Task
    from clipbench.metrics.similarity import pair_scores, unit
    from clipbench.models.adapters.torch_module import torch_model
    from clipbench.models.adapters.vectors import vectors
    from clipbench.models.internals import Internals
    from clipbench.models.options import LoadOptions
    from clipbench.models.protocol import Embedder, Model, ModelInfo
    from clipbench.results.other_tools import Values
    from clipbench.results.record import CheckFinding, Curve, EvaluationRecord, Metric, Result, SlicesRecord
    from clipbench.results.run import Run, read_run
    from clipbench.stats.measures import Definition, Fixed, Mean, Measure, Smooth, Statistic, Within, define
    from clipbench.training.history import History, read_history
    from clipbench.training.monitor import Limits, Monitor

    __version__: str

_HOMES = {
    "api": ("compare", "doctor", "load_data", "load_model", "run"),
    "comparison.across": ("Across", "across"),
    "comparison.records": ("Comparison", "Difference"),
    "comparison.robustness": ("effective_robustness",),
    "data": (
        "Attack",
        "Contrast",
        "DataOptions",
        "Dataset",
        "EncodedImage",
        "FileImage",
        "Groups",
        "ImageRef",
        "LabelSet",
    ),
    "errors": (
        "BadImage",
        "ClipbenchError",
        "DataError",
        "MissingPart",
        "ModelError",
        "NoTokenCounts",
        "NotComparable",
        "Unavailable",
        "UsageError",
        "VectorError",
    ),
    "checks.check": ("Check", "NotExamined", "CheckOutcome"),
    "checks.subject": ("Subject",),
    "evaluation.diagnosis": ("Diagnosis",),
    "evaluation.progress": ("Progress",),
    "evaluation.task": ("Evaluation", "Task"),
    "metrics.similarity": ("pair_scores", "unit"),
    "models.internals": ("Internals",),
    "models.adapters.torch_module": ("torch_model",),
    "models.adapters.vectors": ("vectors",),
    "models.options": ("LoadOptions",),
    "models.protocol": ("Embedder", "Model", "ModelInfo"),
    "results.other_tools": ("Values",),
    "results.record": ("Curve", "EvaluationRecord", "CheckFinding", "Metric", "Result", "SlicesRecord"),
    "results.run": ("Run", "read_run"),
    "stats.measures": ("Definition", "Fixed", "Mean", "Measure", "Smooth", "Statistic", "Within", "define"),
    "training.history": ("History", "read_history"),
    "training.monitor": ("Limits", "Monitor"),
}
"""The public names of each module, as type checkers see them above; a test holds the two together."""

__all__ = [
    "Across",
    "Attack",
    "BadImage",
    "Check",
    "CheckFinding",
    "CheckOutcome",
    "ClipbenchError",
    "Comparison",
    "Contrast",
    "Curve",
    "DataError",
    "DataOptions",
    "Dataset",
    "Definition",
    "Diagnosis",
    "Difference",
    "Embedder",
    "EncodedImage",
    "Evaluation",
    "EvaluationRecord",
    "FileImage",
    "Fixed",
    "Groups",
    "History",
    "ImageRef",
    "Internals",
    "LabelSet",
    "Limits",
    "LoadOptions",
    "Mean",
    "Measure",
    "Metric",
    "MissingPart",
    "Model",
    "ModelError",
    "ModelInfo",
    "Monitor",
    "NoTokenCounts",
    "NotComparable",
    "NotExamined",
    "Progress",
    "Result",
    "Run",
    "SlicesRecord",
    "Smooth",
    "Statistic",
    "Subject",
    "Task",
    "Unavailable",
    "UsageError",
    "Values",
    "VectorError",
    "Within",
    "__version__",
    "across",
    "compare",
    "define",
    "doctor",
    "effective_robustness",
    "load_data",
    "load_model",
    "pair_scores",
    "read_history",
    "read_run",
    "run",
    "torch_model",
    "unit",
    "vectors",
]


if not TYPE_CHECKING:  # with it, type checkers would take any name for a public one

    def __getattr__(name: str) -> object:
        """Import a public name from its module."""
        if name == "__version__":
            from importlib.metadata import version  # takes as long as all the rest of the import

            value: object = version("clipbench")
        else:
            home = next((module for module, names in _HOMES.items() if name in names), None)
            if home is None:
                raise AttributeError(f"module 'clipbench' has no attribute '{name}'")
            value = getattr(import_module(f"clipbench.{home}"), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return __all__
