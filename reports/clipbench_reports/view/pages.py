"""The pages of the site, by address and query. Nothing in a query is ever taken for a path."""

import re
import tempfile
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from html import unescape
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar
from urllib.parse import urlencode

from markupsafe import Markup, escape
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response

from clipbench.comparison.compare import compare
from clipbench.comparison.gate import Judged
from clipbench.errors import UsageError
from clipbench.results import numbers as fmt
from clipbench.results.provenance import moment
from clipbench.results.run import Run, model_name
from clipbench.results.titles import readable
from clipbench.untrusted.reading import is_int64
from clipbench_reports.compiled import environment
from clipbench_reports.page.compare import write_compare
from clipbench_reports.page.evidence import MissingEvidence
from clipbench_reports.page.report import CONTROL_CHARACTERS, write_report
from clipbench_reports.view.index import Column, Index
from clipbench_reports.view.rows import RunChoice, column_choices, listed
from clipbench_reports.view.samples import PAGE, SORTS, SampleChoice, Samples, read_samples
from clipbench_reports.view.vectors import MOST_PAIRS, Vectors, colourings, find_vectors, flat_map

MOST_RUNS = 8
"""Runs of a comparison or a joint report."""
MOST_OTHERS = 200
"""Runs that samples may be held against, the newest."""
MOST_CHOSEN = 60
"""Samples of a lasso that are listed."""
PROJECTIONS = {"pca": "PCA", "umap": "UMAP"}
OWN_POLICY = "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"


Made = TypeVar("Made")


class Opened(NamedTuple):
    """A run that a query names."""

    id: str
    stamp: Hashable
    """Another one, another content."""
    run: Run


class Recent(Generic[Made]):
    """The thing that was made last, by its ingredients; one at a time, as each takes long."""

    def __init__(self, n: int) -> None:
        self._n, self._lock, self._made = n, threading.Lock(), OrderedDict[Hashable, Made]()

    def get(self, key: Sequence[Hashable], make: Callable[[], Made]) -> Made:
        """Return what was made under a key, or make it."""
        key = tuple(key)
        with self._lock:
            made = self._made[key] if key in self._made else make()
            self._made[key] = made
            self._made.move_to_end(key)
            while len(self._made) > self._n:
                self._made.popitem(last=False)
            return made


