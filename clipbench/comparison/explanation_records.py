"""The record of an explanation: the groups in which a candidate got worse or better, for print, frames and JSON."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from html import escape
from itertools import groupby
from operator import attrgetter
from typing import TYPE_CHECKING, Literal

from clipbench.results.frames import typed_frame
from clipbench.results.numbers import change, change_interval, counted, p_value, percent, quantity
from clipbench.results.record import strict_json
from clipbench.results.table import Row, Table, as_html, as_text, columns
from clipbench.stats.significance import is_significant
from clipbench.untrusted.terminal import printable

if TYPE_CHECKING:
    import pandas

Kind = Literal["worse", "worse than elsewhere", "better", "better than elsewhere"]

SAMPLE_IDS = 50
"""Samples of a claim that are named."""
WIDTH = 100
NUMBERS = ("n", "base", "candidate", "difference", "95 % interval", "p", "loss share")
NET = "net of rows above"
"""Column of the change of samples that no row above has, where rows overlap."""
FRAME = {
    **dict.fromkeys(("slice", "source"), "str"),
    "n": "int64",
    **dict.fromkeys(("base", "candidate", "difference", "low", "high", "p_here", "p_elsewhere"), "float64"),
    "claim": "str",
}
"""Columns of ``Explanation.frame`` and their types."""


@dataclass(frozen=True, kw_only=True)
class GroupChange:
    """The change of one group: the candidate's mean credit minus the base's."""

    slice: str
    """The column and its value, such as ``camera = phone``."""
    source: str
    n: int
    """Number of samples."""
    base: float
    candidate: float
    difference: float
    low: float
    """Bounds that hold the true differences of all tested groups at once, with a chance of 95 %."""
    high: float
    p_here: float
    """p-value of no change in the group, corrected over all groups."""
    p_elsewhere: float
    """p-value of the same change in the group as elsewhere, corrected over all groups."""


@dataclass(frozen=True, kw_only=True)
class Claim(GroupChange):
    """A group that got worse, or better, and that adds to the groups listed before it."""

    claim: Kind
    p: float
    """The p-value of the claim."""
    net_n: int
    """Number of samples that no group listed before it has."""
    net_difference: float
    """Change of these samples."""
    share_of_loss: float | None
    """The loss of the samples that no group before it has, as a fraction of the loss of all samples.

    None for a gain, for a group that is not worse than elsewhere, and if all samples together have no loss.
    """
    samples: list[str]
    """Ids of the samples of the group that lost, or gained, most, at most ``SAMPLE_IDS``."""


@dataclass(frozen=True, kw_only=True)
class Certificate:
    """The largest loss that groups of a size may have had, apart from the groups that are claimed."""

    n_at_least: int
    """Number of samples."""
    n_groups: int
    """Number of groups of this size without a claim of a loss."""
    loss_at_most: float


@dataclass(frozen=True, kw_only=True)
class Detectable:
    """The loss that a group of a fraction of the samples needs to be claimed with a chance of 80 %."""

    share: float
    loss: float


@dataclass(frozen=True, kw_only=True)
class Uneven:
    """The test of whether the change is uneven: the smallest corrected p-value of a group against elsewhere."""

    p: float


@dataclass(frozen=True, kw_only=True, repr=False)
class Explanation:
    """Where a candidate got worse, and where better, under error control."""

    base: str
    candidate: str
    evaluation: str
    """``task@data``."""
    metric: str
    """``task@data/metric``."""
    title: str
    n: int
    """Number of samples."""
    base_value: float
    candidate_value: float
    seed: int
    alpha: float
    """The chance of any false claim among all groups, for each of the two questions."""
    p_overall: float
    """p-value of no change over all samples."""
    uneven: Uneven
    n_slices: Mapping[str, int]
    """Number of groups that were tested, by source."""
    groups_hash: str
    """Hash of all groups and their samples, taken before any outcome was read."""
    claims: list[Claim] = field(default_factory=list)
    n_more_claimed: int = 0
    """Claimed groups that add nothing to those listed: most of their samples are in them."""
    spread_evenly: float | None = None
    """The fraction of the loss outside groups that lost more than elsewhere, None without a loss over all samples."""
    certificate: Certificate | None = None
    """None if no group is large enough."""
    detectable: list[Detectable] = field(default_factory=list)
    unavailable: Mapping[str, str] = field(default_factory=dict)
    """The reason why a source has no groups, by source."""
    notes: list[str] = field(default_factory=list)
    changes: list[GroupChange] = field(default_factory=list)
    """All groups that were tested. They are not part of the JSON."""

    @property
    def losses(self) -> list[Claim]:
        """The claims of a loss."""
        return [claim for claim in self.claims if claim.claim.startswith("worse")]

    @property
    def gains(self) -> list[Claim]:
        """The claims of a gain."""
        return [claim for claim in self.claims if claim.claim.startswith("better")]

    @property
    def n_groups(self) -> int:
        """Number of groups that were tested."""
        return sum(self.n_slices.values())

    @property
    def verdict(self) -> str:
        """The answer in one sentence: the losses of one kind, by name if the candidate changed over all samples."""
        if self.losses and not is_significant(self.p_overall, self.alpha):
            groups = counted(len(self.losses), "group")
            return f"no difference is shown over all samples, but a loss in {groups}"
        if self.losses:
            kind = self.losses[0].claim
            names = [claim.slice for claim in self.losses if claim.claim == kind]
            rest = f" and {len(names) - 3} more" if len(names) > 3 else ""
            return f"{kind}: {', '.join(names[:3])}{rest}"
        return f"no group of {self.n_groups:,} is shown to be worse"

    def as_json(self) -> str:
        """Return the explanation as strict JSON, without the groups that are not claimed."""
        return strict_json(replace(self, changes=[]), indent=2) + "\n"

    def frame(self) -> "pandas.DataFrame":
        """Return a row for each group that was tested: values, difference, bounds, p-values and claim."""
        claims = {claim.slice: claim.claim for claim in self.claims}
        rows = [{**vars(group), "claim": claims.get(group.slice, "")} for group in self.changes]
        return typed_frame(rows, FRAME)

    def __repr__(self) -> str:
        return f"<explanation of {self.candidate} against {self.base}: {self.verdict}>"

    def __str__(self) -> str:
        return "\n".join(map(printable, self.lines()))

    def _repr_html_(self) -> str:
        verdict = self.verdict[:1].upper() + self.verdict[1:]
        parts = [f"<p><b>{escape(verdict)}.</b> {escape(self.opening)}</p>"]
        if self.claims:
            parts.append(as_html(self.claim_table()))
        parts += [f"<p>{escape(line)}</p>" for line in (self.remainder, *self.limits()) if line]
        return "\n".join(parts)

    @property
    def opening(self) -> str:
        """The metric's values in both runs, and whether the change is uneven."""
        base = quantity(self.base_value, "fraction")
        candidate = quantity(self.candidate_value, "fraction")
        values = f"{self.title}, {counted(self.n, 'sample')}: {base} in the base, {candidate} in the candidate"
        is_uneven = is_significant(self.uneven.p, self.alpha)
        unevenness = "The change is uneven" if is_uneven else "Nothing shows that the change is uneven"
        return f"{values}. {unevenness} (p {_equals(self.uneven.p)})."

    @property
    def remainder(self) -> str:
        """The fraction of the loss outside the claimed groups, in a sentence, empty without a loss over all samples."""
        if self.spread_evenly is None:
            return ""
        if all(claim.share_of_loss is None for claim in self.claims):
            return "The loss is spread evenly, as far as these groups show."
        shares = sum(claim.share_of_loss or 0.0 for claim in self.claims)
        if round(shares, 3) > 1:
            return (
                f"The groups that lost more than elsewhere have {percent(shares)} % of the loss: together, the other"
                " samples gained."
            )
        if self.spread_evenly == 0:
            return "The whole loss is in the groups that lost more than elsewhere."
        share = percent(self.spread_evenly)
        return f"Spread evenly: {share} % of the loss is outside the groups that lost more than elsewhere."

    @property
    def sources(self) -> str:
        """The number of groups of each source."""
        parts = ", ".join(f"{source} {n}" for source, n in self.n_slices.items())
        return f"Tested: {counted(self.n_groups, 'group')} ({parts})."

    def limits(self) -> Iterator[str]:
        """Yield what could not be seen: the certificate, and the losses that groups would have needed."""
        if self.certificate is not None:
            large = f"{self.certificate.n_groups:,} have {self.certificate.n_at_least:,} samples or more"
            and_passed = " and passed no test of a loss" if self.losses else ""
            yield (
                f"Of the {counted(self.n_groups, 'tested group')}, {large}{and_passed}: none of these lost more than"
                f" {_points(self.certificate.loss_at_most)}."
            )
        if self.detectable:
            parts = ", ".join(
                f"{100 * part.share:g} % of the samples: {_points(part.loss)}" for part in self.detectable
            )
            yield f"Loss that a group needs to be claimed (80 % of the time): {parts}."

    def lines(self, width: int = WIDTH) -> Iterator[str]:
        """Yield the explanation for a terminal.

        Args:
            width: columns of the terminal. 100 by default, as in ``print``.
        """
        yield f"{self.candidate} against {self.base}"
        yield self.opening
        yield ""
        if self.claims:
            yield from as_text(self.claim_table(), indent="", width=width).splitlines()
        if not self.losses:
            yield f"No group of {self.n_groups:,} is shown to be worse."
        if self.n_more_claimed:
            groups = counted(self.n_more_claimed, "more group")
            yield f"{groups} passed a test, but not without the samples of the groups above."
        yield ""
        yield from filter(None, (self.remainder, *self.limits()))
        yield self.sources
        for source, reason in self.unavailable.items():
            yield f"Not available: {source} ({reason})."
        yield from (f"note: {note}" for note in self.notes)

    def claim_table(self) -> Table:
        """Return the claims in their order, with a heading where the kind changes."""
        rows: list[Row | str] = []
        overlaps = any(claim.net_n < claim.n for claim in self.claims)
        # The order stays, so that a net change is of the rows above: a kind may have a second heading.
        for kind, claims in groupby(self.claims, attrgetter("claim")):
            rows.append(kind[:1].upper() + kind[1:])
            for claim in claims:
                rows.append([*_claim_row(claim), _net_cell(claim)] if overlaps else _claim_row(claim))
        numbers = (*NUMBERS, NET) if overlaps else NUMBERS
        return Table(columns=columns("group", numbers=numbers), rows=rows)


def _claim_row(claim: Claim) -> Row:
    return [
        claim.slice,
        f"{claim.n:,}",
        quantity(claim.base, "fraction"),
        quantity(claim.candidate, "fraction"),
        change(claim.difference, "fraction"),
        change_interval(claim.low, claim.high, "fraction"),
        p_value(claim.p),
        share_text(claim.share_of_loss),
    ]


def _net_cell(claim: Claim) -> str:
    return net_change(claim) if claim.net_n < claim.n else "the same"


def net_change(claim: Claim) -> str:
    """Return the change of the samples of a claim that no group before it has, and their number."""
    return f"{change(claim.net_difference, 'fraction')} of {claim.net_n:,}"


def share_text(share: float | None) -> str:
    """Return a fraction of the whole loss in words. It is above 1 if the other samples gained."""
    if share is None:
        return "–"
    return "> 100 %" if share > 1 else f"{percent(share)} %"


def _points(loss: float) -> str:
    return change(max(0.0, loss), "fraction", is_signed=False)


def _equals(p: float) -> str:
    text = p_value(p)
    return text if text.startswith("<") else f"= {text}"
