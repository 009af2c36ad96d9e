"""Groups of samples, made from their inputs: values of columns, quantiles of numbers, words of captions."""

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations

import numpy as np
from jaxtyping import Bool, Shaped

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
MOST_WORDS = 300
"""Words that make groups, the most frequent first."""
MOST_PAIRS = 300
"""Groups of pairs of columns, the largest first."""
MOST_PAIRED = 12
"""Columns that pairs are made of."""
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
    n = max(
        [
            len(texts or ()),
            *(len(column.values) for column in columns),
            *(len(group.is_member) for group in more_groups),
        ]
    )
    min_samples = max(LEAST_SAMPLES, int(np.ceil(LEAST_SHARE * n)))
    groups = [group for column in columns for group in _column_groups(column)]
    groups += _pair_groups([column for column in columns if column.source in ("columns", "classes")], min_samples)
    groups += [] if texts is None else _word_groups(texts, min_samples)
    groups += more_groups
    large = [group for group in groups if min_samples <= group.n < n]
    return SampleGroups(_distinct(large, n), unavailable)


def _column_groups(column: InputColumn) -> Iterator[SampleGroup]:
    """Yield the samples with each text of a column, or those with the lowest and the highest numbers."""
    if not column.is_number:
        for value in sorted(set(column.values.tolist()) - {""}):
            yield SampleGroup(f"{column.name} = {value}", column.source, column.values == value)
        return
    values = column.values
    defined = values[~np.isnan(values)]
    for share in TAILS if len(defined) else ():
        # Equal values stay together.
        low = np.quantile(defined, share, method="lower")
        high = np.quantile(defined, 1 - share, method="higher")
        for words, cut, is_member in (("at most", low, values <= low), ("at least", high, values >= high)):
            yield SampleGroup(f"{column.name} {words} {shortest(float(f'{cut:.3g}'))}", column.source, is_member)


def _pair_groups(columns: Sequence[InputColumn], min_samples: int) -> list[SampleGroup]:
    """Return the samples with a value of one column and a value of another, the largest groups first."""
    by_column = []
    for column in columns[:MOST_PAIRED]:
        groups = [*_column_groups(column)]
        if column.is_number:  # one cut: the lower and the upper half
            groups = groups[-2:]
        by_column.append([group for group in groups if group.n >= min_samples])
    pairs = [
        SampleGroup(f"{one.name} and {other.name}", "column pairs", one.is_member & other.is_member)
        for first, second in combinations(by_column, 2)
        for one in first
        for other in second
    ]
    return sorted((pair for pair in pairs if pair.n >= min_samples), key=lambda pair: -pair.n)[:MOST_PAIRS]


def _word_groups(texts: Sequence[str], min_samples: int) -> list[SampleGroup]:
    """Return the samples whose captions have a word, for the most frequent words that not all have."""
    rows = group_values((word, row) for row, text in enumerate(texts) for word in set(_WORD.findall(text.lower())))
    counts = {word: len(members) for word, members in rows.items() if min_samples <= len(members) < len(texts)}
    frequent = sorted(counts, key=lambda word: (-counts[word], word))[:MOST_WORDS]
    return [
        SampleGroup(f'caption has "{word}"', "caption words", np.bincount(rows[word], minlength=len(texts)) > 0)
        for word in frequent
    ]


def _distinct(groups: Sequence[SampleGroup], n: int) -> list[SampleGroup]:
    """Return groups without those that have nearly the samples of a simpler one, or of all."""
    order = sorted(range(len(groups)), key=lambda index: SOURCES.index(groups[index].source))
    groups = [groups[index] for index in order if groups[index].n <= MOST_ALIKE * n]
    members = np.array([group.is_member for group in groups], np.float32).reshape(len(groups), n)
    both, sizes = members @ members.T, members.sum(axis=1)
    is_alike = both > MOST_ALIKE * (sizes[:, None] + sizes[None] - both)
    distinct: list[int] = []
    for index in range(len(groups)):
        if not is_alike[index, distinct].any():
            distinct.append(index)
    return [groups[index] for index in distinct]
