"""The data sets of a session: missing ones are fetched, each is loaded once, and its errors are kept."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

from clipbench.data import Dataset, random_subset
from clipbench.data.catalogue.download import readable_size
from clipbench.data.catalogue.needs import Need, Use, fetch_needs, find_needs, look_up_needs
from clipbench.data.dataset_loading import adapt_to_form, depends_on_form, load_data
from clipbench.data.distractors import drop_own_images
from clipbench.errors import (
    ClipbenchError,
    DataError,
    MissingPart,
    Unavailable,
    UsageError,
    on_command_line,
    option,
)
from clipbench.evaluation.plan import Request, RunOptions, build_task, task_class
from clipbench.evaluation.progress import Progress
from clipbench.evaluation.task import Task, can_use_vectors
from clipbench.models.protocol import Embedder
from clipbench.results.grouping import group_values
from clipbench.seeding import generator

FIXED_NOTE = "a fixed subset of the suite's: intervals are wide, and values do not replace values on all of the data"


class Datasets:
    """The data sets of a session, each loaded once.

    Args:
        options: how data is found and read, to which a request adds its own, and the number of images to cut them down
            to.
        memory_dataset: a data set in memory, which requests refer to by its id.
    """

    def __init__(self, options: RunOptions, memory_dataset: Dataset | None = None) -> None:
        self._options = options
        self._memory_dataset = memory_dataset
        self._loaded: dict[tuple[str, ...], Dataset | ClipbenchError] = {}

    def get(self, request: Request) -> Dataset:
        """Return the data set of a request, cut down to the limit, or raise the error of its loading."""
        if request.data is None:
            raise UsageError(f"'{request.task}' has no data in this suite: {_advice(request.task)}")
        form = task_class(request.task).data_form
        own_form = form if depends_on_form(request.data, form) else ""
        key = (request.data, repr(request.data_options), own_form, str(self._limit_of(request)))
        if key not in self._loaded:
            try:
                self._loaded[key] = self._load(request, request.data)
            except ClipbenchError as error:
                self._loaded[key] = error
        dataset = self._loaded[key]
        if isinstance(dataset, ClipbenchError):
            raise dataset
        return dataset

    def _load(self, request: Request, reference: str) -> Dataset:
        options = replace(
            self._options.data,
            form=task_class(request.task).data_form,
            n_images=self._limit_of(request),
            options={**self._options.data.options, **request.data_options},
        )
        if self._memory_dataset is not None and reference == self._memory_dataset.id:
            return self.cut(adapt_to_form(self._memory_dataset, options), request)
        return self.cut(load_data(reference, options), request)

    def cut(self, dataset: Dataset, request: Request | None = None) -> Dataset:
        """Return the subset that the limit asks for, drawn with the session's seed, or the one that the suite fixes."""
        limit = self._options.limit if request is None else self._limit_of(request)
        if limit is None:
            return dataset
        is_fixed = request is not None and request.limit == limit
        subset = random_subset(dataset, limit, generator(0 if is_fixed else self._options.seed, "limit", dataset.id))
        return replace(subset, notes=(*subset.notes, FIXED_NOTE)) if is_fixed and subset is not dataset else subset

    def _limit_of(self, request: Request) -> int | None:
        return min((limit for limit in (self._options.limit, request.limit) if limit is not None), default=None)

    def dataset_for(self, request: Request, embedder: Embedder) -> Dataset:
        """Return the data set that a request scores with a model: the model's own samples, or the request's data.

        Raises:
            Unavailable: the model has vectors of its own samples only, and they do not allow the task.
        """
        if embedder.dataset is None:
            dataset = self.get(request)
            if dataset.distractors is not None and not task_class(request.task).searches_distractors:
                unused = (*dataset.notes, "distractors are not searched by this task: left out")
                dataset = replace(dataset, distractors=None, notes=unused)
            if self._options.skip_bad_images:
                dataset = embedder.readable(dataset)
                if dataset.distractors is not None:
                    distractors = embedder.readable(dataset.distractors, "document")
                    dataset = replace(dataset, distractors=distractors, notes=(*dataset.notes, *distractors.notes))
            return drop_own_images(dataset, embedder.digests)
        if request.data is not None:
            raise Unavailable(
                f"{embedder.info.id} has vectors of its own samples only: run {request.task} without @DATA"
            )
        task = task_class(request.task)
        if not can_use_vectors(task, embedder.dataset):
            items = ", or vectors with an items.jsonl for this task" if task.held_parts else ", not vectors"
            raise Unavailable(
                f"{request.task} encodes images or texts that are not stored: it needs the model itself{items}"
            )
        return self.cut(embedder.dataset)

    def provide(
        self,
        requests: Sequence[Request],
        suite: str,
        *,
        may_fetch: bool | None,
        most_bytes: int | None,
        progress: Progress,
    ) -> list[Need]:
        """Fetch missing data sets of the catalogue, if requested, and return those that are still missing.

        Args:
            suite: the suite that the data belongs to.
            may_fetch: None leaves it to ``progress.missing``.
            most_bytes: how much may be fetched for the suite, None for any.

        Raises:
            Unavailable: it is more than that.
        """
        needs = find_needs(self.uses(requests), self._options.data.data_root)
        if may_fetch is False or not needs:
            return needs
        if any(need.can_be_fetched for need in needs):
            needs = look_up_needs(needs)
            fetched = [need for need in needs if need.can_be_fetched]
            n_bytes = sum((need.n_bytes or 0) - need.n_bytes_present for need in fetched)
            if most_bytes is not None and n_bytes > most_bytes:
                names = " ".join(need.entry.name for need in fetched)
                raise Unavailable(
                    f"suite {suite} may fetch at most {readable_size(most_bytes)}, and the servers list"
                    f" {readable_size(n_bytes)}: nothing was fetched. `clipbench data get {names}` fetches all of"
                    " this data, without a limit"
                )
        if not progress.missing(needs) and not may_fetch:
            return needs
        left = fetch_needs(needs, on_start=lambda need: progress.fetching(need, needs), on_bytes=progress.arrived)
        progress.fetched(left)
        return left

    def uses(self, requests: Sequence[Request]) -> dict[str, Use]:
        """Return the tasks and the number of images that the requests need from each data set."""
        uses: dict[str, Use] = {}
        for request in requests:
            if request.data is not None:
                tasks, most = uses.get(request.data, Use([], 0))
                limit = self._limit_of(request)
                n_images = None if most is None or limit is None else max(most, limit)
                uses[request.data] = Use([*tasks, request.task], n_images)
        return uses

    def check(self, requests: Sequence[Request]) -> None:
        """Load everything before any work.

        Raises:
            UsageError: a reference or an option is wrong, which has to be corrected before any work is worth starting.
                Data that are malformed or not there are reported later, by the evaluation that needs them.
        """
        for _, error in self.failing_requests(requests):
            if isinstance(error, UsageError):
                raise error

    def require_any_measurable(self, requests: Sequence[Request]) -> None:
        """Raise if no request can be measured: loading a model for nothing would take long.

        Raises:
            Unavailable: data is not on this machine.
            DataError: all are, and lack what the tasks need.
        """
        errors: dict[str, ClipbenchError] = {}
        for request in requests:
            error = self._loading_error(request)
            if error is None or isinstance(error, UsageError):
                return
            errors.setdefault(str(request.data) if isinstance(error, Unavailable) else request.name, error)
        if len(errors) == 1:
            ((name, only),) = errors.items()
            raise only if isinstance(only, Unavailable) else DataError(f"{name} cannot be measured: {only}") from only
        if all(isinstance(error, Unavailable) for error in errors.values()) and errors:
            command = on_command_line("clipbench run --model tiny --suite scenes")
            raise Unavailable(
                f"none of the {len(errors)} data sets is on this machine: name your own, TASK@DATA, or try generated"
                f" ones: {command or option('suite', 'scenes')}"
            )
        if errors:
            reasons = "; ".join(f"{name}: {error}" for name, error in errors.items())
            is_some_absent = any(isinstance(error, Unavailable) for error in errors.values())
            raise (Unavailable if is_some_absent else DataError)(f"nothing can be measured: {reasons}")

    def failing_requests(self, requests: Iterable[Request]) -> Iterator[tuple[Request, ClipbenchError]]:
        """Yield the requests that cannot be measured, with the error of loading their data or of the task's check."""
        return ((request, error) for request in requests if (error := self._loading_error(request)) is not None)

    def _loading_error(self, request: Request) -> ClipbenchError | None:
        try:
            check_data(build_task(request), self.get(request))
        except ClipbenchError as error:
            return error
        return None

    def supported_requests(self, requests: Sequence[Request]) -> tuple[list[Request], dict[str, str]]:
        """Return the requests that the data support, and the reason of each left-out one, all if none is supported."""
        supported, reasons = list(requests), dict[str, str]()
        for request, error in self.failing_requests(requests):
            if request.is_optional and isinstance(error, MissingPart):
                supported = [other for other in supported if other is not request]
                reasons[request.name] = str(error)
        if not supported:
            return list(requests), {}
        return supported, reasons

    def problems(self, requests: Sequence[Request], needs: Sequence[Need]) -> list[str]:
        """Return a line per malformed or missing data set that is not in ``needs``, with the tasks that request it."""
        catalogue_names = {need.entry.name for need in needs}
        not_missing = [request for request in requests if (request.data or "").lower() not in catalogue_names]
        tasks = group_values((str(error), request.task) for request, error in self.failing_requests(not_missing))
        return [f"{', '.join(names)}: {error}" for error, names in tasks.items()]


def check_data(task: Task, dataset: Dataset) -> None:
    """Raise the error of the task's check on the data that it would evaluate."""
    main_data = dataset.whole()
    with explaining_missing(main_data):
        task.check(main_data)


@contextmanager
def explaining_missing(dataset: Dataset) -> Iterator[None]:
    """Run a task's code, and add the data set's reason to the error about a missing part.

    Raises:
        Unavailable: a part is missing, and the data set has a reason for it.
    """
    try:
        yield
    except MissingPart as error:
        reason = dataset.why_missing(error.part)
        if reason is None:
            raise
        raise Unavailable(f"{error}: {reason}") from error


def _advice(task: str) -> str:
    if task_class(task).needs_modalities:  # no reference names such data
        return (
            f"it measures the modalities of a file of vectors, {option('model', 'embeddings:FILE')}, or in Python a"
            " model in memory with data={'audio': [...], 'text': [...]}"
        )
    return f"name some, {task}@DATA, such as {task}@scenes"
