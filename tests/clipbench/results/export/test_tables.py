"""csv and parquet: what pandas reads of them is what the run holds; nothing is left out, not even what is missing."""

import io

import pandas
import pyarrow.parquet
import pytest

from clipbench.results.export.formats import format_of
from clipbench.results.record import Metric, SlicesRecord
from clipbench.results.run import Run
from tests.clipbench.results.export.conftest import MakeRun, Record


def read(kind: str, *runs: Run) -> pandas.DataFrame:
    content = io.BytesIO(format_of(kind).render(runs).content)
    return pandas.read_parquet(content) if kind == "parquet" else pandas.read_csv(content)


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_what_is_undefined_unavailable_or_a_baseline_has_its_row(make_run: MakeRun, kind: str) -> None:
    table = read(kind, make_run())
    assert table.metric.fillna("").tolist() == ["acc1", "acc5", "ece", "tie_rate", "", "gap", "drop"]
    assert table.kind.fillna("").tolist() == ["metric"] * 3 + ["baseline", ""] + ["metric"] * 2
    assert table.value.isna().tolist() == [False, True, False, False, True, False, False]
    assert table.reason[1] == "of only 3 classes" and table.reason[2] == "no interval: too few samples"
    assert table.status[4] == "unavailable" and table.reason[4] == "no folder coco: clipbench data get coco"


SLICES = SlicesRecord(of="images", groups={"de": {"acc1": Metric(value=0.5)}}, mean={"acc1": Metric(value=0.75)})


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_slices_have_rows_of_their_own_kind(make_run: MakeRun, record: Record, kind: str) -> None:
    metrics = {"acc1": Metric(value=0.6)}
    table = read(kind, make_run(evaluations=[record("zero-shot", "birds", metrics, slices={"language": SLICES})]))
    rows = table[["kind", "metric", "grouping", "group", "value"]].fillna("").to_numpy().tolist()
    assert rows == [
        ["metric", "acc1", "", "", 0.6],
        ["slice", "acc1", "language", "de", 0.5],
        ["slice", "acc1", "language", "(mean)", 0.75],
    ]


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_hostile_names_come_back_as_they_were(make_run: MakeRun, record: Record, hostile: str, kind: str) -> None:
    run = make_run(evaluations=[record("zero-shot", hostile, {hostile: Metric(value=0.1 + 0.2, n=3)})])
    table = read(kind, run)
    assert table.data.tolist() == [hostile] and table.metric.tolist() == [hostile]
    assert table.value.tolist() == pytest.approx([0.1 + 0.2], rel=1e-15)  # pandas 2 reads the last bit otherwise


def test_a_lone_surrogate_of_a_file_name_is_a_question_mark(make_run: MakeRun, record: Record) -> None:
    run = make_run()
    run.result.evaluations[:] = [record("zero-shot", "caf\udce9", {"acc1": Metric(value=0.5, n=2)})]
    for kind in ("csv", "parquet"):
        assert read(kind, run).data.tolist() == ["caf?"]
    for kind in ("markdown", "latex", "clip_benchmark", "model-index"):
        assert b"caf" in format_of(kind).render([run]).content


def test_a_column_has_its_type_even_where_nothing_is_known(make_run: MakeRun, record: Record) -> None:
    run = make_run(evaluations=[record("retrieval", "coco", {}, status="failed")], model={}, environment={})
    table = pyarrow.parquet.read_table(io.BytesIO(format_of("parquet").render([run]).content))
    types = {name: str(table.schema.field(name).type) for name in ("value", "n", "metric", "higher_is_better", "step")}
    assert types == {"value": "double", "n": "int64", "metric": "string", "higher_is_better": "bool", "step": "int64"}
    assert table.column("model").to_pylist() == ["unnamed model"] and table.column("value").null_count == 1
