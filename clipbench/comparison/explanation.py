"""Where did the candidate get worse: groups of samples whose paired change is a loss, under error control."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from clipbench.comparison import align
from clipbench.comparison.compare_runs import Side, open_side
from clipbench.comparison.explanation_groups import LEAST_SAMPLES as LEAST_IN_GROUP
from clipbench.comparison.explanation_groups import SampleGroups
from clipbench.comparison.explanation_inputs import CLUSTER, ImageInputs, input_groups, no_image_inputs
from clipbench.comparison.explanation_records import (
    SAMPLE_IDS,
    Certificate,
    Claim,
    Detectable,
    Explanation,
    GroupChange,
    Kind,
    Uneven,
)
from clipbench.comparison.paired_tests import sample_clusters, sample_values
from clipbench.comparison.phrase_groups import EmbedInputs
from clipbench.errors import ClipbenchError, NotComparable, UsageError, did_you_mean, option
from clipbench.results.matching import match
from clipbench.results.metric_name import full_name
from clipbench.results.other_tools import Values
from clipbench.results.record import EvaluationRecord, Metric
from clipbench.results.run import Run
from clipbench.results.sample_inputs import usual_inputs
from clipbench.results.titles import first_headline, full_title
from clipbench.seeding import generator
from clipbench.stats.clusters import Codes, snap_to_integers
from clipbench.stats.clusters import Values as Numbers
from clipbench.stats.groups import (
    Covering,
    Grouping,
    GroupTests,
    change_p_value,
    cover_changes,
    detectable_change,
    judge_groups,
)
from clipbench.stats.significance import ALPHA

if TYPE_CHECKING:
    import pandas

LEAST_SAMPLES = 100
"""With fewer samples no group is large enough for a test."""
CERTIFIED_SHARE, LEAST_CERTIFIED = 0.05, 50
"""Fraction, and number, of the samples from which on groups are certified."""
SHARES = (0.01, 0.05, 0.2)
"""Fractions of the samples whose detectable loss is reported."""
MOST_CLAIMS = 10
"""Claims in either direction that are listed."""


@dataclass(frozen=True, kw_only=True)
class ExplainOptions:
    """What is explained, and by which groups."""

    metric: str | None = None
    """Full name, or the name without the evaluation, None for the first headline."""
    columns: Path | None = None
    """A CSV file with more columns of the samples."""
    seed: int = 0
    image_inputs: ImageInputs = no_image_inputs
    """Finds the measured inputs of images."""
    embed: EmbedInputs | None = None
    """Embeds images and texts with the base's model, None for no groups of phrases."""


class ExplainedMetric(NamedTuple):
    """What is explained: a metric of two runs."""

    labels: Sequence[str]
    evaluation: str
    name: str
    title: str
    sign: int
    """1 if higher is better, -1 if lower is better."""
    digest: str
    """Hash of the groups."""


class Outcomes(NamedTuple):
    """The credits of both models for the samples of a metric, in the order of their ids."""

    ids: list[str]
    base: Numbers
    candidate: Numbers
    clusters: Codes

    @property
    def changes(self) -> Numbers:
        """The candidate's credit minus the base's."""
        return self.candidate - self.base


