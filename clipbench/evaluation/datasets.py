"""The data of a session: each data set is loaded once, and what went wrong with it is kept too."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from clipbench.data import DataOptions, Dataset, depends_on_task, for_task, load_data, random_subset
from clipbench.errors import ClipbenchError, UsageError
from clipbench.evaluation.plan import Request
from clipbench.seeding import generator


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
            raise UsageError(f"'{request.task}' has no data in this suite: name some, {request.task}@DATA")
        task = request.task if depends_on_task(request.data, request.task) else ""
        key = (request.data, repr(request.data_options), task)
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

    def cut(self, dataset: Dataset) -> Dataset:
        """Return the subset that the limit asks for, drawn with the session's seed."""
        if self._limit is None or self._limit >= len(dataset):
            return dataset
        return random_subset(dataset, self._limit, generator(self._seed, "limit", dataset.id))

    def _load(self, request: Request, reference: str) -> Dataset | ClipbenchError:
        options = replace(self._options, task=request.task, options={**self._options.options, **request.data_options})
        try:
            if self._given is not None and reference == self._given.id:
                return self.cut(for_task(self._given, options))
            return self.cut(load_data(reference, options))
        except ClipbenchError as error:
            return error
