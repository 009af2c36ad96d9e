"""A diagnosis: the findings of all checks of a model and of data, and why a score is not the expected one."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from functools import partial
from typing import TYPE_CHECKING

from clipbench import plugins
from clipbench.checks.behaviour import SERVED
from clipbench.checks.examination import examine
from clipbench.checks.hidden_parts import code_to_add
from clipbench.checks.subject import GIVEN
from clipbench.data import DataOptions, Dataset
from clipbench.data.dataset_loading import adapt_to_form, load_data
from clipbench.errors import DataError, UsageError, on_command_line, option
from clipbench.evaluation.class_means import class_means_finding
from clipbench.evaluation.datasets import Datasets
from clipbench.evaluation.plan import RunOptions, task_class
from clipbench.evaluation.score_causes import Expectation, Inquiry, Reload, ScoreCauses
from clipbench.evaluation.tries import N_SAMPLES, Tries, TryScope, task_to_try, tries_finding, try_changes
from clipbench.models.encoding.loading import load_embedder
from clipbench.models.options import PRECISIONS, LoadOptions
from clipbench.models.protocol import Embedder, ModelInfo
from clipbench.models.reference import check_references
from clipbench.results.frames import as_frame
from clipbench.results.metric_name import split_task_metric
from clipbench.results.numbers import change, counted, interval, metric_value, quantity
from clipbench.results.record import CheckFinding, TriedChange
from clipbench.results.table import Table, as_html, as_text, columns

if TYPE_CHECKING:
    import pandas


@dataclass(frozen=True, kw_only=True, repr=False)
class Diagnosis:
    """The findings on a model and on data.

    Example:
        >>> from clipbench import doctor, vectors
        >>> import numpy as np
        >>> x = np.random.default_rng(0).standard_normal((40, 8))
        >>> diagnosis = doctor(vectors(images=x, texts=np.roll(x, 3, axis=0), logit_scale=100.0))
        >>> diagnosis.is_healthy, [finding.check for finding in diagnosis.findings if finding.status == "fault"]
        (False, ['pairs'])
    """

    model: ModelInfo
    findings: Sequence[CheckFinding]
    explanation: ScoreCauses | None = None
    """The expected score against the measured one, None if none was expected."""
    tries: Sequence[TriedChange] = ()
    """Changes of the input that were tried on a sample of the data, with the effect of each."""
    code_to_add: str = ""
    """The method that shows the hidden parts of an object of your own, for more checks. Empty if nothing is hidden."""

    def __repr__(self) -> str:
        return f"<diagnosis of {self.model.ref}: {self.summary}>"

    def __str__(self) -> str:
        return f"{as_text(self._table(), width=100)}\n{self.model.ref}: {self.summary}"

    @property
    def is_healthy(self) -> bool:
        """True if no check found a fault. A warning is not a fault."""
        return not any(finding.status == "fault" for finding in self.findings)

    @property
    def summary(self) -> str:
        """The number of findings of each status."""
        n = Counter(finding.status for finding in self.findings)
        faults, warnings = counted(n["fault"], "fault"), counted(n["warning"], "warning")
        return f"{faults}, {warnings}, {n['ok']} ok, {n['not examined']} not examined"

    def frame(self) -> "pandas.DataFrame":
        """Return one row per check: check, status, seen, why, fix."""
        columns = [part.name for part in fields(CheckFinding)]
        return as_frame([asdict(finding) for finding in self.findings], columns)

    def _repr_html_(self) -> str:
        return as_html(self._table())

    def _table(self) -> Table:
        rows = [[finding.check, finding.status, finding.seen, finding.fix] for finding in self.findings]
        return Table(title=self.model.ref, columns=columns("check", "status", "seen", "fix"), rows=rows)


@dataclass(frozen=True, kw_only=True)
class DoctorOptions:
    """Options of a diagnosis."""

    data: str | Dataset | None = None
    """Data to check, None for the built-in pairs only."""
    loading: DataOptions = field(default_factory=DataOptions)
    expectation: Expectation | None = None
    limit: int | None = None
    """Largest number of images to score, as a seeded, stratified sample."""
    seed: int = 0
    tries_served: bool = False
    """Also try changes of the input on a model behind a server, where each request may cost money."""
    raise_bugs: bool = False
    """Let an error of a check out, with its traceback."""


def diagnose(
    model: "str | Embedder",
    load: LoadOptions,
    options: DoctorOptions,
    on_finding: Callable[[CheckFinding], None] = lambda _: None,
) -> Diagnosis:
    """Return the findings of all checks.

    Args:
        model: a reference, or a model that is loaded already.
        load: how a reference is loaded.
        options: data, and the score that is expected.
        on_finding: called with each finding as it is made.

    Raises:
        ClipbenchError: the model, the data or the expectation is wrong or not here.
    """
    _check_expectation(options)
    if isinstance(model, str):
        check_references([model], load)
    tasks = plugins.names(plugins.TASKS)
    dataset, findings = _load_readable(options, tasks)
    embedder = load_embedder(model, load) if isinstance(model, str) else model
    if embedder.dataset is not None and options.data is not None:
        raise UsageError(f"{embedder.info.ref} has samples of its own: remove the data")
    if options.tries_served and embedder.info.family != SERVED:
        raise UsageError(
            f"{_try_option()} has no effect on {embedder.info.ref}, which is not behind a server: remove it"
        )
    inquiry = score = None
    if options.expectation is not None and dataset is not None:
        scored = Datasets(RunOptions(data=options.loading, seed=options.seed, limit=options.limit)).cut(dataset)
        may_be_part = options.limit is not None or options.loading.allow_partial or bool(findings)
        inquiry = Inquiry(options.expectation, scored, embedder, tasks, seed=options.seed, may_be_part=may_be_part)
        score = inquiry.measure()
    for finding in findings:
        on_finding(finding)
    for finding in examine(embedder, dataset, seed=options.seed, raise_bugs=options.raise_bugs):
        findings.append(finding)
        on_finding(finding)
    tries, tried_findings = (None, []) if dataset is None else _try(dataset, embedder, options)
    findings += tried_findings
    for finding in tried_findings:
        on_finding(finding)
    explanation = None
    if inquiry is not None and score is not None:
        reloads = _reloads(model, load, embedder.info) if isinstance(model, str) else ()
        explanation = inquiry.explanation(score, reloads)
        findings.append(_score_finding(explanation))
        on_finding(findings[-1])
    return Diagnosis(
        model=embedder.info,
        findings=findings,
        explanation=explanation,
        tries=tries.changes if tries else (),
        code_to_add=code_to_add(embedder),
    )


def _check_expectation(options: DoctorOptions) -> None:
    """Raise UsageError if the expected score is none, or has no data, or changes are to be tried without data."""
    if options.tries_served and options.data is None:
        raise UsageError(f"{_try_option()} needs data to try changes on: add {option('data', 'DATA')}")
    if options.expectation is not None:
        options.expectation.check()
        if options.data is None:
            raise UsageError(f"{option('expect')} needs the data of the score: add {option('data', 'DATA')}")


def _try_option() -> str:
    """Return the option that tries changes on a model behind a server. In Python, ``try`` is a reserved word."""
    return on_command_line("--try") or "try_served=True"


def _try(dataset: Dataset, embedder: Embedder, options: DoctorOptions) -> tuple[Tries | None, list[CheckFinding]]:
    """Return the changes of the input that were tried, with a finding per kind and one on the side at fault."""
    task = task_to_try(dataset)
    of_texts = "captions" if task is not None and task.name == "retrieval" else "prompts"
    n_samples = min(N_SAMPLES, options.limit or N_SAMPLES)
    reason, tries = GIVEN, None
    if task is None:
        reason = "the data set has neither two classes nor captions"
    elif embedder.info.family == SERVED and not options.tries_served:
        reason = f"each change costs requests to the server: {_try_option()} tries them all the same"
    else:
        tries = try_changes(task, dataset, embedder, TryScope(n_samples=n_samples), seed=options.seed)
    return tries, [
        *(tries_finding(tries, kind, reason) for kind in (of_texts, "images")),
        class_means_finding(task, dataset, embedder, tries, seed=options.seed, n_samples=n_samples, reason=reason),
    ]


def _load_readable(options: DoctorOptions, tasks: Sequence[str]) -> tuple[Dataset | None, list[CheckFinding]]:
    """Return the data set, or its readable part or None with a finding if it is malformed."""
    if options.data is None:
        return None, []
    first = split_task_metric(options.expectation.metric or "")[0] if options.expectation else ""
    loading = replace(options.loading, form=task_class(first).data_form) if first in tasks else options.loading
    if isinstance(options.data, Dataset):
        return adapt_to_form(options.data, loading), []
    try:
        return load_data(options.data, loading), []
    except DataError as error:
        finding = CheckFinding(
            check="loading",
            status="fault",
            seen=str(error),
            why="A run refuses this data, or scores another set than is meant.",
            fix=f"correct the data, or score only the valid samples with {option('allow_partial', True)}",
        )
    try:
        return load_data(options.data, replace(loading, allow_partial=True)), [finding]
    except DataError:
        return None, [finding]


def _reloads(reference: str, load: LoadOptions, info: ModelInfo) -> Iterator[tuple[str, Reload]]:
    """Yield each other precision that a model could have, with a function that loads it. fp16 is for accelerators."""
    for precision in PRECISIONS if info.precision is not None else ():
        if precision != info.precision and not (precision == "fp16" and info.device == "cpu"):
            yield precision, partial(load_embedder, reference, replace(load, precision=precision), workers=0)


def _score_finding(explanation: ScoreCauses) -> CheckFinding:
    metric, expected, cause = explanation.metric, explanation.expected, explanation.cause
    measured = f"{explanation.metric_name} is {metric_value(metric)} {interval(metric)}".rstrip()
    comparison = f"{measured}, expected {quantity(expected, metric.unit)} ({explanation.source})"
    finding = CheckFinding(
        check="expected-score",
        status="fault",
        seen=comparison,
        why="A score that misses the published one by more than its interval has a cause, most often in the adapter.",
    )
    if explanation.agrees:
        return replace(finding, status="ok", seen=f"{comparison}: the interval contains it")
    if cause is None:
        fix = (
            f"none of {len(explanation.effects)} switches leads nearer to it: look at the split, the class names, the"
            " protocol and the weights"
        )
        return replace(finding, fix=fix)
    moved, left = (change(value, metric.unit) for value in (cause.change, expected - cause.value))
    value = quantity(cause.value, metric.unit)
    return replace(finding, fix=f"{cause.switch}: {cause.setting} moves it by {moved} to {value}, {left} from it")
