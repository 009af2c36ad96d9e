"""The pages of the site, by address and query. Nothing in a query is ever taken for a path."""

import re
from collections import Counter, OrderedDict
from collections.abc import Callable, Hashable, Mapping, Sequence
from concurrent.futures import Future
from html import unescape
from itertools import islice
from threading import Lock
from typing import Any, TypeVar
from urllib.parse import urlencode

from markupsafe import Markup, escape
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response

from clipbench.comparison.compare_runs import compare
from clipbench.errors import FOREIGN, UsageError
from clipbench.results import numbers as fmt
from clipbench.results.provenance import moment
from clipbench.results.run import Run, model_name
from clipbench.untrusted.reading import is_int64
from clipbench_reports.evidence import MissingEvidence
from clipbench_reports.page.compare import compare_html
from clipbench_reports.page.html import renderer
from clipbench_reports.page.report import report_html
from clipbench_reports.view.runs import (
    Opened,
    Runs,
    default_columns,
    filter_runs,
    have_different_headlines,
    metric_columns,
)
from clipbench_reports.view.samples import SORTS, SampleChoice, Samples, read_samples
from clipbench_reports.view.vectors import MOST_PAIRS, Vectors, colourings, find_vectors, flat_map

MOST_RUNS = 8
"""Runs of a comparison or a joint report."""
RUNS_OF_PAGE, SAMPLES_OF_PAGE = 100, 50
MOST_COLUMNS = 60
"""Metrics that one may choose among: the commonest."""
MOST_OTHERS = 200
"""Runs that samples may be held against, the newest."""
MOST_LETTERS = 1 << 26
"""Characters of a report: its images are part of it."""
MOST_IN_VIEW = 60
"""Samples in view on a map that are listed."""
LONG_NAME = 24
"""Characters of a name that stays whole."""
PROJECTIONS = {"pca": "PCA", "umap": "UMAP"}
OWN_POLICY = "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

Result = TypeVar("Result")
PageRow = TypeVar("PageRow")


def recent(n: int, make: Callable[..., Result]) -> Callable[..., Result]:
    """Return a function that caches its last n results, and computes a result once for concurrent calls."""
    lock, futures = Lock(), OrderedDict[tuple[Hashable, ...], Future[Result]]()

    def cached(*key: Hashable) -> Result:
        with lock:
            is_asked = key in futures
            future = futures.setdefault(key, Future())
            futures.move_to_end(key)
            while len(futures) > n:
                futures.popitem(last=False)
        if not is_asked:
            try:
                future.set_result(make(*key))
            except FOREIGN as error:
                future.set_exception(error)
                with lock:
                    futures.pop(key, None)
        return future.result()

    return cached


class SiteAnswers:
    """The functions that answer the requests of a site. An error of one becomes a refusal."""

    reads: Mapping[str, Callable[[Request], Response]]
    """By their addresses."""
    writes: Mapping[str, Callable[[Request, bytes], Response]] = {}
    """By theirs; each gets the content of the request."""
    static: Sequence[str]
    """Names of style sheets and scripts."""

    def late(self, request: Request) -> str:
        """Return the sentence for an answer that takes too long."""
        return "This takes long. Reload the page later."

    def refusal(self, reason: str, status: int) -> Response:
        """Return an answer with one line, the reason why there is no other."""
        return PlainTextResponse(reason, status)


