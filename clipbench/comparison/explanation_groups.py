"""Groups of samples, made from their inputs: values of columns, quantiles of numbers, words of captions."""

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from operator import attrgetter
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float32, Int64, Shaped

from clipbench.results.grouping import group_values
from clipbench.results.numbers import shortest

Source = str
SOURCES: tuple[Source, ...] = (
    "columns",
    "classes",
    "caption words",
    "caption length",
    "image inputs",
    "column pairs",
    "similar classes",
    "phrases",
)
"""Sources of groups, the simplest to describe first: of groups with nearly the same samples, the first stays."""
LEAST_SAMPLES = 20
LEAST_SHARE = 0.01
"""A group has at least this number and this fraction of the samples."""
MOST_ALIKE = 0.9
"""Jaccard similarity above which two groups count as one."""
TAILS = (0.1, 0.25, 0.5)
"""Fractions of the samples with the lowest, and with the highest values of a number, that are a group."""
FINE_TAILS = (0.03, 0.06, 0.1, 0.13, 0.16, 0.2, 0.25, 0.3, 0.36, 0.43, 0.5)
"""The same for a number that is cut finely. All cuts are groups from the start: none is chosen by its change."""
MOST_FINELY_CUT = 20
"""Numbers of the data, and of a file of columns, that are cut finely, the first ones. Measured inputs and lengths are
always cut finely. With hundreds of numbers, more cuts would take minutes, and hide a loss among more groups."""
MOST_WORDS = 300
"""Words that make groups, the most frequent first."""
MOST_PAIRS = 300
"""Groups of pairs of columns, the largest first."""
MOST_PAIRED = 12
"""Columns that pairs are made of."""
SCREENED = 5
"""One in this number of samples shows that two groups differ, for nearly all pairs of groups."""
MOST_NUMBERS = 1 << 22
"""Numbers in memory at once when the samples of groups are counted."""
_Members = Bool[np.ndarray, "n_groups n"]
_WORD = re.compile(r"\w+(?:['’]\w+)*")


@dataclass(frozen=True)
class InputColumn:
    """One input of every sample: texts, empty where there is none, or numbers, NaN where there is none."""

    name: str
    source: Source
    values: Shaped[np.ndarray, " n"]

    @property
    def is_number(self) -> bool:
        """True if the values are numbers."""
        return self.values.dtype.kind == "f"


@dataclass(frozen=True)
class SampleGroup:
    """Some of the samples, and what they have in common."""

    name: str
    """The column and its value, such as ``camera = phone``."""
    source: Source
    is_member: Bool[np.ndarray, " n"]

    @property
    def n(self) -> int:
        """Number of samples."""
        return int(self.is_member.sum())


@dataclass(frozen=True)
class SampleGroups:
    """All groups that are tested, fixed before outcomes are read."""

    groups: Sequence[SampleGroup]
    unavailable: Mapping[Source, str] = field(default_factory=dict)
    """The reason why a source has no groups, and what fills it, by the name of the source."""

    @property
    def n_by_source(self) -> dict[Source, int]:
        """Number of groups of each source that has any."""
        counts = Counter(group.source for group in self.groups)
        return {source: counts[source] for source in SOURCES if source in counts}

    def digest(self, ids: Iterable[str]) -> str:
        """Return a hash of the samples' ids, and of the names and members of all groups."""
        hasher = hashlib.sha256(repr(list(ids)).encode(errors="surrogatepass"))
        for group in self.groups:
            hasher.update(repr(group.name).encode(errors="surrogatepass"))
            hasher.update(np.packbits(group.is_member).tobytes())
        return hasher.hexdigest()


