"""The contents of a page: its sections, as the column at the left and the menu list them."""

from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple


class Entry(NamedTuple):
    """A section in the contents."""

    anchor: str
    title: str
    data: str = ""
    """The data set, where several sections have the title."""


SUMMARY = Entry("summary", "Summary")
PROVENANCE = Entry("provenance", "Where the numbers come from")


def of_tasks(sections: Iterable[Entry]) -> list[Entry]:
    """Return the sections of tasks on data sets; a task that stands alone needs no data.

    Example:
        >>> of_tasks([Entry("a", "Zero-shot", "cars"), Entry("b", "Retrieval", "coco")])[0]
        Entry(anchor='a', title='Zero-shot', data='')
    """
    entries = list(sections)
    n_sections = Counter(each.title for each in entries)
    return [each if n_sections[each.title] > 1 else each._replace(data="") for each in entries]
