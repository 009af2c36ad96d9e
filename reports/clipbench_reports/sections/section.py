"""The section of a task: functions of the evidence that a run left behind, loaded by its entry point.

An error in one costs no more than its own figures.
"""

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import wraps
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, get_args

import numpy as np
from jaxtyping import Shaped

from clipbench import plugins
from clipbench.errors import FOREIGN, ClipbenchError, UsageError, error_summary
from clipbench.results import numbers as fmt
from clipbench.results.record import EvaluationRecord
from clipbench.results.table import Table, as_html
from clipbench.results.titles import subset_title, within_sentence
from clipbench_reports.drawing import svg_chart
from clipbench_reports.drawing.marks import Chart
from clipbench_reports.evidence import (
    PLAIN,
    Evidence,
    Fault,
    MissingEvidence,
    Models,
    label_sets,
    restrict_to_label_set,
)
from clipbench_reports.findings import Finding, Mark, absence, cause_finding, headline_findings, missing_finding
from clipbench_reports.galleries import MakeGallery, worst_samples

if TYPE_CHECKING:
    import pandas

Draw = Callable[[Models], Chart | Sequence[Chart]]
"""Draws the same evaluation of one model, or of several together: on shared axes, or next to each other. What some of
the models lack is in ``Chart.missing``; where nothing can be drawn, it raises ``MissingEvidence``.
"""
MakeTable = Callable[[Evidence], Table]


@dataclass(frozen=True, kw_only=True)
class SampleSource:
    """A column of the sample table that explains why a sample is right with one model and wrong with another."""

    name: str
    metrics: str = ".*"
    """A regular expression of the metrics that it explains, without their subsets."""
    right: str = ""
    """For a column with the best false option: the column of the right one, which is shown where that won ..."""
    margin: str = ""
    """... by this margin."""

    def __post_init__(self) -> None:
        re.compile(self.metrics)  # a faulty pattern fails where the section is imported, which a report survives


@dataclass(frozen=True, kw_only=True)
class SampleColumn(SampleSource):
    """A column of words or numbers."""

    title: str
    is_of_sample: bool = False
    """True if it describes the sample itself, which is the same for all models."""


@dataclass(frozen=True, kw_only=True)
class SampleImage(SampleSource):
    """A column with the content hashes of images."""

    role: str = ""
    """The part that the image plays, such as ``right``, where a sample has several."""


@dataclass(frozen=True, kw_only=True)
class Plot:
    """A figure for print, which ``clipbench plot`` offers by its name."""

    summary: str
    """One line for ``clipbench plot --list``."""
    draws: tuple[Draw, ...]
    """Figures of an evaluation, joined as panels of one. One without evidence is left out, if there is another."""
    definition: str = ""
    """The definition of the quantity, with its source, for the caption."""
    is_projected: bool = False
    """True of figures that take ``projection`` and ``seed``, as ``figures.gap`` does."""