def make_groups(
    columns: Sequence[InputColumn],
    texts: Sequence[str] | None,
    unavailable: Mapping[Source, str],
    more_groups: Sequence[SampleGroup] = (),
) -> SampleGroups:
    """Return the groups of columns, of their pairs, and of the words of texts that are large enough and differ.

    Args:
        columns: inputs of the samples. Pairs are made of inputs whose source is ``columns`` or ``classes``.
        texts: the captions of each sample, joined, None if the samples have none.
        unavailable: reasons why sources are missing.
        more_groups: groups of other sources.
    """
    # Any of the inputs may be missing. Those that are there are of the same samples.
    sizes = [len(texts or ())]
    sizes += [len(column.values) for column in columns]
    sizes += [len(group.is_member) for group in more_groups]
    n = max(sizes)
    min_samples = max(LEAST_SAMPLES, int(np.ceil(LEAST_SHARE * n)))
    finely_cut = _finely_cut(columns)
    groups: list[SampleGroup] = []
    for column in columns:
        tails = FINE_TAILS if column.name in finely_cut else TAILS
        groups += _column_groups(column, min_samples, tails)
    paired_columns = [column for column in columns if column.source in ("columns", "classes")]
    groups += _pair_groups(paired_columns, min_samples)
    if texts is not None:
        groups += _word_groups(texts, min_samples)
    groups += more_groups
    large = [group for group in groups if min_samples <= group.n < n]
    return SampleGroups(_distinct(large, n), unavailable)


def _finely_cut(columns: Sequence[InputColumn]) -> set[str]:
    """Return the names of the numbers that are cut finely."""
    numbers = [column for column in columns if column.is_number]
    of_data = [column.name for column in numbers if column.source == "columns"]
    measured = [column.name for column in numbers if column.source != "columns"]
    return {*measured, *of_data[:MOST_FINELY_CUT]}


def _column_groups(column: InputColumn, min_samples: int, tails: Sequence[float]) -> Iterator[SampleGroup]:
    """Yield the samples with each text of a column that enough have, or those with the lowest and highest numbers.

    Args:
        min_samples: least size of groups of texts. A column may have a text per sample.
        tails: fractions of the samples in groups of numbers.
    """
    if column.is_number:
        yield from _tail_groups(column, tails)
        return
    codes, distinct = _codes(column.values)
    sizes = np.bincount(codes, minlength=len(distinct))
    for value, code in sorted((value, code) for code, value in enumerate(distinct)):
        if value and sizes[code] >= min_samples:
            yield SampleGroup(f"{column.name} = {value}", column.source, codes == code)


def _codes(texts: Shaped[np.ndarray, " n"]) -> tuple[Int64[np.ndarray, " n"], list[str]]:
    """Return the number of each text among the different ones, and these."""
    numbers: dict[str, int] = {}
    codes = np.array([numbers.setdefault(text, len(numbers)) for text in texts.tolist()], np.int64)
    return codes, [*numbers]


def _tail_groups(column: InputColumn, tails: Sequence[float]) -> Iterator[SampleGroup]:
    values = column.values
    defined = values[~np.isnan(values)]
    if not len(defined):
        return
    for share in tails:
        # Equal values stay together.
        low = np.quantile(defined, share, method="lower")
        high = np.quantile(defined, 1 - share, method="higher")
        yield SampleGroup(f"{column.name} at most {_rounded(low)}", column.source, values <= low)
        yield SampleGroup(f"{column.name} at least {_rounded(high)}", column.source, values >= high)


def _rounded(cut: float) -> str:
    return shortest(float(f"{cut:.3g}"))


class _Pair(NamedTuple):
    """Groups of two columns, with the number of samples that are in both."""

    n_both: int
    one: SampleGroup
    other: SampleGroup


