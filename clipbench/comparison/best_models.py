"""Which of several models could be the best: those for which a rank interval begins at 1.

By one metric these are the models that no test shows to be worse than another one. By the mean rank over several
evaluations they are the models with a lower bound that is at most the least of all upper bounds.
"""

from collections.abc import Sequence
from typing import NamedTuple

from clipbench.comparison.model_ranks import Entrant, MeanRanks, MetricRanks, RankedMetrics, rank_metrics
from clipbench.results.export.tables import records_by_evaluation
from clipbench.results.run import Run
from clipbench.results.titles import full_title, within_sentence

MOST_NAMED = 8
"""Models that a sentence names. It counts the others."""
MOST_SENTENCES = 8
FEW_TASKS = 2
"""Evaluations up to which each has its own sentence first. With more, the mean rank comes first."""


class BestModels(NamedTuple):
    """The models that could be the best by one quantity."""

    scope: str
    """The end of "could be best", such as "in retrieval@coco (text-to-image R@1)"."""
    positions: list[int]
    """Positions of the models among the runs, the best value first."""
    n_models: int
    """The number of models that were ranked."""
    evaluation: str = ""
    """The evaluation, empty for the mean rank."""

    def sentence(self, names: Sequence[str], *, most_named: int = MOST_NAMED) -> str:
        """Return which models could be best, in a line.

        Args:
            names: of all runs.
            most_named: models that are named, before the number of the others.

        Example:
            >>> BestModels("in zero-shot@pets (top-1 accuracy)", [1, 0], 3).sentence(["a", "b", "c"])
            '2 of 3 could be best in zero-shot@pets (top-1 accuracy): b, a'
            >>> BestModels("in zero-shot@pets (top-1 accuracy)", [1, 0], 2).sentence(["a", "b"])
            'each of 2 could be best in zero-shot@pets (top-1 accuracy)'
        """
        n_best = len(self.positions)
        if n_best == self.n_models:
            return f"each of {self.n_models} could be best {self.scope}"
        named = [names[position] for position in self.positions[:most_named]]
        more = f" and {n_best - most_named} more" if n_best > most_named else ""
        return f"{n_best} of {self.n_models} could be best {self.scope}: {', '.join(named)}{more}"


def rank_runs(runs: Sequence[Run], *, is_first_only: bool = False) -> RankedMetrics:
    """Return the ranks of the runs for each headline metric that two or more have, and why others have none.

    Args:
        is_first_only: rank by the first headline of each evaluation only, which takes less time.
    """
    ranks: list[MetricRanks] = []
    reasons: dict[str, str] = {}
    for records in records_by_evaluation(runs):
        entrants = [Entrant(row, runs[row], record) for row, record in records.items() if record.status == "ok"]
        if entrants:
            ranked = rank_metrics(entrants, is_first_only=is_first_only)
            ranks += ranked.ranks
            reasons |= ranked.reasons
    return RankedMetrics(ranks, reasons)


def best_models(metrics: Sequence[MetricRanks], means: MeanRanks | None) -> list[BestModels]:
    """Return the models that could be best by the first ranked metric of each evaluation, and by the mean rank."""
    by_evaluation: dict[str, MetricRanks] = {}
    for ranks in metrics:
        by_evaluation.setdefault(ranks.record.name, ranks)
    of_tasks = [_best_by_metric(ranks) for ranks in by_evaluation.values()]
    if means is None:
        return of_tasks
    overall = _best_by_mean(means)
    return [*of_tasks, overall] if len(of_tasks) <= FEW_TASKS else [overall, *of_tasks]


def best_lines(best: Sequence[BestModels], names: Sequence[str]) -> list[str]:
    """Return a sentence for each, up to ``MOST_SENTENCES``, and how many more there are."""
    lines = [models.sentence(names) for models in best[:MOST_SENTENCES]]
    if len(best) > MOST_SENTENCES:
        lines.append(f"{len(best) - MOST_SENTENCES} more evaluations: see the table")
    return lines


def _best_by_metric(ranks: MetricRanks) -> BestModels:
    record, metric = ranks.record, ranks.metrics[0]
    title = within_sentence(full_title(ranks.name, metric, record.subsets))
    positions = [model.position for model in ranks.ranked() if model.low == 1]
    return BestModels(f"in {record.name} ({title})", positions, len(ranks.positions), record.name)


def _best_by_mean(means: MeanRanks) -> BestModels:
    models = next(means.ranked())
    least_upper = min(model.metric.high for model in models if model.metric.high is not None)
    positions = [model.position for model in models if model.metric.low is not None and model.metric.low <= least_upper]
    return BestModels(f"by mean rank over {len(means.evaluations)} tasks", positions, len(models))
