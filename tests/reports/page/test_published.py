"""Published values in the scorecard: beside the number, with a verdict, and with their source in a footnote."""

from pathlib import Path

from clipbench.results.record import Metric, PublishedValue
from clipbench.results.run import Run, read_run, write_result
from clipbench_reports.page.groups import EvaluatedModel
from clipbench_reports.page.scorecard import metric_lines
from tests.made import record_of, result_of

FIRST = PublishedValue(value=0.6332, protocol="80 templates", source="docs.csv", is_secondary=False, agrees=True)
QUOTED = PublishedValue(value=0.62, protocol="80 templates", source="a paper", is_secondary=True, agrees=False)
SHOWN = Metric(value=0.634, low=0.63, high=0.638, n=9, published=[FIRST, QUOTED])


def run(folder: Path, metric: Metric) -> Run:
    (folder / "samples").mkdir(parents=True)
    result = result_of(record_of("other", metrics={"acc1": metric}))
    write_result(result, folder)
    return read_run(folder)


def test_each_value_has_a_verdict_and_a_footnote_with_its_source(tmp_path: Path) -> None:
    completed = run(tmp_path / "run", SHOWN)
    notes: list[str] = ["earlier"]
    model = EvaluatedModel(position=0, label="m", run=completed, evaluation=completed.result.evaluations[0])
    (result,) = metric_lines([model], notes)
    assert result.lines[0].published == [
        (0.6332, "agrees", 2),
        (0.62, "differs, secondary source", 3),
    ]
    assert notes[1:] == [
        "Published value: 80 templates. Source: docs.csv.",
        "Published value: 80 templates. Source: a paper.",
    ]