def explain(base: Side, candidate: Side, options: ExplainOptions | None = None) -> Explanation:
    """Return the groups of samples in which the candidate got worse, or better, under error control.

    Groups are made of inputs only and fixed before outcomes are read. Two questions are asked of all of them at once:
    is the candidate worse here (signs of the changes are flipped), and is it worse here than elsewhere (changes are
    permuted)? The chance of any false claim is at most 5 % for each question. A group is worse, or better, only if the
    first test says so.

    Args:
        base, candidate: finished runs over the same samples, or their folders.

    Raises:
        NotComparable: the runs have no evaluation in common, or other samples.
        UsageError: a metric or a file of columns is wrong, or there are too few samples.
    """
    options = options or ExplainOptions()
    base, candidate = opened_run(base), opened_run(candidate)
    pair, name = _chosen_metric(base, candidate, options.metric)
    metric = pair.base.metrics[name]
    assert metric.column is not None, name
    tables = _same_samples(base, candidate, pair, name)
    # Only the base's inputs make groups: the candidate's may be hundreds of columns more.
    tables = align.Tables(tables.base, _outcome_columns(tables.candidate, metric.column))
    is_defined = tables.base[metric.column].notna().to_numpy()
    n_samples = int(is_defined.sum())
    if n_samples < LEAST_SAMPLES:
        raise UsageError(
            f"{pair.name}/{name} has {n_samples} samples: expected {LEAST_SAMPLES} or more to find groups in"
        )
    groups = _groups_of_samples(tables.base, pair.base, name, options)
    tables = align.Tables(_outcome_columns(tables.base, metric.column), tables.candidate)
    outcomes = _outcomes(tables, metric.column, is_defined)
    explained = ExplainedMetric(
        labels=align.distinct_labels(base, candidate),
        evaluation=pair.name,
        name=name,
        title=f"{pair.name}: {full_title(name, metric, pair.base.subsets)}",
        sign=1 if metric.higher_is_better else -1,
        digest=groups.digest(outcomes.ids),
    )
    explanation = _explained(explained, outcomes, groups, options.seed)
    return replace(explanation, notes=[*match(*pair).notes, *_input_notes(pair.base)])


def _outcome_columns(table: "pandas.DataFrame", column: str) -> "pandas.DataFrame":
    """Return a copy of what the tests need: the credits, and the clusters if there are any."""
    return table[[name for name in (column, CLUSTER) if name in table]].copy()


def _groups_of_samples(
    table: "pandas.DataFrame", evaluation: EvaluationRecord, name: str, options: ExplainOptions
) -> SampleGroups:
    """Return the groups of the samples of a metric, or raise UsageError if no group is large enough."""
    column = evaluation.metrics[name].column
    assert column is not None, name
    has_images = any(evaluation.encoded.get(key) for key in ("images", "stored_images"))
    image_inputs = options.image_inputs if has_images else None
    kinds = evaluation.inputs or usual_inputs(["sample_id", *map(str, table)])
    groups = input_groups(table, column, kinds, options.columns, image_inputs, options.embed)
    if not groups.groups:
        raise UsageError(
            f"{evaluation.name} has no groups of {LEAST_IN_GROUP} samples or more to explain {name} by: add columns to"
            f" group by with {option('columns', 'FILE.csv')}"
        )
    return groups


def _input_notes(record: EvaluationRecord) -> list[str]:
    if record.inputs:
        return []
    return [f"{record.task} declares no inputs: only columns with usual names, such as caption and label, make groups"]


def opened_run(side: Side) -> Run:
    run = open_side(side)
    if isinstance(run, Values):
        raise UsageError(f"{run.label} has values without samples: expected a run folder of clipbench")
    return run


Named = Mapping[str, tuple[align.EvaluationPair, str]]
"""The evaluation and the short name of metrics, by full name."""


def _chosen_metric(base: Run, candidate: Run, metric: str | None) -> tuple[align.EvaluationPair, str]:
    """Return the evaluation and the metric that is asked for, or the first headline that is a mean of credits."""
    pairs = align.pair_evaluations(base, candidate)
    named: dict[str, tuple[align.EvaluationPair, str]] = {}
    for pair in pairs:
        for name in align.metrics_in_both(pair.base.metrics, pair.candidate.metrics):
            named[f"{pair.name}/{name}"] = (pair, name)
    explainable = {}
    for metric_name, (pair, name) in named.items():
        if _is_mean_of_credits(pair.base.metrics[name]):
            explainable[metric_name] = (pair, name)
    if metric is None:
        return _first_headline(pairs, explainable)
    return _metric_asked_for(metric, named, explainable)


def _first_headline(pairs: Sequence[align.EvaluationPair], explainable: Named) -> tuple[align.EvaluationPair, str]:
    if not explainable:
        raise NotComparable("the runs have no metric in common that scores each sample as right, wrong or in between")
    for pair in pairs:
        if pair.base.metrics:
            headline = f"{pair.name}/{first_headline(pair.base.metrics)}"
            if headline in explainable:
                return explainable[headline]
    return next(iter(explainable.values()))


