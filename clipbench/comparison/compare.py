"""Is the candidate better than the base: each metric's difference with its paired interval, test and verdict."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import replace

from clipbench.comparison.align import EvaluationPair, Tables, align_samples, notes_on, pair_evaluations
from clipbench.comparison.paired_tests import difference
from clipbench.comparison.records import CompareOptions, Comparison, Difference, Refusal
from clipbench.comparison.representations import representational_similarity
from clipbench.comparison.slices import slice_differences
from clipbench.comparison.values import compare_values
from clipbench.comparison.verdict import with_verdicts
from clipbench.errors import NotComparable
from clipbench.results.costs import costs_apart
from clipbench.results.matching import match
from clipbench.results.other_tools import Values, open_results
from clipbench.results.run import Run, numbered

Side = Run | Values | str | os.PathLike[str]
"""A run, values of another tool, or the place of either."""


def compare(base: Side, candidate: Side, options: CompareOptions | None = None) -> Comparison:
    """Return the differences of all metrics that both have a value of, in the order of the base, with a verdict each.

    Samples are paired by id, whole clusters together (``paired_tests`` says which test is made). A difference is better
    or worse when its p-value, after Holm's correction over the comparison, is at most alpha. The interval is not
    corrected, so it may exclude 0 where the verdict is "no evidence", or just include it where the verdict is
    "better": the p-value decides. When either side is another tool's results, only values are compared, without a test.

    Args:
        base: a run, another tool's values, or where they lie: a run folder, a result.json, a file or folder that
            ``open_results`` reads.
        candidate: likewise.

    Raises:
        NotComparable: nothing can be compared: no evaluation or value in common, or each is refused.
        ClipbenchError: samples are missing or cannot be read.
    """
    options = options or CompareOptions()
    base, candidate = _opened(base), _opened(candidate)
    if isinstance(base, Values) or isinstance(candidate, Values):
        return compare_values(base, candidate)
    pairs = pair_evaluations(base, candidate)
    differences: list[Difference] = []
    slices: list[Difference] = []
    refused: list[Refusal] = []
    notes = list(notes_on(base, candidate, pairs))
    for pair in pairs:
        try:
            tables = _same_samples(base, candidate, pair)
        except NotComparable as error:
            refused.append(Refusal(pair.base.name, str(error)))
        else:
            differences += _differences_of(pair, tables, base.result.seed, options.alpha)
            for grouping in [each for each in pair.base.slices if each in pair.candidate.slices]:
                try:
                    slices += slice_differences(base, candidate, pair, grouping, options.alpha)
                except NotComparable as error:
                    notes.append(f"{pair.base.name}: slices by {grouping} are not compared: {error}")
    similarity, not_computed = representational_similarity(base, candidate, pairs)
    notes += not_computed
    costs = costs_apart(base.result, candidate.result)
    notes += [] if costs is None else [costs]
    if not differences:
        raise _nothing_compared(refused, pairs)
    if options.smallest.amount and not any(options.smallest_of(each.base.unit) for each in differences):
        notes.append(f"the smallest difference that matters, {options.smallest.text}, suits the unit of no metric")
    names = [base.label, candidate.label]
    if base.folder != candidate.folder:
        names = numbered(names)  # one model in memory, before and after
    return Comparison(
        base=names[0],
        candidate=names[1],
        differences=with_verdicts(differences, options),
        refused=refused,
        slices=with_verdicts(slices, options),
        representational_similarity=similarity,
        notes=notes,
    )


def differences(base: Side, candidate: Side) -> list[Difference]:
    """Return the differences of all metrics that both runs have a value of, as ``compare`` does, or refuse them all.

    Raises:
        NotComparable: they have no evaluation in common, or one was made on other data, by another version or with
            other parameters.
    """
    comparison = compare(base, candidate)
    for each in comparison.refused:
        raise NotComparable(str(each))
    return comparison.differences


def _opened(side: Side) -> Run | Values:
    return side if isinstance(side, Run | Values) else open_results(side)


def _same_samples(base: Run, candidate: Run, pair: EvaluationPair) -> Tables:
    """Return the samples of an evaluation in both runs; raise NotComparable where they are not of the same evaluation."""
    same = match(*pair)
    if not same.is_same:
        raise NotComparable(same.reason)
    return align_samples(base, candidate, pair)


def _nothing_compared(refused: Sequence[Refusal], pairs: Sequence[EvaluationPair]) -> NotComparable:
    if refused:
        more = f" ({len(refused) - 1} more likewise)" if len(refused) > 1 else ""
        return NotComparable(f"{refused[0]}{more}")
    names = ", ".join(dict.fromkeys(pair.base.name for pair in pairs))
    return NotComparable(f"the runs have {names} in common, but no metric that both have a value of")


def _differences_of(pair: EvaluationPair, tables: Tables, seed: int, alpha: float) -> Iterator[Difference]:
    for name, metric in pair.base.metrics.items():
        other = pair.candidate.metrics.get(name)
        if other is None or metric.value is None or other.value is None:
            continue  # a note says so
        found = difference((metric, other), evaluation=pair.base.name, name=name, tables=tables, seed=seed, alpha=alpha)
        yield replace(found, subset=pair.subset_title(name))
