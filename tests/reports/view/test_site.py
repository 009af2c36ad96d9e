"""The site: who may ask, what a page says, and that nothing but the runs below the folder is shown."""

import asyncio
import json
import os
import re
import shutil
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas
import pytest

from clipbench.errors import DataError, UsageError
from clipbench_reports.view.export import write_site
from clipbench_reports.view.runs import Runs

site = pytest.importorskip("clipbench_reports.view.site", reason="the extra view is not installed")
uvicorn = pytest.importorskip("uvicorn", reason="the extra view is not installed")
pages = pytest.importorskip("clipbench_reports.view.pages", reason="the extra view is not installed")
Ask = Callable[..., Any]
TOKEN, PORT, N = "the-token", 8000, 40


def application(folder: Path) -> Any:
    """Return the site over the runs below a folder, as ``view`` serves it."""
    return site.guarded(pages.Pages(Runs(folder)), TOKEN, PORT, "clipbench view")


@pytest.fixture(scope="module")
def app(viewed: Path) -> Any:
    return application(viewed)


@pytest.fixture(scope="module")
def ids(viewed: Path) -> dict[str, str]:
    """The names of the runs in addresses, by their folders."""
    return {row.relative_path: row.id for row in Runs(viewed).rows()}


@pytest.mark.parametrize(
    "host", ["evil.example:8000", "127.0.0.1:8001", "127.0.0.1", "", "localhost:8000.evil.example"]
)
def test_another_host_is_refused_with_the_right_cookie(app: Any, ask: Ask, host: str) -> None:
    answer = ask(app, "/", host=host)
    assert answer.status == 421 and "model-" not in answer.text


@pytest.mark.parametrize("cookie", ["", "clipbench-8000=", "clipbench-8000=wrong", "clipbench-8001=the-token"])
def test_without_the_token_nothing_is_shown(app: Any, ask: Ask, cookie: str) -> None:
    for address in ("/", "/state", "/static/view.js", "/?token=wrong", "/?token=%ff"):
        answer = ask(app, address, cookie=cookie)
        assert answer.status == 403 and "token" in answer.text


def test_the_token_becomes_a_cookie_for_requests_from_here_alone(app: Any, ask: Ask) -> None:
    answer = ask(app, "/?token=the-token", cookie="")
    assert answer.status == 200 and "model-" not in answer.text
    parts = set(answer.headers["set-cookie"].split("; "))
    assert parts == {"clipbench-8000=the-token", "HttpOnly", "Path=/", "SameSite=strict"}


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
def test_nothing_can_be_changed(app: Any, ask: Ask, method: str) -> None:
    assert ask(app, "/", method=method).status == 405


def test_every_answer_has_a_strict_policy(app: Any, ask: Ask, ids: dict[str, str]) -> None:
    for address in ("/", "/state", "/nothing", "/samples?run=0", "/static/map.js", f"/samples?run={ids['good']}"):
        headers = ask(app, address).headers
        assert headers["content-security-policy"].startswith("default-src 'none'; style-src 'self'; script-src 'self'")
        assert headers["x-content-type-options"] == "nosniff" and headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    "address",
    [
        "/samples?run=../../etc/passwd",
        "/report?run=/etc",
        "/report?run=good",
        "/static/../site.py",
        "/static/..%2fsite.py",
        "/sample?run={good}&of=retrieval@scenes&row=-1",
        "/sample?run={good}&of=retrieval@scenes&row=1000000",
        "/sample?run={good}&of=../../retrieval&row=1",
        "/samples?run={good}&of=nothing",
        "/report?run={damaged}",
        "/compare?run={good}",
        "/report",
        "/map?run={good}&data=/etc/passwd",
    ],
)
def test_what_is_not_there_is_said_in_a_line(app: Any, ask: Ask, ids: dict[str, str], address: str) -> None:
    answer = ask(app, address.format(**ids))
    assert answer.status in (404, 422) and "root:" not in answer.text and "Traceback" not in answer.text


