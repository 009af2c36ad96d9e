"""The site on which a pool is judged: one query at a time, its photographs in random order, blind to the models.

A photograph is asked for by the places of its query and its own among the candidates, never by a path.
"""

import io
import shlex
from pathlib import Path
from typing import Any

from PIL import ImageOps
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response

from clipbench.choosing.judgement_log import (
    PoolJudgements,
    append,
    grade_lines,
    read_log,
    skip_lines,
    undo_lines,
    unskip_lines,
    write_qrels,
)
from clipbench.choosing.pool import GRADES, MOST_GRADE, Pool, read_pool
from clipbench.choosing.verdict import choose_model
from clipbench.data.images import FileImage, rgb
from clipbench.errors import UsageError
from clipbench.results.table import as_html
from clipbench.untrusted.reading import decode_json, is_int64
from clipbench_reports.view.pages import SiteAnswers, recent, render
from clipbench_reports.view.site import POLICY, Site

SIDE = 640
"""The longest side of a photograph on the page, in pixels."""
MOST_KEPT = 256
"""Photographs that are kept as the page shows them."""
MOST_LETTERS = 100
"""Characters of a judge's name."""


def judge(folder: Path, port: int, judge: str) -> Site:
    """Return the site on which a judge judges the pool in a folder.

    Raises:
        UsageError: there is no such pool, or the judge has no name.
        MachineError: the port is taken.
        DataError: a file of the pool is damaged, or a line of its log is not a judgement.
    """
    if not judge.strip() or len(judge) > MOST_LETTERS:
        raise UsageError(f"--judge {judge!r:.60}: expected a name of 1 to {MOST_LETTERS} characters")
    read_log(read_pool(folder))
    return Site(lambda token: Judging(read_pool(folder), judge.strip(), token), port, "clipbench judge")


