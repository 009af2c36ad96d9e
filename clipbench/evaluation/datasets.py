"""The data of a session: each data set is loaded once, and what went wrong with it is kept too."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from clipbench.data import DataOptions, Dataset, depends_on_task, for_task, load_data, random_subset
from clipbench.data.needs import Use
from clipbench.errors import ClipbenchError, UsageError
from clipbench.evaluation.plan import Request, task_class
from clipbench.seeding import generator

FIXED_NOTE = (
    "a fixed subset of the suite's: intervals are wide, and values are no substitute for those on all of the data"
)


class Datasets:
    """Where evaluations get their data.

    Args:
        options: how all data are found and read; a request adds its own.
        limit: images to cut a data set down to, a seeded, stratified subset; None for all.
        given: a data set in memory, which requests name by its id.
    """

    def __init__(
        self, options: DataOptions, *, seed: int = 0, limit: int | None = None, given: Dataset | None = None
    ) -> None:
        self._options = options
        self._given = given
        self._seed = seed
        self._limit = limit
        self._loaded: dict[tuple[str, ...], Dataset | ClipbenchError] = {}

    def get(self, request: Request) -> Dataset:
        """Return the data of a request, cut down to the limit; raise what loading them raised."""
        if request.data is None:
            raise UsageError(f"'{request.task}' has no data in this suite: {_advice(request.task)}")
        task = request.task if depends_on_task(request.data, request.task) else ""
        key = (request.data, repr(request.data_options), task, str(self._limit_of(request)))
        if key not in self._loaded:
            self._loaded[key] = self._load(request, request.data)
        dataset = self._loaded[key]
        if isinstance(dataset, ClipbenchError):
            raise dataset
        return dataset

    def check(self, requests: Sequence[Request]) -> None:
        """Load everything before any work.

        Raises:
            UsageError: a reference or an option is wrong, so nothing is worth starting before it is mended. Data
                that are malformed or not there are reported later, by the evaluation that needs them.
        """
        for request in requests:
            try:
                self.get(request)
            except UsageError:
                raise
            except ClipbenchError:
                continue

    def problems(self, requests: Sequence[Request]) -> Mapping[str, list[str]]:
        """Return why data cannot be had or are malformed, with the tasks that ask for them."""
        tasks: dict[str, list[str]] = {}
        for request in requests:
            try:
                self.get(request)
            except ClipbenchError as error:
                tasks.setdefault(str(error), []).append(request.task)
        return tasks

    def uses(self, requests: Sequence[Request]) -> Mapping[str, Use]:
        """Return what the requests ask of each data set."""
        uses: dict[str, Use] = {}
        for request in requests:
            n_images = self._limit_of(request)
            if request.data is None:
                continue
            before = uses.get(request.data)
            if before is not None:
                n_images = None if None in (n_images, before.n_images) else max(n_images or 0, before.n_images or 0)
            uses[request.data] = Use([*(before.tasks if before else ()), request.task], n_images)
        return uses

    def cut(self, dataset: Dataset, request: Request | None = None) -> Dataset:
        """Return the subset that the limit asks for, drawn with the session's seed, or the one that the suite fixes."""
        limit = self._limit if request is None else self._limit_of(request)
        if limit is None:
            return dataset
        is_fixed = request is not None and request.limit == limit
        subset = random_subset(dataset, limit, generator(0 if is_fixed else self._seed, "limit", dataset.id))
        return replace(subset, notes=(*subset.notes, FIXED_NOTE)) if is_fixed and subset is not dataset else subset

    def _limit_of(self, request: Request) -> int | None:
        """Return the smaller of the session's limit and the suite's."""
        return min((limit for limit in (self._limit, request.limit) if limit is not None), default=None)

    def _load(self, request: Request, reference: str) -> Dataset | ClipbenchError:
        options = replace(
            self._options,
            task=request.task,
            n_images=self._limit_of(request),
            options={**self._options.options, **request.data_options},
        )
        try:
            if self._given is not None and reference == self._given.id:
                return self.cut(for_task(self._given, options), request)
            return self.cut(load_data(reference, options), request)
        except ClipbenchError as error:
            return error


def _advice(task: str) -> str:
    """Return which data a task could have where its suite names none."""
    if getattr(task_class(task), "needs_modalities", False):  # no reference names such data
        return (
            "it measures the modalities of a file of vectors, --model embeddings:FILE, or in Python those of a model in"
            " memory, data={'audio': [...], 'text': [...]}"
        )
    return f"name some, {task}@DATA, such as {task}@scenes"