def test_runs_are_listed_with_their_headlines_and_a_damaged_one_with_the_reason(app: Any, ask: Ask) -> None:
    text = ask(app, "/").text
    assert text.count('type="checkbox" name="run"') == 2 and "model-good" in text and "3 of 3 runs" in text
    assert "is not JSON" in text and text.count('class="fault"') == 1


def write_dated(parts: SimpleNamespace, folder: Path, data: dict[str, str]) -> dict[str, str]:
    """Write a run on each data set, each a day older than the one before it; return their names in addresses."""
    for day, (name, of) in enumerate(data.items()):
        result = {f"zero-shot@{of}": parts.zero_shot(np.random.default_rng(day), parts.classes[:4], n=N)}
        model = {**parts.model, "ref": f"model-{name}"}
        parts.write_run(folder / name, result, model=model, created=f"2026-11-{20 - day}T12:00:00+00:00")
    return {row.relative_path: row.id for row in Runs(folder).rows()}


def test_runs_on_different_data_have_their_first_headlines_with_the_names_of_the_metrics(
    ask: Ask, tmp_path: Path, parts: SimpleNamespace
) -> None:
    write_dated(parts, tmp_path / "runs", {name: name for name in ("birds", "dogs", "cats")})
    text = ask(application(tmp_path / "runs"), "/").text
    assert write_site(tmp_path / "runs", tmp_path / "site", lambda line: None) == 3
    for page in (text, (tmp_path / "site/index.html").read_text(encoding="utf-8")):
        matches = re.findall(
            r'<td class="headline"[^>]*><b>([\d.]+ %)</b> <small class="bounds">\[[^<]*</small>'
            r" <small>([^<]*), <bdi>(?:<[^>]*>)?([^<]*)",
            page.replace("<wbr>", ""),
        )
        assert sorted(of for *_, of in matches) == ["zero-shot@birds", "zero-shot@cats", "zero-shot@dogs"]
        assert {title for _, title, _ in matches} == {"Acc1"}


def test_runs_with_one_headline_have_it_as_a_column(app: Any, ask: Ask) -> None:
    text = ask(app, "/").text
    assert 'class="headline"' not in text and text.count('data-name="Acc1"') == 2


def test_the_list_shows_the_interval_of_every_value(app: Any, ask: Ask) -> None:
    acc1, recall = "zero-shot@scenes/acc1", "retrieval@scenes/text_retrieval_recall@1"
    for address, n_columns in (("/", 2), (f"/?sort={acc1}", 2), (f"/?column={recall}&column={acc1}", 2)):
        text = ask(app, address).text
        values = re.findall(r'<td class="number" data-name="([^"]+)">[\d.]+ %', text)
        bounded = re.findall(r'data-name="([^"]+)">[\d.]+ % <small>\[[\d.]+, [\d.]+\]</small>', text)
        assert bounded == values and len(set(bounded)) == n_columns, address


def test_the_older_run_is_the_base_unless_another_is_named(ask: Ask, tmp_path: Path, parts: SimpleNamespace) -> None:
    ids = write_dated(parts, tmp_path, {"newer": "birds", "older": "birds"})
    app = application(tmp_path)
    for first, second in (("newer", "older"), ("older", "newer")):
        page = ask(app, f"/compare?run={ids[first]}&run={ids[second]}").text
        assert re.findall(r"(Base|Candidate): <b><bdi>([^<]*)", page) == [
            ("Base", "older"),
            ("Candidate", "newer"),
        ]
    (swap,) = re.findall(r'href="(/compare[^"]*)"', page)
    swapped = ask(app, swap.replace("&amp;", "&")).text
    assert re.findall(r"(Base|Candidate): <b><bdi>([^<]*)", swapped)[0] == ("Base", "newer")