@dataclass(frozen=True, kw_only=True)
class Section:
    """The figures, galleries, tables and sentences of one task.

    Each function raises ``MissingEvidence`` where the run does not hold what it needs: the report says so in its place.
    It raises ``NotAsked`` where the data was not asked what it is about: nothing is said of it then.
    Any other error costs only what the function would have given.
    """

    title: str = ""
    """The name of the task for a reader, empty for the task's own."""
    figures: tuple[Draw, ...] = ()
    """The first is open in the report, the others are folded."""
    galleries: tuple[MakeGallery, ...] = ()
    tables: tuple[MakeTable, ...] = ()
    plots: Mapping[str, Plot] = field(default_factory=dict)
    """Figures for print, by the name that ``clipbench plot`` takes."""
    findings: Callable[[EvaluationRecord], list[Finding]] = headline_findings
    """One to three sentences at the head of the section. The best of them are also at the top of the report. If it
    gives none, there is one on each headline metric.
    """
    drawn_figures: Collection[str] = ()
    """Figures of curves that functions of ``figures`` draw. Each other figure that a curve names, and each curve
    without one, gets a plain figure.
    """
    has_cloud: bool = False
    """True where the points of a figure are samples, whose images are shown to who points at them."""
    describe_label_set: Callable[[Evidence], str] | None = None
    """For a task that is scored once for each label set: the line below the heading of a set. Metrics and columns are
    then named ``SET/NAME``, and every other function is given the evidence of one set, without the prefix."""
    sample_columns: tuple[SampleColumn, ...] = ()
    """Shown by comparisons of a sample that changed. Without any, the first columns of words are shown."""
    sample_images: tuple[SampleImage, ...] = ()
    """Shown by comparisons too. Without any, or for other metrics, the sample's own image is shown."""
    lists_metrics: bool = False
    """True to repeat all metrics in the section."""
    advice: Mapping[str, str] = field(default_factory=dict)
    """Weaknesses on the task, each with what it usually means and what people do about it. A finding names the weakness
    that it states. The weaknesses on clipbench's tasks are headings of docs/advice.md.
    """

    def __post_init__(self) -> None:
        if isinstance(self.drawn_figures, str):
            raise TypeError(f"drawn_figures of a Section: got {self.drawn_figures!r}, expected a tuple of names")
        for name in ("figures", "galleries", "tables"):
            makers = getattr(self, name)
            if not isinstance(makers, tuple) or not all(map(callable, makers)):  # (draw) without a comma is no tuple
                raise TypeError(f"{name} of a Section: got {makers!r}, expected a tuple of functions")
        if not (isinstance(self.plots, Mapping) and all(isinstance(plot, Plot) for plot in self.plots.values())):
            raise TypeError(f"plots of a Section: got {self.plots!r}, expected a mapping of names to Plot")
        if not (isinstance(self.advice, Mapping) and all(isinstance(text, str) for text in self.advice.values())):
            raise TypeError(f"advice of a Section: got {self.advice!r}, expected a mapping of weaknesses to texts")


def table_by_true_name(
    true_names: Shaped[np.ndarray, " n"], answers: Shaped[np.ndarray, " n"], **scores: Shaped[np.ndarray, " n"]
) -> "pandas.DataFrame":
    """Return one row per true name, in alphabetical order.

    The columns are the mean scores, the number of samples ``n``, and the commonest wrong answer ``taken_for``: the
    first in alphabetical order among equals, a dash if there is none.
    """
    import pandas

    groups: Any = pandas.DataFrame(scores, index=range(len(true_names))).groupby(true_names)
    is_wrong = answers != true_names
    wrong_answers: Any = pandas.Series(answers[is_wrong], dtype=object).groupby(true_names[is_wrong])
    commonest = wrong_answers.agg(lambda group: group.mode().iat[0]) if is_wrong.any() else pandas.Series(dtype=object)
    return groups.mean().assign(
        n=groups.size(), taken_for=lambda table: commonest.reindex(table.index, fill_value=fmt.NONE)
    )


PLAIN_SECTION = Section(galleries=(worst_samples,), lists_metrics=True)
"""The section of a task that brings none: its headline, its curves, its worst samples and its metrics."""


P = ParamSpec("P")
T = TypeVar("T")

OWN = "clipbench"


