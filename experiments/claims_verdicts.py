"""Verdicts on each claim from finished runs: agrees, disagrees or cannot tell, with the numbers behind it."""

from collections.abc import Sequence
from typing import NamedTuple

from claims_outcomes import (
    Bounded,
    Moment,
    Outcome,
    gap_difference,
    gap_of_one_cloud,
    has_learned,
    lead,
    loss_of_lead,
    recall,
)

AGREES, DISAGREES, CANNOT_TELL = "agrees", "disagrees", "cannot tell"
APART = 3
"""Smallest ratio of a gap to that of clouds of equal means from which on the gap counts as present."""
KEPT = 0.5
"""Smallest ratio of the final to the initial gap for which the gap counts as kept."""


class Verdict(NamedTuple):
    """A claim, the verdict on it, and the reason."""

    claim: str
    word: str
    """AGREES, DISAGREES or CANNOT_TELL."""
    because: str


class Duel(NamedTuple):
    """The runs of both losses at one batch size."""

    clip: Outcome
    siglip: Outcome

    @property
    def batch_size(self) -> int:
        return self.clip.options.batch_size

    @property
    def lead(self) -> Bounded:
        """Lead of the sigmoid loss in recall@1."""
        return lead(self.siglip, self.clip)

    @property
    def untrained(self) -> str:
        """Return the losses whose recall is not above chance, or an empty string."""
        names = [
            name for name, run in (("InfoNCE", self.clip), ("the sigmoid loss", self.siglip)) if not has_learned(run)
        ]
        return " and ".join(names)


def loss_verdicts(duels: Sequence[Duel]) -> list[Verdict]:
    """Return the verdicts on both claims of Zhai et al.

    Args:
        duels: by batch size, the smallest first, two or more.
    """
    return [_ahead_when_small(duels[0]), _difference_vanishes(duels[0], duels[-1])]


def gap_verdicts(runs: Sequence[Outcome]) -> list[Verdict]:
    """Return the verdicts on the claims of Liang et al.

    Args:
        runs: at fixed temperatures, the lowest first, two or more; the first step is the same of all.
    """
    return [_there_at_first(runs[0].history[0]), _kept(runs[0]), _narrower(runs[0], runs[-1])]


def lead_in_words(duel: Duel) -> str:
    """Return a sentence on which loss is ahead at a batch size, by how much, and if the interval excludes zero."""
    found = duel.lead
    if duel.untrained:
        return f"not above chance: {duel.untrained}; the difference of {points(found)} says nothing of the losses."
    if found.sign == 0:
        return f"no difference that can be told: {points(found)} holds zero."
    ahead = "the sigmoid loss" if found.sign > 0 else "InfoNCE"
    return f"{ahead} is ahead: the sigmoid loss minus InfoNCE is {points(found)}, which excludes zero."


def gap_in_words(run: Outcome) -> str:
    """Return from where to where the gap went, and what was learned."""
    first, last = run.history[0], run.history[-1]
    learned = "" if run.options.temperature is not None else f" (it ends at {last.temperature:.3f})"
    trained = "" if has_learned(run) else " Its recall@1 is not above chance: it has not learned."
    lowest, highest = (end(moment.gap for moment in run.history) for end in (min, max))
    return (
        f"Temperature {run.label}{learned}: the gap goes from {first.gap:.3f} to {last.gap:.3f}, {share_left(run)} of"
        f" the start, and lies between {lowest:.3f} and {highest:.3f} on the way.{trained}"
    )


def share_left(run: Outcome) -> str:
    """Return the last gap as a share of the first, in percent."""
    return f"{100 * _share_left(run):.0f} %"


def points(found: Bounded) -> str:
    """Return a difference of fractions in percentage points, with its interval.

    Example:
        >>> points(Bounded(0.031, -0.002, 0.064))
        '+3.1 pp (−0.2 to +6.4)'
    """
    value, low, high = (f"{100 * part:+.1f}".replace("-", "−") for part in found)
    return f"{value} pp ({low} to {high})"


