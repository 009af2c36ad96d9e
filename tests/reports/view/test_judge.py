"""The judging page: who may write, what it never shows, and a pool that is judged by keys alone."""

import json
import re
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image

import clipbench as cb
from clipbench.choosing.judgement_log import read_log
from clipbench.choosing.pool import GRADES, LOG, Pool, read_pool
from clipbench.testing import ConstantModel, ToyModel
from clipbench_reports.page.choice import write_choice

site = pytest.importorskip("clipbench_reports.view.site", reason="the extra view is not installed")
judging = pytest.importorskip("clipbench_reports.view.judge", reason="the extra view is not installed")

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

Ask = Callable[..., Any]
OpenJudge = Callable[..., "Page"]
TOKEN, PORT = "the-token", 8000
ORIGIN = f"http://127.0.0.1:{PORT}"
SENT = {"method": "POST", "x_clipbench_token": TOKEN, "origin": ORIGIN}
GRADE = b'{"query": 0, "grades": {"1": 2}}'


class Other(ConstantModel):
    """A second model, which finds nothing."""


@pytest.fixture
def queries() -> list[str]:
    """Return the queries of the pool. A test that needs others has them as a parameter."""
    return ["a cat", "a dog", '<b onclick="x">&amp; שלום']


@pytest.fixture
def pool(tmp_path: Path, queries: list[str]) -> Pool:
    (tmp_path / "photographs").mkdir()
    for number in range(8):
        Image.new("RGB", (1200, 30 * (number + 1)), (30 * number, 0, 90)).save(tmp_path / f"photographs/{number}.png")
    models = [ToyModel(fingerprint="one"), Other(fingerprint="two", embed_dim=16)]
    for model, name in zip(models, ("first-model", "second-model"), strict=True):
        model.name = name  # type: ignore[attr-defined]
        model.info = type(model.info)(**{**vars(model.info), "ref": name})
    return cb.pool(models, tmp_path / "photographs", queries, tmp_path / "pool", k=3, n_random=1)


@pytest.fixture
def open_judge(browser: "Browser", pool: Pool) -> Iterator[OpenJudge]:
    """Return a function that opens the served page; what the page logs or fails at is a failure of the test."""
    trouble: list[str] = []
    served = judging.judge(pool.folder, 0, "anna")
    thread = threading.Thread(target=served.serve)
    thread.start()

    def open_page(*, width: int, height: int, has_touch: bool = False) -> "Page":
        context = browser.new_context(viewport={"width": width, "height": height}, has_touch=has_touch)
        page = context.new_page()
        page.on("console", lambda message: trouble.append(message.text))
        page.on("pageerror", lambda error: trouble.append(str(error)))
        page.goto(served.address)
        return page

    yield open_page
    served.server.should_exit = True
    thread.join()
    assert not trouble


@pytest.fixture
def app(pool: Pool) -> Any:
    return site.guarded(judging.Judging(pool, "anna", TOKEN), TOKEN, PORT, "clipbench judge")


@pytest.mark.parametrize(
    ("status", "changes"),
    [
        (403, {"cookie": ""}),
        (403, {"cookie": "clipbench-8000=wrong"}),
        (403, {"x_clipbench_token": ""}),
        (403, {"x_clipbench_token": "wrong"}),
        (403, {"origin": "http://evil.example"}),
        (403, {"origin": "http://localhost:8000"}),
        (403, {"origin": "null"}),
        (421, {"host": "evil.example:8000"}),
        (421, {"host": "127.0.0.1"}),
        (405, {"method": "GET"}),
        (405, {"method": "PUT"}),
        (405, {"address": "/state"}),
        (413, {"body": b" " * (1 << 16) + b"x"}),
        (422, {"body": b"grade=2&query=0"}),
        (422, {"body": b"[]"}),
        (422, {"body": b'{"query": 0, "grades": {"99": 1}}'}),
        (422, {"body": b'{"query": 0, "grades": {"0": 4}}'}),
        (422, {"body": b'{"query": 0, "grades": {"0": true}}'}),
        (404, {"body": b'{"query": 3, "grades": {"0": 1}}'}),
        (404, {"body": b'{"query": "../../etc", "grades": {}}'}),
    ],
)
def test_nobody_else_writes_and_nothing_else_is_written(
    app: Any, ask: Ask, pool: Pool, status: int, changes: dict[str, Any]
) -> None:
    request = {"address": "/judge", "body": GRADE, **SENT, **changes}
    assert ask(app, request.pop("address"), **request).status == status
    assert (pool.folder / LOG).read_bytes() == b""


