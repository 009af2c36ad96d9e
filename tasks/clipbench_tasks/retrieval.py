"""Retrieval: does a caption find its image among all, and an image its captions?

recall@k is the hit rate of the CLIP papers: the fraction of queries with a correct item among the first k. Text queries
rank the images (``image_retrieval_recall@k``), images rank the captions (``text_retrieval_recall@k``, where any caption
of the image is a hit). If the data has several captions per image, or labels, captions also look for captions of
the same image, and images for images of the same label, the query itself left out.

Each query's row names the first item: ``predicted_image`` or ``predicted_caption``, with ``predicted_cosine`` next to
the ``target_cosine`` of its best right item. If items tie, the first in the order of the data is named.

Data with judgements have queries and documents of their own, which are texts, images or both: ``judged`` measures
those.

A tie scores as a random order would. If ties decide anything, ``..._strict`` among the baselines is recall with a tie
counted as a miss. Published numbers take ties in whatever order a sort left them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from clipbench.data.dataset import Dataset
from clipbench.data.images import ImageRef
from clipbench.data.modalities import IMAGE, TEXT
from clipbench.errors import MissingPart, UsageError
from clipbench.evaluation.task import Evaluation, ResultLists, Task
from clipbench.metrics.ranking import (
    NOT_RETRIEVED,
    Ranks,
    chance_recall_at_k,
    expected_rank,
    expected_recall_at_k,
    recall_at_k,
)
from clipbench.models.protocol import Embedder, SearchEmbedder, SearchResults, capability
from clipbench.results.metric_name import over_rule
from clipbench.results.numbers import counted
from clipbench.results.record import UNDEFINED_BY_LISTS, Curve, CurveRole
from clipbench.results.sample_inputs import InputKind, Inputs
from clipbench.stats.clusters import NEGLIGIBLE
from clipbench.stats.estimators import Estimator
from clipbench.stats.measures import Definition, Definitions, Mean, Measures, Statistic, define, undefined
from clipbench_tasks import judged
from clipbench_tasks.directions import (
    DIRECTIONS,
    Direction,
    Draw,
    direction_of_lists,
    directions_of,
    draw_queries,
    draws_of,
    sample_notes,
    searches_images,
    unanswered_queries,
)
from clipbench_tasks.listed import (
    listed_margins,
    listed_neighbours,
    listed_ranks,
    notes_of_lists,
    result_lists,
    with_depth,
)
from clipbench_tasks.tables import (
    CERTAIN,
    Column,
    Columns,
    Curves,
    Cutoffs,
    Mask,
    Rows,
    Table,
    Vectors,
    check_cutoffs,
    cosine_columns,
    curve_of_means,
    join_evaluations,
    lead_over_rule,
    neighbours_of_answers,
    stack_tables,
    text_column,
    tie_rate,
)

CURVE_ENDS_AT = 100
"""Largest k of the recall curves."""
RECALL_CURVES: Mapping[str, tuple[str, str, CurveRole]] = {
    "image_retrieval": ("recall", "text → image", "image"),
    "text_retrieval": ("recall", "image → text", "text"),
    "image_image": ("recall within a modality", "image → image", "image"),
    "text_text": ("recall within a modality", "text → text", "text"),
}
"""Figure, series and role of the curve of each direction: a direction has the role of its right items."""
SOUGHT = {
    "image_retrieval": "images",
    "text_retrieval": "captions",
    "image_image": "images",
    "text_text": "captions",
}
"""What the queries of each direction look for."""
ANSWERS = {
    "image_retrieval": "image",
    "text_retrieval": "caption",
    "image_image": "image",
    "text_text": "caption",
}
"""One item that the queries of each direction look for."""
N_SIZES = 12
"""Sizes of a gallery with distractors for which recall is computed."""
SHOWN_PAIRS = 50
"""Pairs in the similarity matrix of the report."""


@dataclass(frozen=True)
class Retrieval(Task):
    """recall@k and median rank in every direction that the data allows."""

    name = "retrieval"
    version = 1
    takes_dot = True
    takes_lists = True
    summary = (
        "recall@k and median rank (text to image, image to text, image to image, text to text), nDCG and MRR on judged"
        " data"
    )
    question = "Does a caption find its image among all images, and an image its captions among all captions?"
    scoring = "R@k is the fraction of queries with a right answer in the first k. A tie scores as a random order would."

    searches_distractors = True

    ks: tuple[int, ...] = (1, 5, 10)
    queries: int | None = None
    """Queries of each direction, a random sample, that search the whole gallery, None for all."""

    def __post_init__(self) -> None:
        check_cutoffs(self.name, "ks", self.ks)
        if self.queries is not None and (type(self.queries) is not int or self.queries < 1):
            raise UsageError(f"task retrieval: queries = {self.queries!r}, expected an integer of 1 or more")

    def first_images(self, dataset: Dataset) -> Sequence[ImageRef]:
        """Return the images that are encoded first: all."""
        return dataset.images

    def check(self, dataset: Dataset) -> None:
        """Raise unless there are captions, labels for image-to-image retrieval, or judgements."""
        if dataset.judgements is not None:
            judged.check(dataset, dataset.judgements)
        elif dataset.captions is None and not searches_images(dataset):
            classes = np.unique([] if dataset.labels is None else dataset.labels)
            missing_images = "two images of a class" if len(classes) > 1 else "images of two classes"
            has_labels = dataset.labels is not None and "captions" not in dataset.missing
            raise MissingPart(dataset.id, f"captions, or {missing_images}" if has_labels else "captions")

    def evaluate(self, dataset: Dataset, embedder: Embedder, rng: np.random.Generator) -> Evaluation:
        """Return one row per query. Needs captions, labels for image-to-image retrieval, or judgements."""
        draw = partial(draw_queries, at_most=self.queries, rng=rng)
        searcher = capability(embedder, SearchEmbedder)
        if searcher is not None:
            digests = embedder.digests(dataset.gallery)
            return _evaluation_of_lists(dataset, searcher.search_results(dataset), digests, draw, self.ks)
        if dataset.judgements is not None:
            sample = judged.sample_queries(dataset.judgements, draw)
            evaluation = judged.evaluation(judged.search_of(dataset, sample.judgements, embedder), self.ks)
            return replace(evaluation, notes=(*sample.notes, *evaluation.notes))
        gallery = embedder.encode_sides(IMAGE, dataset.gallery)
        texts = None if dataset.captions is None else embedder.encode_sides(TEXT, dataset.captions)
        digests = embedder.digests(dataset.gallery)
        directions = list(directions_of(dataset, gallery, digests, texts, draw))
        evaluation = join_evaluations([_evaluation(direction, self.ks) for direction in directions])
        arrays = {}
        if texts is not None:
            images = gallery.first(len(dataset))
            arrays["similarity"] = _sample_similarity(dataset, images.document, texts.query, rng)
        sizes = [_size(direction) for direction in directions]
        return replace(evaluation, arrays=arrays, notes=(*sample_notes(sizes), *evaluation.notes))


def _size(direction: Direction) -> tuple[int, int, str]:
    """Return the number of queries that search, the number that they are drawn from, and their plural noun."""
    return len(direction.images), direction.n_all, DIRECTIONS[direction.name][1]


def _evaluation_of_lists(
    dataset: Dataset, results: SearchResults, digests: Sequence[str], draw: Draw, ks: Cutoffs
) -> Evaluation:
    """Return the evaluation of finished result lists. What only vectors have is undefined, with the reason."""
    if dataset.judgements is not None:
        sample = judged.sample_queries(dataset.judgements, draw)
        if sample.rows is not None:
            results = judged.lists_of_sample(results, sample.rows, len(dataset.judgements.queries.ids))
        evaluation = judged.evaluation(judged.listed_search(sample.judgements, results), ks)
        return replace(evaluation, notes=(*sample.notes, *evaluation.notes))
    draws = draws_of(dataset, draw)
    direction = direction_of_lists(dataset, results, digests, draws)
    assert direction.lists is not None
    evaluation = _evaluation(direction, ks)
    others = [name for name in draws if name != direction.name]
    tables = [unanswered_queries(dataset, name, draws[name]) for name in others]
    measures = dict(evaluation.measures)
    for name in others:
        measures |= _measures_without_lists(name, ks)
    return replace(
        evaluation,
        samples=stack_tables(evaluation.samples, *tables),
        measures=measures,
        notes=(*sample_notes([_size(direction)]), *notes_of_lists(results, direction.lists), *evaluation.notes),
    )


def _measures_without_lists(name: str, ks: Cutoffs) -> Measures:
    """Return the undefined metrics of a direction that vectors of the data have, and result lists do not."""
    queries = DIRECTIONS[name][1]
    reason = f"{UNDEFINED_BY_LISTS}: the file has no lists of {queries} that look for {SOUGHT[name]}"
    measures: Measures = {f"{name}_recall@{k}": undefined(reason, higher_is_better=True) for k in ks}
    measures[f"{name}_median_rank"] = undefined(reason, "rank", higher_is_better=False)
    return define(measures, _definitions(name, ks))


def _evaluation(direction: Direction, ks: Cutoffs) -> Evaluation:
    name, definitions = direction.name, _definitions(direction.name, ks)
    baselines: Measures = {f"{name}_tie_rate": tie_rate(direction.ranks.tied > 0)}
    for strict_name in _strict(direction, ks):
        baselines[strict_name] = Mean(column=strict_name)
    if _rule_leads(direction, ks) is not None:
        first = f"{name}_recall@1"
        baselines[over_rule(first)] = lead_over_rule(first, f"always answering with the same {ANSWERS[name]}")
    n_points = min(CURVE_ENDS_AT, direction.n_gallery)
    if direction.lists is not None and not direction.lists.reaches(n_points):
        n_points = direction.lists.depth
    ks_drawn = range(1, n_points + 1)
    figure, series, role = RECALL_CURVES[name]
    recall = [float(recall_at_k(direction.ranks, k).mean()) for k in ks_drawn]
    by_chance = [chance_recall_at_k(direction.n_positives, direction.n_gallery, k) for k in ks_drawn]
    curve = Curve(
        x=[float(k) for k in ks_drawn],
        y=recall,
        chance=by_chance,
        unit="fraction",
        x_label="k",
        y_label="recall@k",
        figure=figure,
        series=series,
        role=role,
    )
    curves = {
        f"{name}_recall": curve,
        f"{name}_recall_chance": replace(curve, y=by_chance, chance=None, series=""),
    }
    if direction.among is not None:
        curves |= _by_size(direction, direction.among, ks)
    return Evaluation(
        samples=_table(direction, ks),
        inputs=_inputs(direction),
        measures=define(_measures(direction, ks), definitions),
        baselines=define(baselines, definitions),
        curves=curves,
        neighbours=_neighbours(direction),
        lists=_lists(direction),
        notes=(f"{DIRECTIONS[name][0]} {direction.limit}",) if direction.limit else (),
    )


def _neighbours(direction: Direction) -> Table:
    """Return the first items of the worst failures."""
    queries, items, lists = direction.queries, direction.items, direction.lists
    if lists is None:
        return neighbours_of_answers(queries, direction.answers, items)

    def is_right(query: Rows, item: Rows) -> Mask:
        return queries.groups[query] == items.groups[item]

    return listed_neighbours(
        queries.ids, lists, direction.ranks, texts=items.texts, images=items.images, is_right=is_right
    )


def _lists(direction: Direction) -> dict[str, ResultLists]:
    """Return the result lists of a direction by the side of its queries."""
    names, queries = direction.names, direction.queries
    if names is None:
        return {}
    vectors = (queries.vectors, direction.items.vectors)
    return {names.side: result_lists(names.queries, names.items, vectors, direction.lists)}


def _by_size(direction: Direction, among: tuple[Ranks, Ranks], ks: Cutoffs) -> Curves:
    """Return recall@k by the gallery's size: the data's images and some distractors, the mean over all choices."""
    n_images = direction.n_gallery - direction.n_more
    sizes = np.geomspace(n_images, direction.n_gallery, N_SIZES)
    added = sorted({*np.rint(sizes - n_images).astype(int).tolist(), 0, direction.n_more})
    curves = {}
    for k in ks:
        hits = [expected_recall_at_k(*among, n_distractors=direction.n_more, n=n, k=k) for n in added]
        curves[f"{direction.name}_recall@{k}/by_gallery"] = curve_of_means(
            [float(n_images + n) for n in added],
            [(credit, direction.clusters) for credit in hits],
            x_label="images searched",
            y_label="recall@k",
            figure="gallery size",
            series=f"R@{k}",
        )
    return curves


def _measures(direction: Direction, ks: Cutoffs) -> Measures:
    measures: Measures = {}
    for k in ks:
        name = f"{direction.name}_recall@{k}"
        chance = chance_recall_at_k(direction.n_positives, direction.n_gallery, k)
        if k >= direction.n_gallery or chance >= CERTAIN:
            few = f"the gallery has only {direction.n_gallery} items"
            cause = few if k >= direction.n_gallery else f"too few of the {direction.n_gallery} items are wrong"
            reason = f"every query hits, whatever the model: {cause}"
            measures[name] = undefined(reason, higher_is_better=True)
        else:
            measures[name] = Mean(column=name, chance=chance, limit=direction.limit if k == 1 else "")
    column, median = f"{direction.name}_rank", f"{direction.name}_median_rank"
    measures[median] = Statistic(
        function=Estimator("median", (column,)), columns=(column,), unit="rank", higher_is_better=False
    )
    if direction.lists is not None:
        measures = with_depth(measures, {f"{direction.name}_recall@{k}": k for k in ks}, direction.lists)
        n_lost = int((direction.ranks.better == NOT_RETRIEVED).sum())
        if n_lost:
            reason = f"{UNDEFINED_BY_LISTS}: the lists of {counted(n_lost, 'query', 'queries')} have no right answer"
            measures[median] = undefined(reason, "rank", higher_is_better=False)
    return measures


def _definitions(direction: str, ks: Cutoffs) -> Definitions:
    title, queries = DIRECTIONS[direction]
    first, is_cross = f"{direction}_recall@{min(ks)}", direction.endswith("retrieval")
    definitions = {
        f"{direction}_median_rank": Definition(
            f"{title} median rank", f"Median rank of the first right answer, over the {queries} that search."
        ),
        f"{direction}_tie_rate": Definition(
            "Ties for first place", f"Fraction of the {queries} whose right answer ties with a wrong one.", first
        ),
    }
    definitions[over_rule(f"{direction}_recall@1")] = Definition(
        f"{title} lead over one {ANSWERS[direction]}",
        f"R@1 minus the R@1 of the {ANSWERS[direction]} that is right most often as the answer to every query, where "
        "some are right more often than others.",
        f"{direction}_recall@1",
    )
    for k in ks:
        name, recall = f"{direction}_recall@{k}", f"{title} R@{k}"
        share = f"Fraction of the {queries} with a right answer among the first {k}"
        definitions[name] = Definition(recall, f"{share}.", is_headline=is_cross and name == first)
        definitions[f"{name}_strict"] = Definition(
            f"{recall}, ties as misses", f"{share}, where a tie counts as a miss.", name
        )
    return definitions


def _inputs(direction: Direction) -> Inputs:
    inputs: dict[str, InputKind] = {"sample_id": "query"}
    if "caption" in direction.columns:
        inputs["caption"] = "caption"
    if "label" in direction.columns:
        inputs["label"] = "class"
    return inputs


def _table(direction: Direction, ks: Cutoffs) -> Table:
    name, answers, ranks, lists = direction.name, direction.answers, direction.ranks, direction.lists
    if lists is None:
        rank, margin = expected_rank(ranks), 1.5 - expected_rank(ranks)  # a margin of 0 is a tie of two
        scores = cosine_columns(answers, f"{name}_cosine_margin")
    else:
        rank, margin, scores = listed_ranks(ranks), listed_margins(ranks, lists.depth), {}
    return {
        "sample_id": text_column(direction.queries.ids),
        "direction": np.full(len(direction.images), name, object),
        "cluster": direction.clusters,
        "image": direction.images,
        "margin": margin,  # above 0 only where the right item is first
        **direction.columns,
        **scores,
        **_strict(direction, ks),
        f"{name}_rank": rank,
        f"{name}_tied": (ranks.tied > 0).astype(np.float64),
        **{f"{name}_recall@{k}": recall_at_k(ranks, k) for k in _measured_ks(direction, ks)},
        **_rule_column(direction, ks),
    }


def _rule_column(direction: Direction, ks: Cutoffs) -> Columns:
    leads = _rule_leads(direction, ks)
    return {} if leads is None else {over_rule(f"{direction.name}_recall@1"): leads}


def _rule_leads(direction: Direction, ks: Cutoffs) -> Column | None:
    """Return each query's R@1 minus its R@1 if all queries got the same item, the one that is right most often.

    None where this is no better than chance, as every item is right equally often, and where the queries are a sample,
    whose own best item is not the best one of all queries.
    """
    if 1 not in _measured_ks(direction, ks) or len(direction.images) < direction.n_all:
        return None
    groups, items = direction.queries.groups, direction.items.groups
    item = int(np.flatnonzero(items == np.bincount(groups).argmax())[0])
    is_right = groups == items[item]
    if direction.queries.left_out is not None:
        is_right &= np.array([item not in left_out for left_out in direction.queries.left_out])
    if is_right.mean() <= chance_recall_at_k(direction.n_positives, direction.n_gallery, 1) + NEGLIGIBLE:
        return None
    return recall_at_k(direction.ranks, 1) - is_right


def _measured_ks(direction: Direction, ks: Cutoffs) -> list[int]:
    """Return the k at which some query may miss, and that the lists reach."""
    measured_ks = [k for k in ks if k < direction.n_gallery]
    if direction.lists is not None:
        measured_ks = [k for k in measured_ks if direction.lists.reaches(k)]
    return measured_ks


def _strict(direction: Direction, ks: Cutoffs) -> Columns:
    """Return recall with ties counted as misses, for each k at which ties decide any query."""
    columns: Columns = {}
    for k in _measured_ks(direction, ks):
        credit = recall_at_k(direction.ranks, k)
        is_tied = (credit > 0) & (credit < 1)
        if is_tied.any():
            columns[f"{direction.name}_recall@{k}_strict"] = (credit == 1).astype(np.float64)
    return columns


def _sample_similarity(dataset: Dataset, images: Vectors, texts: Vectors, rng: np.random.Generator) -> Vectors:
    """Return the cosines of a seeded sample of images with their first captions, pairs on the diagonal."""
    assert dataset.caption_image is not None
    _, first = np.unique(dataset.caption_image, return_index=True)
    chosen = np.sort(rng.choice(len(images), min(SHOWN_PAIRS, len(images)), replace=False))
    return images[chosen] @ texts[first[chosen]].T