@dataclass(frozen=True)
class LoadedSection:
    """A section, and the package that it is from."""

    section: Section
    package: str = OWN
    fault: str = ""
    """The reason why the plain section replaces the section of the package."""

    @property
    def is_split(self) -> bool:
        """True of a task that is scored once for each label set."""
        return self.section.describe_label_set is not None

    def label_sets(self, evaluation: EvaluationRecord) -> list[str]:
        """Return the label sets that an evaluation has results of, or only ``PLAIN``."""
        return label_sets(evaluation) if self.is_split else [PLAIN]

    def parts(self, evidence: Evidence) -> list[Evidence]:
        """Return the evidence of each label set."""
        if not self.is_split:
            return [evidence]
        return [evidence.for_label_set(name) for name in label_sets(evidence.evaluation)]

    def findings(self, evaluation: EvaluationRecord) -> list[Finding]:
        """Return the sentences on an evaluation, or on the part of it that is of one label set."""
        if evaluation.status != "ok":
            return [missing_finding(evaluation, *absence(evaluation))]
        try:
            sentences: Any = self.guard(self.section.findings, Finding)(evaluation)
            own = [sentences] if isinstance(sentences, Finding) else list(sentences)
            return [*(own or headline_findings(evaluation)), *filter(None, [cause_finding(evaluation)])]
        except MissingEvidence as reason:
            return [missing_finding(evaluation, "Not said", str(reason))]

    def summary(self, evaluation: EvaluationRecord) -> list[Finding]:
        """Return the sentences on all label sets, each with the title of its set."""
        if evaluation.status != "ok" or self.label_sets(evaluation) == [PLAIN]:
            return self.findings(evaluation)
        sentences = []
        for label_set in self.label_sets(evaluation):
            findings = self.findings(restrict_to_label_set(evaluation, label_set))
            if label_set == PLAIN:
                sentences += findings
                continue
            title = subset_title(label_set, evaluation.subsets)
            for finding in findings:
                text, short = _under_title(title, finding.text), _under_title(title, finding.short)
                sentences.append(finding._replace(text=text, short=short))
        return sentences

    def guard(self, function: Callable[P, T], kind: type) -> Callable[P, T]:
        """Return a function of the section whose errors become missing evidence.

        Args:
            kind: type of what the function returns, or of the entries of a list that it returns.
        """

        @wraps(function)
        def guarded(*args: P.args, **kwargs: P.kwargs) -> T:
            try:
                output = function(*args, **kwargs)
                for part in output if isinstance(output, list | tuple) and not isinstance(output, kind) else [output]:
                    if not isinstance(part, kind):
                        raise TypeError(f"it returned a {type(part).__name__}, expected a {kind.__name__}")
                    if self.package != OWN:
                        _check_renders(part)
                return output
            except MissingEvidence:
                raise
            except FOREIGN as error:
                if isinstance(error, UsageError) and self.package == OWN:
                    raise  # of an option, such as a projection whose package is not installed
                name = getattr(function, "__name__", type(function).__name__)
                raise Fault(f"{name} of {self.package} failed ({error_summary(error)})") from error

        return guarded


def _under_title(title: str, sentence: str) -> str:
    """Return a sentence after the title of its label set, or no text without a sentence."""
    return f"{title}: {within_sentence(sentence)}" if sentence else ""


def _check_renders(output: object) -> None:
    """Raise for output that cannot be drawn or written, which would otherwise fail in the middle of the page."""
    if isinstance(output, Chart):
        svg_chart.draw(output)
    elif isinstance(output, Table):
        as_html(output)
    elif isinstance(output, Finding) and output.mark not in get_args(Mark):
        raise ValueError(f"mark {output.mark!r}, expected one of {', '.join(get_args(Mark))}")


def load_section(task: str) -> LoadedSection:
    """Return the section that a package declares for a task, or the plain one."""
    if task.casefold() not in (name.casefold() for name in plugins.names(plugins.SECTIONS)):
        return LoadedSection(PLAIN_SECTION)
    try:
        section: Any = plugins.load(plugins.SECTIONS, task)
        package = plugins.distribution(plugins.SECTIONS, task)
    except ClipbenchError as error:
        return LoadedSection(PLAIN_SECTION, fault=str(error))
    if isinstance(section, Section):
        return LoadedSection(section, package)
    return LoadedSection(
        PLAIN_SECTION, fault=f"'{task}' of {package} is a {type(section).__name__}, expected a Section"
    )
