"""The page of a comparison: verdicts, what the gate says, and the samples that changed, with their pictures."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from clipbench.compare import compare
from clipbench.errors import UsageError
from clipbench.foreign_results import Values
from clipbench.gate import Gate, Judged, judge
from clipbench.result import Metric, Run
from clipbench_reports import compare_page
from clipbench_reports.compare_page import write_compare
from clipbench_reports.flipped import N_SHOWN

MakeRun = Callable[..., Run]
N, N_RIGHT = 200, 120


def evaluation(right: np.ndarray, **changes: Any) -> dict[str, Any]:
    """Return an evaluation of two classes in which these samples are right."""
    samples = {
        "sample_id": np.array([f"bird-{k:03}" for k in range(len(right))], object),
        "image": np.array([f"{k:032x}" for k in range(len(right))], object),
        "label": np.array(["owl"] * len(right), object),
        "predicted": np.where(right > 0, "owl", "wren").astype(object),
        "acc1": right,
    }
    metrics = {
        "acc1": Metric(value=float(right.mean()), n=len(right), column="acc1", higher_is_better=True),
        "gap": Metric(value=0.5, n=len(right), unit="distance"),
    }
    return {"samples": samples, "metrics": metrics, **changes}


@pytest.fixture
def pair(make_run: MakeRun) -> Callable[..., list[Run]]:
    """Return a function that makes a base with 120 of 200 right, and a candidate in which some samples changed."""

    def make(*, lost: Iterable[int] = (), gained: Iterable[int] = (), **changes: Any) -> list[Run]:
        before = (np.arange(N) < N_RIGHT).astype(np.float64)
        after = before.copy()
        after[list(lost)], after[list(gained)] = 0.0, 1.0
        return [
            make_run({"zero-shot@birds": evaluation(right, **changes)}, name=name)
            for name, right in (("old", before), ("new", after))
        ]

    return make


def written(runs: Sequence[Run], path: Path, gate: Gate | None = None) -> str:
    """Write the page of a base and its candidates, and return its text."""
    judged = []
    for candidate in runs[1:]:
        found = compare(runs[0], candidate)
        metrics = runs[0].metrics, candidate.metrics
        outcomes = judge(found, gate, base=metrics[0], candidate=metrics[1]) if gate else []
        judged.append(Judged(comparison=found, outcomes=outcomes))
    write_compare(judged, runs, path)
    return path.read_text(encoding="utf-8")


class Words(HTMLParser):
    """The text of a page, the rows of its tables, and the order of its headings."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.text, self.levels, self.tags = "", list[int](), list[tuple[str, Mapping[str, str | None]]]()
        self.rows: list[list[str]] = []
        self._is_style = self._is_cell = False
        self.feed(page)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attributes)))
        self._is_style = tag == "style"
        if re.fullmatch("h[1-6]", tag):
            self.levels.append(int(tag[1]))
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
            self._is_cell = True

    def handle_endtag(self, tag: str) -> None:
        self._is_style = False
        self._is_cell = self._is_cell and tag not in ("td", "th")
        if tag in ("li", "p", "h1", "h2", "h3", "summary"):
            self.text += "\n"

    def handle_data(self, data: str) -> None:
        if not self._is_style:
            self.text += data
            if self._is_cell:
                self.rows[-1][-1] += data.strip()


def test_a_row_has_both_values_the_difference_and_its_verdict(pair: Callable[..., list[Run]], tmp_path: Path) -> None:
    words = Words(written(pair(lost=range(40), gained=[150]), tmp_path / "page.html"))
    (row,) = [row for row in words.rows if row and "acc1" in row[0]]
    first, base, candidate, difference, interval, p, detectable, flips, verdict = row
    assert first == "Right class firstacc1"
    assert (base, candidate, difference) == ("60.0\xa0%", "40.5\xa0%", "−19.50 pp")
    assert interval.startswith("[−") and p == "<0.0001" and detectable.endswith(" pp")
    assert (flips, verdict) == ("+1 −40", "▲worse")
    (gap,) = [row for row in words.rows if row and "gap" in row[0]]
    assert gap[3:] == ["0.0000", "–", "no test", "–", "", "–no evidence"]


def test_the_verdict_stands_on_top(pair: Callable[..., list[Run]], tmp_path: Path) -> None:
    page = written(pair(lost=range(40)), tmp_path / "page.html", Gate.from_options("1pp"))
    text = Words(page).text
    assert "new against old" in text
    order = [
        "Gate: 1 regression.",
        "Of all metrics: 1 worse, 1 without",
        "regression: zero-shot@birds/acc1",
        "Every metric",
    ]
    places = [text.index(each) for each in order]
    assert places == sorted(places)
    assert "60.0\xa0% to 40.0\xa0%: 20.00 pp worse, 1.00 pp allowed, p <0.0001" in text
    assert "Matched by a pattern of the gate, and not gated: 1" in text


def test_samples_that_changed_are_listed_both_ways_with_what_they_were_taken_for(
    pair: Callable[..., list[Run]], tmp_path: Path, parts: SimpleNamespace
) -> None:
    runs = pair(lost=range(40), gained=[150])
    parts.write_thumbnails(runs[0].folder, [f"{0:032x}"])
    parts.write_thumbnails(runs[1].folder, [f"{150:032x}"])
    page = written(runs, tmp_path / "page.html")
    text = Words(page).text
    assert "Wrong now, right before: 40\n" in text and "Right now, wrong before: 1\n" in text
    assert "owl: taken for owl, now for wren" in text and "owl: taken for wren, now for owl" in text
    assert "bird-039" in text and "bird-040" not in text
    pictures = [attributes for tag, attributes in Words(page).tags if tag == "img"]
    assert [each["alt"] for each in pictures] == ["Picture of bird-000", "Picture of bird-150"]
    assert page.count("no picture was kept") == N_SHOWN - 1
    assert "The ids of all 40" in text


