"""Retrieval: recall in every direction, the similarity matrix, and the queries whose right answer came too late."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from clipbench.results import numbers as fmt
from clipbench.results.blind_rules import blind_rule
from clipbench.results.record import EvaluationRecord, Metric
from clipbench.results.titles import headlines
from clipbench_reports.drawing.marks import log_axis
from clipbench_reports.evidence import Evidence, NotAsked
from clipbench_reports.figures import matrices
from clipbench_reports.figures.curves import CurvesFigure, state_on_queries
from clipbench_reports.figures.shared import refuse_judged
from clipbench_reports.findings import Ability, Finding, claim
from clipbench_reports.galleries import (
    Fact,
    Gallery,
    GalleryImage,
    MakeGallery,
    PageBudget,
    cosines,
    gallery,
    images,
    optional_words,
    words,
)
from clipbench_reports.sections.section import Plot, SampleColumn, SampleImage, Section
from clipbench_reports.text import quoted

RECALL = CurvesFigure(
    name="recall",
    reading=(
        "Recall@k: the fraction of captions whose image, and of images one of whose captions, is among the k nearest."
    ),
    x_axis=log_axis,
    state=state_on_queries,
    check=refuse_judged,
)
RECALL_WITHIN = CurvesFigure(
    name="recall within a modality",
    reading=(
        "Recall@k: the fraction of images with another of their label, and of captions with another of their image, "
        "among the k nearest."
    ),
    x_axis=log_axis,
    state=state_on_queries,
    check=refuse_judged,
    needs="labels, or several captions per image",
)
BY_GALLERY = CurvesFigure(
    name="gallery size",
    reading=(
        "Text-to-image recall@k against the number of images: the images of the data, and more and more distractors. "
        "Each point is the mean over all ways to choose the distractors. Bands: 95 % intervals over queries."
    ),
    x_axis=log_axis,
    state=state_on_queries,
    needs="data with distractors",
    missing=NotAsked,
)
RELEVANCE = CurvesFigure(
    name="relevance",
    reading=(
        "nDCG@k: the grades of the first k documents, each divided by the logarithm of its rank + 1, as a fraction of"
        " the sum in the best order. Recall@k: the fraction of a query's relevant documents among the first k."
        " Bands: 95 % intervals."
    ),
    x_axis=log_axis,
    state=state_on_queries,
    needs="data with judgements",
    missing=NotAsked,
)


class FailureGallery(NamedTuple):
    """The failures of a direction of retrieval, and the columns that show them."""

    title: str
    query: str = ""
    """Column with the words of the query."""
    right: str = ""
    """Column with the words of the best right item, empty if images show it."""
    chosen: str = ""
    """Column with the words of the first item."""
    images: tuple[tuple[str, str], ...] = (("", "image"),)
    """Roles and columns."""


FAILURE_GALLERIES = {
    "image_retrieval": FailureGallery(
        title="Captions that did not find their image",
        query="caption",
        images=(("Right", "image"), ("Came first", "predicted_image")),
    ),
    "text_retrieval": FailureGallery(
        title="Images that did not find their caption", right="caption", chosen="predicted_caption"
    ),
    "image_image": FailureGallery(
        title="Images that did not find another of their class",
        query="label",
        chosen="predicted_label",
        images=(("Query", "image"), ("Right", "target_image"), ("Came first", "predicted_image")),
    ),
    "text_text": FailureGallery(
        title="Captions that did not find another of their image",
        query="caption",
        right="target_caption",
        chosen="predicted_caption",
    ),
    "mixed": FailureGallery(
        title="Captions that did not find their document",
        query="caption",
        right="target_text",
        chosen="predicted_text",
        images=(("Right", "target_image"), ("Came first", "predicted_image")),
    ),
    "judged": FailureGallery(
        title="Queries whose relevant documents did not come first",
        query="query",
        right="target_text",
        chosen="predicted_text",
        images=(("Query", "image"), ("Right", "target_image"), ("Came first", "predicted_image")),
    ),
}
QUERY_LABELS = {"label": "True class", "query": "Query"}
"""Labels of queries that are not captions."""


OF_COSINES = "Margin: the cosine of the right answer minus the cosine of the first result."
OF_LISTS = "From finished result lists, which have no cosines: the right answers that are deepest in a list come first."


def failure_gallery(direction: str) -> MakeGallery:
    """Return the function that makes the gallery of one direction's queries whose right answer did not come first.

    The worst query has the widest margin of cosines, or of finished result lists the highest rank.
    """

    def make(evidence: Evidence, budget: PageBudget) -> Gallery:
        if not evidence.has_column(f"{direction}_rank"):
            raise NotAsked(direction)
        return _gallery(evidence, budget, direction, FAILURE_GALLERIES[direction])

    return make


def _gallery(evidence: Evidence, budget: PageBudget, direction: str, failures: FailureGallery) -> Gallery:
    is_asked = [way == direction for way in words(evidence, "direction")]
    rank = np.where(is_asked, evidence.numbers(f"{direction}_rank"), np.nan)
    has_cosines = evidence.has_column(f"{direction}_cosine_margin")  # finished result lists have none
    margin = f"{direction}_cosine_margin" if has_cosines else "margin"
    columns = ("target_cosine", "predicted_cosine", margin) if has_cosines else ("", "", "")
    written = cosines(evidence, margin, *columns)
    is_lost = np.array(is_asked, bool) & np.isnan(rank)  # not in its list
    is_tied = np.zeros(len(rank), bool)
    if has_cosines:  # the right answer has the highest score, as others do
        is_tied = evidence.numbers("target_cosine") == evidence.numbers("predicted_cosine")
    nothing = [""] * len(rank)
    queries = optional_words(evidence, failures.query) or nothing
    right = optional_words(evidence, failures.right) or nothing
    chosen = optional_words(evidence, failures.chosen) or nothing
    tokens = _tokens(evidence, f"{direction}/n_tokens") or nothing
    lost = _tokens(evidence, f"{direction}/tokens_lost") or nothing

    def place(row: int) -> str:
        return "not in the list" if is_lost[row] else f"at rank {fmt.significant(float(rank[row]))}"

    def facts(row: int) -> list[Fact]:
        of_right, of_first, by = written(row)
        at = f"{place(row)}{', tied' if is_tied[row] else ''}"
        unread = f", {lost[row]} of them not read" if lost[row] not in ("", "0") else ""
        shown = [
            Fact(QUERY_LABELS.get(failures.query, "Caption"), queries[row]),
            Fact("Right", right[row], of_right, at),
        ]
        if not is_tied[row]:
            shown.append(Fact("Came first", chosen[row], of_first))
        shown.append(Fact("Margin", "", by))
        shown.append(Fact("Tokens", f"{tokens[row]}{unread}" if tokens[row] else ""))
        return shown

    def describe(row: int, role: str) -> str:
        if role == "Came first":
            return "The wrong answer that came first."
        of = f" of {quoted(queries[row])}" if queries[row] else ""
        if is_lost[row]:
            return f"The image{of}, whose right answer is not in the list."
        return f"The image{of}, whose right answer came {place(row)}."

    def images_with(roles: Sequence[tuple[str, str]]) -> Callable[[int], list[GalleryImage]]:
        """Return the function that shows the images of a row. An image that comes without others has no role."""
        if len(roles) == 1:
            roles = [("", name) for _, name in roles]
        return images(evidence, *roles, say=describe)

    roles = [(role, name) for role, name in failures.images if evidence.has_column(name)]
    show = images_with(roles)
    # Of a query that ties for the first place, what came first is not itself once more.
    show_tied = images_with([(role, name) for role, name in roles if role != "Came first"])
    return gallery(
        evidence,
        budget,
        title=failures.title,
        note=OF_COSINES if has_cosines else OF_LISTS,
        wrong=is_lost | (rank > 1),
        margin=margin,
        facts=facts,
        images=lambda row: (show_tied if is_tied[row] else show)(row),
    )


def _tokens(evidence: Evidence, name: str) -> list[str]:
    """Return a column with numbers of tokens as words, empty if the run did not keep it."""
    if not evidence.has_column(name):
        return []
    counts = evidence.numbers(name).tolist()
    return [fmt.count(n) if np.isfinite(n) else "" for n in counts]


SENTENCES = {
    "image_retrieval_recall@1": "Text-to-image R@1: {value} of {n} captions",
    "text_retrieval_recall@1": "Image-to-text R@1: {value} of {n} images",
}
ABILITIES = {
    "image_retrieval_recall@1": Ability("finds images", "does not find images"),
    "text_retrieval_recall@1": Ability("finds captions", "does not find captions"),
}
UNFOUND = "A caption does not find its image"
RECALL_METRICS = r".*_recall@[0-9]+"
OF_JUDGED = r"ndcg@[0-9]+|recall@[0-9]+|hit_rate@[0-9]+|map@R|r_precision|mrr"
"""Metrics of data with judgements."""
DIRECTIONS = [direction for direction in FAILURE_GALLERIES if direction != "mixed"]
SAMPLE_COLUMNS = (
    SampleColumn(name="label", title="Class", is_of_sample=True),
    SampleColumn(name="caption", title="Caption"),
    *(
        SampleColumn(name=f"{direction}_rank", title="Rank", metrics=rf"{direction}_recall@[0-9]+")
        for direction in DIRECTIONS
        if direction != "judged"
    ),
    *(
        SampleColumn(name=f"distractors_{name}", title=f"Distractors {name}", metrics=r"image_retrieval_recall@[0-9]+")
        for name in ("above", "tied")
    ),
    SampleColumn(name="query", title="Query", is_of_sample=True),
    SampleColumn(name="judged_rank", title="Rank", metrics=OF_JUDGED),
    SampleColumn(name="predicted_text", title="Came first", metrics=OF_JUDGED),
    SampleColumn(name="predicted_caption", title="Came first", metrics=RECALL_METRICS),
)
SAMPLE_IMAGES = (
    SampleImage(name="image", role="right", metrics=RECALL_METRICS),
    SampleImage(name="predicted_image", role="first", metrics=RECALL_METRICS),
    SampleImage(name="target_image", role="right", metrics=OF_JUDGED),
    SampleImage(name="predicted_image", role="first", metrics=OF_JUDGED),
)


def findings(evaluation: EvaluationRecord) -> list[Finding]:
    """Return how often each side finds the other first, or the headline metrics for data with judgements."""
    metrics, max_queries = evaluation.metrics, evaluation.params.get("queries")

    def sampling_note(metric: Metric) -> str:
        return " drawn at random" if metric.n == max_queries else ""

    claims = []
    if "mrr" in metrics:
        for metric in headlines(evaluation).values():
            sentence = f"{metric.title} is {{value}} over {{n}} queries{sampling_note(metric)}"
            claims.append(claim(sentence, metric))
        return claims
    for name, sentence in SENTENCES.items():
        if name in metrics:
            metric = metrics[name]
            rule = blind_rule(evaluation, name)
            noted_sentence = f"{sentence}{sampling_note(metric)}"
            claims.append(claim(noted_sentence, metric, weakness=UNFOUND, ability=ABILITIES[name], rule=rule))
    return claims


SECTION = Section(
    advice={
        UNFOUND: (
            "Look at the failures first: a caption that fits several images makes any model look bad. Where "
            "the same few images come first for many captions, scores normalised over a bank of other queries help "
            "(Bogolin et al. 2022, arXiv:2112.12777). Fine-tuning on pairs from the same source helps most."
        ),
    },
    title="Retrieval",
    figures=(RECALL, BY_GALLERY, matrices.similarity, RECALL_WITHIN, RELEVANCE),
    galleries=tuple(map(failure_gallery, DIRECTIONS)),
    findings=findings,
    plots={
        "similarity-matrix": Plot(
            summary="the batch matrix of a few pairs, and its softmax by row and by column",
            draws=(matrices.similarity,),
        ),
        "gallery-size": Plot(
            summary="recall@k of captions by the number of images that they search, on data with distractors",
            draws=(BY_GALLERY,),
        ),
        "relevance": Plot(
            summary="nDCG and recall of relevant documents by rank, on data with judgements",
            definition="nDCG has the grades as gains (linear), as trec_eval has.",
            draws=(RELEVANCE,),
        ),
    },
    sample_columns=SAMPLE_COLUMNS,
    sample_images=SAMPLE_IMAGES,
)
