"""Is the candidate better than the base: each metric's difference with its paired interval, test and verdict."""

import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from clipbench.comparison import align
from clipbench.comparison.families_of_tests import with_verdicts
from clipbench.comparison.gate import apply_gate
from clipbench.comparison.gate_rules import NO_GATE, Gate
from clipbench.comparison.metric_difference import Difference
from clipbench.comparison.new_labels import relabelled_differences
from clipbench.comparison.overall import with_verdict
from clipbench.comparison.paired_tests import difference
from clipbench.comparison.records import CompareOptions, Comparison, Refusal
from clipbench.comparison.representations import other_vectors_notes, representational_similarity
from clipbench.errors import ClipbenchError, NotComparable
from clipbench.results.grouping import group_values
from clipbench.results.matching import match
from clipbench.results.metric_name import MetricName, slice_suffix, subset_of
from clipbench.results.model_costs import cost_differences
from clipbench.results.other_tools import BARE, Values, open_results
from clipbench.results.record import GROUP_COLUMN, Metric
from clipbench.results.run import Run
from clipbench.results.titles import first_headline
from clipbench.untrusted.label_files import LabelFile

if TYPE_CHECKING:
    import pandas

VALUES_ONLY = (
    "only values are compared: without samples nothing can be tested, and the data, prompts and protocol are assumed "
    "to be the same"
)
Side = Run | Values | str | os.PathLike[str]
"""A run, values of another tool, or the place of either."""


def compare(
    base: Side,
    candidate: Side,
    options: CompareOptions | None = None,
    gate: Gate = NO_GATE,
    labels: LabelFile | None = None,
) -> Comparison:
    """Return the differences of all metrics that both have a value of, in the order of the base, with a verdict each.

    Samples are paired by id, whole clusters together (``paired_tests`` says which test is made). A difference is better
    or worse when its p-value, after Holm's correction over its family, is at most alpha: the first headlines of all
    evaluations are one family, all other metrics another, so that more metrics hide no loss of a headline. The interval
    belongs to the p-value before that correction: it excludes 0 exactly where that is at most 5 %, and so it may where
    the verdict is "not shown". When either side is another tool's results, only values are compared, without a test.

    Args:
        base, candidate: a run, another tool's values, or where they are: a run folder, a result.json, a file or folder
            that ``open_results`` reads.
        gate: limits and requirements, which decide the exit status. ``check_gate`` finds those that cannot be meant.
        labels: other labels of the images, by which top-1 accuracy is compared too. They change nothing else.

    Raises:
        NotComparable: nothing can be compared: no evaluation or value in common, or each is refused.
        ClipbenchError: samples are missing or cannot be read.
    """
    options = options or CompareOptions()
    base, candidate = open_side(base), open_side(candidate)
    if isinstance(base, Values) or isinstance(candidate, Values):
        if labels is not None:
            of_values = base if isinstance(base, Values) else candidate
            raise NotComparable(
                f"{of_values.label} has values without samples: a comparison by other labels needs the predicted class"
                " of each sample"
            )
        comparison = _compare_values(base, candidate)
    else:
        comparison = _compare_runs(base, candidate, options)
        if labels is not None:
            by_labels = relabelled_differences(base, candidate, labels, options.alpha)
            comparison = replace(comparison, relabelled=by_labels)
    if gate.is_empty:
        return with_verdict(comparison)
    return apply_gate(comparison, gate, base=base.named_metrics, candidate=candidate.named_metrics, alpha=options.alpha)


def metrics_of(*sides: Run | Values) -> dict[MetricName, Metric]:
    """Return the metrics of all sides by name, of the first side for a name that several have."""
    metrics: dict[MetricName, Metric] = {}
    for side in reversed(sides):
        metrics |= side.named_metrics
    return metrics


def repeated_run(runs: Sequence[Run]) -> Run | None:
    """Return the first run that is in the same folder as an earlier one, or None if all runs differ."""
    folders: set[Path] = set()
    for run in runs:
        folder = run.folder.resolve()
        if folder in folders:
            return run
        folders.add(folder)
    return None


def check_warnings(*runs: Run) -> list[str]:
    """Return a line for each warning or fault of the quick checks of these runs, which says whose it is.

    Example:
        ``runs/candidate: determinism: the same input encoded twice gives vectors 0.67 apart``
    """
    labels_by_finding: dict[str, dict[str, None]] = {}
    for run in runs:
        for finding in run.result.preflight or ():
            words = f"{finding.check}: {finding.seen}"
            labels_by_finding.setdefault(words, {})[run.label] = None
    return [f"{' and '.join(labels)}: {words}" for words, labels in labels_by_finding.items()]


