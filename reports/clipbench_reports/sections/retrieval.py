"""Retrieval: recall in every direction, the similarity matrix, and the queries whose right answer came too late."""

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from clipbench.results import numbers as fmt
from clipbench.results.record import EvaluationRecord, Metric
from clipbench.results.titles import headlines
from clipbench_reports.drawing.marks import Chart, Line, Panel, Role, fraction_axis, log_axis
from clipbench_reports.drawing.models import Layer, Statement, facet_chart
from clipbench_reports.evidence import Evidence, MissingEvidence, Models, NotAsked, PlottedCurve, read_each
from clipbench_reports.figures import matrices
from clipbench_reports.figures.shared import (
    CHANCE,
    JUDGED,
    curve_line,
    on_queries,
    points_in_words,
    refuse_judged,
    xs_of,
)
from clipbench_reports.findings import Ability, Finding, claim
from clipbench_reports.galleries import Fact, Gallery, MakeGallery, PageBudget, cosines, gallery, images, known, words
from clipbench_reports.sections.section import Plot, SampleColumn, SampleImage, Section
from clipbench_reports.text import quoted


class RecallCurve(NamedTuple):
    """A direction of retrieval."""

    role: Role
    """The role of what is looked for."""
    label: str
    words: str


ACROSS = {
    "image_retrieval_recall": RecallCurve("image", "text → image", "text-to-image"),
    "text_retrieval_recall": RecallCurve("text", "image → text", "image-to-text"),
}
BY_CHANCE = "_chance"
"""End of the names of curves of recall by chance."""
BY_GALLERY = "/by_gallery"
"""End of the names of curves of recall by the number of images."""
WITHIN = {
    "image_image_recall": RecallCurve("image", "image → image", "image-to-image"),
    "text_text_recall": RecallCurve("text", "text → text", "text-to-text"),
}
RECALL_CURVES = tuple(f"{name}{end}" for name in (*ACROSS, *WITHIN) for end in ("", BY_CHANCE))
"""Names of the curves of recall, and of recall by chance."""


def recall(models: Models) -> Chart:
    """Return recall@k for captions that look for images and the reverse."""
    reading = (
        "Recall@k: the share of captions whose image, and of images one of whose captions, is among the k nearest."
    )
    return _draw(models, ACROSS, reading=reading, reason="no recall curve across images and captions was kept")


def recall_within(models: Models) -> Chart:
    """Return recall@k for images that look for images and captions that look for captions."""
    return _draw(
        models,
        WITHIN,
        reading=(
            "Recall@k: the share of images with another of their label, and of captions with another of their image, "
            "among the k nearest."
        ),
        reason=(
            "image-to-image retrieval, which takes labels, and text-to-text retrieval, which takes several captions of "
            "an image"
        ),
    )


def _draw(models: Models, ways: Mapping[str, RecallCurve], *, reading: str, reason: str) -> Chart:
    def read(evidence: Evidence) -> Layer:
        refuse_judged(evidence)
        drawable = {name: _on_log_axis(curve) for name, curve in evidence.curves(ways).items()}
        curves = {name: curve for name, curve in drawable.items() if curve.x}
        if not curves:
            raise MissingEvidence(reason)
        lines = [curve_line(curve, ways[name].role, ways[name].label) for name, curve in curves.items()]
        chances = _chances(evidence, ways, curves)
        return Layer([*chances, *lines], _state(ways, curves, on_queries(evidence.evaluation)))

    return _chart(models, read, reading=reading)


def _chart(
    models: Models, read: Callable[[Evidence], Layer], *, reading: str, x: str = "k", y: str = "Recall@k, %"
) -> Chart:
    """Return the curves of each model on a logarithmic axis."""
    by_model = read_each(models, read)
    return facet_chart(Panel(x=log_axis(xs_of(by_model), x), y=fraction_axis(y)), by_model, reading=reading)


def _on_log_axis(curve: PlottedCurve) -> PlottedCurve:
    """Return the points that a logarithmic axis can hold."""
    return curve.take([row for row, x in enumerate(curve.x) if x > 0 and math.isfinite(curve.y[row])])