def _metric_asked_for(metric: str, metrics: Named, explainable: Named) -> tuple[align.EvaluationPair, str]:
    matches = [metric_name for metric_name, (_, name) in metrics.items() if metric in (metric_name, name)]
    if len(matches) > 1:
        raise UsageError(
            f"{option('metric', metric)} is a metric of several evaluations: expected one, such as {matches[0]}"
        )
    if not matches:
        raise UsageError(
            f"the runs have no metric '{metric}' in common: {did_you_mean(metric, explainable)}"
            " (clipbench show RUN --all)"
        )
    if matches[0] not in explainable:
        raise UsageError(
            f"{matches[0]} does not score each sample as right, wrong or in between: expected a metric such as"
            f" {next(iter(explainable), 'acc1')}"
        )
    return explainable[matches[0]]


def _is_mean_of_credits(metric: Metric) -> bool:
    is_mean = metric.column is not None and metric.statistic is None
    return is_mean and metric.unit == "fraction" and metric.higher_is_better is not None


def _same_samples(base: Run, candidate: Run, pair: align.EvaluationPair, name: str) -> align.Tables:
    """Return the samples of both runs, or raise if they are missing, too few or not the same."""
    for refusal in align.lost_evaluations(base, candidate):
        if refusal.evaluation == pair.name and refusal.reason:
            raise NotComparable(f"{pair.name} is not comparable: {refusal.reason}")
    same = match(*pair)
    if not same.is_same:
        raise NotComparable(f"{pair.name} is not comparable: {same.reason}")
    for run, evaluation in zip((base, candidate), pair, strict=True):
        if not run.has_samples(evaluation):
            raise ClipbenchError(f"{run.label} has no samples of {evaluation.name}: run it again")
    tables = align.align_samples(base, candidate, pair)
    contradiction = align.contradiction(pair)
    if contradiction:
        raise NotComparable(f"{pair.name} is not comparable: {contradiction}")
    for run, evaluation, table in zip((base, candidate), pair, tables, strict=True):
        align.check_values(run, {name: evaluation.metrics[name]}, table)
    return tables


def _outcomes(tables: align.Tables, column: str, is_defined: "np.ndarray") -> Outcomes:
    base = sample_values(tables.base, column)
    candidate = sample_values(tables.candidate, column)
    if (np.isfinite(base) != np.isfinite(candidate)).any():
        raise NotComparable(f"the runs have values of {column} for different samples")
    return Outcomes(
        ids=tables.base.index[is_defined].tolist(),
        base=snap_to_integers(base[is_defined]),
        candidate=snap_to_integers(candidate[is_defined]),
        clusters=sample_clusters(tables.base, is_defined),
    )


def _explained(explained: ExplainedMetric, outcomes: Outcomes, groups: SampleGroups, seed: int) -> Explanation:
    """Return the groups in which a metric changed, without notes."""
    evaluation, name, sign = explained.evaluation, explained.name, explained.sign
    base_label, candidate_label = explained.labels
    grouping = Grouping(np.array([group.is_member for group in groups.groups]), outcomes.clusters)
    merits = sign * outcomes.changes  # below 0 is a loss, whatever the direction of the metric
    loss = -float(merits.sum())
    tests = judge_groups(merits, grouping, generator(seed, evaluation, name, "explain"), alpha=ALPHA)
    judged = _Judged(groups, grouping, outcomes, tests, sign)
    changes = [judged.change(index) for index in range(len(groups.groups))]
    covering = cover_changes(merits, grouping, tests, ALPHA)[:MOST_CLAIMS]
    claims = [judged.claim(part, loss, changes[part.group]) for part in covering]
    is_claimed = tests.is_claimed(ALPHA)
    n_more_claimed = int(is_claimed.sum()) - len(claims)
    is_claimed_loss = is_claimed & (tests.change < 0)
    p_uneven = float(tests.p_elsewhere.min())
    return Explanation(
        base=base_label,
        candidate=candidate_label,
        evaluation=evaluation,
        metric=full_name(evaluation, name),
        title=explained.title,
        n=len(outcomes.ids),
        base_value=float(outcomes.base.mean()),
        candidate_value=float(outcomes.candidate.mean()),
        seed=seed,
        alpha=ALPHA,
        p_overall=change_p_value(merits, outcomes.clusters),
        uneven=Uneven(p=p_uneven),
        n_slices=groups.n_by_source,
        groups_hash=explained.digest,
        claims=claims,
        n_more_claimed=n_more_claimed,
        spread_evenly=_spread_evenly(claims, loss),
        certificate=_certificate(grouping, tests, is_claimed_loss),
        detectable=_detectable(merits, grouping, tests),
        unavailable=groups.unavailable,
        changes=changes,
    )


