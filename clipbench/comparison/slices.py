"""The slices of two runs: each metric of each group of the data, paired by sample as whole metrics are."""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from clipbench.comparison.align import EvaluationPair, Tables, align_samples
from clipbench.comparison.paired_tests import difference
from clipbench.comparison.records import Difference
from clipbench.errors import ClipbenchError
from clipbench.results.record import GROUP_COLUMN, EvaluationRecord
from clipbench.results.run import Run

if TYPE_CHECKING:
    import pandas


def slice_differences(
    base: Run, candidate: Run, pair: EvaluationPair, grouping: str, alpha: float
) -> Iterator[Difference]:
    """Yield the differences of all means of samples in all slices of a grouping that both runs have, by slice.

    What is no mean of samples, such as a median or the modality gap of a slice, is not compared.

    Raises:
        NotComparable: the slices have other samples.
        ClipbenchError: the samples of the slices cannot be read.
    """
    tables = align_samples(base, candidate, pair, partial(_samples_of, grouping))
    for group in pair.base.slices[grouping].groups:
        if group in pair.candidate.slices[grouping].groups:
            yield from _differences_of(pair, grouping, group, tables, base.result.seed, alpha)


def _differences_of(
    pair: EvaluationPair, grouping: str, group: str, tables: Tables, seed: int, alpha: float
) -> Iterator[Difference]:
    name = pair.base.slice_name(grouping, group)
    own = Tables(*(_rows_of(table, grouping, group) for table in tables))
    if not own.base.index.equals(own.candidate.index):
        return  # the runs sort the samples into groups in different ways
    others = pair.candidate.slices[grouping].groups[group]
    for metric_name, metric in pair.base.slices[grouping].groups[group].items():
        other = others.get(metric_name)
        if other is None or metric.column is None or metric.value is None or other.value is None:
            continue
        found = difference((metric, other), evaluation=name, name=metric_name, tables=own, seed=seed, alpha=alpha)
        yield replace(found, grouping=grouping, group=group, subset=pair.subset_title(metric_name))


def _samples_of(grouping: str, run: Run, evaluation: EvaluationRecord) -> "pandas.DataFrame":
    return run.slice_samples(evaluation, grouping)


def _rows_of(table: "pandas.DataFrame", grouping: str, group: str) -> "pandas.DataFrame":
    column = f"{GROUP_COLUMN}{grouping}"
    if column not in table:
        raise ClipbenchError(f"the samples have no column '{column}', which their slices need: make the run again")
    return table[table[column] == group]
