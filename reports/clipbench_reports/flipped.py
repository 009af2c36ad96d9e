"""Samples that two models judge differently, both ways, with their small pictures."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from clipbench.compare import Comparison, Difference
from clipbench.result import Run
from clipbench_reports.pictures import Room, address

if TYPE_CHECKING:
    import pandas

N_SHOWN = 12
"""Samples of one way that are shown; the ids of all of them stand below."""


@dataclass(frozen=True, kw_only=True)
class Sample:
    """A sample that changed."""

    id: str
    address: str
    """Of its small picture; nothing where neither run kept one or the page has no more room."""
    told: str
    """What it is, and what it was taken for before and after, where the task has classes."""


@dataclass(frozen=True, kw_only=True)
class Way:
    """The samples that changed in one way."""

    title: str
    shown: Sequence[Sample]
    ids: Sequence[str]
    """Of all, those that changed most first."""


@dataclass(frozen=True, kw_only=True)
class Flipped:
    """What changed in one metric."""

    evaluation: str
    metric: str
    verdict: str
    ways: Sequence[Way]


def flipped(comparison: Comparison, base: Run, candidate: Run, room: Room) -> Iterator[Flipped]:
    """Return the samples that changed, by metric: those of significant differences first.

    Args:
        room: for the pictures of the whole page.
    """
    tables: dict[str, _Tables] = {}
    order = {"worse": 0, "better": 1}
    for each in sorted(comparison.differences, key=lambda each: order.get(each.verdict, 2)):
        if each.flips is None or not (each.flips.gained or each.flips.lost):
            continue
        if each.evaluation not in tables:
            tables[each.evaluation] = _Tables.of(each.evaluation, base, candidate)
        found = tables[each.evaluation]
        ways = [
            Way(title=title, shown=[found.sample(name, each.name, room) for name in ids[:N_SHOWN]], ids=ids)
            for title, ids in _ways(each)
            if ids
        ]
        yield Flipped(evaluation=each.evaluation, metric=each.name, verdict=each.verdict, ways=ways)


def _ways(each: Difference) -> list[tuple[str, Sequence[str]]]:
    """Return both ways a sample may change, the loss first; flips are by value, whatever direction is better."""
    assert each.flips is not None, each
    gained, lost = each.flips.gained, each.flips.lost
    if each.base.higher_is_better is None:
        return [("Less than before", lost), ("More than before", gained)]
    worse, better = (lost, gained) if each.base.higher_is_better else (gained, lost)
    return [("Wrong now, right before", worse), ("Right now, wrong before", better)]


@dataclass(frozen=True)
class _Tables:
    """The samples of an evaluation in both runs, by id."""

    runs: Sequence[Run]
    tables: "Sequence[pandas.DataFrame]"
    is_sure: bool
    """Whether the task was asked once: of several ways to ask, the name does not tell which one is meant."""

    @classmethod
    def of(cls, evaluation: str, *runs: Run) -> "_Tables":
        named = [
            [each for each in run.result.evaluations if (each.name, each.status) == (evaluation, "ok")] for run in runs
        ]
        tables = [run.samples(found[0]).set_index("sample_id") for run, found in zip(runs, named, strict=True)]
        return cls(runs, tables, is_sure=all(len(found) == 1 for found in named))

    def sample(self, name: str, metric: str, room: Room) -> Sample:
        """Return a sample with its picture from whichever run kept one."""
        found = ""
        if "image" in self.tables[0] and name in self.tables[0].index:
            digest = str(self.tables[0].at[name, "image"])
            found = next(filter(None, (address(run, digest) for run in self.runs)), "")
        return Sample(id=name, address=found if room.take(found) else "", told=self._told(name, metric))

    def _told(self, name: str, metric: str) -> str:
        if not self.is_sure:
            return ""
        prefix = metric.rpartition("/")[0]
        label, predicted = (f"{prefix}/{part}" if prefix else part for part in ("label", "predicted"))
        if any(part not in table or name not in table.index for table in self.tables for part in (label, predicted)):
            return ""
        before, after = (str(table.at[name, predicted]) for table in self.tables)
        truth = str(self.tables[0].at[name, label])
        return f"{truth}: taken for {before}, now for {after}" if before != after else f"{truth}: taken for {after}"