def percent(found: Bounded) -> str:
    """Return a fraction in percent, with its interval."""
    value, low, high = (f"{100 * part:.1f}" for part in found)
    return f"{value} % ({low} to {high})"


def _ahead_when_small(duel: Duel) -> Verdict:
    claim = f"The sigmoid loss does better than InfoNCE at small batch sizes (here {duel.batch_size})"
    found = duel.lead
    scores = f"sigmoid loss {percent(recall(duel.siglip))}, InfoNCE {percent(recall(duel.clip))}: {points(found)}"
    if duel.untrained:
        return Verdict(claim, CANNOT_TELL, f"not above chance: {duel.untrained}; {scores}")
    return Verdict(claim, _word(found.sign), scores)


def _difference_vanishes(small: Duel, large: Duel) -> Verdict:
    claim = f"The difference vanishes as batches grow (here from {small.batch_size} to {large.batch_size:,})"
    untrained = [f"{duel.untrained} at {duel.batch_size:,}" for duel in (small, large) if duel.untrained]
    if untrained:
        return Verdict(claim, CANNOT_TELL, f"not above chance: {', '.join(untrained)}")
    if small.lead.sign <= 0:
        return Verdict(claim, CANNOT_TELL, f"there is no lead at {small.batch_size} that could shrink")
    lost = loss_of_lead((small.siglip, small.clip), (large.siglip, large.clip))
    because = f"from {points(small.lead)} to {points(large.lead)}; it shrinks by {points(lost)}"
    if large.lead.sign < 0:
        return Verdict(claim, DISAGREES, f"{because}, and InfoNCE is ahead at {large.batch_size:,}")
    return Verdict(claim, _word(lost.sign), because)


def _there_at_first(first: Moment) -> Verdict:
    by_chance, cones = gap_of_one_cloud(first), (first.image_cone, first.text_cone)
    is_there = first.gap >= APART * by_chance and min(cones) > first.pair_cosine
    because = (
        f"at step {first.step} it is {first.gap:.3f}, where chance alone makes it {by_chance:.3f}; mean cosine of two images"
        f" {cones[0]:.3f}, of two texts {cones[1]:.3f}, of an image and its text {first.pair_cosine:.3f}"
    )
    return Verdict(
        "The gap is there at initialisation, with a cone for each tower", _word(1 if is_there else -1), because
    )


def _kept(lowest: Outcome) -> Verdict:
    claim = f"Training at a low temperature (here {lowest.options.temperature:g}) keeps the gap"
    first, last = lowest.history[0], lowest.history[-1]
    because = f"from {first.gap:.3f} to {last.gap:.3f}, {share_left(lowest)} of the start"
    if not has_learned(lowest):
        return Verdict(claim, CANNOT_TELL, f"{because}, but its recall@1 is not above chance: it has not learned")
    learned = f"{because}; the run knows this much: recall@1 {percent(recall(lowest))}"
    return Verdict(claim, _word(1 if _share_left(lowest) >= KEPT else -1), learned)


def _narrower(low: Outcome, high: Outcome) -> Verdict:
    temperatures = f"here {high.options.temperature:g} against {low.options.temperature:g}"
    claim = f"A higher temperature lets it close further ({temperatures})"
    untrained = [run.label for run in (low, high) if not has_learned(run)]
    found = gap_difference(low, high)
    because = (
        f"on the test pairs it ends at {high.gap.value:.3f} against {low.gap.value:.3f}, a difference of"
        f" {-found.value:+.3f} ({-found.high:+.3f} to {-found.low:+.3f})".replace("-", "−")
    )
    if untrained:
        return Verdict(claim, CANNOT_TELL, f"{because}, but not above chance: temperature {' and '.join(untrained)}")
    return Verdict(claim, _word(found.sign), because)


def _share_left(run: Outcome) -> float:
    return run.history[-1].gap / run.history[0].gap


def _word(sign: int) -> str:
    return {1: AGREES, -1: DISAGREES, 0: CANNOT_TELL}[sign]