class _Judged(NamedTuple):
    """The groups of samples with their tests."""

    groups: SampleGroups
    grouping: Grouping
    outcomes: Outcomes
    tests: GroupTests
    sign: int
    """1 if higher is better, -1 if lower is better."""

    def change(self, index: int) -> GroupChange:
        """Return the change of a group."""
        group = self.groups.groups[index]
        is_member = self.grouping.members[index]
        base, candidate = self.outcomes.base[is_member], self.outcomes.candidate[is_member]
        # If lower is better, the sign exchanges the bounds.
        low, high = sorted((self.sign * float(self.tests.low[index]), self.sign * float(self.tests.high[index])))
        return GroupChange(
            slice=group.name,
            source=group.source,
            n=int(is_member.sum()),
            base=float(base.mean()),
            candidate=float(candidate.mean()),
            difference=float((candidate - base).mean()),
            low=low,
            high=high,
            p_here=float(self.tests.p_here[index]),
            p_elsewhere=float(self.tests.p_elsewhere[index]),
        )

    def claim(self, part: Covering, loss: float, change: GroupChange) -> Claim:
        """Return the claim of a listed group.

        Args:
            loss: sum of the losses of all samples, below 0 if they gained.
            change: of the whole group.
        """
        is_loss = part.net_change < 0
        has_share = is_loss and part.exceeds_elsewhere and loss > 0
        return Claim(
            **vars(change),
            claim=_claim_kind(part),
            p=change.p_elsewhere if part.exceeds_elsewhere else change.p_here,
            net_n=part.n_net,
            net_difference=self.sign * part.net_change / part.n_net,
            share_of_loss=-part.net_change / loss if has_share else None,
            samples=self._changed_most(part.group, is_loss=is_loss),
        )

    def _changed_most(self, group: int, *, is_loss: bool) -> list[str]:
        """Return the ids of the samples of a group that lost most, or gained most, the first of ``SAMPLE_IDS``."""
        rows = np.flatnonzero(self.grouping.members[group])
        direction = -self.sign if is_loss else self.sign
        extents = direction * self.outcomes.changes[rows]
        order = np.argsort(-extents, kind="stable")[:SAMPLE_IDS]
        return [self.outcomes.ids[rows[index]] for index in order if extents[index] > 0]


def _claim_kind(part: Covering) -> Kind:
    if part.net_change < 0:
        return "worse than elsewhere" if part.exceeds_elsewhere else "worse"
    return "better than elsewhere" if part.exceeds_elsewhere else "better"


def _spread_evenly(claims: Sequence[Claim], loss: float) -> float | None:
    """Return the fraction of the loss outside the groups that it is attributed to, None without a loss."""
    shares = [claim.share_of_loss for claim in claims if claim.share_of_loss is not None]
    return None if loss <= 0 else max(0.0, 1 - sum(shares))


def _detectable(merits: Numbers, grouping: Grouping, tests: GroupTests) -> list[Detectable]:
    detectable = []
    for share in SHARES:
        loss = detectable_change(merits, grouping, tests.critical_here, share)
        if loss is not None:
            detectable.append(Detectable(share=share, loss=loss))
    return detectable


def _certificate(grouping: Grouping, tests: GroupTests, is_claimed: "np.ndarray") -> Certificate | None:
    n_at_least = max(LEAST_CERTIFIED, math.ceil(CERTIFIED_SHARE * grouping.n_samples))
    is_large = (grouping.sizes >= n_at_least) & ~is_claimed
    if not is_large.any():
        return None
    loss = max(0.0, -float(tests.low[is_large].min()))
    return Certificate(n_at_least=n_at_least, n_groups=int(is_large.sum()), loss_at_most=loss)