def _compare_runs(base: Run, candidate: Run, options: CompareOptions) -> Comparison:
    """Return the differences of two runs with their verdicts, without a word for the whole."""
    pairs = align.pair_evaluations(base, candidate)
    differences: list[Difference] = []
    slices: list[Difference] = []
    refused = list(dict.fromkeys(align.lost_evaluations(base, candidate)))
    lost = {refusal.evaluation for refusal in refused}
    notes = list(align.alignment_notes(base, candidate, pairs))
    for pair in [pair for pair in pairs if pair.name not in lost]:
        try:
            same = match(*pair)
            if not same.is_same:
                raise NotComparable(same.reason)
            without = _labels_without_samples(base, candidate, pair)
            tables = None if without else _checked_samples(base, candidate, pair)
            if contradiction := align.contradiction(pair):
                raise NotComparable(contradiction)
        except NotComparable as error:
            refused.append(Refusal(pair.name, str(error)))
            continue
        differences += _differences(pair, tables, without, base.result.seed, options.alpha)
        refused += align.lost_metrics(candidate, pair)
        if without:
            notes.append(f"{pair.name}: {without}: its values are compared without intervals and tests")
        else:
            slices += _slices_of(base, candidate, pair, options.alpha, refused)
    similarity, not_computed = representational_similarity(base, candidate, pairs)
    notes += not_computed
    notes += other_vectors_notes(base, candidate, pairs)
    notes += cost_differences(base.result, candidate.result)
    refused.sort(key=lambda refusal: refusal.is_part)
    if not differences:
        raise _nothing_compared(refused, pairs)
    margin = options.equivalence_margin
    if margin.amount and not any(options.margin_of(difference.base) for difference in differences):
        notes.append(f"the equivalence margin {margin.text} has no effect: no metric has its unit")
    names = align.distinct_labels(base, candidate)
    return Comparison(
        base=names[0],
        candidate=names[1],
        differences=with_verdicts(differences, options),
        refused=refused,
        slices=with_verdicts(slices, options),
        representational_similarity=similarity,
        notes=notes,
        warnings=[*_sameness_warnings(base, candidate), *check_warnings(base, candidate)],
    )


def _sameness_warnings(base: Run, candidate: Run) -> list[str]:
    if repeated_run([base, candidate]) is None:
        return []
    return [f"base and candidate are the same run, {base.label}: nothing is compared with anything"]


def differences(base: Side, candidate: Side) -> list[Difference]:
    """Return the differences of all metrics that both runs have a value of, as ``compare`` does, or refuse them all.

    Raises:
        NotComparable: they have no evaluation in common, or one was made on other data, by another version or with
            other parameters.
    """
    comparison = compare(base, candidate)
    for refusal in comparison.refused:
        if not refusal.is_part:
            raise NotComparable(str(refusal))
    return comparison.differences


def open_side(side: Side) -> Run | Values:
    """Return the results of a side, which are read if it is a path."""
    return side if isinstance(side, Run | Values) else open_results(side)


def _labels_without_samples(base: Run, candidate: Run, pair: align.EvaluationPair) -> str:
    """Return that a run, or both, keep no samples of an evaluation, empty if both do."""
    labels = [run.label for run, record in zip((base, candidate), pair, strict=True) if not run.has_samples(record)]
    return f"no samples in {' and '.join(labels)}" if labels else ""


def _slices_of(
    base: Run, candidate: Run, pair: align.EvaluationPair, alpha: float, refused: list[Refusal]
) -> Iterator[Difference]:
    """Yield the differences of all slices that both runs have, and add the other groupings to ``refused``."""
    for grouping in [grouping for grouping in pair.base.slices if grouping in pair.candidate.slices]:
        try:
            yield from list(_slice_differences(base, candidate, pair, grouping, alpha))
        except NotComparable as error:
            refused.append(Refusal(f"{pair.name}{slice_suffix(grouping)}", str(error), is_part=True))


def _checked_samples(base: Run, candidate: Run, pair: align.EvaluationPair) -> align.Tables:
    """Return the samples of an evaluation in both runs, or raise NotComparable if they contradict its values."""
    tables = align.align_samples(base, candidate, pair)
    for run, evaluation, table in zip((base, candidate), pair, tables, strict=True):
        align.check_values(run, evaluation.metrics, table)
    return tables


def _nothing_compared(refused: Sequence[Refusal], pairs: Sequence[align.EvaluationPair]) -> NotComparable:
    if refused:
        suffix = f" (and {len(refused) - 1} more)" if len(refused) > 1 else ""
        return NotComparable(f"{refused[0]}{suffix}")
    names = ", ".join(dict.fromkeys(pair.name for pair in pairs))
    return NotComparable(f"the runs have {names} in common, but no metric has a value in both")


def _differences(
    pair: align.EvaluationPair, tables: align.Tables | None, without: str, seed: int, alpha: float
) -> Iterator[Difference]:
    """Yield the differences of an evaluation, untested if a run, or both, are ``without`` samples of it."""
    # Named before data is seen: where it has no value, no other metric takes its place.
    headline = first_headline(pair.base.metrics, lambda _: True) if pair.base.metrics else ""
    for name, both in align.metrics_in_both(pair.base.metrics, pair.candidate.metrics).items():
        if tables is None:
            shift = _untested_difference(MetricName(pair.name, name), both[0], *both, reason=without)
        else:
            shift = difference(both, evaluation=pair.name, name=name, tables=tables, seed=seed, alpha=alpha)
        yield replace(shift, subset=pair.subset_title(name), is_headline=name == headline)


