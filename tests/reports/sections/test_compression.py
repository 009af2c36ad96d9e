"""The section on compression: its sentences, its table of formats, and the figure with the one that is chosen."""

from typing import Any

import pytest

from clipbench.metrics.compression import Format
from clipbench.results.record import Curve, Metric, StoredFormat
from clipbench_reports.evidence import NotAsked
from clipbench_reports.sections.compression import SECTION
from tests.reports.conftest import MakeRun, evidence_of

REASON = "All 64 dimensions as int8 lose less than 1 point of the 80.0 % of float32: 64 bytes instead of 256"


def small(**changes: Any) -> dict[str, Any]:
    def share(value: float) -> Metric:
        return Metric(value=value, low=value - 0.05, high=value + 0.05, n=90)

    def by_bytes(points: dict[int, float]) -> Curve:
        ys = list(points.values())
        return Curve(x=list(points), y=ys, low=[y - 0.05 for y in ys], high=[y + 0.05 for y in ys])

    change = Metric(value=-0.002, low=-0.006, high=0.003, n=90, unit="difference")
    nothing = Metric(value=None, reason="too few vectors")
    return {
        "metrics": {
            "acc1_smallest": Metric(value=64.0, n=90, unit="bytes", reason=REASON),
            "acc1": share(0.8),
            "pca@16/acc1": nothing,
            "pca@16/acc1_change": nothing,
            "int8@64/acc1": share(0.798),
            "int8@64/acc1_change": change,
            "int8@16/acc1": share(0.5),
            "int8@16/acc1_change": change,
        },
        "curves": {
            "float32/acc1_by_bytes": by_bytes({256: 0.8}),
            "int8/acc1_by_bytes": by_bytes({16: 0.5, 64: 0.798}),
            "int8/acc1_most_lost": Curve(x=[64], y=[0.0071]),
            "acc1_smallest": Curve(x=[64], y=[0.798]),
        },
        "params": {"points": 1.0},
        "formats": formats("pca@16", "int8@64", "int8@16"),
        **changes,
    }


def formats(*names: str) -> dict[str, StoredFormat]:
    forms = {name: form for name in names if (form := Format.from_name(name)) is not None}
    stored = {name: StoredFormat(label=form.label, n_bytes=form.n_bytes) for name, form in forms.items()}
    return {"": StoredFormat(label="float32", n_bytes=256), **stored}


def test_the_table_has_bytes_quality_and_loss(make_run: MakeRun) -> None:
    evidence = evidence_of(make_run({"compression@a": small()}))
    of_captions, _, of_labels = SECTION.tables
    table = of_labels(evidence)
    assert table.rows == [
        ["float32", "256", "80.0 [75.0, 85.0]", "–", "–"],
        ["16 PCA", "64", "–", "–", "–"],
        ["64 int8", "64", "79.8 [74.8, 84.8]", "−0.2 [−0.6, 0.3]", "0.71"],
        ["16 int8", "16", "50.0 [45.0, 55.0]", "−0.2 [−0.6, 0.3]", "–"],
    ]
    assert "The smallest format that loses less than 1 point is chosen" in table.facts
    assert "smaller ones have no bound (–)" in table.facts
    with pytest.raises(NotAsked):
        of_captions(evidence)
    assert SECTION.findings(evidence.evaluation)[-1].text == (
        "In 64 bytes each, a search through a million vectors reads 64 MB instead of 256 MB. The time of a search was not measured."
    )


def test_the_bound_of_a_format_is_not_shown_for_another_of_as_many_bytes(make_run: MakeRun) -> None:
    parts = small()
    for dim in (4, 5, 8, 16):
        parts["metrics"][f"binary@{dim}/acc1"] = Metric(value=0.5, n=90)
    parts["formats"] = formats(*(f"binary@{dim}" for dim in (4, 5, 8, 16)))
    parts["curves"]["binary/acc1_most_lost"] = Curve(x=[1, 2], y=[0.02, 0.001])
    table = SECTION.tables[2](evidence_of(make_run({"compression@a": parts})))
    bounds = {row[0]: row[4] for row in table.rows if str(row[0]).endswith("signs")}
    assert bounds == {"16 signs": "0.10", "8 signs": "2.00", "5 signs": "–", "4 signs": "–"}
