"""The report on mixed retrieval: its figure, its table, its sentences, and the documents that came first instead."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from clipbench.results.record import Curve, Metric
from clipbench.results.run import Run
from clipbench_reports import figures
from clipbench_reports.drawing.marks import Line, ModelKey
from clipbench_reports.galleries.gallery import Gallery
from clipbench_reports.galleries.unfound import unfound
from clipbench_reports.page.evidence import Evidence, MissingEvidence, ModelEvidence
from clipbench_reports.page.report import write_report
from clipbench_reports.sections.mixed_retrieval import TEXTS_FIRST, by_share, findings

MakeRun = Callable[..., Run]
SHARES = [0.0, 0.25, 0.5, 0.75, 1.0]


def mixed(fraction: Callable[..., Metric], *, preference: float = 0.9) -> dict[str, Any]:
    """Return the parts of an evaluation of 400 captions, of which 200 look for an image."""
    curves = {
        "ndcg_by_share": Curve(
            x=SHARES, y=[0.9, 0.6, 0.5, 0.7, 0.95], low=[0.4] * 5, high=[1.0] * 5, y_label="nDCG@10"
        ),
        "ndcg_by_share_centred": Curve(x=SHARES, y=[0.9, 0.8, 0.8, 0.85, 0.95], y_label="nDCG@10"),
        "recall@1_by_share": Curve(x=SHARES, y=[0.8, 0.5, 0.4, 0.6, 0.9], y_label="R@1"),
        "text_preference_by_share": Curve(x=[0.25, 0.5, 0.75], y=[0.7, preference, 0.95]),
        "text_preference_by_share_centred": Curve(x=[0.25, 0.5, 0.75], y=[0.1, 0.2, 0.3]),
    }
    samples: dict[str, list[Any]] = {
        "sample_id": ["text:a", "text:b"],
        "direction": ["mixed"] * 2,
        "image": ["a" * 32, "b" * 32],
        "caption": ["a sea", "a wood"],
        "right_text": ["", "trees"],
        "right_image": ["a" * 32, ""],
        "chosen_text": ["waves", "trees"],
        "chosen_image": ["", ""],
        "right_cosine": [0.25, 0.8],
        "chosen_cosine": [0.75, 0.8],
        "mixed_margin": [-0.5, 0.0],
        "mixed_rank": [7.0, 1.0],
        "margin": [-5.5, 0.5],
    }
    ndcg = Metric(**{**vars(fraction(0.5, 400, chance=0.01)), "title": "nDCG@10", "is_headline": True})
    return {
        "samples": {
            name: np.array(each, object if isinstance(each[0], str) else None) for name, each in samples.items()
        },
        "metrics": {
            "texts=50/ndcg@10": ndcg,
            "texts=50/text_preference": fraction(preference, 200, chance=0.5, higher_is_better=False),
            "texts=50/centring_gain": Metric(value=0.3, low=0.25, high=0.35, unit="difference", n=400),
        },
        "curves": curves,
    }


def test_the_figure_has_both_quantities_as_they_are_and_centred(make_run: MakeRun, parts: SimpleNamespace) -> None:
    run = make_run({"mixed-retrieval@scenes": mixed(parts.fraction)})
    chart = figures.mixed([ModelEvidence(ModelKey("tiny", 0), Evidence(run, run.result.evaluations[0]))])
    assert (
        chart.title == "nDCG@10 is 50.0 % where 50 % of the documents are texts, and 80.0 % with each modality centred."
    )
    of_ndcg, of_preference = ([mark for mark in panel.marks if isinstance(mark, Line)] for panel in chart.panels)
    assert [(line.name, list(line.ys)) for line in of_ndcg] == [
        ("as it is", [0.9, 0.6, 0.5, 0.7, 0.95]), ("each modality centred", [0.9, 0.8, 0.8, 0.85, 0.95])
    ]  # fmt: skip
    assert [line.name for line in of_preference] == ["chance", "as it is", "each modality centred"]
    assert list(of_preference[0].ys) == [0.25, 0.75]  # by chance a text is as often the nearest as there are texts
    empty = make_run({"mixed-retrieval@scenes": {**mixed(parts.fraction), "curves": {}}}, name="empty")
    with pytest.raises(MissingEvidence, match="kept no nDCG by the share of texts"):
        figures.mixed([ModelEvidence(ModelKey("tiny", 0), Evidence(empty, empty.result.evaluations[0]))])


def test_the_table_has_each_share_before_and_after(make_run: MakeRun, parts: SimpleNamespace) -> None:
    run = make_run({"mixed-retrieval@scenes": mixed(parts.fraction)})
    table = by_share(Evidence(run, run.result.evaluations[0]))
    assert [column.header for column in table.columns] == ["Texts, %", "nDCG@10", "R@1"]
    assert [list(map(str, row)) for row in table.rows][2] == ["50", "50.0 → 80.0", "40.0"]


def test_sentences_name_a_preference_only_where_a_test_shows_it(make_run: MakeRun, parts: SimpleNamespace) -> None:
    run = make_run({"mixed-retrieval@scenes": mixed(parts.fraction)})
    ndcg, preference, gain = findings(run.result.evaluations[0])
    assert ndcg.text.startswith("If half of the documents are texts, nDCG@10 is 50.0 % over 400 captions")
    assert preference.text.startswith(
        "For 90.0 % of 200 captions whose right document is an image, the nearest document is a text"
    )
    assert (preference.mark, preference.weakness) == ("weak", TEXTS_FIRST)
    assert gain.text == "With each modality centred, nDCG@10 changes by +30.00 pp (95 % interval [+25.00, +35.00])."
    fair = make_run({"mixed-retrieval@scenes": mixed(parts.fraction, preference=0.1)}, name="fair")
    assert findings(fair.result.evaluations[0])[1].mark == "good"


def test_the_page_has_no_other_figure_of_the_curves(make_run: MakeRun, parts: SimpleNamespace, tmp_path: Path) -> None:
    write_report([make_run({"mixed-retrieval@scenes": mixed(parts.fraction)})], tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    assert "nDCG@10 is 50.0 % where" in page and "recall@1_by_share" not in page and "By the share of texts" in page


def test_a_failure_has_the_right_image_and_the_text_that_came_first(
    hang: Callable[..., Gallery], parts: SimpleNamespace
) -> None:
    (only,) = hang(unfound("mixed"), **mixed(parts.fraction)["samples"]).failures
    assert [(fact.term, fact.words) for fact in only.facts] == [
        ("Caption", "a sea"), ("Right", ""), ("Came first", "waves"), ("Margin", "")
    ]  # fmt: skip
    assert [image.role for image in only.images] == ["Right"]


def test_of_judged_documents_there_is_no_share_to_vary(
    make_run: MakeRun, parts: SimpleNamespace, tmp_path: Path
) -> None:
    found = mixed(parts.fraction)
    metrics = {name.removeprefix("texts=50/"): metric for name, metric in found["metrics"].items()}
    metrics["mrr"] = Metric(**{**vars(parts.fraction(0.4, 400, chance=0.02)), "title": "MRR", "is_headline": True})
    curves = {"judged_ndcg": Curve(x=[1.0, 10.0], y=[0.3, 0.5]), "judged_recall": Curve(x=[1.0, 10.0], y=[0.3, 0.6])}
    run = make_run({"mixed-retrieval@scenes": {**found, "metrics": metrics, "curves": curves}})
    sentences = [each.text for each in findings(run.result.evaluations[0])]
    assert sentences[0].startswith("nDCG@10 is 50.0 % over 400 queries")
    assert sentences[1].startswith(
        "For 90.0 % of 200 queries whose right document is an image, the nearest document is a text"
    )
    one = replace(run.result.evaluations[0], metrics={**metrics, "text_preference": parts.fraction(1.0, 1, chance=0.5)})
    assert findings(one)[1].text.startswith("For 100.0 % of 1 query whose right document is an image")
    write_report([run], tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    assert "nDCG@10 50.0 %, recall@10 of relevant documents 60.0 %." in page and "By the share of texts" not in page
    assert "share of texts" not in page