class Pages:
    """The pages over the runs of an index."""

    def __init__(self, index: Index) -> None:
        self._index = index
        self._choices = Recent[dict[str, Column]](1)
        self._written = Recent[str](8)
        self._samples = Recent[Samples](4)
        self._vectors = Recent[Vectors](2)
        self._maps = Recent[dict[str, object]](4)

    def runs(self, request: Request) -> Response:
        """Return the list of runs."""
        rows = self._index.rows()
        query = request.query_params
        asked = RunChoice(
            words=query.get("q", ""),
            sort=query.get("sort", "created"),
            is_rising=query.get("order") == "rising",
            is_grouped="group" in query,
            columns=query.getlist("column"),
            page=_whole(query.get("page")),
        )
        shown = listed(rows, self._choices.get([self._index.version], lambda: column_choices(rows)), asked)
        return _page("runs.html.j2", request, shown=shown, asked=asked, n_all=len(rows), index=self._index)

    def state(self, request: Request) -> Response:
        """Return what changes with the list of runs."""
        self._index.rows()
        return JSONResponse({"state": self._index.state})

    def report(self, request: Request) -> Response:
        """Return the report of one run or several."""
        return self._written_page(write_report, self._chosen(request))

    def compare(self, request: Request) -> Response:
        """Return the comparison of candidates with a base, the first run."""
        opened = self._chosen(request)
        if len(opened) < 2:
            raise UsageError("choose two runs or more to compare")
        return self._written_page(_write_comparison, opened)

    def samples(self, request: Request) -> Response:
        """Return the samples of an evaluation, of one run or of two."""
        opened = self._chosen(request)[:2]
        names = _with_samples(opened[0].run)
        samples = self._read(opened, request.query_params.get("of") or names[0])
        asked = _asked(request, samples)
        rows = samples.rows(asked)
        n_pages = max(1, -(-len(rows) // PAGE))
        page = min(max(1, _whole(request.query_params.get("page"))), n_pages)
        return _page(
            "samples.html.j2",
            request,
            opened=opened,
            samples=samples,
            asked=asked,
            names=names,
            n=len(rows),
            page=page,
            n_pages=n_pages,
            shown=[samples.sample(row, asked.by) for row in rows[PAGE * (page - 1) : PAGE * page].tolist()],
            sorts={name: title for name, title in SORTS.items() if name != "change" or len(opened) > 1},
            others=[row for row in self._index.rows() if not row.fault and row.id != opened[0].id][:MOST_OTHERS],
        )

    def sample(self, request: Request) -> Response:
        """Return a sample with its nearest neighbours."""
        opened = self._chosen(request)[:2]
        samples = self._read(opened, request.query_params["of"])
        asked, row = _asked(request, samples), _whole(request.query_params["row"])
        if not 0 <= row < len(samples):
            raise KeyError(row)
        order = samples.rows(asked).tolist()
        place = order.index(row) if row in order else len(order)
        neighbours, vectors, lacking = [], None, ""
        try:
            vectors = self._read_vectors(opened[0], samples.records[0].dataset.id)
            neighbours = list(vectors.neighbours(vectors.pair_of(samples, row)))
        except MissingEvidence as reason:
            lacking = str(reason)
        return _page(
            "sample.html.j2",
            request,
            opened=opened,
            samples=samples,
            asked=asked,
            sample=samples.sample(row, asked.by),
            before=order[place - 1] if 0 < place < len(order) else None,
            after=order[place + 1] if place + 1 < len(order) else None,
            place=place,
            n=len(order),
            neighbours=neighbours,
            vectors=vectors,
            lacking=lacking,
        )

    def map(self, request: Request) -> Response:
        """Return the page of the map; its script asks for the points."""
        opened = self._chosen(request)[0]
        data = [each for each in [request.query_params.get("data")] if each] or _measured(opened.run)
        for name in data:
            try:
                self._read_vectors(opened, name)
            except MissingEvidence as error:
                reason = error
            else:
                projection = _projection(request)
                return _page(
                    "map.html.j2", request, opened=[opened], data=name, projection=projection, kinds=PROJECTIONS
                )
        raise reason

    def points(self, request: Request) -> Response:
        """Return what the map draws."""
        opened, data, projection = self._chosen(request)[0], request.query_params["data"], _projection(request)
        vectors = self._read_vectors(opened, data)
        content = self._maps.get(
            (opened.id, opened.stamp, data, projection),
            lambda: flat_map(vectors, projection, colourings(vectors, opened.run)),
        )
        return JSONResponse(content)

    def chosen(self, request: Request) -> Response:
        """Return the list of samples that were chosen on the map."""
        opened = self._chosen(request)[0]
        samples = self._read_vectors(opened, request.query_params["data"]).samples
        rows = [_whole(each) for each in request.query_params["rows"].split(",")][:MOST_CHOSEN]
        shown = [samples.sample(row, "") for row in rows if 0 <= row < len(samples)]
        return _page("chosen.html.j2", request, opened=[opened], samples=samples, shown=shown)

    def _chosen(self, request: Request) -> list[Opened]:
        """Return the runs that a query names, each once, the base first."""
        query = request.query_params
        names = list(dict.fromkeys([*query.getlist("base"), *query.getlist("run")]))
        if not names:
            raise UsageError("choose a run")
        if len(names) > MOST_RUNS:
            raise UsageError(f"{len(names)} runs are chosen, and {MOST_RUNS} are the most: take some away")
        return [Opened(name, *self._index.run(name)) for name in names]

    def _read(self, opened: Sequence[Opened], evaluation: str) -> Samples:
        key = [evaluation, *((each.id, each.stamp) for each in opened)]
        return self._samples.get(key, lambda: read_samples([each.run for each in opened], evaluation))

    def _read_vectors(self, opened: Opened, data: str) -> Vectors:
        return self._vectors.get((opened.id, opened.stamp, data), lambda: find_vectors(opened.run, data))

    def _written_page(self, write: "Write", opened: Sequence[Opened]) -> Response:
        """Return a page of a writer, which needs nothing of this site and brings its own policy."""
        key = [write, *((each.id, each.stamp) for each in opened)]
        text = self._written.get(key, lambda: _text(write, [each.run for each in opened]))
        found = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', text)
        policy = unescape(found[1]) if found else "default-src 'none'"
        return HTMLResponse(text, headers={"content-security-policy": f"{policy}; {OWN_POLICY}"})


Write = Callable[[Sequence[Run], Path], None]


def _text(write: Write, runs: Sequence[Run]) -> str:
    """Return a page of a writer, which writes files; nothing is left of it."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "page.html"
        write(runs, path)
        return path.read_text(encoding="utf-8")


def _write_comparison(runs: Sequence[Run], path: Path) -> None:
    base, *candidates = runs
    judged = [Judged(comparison=compare(base, candidate), outcomes=[]) for candidate in candidates]
    write_compare(judged, runs, path)


def _with_samples(run: Run) -> list[str]:
    """Return the names of the evaluations that kept samples."""
    names = [each.name for each in run.result.evaluations if each.status == "ok" and "samples" in each.files]
    if not names:
        raise MissingEvidence(f"{model_name(run)}: the run kept no samples")
    return list(dict.fromkeys(names))


def _measured(run: Run) -> list[str]:
    """Return the data sets of a run."""
    data = list(dict.fromkeys(each.dataset.id for each in run.result.evaluations if each.status == "ok"))
    if not data:
        raise MissingEvidence(f"{model_name(run)}: the run has no evaluation with numbers")
    return data


def _asked(request: Request, samples: Samples) -> SampleChoice:
    query = request.query_params
    by, sort = query.get("by", ""), query.get("sort", "")
    return SampleChoice(
        words=query.get("q", ""),
        show=query.get("show", "all"),
        by=by if by in samples.margins else next(iter(samples.margins), ""),
        sort=sort if sort in SORTS else "margin" if samples.margins else "row",
        is_falling=query.get("order") == "falling",
    )


def _projection(request: Request) -> str:
    name = request.query_params.get("projection", "pca")
    return name if name in MOST_PAIRS else "pca"


def _whole(text: str | None) -> int:
    """Return a whole number of a query; 1 for anything else."""
    return int(text) if text is not None and is_int64(text) else 1


def _page(template: str, request: Request, **context: Any) -> Response:
    query = request.query_params.multi_items()

    def link(path: str, **changes: object) -> str:
        """Return the address of a page with this query, some of it changed; None takes a part away."""
        kept = [(name, value) for name, value in query if name not in changes]
        added = [(name, value) for name, value in changes.items() if value is not None]
        return f"{path}?{urlencode([*kept, *added], errors='replace')}"

    return HTMLResponse(render(template, link=link, **context))


def render(template: str, **context: Any) -> str:
    """Return a page of the site."""
    return _ENVIRONMENT.get_template(template).render(**context).translate(CONTROL_CHARACTERS)


def _breakable(name: str) -> Markup:
    """Return a name escaped, in which a line may end after a mark that is no letter."""
    return Markup(re.sub(r"(?<=[/:@._-])(?=\w)", "<wbr>", str(escape(name))))


_ENVIRONMENT = environment(
    "clipbench_reports.view",
    {
        "quantity": fmt.quantity,
        "count": fmt.count,
        "moment": moment,
        "name": model_name,
        "breakable": _breakable,
        "readable": readable,
    },
)
