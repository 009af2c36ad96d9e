"""What the section of a task holds: functions of the evidence that a run left behind."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from clipbench.results.record import EvaluationRecord
from clipbench_reports.drawing.marks import Chart
from clipbench_reports.galleries.gallery import MakeGallery
from clipbench_reports.galleries.worst import worst_samples
from clipbench_reports.page.evidence import Evidence, ModelEvidence
from clipbench_reports.page.sentences.findings import Finding, headline_findings
from clipbench_reports.page.tables import Table

Draw = Callable[[Sequence[ModelEvidence]], Chart | Sequence[Chart]]
"""Draws the same evaluation of one model, or of several together: on shared axes, or beside each other. What some of the
models lack is in ``Chart.missing``; where nothing can be drawn, it raises ``MissingEvidence``."""
MakeTable = Callable[[Evidence], Table]


@dataclass(frozen=True, kw_only=True)
class Section:
    """The figures, galleries, tables and sentences of one task.

    Each function raises ``MissingEvidence`` where the run does not hold what it needs: the report says so in its place.
    Any other error costs only what the function would have given.
    """

    figures: tuple[Draw, ...] = ()
    galleries: tuple[MakeGallery, ...] = ()
    tables: tuple[MakeTable, ...] = ()
    findings: Callable[[EvaluationRecord], list[Finding]] = headline_findings
    """One to three sentences at the head of the section, the best of which also stand at the top of the report."""
    drawn_curves: frozenset[str] = frozenset()
    """Curves that one of the figures shows; each other curve gets a plain figure of its own."""
    has_cloud: bool = False
    """True where the points of a figure are samples, whose images are shown to who points at them."""
    describe_label_set: Callable[[Evidence], str] | None = None
    """For a task that is scored once for each label set: the line below the heading of a set. Metrics and columns are
    then named ``SET/NAME``, and every other function is given the evidence of one set, without the prefix."""
    lists_metrics: bool = False
    """True to repeat all metrics in the section."""


PLAIN_SECTION = Section(galleries=(worst_samples,), lists_metrics=True)
"""The section of a task that brings none: its headline, its curves, its worst samples and its metrics."""
