"""From ``--tasks`` and ``--suite`` to the list of evaluations to make, and the options that they share."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass, replace
from importlib.resources import files
from pathlib import Path
from typing import Any, get_args, get_type_hints

from clipbench import plugins
from clipbench.data import DataOptions, Dataset, read_prompts
from clipbench.errors import FOREIGN, ClipbenchError, UsageError, did_you_mean, error_summary, option
from clipbench.evaluation.task import Task
from clipbench.results.metric_name import evaluation_name, names_data, split_evaluation
from clipbench.untrusted.reading import decode_toml, read_toml, shown
from clipbench.untrusted.schema import SchemaError, check_keys, parse_record, parse_value

SUITES = "clipbench.suites"
"""Entry points: each names a package whose ``suites.toml`` has a table for each of its suites."""
SUITE_KEYS = ("evaluation", "most_bytes")
EVALUATION_KEYS = ("task", "data", "params", "data_options", "limit", "main", "only_by_name")
"""Keys of an ``[[evaluation]]`` of a suite."""
STANDARD, QUICK = "standard", "quick"
"""The papers' benchmarks, and a first look at small parts of them."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """One evaluation that is asked for. Without data, the model must have its own."""

    task: str
    data: str | None = None
    params: Mapping[str, Any] = field(default_factory=dict)
    data_options: Mapping[str, str] = field(default_factory=dict)
    limit: int | None = None
    """Images of the subset that the suite fixes, None for all."""
    main: tuple[str, ...] = ()
    """Metrics whose mean is the score in the suite's average, such as ``acc1`` or ``{region=(worst)}/acc1``."""
    only_by_name: bool = False
    """True if ``all`` leaves it out."""
    is_optional: bool = False
    """True if ``all`` asks for it, not its name: not missed if only a person can get its data."""

    @property
    def name(self) -> str:
        return self.task if self.data is None else evaluation_name(self.task, self.data)

    @property
    def may_be_left_out(self) -> bool:
        """True where ``all`` asks it of a model's own samples, which may not allow it."""
        return self.is_optional and self.data is None


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """Options that every evaluation of a run shares."""

    seed: int = 0
    limit: int | None = None
    """Score a seeded, stratified subset of this many images. A note in the result says so."""
    skip_bad_images: bool = False
    """Leave unreadable images out, and list them, instead of failing the evaluation."""
    keep_arrays: bool = False
    """Keep all vectors in the run, not a sample."""
    keep_lists: int = 0
    """Number of results of each query that a run of vectors keeps. Finished lists are kept whole."""
    n_thumbnails: int = 200
    """Number of small images that an evaluation keeps for galleries. For points it keeps ``persist.POINTS_EACH`` times
    this number.
    """
    raise_bugs: bool = False
    """Let a bug of a plug-in out with its traceback, instead of recording its evaluation as failed."""
    data: DataOptions = field(default_factory=DataOptions)
    command: Sequence[str] = ()
    """The command line, for the record."""

    @property
    def may_be_part(self) -> bool:
        """True where what is measured may be part of the data, to which no published value applies."""
        return self.limit is not None or self.skip_bad_images or self.data.allow_partial


def read_suite(name: str, *, needs_data: bool = True) -> list[Request]:
    """Return the evaluations of an installed suite, or of a TOML file.

    The file holds ``[[evaluation]]`` tables with ``task``, ``data`` and optionally ``params``, ``data_options``,
    ``limit``, the number of images of a fixed subset, ``main``, the metric that enters the suite's average, and
    ``only_by_name``, true if ``all`` leaves it out. Before the tables it may set ``most_bytes``.

    Args:
        needs_data: each table must name ``data``, except for a model with samples of its own.

    Raises:
        ClipbenchError: no such suite or file, two distributions bring it, the file does not say what it should, or a
            score of the average is given in two ways.
    """
    table = _suite_table(name)
    check_keys(table, SUITE_KEYS, f"suite {name}")
    entries = table.get("evaluation")
    if not isinstance(entries, list) or not entries:
        raise UsageError(f"suite {name} has no [[evaluation]]: expected tables with task = ... and data = ...")
    requests = [_parse_request(entry, name, ("task", "data") if needs_data else ("task",)) for entry in entries]
    _refuse_conflicts([request for request in requests if request.main], name)
    return requests


def _parse_request(entry: object, suite: str, needed: Sequence[str]) -> Request:
    """Return the request of an ``[[evaluation]]``, whose ``main`` is one metric or a list."""
    if not isinstance(entry, dict):
        raise UsageError(f"suite {suite}: an evaluation is {shown(entry)}, expected [[evaluation]] tables")
    check_keys(entry, EVALUATION_KEYS, f"suite {suite}, in an [[evaluation]]")
    missing = [f"'{key}'" for key in needed if key not in entry]
    if missing:
        raise UsageError(f"suite {suite}: an [[evaluation]] lacks {' and '.join(missing)}: got {shown(entry)}")
    if isinstance(entry.get("main"), str):
        entry = {**entry, "main": [entry["main"]]}
    try:
        request = parse_record(Request, entry)
    except SchemaError as error:
        raise UsageError(f"suite {suite}, in an [[evaluation]]: {error}") from error
    if request.limit is not None and request.limit < 1:
        raise UsageError(f"suite {suite}: limit is {request.limit}: expected a number of images, 1 or more")
    return request


