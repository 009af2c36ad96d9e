"""The report on data with judgements: its figure, its failures and its sentences, and nothing of captions."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from clipbench.results.record import Curve, Metric
from clipbench_reports.drawing.marks import Chart, Line
from clipbench_reports.evidence import Evidence, MissingEvidence
from clipbench_reports.galleries import Gallery
from clipbench_reports.sections import retrieval
from clipbench_reports.sections.retrieval import failure_gallery, findings
from tests.reports.conftest import Make, MakeRun, alone


def judged(fraction: Callable[..., Metric]) -> dict[str, Any]:
    """Return the parts of an evaluation with three queries, the last of which did not find its document first."""
    ks = [1.0, 5.0, 10.0]
    samples: dict[str, list[Any]] = {
        "sample_id": ["query:a", "query:b", "query:c"],
        "direction": ["judged"] * 3,
        "image": ["", "", "c" * 32],
        "query": ["a sea", "a wood", ""],
        "target_text": ["waves", "", "hills"],
        "target_image": ["", "b" * 32, ""],
        "predicted_text": ["waves", "", "trees"],
        "predicted_image": ["", "b" * 32, "d" * 32],
        "target_cosine": [0.9, 0.8, 0.25],
        "predicted_cosine": [0.9, 0.8, 0.5],
        "judged_cosine_margin": [0.0, 0.0, -0.25],
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


@pytest.mark.parametrize("queries", [300, 500, None, "many"])
def test_sentences_and_figures_say_where_the_queries_are_a_sample(
    make_run: MakeRun, parts: SimpleNamespace, queries: object
) -> None:
    both = {
        "retrieval@judged": judged(parts.fraction),
        "retrieval@pairs": parts.retrieval(np.random.default_rng(0), n=300),
    }
    run = make_run({name: {**sentence, "params": {"queries": queries}} for name, sentence in both.items()})
    reading = f"Queries: at most {queries} per direction, drawn at random, searching the whole gallery."
    for evaluation, draw in zip(run.result.evaluations, (retrieval.RELEVANCE, retrieval.RECALL), strict=True):
        sentences = findings(evaluation)
        assert all((" drawn at random" in sentence.text) == (queries == 300) for sentence in sentences[:2]), sentences
        chart = draw(alone(Evidence(run, evaluation)))
        assert (reading in chart.reading) == isinstance(queries, int)


@pytest.mark.parametrize(
    ("draw", "name"), [(retrieval.RECALL, "text_retrieval"), (retrieval.RECALL_WITHIN, "text_text")]
)
def test_a_chance_line_reaches_as_far_as_its_axis(evidence: Make, draw: Callable[..., Chart], name: str) -> None:
    ks = [float(k) for k in range(1, 101)]
    recall, chance = Curve(x=ks, y=[0.5 + k / 200 for k in ks]), Curve(x=ks, y=[k / 669 for k in ks])
    (panel,) = draw(alone(evidence(curves={f"{name}_recall": recall, f"{name}_recall_chance": chance}))).panels
    (line,) = [mark for mark in panel.marks if isinstance(mark, Line) and mark.role == "chance"]
    assert (line.xs[0], line.xs[-1]) == (panel.x.low, panel.x.high) == (1, 100)
    assert line.ys[-1] == pytest.approx(100 / 669)


def test_recall_by_the_number_of_images_is_drawn_where_there_are_distractors(evidence: Make) -> None:
    curves = {
        f"image_retrieval_recall@{k}/by_gallery": Curve(x=[1000.0, 50_000.0], y=[0.5 + k / 20, 0.25]) for k in (1, 5)
    }
    chart = retrieval.BY_GALLERY(alone(evidence(curves=curves)))
    assert chart.title == "Recall@k with images searched from 1,000 to 50,000: R@1 55.0 to 25.0 %, R@5 75.0 to 25.0 %."
    assert [line.name for line in chart.panels[0].marks] == ["R@1", "R@5"]
    with pytest.raises(MissingEvidence, match="takes data with distractors"):
        retrieval.BY_GALLERY(alone(evidence(curves={})))


def test_a_failure_has_the_query_and_both_documents(hang: Callable[..., Gallery], parts: SimpleNamespace) -> None:
    (only,) = hang(failure_gallery("judged"), **judged(parts.fraction)["samples"]).failures
    assert [(fact.term, fact.words) for fact in only.facts] == [
        ("Right", "hills"),
        ("Came first", "trees"),
        ("Margin", ""),
    ]
    assert [image.role for image in only.images] == ["Query", "Came first"]
