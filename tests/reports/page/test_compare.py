"""The page of a comparison: verdicts, what the gate says, and the samples that changed, with their images."""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from clipbench.comparison.compare_runs import compare
from clipbench.comparison.gate_rules import Gate
from clipbench.comparison.overall import with_verdict
from clipbench.comparison.records import Comparison, Refusal
from clipbench.errors import UsageError
from clipbench.results.other_tools import Values
from clipbench.results.record import Metric
from clipbench.results.run import Run
from clipbench_reports.page import compare as compare_page
from clipbench_reports.page.compare import write_compare
from clipbench_reports.page.flipped import N_SHOWN
from tests.reports.conftest import MakeRun
from tests.reports.page.html_tree import Node, parse

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
        "acc1": acc1(right),
        "gap": Metric(value=0.5, n=len(right), unit="distance"),
    }
    return {"samples": samples, "metrics": metrics, **changes}


def acc1(right: np.ndarray) -> Metric:
    """Return the metric of a column of zeros and ones."""
    return Metric(value=float(right.mean()), n=len(right), column="acc1", higher_is_better=True)


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
    comparisons = [compare(runs[0], candidate, gate=gate or Gate()) for candidate in runs[1:]]
    write_compare(comparisons, runs, path)
    return path.read_text(encoding="utf-8")


def words_of(node: Node) -> str:
    """Return the texts in an element, without the spaces around each."""
    return "".join(child.strip() if isinstance(child, str) else words_of(child) for child in node.children)


def rows_of(page: Node) -> list[list[str]]:
    """Return the rows of all tables, each as the texts of its cells."""
    return [[words_of(cell) for cell in row.all("td", "th")] for row in page.all("tr")]


def test_a_sample_that_turns_from_a_tie_to_a_hit_is_in_a_class_of_its_own(make_run: MakeRun, tmp_path: Path) -> None:
    before = (np.arange(N) < N_RIGHT).astype(np.float64)
    before[150:153] = 0.25
    after = before.copy()
    after[150:152], after[152], after[153], after[0] = 1.0, 0.0, 1.0, 0.5
    runs = [
        make_run({"zero-shot@birds": evaluation(right)}, name=name) for name, right in (("old", before), ("new", after))
    ]
    text = parse(written(runs, tmp_path / "page.html")).text
    assert "Right now, wrong before 1 sample of" in text and "Wrong now, right before" not in text
    assert "Better in part (ties) 2 samples of" in text and "Worse in part (ties) 2 samples of" in text


def test_samples_that_changed_are_listed_both_ways_with_what_they_were_taken_for(
    pair: Callable[..., list[Run]], tmp_path: Path, parts: SimpleNamespace
) -> None:
    runs = pair(lost=range(40), gained=[150])
    parts.write_thumbnails(runs[0].folder, [f"{0:032x}"])
    parts.write_thumbnails(runs[1].folder, [f"{150:032x}"])
    page = written(runs, tmp_path / "page.html")
    text = parse(page).text
    assert "Wrong now, right before 40 samples of" in text and "Right now, wrong before 1 sample of" in text
    assert "True classowl" in text and "Taken forowl → wren" in text and "Taken forwren → owl" in text
    assert "bird-039" in text and "bird-040" not in text
    images = parse(page).all("img")
    assert [image.attributes["alt"] for image in images] == ["Image of bird-000", "Image of bird-150"]
    assert page.count("No small copy in the run") == N_SHOWN - 1
    assert "The ids of all 40" in text