def _chances(evidence: Evidence, ways: Mapping[str, RecallCurve], curves: Mapping[str, PlottedCurve]) -> list[Line]:
    """Return the recall of a model that guesses, as far as each curve reaches."""
    chances = evidence.curves(f"{name}{BY_CHANCE}" for name in curves)
    return [
        replace(
            curve_line(_on_log_axis(chance), "chance", CHANCE),
            of=ways[name.removesuffix(BY_CHANCE)].label,
            has_dots=False,
        )
        for name, chance in chances.items()
    ]


def _state(ways: Mapping[str, RecallCurve], curves: Mapping[str, PlottedCurve], reading: str) -> Statement:
    """Return recall at the smallest k; a curve may begin later than at 1."""
    k = fmt.count(next(iter(curves.values())).x[0])
    firsts = {ways[name].words: fmt.percent(curve.y[0]) for name, curve in curves.items()}
    return Statement(
        title=f"Recall@{k}: {', '.join(f'{words} {first} %' for words, first in firsts.items())}.",
        subject=f"Recall@{k}, {' and '.join(firsts)}",
        value=f"{' and '.join(firsts.values())} %",
        detail=" ".join(points_in_words(ways[name].label, curve, at=(1, 5, 10, 100)) for name, curve in curves.items()),
        reading=reading,
    )


def by_gallery(models: Models) -> Chart:
    """Return recall@k of captions by the number of images that they search, on data with distractors."""
    return _chart(
        models,
        _read_by_gallery,
        x="images searched",
        reading=(
            "Text-to-image recall@k against the number of images: those of the data, and ever more distractors beside"
            " them, each point the mean over all ways to choose so many. Bands: 95 % intervals over queries."
        ),
    )


def _read_by_gallery(evidence: Evidence) -> Layer:
    lacking = NotAsked("recall by the number of images takes data with distractors")
    curves = evidence.curves((name for name in evidence.evaluation.curves if name.endswith(BY_GALLERY)), lacking)
    labels = {name: f"R@{name.removesuffix(BY_GALLERY).rpartition('@')[2]}" for name in curves}
    roles: tuple[Role, ...] = ("image", "pair", "text", "ink")
    lines = [
        curve_line(curve, roles[place % len(roles)], labels[name]) for place, (name, curve) in enumerate(curves.items())
    ]
    first, curve = next(iter(curves.items()))
    few, many = (fmt.count(curve.x[at]) for at in (0, -1))
    before, after = (fmt.percent(curve.y[at]) for at in (0, -1))
    statement = Statement(
        title=f"{labels[first]}: {before} % among {few} images, {after} % among {many}.",
        subject=f"{labels[first]} among {few} and {many} images",
        value=f"{before} and {after} %",
        detail=" ".join(points_in_words(labels[name], each) for name, each in curves.items()),
        reading=on_queries(evidence.evaluation),
    )
    return Layer(lines, statement)


def relevance(models: Models) -> Chart:
    """Return nDCG@k and recall@k of the documents that were judged relevant."""
    return _chart(
        models,
        _read,
        y="nDCG@k and recall@k, %",
        reading=(
            "nDCG@k: the grades of the first k documents, each divided by the logarithm of its rank + 1, as a share of"
            " what the best order would have. Recall@k: the share of a query's relevant documents among the first k."
            " Bands: 95 % intervals."
        ),
    )


def _read(evidence: Evidence) -> Layer:
    curves = {name: curve for name, curve in evidence.curves(JUDGED).items() if curve.x and curve.x[0] > 0}
    if not curves:
        raise NotAsked("nDCG and recall of relevant documents take data with judgements")
    lines = [curve_line(curve, *JUDGED[name], is_dashed=name == "judged_recall") for name, curve in curves.items()]
    return Layer(lines, _state_judged(curves, on_queries(evidence.evaluation)))


