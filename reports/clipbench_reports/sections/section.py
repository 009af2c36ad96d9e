"""The section of a task: functions of the evidence that a run left behind."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from clipbench.results.record import EvaluationRecord
from clipbench.results.table import Table
from clipbench_reports.drawing.marks import Chart
from clipbench_reports.galleries.gallery import MakeGallery
from clipbench_reports.galleries.worst import worst_samples
from clipbench_reports.page.evidence import Evidence, ModelEvidence
from clipbench_reports.page.sentences.findings import Finding, headline_findings

Draw = Callable[[Sequence[ModelEvidence]], Chart | Sequence[Chart]]
"""Draws the same evaluation of one model, or of several together: on shared axes, or beside each other. What some of the
models lack is in ``Chart.missing``; where nothing can be drawn, it raises ``MissingEvidence``."""
MakeTable = Callable[[Evidence], Table]


@dataclass(frozen=True, kw_only=True)
class SampleColumn:
    """A column of the sample table that explains why a sample is right with one model and wrong with another."""

    name: str
    title: str
    metrics: str = ".*"
    """A regular expression of the metrics that it explains, without their subsets."""
    is_of_sample: bool = False
    """True where it says what the sample is, which is the same with all models."""
    right: str = ""
    """For a column with the best false option: the column of the right one, which is shown where that won ..."""
    margin: str = ""
    """... by this margin."""

    def __post_init__(self) -> None:
        re.compile(self.metrics)  # a faulty pattern fails where the section is imported, which a report survives


@dataclass(frozen=True, kw_only=True)
class SampleImage:
    """A column with the content hashes of images that explain the same."""

    name: str
    role: str = ""
    """The part that the image plays, such as ``right``, where a sample has several."""
    metrics: str = ".*"
    right: str = ""
    margin: str = ""

    def __post_init__(self) -> None:
        re.compile(self.metrics)


@dataclass(frozen=True, kw_only=True)
class Section:
    """The figures, galleries, tables and sentences of one task.

    Each function raises ``MissingEvidence`` where the run does not hold what it needs: the report says so in its place.
    Any other error costs only what the function would have given.
    """

    title: str = ""
    """The name of the task for a reader; the task's own, where it is empty."""
    figures: tuple[Draw, ...] = ()
    """The first stands open in the report, the others are folded."""
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
    sample_columns: tuple[SampleColumn, ...] = ()
    """Shown by comparisons of a sample that changed; without any, the first columns of words are."""
    sample_images: tuple[SampleImage, ...] = ()
    """Likewise; without any, or for other metrics, the sample's own image is shown."""
    lists_metrics: bool = False
    """True to repeat all metrics in the section."""
    advice: Mapping[str, str] = field(default_factory=dict)
    """Weaknesses on the task, each with what it usually means and what people do about it. A finding names the one that it
    states; those of clipbench are headings of docs/advice.md."""

    def __post_init__(self) -> None:
        for name in ("figures", "galleries", "tables"):
            makers = getattr(self, name)
            if not isinstance(makers, tuple) or not all(map(callable, makers)):  # (draw) without a comma is no tuple
                raise TypeError(f"{name} of a Section: got {makers!r}, expected a tuple of functions")
        if not isinstance(self.advice, Mapping):
            raise TypeError(f"advice of a Section: got {self.advice!r}, expected a mapping of weaknesses to texts")


PLAIN_SECTION = Section(galleries=(worst_samples,), lists_metrics=True)
"""The section of a task that brings none: its headline, its curves, its worst samples and its metrics."""
