"""Retrieval: recall in every direction, the similarity matrix, and the queries whose right answer came too late."""

from clipbench.results.record import EvaluationRecord
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
SAMPLE_COLUMNS = (
    SampleColumn(name="label", title="Class", is_of_sample=True),
    SampleColumn(name="caption", title="Caption"),
    *(
        SampleColumn(name=f"{direction}_rank", title="Rank", metrics=rf"{direction}_recall@[0-9]+")
        for direction in SEARCHES
    ),
    SampleColumn(name="chosen_caption", title="Came first", metrics=RECALL),
)
SAMPLE_IMAGES = (
    SampleImage(name="image", role="right", metrics=RECALL),
    SampleImage(name="chosen_image", role="first", metrics=RECALL),
)


def findings(evaluation: EvaluationRecord) -> list[Finding]:
    """Return how often each side finds the other first."""
    metrics = evaluation.metrics
    sentences = [
        claim(sentence, metrics[name], weakness=UNFOUND) for name, sentence in SENTENCES.items() if name in metrics
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
    figures=(figures.recall, figures.similarity, figures.recall_within),
    galleries=tuple(map(unfound, SEARCHES)),
    findings=findings,
    drawn_curves=frozenset({*figures.ACROSS, *figures.WITHIN}),
    sample_columns=SAMPLE_COLUMNS,
    sample_images=SAMPLE_IMAGES,
)