def test_a_judgement_is_on_the_disk_with_its_answer_and_is_taken_back(app: Any, ask: Ask, pool: Pool) -> None:
    first = ask(app, "/state").text
    answer = json.loads(ask(app, "/judge", body=GRADE, **SENT).text)
    line = json.loads((pool.folder / LOG).read_text())
    query, images = next(iter(pool.candidates.items()))
    assert line | {"time": ""} == {"query": query, "image": images[1], "grade": 2, "judge": "anna", "time": ""}
    assert answer["grades"] == [None, 2, *[None] * (len(images) - 2)] and answer["text"] == pool.queries[query]
    gone_on = json.loads(ask(app, "/judge", body=b'{"query": 0, "grades": {}, "next": true}', **SENT).text)
    assert gone_on["query"] == 1 and read_log(pool).grades(query) == {**dict.fromkeys(images, 0), images[1]: 2}
    skipped = json.loads(ask(app, "/judge", body=b'{"query": 1, "skip": true}', **SENT).text)
    assert (skipped["query"], skipped["n_done"]) == (2, 2)
    for place, n_left in ((1, len(images)), (0, 1), (0, 0), (0, 0)):
        back = json.loads(ask(app, "/judge", body=b'{"undo": true}', **SENT).text)
        assert (back["query"], read_log(pool).n) == (place, n_left)
    assert ask(app, "/state").text == first


def test_the_page_is_blind_and_shows_photographs_by_their_places_alone(app: Any, ask: Ask, pool: Pool) -> None:
    answers = [ask(app, address) for address in ("/", "/state", "/image?query=0&place=1", "/static/judge.js")]
    assert [evaluation.status for evaluation in answers] == [200] * 4
    assert answers[2].headers["content-type"] == "image/jpeg"
    assert "img-src 'self' data:" in answers[0].headers["content-security-policy"]
    visible_text = "".join(evaluation.text for evaluation in answers) + "".join(
        str(evaluation.headers) for evaluation in answers
    )
    assert not any(word in visible_text for word in ("first-model", "second-model", "photographs/", *pool.images))
    wrong = [
        "query=0&place=99",
        "query=9&place=0",
        "query=0&place=-1",
        "query=0&place=../1.png",
        "query=q1&place=0",
        "",
    ]
    assert {ask(app, f"/image?{evaluation}").status for evaluation in wrong} == {404}
    pool.images[next(iter(pool.candidates.values()))[0]].unlink()
    gone = ask(app, "/image?query=0&place=0")
    assert gone.status == 422 and gone.text.startswith("cannot read image")


def test_prices_are_on_the_page_and_in_the_report(pool: Pool, tmp_path: Path) -> None:
    price = {"load_seconds": 1.0, "text_p50": 0.0121, "vector_bytes": 64, "machine": {"device": "<H100>"}}
    for prices in ({}, dict.fromkeys(pool.facts.models, price)):
        facts = json.loads((pool.folder / "pool.json").read_text()) | {"prices": prices}
        (pool.folder / "pool.json").write_text(json.dumps(facts))
        priced = read_pool(pool.folder)
        verdict = judging.Judging(priced, "anna", TOKEN).verdict(None).body.decode()
        write_choice(cb.choose(priced), tmp_path / "choice.html")
        for page in (verdict, (tmp_path / "choice.html").read_text()):
            assert ("not measured: the same pool with price=True" in page) == (not prices)
            assert all((text in page) == bool(prices) for text in ("one query, ms", ">12.1<", "on &lt;H100&gt;"))