class Judging(SiteAnswers):
    """The answers of the site."""

    static = ("page.js", "judge.js", "judge.css")

    def __init__(self, pool: Pool, judge: str, token: str) -> None:
        self.reads = {"/": self.page, "/state": self.state, "/image": self.image, "/verdict": self.verdict}
        self.writes = {"/judge": self.write}
        self._pool, self._judge, self._token = pool, judge, token
        self._queries = [*pool.queries]
        self._small = recent(MOST_KEPT, _small)

    def page(self, request: Request) -> Response:
        """Return the page, whose script requests the state."""
        command = shlex.join(["clipbench", "choose", str(self._pool.folder)])
        text = render("judge.html.j2", token=self._token, judge=self._judge, grades=GRADES, command=command)
        return HTMLResponse(text, headers={"content-security-policy": POLICY.replace("img-src", "img-src 'self'")})

    def state(self, request: Request) -> Response:
        """Return the first query that the judge has not judged yet, or the one that is asked for."""
        judgements = read_log(self._pool)
        index = request.query_params.get("query")
        if index is not None:
            return self._state(judgements, self._queries.index(self._query(index)))
        return self._state(judgements, self._next(judgements, -1))

    def image(self, request: Request) -> Response:
        """Return a photograph, by the indices of its query and of itself."""
        images = self._pool.candidates[self._query(request.query_params.get("query", ""))]
        name = request.query_params.get("place", "")
        if not is_int64(name) or not 0 <= int(name) < len(images):
            raise KeyError(name)
        content = self._small(self._pool.images[images[int(name)]])
        return Response(content, media_type="image/jpeg", headers={"cache-control": "private, max-age=3600"})

    def verdict(self, request: Request) -> Response:
        """Return the verdict so far."""
        choice = choose_model(read_log(self._pool))
        return JSONResponse(
            {
                "sentence": choice.sentence,
                "tables": [as_html(table, "list") for table in choice.tables()],
                "facts": choice.facts(),
            }
        )

    def write(self, request: Request, content: bytes) -> Response:
        """Append to the log, and return the next state once the lines are on the disk.

        ``{"query": 3, "grades": {"0": 2}}`` grades photographs by their places, with ``"next"`` all others as not
        relevant, and goes on; ``{"query": 3, "skip": true}`` skips the query, until it is graded after all;
        ``{"undo": true}`` takes the last of these back.
        """
        try:
            body = decode_json(content.decode())
        except ValueError as error:
            raise UsageError(f"the request is not JSON: {error}") from error
        if not isinstance(body, dict):
            raise UsageError("the request is not a JSON object")
        query_index, goes_on, is_undo = -1, True, body.get("undo") is True
        if is_undo:
            log_lines = undo_lines(read_log(self._pool), self._judge)
        else:
            query = self._query(str(body.get("query", "")))
            is_skip, is_next = (body.get(name) is True for name in ("skip", "next"))
            query_index, goes_on = self._queries.index(query), is_skip or is_next
            if is_skip:
                log_lines = skip_lines(query, self._judge)
            else:  # a grade takes a skip back
                log_lines = unskip_lines(read_log(self._pool), query, self._judge)
                log_lines += grade_lines(query, self._grades(query, body), self._judge)
        if log_lines:
            append(self._pool, log_lines)
        if log_lines and is_undo:
            query_index, goes_on = self._queries.index(log_lines[0].query), False
        judgements = read_log(self._pool)
        if goes_on or is_undo:  # not at each key
            write_qrels(judgements)
        return self._state(judgements, self._next(judgements, query_index) if goes_on else query_index)

    def _query(self, index: str) -> str:
        if not is_int64(index) or not 0 <= int(index) < len(self._queries):
            raise KeyError(index)
        return self._queries[int(index)]

    def _grades(self, query: str, body: dict[str, Any]) -> dict[str, int | None]:
        images, grades = self._pool.candidates[query], body.get("grades", {})
        image_at = {str(index): image for index, image in enumerate(images)}
        if not isinstance(grades, dict) or not grades.keys() <= image_at.keys():
            raise UsageError(f"the keys of grades are indices of images: expected 0 to {len(images) - 1}")
        if not all(type(grade) is int and 0 <= grade <= MOST_GRADE for grade in grades.values()):
            raise UsageError(f"a grade is an integer from 0 to {MOST_GRADE}")
        rest: list[str] = []
        if body.get("next") is True:
            judged_images = read_log(self._pool).lines_by_image(query, self._judge)
            rest = [image for image in images if image not in judged_images]
        return {**dict.fromkeys(rest, 0), **{image_at[index]: grade for index, grade in grades.items()}}

    def _next(self, judgements: PoolJudgements, query_index: int) -> int | None:
        """Return the index of the next query that the judge has not judged, or None if none is left."""
        n = len(self._queries)
        following = [(query_index + step) % n for step in range(1, n + 1)]
        for index in following:
            if not judgements.is_done(self._queries[index], self._judge):
                return index
        return None

    def _state(self, judgements: PoolJudgements, index: int | None) -> Response:
        queries, texts = self._queries, self._pool.queries
        skipped = []
        for query in judgements.skipped(self._judge):
            skipped.append({"query": queries.index(query), "text": texts[query]})
        state: dict[str, Any] = {
            "n_queries": len(queries),
            "n_done": sum(judgements.is_done(query, self._judge) for query in queries),
            "skipped": skipped,
            "notes": judgements.notes,
            "query": None,
        }
        if index is not None:
            query = queries[index]
            lines = judgements.lines_by_image(query, self._judge)
            grades = [lines[image].grade if image in lines else None for image in self._pool.candidates[query]]
            state |= {"query": index, "text": texts[query], "grades": grades}
        return JSONResponse(state)


def _small(path: Path) -> bytes:
    """Return a photograph as the page shows it, upright: a judge sees what a visitor would."""
    image = rgb(ImageOps.exif_transpose(FileImage(path).open()))
    image.thumbnail((SIDE, SIDE))
    file = io.BytesIO()
    image.save(file, "JPEG", quality=85)
    return file.getvalue()
