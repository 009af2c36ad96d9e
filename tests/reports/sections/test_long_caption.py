"""The report on long captions: what its figures and sentences say, and what they say where there is nothing."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from clipbench.results.record import Curve, Metric
from clipbench.results.run import Run
from clipbench_reports import figures
from clipbench_reports.drawing import page, paper, plotted
from clipbench_reports.drawing.layout import lay_out
from clipbench_reports.drawing.marks import Bars, Chart, Line, ModelKey, Ranges, Rule, Shade
from clipbench_reports.page.evidence import Evidence, MissingEvidence, ModelEvidence
from clipbench_reports.page.report import write_report
from clipbench_reports.sections.long_caption import findings

MakeRun = Callable[..., Run]
PLACES = {"early": (4.0, 0.9), "late": (60.0, 0.7), "beyond": (120.0, 0.5)}
WHY = "the model counts nothing"


def long_caption(fraction: Callable[..., Metric], **changes: Any) -> dict[str, Any]:
    """Return the parts of an evaluation with 400 captions of 40 to 239 tokens, and three places."""
    nan = np.nan
    samples = {
        "sample_id": np.array([str(row) for row in range(430)], object),
        "place": np.array([""] * 400 + [place for place in PLACES for _ in range(10)], object),
        "fact_token": np.array([nan] * 400 + [at for at, _ in PLACES.values() for _ in range(10)]),
        "image_retrieval/n_tokens": np.array([40.0 + row / 2 for row in range(400)] + [nan] * 30),
    }
    lengths = [5.0, 20.0, 77.0]
    shares = {"image": [0.1, 0.55, 0.6], "text": [0.2, 0.5, 0.7]}
    curves = {
        f"{way}_retrieval_recall@1_by_tokens": Curve(
            x=lengths, y=ys, low=[y - 0.05 for y in ys], high=[y + 0.05 for y in ys]
        )
        for way, ys in shares.items()
    }
    metrics = {
        "image_retrieval_recall@1": fraction(0.6, 400, chance=1 / 400),
        "effective_length": tokens(33.5, 21.0, 40.0),
        "caption_tokens": tokens(139.8, 130.0, 150.0),
        "truncated_fraction": fraction(0.81, 400),
        "tokens_lost": tokens(65.8, 60.0, 70.0),
        **{f"{place}/text_acc": fraction(y, 400, chance=0.5) for place, (_, y) in PLACES.items()},
    }
    told = Curve(x=[at for at, _ in PLACES.values()], y=[y for _, y in PLACES.values()])
    curves["text_acc_by_position"] = told
    return {"samples": samples, "curves": curves, "metrics": metrics, "params": {"share": 0.95}, **changes}


def tokens(value: float, low: float, high: float) -> Metric:
    return Metric(value=value, low=low, high=high, unit="tokens", n=400)


def alone(evidence: Evidence) -> list[ModelEvidence]:
    """Return the evidence of one model, as a figure takes it."""
    return [ModelEvidence(ModelKey("model", 0), evidence)]


@pytest.fixture
def evidence(make_run: MakeRun, parts: SimpleNamespace) -> Callable[..., Evidence]:
    def make(**changes: Any) -> Evidence:
        run = make_run({"long-caption@scenes": long_caption(parts.fraction, **changes)})
        return Evidence(run, run.result.evaluations[0])

    return make


Make = Callable[..., Evidence]


@pytest.mark.parametrize("draw", [figures.tokens_kept, figures.positions, figures.token_lengths])
def test_both_renderers_draw_it_and_its_data_are_listed(
    evidence: Make, tmp_path: Path, draw: Callable[[list[ModelEvidence]], Chart]
) -> None:
    found = draw(alone(evidence()))
    assert page.draw(found).startswith("<svg") and "nan" not in page.draw(found)
    paper.save(found, tmp_path / "figure.png")
    assert list(plotted.rows(found))


def test_the_curve_says_what_few_tokens_and_the_whole_find(evidence: Make) -> None:
    found = figures.tokens_kept(alone(evidence()))
    assert found.title == (
        "Recall@1 is 10.0 % with 5 tokens and 60.0 % with the whole caption; 95 % of that takes 33.5 tokens."
    )
    assert "text → image: 10.0 % at 5, 55.0 % at 20, 60.0 % at 77." in found.detail
    marks = found.panels[0].marks
    lengths = {mark.name: mark.at for mark in marks if isinstance(mark, Rule) and mark.axis == "x"}
    assert lengths == {"effective length": 33.5, "end of the window": 77}
    (shade,) = (mark for mark in marks if isinstance(mark, Shade))
    assert (shade.low, shade.high, shade.name) == (21.0, 40.0, "effective length")
    lines = [mark for mark in marks if isinstance(mark, Line)]
    assert [(line.name, line.role) for line in lines] == [("text → image", "image"), ("image → text", "text")]
    assert lines[0].lows == pytest.approx([0.05, 0.5, 0.55])
    names = [mark.name for mark in lay_out(found).legend]
    assert names == ["effective length", "end of the window", "text → image", "image → text", "chance"]


def test_without_an_effective_length_the_curve_is_still_drawn(evidence: Make, parts: SimpleNamespace) -> None:
    whole = long_caption(parts.fraction)["metrics"]
    found = figures.tokens_kept(
        alone(evidence(metrics={**whole, "effective_length": Metric(value=None, reason="at chance")}))
    )
    assert found.title.endswith("60.0 % with the whole caption.")
    assert "effective length" not in [mark.name for mark in lay_out(found).legend]


def test_the_places_stand_where_their_fact_does(evidence: Make) -> None:
    found = figures.positions(alone(evidence()))
    assert found.title == ("Accuracy by where the fact is stated: early 90.0 %, late 70.0 %, beyond 50.0 %.")
    assert found.detail == "early: token 4. late: token 60. beyond: token 120."
    shade, _, dots = found.panels[0].marks
    assert isinstance(shade, Shade) and (shade.low, shade.high, shade.name) == (77, 125, "beyond the window")
    assert isinstance(dots, Ranges) and list(dots.xs) == [4, 60, 120] and list(dots.ys) == [0.9, 0.7, 0.5]
    assert list(dots.ids) == list(PLACES)
    assert list(found.panels[0].x.names) == ["early\n4", "late\n60", "beyond\n120"]


def test_the_lengths_are_counted_against_the_window(evidence: Make) -> None:
    found = figures.token_lengths(alone(evidence()))
    longer = sum(40 + row / 2 > 77 for row in range(400)) / 400
    assert found.title == f"{100 * longer:.1f} % of the captions are longer than the window of 77 tokens."
    assert found.detail == "Shortest 40, median 139.8, longest 240 tokens."
    bars, rule = found.panels[0].marks
    assert isinstance(bars, Bars) and sum(bars.counts) == 400 and len(bars.counts) <= 30
    for low, high, n in zip(bars.edges[:-1], bars.edges[1:], bars.counts, strict=True):
        assert n == sum(low <= 40 + row / 2 < high for row in range(400))
    assert isinstance(rule, Rule) and rule.at == 77


def test_what_cannot_be_drawn_says_why(evidence: Make) -> None:
    undefined = {"effective_length": Metric(value=None, unit="tokens", reason=WHY)}
    bare = evidence(curves={}, metrics={**undefined, "early/text_acc": Metric(value=0.5)})
    for draw in (figures.tokens_kept, figures.positions, figures.token_lengths):
        with pytest.raises(MissingEvidence, match=WHY):
            draw(alone(bare))
    with pytest.raises(MissingEvidence, match="facts at several places, which these data do not have"):
        figures.positions(alone(evidence(curves={}, metrics=undefined)))


def test_findings_say_how_much_is_used_and_where_the_model_guesses(evidence: Make) -> None:
    recall, used, told = findings(evidence().evaluation)
    assert recall.text.startswith("A long caption finds its image first in 60.0 % of 400 cases")
    assert used.text == (
        "The first 33.5 tokens (95 % interval [21.0, 40.0]) of a caption give 95 % of the recall of the whole;"
        " 81.0 % of the captions are longer than the model's context and lose 65.8 tokens on average."
    )
    assert "give 90 % of the recall" in findings(evidence(params={"share": 0.9}).evaluation)[1].text
    assert told.mark == "level"
    assert told.text.endswith("50.0 % (beyond); not significantly different from chance: beyond.")


def test_facts_that_are_cut_off_are_no_weakness_of_the_model(evidence: Make, parts: SimpleNamespace) -> None:
    cut = {f"{place}/beyond_window": parts.fraction(float(place == "beyond"), 400) for place in PLACES}
    told, beyond = findings(evidence(controls=cut).evaluation)[-2:]
    assert told.mark == "good" and told.skill == pytest.approx(0.4)  # of what is read, the late facts
    assert "(beyond)" not in told.text and told.text.endswith("better than chance wherever the model reads them.")
    assert beyond.is_expected and beyond.text == "Facts beyond the model's context cannot differ: beyond."
    metrics = long_caption(parts.fraction)["metrics"]
    below = metrics | {"late/text_acc": parts.fraction(0.2, 400, chance=0.5)}
    told = findings(evidence(controls=cut, metrics=below).evaluation)[-2]
    assert told.mark == "weak" and told.text.endswith("; below chance: late.")
    only = {name: metric for name, metric in metrics.items() if name not in ("early/text_acc", "late/text_acc")}
    assert findings(evidence(controls=cut, metrics=only).evaluation)[-1].mark == "plain"


def test_findings_without_tokens_or_places_say_so(evidence: Make, parts: SimpleNamespace) -> None:
    metrics = long_caption(parts.fraction)["metrics"]
    fits = {**metrics, "truncated_fraction": parts.fraction(0.0, 400)}
    assert any(
        "every caption fits the model's context" in each.text for each in findings(evidence(metrics=fits).evaluation)
    )
    better = {name: metric for name, metric in metrics.items() if name != "beyond/text_acc"}
    assert findings(evidence(metrics=better).evaluation)[-1].mark == "good"
    undefined = {"effective_length": Metric(value=None, unit="tokens", reason=WHY)}
    (only,) = findings(evidence(metrics=undefined).evaluation)
    assert (only.mark, only.text) == ("missing", f"Effective length undefined ({WHY}).")


def test_the_section_draws_its_curves_once(make_run: MakeRun, parts: SimpleNamespace) -> None:
    run = make_run({"long-caption@scenes": long_caption(parts.fraction)})
    write_report([run], run.folder / "report.html")
    html = (run.folder / "report.html").read_text(encoding="utf-8")
    assert html.count("95 % of that takes 33.5 tokens") == 1
    assert "by_tokens”: from" not in html  # the plain figure of a curve that has none of its own