def test_grades_have_the_same_words_on_buttons_and_in_the_docs(app: Any, ask: Ask) -> None:
    button = re.compile(r"<button [^>]*><kbd>(.)</kbd> <span>([^<]+)</span></button>")
    on_page = button.findall(ask(app, "/").text)
    row = re.compile(r"^\| `(.)` \| ([a-z ]+) \|", re.MULTILINE)
    in_docs = row.findall((Path(__file__).parents[3] / "docs" / "choose.md").read_text(encoding="utf-8"))
    assert on_page[: len(GRADES)] == [(str(grade), word) for grade, word in enumerate(GRADES)]
    assert sorted(in_docs) == sorted(on_page) and len(on_page) == len(GRADES) + 4


def test_a_pool_is_judged_by_keys_alone_to_a_live_verdict(open_judge: OpenJudge, pool: Pool) -> None:
    from playwright.sync_api import expect

    page = open_judge(width=360, height=740)
    cards, query = page.locator(".candidates button"), page.locator("[data-query]")
    texts = [*pool.queries.values()]
    expect(query).to_have_text(texts[0])
    page.keyboard.type("30")  # faster than an answer comes: each waits for what was before it
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Space")
    expect(cards.nth(3)).to_have_text("2 relevant")
    page.keyboard.type("nu")
    expect(cards.nth(2)).to_have_attribute("data-grade", "")
    page.keyboard.type("ns")
    expect(query).to_have_text(texts[2])
    page.keyboard.type("2n")
    expect(query).to_have_text("2 of 3 queries are judged, 1 skipped.")
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    expect(page.locator("[data-verdict] b")).to_have_text(cb.choose(pool.folder).sentence)
    judgements = read_log(pool)
    first, skipped, _ = pool.queries
    images = pool.candidates[first]
    assert judgements.grades(first) == {**dict.fromkeys(images, 0), images[0]: 3, images[3]: 2}
    assert judgements.is_done(skipped, "anna") and judgements.grades(skipped) is None


TEN = [f"query {letter}" for letter in "abcdefghij"]


@pytest.mark.parametrize("queries", [TEN])
@pytest.mark.parametrize("is_touch", [False, True], ids=["keys", "touch"])
def test_ten_queries_are_judged_with_two_skips_and_a_way_back(
    open_judge: OpenJudge, pool: Pool, is_touch: bool
) -> None:
    from playwright.sync_api import expect

    page = open_judge(width=360, height=740, has_touch=is_touch)
    query, listed = page.locator("[data-query]"), page.locator("[data-skipped] li button")

    def press(key: str) -> None:
        if is_touch:
            page.locator(f'.bar [data-key="{key}"]').tap()
        else:
            page.keyboard.press(key)

    texts = [*pool.queries.values()]
    skipped = [texts[2], texts[6]]
    expect(page.locator('.bar [data-key="b"]')).to_be_disabled()
    for text in texts:
        expect(query).to_have_text(text)
        press("s" if text in skipped else "n")
    expect(query).to_have_text("8 of 10 queries are judged, 2 skipped.")
    expect(listed).to_have_text(skipped)
    assert page.locator("[data-skipped]").get_attribute("open") is not None
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    assert cb.choose(pool.folder).n_skipped == 2
    page.reload()  # as after a restart: what is skipped is not forgotten
    expect(query).to_have_text("8 of 10 queries are judged, 2 skipped.")

    # Back to one from the list, and to the other by its button.
    if is_touch:
        listed.nth(1).tap()
    else:
        listed.nth(1).focus()
        page.keyboard.press("Enter")
    expect(query).to_have_text(skipped[1])
    press("2")
    press("n")
    expect(query).to_have_text("9 of 10 queries are judged, 1 skipped.")
    expect(listed).to_have_text(skipped[:1])
    press("b")
    expect(query).to_have_text(skipped[0])
    press("n")
    expect(query).to_have_text("All queries are judged. Thank you.")
    expect(page.locator("[data-skipped]")).to_be_hidden()
    judgements = read_log(pool)
    assert not judgements.skipped() and all(judgements.grades(query_id) is not None for query_id in pool.queries)
    second = next(query_id for query_id, text in pool.queries.items() if text == skipped[1])
    assert max((judgements.grades(second) or {}).values()) == 2

    # A step back is taken back like any other, and leaves the query open.
    press("u")
    expect(query).to_have_text(skipped[0])
    assert read_log(pool).grades([*pool.queries][2]) is None