def _slice_differences(
    base: Run, candidate: Run, pair: align.EvaluationPair, grouping: str, alpha: float
) -> Iterator[Difference]:
    """Yield the differences of all means of samples in all slices of a grouping that both runs have, by slice.

    A metric of a slice that is not a mean of samples, such as a median or the modality gap, is not compared.
    """
    tables = align.align_samples(base, candidate, pair, grouping)
    for group, metrics in pair.base.slices[grouping].groups.items():
        candidate_metrics = pair.candidate.slices[grouping].groups.get(group, {})
        group_tables = align.Tables(*(_rows_of(table, grouping, group) for table in tables))
        if (metrics and not candidate_metrics) or not group_tables.base.index.equals(group_tables.candidate.index):
            raise NotComparable(f"the runs have different samples in '{group}'")
        means, candidate_means = _means(metrics), _means(candidate_metrics)
        align.check_values(base, means, group_tables.base)
        align.check_values(candidate, candidate_means, group_tables.candidate)
        evaluation = f"{pair.name}{slice_suffix(grouping, group)}"
        for name, both in align.metrics_in_both(means, candidate_metrics).items():
            tested = difference(
                both, evaluation=evaluation, name=name, tables=group_tables, seed=base.result.seed, alpha=alpha
            )
            yield replace(tested, grouping=grouping, group=group, subset=pair.subset_title(name))


def _rows_of(table: "pandas.DataFrame", grouping: str, group: str) -> "pandas.DataFrame":
    column = f"{GROUP_COLUMN}{grouping}"
    if column not in table:
        raise ClipbenchError(f"the samples have no column '{column}', which their slices need: make the run again")
    return table[table[column] == group]


def _means(metrics: Mapping[str, Metric]) -> dict[str, Metric]:
    """Return the metrics that are means of a column of the samples."""
    return {name: metric for name, metric in metrics.items() if metric.column is not None}


def _compare_values(base: Run | Values, candidate: Run | Values) -> Comparison:
    """Return differences without tests, in the order of the base, if a side is the results of another tool."""
    base_metrics, candidate_metrics = _overall_values(base), _overall_values(candidate)
    # A bare value has the parts of the name, the unit and the direction of the run's own metric, where one side is a
    # run.
    ours = candidate_metrics if isinstance(base, Values) else base_metrics
    own_names = {name: name for name in ours}
    common = [own_names[name] for name in base_metrics if name in candidate_metrics]
    if not common:
        first = f"{base.label} ({_first_names(base_metrics)})"
        second = f"{candidate.label} ({_first_names(candidate_metrics)})"
        raise NotComparable(f"{first} and {second} have no value in common")
    notes, subsets = [VALUES_ONLY], dict[str, str]()
    for side in (base, candidate):
        if isinstance(side, Values):
            notes += side.notes
        else:
            subsets |= _subset_titles(side)
    for label, metrics, other_metrics in (
        (base.label, base_metrics, candidate_metrics),
        (candidate.label, candidate_metrics, base_metrics),
    ):
        if rest := [name for name in metrics if name not in other_metrics]:
            notes.append(f"only {label} has {', '.join(rest)}")
    headlines = set()
    for names in group_values((name.evaluation, name) for name in common).values():
        headlines.add(first_headline({name: ours[name] for name in names}, lambda _: True))
    differences = []
    for name in common:
        difference_of_values = _untested_difference(name, ours[name], base_metrics[name], candidate_metrics[name])
        subset = subsets.get(subset_of(name), "")
        differences.append(replace(difference_of_values, subset=subset, is_headline=name in headlines))
    return Comparison(
        base=base.label,
        candidate=candidate.label,
        differences=differences,
        notes=notes,
        is_of_values=True,
    )


def _overall_values(side: Run | Values) -> dict[MetricName, Metric]:
    """Return the metrics that have a value, without the metrics of slices."""
    return {name: metric for name, metric in side.named_metrics.items() if metric.value is not None and not name.slice}


def _subset_titles(run: Run) -> dict[str, str]:
    """Return the title of each subset of a run by ``task@data/subset``."""
    titles = {}
    for record in run.result.evaluations:
        for subset, title in record.subsets.items():
            titles[f"{record.name}/{subset}"] = title
    return titles


def _untested_difference(
    name: MetricName, like: Metric, base: Metric, candidate: Metric, reason: str = BARE
) -> Difference:
    """Return the untested difference of two values with the unit and direction of a metric."""
    assert base.value is not None and candidate.value is not None, name
    return Difference(
        evaluation=name.evaluation,
        name=name.metric,
        base=replace(base, unit=like.unit, higher_is_better=like.higher_is_better),
        candidate=replace(candidate, unit=like.unit, higher_is_better=like.higher_is_better),
        value=candidate.value - base.value,
        low=None,
        high=None,
        n=0,
        method=f"no paired interval: {reason}",
        test=f"no test: {reason}",
    )


def _first_names(names: Collection[str]) -> str:
    if not names:
        return "no value"
    rest = f", ... {len(names)} in all" if len(names) > 3 else ""
    return ", ".join(list(names)[:3]) + rest