def test_a_report_brings_its_own_policy_without_loosening_it(app: Any, ask: Ask, ids: dict[str, str]) -> None:
    answer = ask(app, f"/report?run={ids['good']}")
    policy = answer.headers["content-security-policy"]
    assert answer.status == 200 and "default-src 'none'" in policy and "script-src 'sha256-" in policy
    assert "frame-ancestors 'none'" in policy and "model-good" in answer.text


def test_a_map_has_a_place_for_each_image_and_text(app: Any, ask: Ask, ids: dict[str, str]) -> None:
    assert "<canvas" in ask(app, f"/map?run={ids['good']}").text
    content = json.loads(ask(app, f"/map/points?run={ids['good']}&data=scenes").text)
    assert len(content["x"]) == len(content["y"]) == 80 and content["rows"] == list(range(40))
    assert set(content["colours"]["Label: zero-shot label"]["names"]) <= {"cube", "sphere", "cylinder", "cone"}
    failures = content["colours"]["Failure: zero-shot margin"]
    assert set(failures["names"]) == {"right", "wrong"} and len(failures["codes"]) == 40
    listed = ask(app, f"/map/list?run={ids['good']}&data=scenes&rows=1,2,999,x").text
    assert listed.count('class="sample ') == 3  # what is no number is the second row


def test_words_of_others_stay_words(ask: Ask, tmp_path: Path, parts: SimpleNamespace, payload: str) -> None:
    task_parts = parts.zero_shot(np.random.default_rng(0), (payload, "other"), n=6)
    task_parts["samples"]["sample_id"] = np.array([f"{payload}{k}" for k in range(6)], object)
    parts.write_run(tmp_path / "<b>run", {f"zero-shot@{payload}": task_parts}, model={"ref": payload}, created=payload)
    app = application(tmp_path)
    name = Runs(tmp_path).rows()[0].id
    of = re.search(r'name="of"[^>]*><option selected>([^<]*)<', ask(app, f"/samples?run={name}").text)
    assert of is not None
    for address in ("/", f"/samples?run={name}", f"/samples?run={name}&q=%3Cscript%3E", f"/samples?run={name}&of=<b>x"):
        text = ask(app, address).text
        assert "<b>run" not in text and "<b>x" not in text
        assert "<script>" not in text and "<img src=x" not in text and "<svg" not in text


def test_a_page_that_takes_long_holds_up_no_other_and_is_made_once() -> None:
    started, go_on, made = threading.Event(), threading.Event(), []

    def make(name: str) -> str:
        made.append(name)
        if name == "slow":
            started.set()
            go_on.wait(60)
        return name

    get = pages.recent(2, make)
    with ThreadPoolExecutor(3) as pool:
        slow = [pool.submit(get, "slow")]
        started.wait(60)
        slow.append(pool.submit(get, "slow"))
        assert get("other") == "other" and not slow[0].done()
        go_on.set()
        assert [each.result() for each in slow] == ["slow", "slow"] and made == ["slow", "other"]