def test_a_skip_in_another_session_is_listed_for_its_judge_only(app: Any, ask: Ask, pool: Pool) -> None:
    ask(app, "/judge", body=b'{"query": 1, "skip": true}', **SENT)
    (skipped,) = json.loads(ask(app, "/state").text)["skipped"]
    assert skipped == {"query": 1, "text": [*pool.queries.values()][1]}
    other = site.guarded(judging.Judging(pool, "ben", TOKEN), TOKEN, PORT, "clipbench judge")
    assert json.loads(ask(other, "/state").text)["skipped"] == []
    assert json.loads(ask(app, "/state?query=1").text)["query"] == 1
    assert ask(app, "/state?query=9").status == ask(app, "/state?query=x").status == 404


@pytest.mark.parametrize("queries", [TEN])
def test_the_scope_of_the_list_counts_what_is_skipped(app: Any, ask: Ask, pool: Pool) -> None:
    for index in range(10):
        body = b'{"query": %d, "skip": true}' if index in (2, 6) else b'{"query": %d, "grades": {}, "next": true}'
        ask(app, "/judge", body=body % index, **SENT)
    choice = cb.choose(pool.folder, scope="list")
    assert not choice.is_decided and (choice.n_open, choice.n_skipped) == (2, 2)
    assert "The list has 0 left, and 2 that are skipped or judged in part" in choice.sentence
    assert "about 0 more" not in choice.sentence
    text = str(choice)
    assert text.startswith("Not decided after 8 queries")
    assert "in brackets what it may become with the 2 open queries, which is not a confidence interval" in text
    assert "2 queries are open (2 skipped)" in text


IS_IN_VIEW = """(element) => {
  const { left, top, right, bottom, height } = element.getBoundingClientRect();
  const corners = [[left + 4, top + 4], [right - 4, top + 4], [left + 4, bottom - 4], [right - 4, bottom - 4]];
  return height > 0 && corners.every(([x, y]) => element.contains(document.elementFromPoint(x, y)));
}"""


@pytest.mark.parametrize(
    ("width", "height", "is_touch"), [(360, 560, True), (1280, 420, False)], ids=["phone, touch", "low window, keys"]
)
def test_query_progress_and_verdict_stay_in_view(
    open_judge: OpenJudge, pool: Pool, width: int, height: int, is_touch: bool
) -> None:
    from playwright.sync_api import expect

    page = open_judge(width=width, height=height, has_touch=is_touch)
    n_graded = 0
    for number, (query, text) in enumerate(pool.queries.items()):
        expect(page.locator("[data-query]")).to_have_text(text)
        cards = page.locator(".candidates button")
        for index in range(len(pool.candidates[query])):
            if is_touch:
                cards.nth(index).tap()
            else:
                page.keyboard.press("1")
            expect(cards.nth(index)).to_have_text("2 relevant" if is_touch else "1 somewhat")
            assert page.locator(":focus").evaluate(IS_IN_VIEW), (query, index)
            n_graded += 1
        n = len(pool.candidates[query])
        progress = f"{number + 1} of 3 queries done, {n} of {n} photographs"
        page.evaluate("scrollTo(0, document.body.scrollHeight)")
        assert page.evaluate("scrollY") > 0
        expect(page.locator("[data-progress]")).to_have_text(progress)
        for part in ("h1", "[data-progress]", "[data-sentence]", ".bar"):
            assert page.locator(part).evaluate(IS_IN_VIEW), (query, part)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        if is_touch:
            page.locator('.bar [data-key="n"]').tap()
        else:
            page.keyboard.press("n")
    sentence = cb.choose(pool.folder).sentence
    assert read_log(pool).n == n_graded and f"after 3 queries and {n_graded} judgements" in sentence
    expect(page.locator("[data-sentence]")).to_have_text(sentence)
    expect(page.locator("[data-end]")).to_contain_text(f"clipbench choose {pool.folder}")
    assert page.locator("[data-end]").evaluate(IS_IN_VIEW)
