"""The verdict on the models of a pool: metrics of the judged queries, differences valid at any time, and a sentence."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from html import escape
from itertools import combinations
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64, Int64

from clipbench.choosing.judgement_log import PoolJudgements
from clipbench.choosing.pool import Pool, Ranking, read_rankings
from clipbench.comparison.across import pareto_front
from clipbench.comparison.gate_rules import Tolerance
from clipbench.errors import UsageError, on_command_line, option
from clipbench.metrics.relevance import Levels, Relevant, ndcg_at_k, relevant_recall_at_k
from clipbench.results.model_costs import table_of_prices
from clipbench.results.numbers import NONE, ascii_signs, change, change_interval, counted, listed, percent
from clipbench.results.table import Cell, Column, Table, as_html, as_text
from clipbench.stats.betting import confidence_sequence, queries_needed
from clipbench.stats.clusters import cluster_codes
from clipbench.stats.intervals import TAIL, effective_n
from clipbench.stats.slices import exact_bounds

SCOPES = ("future", "list")
METRICS = ("nDCG@{k}", "precision@{k}", "success@{k}")
"""Names of the metrics, the one that decides first."""
MOST_DISAGREEMENTS = 20

_AHEAD = {"better": (1, -1), "equal": (0, 0), "worse": (-1, 1), "open": (-1, -1)}
"""For the model and for the other: 1 if it is surely ahead, 0 if they are equal, otherwise -1."""

Values = Float64[np.ndarray, "n_models n_queries"]


class Score(NamedTuple):
    """The mean of a metric over the queries that are judged to their end, and what it may be with the others begun."""

    value: float | None
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class ModelDifference:
    """The difference of two models in the metric that decides."""

    model: str
    other: str
    value: float
    """Mean over the queries that are judged to their end."""
    low: float
    high: float
    """They contain the true difference at all times at once."""
    verdict: str
    """``better``, ``worse``, ``equal`` or ``open``."""


@dataclass(frozen=True, kw_only=True)
class Unseen:
    """Relevant photographs that no model found, estimated from the photographs drawn at random."""

    n_relevant: int
    n_drawn: int
    value: float
    """Mean number per query."""
    low: float
    high: float
    """Bounds of the mean over all queries like these, at 95 %: a few queries may have most of these photographs."""


@dataclass(frozen=True, kw_only=True)
class Choice:
    """The verdict on the models of a pool, with all that it follows from."""

    judgements: PoolJudgements
    sentence: str
    """The verdict."""
    decision: str
    """The verdict in a few words: the chosen model, or that none is chosen yet."""
    is_decided: bool
    scores: Mapping[str, Mapping[str, Score]]
    """By model and metric."""
    differences: Sequence[ModelDifference]
    n_queries: int
    """Queries that are judged to their end."""
    n_open: int
    """Queries that are skipped, or judged in part."""
    n_skipped: int
    """Open queries that a judge has skipped."""
    n_without: int
    """Queries that are judged to their end, and have no relevant photograph."""
    unseen: Unseen | None
    scope: str
    equivalence_margin: float

    def __str__(self) -> str:
        return self.text()

    def _repr_html_(self) -> str:
        opening = f"<p><b>{escape(self.sentence)}</b></p>"
        paragraphs = "".join(f"<p>{escape(text)}</p>" for text in self.facts())
        return "".join([opening, *map(as_html, self.tables()), paragraphs])

    @property
    def pool(self) -> Pool:
        """The pool that was judged."""
        return self.judgements.pool

    @property
    def _metrics(self) -> list[str]:
        return [name.format(k=self.pool.facts.k) for name in METRICS]

    def tables(self) -> list[Table]:
        """Return the table of the models, of their differences, and of their prices if the pool has any."""
        names = self._metrics
        score_columns = [Column(f"{name} %") for name in names]
        score_rows: list[list[Cell | str]] = []
        for model, scores in self.scores.items():
            score_rows.append([model, *(_shown(scores[name]) for name in names)])
        of_models = Table(
            title="Models",
            facts=self._brackets(),
            columns=[Column("model", is_number=False), *score_columns],
            rows=score_rows,
        )
        columns = [Column("difference", is_number=False), Column(names[0]), Column("its interval")]
        columns += [Column("verdict", is_number=False), *map(Column, names[1:])]
        rows: list[list[Cell | str]] = []
        for difference in self.differences:
            interval = change_interval(difference.low, difference.high, "fraction")
            scores, other_scores = self.scores[difference.model], self.scores[difference.other]
            changes = []
            for score, other_score in zip(scores.values(), other_scores.values(), strict=True):
                changes.append(change((score.value or 0.0) - (other_score.value or 0.0), "fraction"))
            ndcg, *further = changes
            rows.append([f"{difference.model} − {difference.other}", ndcg, interval, difference.verdict, *further])
        facts = f"{names[0]} decides; its interval holds at any time, and allows for any result of skipped queries"
        tables = [of_models, Table(title="Differences", facts=facts, columns=columns, rows=rows)]
        prices = self._prices()
        return tables if prices is None else [*tables, prices]

    def _brackets(self) -> str:
        """Return what the values of the models are, and what their brackets mean if they have some."""
        judged = f"mean over the {counted(self.n_queries, 'judged query', 'judged queries')}"
        if not self.n_open or not self.n_queries:
            return judged if self.n_queries else ""
        queries = counted(self.n_open, "open query", "open queries")
        return f"{judged}; in brackets what it may become with the {queries}, which is not a confidence interval"

    def _prices(self) -> Table | None:
        prices, name = self.pool.facts.prices, self._metrics[0]
        if not prices or not self.scores.keys() <= {*prices, *self.pool.facts.rankings}:
            return None
        models = [model for model in self.scores if model in prices]
        cells = [_shown(self.scores[model][name]) for model in models]
        return table_of_prices([(model, prices[model]) for model in models], {f"{name} %": cells})

    def front(self) -> list[str]:
        """Return the Pareto front of the deciding metric against the median time of one query, the fastest model first.

        An open difference beats no model. Empty where the pool has no prices, or nothing is judged.
        """
        if not self.differences:
            return []
        models, times = list[str](), list[float]()
        for model, price in self.pool.facts.prices.items():
            if price.text_p50 is not None and model in self.scores:
                models.append(model)
                times.append(price.text_p50)
        ahead = _ahead(self.differences)
        front = pareto_front(times, lambda a, b: ahead.get((models[a], models[b]), -1))
        return [models[position] for position in front]

    def facts(self) -> list[str]:
        """Return the facts that a reader of the tables needs, one or two sentences per fact."""
        n_asked = len(self.pool.queries)
        target = "future queries like these" if self.scope == "future" else f"the {n_asked} queries of the list"
        judges, disputed = self.judgements.judges, self.judgements.disagreements()
        by = f" by {', '.join(judges)}" if judges else ""
        n = counted(self.judgements.n, "judgement")
        judged = f"{self.n_queries} of {counted(n_asked, 'query', 'queries')} judged, with {n}{by}"
        sentences = [f"{judged}. The intervals of differences are for {target} and hold whenever you look."]
        if self.n_open:
            n_part = self.n_open - self.n_skipped
            parts = [f"{self.n_skipped} skipped"] if self.n_skipped else []
            parts += [f"{n_part} judged in part"] if n_part else []
            again = ""
            if self.n_skipped:
                again = f" {on_command_line('clipbench ')}judge lists the skipped ones, to judge them after all."
            sentences.append(
                f"{counted(self.n_open, 'query is', 'queries are')} open ({', '.join(parts)}): the intervals allow for"
                f" any result.{again}"
            )
        ndcg, precision, success = self._metrics
        if self.n_queries:
            sentences.append(
                f"{ndcg} is relative to this pool: its ideal ranking has only photographs that were judged here. So"
                " values are never lower than with all photographs judged, and differences are usually larger. The"
                f" equivalence margin of {self.equivalence_margin:g} points is on this scale. {precision} and"
                f" {success} need no ideal ranking."
            )
        if self.n_without:
            without = counted(self.n_without, "query has", "queries have")
            n_left = self.n_queries - self.n_without
            values = [
                f"{percent((scores[ndcg].value or 0.0) * self.n_queries / max(1, n_left))} % for {model}"
                for model, scores in self.scores.items()
            ]
            sentences.append(
                f"{without} no relevant photograph: each counts 0 here, and the task retrieval leaves them out. Over"
                f" the other {n_left}, {ndcg} is {listed(values)}."
            )
        if self.unseen is not None:
            unseen = self.unseen
            sentences.append(
                f"Relevant photographs that no model found, for {target}: {unseen.value:.1f} [{unseen.low:.1f},"
                f" {unseen.high:.1f}] per query, since {unseen.n_relevant} of {unseen.n_drawn} drawn at random are"
                " relevant. This interval is for one look."
            )
        if len(judges) > 1:
            alpha = self.judgements.agreement()
            sentences.append(
                f"Agreement of the judges: Krippendorff's alpha {NONE if alpha is None else f'{alpha:.2f}'} (1 is full,"
                f" 0 is chance). {counted(len(disputed), 'photograph')} with different grades. The grade used is the"
                " median, the lower of two in the middle."
            )
        prices = self._prices()
        if prices is None and self.pool.facts.models.keys() > {*self.pool.facts.rankings}:
            sentences.append(
                f"The price of a query was not measured: the same {on_command_line('clipbench ')}pool with"
                f" {option('price', True)} adds it."
            )
        elif prices is not None and (front := self.front()):
            sentences.append(
                f"Pareto front of {ndcg} and the time of one query: {listed(front)}."
                " As far as is decided, no other model with a price is better than these and no slower, "
                "or equal and faster."
            )
        return [*sentences, *(prices.warnings if prices else ()), *self.judgements.notes]

    def disagreements(self) -> list[tuple[str, str, Mapping[str, int]]]:
        """Return the largest disagreements of judges: query, name of the photograph, and the grade of each judge."""
        disagreements = self.judgements.disagreements()[:MOST_DISAGREEMENTS]
        return [(self.pool.queries[query], self.pool.name(image), grades) for query, image, grades in disagreements]

    def text(self, width: int | None = None) -> str:
        """Return the verdict, then what it follows from, as lines for a terminal of a width.

        Args:
            width: columns of the terminal. None (the default) breaks no line.
        """
        tables = []
        for table in self.tables():
            if table.rows:
                title = f"{table.title}:" if table.title else ""
                tables.append("\n" + as_text(replace(table, title=title), indent="", width=width))
        disagreements = []
        for query, image, grades in self.disagreements():
            by_judge = ", ".join(f"{judge} {grade}" for judge, grade in grades.items())
            disagreements.append(f"  {query}: {image} ({by_judge})")
        if disagreements:
            disagreements.insert(0, "Graded apart:")
        return ascii_signs("\n".join([self.sentence, *tables, "", *self.facts(), *disagreements]))


def choose_model(
    judgements: PoolJudgements, *, scope: str = "future", equivalence_margin: str = "3pp", alpha: float = 0.05
) -> Choice:
    """Return the verdict on the models of a pool from its judgements.

    The chosen model is better than or equal to each other one: the interval of the difference excludes 0, or is within
    the margin. The intervals are confidence sequences by betting, corrected over all pairs of models (Bonferroni). A
    query without a relevant photograph counts 0 for every model. nDCG is relative to the pool: its ideal ranking has
    only photographs that were judged. A query that is skipped, or judged in part, may have any value: the lower bound
    follows from the lowest values, the upper bound from the highest.

    Args:
        scope: ``"future"`` queries, of which the list is a sample, or the ``"list"`` itself.
        equivalence_margin: points of nDCG, relative to the pool: models are equal if the interval of their difference
            is within this margin.
        alpha: chance that any of the intervals ever misses the truth.

    Raises:
        UsageError: an argument is out of range.
        DataError: the pool is damaged.
    """
    if scope not in SCOPES:
        raise UsageError(f"{option('scope', scope)}: expected {listed(SCOPES, 'or')}")
    tolerance = Tolerance.parse_option(equivalence_margin, "equivalence_margin")
    if tolerance.kind != "points" or not tolerance.amount:
        raise UsageError(f"{option('equivalence_margin', equivalence_margin)}: expected points of nDCG, such as 3pp")
    margin = 100 * tolerance.amount
    if not 0 < alpha < 1:
        raise UsageError(f"{option('alpha', alpha)}: expected a number above 0 and below 1")
    pool, begun = judgements.pool, judgements.begun()
    rankings = read_rankings(pool)
    grades = {query: by_image for query in begun if (by_image := judgements.grades(query)) is not None}
    values = _values(pool, rankings, {query: grades.get(query) for query in begun})
    models, primary = list(pool.facts.models), next(iter(values.values()))
    terms = _Terms(
        sizes=Counter(pool.batches.values()) if scope == "list" else None,
        batch=np.array([pool.batches[query] for query in begun], np.int64),
        alpha=alpha / max(1, len(models) * (len(models) - 1) // 2),
        margin=tolerance.amount,
        n_left=len(pool.queries) - len(begun),
    )
    pairs = []
    if grades:
        pairs = [_ordered_pair(models, primary, *pair) for pair in combinations(range(len(models)), 2)]
    differences = [_difference(*pair, terms) for pair in pairs]
    leader = _leader(models, differences)
    basis = f"after {counted(len(grades), 'query', 'queries')} and {counted(judgements.n, 'judgement')}"
    if leader is None:
        sentence, decision = _open(differences, pairs, terms, basis), "Not decided yet"
    else:
        sentence, decision = _decided(leader, differences, margin, basis), _decision(leader, differences)
    scores = {}
    for row, model in enumerate(models):
        scores[model] = {name: _score(rows[row]) for name, rows in values.items()}
    return Choice(
        judgements=judgements,
        sentence=sentence,
        decision=decision,
        is_decided=leader is not None,
        scores=scores,
        differences=differences,
        n_queries=len(grades),
        n_open=len(begun) - len(grades),
        n_skipped=len(judgements.skipped()),
        n_without=sum(not any(by_image.values()) for by_image in grades.values()),
        unseen=_unseen(pool, rankings, grades),
        scope=scope,
        equivalence_margin=margin,
    )


class _Terms(NamedTuple):
    """The terms on which differences are judged."""

    sizes: Mapping[int, int] | None
    """Queries of each batch of the list, None for future queries."""
    batch: Int64[np.ndarray, " n_queries"]
    """The batch of each query that was begun."""
    alpha: float
    margin: float
    n_left: int


Differences = Float64[np.ndarray, " n_queries"]
Pair = tuple[str, str, Differences]


def _values(
    pool: Pool, rankings: Mapping[str, Ranking], grades: Mapping[str, Mapping[str, int] | None]
) -> dict[str, Values]:
    """Return each metric of each model and query that was begun, or NaN if the query is not judged to its end."""
    k, shape = pool.facts.k, (len(pool.facts.models), len(grades))
    is_open = [by_image is None for by_image in grades.values()]
    by_metric = np.where(is_open, np.nan, np.zeros((len(METRICS), *shape)))
    relevant = []
    for row, by_image in enumerate(grades.values()):
        for image, image_grade in (by_image or {}).items():
            if image_grade:
                relevant.append((row, image, image_grade))
    if relevant:
        of_row, _, of_grade = zip(*relevant, strict=True)
        (rows, query), grade = np.unique(of_row, return_inverse=True), np.array(of_grade)
        judged = Relevant(query, np.arange(len(query)), grade)
        for model, name in enumerate(pool.facts.models):
            firsts = [rankings[query_id].models[name] for query_id in grades]
            positions = []
            for row, image, _ in relevant:
                positions.append(firsts[row].index(image) if image in firsts[row] else k)
            ones = np.ones(len(query), np.int64)
            levels = Levels(query, np.array(positions), ones, ones, grade.astype(np.float64))
            n_found = relevant_recall_at_k(levels, judged, k) * judged.counts
            by_metric[:, model, rows] = ndcg_at_k(levels, judged, k), n_found / k, n_found > 0.5
    return {name.format(k=k): values for name, values in zip(METRICS, by_metric, strict=True)}


def _score(values: Float64[np.ndarray, " n_queries"]) -> Score:
    if np.isnan(values).all():
        return Score(None, 0.0, 1.0)
    low = float(np.nan_to_num(values, nan=0.0).mean())
    high = float(np.nan_to_num(values, nan=1.0).mean())
    return Score(float(np.nanmean(values)), low, high)


def _ordered_pair(models: Sequence[str], primary: Values, one: int, other: int) -> Pair:
    """Return two models, the one with the higher mean first, and their differences."""
    if np.nanmean(primary[one]) < np.nanmean(primary[other]):
        one, other = other, one
    return models[one], models[other], primary[one] - primary[other]


def _difference(model: str, other: str, values: Differences, terms: _Terms) -> ModelDifference:
    # A query without a value counts as the worst for the lower bound, and as the best for the upper one.
    low, _ = _bounds(np.nan_to_num(values, nan=-1.0), terms)
    _, high = _bounds(np.nan_to_num(values, nan=1.0), terms)
    if -terms.margin <= low and high <= terms.margin:
        verdict = "equal"
    elif low > 0:
        verdict = "better"
    elif high < 0:
        verdict = "worse"
    else:
        verdict = "open"
    return ModelDifference(
        model=model, other=other, value=float(np.nanmean(values)), low=low, high=high, verdict=verdict
    )


def _bounds(values: Differences, terms: _Terms) -> tuple[float, float]:
    """Return bounds of a mean difference. For a list, they are from its batches, as only these are in random order."""
    if terms.sizes is None:
        return confidence_sequence(values, alpha=terms.alpha)
    level, n = terms.alpha / len(terms.sizes), sum(terms.sizes.values())
    parts = []
    for batch, size in terms.sizes.items():
        bounds = confidence_sequence(values[terms.batch == batch], total=size, alpha=level)
        parts.append(np.array(bounds) * size / n)
    low, high = np.sum(parts, axis=0).tolist()
    return low, high


def _leader(models: Sequence[str], differences: Sequence[ModelDifference]) -> str | None:
    """Return the model that is better than or equal to every other, or of several the one with the highest mean."""
    ahead = _ahead(differences)

    def is_beaten_by_none(model: str) -> bool:
        return all(ahead.get((model, other), -1) >= 0 for other in models if other != model)

    leaders = [model for model in models if is_beaten_by_none(model)]
    return max(leaders, key=lambda model: sum(pair.model == model for pair in differences), default=None)


def _ahead(differences: Sequence[ModelDifference]) -> dict[tuple[str, str], int]:
    """Return for two models, in either order, 1 if the first is surely ahead, 0 if they are equal, otherwise -1."""
    ahead = {(pair.model, pair.other): _AHEAD[pair.verdict][0] for pair in differences}
    return ahead | {(pair.other, pair.model): _AHEAD[pair.verdict][1] for pair in differences}


def _decision(leader: str, differences: Sequence[ModelDifference]) -> str:
    """Return the chosen model, and whether it is better than each other model."""
    own = [pair for pair in differences if leader in (pair.model, pair.other)]
    if any(pair.verdict == "equal" for pair in own):
        return f"{leader} is at least as good as {'the other' if len(own) == 1 else 'every other'}"
    return f"{leader} is better" if len(own) == 1 else f"{leader} is the best of {len(own) + 1}"


def _decided(leader: str, differences: Sequence[ModelDifference], margin: float, basis: str) -> str:
    better, equal = list[str](), list[str]()
    for difference in differences:
        if leader in (difference.model, difference.other):
            sign, other = (1, difference.other) if difference.model == leader else (-1, difference.model)
            ends = sorted((sign * difference.low, sign * difference.high))
            values = f"{change(sign * difference.value, 'fraction')} {change_interval(ends[0], ends[1], 'fraction')}"
            (equal if difference.verdict == "equal" else better).append(f"{other} ({values})")
    words = {"better than": better, f"equal, within {margin:g} points, to": equal}
    parts = [f"{relation} {listed(models)}" for relation, models in words.items() if models]
    return f"{leader} is {' and '.join(parts)}, in nDCG relative to this pool, {basis}."


def _open(differences: Sequence[ModelDifference], pairs: Sequence[Pair], terms: _Terms, basis: str) -> str:
    if not differences:
        return "Not decided: no query is fully judged yet."
    n_judged = int((~np.isnan(pairs[0][2])).sum())
    n_open = len(pairs[0][2]) - n_judged
    hints = []
    for difference, (_, _, values) in zip(differences, pairs, strict=True):
        if difference.verdict != "open":
            continue
        target = max(terms.margin, abs(difference.value))
        n = queries_needed(values[~np.isnan(values)], min(1.0, target), alpha=terms.alpha)
        if n is not None and n > n_judged:
            hints.append((n - n_judged, target))
    text = f"Not decided {basis}"
    n_rest = n_open + terms.n_left
    if hints and (terms.sizes is None or n_rest):
        n_more, target = max(hints)
        if terms.sizes is not None:  # beyond the list there is nothing to judge
            n_more = min(n_more, n_rest)
        more_queries = counted(n_more, "more query", "more queries")
        text += (
            f": about {more_queries} would show a difference of {100 * target:.1f} points of nDCG relative to this pool"
        )
    left = f"the list has {terms.n_left} left"
    if n_open:
        left += f", and {n_open} that {'is' if n_open == 1 else 'are'} skipped or judged in part"
    is_at_its_end = terms.sizes is None and not terms.n_left
    advice = f" ({option('scope', 'list')} decides for the list itself)" if is_at_its_end else ""
    return f"{text}. {left[:1].upper()}{left[1:]}{advice}."


def _unseen(pool: Pool, rankings: Mapping[str, Ranking], grades: Mapping[str, Mapping[str, int]]) -> Unseen | None:
    """Return an estimate of the relevant photographs that no model found, with queries as clusters of them."""
    relevant_draws = []
    for query, by_image in grades.items():
        relevant_draws.append([by_image[image] > 0 for image in rankings[query].random])
    sizes = np.array([len(by_image) for by_image in relevant_draws], np.int64)
    if not sizes.any():
        return None
    hits, clusters = np.concatenate(relevant_draws), np.repeat(np.arange(len(sizes)), sizes)
    n_unseen = sum(pool.facts.n_images - len(pool.candidates[query]) for query in grades) + len(hits)
    share, per_query = float(hits.mean()), n_unseen / len(grades)
    trials = effective_n(share, hits - share, cluster_codes(clusters), at_most=float(len(hits)))
    low, high = (per_query * bound for bound in exact_bounds(share, trials, TAIL))
    return Unseen(n_relevant=int(hits.sum()), n_drawn=len(hits), value=per_query * share, low=low, high=high)


def _shown(score: Score) -> Cell:
    if score.value is None:
        return Cell(NONE)
    aside = "" if score.low == score.high else f"[{percent(score.low)}, {percent(score.high)}]"
    return Cell(percent(score.value), aside=aside)
