"""Published values in the scorecard: beside the number, with a verdict, and with their source in a footnote."""

import json
from dataclasses import replace
from pathlib import Path

from clipbench.results.record import DatasetRecord, EvaluationRecord, Metric, PublishedValue, Result
from clipbench.results.run import Run, read_run, write_result
from clipbench_reports.page.groups import Entry
from clipbench_reports.page.report import write_report
from clipbench_reports.page.scorecard import PublishedMark, metric_lines

FIRST = PublishedValue(value=0.6332, protocol="80 templates", source="docs.csv", is_secondary=False, agrees=True)
QUOTED = PublishedValue(value=0.62, protocol="80 templates", source="a paper", is_secondary=True, agrees=False)
SHOWN = Metric(value=0.634, low=0.63, high=0.638, n=9, published=[FIRST, QUOTED])


def run(folder: Path, metric: Metric) -> Run:
    (folder / "samples").mkdir(parents=True)
    evaluation = EvaluationRecord(
        task="other", task_version=1, params={}, dataset=DatasetRecord(id="d"), status="ok", metrics={"acc1": metric}
    )
    result = Result(
        clipbench_version="0", created="2026-01-01T00:00:00+00:00", command=[], seed=0, environment={},
        model={"ref": "m"}, evaluations=[evaluation],
    )  # fmt: skip
    write_result(result, folder)
    return read_run(folder)


def test_each_value_has_a_verdict_and_a_footnote_with_its_source(tmp_path: Path) -> None:
    made = run(tmp_path / "run", SHOWN)
    notes: list[str] = ["earlier"]
    entry = Entry(place=0, label="m", run=made, evaluation=made.result.evaluations[0])
    (found,) = metric_lines([entry], notes)
    assert found.lines[0].published == [
        PublishedMark(value=0.6332, verdict="agrees", note=2),
        PublishedMark(value=0.62, verdict="differs, secondary source", note=3),
    ]
    assert notes[1:] == [
        "Published value: 80 templates. Source: docs.csv.",
        "Published value: 80 templates. Source: a paper.",
    ]


def test_the_page_shows_them_and_says_nothing_of_them_where_there_are_none(tmp_path: Path) -> None:
    write_report([run(tmp_path / "a", SHOWN)], tmp_path / "with.html")
    write_report([run(tmp_path / "b", replace(SHOWN, published=[]))], tmp_path / "without.html")
    page, other = (tmp_path / "with.html").read_text(), (tmp_path / "without.html").read_text()
    assert "published 63.3, agrees" in page and ">[1]</sup>" in page
    assert (
        page.count('class="published"><path') == 8
    )  # two each in the summary, the scorecard, all metrics, and the section
    assert "a diamond is what was published for this model and protocol" in page
    assert 'class="published"' not in other and "was published" not in other


def test_results_keep_them_and_old_results_without_them_are_read(tmp_path: Path) -> None:
    made = run(tmp_path / "run", SHOWN)
    assert made.result.evaluations[0].metrics["acc1"].published == [FIRST, QUOTED]
    data = json.loads((tmp_path / "run" / "result.json").read_text())
    del data["evaluations"][0]["metrics"]["acc1"]["published"]
    (tmp_path / "run" / "result.json").write_text(json.dumps(data))
    assert read_run(tmp_path / "run").result.evaluations[0].metrics["acc1"].published == []
