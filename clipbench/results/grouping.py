"""Values by a key that several of them share, such as the names of evaluations by the reason of an error."""

from collections.abc import Hashable, Iterable
from typing import TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


def group_values(pairs: Iterable[tuple[K, V]]) -> dict[K, list[V]]:
    """Return the values of each key, in the order in which they come.

    Example:
        >>> group_values([("cat", 1), ("dog", 2), ("cat", 3)])
        {'cat': [1, 3], 'dog': [2]}
    """
    groups: dict[K, list[V]] = {}
    for key, value in pairs:
        groups.setdefault(key, []).append(value)
    return groups