def test_a_page_is_not_waited_for_without_end(
    viewed: Path, ask: Ask, ids: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on = threading.Event()
    monkeypatch.setattr(pages, "report_html", lambda runs: str(go_on.wait(60)))
    monkeypatch.setattr(site, "SECONDS_OF_PAGE", 0.01)
    answer = ask(application(viewed), f"/report?run={ids['good']}")
    go_on.set()
    assert answer.status == 503 and "good: this page takes long" in answer.text


def test_a_page_that_is_too_large_is_refused_by_name(
    app: Any, ask: Ask, ids: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pages, "MOST_LETTERS", 1000)
    answer = ask(app, f"/report?run={ids['good']}")
    assert answer.status == 422 and re.search(
        r"good: the page has [\d,]+ characters, expected at most 1,000", answer.text
    )


def test_ids_that_are_lists_are_said_to_be_damage(viewed: Path, ask: Ask, tmp_path: Path) -> None:
    shutil.copytree(viewed / "good", tmp_path / "run")
    for path in (tmp_path / "run/samples").iterdir():
        table = pandas.read_parquet(path)
        table.assign(sample_id=table["sample_id"].map(lambda each: [each])).to_parquet(path)
    name = Runs(tmp_path).rows()[0].id
    answer = ask(application(tmp_path), f"/samples?run={name}")
    assert answer.status == 422 and "a sample_id is a list or an object" in answer.text


def test_a_connection_without_a_whole_request_is_closed() -> None:
    class Transport(asyncio.Transport):
        def is_closing(self) -> bool:
            return False

        def close(self) -> None:
            closed.append(True)

    class Loop:
        def call_later(self, seconds: float, look: Callable[..., None], *of: object) -> None:
            looks.append((look, of))

    looks: list[Any] = []
    closed: list[bool] = []
    config = uvicorn.Config(lambda: None, http=site.Impatient, lifespan="off", ws="none")
    connection = site.Impatient(config, uvicorn.server.ServerState(), {}, Loop())
    connection.connection_made(Transport())
    connection.cycle = SimpleNamespace(
        response_complete=False
    )  # a request has come since, and then the next is waited for
    for is_complete in (True, True):
        look, of = looks.pop()
        look(*of)
        connection.cycle.response_complete = is_complete
    assert closed and not looks


def test_a_name_that_is_no_text_costs_no_page(ask: Ask, tmp_path: Path) -> None:
    os.symlink("/etc", os.fsencode(tmp_path) + b"/out\xff")
    page = ask(application(tmp_path), "/")
    assert page.status == 200 and "out\ufffd is a link that leads out of the folder" in page.text


def test_a_folder_that_is_not_there_and_a_taken_port_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nothing is not a folder"):
        site.view(tmp_path / "nothing")
    first = site.view(tmp_path)
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/\?token=[\w-]{32}", first.address)
    port = int(first.address.split(":")[2].split("/")[0])
    with first.socket, pytest.raises(UsageError, match=f"cannot listen on port {port}: .*--port"):
        site.view(tmp_path, port)


def test_runs_are_written_as_static_files_that_need_nothing(
    viewed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*arguments: object) -> None:
        raise DataError("no samples")

    notes: list[str] = []
    site = tmp_path / "new/site"
    assert write_site(viewed, site, notes.append) == 2
    assert [line for line in notes if "damaged" in line] and [line[:6] for line in notes[1:]] == ["1 of 2", "2 of 2"]
    page = (site / "index.html").read_text(encoding="utf-8")
    reports = re.findall(r'href="([^"]+\.html)"', page)
    assert {file.name for file in site.glob("*.html")} == {"index.html", *reports} and len(reports) == 2
    assert "<script" not in page and not re.search(r'(?:src|href)="(?:https?:|/)', page)
    with pytest.raises(UsageError, match="is not an empty folder: name a new folder"):
        write_site(viewed, site, notes.append)
    # An export that was interrupted has no list yet. The next one begins again, but not where a person has a file.
    (site / "index.html").unlink()
    (site / "notes.txt").touch()
    with pytest.raises(UsageError, match="is not an empty folder: name a new folder"):
        write_site(viewed, site, notes.append)
    (site / "notes.txt").unlink()
    assert write_site(viewed, site, notes.append) == 2 and (site / "index.html").is_file()
    with pytest.raises(UsageError, match="no readable run in"):
        write_site(tmp_path / "new", tmp_path / "other", notes.append)
    assert not (tmp_path / "other").exists()
    monkeypatch.setattr("clipbench_reports.view.export.write_report", refused)
    with pytest.raises(UsageError, match=r"no readable run in .*: name the folder"):
        write_site(viewed, tmp_path / "other", notes.append)
    assert notes[-1] == "left out: no samples" and not (tmp_path / "other/index.html").exists()