def test_a_gain_is_what_is_wrong_where_less_is_better(pair: Callable[..., list[Run]], tmp_path: Path) -> None:
    metric = Metric(value=0.6, n=N, column="acc1", higher_is_better=False)
    runs = pair(gained=range(150, 190), metrics={"attack_success": metric})
    text = Words(written(runs, tmp_path / "page.html")).text
    assert "Wrong now, right before: 40\n" in text and "Right now" not in text


def test_without_samples_that_changed_there_is_no_list_of_them(pair: Callable[..., list[Run]], tmp_path: Path) -> None:
    assert "Samples that changed" not in written(pair(), tmp_path / "page.html")


def test_pictures_end_where_the_page_has_no_more_room(
    pair: Callable[..., list[Run]], tmp_path: Path, parts: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = pair(lost=range(12))
    parts.write_thumbnails(runs[0].folder, [f"{k:032x}" for k in range(12)])
    whole = written(runs, tmp_path / "page.html")
    (one, *_) = re.findall(r'src="(data:image/webp[^"]*)"', whole)
    assert whole.count("data:image/webp") == 12
    monkeypatch.setattr(compare_page, "MAX_BYTES", 2 * len(one) + 10)
    assert written(runs, tmp_path / "page.html").count("data:image/webp") == 2


def test_each_candidate_has_sections_of_its_own(
    pair: Callable[..., list[Run]], make_run: MakeRun, tmp_path: Path
) -> None:
    runs = pair(lost=range(40))
    third = make_run({"zero-shot@birds": evaluation(np.ones(N))}, name="third")
    text = Words(written([*runs, third], tmp_path / "page.html")).text
    assert "2 candidates against old" in text
    assert text.index("new against old\n") < text.index("third against old\n")


def test_results_without_samples_are_a_table_of_values(pair: Callable[..., list[Run]], tmp_path: Path) -> None:
    base, _ = pair()
    found = compare(base, Values(label="theirs", values={"zero-shot@birds/acc1": 0.25}))
    write_compare([Judged(comparison=found)], [base, None], tmp_path / "page.html")
    text = Words((tmp_path / "page.html").read_text(encoding="utf-8")).text
    assert "theirs results without samples: values only" in text
    assert "25.0\xa0%" in text and "no test" in text and "Samples that changed" not in text


def test_what_was_not_compared_is_said(make_run: MakeRun, tmp_path: Path) -> None:
    right = (np.arange(N) < N_RIGHT).astype(np.float64)
    runs = [
        make_run({"zero-shot@birds": evaluation(right), "zero-shot@cats": evaluation(right, task_version=k)}, name=name)
        for k, name in ((1, "old"), (2, "new"))
    ]
    text = Words(written(runs, tmp_path / "page.html")).text
    assert "zero-shot@cats is not comparable: task version 1 in the one run, 2 in the other" in text


def test_the_page_asks_for_nothing_from_outside_and_equal_runs_give_equal_bytes(
    pair: Callable[..., list[Run]], tmp_path: Path
) -> None:
    runs = pair(lost=range(40))
    page = written(runs, tmp_path / "page.html")
    assert not re.findall(r'(?:src|href)="(?!data:|#)', page) and "<script" not in page and "url(" not in page
    assert written(runs, tmp_path / "again.html") == page


def test_headings_are_in_order_and_tables_have_heads(pair: Callable[..., list[Run]], tmp_path: Path) -> None:
    words = Words(written(pair(lost=range(40), gained=[150]), tmp_path / "page.html", Gate.from_options("1pp")))
    assert words.levels[0] == 1
    assert all(after - before <= 1 for before, after in zip(words.levels, words.levels[1:], strict=False))
    assert all("scope" in attributes for tag, attributes in words.tags if tag == "th")
    ids = [attributes["id"] for _, attributes in words.tags if attributes.get("id")]
    assert len(ids) == len(set(ids))


def test_hostile_texts_are_escaped_in_every_field(make_run: MakeRun, parts: SimpleNamespace, tmp_path: Path) -> None:
    runs = []
    for name, n_right in (("old", N_RIGHT), ("new", 60)):
        found = evaluation((np.arange(N) < n_right).astype(np.float64), notes=[parts.hostile])
        samples = found["samples"]
        samples["sample_id"] = np.array([f"{parts.hostile}{k}" for k in range(N)], object)
        samples["label"] = np.array([parts.hostile] * N, object)
        samples["predicted"] = np.array([f"{parts.hostile} {name}"] * N, object)
        samples["image"] = np.array(["../../" + parts.hostile] * N, object)
        found["metrics"] = {f"{parts.hostile}/{key}": metric for key, metric in found["metrics"].items()}
        model = {"ref": parts.hostile, "id": parts.hostile}
        runs.append(make_run({f"zero-shot@{parts.hostile}": found}, name=name, model=model))
    page = written(runs, tmp_path / "page.html", Gate.from_options("1pp"))
    assert "<script" not in page and "&lt;script&gt;" in page
    assert "−30.00 pp" in page


def test_a_page_that_cannot_be_written_is_one_line(pair: Callable[..., list[Run]], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"cannot write the page .*no/page\.html: No such file or directory"):
        written(pair(), tmp_path / "no/page.html")
