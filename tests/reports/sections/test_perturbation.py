"""The section on disturbed images and texts: what it says, its tables and pairs, and its small multiples in a browser."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from clipbench.results.record import Curve, Metric
from clipbench_reports.evidence import Evidence, MissingEvidence, ModelEvidence, ModelKey, NotAsked
from clipbench_reports.galleries import PageBudget
from clipbench_reports.page.report import write_report
from clipbench_reports.sections.perturbation import FRAGILE, SCORES, SECTION, flipped_pairs, loss_table, score_table
from clipbench_tasks.perturbation.task import DISTURBANCES
from tests.reports.conftest import Make, MakeRun, Visit

SEVERITIES = [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]
N = 60


def in_points(value: float) -> Metric:
    return Metric(value=value, low=value - 0.05, high=value + 0.05, unit="difference", n=N, higher_is_better=False)


def severity(value: float | None, reason: str | None = None) -> Metric:
    low, high = (None, None) if value is None else (value - 0.3, value + 0.3)
    return Metric(value=value, low=low, high=high, unit="severity", n=N, reason=reason)


def recorded(parts: SimpleNamespace, names: tuple[str, ...] = tuple(DISTURBANCES), **changes: Any) -> dict[str, Any]:
    """Return an evaluation in which each disturbance costs a little less than the one before, with three flips."""
    curves: dict[str, Curve] = {}
    metrics = {"disturbed_acc1": parts.fraction(0.6, N, chance=0.1), "worst_loss": in_points(0.4)}
    rows = [(name, row) for name in names for row in range(N)]
    for number, name in enumerate(names):
        loss = 0.4 / (1 + number)
        ys = [0.9 - 2 * loss * at / 5 * 1.6 / 2 for at in SEVERITIES]
        axes: dict[str, Any] = {"x": SEVERITIES, "x_label": "severity", "y_label": f"{DISTURBANCES[name]}: accuracy"}
        bounds: dict[str, Any] = {"low": [y - 0.05 for y in ys], "high": [y + 0.05 for y in ys]}
        curves[f"{name}/score_by_severity"] = Curve(
            **axes, y=ys, **bounds, chance=[0.1] * 6, unit="fraction", figure="severity", series="images",
            role="image",
        )  # fmt: skip
        curves[f"{name}/blind_by_severity"] = Curve(
            **axes, y=[0.12] * 6, unit="fraction", figure="severity", series="blind", role="ink"
        )
        losses = [0.9 - y for y in ys]
        curves[f"{name}/loss_by_severity"] = Curve(
            **axes, y=losses, low=[y - 0.05 for y in losses], high=[y + 0.05 for y in losses], unit="difference",
            figure="loss", series=DISTURBANCES[name], role="image",
        )  # fmt: skip
        metrics[f"{name}/loss"] = in_points(loss)
        metrics[f"{name}/half_loss"] = severity(2.5) if number == 0 else severity(None, "less than half is lost")
    flips = {0: ("a" * 32, -5.0), N: ("b" * 32, -3.0), 2 * N: ("c" * 32, -4.0)} if len(names) > 2 else {}
    samples = {
        "sample_id": np.array([f"{name}:image:{row}" for name, row in rows], object),
        "condition": np.array([name for name, _ in rows], object),
        "image": np.array([f"{row:032x}" for _, row in rows], object),
        "label": np.array(["owl"] * len(rows), object),
        "chosen": np.array(["wren" if at in flips else "" for at in range(len(rows))], object),
        "flip_margin": np.array([flips.get(at, ("", np.nan))[1] for at in range(len(rows))]),
        "disturbed_image": np.array([flips.get(at, ("", 0))[0] for at in range(len(rows))], object),
    }
    subsets = {name: DISTURBANCES[name] for name in names}
    return {"samples": samples, "curves": curves, "metrics": metrics, "subsets": subsets, **changes}


def test_findings_name_the_disturbance_that_costs_most(evidence: Make, parts: SimpleNamespace) -> None:
    disturbed, worst = SECTION.findings(evidence(**recorded(parts)).evaluation)
    assert disturbed.mark == "good" and "60.0 % [" in disturbed.text
    assert worst.text == (
        "The largest mean loss is with JPEG: 40.0 pp (95 % interval [35.0, 45.0]); half of what is above chance is lost"
        " at severity 2.5 (95 % interval [2.2, 2.8])."
    )
    assert worst.weakness == FRAGILE
    late = recorded(parts)
    late["metrics"]["jpeg/half_loss"] = severity(4.0)
    assert SECTION.findings(evidence(**late).evaluation)[1].weakness == ""
    never = recorded(parts)
    never["metrics"] |= {"jpeg/half_loss": severity(None, "no"), "template/spread": in_points(0.06)}
    _, worst, spread = SECTION.findings(evidence(**never).evaluation)
    assert worst.text.endswith("with JPEG: 40.0 pp (95 % interval [35.0, 45.0]).")
    assert spread.text == "The best template scores 6.0 pp (95 % interval [1.0, 11.0]) above the worst."


def test_tables_have_a_row_for_each_disturbance_with_intervals(evidence: Make, parts: SimpleNamespace) -> None:
    result = evidence(**recorded(parts))
    losses, scores = loss_table(result), score_table(result)
    assert [row[0] for row in losses.rows] == list(DISTURBANCES.values()) == [row[0] for row in scores.rows]
    assert losses.rows[0][1] == "12.8 [7.8, 17.8]" and losses.rows[0][-1] == "2.5 [2.2, 2.8]"
    assert losses.rows[1][-1] == "–"
    assert scores.rows[0][1] == "90.0 [85.0, 95.0]" and len(scores.rows[0]) == 7
    with pytest.raises(MissingEvidence, match="no disturbance has a measured loss"):
        loss_table(evidence(metrics={}, curves={}))


def test_the_pairs_that_flipped_are_shown_with_both_answers(make_run: MakeRun, parts: SimpleNamespace) -> None:
    run = make_run({"perturbation@birds": recorded(parts)})
    parts.write_thumbnails(run.folder, [*(f"{row:032x}" for row in range(N)), "a" * 32, "b" * 32, "c" * 32])
    gallery = flipped_pairs(Evidence(run, run.result.evaluations[0]), PageBudget(1_000_000))
    assert [[fact.words for fact in failure.facts] for failure in gallery.failures] == [
        ["JPEG, severity 1", "owl", "wren"],
        ["blur, severity 2", "owl", "wren"],
        ["downscale, severity 3", "owl", "wren"],
    ]
    assert all([image.role for image in failure.images] == ["clean", "disturbed"] for failure in gallery.failures)
    assert all(image.address for failure in gallery.failures for image in failure.images)


def test_texts_alone_have_no_pairs_of_images(evidence: Make) -> None:
    with pytest.raises(NotAsked):
        flipped_pairs(evidence(samples={"sample_id": np.array(["a"], object)}), PageBudget(1_000))


def test_a_plane_for_each_disturbance_shares_its_axes_with_the_others(
    make_run: MakeRun, parts: SimpleNamespace
) -> None:
    run = make_run({"perturbation@birds": recorded(parts)})
    chart = SCORES([ModelEvidence(ModelKey("m", 0), Evidence(run, run.result.evaluations[0]))])
    assert len(chart.panels) == 16
    assert {(panel.x.low, panel.x.high, panel.y.low, panel.y.high) for panel in chart.panels} == {(0, 5, 0, 1)}


@pytest.mark.parametrize(("width", "n_columns"), [(360, 1), (1280, 3)])
def test_small_multiples_fit_the_page(
    make_run: MakeRun, parts: SimpleNamespace, visit: Visit, width: int, n_columns: int
) -> None:
    run = make_run({"perturbation@birds": recorded(parts)})
    parts.write_thumbnails(run.folder, [*(f"{row:032x}" for row in range(N)), "a" * 32, "b" * 32, "c" * 32])
    write_report([run], run.folder / "report.html")
    page = visit(run.folder / "report.html", width=width)
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    texts = page.evaluate(
        "[...document.querySelectorAll('figure svg text')].filter(text => text.getClientRects().length).map(text => {"
        " const box = text.getBoundingClientRect(), svg = text.ownerSVGElement.getBoundingClientRect();"
        " return [text.textContent, box.left - svg.left, svg.right - box.right, box.left, box.top] })"
    )
    assert min(min(text[1:3]) for text in texts) >= -1
    if n_columns == 3:
        titles = [text for text in texts if text[0].endswith(": accuracy, %")]
        assert len(titles) == 16 and len({round(text[3], -1) for text in titles}) == n_columns
    pairs = page.evaluate(
        "[...document.querySelectorAll('img')].filter(image => image.getClientRects().length)"
        ".map(image => [image.complete && image.naturalWidth > 0, image.getBoundingClientRect().right])"
    )
    assert len(pairs) == 6 and all(is_loaded and right <= width for is_loaded, right in pairs)