def most_bytes(name: str) -> int | None:
    """Return the number of bytes that a run may fetch for a suite, its ``most_bytes``, or None if it sets none."""
    n_bytes = _suite_table(name).get("most_bytes")
    if n_bytes is not None and (type(n_bytes) is not int or n_bytes < 0):
        raise UsageError(f"suite {name}: most_bytes is {shown(n_bytes)}: expected a number of bytes")
    return n_bytes


def _suite_table(name: str) -> Mapping[str, Any]:
    if name.endswith(".toml"):
        return read_toml(name, UsageError, name=f"suite {name}")
    suites = _installed_suites()
    if name not in suites:
        raise UsageError(
            f"unknown suite '{name}': {did_you_mean(name, suites)} (clipbench list suites, or a path to a .toml file)"
        )
    if len(suites[name]) > 1:
        raise ClipbenchError(
            f"suite '{name}' is provided by {' and '.join(sorted(suites[name]))}: uninstall one of them"
        )
    (table,) = suites[name].values()
    return table if isinstance(table, dict) else {}


def suites() -> list[str]:
    """Return the names of the suites that packages bring."""
    return list(_installed_suites())


def _installed_suites() -> dict[str, dict[str, Any]]:
    """Return the tables of all installed suites by name and distribution. A warning names each one left out."""
    suites: dict[str, dict[str, Any]] = {}
    packages = {entry.value: plugins.distribution_of(entry) for entry in plugins.declared(SUITES)}
    for package, distribution in sorted(packages.items(), key=lambda package: package[1] != plugins.OURS):
        try:
            tables = decode_toml(files(package).joinpath("suites.toml").read_text(encoding="utf-8"))
        except FOREIGN as error:  # importing a package may raise anything
            plugins.warn_left_out(
                f"the suites of {distribution} cannot be read ({error_summary(error)}): fix or uninstall it"
            )
            continue
        for name, table in tables.items():
            if plugins.OURS in suites.get(name, {}):
                plugins.warn_left_out(
                    f"the suite {name} of {distribution} is left out, as clipbench has one: rename it"
                )
            else:
                suites.setdefault(name, {})[distribution] = table
    return suites


def plan(
    tasks: Sequence[str],
    suite: str,
    *,
    own_samples: bool = False,
    data: str | Dataset | None = None,
    prompts: Path | None = None,
) -> list[Request]:
    """Return the evaluations that ``--tasks`` asks for, each once, in order.

    Args:
        tasks: values of ``--tasks``: ``all``, ``TASK`` (on every data set the suite has for it), ``TASK@DATA``;
            each may hold several, separated by commas.
        own_samples: the model comes with its own samples, so ``TASK`` runs on them instead, and ``all`` means the
            tasks that they allow.
        data: the data of every task, instead of the suite's.
        prompts: a file with prompts for the tasks that take some.

    Raises:
        UsageError: an unknown task, a task without data that the suite has no data for, data that are named twice, or a
            suite that asks for a task on the same data in two ways.
    """
    suite_requests = read_suite(suite, needs_data=not own_samples)
    if own_samples:
        suite_requests = [*_with_same_data(None, suite_requests), *_modality_requests()]
    not_only_by_name = [request for request in suite_requests if not request.only_by_name]
    distinct: dict[str, Request] = {}
    for selector in (part.strip() for names in tasks for part in names.split(",")):
        if not selector:
            continue
        is_all = selector.lower() == "all"
        expanded = not_only_by_name if is_all else _expand(selector, suite_requests)
        _refuse_conflicts(expanded, suite)
        for request in expanded:
            if not is_all or request.name not in distinct:  # what is asked for by name is not optional
                distinct[request.name] = replace(request, is_optional=is_all)
    if not distinct:
        raise UsageError(f"no task given: expected {option('tasks', 'all')}, TASK or TASK@DATA (clipbench list tasks)")
    requests = list(distinct.values())
    for request in requests:
        build_task(request)
    if data is not None:
        task_with_data = next((task for task in tasks if names_data(task)), None)
        if task_with_data is not None:
            raise UsageError(
                f"'{task_with_data}' names its data, and data is given for all tasks: remove one of the two"
            )
        requests = with_data(requests, data)
    return requests if prompts is None else with_prompts(requests, read_prompts(prompts))