class Pages(SiteAnswers):
    """The pages over the runs below a folder."""

    static = ("page.js", "view.js", "map.js", "view.css")

    def __init__(self, runs: Runs) -> None:
        self.reads = {
            "/": self.runs,
            "/state": self.state,
            "/report": self.report,
            "/compare": self.compare,
            "/samples": self.samples,
            "/sample": self.sample,
            "/map": self.map,
            "/map/points": self.points,
            "/map/list": self.chosen,
        }
        self._runs = runs
        self._columns = recent(1, lambda version: metric_columns(runs.rows()))
        self._written = recent(8, lambda write, *opened: write(opened))
        self._samples = recent(4, lambda name, *opened: read_samples([opened_run.run for opened_run in opened], name))
        self._vectors = recent(2, lambda opened, data: find_vectors(opened.run, data))
        self._maps = recent(4, self._map)

    def runs(self, request: Request) -> Response:
        """Return the list of runs."""
        rows, query = self._runs.rows(), request.query_params
        filters: dict[str, Any] = {
            "words": query.get("q", ""),
            "sort": query.get("sort", "created"),
            "is_rising": query.get("order") == "rising",
            "is_grouped": "group" in query,
        }
        matching = filter_runs(rows, **filters)
        choices = self._columns(self._runs.version)
        cut = _page_rows(matching, RUNS_OF_PAGE, request)
        chosen = [name for name in query.getlist("column") if name in choices]
        return _page(
            "runs.html.j2",
            request,
            **cut,
            is_chosen=bool(chosen),
            has_headlines=have_different_headlines(cut["rows"]),
            filters=filters,
            counts=Counter(row.model for row in matching),
            columns={name: choices[name] for name in chosen or default_columns(cut["rows"], choices)},
            choices=dict(islice(choices.items(), MOST_COLUMNS)),
            n_all=len(rows),
            index=self._runs,
        )

    def state(self, request: Request) -> Response:
        """Return a text that changes with the list of runs."""
        self._runs.rows()
        return JSONResponse({"state": self._runs.state})

    def report(self, request: Request) -> Response:
        """Return the report of one run or several."""
        return self._written_page(_report, self._chosen(request))

    def compare(self, request: Request) -> Response:
        """Return the comparison of candidates with a base: the requested one, or the oldest run."""
        opened = self._chosen(request)
        if "base" not in request.query_params:
            opened.sort(key=lambda opened_run: opened_run.run.result.created)
        if len(opened) < 2:
            raise UsageError("choose two runs or more to compare")
        return self._written_page(_comparison, opened)

    def samples(self, request: Request) -> Response:
        """Return the samples of an evaluation, of one run or of two."""
        opened = self._chosen(request)[:2]
        names = _evaluations_with_samples(opened[0].run)
        name = request.query_params.get("of") or names[0]
        samples: Samples = self._samples(name, *opened)
        choice = _sample_choice(request, samples)
        cut = _page_rows(samples.rows(choice).tolist(), SAMPLES_OF_PAGE, request)
        return _page(
            "samples.html.j2",
            request,
            **cut,
            opened=opened,
            samples=samples,
            choice=choice,
            names=names,
            counts={show: fmt.count(int(passing.sum())) for show, passing in samples.passing(choice.by).items()},
            shown=[samples.sample(row, choice.by) for row in cut["rows"]],
            sorts={name: title for name, title in SORTS.items() if name != "change" or len(opened) > 1},
            others=self._runs.comparable(opened[0].id, name)[:MOST_OTHERS],
        )

    def sample(self, request: Request) -> Response:
        """Return a sample with its nearest neighbours."""
        opened = self._chosen(request)[:2]
        samples: Samples = self._samples(request.query_params["of"], *opened)
        choice, row = _sample_choice(request, samples), _integer_or_1(request.query_params["row"])
        if not 0 <= row < len(samples):
            raise KeyError(row)
        order = samples.rows(choice).tolist()
        position = order.index(row) if row in order else len(order)
        neighbours, vectors, missing = [], None, ""
        try:
            vectors = self._vectors(opened[0], samples.records[0].dataset.id)
            neighbours = list(vectors.neighbours(vectors.pair_of(samples, row)))
        except MissingEvidence as reason:
            missing = str(reason)
        return _page(
            "sample.html.j2",
            request,
            opened=opened,
            samples=samples,
            choice=choice,
            sample=samples.sample(row, choice.by),
            before=order[position - 1] if 0 < position < len(order) else None,
            after=order[position + 1] if position + 1 < len(order) else None,
            position=position,
            n=len(order),
            nearest=samples.nearest(row),
            neighbours=neighbours,
            vectors=vectors,
            missing=missing,
        )

    def map(self, request: Request) -> Response:
        """Return the page of the map, whose script requests the points."""
        opened = self._chosen(request)[0]
        records = [record for record in opened.run.result.evaluations if record.status == "ok"]
        reason = MissingEvidence(f"{model_name(opened.run)}: the run has no evaluation with numbers")
        requested = request.query_params.get("data")
        for data in [requested] if requested else dict.fromkeys(record.dataset.id for record in records):
            try:
                self._vectors(opened, data)
            except MissingEvidence as error:
                reason = error
                continue
            context = {"data": data, "projection": _projection(request), "kinds": PROJECTIONS}
            return _page("map.html.j2", request, opened=[opened], **context)
        raise reason

    def points(self, request: Request) -> Response:
        """Return the points of the map."""
        opened, data = self._chosen(request)[0], request.query_params["data"]
        return JSONResponse(self._maps(opened, data, _projection(request)))

    def chosen(self, request: Request) -> Response:
        """Return the list of samples that were chosen on the map."""
        opened = self._chosen(request)[0]
        samples = self._vectors(opened, request.query_params["data"]).samples
        rows = [_integer_or_1(number) for number in request.query_params["rows"].split(",")][:MOST_IN_VIEW]
        chosen_samples = [samples.sample(row, "") for row in rows if 0 <= row < len(samples)]
        return _page("chosen.html.j2", request, opened=[opened], samples=samples, shown=chosen_samples)

    def late(self, request: Request) -> str:
        """Return the sentence for a page that takes too long, which names the runs."""
        return (
            f"{self._runs.folder_names(_names(request))}: this page takes long. "
            "It is still being made: reload it later."
        )

    def refusal(self, reason: str, status: int) -> Response:
        """Return a page with one line, the reason why there is no other."""
        return HTMLResponse(render("refusal.html.j2", reason=reason), status)

    def _chosen(self, request: Request) -> list[Opened]:
        """Return the runs that a query names, each once, the base first."""
        names = _names(request)
        if not names:
            raise UsageError("choose a run")
        if len(names) > MOST_RUNS:
            raise UsageError(f"{len(names)} runs are chosen, expected at most {MOST_RUNS}: remove some")
        return [self._runs.open(name) for name in names]

    def _map(self, opened: Opened, data: str, projection: str) -> dict[str, object]:
        vectors: Vectors = self._vectors(opened, data)
        return flat_map(vectors, projection, colourings(vectors, opened.run))

    def _written_page(self, write: Callable[[Sequence[Opened]], str], opened: Sequence[Opened]) -> Response:
        """Return a page that is independent of this site and has its own policy."""
        text = self._written(write, *opened)
        if len(text) > MOST_LETTERS:
            folders = self._runs.folder_names([opened_run.id for opened_run in opened])
            raise UsageError(f"{folders}: the page has {len(text):,} characters, expected at most {MOST_LETTERS:,}")
        meta = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', text)
        policy = unescape(meta[1]) if meta else "default-src 'none'"
        return HTMLResponse(text, headers={"content-security-policy": f"{policy}; {OWN_POLICY}"})


