"""The report on data with judgements: its figure, its failures and its sentences, and nothing of captions."""

from collections.abc import Callable
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
from clipbench_reports.page.evidence import Evidence, MissingEvidence, ModelEvidence, NotAsked
from clipbench_reports.page.report import write_report
from clipbench_reports.sections.retrieval import findings

MakeRun = Callable[..., Run]


def judged(fraction: Callable[..., Metric]) -> dict[str, Any]:
    """Return the parts of an evaluation with three queries, the last of which did not find its document first."""
    ks = [1.0, 5.0, 10.0]
    samples: dict[str, list[Any]] = {
        "sample_id": ["query:a", "query:b", "query:c"],
        "direction": ["judged"] * 3,
        "image": ["", "", "c" * 32],
        "query": ["a sea", "a wood", ""],
        "right_text": ["waves", "", "hills"],
        "right_image": ["", "b" * 32, ""],
        "chosen_text": ["waves", "", "trees"],
        "chosen_image": ["", "b" * 32, "d" * 32],
        "right_cosine": [0.9, 0.8, 0.25],
        "chosen_cosine": [0.9, 0.8, 0.5],
        "judged_margin": [0.0, 0.0, -0.25],
        "judged_rank": [1.0, 1.0, 12.0],
        "margin": [0.5, 0.5, -10.5],
    }
    return {
        "samples": {
            name: np.array(column, object if isinstance(column[0], str) else None) for name, column in samples.items()
        },
        "metrics": {
            "ndcg@10": Metric(**{**vars(fraction(0.6, 300, chance=0.01)), "title": "nDCG@10", "is_headline": True}),
            "mrr": Metric(**{**vars(fraction(0.5, 300, chance=0.02)), "title": "MRR", "is_headline": True}),
        },
        "curves": {
            "judged_ndcg": Curve(x=ks, y=[0.4, 0.55, 0.6], low=[0.3, 0.45, 0.5], high=[0.5, 0.65, 0.7]),
            "judged_recall": Curve(x=ks, y=[0.3, 0.6, 0.7]),
        },
        "question": "Are the documents that people judged relevant to a query the first that it finds?",
    }


def test_the_figure_shows_ndcg_and_recall_by_rank(make_run: MakeRun, parts: SimpleNamespace) -> None:
    run = make_run({"retrieval@scenes": judged(parts.fraction)})
    models = [ModelEvidence(ModelKey("tiny", 0), Evidence(run, run.result.evaluations[0]))]
    chart = figures.relevance(models)
    assert chart.title == "nDCG@10 60.0 %, recall@10 of relevant documents 70.0 %."
    ndcg, recall = (mark for mark in chart.panels[0].marks if isinstance(mark, Line))
    assert list(ndcg.ys) == [0.4, 0.55, 0.6] and ndcg.lows is not None and recall.lows is None and recall.is_dashed
    for draw in (figures.recall, figures.recall_within, figures.similarity):
        with pytest.raises(MissingEvidence, match="data with judgements have nDCG"):
            draw(models)


@pytest.mark.parametrize("queries", [300, 500, None, "many"])
def test_sentences_and_figures_say_where_the_queries_are_a_sample(
    make_run: MakeRun, parts: SimpleNamespace, queries: object
) -> None:
    both = {
        "retrieval@judged": judged(parts.fraction),
        "retrieval@pairs": parts.retrieval(np.random.default_rng(0), n=300),
    }
    run = make_run({name: {**each, "params": {"queries": queries}} for name, each in both.items()})
    reading = f"Queries: at most {queries} of each direction, drawn at random, each over the whole gallery."
    for evaluation, draw in zip(run.result.evaluations, (figures.relevance, figures.recall), strict=True):
        sentences = findings(evaluation)
        assert all((" drawn at random (" in each.text) == (queries == 300) for each in sentences[:2]), sentences
        chart = draw([ModelEvidence(ModelKey("tiny", 0), Evidence(run, evaluation))])
        assert (reading in chart.reading) == isinstance(queries, int)


def test_of_captions_no_relevance_is_asked(make_run: MakeRun) -> None:
    run = make_run()
    (evaluation,) = (each for each in run.result.evaluations if each.name == "retrieval@scenes")
    with pytest.raises(MissingEvidence) as found:
        figures.relevance([ModelEvidence(ModelKey("tiny", 0), Evidence(run, evaluation))])
    assert isinstance(next(iter(found.value.by_model.values())), NotAsked)  # type: ignore[attr-defined]


def test_the_page_says_nothing_of_captions_and_shows_what_came_first_instead(
    make_run: MakeRun, parts: SimpleNamespace, tmp_path: Path
) -> None:
    run = make_run({"retrieval@scenes": judged(parts.fraction)})
    write_report([run], tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    assert "Queries whose relevant documents did not come first" in page and "nDCG@10 60.0 %" in page
    assert "similarity matrix" not in page and "no recall curve" not in page and "image-to-image retrieval" not in page
    sentences = [each.text for each in findings(run.result.evaluations[0])]
    assert sentences[0].startswith("nDCG@10 is 60.0 % over 300 queries (95 % interval")
    assert sentences[1].startswith("MRR is 50.0 % over 300 queries")


def test_a_failure_has_the_query_and_both_documents(hang: Callable[..., Gallery], parts: SimpleNamespace) -> None:
    (only,) = hang(unfound("judged"), **judged(parts.fraction)["samples"]).failures
    assert [(fact.term, fact.words) for fact in only.facts] == [
        ("Right", "hills"),
        ("Came first", "trees"),
        ("Margin", ""),
    ]
    assert [image.role for image in only.images] == ["Query", "Came first"]


def test_a_gallery_of_texts_says_nothing_of_images(hang: Callable[..., Gallery], parts: SimpleNamespace) -> None:
    none = dict.fromkeys(("image", "right_image", "chosen_image"), [""] * 3)
    found = hang(unfound("judged"), **{**judged(parts.fraction)["samples"], **none})
    assert found.failures[0].images == [] and "no small copies" not in found.note