def _state_judged(curves: Mapping[str, PlottedCurve], reading: str) -> Statement:
    """Return the values at 10, or at the last k of a smaller set."""
    k = next(k for k in (10, *reversed(next(iter(curves.values())).x)) if _at(curves, k))
    values = {JUDGED[name][1].replace("@k", f"@{fmt.count(k)}"): value for name, value in _at(curves, k).items()}
    return Statement(
        title=f"{', '.join(f'{name} {value} %' for name, value in values.items())}.",
        subject=" and ".join(values),
        value=f"{' and '.join(values.values())} %",
        detail=" ".join(points_in_words(JUDGED[name][1], curve) for name, curve in curves.items()),
        reading=reading,
    )


def _at(curves: Mapping[str, PlottedCurve], k: float) -> dict[str, str]:
    """Return the values of all curves at k, nothing where one has none."""
    found = {name: fmt.percent(curve.y[curve.x.index(k)]) for name, curve in curves.items() if k in curve.x}
    return found if len(found) == len(curves) else {}


class Search(NamedTuple):
    """The failures of a direction of retrieval, and the columns that show them."""

    title: str
    asked: str = ""
    """Column of what the query says."""
    right: str = ""
    """Column of what the best right item says, as the next of what came first; empty where images show it."""
    chosen: str = ""
    images: tuple[tuple[str, str], ...] = (("", "image"),)
    """Roles and columns."""


SEARCHES = {
    "image_retrieval": Search(
        title="Captions that did not find their image",
        asked="caption",
        images=(("Right", "image"), ("Came first", "chosen_image")),
    ),
    "text_retrieval": Search(title="Images that did not find their caption", right="caption", chosen="chosen_caption"),
    "image_image": Search(
        title="Images that did not find another of their class",
        asked="label",
        chosen="chosen_label",
        images=(("Query", "image"), ("Right", "right_image"), ("Came first", "chosen_image")),
    ),
    "text_text": Search(
        title="Captions that did not find another of their image",
        asked="caption",
        right="right_caption",
        chosen="chosen_caption",
    ),
    "mixed": Search(
        title="Captions that did not find their document",
        asked="caption",
        right="right_text",
        chosen="chosen_text",
        images=(("Right", "right_image"), ("Came first", "chosen_image")),
    ),
    "judged": Search(
        title="Queries whose relevant documents did not come first",
        asked="query",
        right="right_text",
        chosen="chosen_text",
        images=(("Query", "image"), ("Right", "right_image"), ("Came first", "chosen_image")),
    ),
}
ASKED = {"label": "True class", "query": "Query"}
"""Labels of a query that is no caption."""


def unfound(direction: str) -> MakeGallery:
    """Return what makes the gallery of the queries of one direction whose right answer did not come first.

    The worst is the one with the widest margin of cosines.
    """

    def make(evidence: Evidence, budget: PageBudget) -> Gallery:
        if not evidence.has_column(f"{direction}_rank"):
            raise NotAsked(direction)
        return _gallery(evidence, budget, direction, SEARCHES[direction])

    return make


def _gallery(evidence: Evidence, budget: PageBudget, direction: str, search: Search) -> Gallery:
    is_asked = [way == direction for way in words(evidence, "direction")]
    rank = np.where(is_asked, evidence.numbers(f"{direction}_rank"), np.nan)
    margin = evidence.numbers(f"{direction}_cosine_margin")
    written = cosines(evidence, margin)
    # The right answer has the highest score, as others do.
    is_tied = evidence.numbers("right_cosine") == evidence.numbers("chosen_cosine")
    nothing = [""] * len(rank)
    asked, right, chosen = (known(evidence, name) or nothing for name in (search.asked, search.right, search.chosen))
    tokens, lost = (_tokens(evidence, f"{direction}/{name}") or nothing for name in ("n_tokens", "tokens_lost"))

    def facts(row: int) -> list[Fact]:
        of_right, of_first, by = written(row)
        at = f"at rank {fmt.significant(float(rank[row]))}{', tied' if is_tied[row] else ''}"
        unread = f", {lost[row]} of them not read" if lost[row] not in ("", "0") else ""
        return [
            Fact(ASKED.get(search.asked, "Caption"), asked[row]),
            Fact("Right", right[row], of_right, at),
            *([] if is_tied[row] else [Fact("Came first", chosen[row], of_first)]),
            Fact("Margin", "", by),
            Fact("Tokens", f"{tokens[row]}{unread}" if tokens[row] else ""),
        ]

    def say(row: int, role: str) -> str:
        if role == "Came first":
            return "What came first instead."
        of = f" of {quoted(asked[row])}" if asked[row] else ""
        return f"The image{of}; the right answer came at rank {fmt.significant(float(rank[row]))}."

    roles = [(role, name) for role, name in search.images if evidence.has_column(name)]
    others = [(role, name) for role, name in roles if role != "Came first"]
    show, show_tied = (
        images(evidence, *((role if len(each) > 1 else "", name) for role, name in each), say=say)
        for each in (roles, others)
    )
    return gallery(
        evidence,
        budget,
        title=search.title,
        note="Margin: the cosine of the right answer less that of what came first.",
        wrong=rank > 1,
        margin=margin,
        facts=facts,
        # Of a query that ties for the first place, what came first is not itself once more.
        images=lambda row: (show_tied if is_tied[row] else show)(row),
    )