def test_images_end_where_the_page_has_no_more_room(
    pair: Callable[..., list[Run]], tmp_path: Path, parts: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = pair(lost=range(12))
    parts.write_thumbnails(runs[0].folder, [f"{k:032x}" for k in range(12)])
    html = written(runs, tmp_path / "page.html")
    (one, *_) = re.findall(r'src="(data:image/webp[^"]*)"', html)
    assert html.count("data:image/webp") == 12
    monkeypatch.setattr(compare_page, "MAX_BYTES", 2 * len(one) + 10)
    assert written(runs, tmp_path / "page.html").count("data:image/webp") == 2


def test_the_overview_has_every_metric_of_every_candidate_and_its_links_lead_somewhere(
    pair: Callable[..., list[Run]], make_run: MakeRun, tmp_path: Path
) -> None:
    runs = pair(lost=range(40))
    third = make_run({"zero-shot@birds": evaluation(np.ones(N), metrics={"acc1": acc1(np.ones(N))})}, name="third")
    page = written([*runs, third], tmp_path / "page.html")
    tree = parse(page)
    rows = [row for row in rows_of(tree) if len(row) == 4]
    assert rows[0] == ["Metric", "Base: old", "new", "third"]
    assert rows[1][1:] == ["60.0\xa0%", "−20.00 pp▲worse", "+40.00 pp●better"]
    assert rows[2][1:] == ["0.5000", "0.0000–not tested", "not compared"]
    ids = {node.attributes.get("id") for node in tree.all()}
    links = [link.attributes["href"] for link in tree.all("a")]
    assert len(links) > 4 and {link.removeprefix("#") for link in links} <= ids
    (overview,) = [table for table in tree.all("table") if table.attributes.get("class") == "verdicts overview"]
    own = [link.attributes["href"] for link in overview.all("a")]
    assert own == ["#c1-zero-shot", "#c2-zero-shot", "#c1-zero-shot"]  # of the one metric each has its own


def test_a_candidate_that_cannot_be_compared_is_there_with_the_reason(
    pair: Callable[..., list[Run]], tmp_path: Path
) -> None:
    runs = pair(lost=range(40))
    nothing = Comparison(base="old", candidate="other", differences=[], refused=[Refusal("other", "task version 2")])
    write_compare(
        [compare(runs[0], runs[1]), with_verdict(nothing)],
        [*runs, None],
        tmp_path / "page.html",
    )
    text = parse((tmp_path / "page.html").read_text(encoding="utf-8")).text
    assert "✕other is not comparable: task version 2" in text and "✕no metric compared" in text
    assert "■other: Undecided. other is not comparable: task version 2" in text


def test_a_task_that_was_asked_twice_has_its_metrics_twice_in_the_overview(
    pair: Callable[..., list[Run]], make_run: MakeRun, tmp_path: Path
) -> None:
    runs = [*pair(lost=range(40)), make_run({"zero-shot@birds": evaluation(np.ones(N))}, name="third")]
    twice = []
    for run in runs:
        (result,) = run.result.evaluations
        both = [replace(result, params={"k": j}) for j in range(2)]
        twice.append(Run(run.folder, replace(run.result, evaluations=both)))
    text = written(twice, tmp_path / "page.html")
    rows = [row for row in rows_of(parse(text)) if len(row) == 4 and row[0].endswith("acc1")]
    assert len(rows) == 2 and rows[0] == rows[1]
    assert "taken for" not in parse(text).text.lower()  # of which of the two, the name does not tell


def test_results_without_samples_are_a_table_of_values(pair: Callable[..., list[Run]], tmp_path: Path) -> None:
    base, _ = pair()
    comparison = compare(base, Values(label="theirs", values={"zero-shot@birds/acc1": 0.25}))
    write_compare([comparison], [base, None], tmp_path / "page.html")
    text = parse((tmp_path / "page.html").read_text(encoding="utf-8")).text
    assert "theirs results without samples: values only" in text
    assert "25.0 %" in text and "no test" in text and "samples of" not in text


def test_the_page_asks_for_nothing_from_outside_and_equal_runs_give_equal_bytes(
    pair: Callable[..., list[Run]], tmp_path: Path
) -> None:
    runs = pair(lost=range(40))
    page = written(runs, tmp_path / "page.html")
    assert not re.findall(r'(?:src|href)="(?!data:|#)', page) and page.count("<script") == 1 and "url(" not in page
    assert written(runs, tmp_path / "again.html") == page


def test_hostile_texts_are_escaped_in_every_field(make_run: MakeRun, parts: SimpleNamespace, tmp_path: Path) -> None:
    runs = []
    for name, n_right in (("old", N_RIGHT), ("new", 60)):
        result = evaluation((np.arange(N) < n_right).astype(np.float64), notes=[parts.hostile])
        samples = result["samples"]
        samples["sample_id"] = np.array([f"{parts.hostile}{k}" for k in range(N)], object)
        samples["label"] = np.array([parts.hostile] * N, object)
        samples["predicted"] = np.array([f"{parts.hostile} {name}"] * N, object)
        samples["image"] = np.array(["../../" + parts.hostile] * N, object)
        result["metrics"] = {f"{parts.hostile}/{key}": metric for key, metric in result["metrics"].items()}
        model = {"ref": parts.hostile, "id": parts.hostile}
        runs.append(make_run({f"zero-shot@{parts.hostile}": result}, name=name, model=model))
    page = written(runs, tmp_path / "page.html", Gate.from_options("1pp"))
    assert page.count("<script") == 1 and "&lt;script&gt;" in page
    assert "−30.00 pp" in page


def test_a_page_that_cannot_be_written_is_one_line(pair: Callable[..., list[Run]], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"cannot write .*no/page\.html: No such file or directory"):
        written(pair(), tmp_path / "no/page.html")