def _expand(selector: str, suite_requests: list[Request]) -> list[Request]:
    task, data = split_evaluation(selector)
    task = task.lower().replace("_", "-")
    names = plugins.names(plugins.TASKS)
    if task not in names:
        raise UsageError(f"unknown task '{task}': {did_you_mean(task, [*names, 'all'])} (clipbench list tasks)")
    if names_data(selector):
        if not data:
            raise UsageError(f"'{selector}' names no data: expected TASK@DATA, such as {task}@path/to/data")
        return [Request(task=task, data=data)]
    return [request for request in suite_requests if request.task == task] or [Request(task=task)]


def _refuse_conflicts(requests: Sequence[Request], suite: str) -> None:
    """Raise UsageError if two requests of a suite have the same task and data: a result cannot distinguish them."""
    first: dict[str, Request] = {}
    for request in requests:
        if first.setdefault(request.name, request) != request:
            raise UsageError(
                f"suite {suite} has two evaluations of {request.name} with other params, data_options, limit or main:"
                " put each into a suite of its own"
            )


def with_data(requests: Sequence[Request], data: str | Dataset) -> list[Request]:
    """Return the requests with the same data for all, without duplicates."""
    name = data.id if isinstance(data, Dataset) else data
    if isinstance(data, Dataset) and any(request.is_optional for request in requests):
        requests = drop_unsupported(
            [*requests, *(replace(request, is_optional=True) for request in _modality_requests())], data
        )
    requests = _with_same_data(name, requests)
    return [request for index, request in enumerate(requests) if request not in requests[:index]]


def _with_same_data(data: str | None, requests: Sequence[Request]) -> list[Request]:
    return [replace(request, data=data, data_options={}, limit=None, main=()) for request in requests]


def drop_unsupported(requests: Sequence[Request], data: Dataset) -> list[Request]:
    """Return the requests without optional ones about modalities that the data lacks.

    Example:
        >>> images = Dataset(id="pets", images=[], image_ids=[])
        >>> [
        ...     request.task
        ...     for request in drop_unsupported(
        ...         [Request(task="retrieval"), Request(task="modalities", is_optional=True)], images
        ...     )
        ... ]
        ['retrieval']
    """
    has_images = data.modalities is None or len(data.images) > 0
    fits = {True: data.modalities is not None, False: has_images}
    return [
        request for request in requests if not request.is_optional or fits[task_class(request.task).needs_modalities]
    ]


def _modality_requests() -> list[Request]:
    """Return a request for each installed task that needs modalities, without broken plug-ins."""
    tasks = plugins.load_usable(plugins.TASKS, task_class)
    return [Request(task=name) for name, task in tasks.items() if task.needs_modalities]


def with_prompts(requests: Sequence[Request], prompts: object) -> list[Request]:
    """Return the requests with the parameter ``prompts`` for each task that has it, or raise UsageError if none has."""
    takes = {request.task: "prompts" in _parameters(request.task) for request in requests}
    if not any(takes.values()):
        raise UsageError(
            f"{option('prompts')} has no effect on {', '.join(sorted(takes))}: expected a task with prompts"
        )
    prompted = []
    for request in requests:
        if takes[request.task]:
            prompted.append(replace(request, params={**request.params, "prompts": prompts}))
        else:
            prompted.append(request)
    return prompted


def build_task(request: Request) -> Task:
    """Return the task of a request, or raise UsageError for an unknown task or parameter, or a wrong value."""
    kinds, values = _parameters(request.task), {}
    for name, value in request.params.items():
        if name not in kinds:
            raise UsageError(f"task '{request.task}' has no parameter '{name}': {did_you_mean(name, kinds)}")
        if isinstance(value, dict) and any(map(is_dataclass, (kinds[name], *get_args(kinds[name])))):
            raise UsageError(f"task '{request.task}', parameter {name} is {shown(value)}: a suite cannot give it")
        try:
            values[name] = parse_value(kinds[name], value, name)
        except SchemaError as error:
            raise UsageError(f"task '{request.task}', parameter {error}") from error
    return task_class(request.task)(**values)


def task_class(name: str) -> type[Task]:
    """Return the task class of a name, or raise UsageError if there is none, or its plug-in is not a task."""
    task = plugins.load(plugins.TASKS, name)
    parts = ("name", "version", "summary")
    is_task = isinstance(task, type) and issubclass(task, Task) and is_dataclass(task)
    if not is_task or not all(hasattr(task, part) for part in parts):
        raise UsageError(
            f"plug-in '{name}' is not a task: expected a dataclass derived from clipbench.Task, with {', '.join(parts)}"
        )
    return task


def _parameters(task: str) -> dict[str, Any]:
    """Return the type of each parameter, ``object`` if a plug-in's annotations cannot be read."""
    kind = task_class(task)
    assert is_dataclass(kind), kind
    try:
        hints = get_type_hints(kind)
    except NameError:  # a name that is imported for type checkers only
        hints = {}
    return {parameter.name: hints.get(parameter.name, object) for parameter in fields(kind)}