def _names(request: Request) -> list[str]:
    query = request.query_params
    return list(dict.fromkeys([*query.getlist("base"), *query.getlist("run")]))


def _report(opened: Sequence[Opened]) -> str:
    return report_html([opened_run.run for opened_run in opened])


def _comparison(opened: Sequence[Opened]) -> str:
    """Return the page of a comparison. With one candidate it has a link that swaps the two."""
    runs = [opened_run.run for opened_run in opened]
    comparisons = [compare(runs[0], candidate) for candidate in runs[1:]]
    swap = "/compare?" + urlencode({"base": opened[1].id, "run": opened[0].id}) if len(opened) == 2 else ""
    return compare_html(comparisons, runs, swap=swap)


def _evaluations_with_samples(run: Run) -> list[str]:
    names = [record.name for record in run.result.evaluations if record.status == "ok" and "samples" in record.files]
    if not names:
        raise MissingEvidence(f"{model_name(run)}: the run kept no samples")
    return list(dict.fromkeys(names))


def _sample_choice(request: Request, samples: Samples) -> SampleChoice:
    query = request.query_params
    by, sort = query.get("by", ""), query.get("sort", "")
    if by not in samples.margins:
        by = next(iter(samples.margins), "")
    if sort not in SORTS:
        sort = "margin" if samples.margins else "row"
    return SampleChoice(
        words=query.get("q", ""),
        show=query.get("show", "all"),
        by=by,
        sort=sort,
        is_falling=query.get("order") == "falling",
    )


def _projection(request: Request) -> str:
    name = request.query_params.get("projection", "pca")
    return name if name in MOST_PAIRS else "pca"


def _integer_or_1(text: str | None) -> int:
    """Return an integer of a query, 1 for any other text."""
    return int(text) if text is not None and is_int64(text) else 1


def _page_rows(all_rows: Sequence[PageRow], n_of_page: int, request: Request) -> dict[str, Any]:
    """Return the rows of the requested page, with its number and the numbers of all pages and rows."""
    n_pages = max(1, -(-len(all_rows) // n_of_page))
    page = min(max(1, _integer_or_1(request.query_params.get("page"))), n_pages)
    rows = all_rows[n_of_page * (page - 1) : n_of_page * page]
    return {"rows": rows, "page": page, "n_pages": n_pages, "n": len(all_rows)}


def _page(template: str, request: Request, **context: Any) -> Response:
    query = request.query_params.multi_items()

    def link(path: str, **changes: object) -> str:
        """Return the address of a page with this query, some of it changed. None removes a part."""
        unchanged = [(name, value) for name, value in query if name not in changes]
        added = [(name, value) for name, value in changes.items() if value is not None]
        return f"{path}?{urlencode([*unchanged, *added], errors='replace')}"

    return HTMLResponse(render(template, link=link, **context))


def _breakable(name: str) -> Markup:
    text = re.sub(r"(?<=[/:@._-])(?=\w)", "<wbr>", str(escape(name)))
    return Markup(f'<span class="whole">{text}</span>' if len(name) <= LONG_NAME else text)


render = renderer(
    "clipbench_reports.view",
    {
        "quantity": fmt.quantity,
        "interval": fmt.interval,
        "count": fmt.count,
        "moment": moment,
        "name": model_name,
        "breakable": _breakable,
    },
)
