"""Loading of the section of a task by its entry point; an error in it costs no more than its own figures."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from clipbench import plugins
from clipbench.errors import FOREIGN, ClipbenchError, cause
from clipbench.results.record import EvaluationRecord
from clipbench.results.titles import subset_title, within_sentence
from clipbench_reports.drawing import page
from clipbench_reports.drawing.marks import Chart
from clipbench_reports.page.evidence import MissingEvidence
from clipbench_reports.page.label_sets import PLAIN, label_sets, within
from clipbench_reports.page.sentences.findings import Finding, missing, not_measured
from clipbench_reports.sections.section import PLAIN_SECTION, Section

P = ParamSpec("P")
T = TypeVar("T")

OWN = "clipbench"


@dataclass(frozen=True)
class LoadedSection:
    """A section, and the package that it is from."""

    section: Section
    package: str = OWN
    fault: str = ""
    """The reason why the plain section stands in for the package's."""

    def label_sets(self, evaluation: EvaluationRecord) -> list[str]:
        """Return the label sets that an evaluation has results of, or ``PLAIN`` alone."""
        return label_sets(evaluation) if self.section.describe_label_set is not None else [PLAIN]

    def findings(self, evaluation: EvaluationRecord) -> list[Finding]:
        """Return the sentences on an evaluation, or on the part of it that is of one label set."""
        if evaluation.status != "ok":
            return [not_measured(evaluation)]
        try:
            return list(self.guard(self.section.findings, Finding)(evaluation))
        except MissingEvidence as reason:
            return [missing("Not said", evaluation.name, str(reason))]

    def summary(self, evaluation: EvaluationRecord) -> list[Finding]:
        """Return the sentences on all label sets, each with the title of its set."""
        if evaluation.status != "ok" or self.label_sets(evaluation) == [PLAIN]:
            return self.findings(evaluation)
        sentences = []
        for label_set in self.label_sets(evaluation):
            title = f"{subset_title(label_set, evaluation.subsets)}: " if label_set != PLAIN else ""
            for finding in self.findings(within(evaluation, label_set)):
                text = f"{title}{within_sentence(finding.text)}" if title else finding.text
                sentences.append(finding._replace(text=text))
        return sentences

    def guard(self, function: Callable[P, T], kind: type) -> Callable[P, T]:
        """Return a function of the section whose errors become missing evidence, which costs nothing else.

        Args:
            kind: type of what the function returns, or of the entries of a list that it returns.
        """

        @wraps(function)
        def guarded(*args: P.args, **kwargs: P.kwargs) -> T:
            try:
                made = function(*args, **kwargs)
                for each in made if isinstance(made, list | tuple) and not isinstance(made, kind) else [made]:
                    if not isinstance(each, kind):
                        raise TypeError(f"it returned a {type(each).__name__}, expected a {kind.__name__}")
                    if isinstance(each, Chart) and self.package != OWN:
                        page.draw(each)  # marks that cannot be drawn would otherwise fail in the middle of the page
                return made
            except MissingEvidence:
                raise
            except FOREIGN as error:
                name = getattr(function, "__name__", type(function).__name__)
                raise MissingEvidence(f"{name} of {self.package} failed ({cause(error)})") from error

        return guarded


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