def _tokens(evidence: Evidence, name: str) -> list[str]:
    """Return a column of numbers of tokens in words, or nothing where the run did not keep it."""
    if not evidence.has_column(name):
        return []
    return [fmt.count(n) if np.isfinite(n) else "" for n in evidence.numbers(name).tolist()]


SENTENCES = {
    "image_retrieval_recall@1": "A caption finds its image first in {value} of {n} cases",
    "text_retrieval_recall@1": "An image finds a caption of its own first in {value} of {n} cases",
}
ABILITIES = {
    "image_retrieval_recall@1": Ability("finds images", "does not find images"),
    "text_retrieval_recall@1": Ability("finds captions", "does not find captions"),
}
UNFOUND = "A caption does not find its image"
RECALL = r".*_recall@[0-9]+"
OF_JUDGED = r"ndcg@[0-9]+|recall@[0-9]+|hit_rate@[0-9]+|map@R|r_precision|mrr"
"""Metrics of data with judgements."""
DIRECTIONS = [direction for direction in SEARCHES if direction != "mixed"]
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
    """Return how often each side finds the other first; of data with judgements, the headlines over all queries that
    search.
    """
    metrics, most = evaluation.metrics, evaluation.params.get("queries")

    def drawn(metric: Metric) -> str:
        return " drawn at random" if metric.n == most else ""

    if "mrr" in metrics:
        judged = headlines(evaluation).values()
        return [claim(f"{metric.title} is {{value}} over {{n}} queries{drawn(metric)}", metric) for metric in judged]
    return [
        claim(f"{sentence}{drawn(metrics[name])}", metrics[name], weakness=UNFOUND, ability=ABILITIES[name])
        for name, sentence in SENTENCES.items()
        if name in metrics
    ]


SECTION = Section(
    advice={
        UNFOUND: (
            "Look at the failures first: a caption that fits several images makes any model look bad. Where "
            "the same few images come first for many captions, scores normalised over a bank of other queries help "
            "(Bogolin et al. 2022, arXiv:2112.12777). Fine-tuning on pairs from the same source helps most."
        ),
    },
    title="Retrieval",
    figures=(recall, by_gallery, matrices.similarity, recall_within, relevance),
    galleries=tuple(map(unfound, DIRECTIONS)),
    findings=findings,
    plots={
        "similarity-matrix": Plot(
            summary="the batch matrix of a few pairs, and its softmax by row and by column",
            draws=(matrices.similarity,),
        ),
        "gallery-size": Plot(
            summary="recall@k of captions by the number of images that they search, on data with distractors",
            draws=(by_gallery,),
        ),
        "relevance": Plot(
            summary="nDCG and recall of relevant documents by rank, on data with judgements",
            definition="nDCG has the grades as gains (linear), as trec_eval has.",
            draws=(relevance,),
        ),
    },
    drawn_curves=(*RECALL_CURVES, *JUDGED, BY_GALLERY.removeprefix("/")),
    sample_columns=SAMPLE_COLUMNS,
    sample_images=SAMPLE_IMAGES,
)
