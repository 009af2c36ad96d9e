"""The average of a suite: over all of its data sets, as open_clip's table has it, or none with the reason."""

import csv
from collections.abc import Sequence
from dataclasses import replace
from importlib.resources import files

import numpy as np
import pytest

from clipbench.evaluation.measure import average_of
from clipbench.evaluation.plan import Request, read_suite
from clipbench.evaluation.published import published_average
from clipbench.results.record import (
    AverageRecord,
    EvaluationRecord,
    Metric,
    PublishedValue,
    SlicesRecord,
)
from clipbench.results.reference_models import OPEN_CLIP
from clipbench.stats.intervals import wilson
from tests.clipbench.evaluation.test_published import MODEL
from tests.made import record_of as made_record

SUITE = read_suite("datacomp")
TABLE = list(csv.DictReader(files("clipbench.results").joinpath("open_clip.csv").read_text().splitlines()))
COLUMNS = [column for column in TABLE[0] if column not in ("model", "average")]


def record_of(request: Request, value: float, half: float | None = 0.01) -> EvaluationRecord:
    """An evaluation whose main metrics all have a value."""
    beside = [PublishedValue(value=value, protocol="", source=OPEN_CLIP, is_secondary=False)]
    metric = Metric(value=value, higher_is_better=True, published=beside)
    if half is not None:
        metric = replace(metric, low=value - half, high=value + half)
    of_all = {main: metric for main in request.main if not main.startswith("{")}
    slices = {}
    for main in set(request.main) - set(of_all):
        grouping, name = main.removeprefix("{").split("=(worst)}/")
        slices[grouping] = SlicesRecord(of="images", worst={name: metric})
    return made_record(request.task, str(request.data), metrics=of_all, slices=slices)


def average(values: Sequence[float], requests: Sequence[Request] = SUITE, **given: object) -> AverageRecord:
    records = {request.name: record_of(request, value) for request, value in zip(requests, values, strict=False)}
    options = {"published_for": None, **given}
    result = average_of("datacomp", requests, records, **options)  # type: ignore[arg-type]
    assert result is not None
    return result


def test_it_is_the_published_one_of_all_models_of_open_clip_s_table() -> None:
    assert len(TABLE) == 121 and len(COLUMNS) == 38
    values = {row["model"]: average([float(row[column]) for column in COLUMNS]).metric.value for row in TABLE}
    # Both are made of numbers with four digits.
    assert values == pytest.approx({row["model"]: float(row["average"]) for row in TABLE}, abs=6e-5)


def test_the_suite_has_the_scores_of_the_table_in_its_order() -> None:
    result = average([0.5] * 38)
    assert [" + ".join(names) for names in result.parts] == COLUMNS
    assert result.metric.title == "Average over 38 data sets (datacomp)" and result.metric.n == 38


def test_data_with_several_metrics_count_once_and_their_intervals_go_together() -> None:
    two = [Request(task="a", data="x", main=("m", "n")), Request(task="a", data="y", main=("m",))]
    first = replace(
        record_of(two[0], 0.0),
        metrics={
            "m": Metric(value=0.2, low=0.1, high=0.3, higher_is_better=True),
            "n": Metric(value=0.6, low=0.4, high=0.8, higher_is_better=True),
        },
    )
    average = average_of("mine.toml", two, {"a@x": first, "a@y": record_of(two[1], 0.8)}, published_for=None)
    assert average is not None and average.suite == "mine"
    assert average.metric.value == pytest.approx(0.6)
    assert average.metric.low == pytest.approx(0.6 - np.hypot(0.15, 0.01) / 2)


def test_the_published_average_stands_beside_that_of_the_same_model() -> None:
    row = next(row for row in TABLE if row["model"] == "ViT-B-32-quickgelu/openai")
    metric = average([float(row[column]) for column in COLUMNS], published_for=MODEL).metric
    assert [(each.value, each.agrees) for each in metric.published] == [(0.5245, True)]
    assert average([0.5] * 38, published_for=replace(MODEL, context_length=248)).metric.published == []
    assert average([0.5] * 37, SUITE[:37], published_for=MODEL).metric.published == []
    for other in ({"limit": 100}, {"params": {"seed": 1}}, {"data_options": {"split": "val"}}):
        suite = [replace(SUITE[0], **other), *SUITE[1:]]
        assert average([0.5] * 38, suite, published_for=MODEL).metric.published == []
    records = {each.name: record_of(each, 0.5) for each in SUITE}
    first = records["zero-shot@imagenet"]
    records[first.name] = replace(first, metrics={"acc1": replace(first.metrics["acc1"], published=[])})
    own = average_of("datacomp", SUITE, records, published_for=MODEL)
    assert own is not None and own.metric.published == []


@pytest.mark.parametrize(
    ("suite", "main_scores"), [("documents", 0.132337), ("documents-v3", 0.0268367), ("universal", 0.432453)]
)
def test_the_published_average_of_judged_suites_is_the_mean_of_mteb_s_main_scores(
    suite: str, main_scores: float
) -> None:
    requests = [request for request in read_suite(suite) if request.main]
    parts = [[f"{each.name}{'' if each.main[0].startswith('{') else '/'}{each.main[0]}"] for each in requests]
    metric = Metric(value=main_scores, low=main_scores - 0.01, high=main_scores + 0.01)
    (result,) = published_average(metric, parts, MODEL).published
    assert result.value == pytest.approx(main_scores, abs=1e-6) and result.agrees
    assert published_average(metric, [*parts, ["retrieval@cirr/ndcg@10"]], MODEL).published == []


def test_why_a_data_set_has_no_score_is_said() -> None:
    requests = [
        Request(task="a", data=data, main=(main,)) for data, main in (("x", "m"), ("y", "acc_1"), ("z", "acc1"))
    ]
    of_y, of_z = (record_of(replace(request, main=("acc1",)), 0.5) for request in requests[1:])
    of_z = replace(of_z, metrics={"acc1": Metric(value=None, reason="one class")})
    average = average_of("mine", requests, {"a@y": of_y, "a@z": of_z}, published_for=None)
    assert (
        average is not None
        and average.metric.reason
        == "an average needs all 3 data sets, and 0 have a score: a@y has no metric acc_1: did you mean 'acc1'?; a@z:"
        " one class; a@x was not measured"
    )


def test_the_interval_covers_the_average_of_true_values() -> None:
    rng = np.random.default_rng(0)
    truth = rng.uniform(0.02, 0.98, 6)
    requests = [Request(task="a", data=str(number), main=("acc1",)) for number in range(6)]
    n_trials, covered = 1000, 0
    for _ in range(n_trials):
        records = {}
        for request, hits in zip(requests, rng.binomial(200, truth).astype(float).tolist(), strict=True):
            low, high, _ = wilson(hits, 200)
            metrics = {"acc1": Metric(value=hits / 200, low=low, high=high, higher_is_better=True)}
            records[request.name] = replace(record_of(request, 0.5), metrics=metrics)
        average = average_of("mine", requests, records, published_for=None)
        assert average is not None and average.metric.low is not None and average.metric.high is not None
        covered += average.metric.low <= truth.mean() <= average.metric.high
    assert 0.93 <= covered / n_trials <= 0.975
