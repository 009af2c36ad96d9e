"""Retrieval: recall in every direction, the similarity matrix, and the queries whose right answer came too late."""

from clipbench.results.record import EvaluationRecord, Metric
from clipbench.results.titles import headlines
from clipbench_reports import figures
from clipbench_reports.galleries.unfound import SEARCHES, unfound
from clipbench_reports.page.sentences.findings import Finding, claim, headline_findings
from clipbench_reports.sections.section import SampleColumn, SampleImage, Section

SENTENCES = {
    "image_retrieval_recall@1": "A caption finds its image first in {value} of {n} cases",
    "text_retrieval_recall@1": "An image finds a caption of its own first in {value} of {n} cases",
}
UNFOUND = "A caption does not find its image"
RECALL = r".*_recall@[0-9]+"
JUDGED, OF_JUDGED = "judged", r"ndcg@[0-9]+|recall@[0-9]+|hit_rate@[0-9]+|map@R|r_precision|mrr"
"""The direction of data with judgements, and its metrics."""
DIRECTIONS = [direction for direction in SEARCHES if direction != "mixed"]
SAMPLE_COLUMNS = (
    SampleColumn(name="label", title="Class", is_of_sample=True),
    SampleColumn(name="caption", title="Caption"),
    *(
        SampleColumn(name=f"{direction}_rank", title="Rank", metrics=rf"{direction}_recall@[0-9]+")
        for direction in DIRECTIONS
        if direction != JUDGED
    ),
    SampleColumn(name="query", title="Query", is_of_sample=True),
    SampleColumn(name="judged_rank", title="Rank", metrics=OF_JUDGED),
    SampleColumn(name="chosen_text", title="Came first", metrics=OF_JUDGED),
    SampleColumn(name="chosen_caption", title="Came first", metrics=RECALL),
)
SAMPLE_IMAGES = (
    SampleImage(name="image", role="right", metrics=RECALL),
    SampleImage(name="chosen_image", role="first", metrics=RECALL),
    SampleImage(name="right_image", role="right", metrics=OF_JUDGED),
    SampleImage(name="chosen_image", role="first", metrics=OF_JUDGED),
)


def findings(evaluation: EvaluationRecord) -> list[Finding]:
    """Return how often each side finds the other first; of data with judgements, the headlines over all queries that search."""
    metrics, most = evaluation.metrics, evaluation.params.get("queries")

    def drawn(metric: Metric) -> str:
        return " drawn at random" if metric.n == most else ""

    if "mrr" in metrics:
        judged = headlines(evaluation).values()
        return [claim(f"{metric.title} is {{value}} over {{n}} queries{drawn(metric)}", metric) for metric in judged]
    sentences = [
        claim(f"{sentence}{drawn(metrics[name])}", metrics[name], weakness=UNFOUND)
        for name, sentence in SENTENCES.items()
        if name in metrics
    ]
    return sentences or headline_findings(evaluation)


ADVICE = {
    UNFOUND: "Look at the failures first: a caption that fits several images makes any model look bad. Where the same "
    "few images come first for many captions, scores normalised over a bank of other queries help (Bogolin et"
    " al. 2022). Fine-tuning on pairs from the same source helps most."
}


SECTION = Section(
    advice=ADVICE,
    title="Retrieval",
    figures=(figures.recall, figures.similarity, figures.recall_within, figures.relevance),
    galleries=tuple(map(unfound, DIRECTIONS)),
    findings=findings,
    drawn_curves=frozenset({*figures.ACROSS, *figures.WITHIN, *figures.JUDGED}),
    sample_columns=SAMPLE_COLUMNS,
    sample_images=SAMPLE_IMAGES,
)
