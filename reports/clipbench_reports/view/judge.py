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

from clipbench.choosing.log import Judgements, append, graded, read_log, skipped, undone, write_qrels
from clipbench.choosing.pool import GRADES, MOST_GRADE, Pool, read_pool
from clipbench.choosing.verdict import choose_model
from clipbench.data.images import FileImage, rgb
from clipbench.errors import UsageError
from clipbench.results.table import as_html
from clipbench.untrusted.reading import decode_json, is_int64
from clipbench_reports.view.pages import Answers, recent, render
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
        DataError: a file of the pool is damaged, or a line of its log is no judgement.
    """
    if not judge.strip() or len(judge) > MOST_LETTERS:
        raise UsageError(f"--judge {judge!r:.60}: expected a name of 1 to {MOST_LETTERS} characters")
    read_log(read_pool(folder))
    return Site(lambda token: Judging(read_pool(folder), judge.strip(), token), port, "clipbench judge")


class Judging(Answers):
    """The answers of the site."""

    static = ("page.js", "judge.js", "judge.css")

    def __init__(self, pool: Pool, judge: str, token: str) -> None:
        self.reads = {"/": self.page, "/state": self.state, "/image": self.image, "/verdict": self.verdict}
        self.writes = {"/judge": self.write}
        self._pool, self._judge, self._token = pool, judge, token
        self._queries = [*pool.queries]
        self._small = recent(MOST_KEPT, _small)

    def page(self, request: Request) -> Response:
        """Return the page; its script asks for the state."""
        command = shlex.join(["clipbench", "choose", str(self._pool.folder)])
        text = render("judge.html.j2", token=self._token, judge=self._judge, grades=GRADES, command=command)
        return HTMLResponse(text, headers={"content-security-policy": POLICY.replace("img-src", "img-src 'self'")})

    def state(self, request: Request) -> Response:
        """Return the first query that the judge has not done yet."""
        found = read_log(self._pool)
        return self._shown(found, self._next(found, -1))

    def image(self, request: Request) -> Response:
        """Return a photograph, by the places of its query and its own."""
        images = self._pool.candidates[self._query(request.query_params.get("query", ""))]
        name = request.query_params.get("place", "")
        if not is_int64(name) or not 0 <= int(name) < len(images):
            raise KeyError(name)
        content = self._small(self._pool.images[images[int(name)]])
        return Response(content, media_type="image/jpeg", headers={"cache-control": "private, max-age=3600"})

    def verdict(self, request: Request) -> Response:
        """Return the verdict so far."""
        chosen = choose_model(read_log(self._pool))
        return JSONResponse(
            {
                "sentence": chosen.sentence,
                "tables": [as_html(each, "list") for each in chosen.tables()],
                "facts": chosen.facts(),
            }
        )

    def write(self, request: Request, content: bytes) -> Response:
        """Append to the log, and return what is to be seen next: it is on the disk by then.

        ``{"query": 3, "grades": {"0": 2}}`` grades photographs by their places, with ``"next"`` all others as not
        relevant, and goes on; ``{"query": 3, "skip": true}`` skips the query; ``{"undo": true}`` takes the last of
        these back.
        """
        try:
            asked = decode_json(content.decode())
        except ValueError as error:
            raise UsageError(f"the request is not JSON: {error}") from error
        if not isinstance(asked, dict):
            raise UsageError("the request is no object")
        place, goes_on, is_undo = -1, True, asked.get("undo") is True
        if is_undo:
            written = undone(read_log(self._pool), self._judge)
        else:
            query = self._query(str(asked.get("query", "")))
            is_skip, is_next = (asked.get(name) is True for name in ("skip", "next"))
            place, goes_on = self._queries.index(query), is_skip or is_next
            written = skipped(query, self._judge) if is_skip else graded(query, self._grades(query, asked), self._judge)
        if written:
            append(self._pool, written)
        if written and is_undo:
            place, goes_on = self._queries.index(written[0].query), False
        found = read_log(self._pool)
        if goes_on or is_undo:  # not at each key
            write_qrels(found)
        return self._shown(found, self._next(found, place) if goes_on else place)

    def _query(self, place: str) -> str:
        if not is_int64(place) or not 0 <= int(place) < len(self._queries):
            raise KeyError(place)
        return self._queries[int(place)]

    def _grades(self, query: str, asked: dict[str, Any]) -> dict[str, int | None]:
        images, given = self._pool.candidates[query], asked.get("grades", {})
        places = {str(place): image for place, image in enumerate(images)}
        if not isinstance(given, dict) or not given.keys() <= places.keys():
            raise UsageError(f"grades are of places from 0 to {len(images) - 1}")
        if not all(type(grade) is int and 0 <= grade <= MOST_GRADE for grade in given.values()):
            raise UsageError(f"a grade is a whole number from 0 to {MOST_GRADE}")
        rest: list[str] = []
        if asked.get("next") is True:
            own = read_log(self._pool).own(query, self._judge)
            rest = [image for image in images if image not in own]
        return {**dict.fromkeys(rest, 0), **{places[place]: grade for place, grade in given.items()}}

    def _next(self, found: Judgements, place: int) -> int | None:
        """Return the place of the next query that the judge has not done; None where none is left."""
        n = len(self._queries)
        places = [(place + step) % n for step in range(1, n + 1)]
        return next((each for each in places if not found.is_done(self._queries[each], self._judge)), None)

    def _shown(self, found: Judgements, place: int | None) -> Response:
        queries = self._queries
        shown: dict[str, Any] = {
            "n_queries": len(queries),
            "n_done": sum(found.is_done(query, self._judge) for query in queries),
            "notes": found.notes,
            "query": None,
        }
        if place is not None:
            own = found.own(queries[place], self._judge)
            grades = [own[image].grade if image in own else None for image in self._pool.candidates[queries[place]]]
            shown |= {"query": place, "text": self._pool.queries[queries[place]], "grades": grades}
        return JSONResponse(shown)


def _small(path: Path) -> bytes:
    """Return a photograph as the page shows it, upright: a judge sees what a visitor would."""
    image = rgb(ImageOps.exif_transpose(FileImage(path).open()))
    image.thumbnail((SIDE, SIDE))
    file = io.BytesIO()
    image.save(file, "JPEG", quality=85)
    return file.getvalue()