def _pair_groups(columns: Sequence[InputColumn], min_samples: int) -> list[SampleGroup]:
    """Return the samples with a value of one column and a value of another, the largest groups first."""
    by_column = []
    for column in columns[:MOST_PAIRED]:
        # A number has one cut in pairs: its lower and its upper half.
        groups = [group for group in _column_groups(column, min_samples, TAILS[-1:]) if group.n >= min_samples]
        if groups:
            by_column.append(groups)
    pairs = []
    for first, second in combinations(by_column, 2):
        sizes = _n_in_both(_stacked(first), _stacked(second))
        for one, other in np.argwhere(sizes >= min_samples).tolist():
            pairs.append(_Pair(int(sizes[one, other]), first[one], second[other]))
    pairs.sort(key=attrgetter("n_both"), reverse=True)
    pair_groups = []
    for pair in pairs[:MOST_PAIRS]:
        is_member = pair.one.is_member & pair.other.is_member
        pair_groups.append(SampleGroup(f"{pair.one.name} and {pair.other.name}", "column pairs", is_member))
    return pair_groups


def _word_groups(texts: Sequence[str], min_samples: int) -> list[SampleGroup]:
    """Return the samples whose captions have a word, for the most frequent words that not all have."""
    rows = group_values(_words_with_rows(texts))
    counts = {word: len(members) for word, members in rows.items() if min_samples <= len(members) < len(texts)}
    frequent = sorted(counts, key=lambda word: (-counts[word], word))[:MOST_WORDS]
    groups = []
    for word in frequent:
        is_member = np.bincount(rows[word], minlength=len(texts)) > 0
        groups.append(SampleGroup(f'caption has "{word}"', "caption words", is_member))
    return groups


def _words_with_rows(texts: Sequence[str]) -> Iterator[tuple[str, int]]:
    for row, text in enumerate(texts):
        for word in set(_WORD.findall(text.lower())):
            yield word, row


def _distinct(groups: Sequence[SampleGroup], n: int) -> list[SampleGroup]:
    """Return groups without those that have nearly the samples of a simpler one, or of all."""
    order = sorted(range(len(groups)), key=lambda index: SOURCES.index(groups[index].source))
    groups = [groups[index] for index in order if groups[index].n <= MOST_ALIKE * n]
    may_be_alike = _may_be_alike(groups)
    distinct: list[int] = []
    for index, group in enumerate(groups):
        simpler = [other for other in distinct if may_be_alike[index, other]]
        if not any(_is_alike(group, groups[other]) for other in simpler):
            distinct.append(index)
    return [groups[index] for index in distinct]


def _is_alike(group: SampleGroup, other: SampleGroup) -> bool:
    n_both = int(np.count_nonzero(group.is_member & other.is_member))
    return n_both > MOST_ALIKE * (group.n + other.n - n_both)


def _may_be_alike(groups: Sequence[SampleGroup]) -> Bool[np.ndarray, "n_groups n_groups"]:
    """Return which pairs of groups can be alike, by one in ``SCREENED`` samples.

    Groups are alike if the samples that only one of them has are few. In one part of the samples they are fewer.
    """
    sizes = np.array([group.n for group in groups], np.float32)
    if not groups:
        return np.zeros((0, 0), bool)
    part = np.array([group.is_member[::SCREENED] for group in groups])
    of_part = part.sum(axis=1, dtype=np.float32)
    n_of_one = of_part[:, None] + of_part - 2 * _n_in_both(part, part)
    # Alike: both > a (both + one), where both + one + both is the sum of the sizes.
    most_of_one = (1 - MOST_ALIKE) / (1 + MOST_ALIKE) * (sizes[:, None] + sizes)
    return np.asarray(n_of_one <= most_of_one + 1)


def _n_in_both(members: _Members, other: Bool[np.ndarray, "n_others n"]) -> Float32[np.ndarray, "n_groups n_others"]:
    """Return how many samples each group shares with each other group. Counts are exact below 2 ** 24 samples."""
    n_both = np.zeros((len(members), len(other)), np.float32)
    n_block = max(1, MOST_NUMBERS // max(1, len(members), len(other)))
    for start in range(0, members.shape[1], n_block):
        block = slice(start, start + n_block)
        n_both += members[:, block].astype(np.float32) @ other[:, block].astype(np.float32).T
    return n_both


def _stacked(groups: Sequence[SampleGroup]) -> _Members:
    return np.array([group.is_member for group in groups]).reshape(len(groups), -1)
