"""Verdicts on each sentence from finished runs: agrees, disagrees or cannot tell, with the numbers behind it."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from claims_outcomes import (
    ALL_TOKENS,
    FEW_TOKENS,
    Bounded,
    Runs,
    Weaknesses,
    gap,
    gap_difference,
    gap_of_one_cloud,
    has_learned,
    lead,
    loss_of_lead,
    of_seeds,
    over_names,
    over_seeds,
    recall,
    value_of,
)
from claims_texts import Found
from clipbench.stats import intervals

AGREES, DISAGREES, CANNOT_TELL = "agrees", "disagrees", "cannot tell"
APART = 3
"""Smallest ratio of a gap to that of clouds of equal means from which on the gap counts as present."""
KEPT = 0.5
"""Smallest ratio of the final to the initial gap for which the gap counts as kept."""
TWIN_CHANCE, PROBE_CHANCE, READING_CHANCE, OBJECT_CHANCE = 0.25, 0.5, 0.1, 0.1
"""Chance of the text score of an item with two images, of one false caption, of one of ten words, and of ten kinds."""


class Verdict(NamedTuple):
    """A sentence, the verdict on it, and the reason."""

    claim: str
    word: str
    """AGREES, DISAGREES or CANNOT_TELL."""
    because: str


class Duel(NamedTuple):
    """The runs of both losses at one batch size, a pair for each seed."""

    clip: Runs
    siglip: Runs

    @property
    def batch_size(self) -> int:
        return self.clip[0].options.batch_size

    @property
    def lead(self) -> Bounded:
        """Lead of the sigmoid loss in recall@1."""
        return lead(self.siglip, self.clip)

    @property
    def untrained(self) -> str:
        """Return the losses whose recall is not above chance, or an empty string."""
        names = [
            name for name, runs in (("InfoNCE", self.clip), ("the sigmoid loss", self.siglip)) if not has_learned(runs)
        ]
        return " and ".join(names)


class TextDuel(NamedTuple):
    """A CLIP's text tower, once for each seed, and a text embedder, on the same texts."""

    name: str
    """Of the embedder."""
    clip: Sequence[Found]
    embedder: Found

    @property
    def difference(self) -> Bounded:
        """By how much more often the CLIP finds the text that matches."""
        values = np.stack([found.hits - self.embedder.hits for found in self.clip])
        return over_seeds(values, within=intervals.DIFFERENCES)

    @property
    def difference_of_names(self) -> Bounded:
        """The same of class names, with an interval over supercategories."""
        return over_names(self.clip[0].hits - self.embedder.hits, within=intervals.DIFFERENCES)

    @property
    def times_as_large(self) -> float:
        """Parameters of the embedder, as a multiple of those of the text tower."""
        return self.embedder.parameters / self.clip[0].parameters


def loss_verdicts(duels: Sequence[Duel]) -> list[Verdict]:
    """Return the verdicts on both sentences of Zhai et al.

    Args:
        duels: by batch size, the smallest first, two or more.
    """
    return [_ahead_when_small(duels[0]), _difference_vanishes(duels[0], duels[-1])]


def gap_verdicts(by_temperature: Sequence[Runs]) -> list[Verdict]:
    """Return the verdicts on the sentences of Liang et al.

    Args:
        by_temperature: at fixed temperatures, the lowest first, two or more; the first step is the same of all.
    """
    return [
        _there_at_first(by_temperature[0]),
        _kept(by_temperature[0]),
        _narrower(by_temperature[0], by_temperature[-1]),
    ]


def weakness_verdicts(models: Sequence[Weaknesses], runs: Runs) -> list[Verdict]:
    """Return the verdicts on composition, written words and long captions, of one model or of one for each seed.

    Args:
        models: what was measured.
        runs: trainings of the models, which must have learned; none of a model that comes trained.
    """
    found = [_bag_of_words(models), _word_wins(models), _few_tokens(models), _late_fact(models)]
    if runs and not has_learned(runs):
        return [
            each._replace(word=CANNOT_TELL, because=f"recall@1 is not above chance; {each.because}") for each in found
        ]
    return found


def text_verdict(duels: Sequence[TextDuel], *, of_names: bool) -> Verdict:
    """Return the verdict on text retrieval, by the embedder whose size is nearest to that of the text tower."""
    nearest = min(duels, key=lambda duel: abs(math.log(duel.times_as_large)))
    differences = {duel.name: duel.difference_of_names if of_names else duel.difference for duel in duels}
    parts = [f"against {name} {points(found)}" for name, found in differences.items()]
    where = "names of COCO's classes, CLIP ViT-B/32" if of_names else "captions of scenes"
    return Verdict(
        f"CLIP's text tower finds matching texts less often than a text embedder ({where})",
        _word(-differences[nearest.name].sign),
        f"right text nearest: {'; '.join(parts)}" + (f"; {nearest.name} is nearest in size" if duels[1:] else ""),
    )


def lead_in_words(duel: Duel) -> str:
    """Return a sentence on which loss is ahead at a batch size, by how much, and if the interval excludes zero."""
    found = duel.lead
    if duel.untrained:
        return f"not above chance: {duel.untrained}; the difference of {points(found)} says nothing of the losses."
    if found.sign == 0:
        return f"no significant difference: {points(found)} contains zero."
    ahead = "the sigmoid loss" if found.sign > 0 else "InfoNCE"
    return f"{ahead} is ahead: the sigmoid loss minus InfoNCE is {points(found)}, which excludes zero."


def gap_in_words(runs: Runs) -> str:
    """Return from where to where the gap went, and what was learned."""
    first, last = (of_seeds([run.history[at].gap for run in runs]).value for at in (0, -1))
    ends = of_seeds([run.history[-1].temperature for run in runs]).value
    learned = "" if runs[0].options.temperature is not None else f" (it ends at {ends:.3f})"
    trained = "" if has_learned(runs) else " Its recall@1 is not above chance: it has not learned."
    lowest, highest = (end(moment.gap for run in runs for moment in run.history) for end in (min, max))
    return (
        f"Temperature {runs[0].label}{learned}: the gap goes from {first:.3f} to {last:.3f}, {percent(share_left(runs))} of"
        f" the start, and lies between {lowest:.3f} and {highest:.3f} on the way.{trained}"
    )


def share_left(runs: Runs) -> Bounded:
    """Return the last gap as a share of the first."""
    return of_seeds([run.history[-1].gap / run.history[0].gap for run in runs])


def points(found: Bounded) -> str:
    """Return a difference of fractions in percentage points, with its interval.

    Example:
        >>> points(Bounded(0.031, -0.002, 0.064))
        '+3.1 pp (−0.2 to +6.4)'
    """
    value, low, high = (f"{100 * part:+.1f}".replace("-", "−") for part in found[:3])
    return f"{value} pp ({low} to {high})"


def percent(found: Bounded) -> str:
    """Return a fraction in percent, with its interval."""
    value, low, high = (f"{100 * part:.1f}".replace("-", "−") for part in found[:3])
    return f"{value} % ({low} to {high})"


def number(found: Bounded) -> str:
    """Return a number with its interval."""
    value, low, high = (f"{part:.3f}".replace("-", "−") for part in found[:3])
    return f"{value} ({low} to {high})"


def halfway(by_chance: float) -> float:
    """Return the accuracy halfway between chance and perfect.

    Example:
        >>> halfway(0.5)
        0.75
    """
    return (1 + by_chance) / 2


def knows_objects(models: Sequence[Weaknesses]) -> bool:
    """Return whether single objects are named more than half of the way from chance to perfect, with the whole interval."""
    return value_of(models, "clean_acc").less(halfway(OBJECT_CHANCE)).sign > 0


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
        return Verdict(
            claim,
            CANNOT_TELL,
            f"there is no lead at {small.batch_size} that could shrink; at {large.batch_size:,} it is {points(large.lead)}",
        )
    lost = loss_of_lead((small.siglip, small.clip), (large.siglip, large.clip))
    because = f"from {points(small.lead)} to {points(large.lead)}; it shrinks by {points(lost)}"
    if large.lead.sign < 0:
        return Verdict(claim, DISAGREES, f"{because}, and InfoNCE is ahead at {large.batch_size:,}")
    if lost.sign > 0 and large.lead.sign > 0:
        return Verdict(claim, CANNOT_TELL, f"{because}, and is still there at {large.batch_size:,}")
    return Verdict(claim, _word(lost.sign), because)


def _there_at_first(runs: Runs) -> Verdict:
    firsts = [run.history[0] for run in runs]
    cones = [of_seeds([getattr(first, f"{name}_cone") for first in firsts]) for name in ("image", "text")]
    pairs = of_seeds([first.pair_cosine for first in firsts])
    ratio = of_seeds([first.gap / gap_of_one_cloud(first) for first in firsts])
    nearest = of_seeds([min(first.image_cone, first.text_cone) - first.pair_cosine for first in firsts])
    because = (
        f"at step {firsts[0].step} it is {number(of_seeds([first.gap for first in firsts]))},"
        f" {ratio.value:.0f} times ({ratio.low:.0f} to {ratio.high:.0f}) what chance alone makes it; mean cosine of two"
        f" images {number(cones[0])}, of two texts {number(cones[1])}, of an image and its text {number(pairs)}"
    )
    signs = ratio.less(APART).sign, nearest.sign
    return Verdict("The gap is there at initialisation, with a cone for each tower", _word(min(signs)), because)


def _kept(lowest: Runs) -> Verdict:
    claim = f"Training at a low temperature (here {lowest[0].options.temperature:g}) keeps the gap"
    first, last = (number(of_seeds([run.history[at].gap for run in lowest])) for at in (0, -1))
    because = f"from {first} to {last}, {percent(share_left(lowest))} of the start"
    if not has_learned(lowest):
        return Verdict(claim, CANNOT_TELL, f"{because}, but its recall@1 is not above chance: it has not learned")
    learned = f"{because}; recall@1 is {percent(recall(lowest))}"
    return Verdict(claim, _word(share_left(lowest).less(KEPT).sign), learned)


def _narrower(low: Runs, high: Runs) -> Verdict:
    temperatures = f"here {high[0].options.temperature:g} against {low[0].options.temperature:g}"
    claim = f"A higher temperature lets it close further ({temperatures})"
    untrained = [runs[0].label for runs in (low, high) if not has_learned(runs)]
    because = (
        f"on the test pairs it ends at {number(gap(high))} against {number(gap(low))}, a difference of"
        f" {number(gap_difference(high, low))}"
    )
    if untrained:
        return Verdict(claim, CANNOT_TELL, f"{because}, but not above chance: temperature {' and '.join(untrained)}")
    return Verdict(claim, _word(gap_difference(low, high).sign), because)


def _bag_of_words(models: Sequence[Weaknesses]) -> Verdict:
    found, line = value_of(models, "text"), halfway(TWIN_CHANCE)
    because = f"both captions are right in {percent(found)} of items; chance {100 * TWIN_CHANCE:.0f} %, halfway to perfect {100 * line:.1f} %"
    claim = "A bag of words: swapped captions are told apart little better than by chance"
    if not knows_objects(models):
        named = percent(value_of(models, "clean_acc"))
        return Verdict(
            claim, CANNOT_TELL, f"{because}; the objects are hardly known: without a label they are named in {named}"
        )
    return Verdict(claim, _word(-found.less(line).sign), because)


def _word_wins(models: Sequence[Weaknesses]) -> Verdict:
    claim = "A word written on an object wins over the object"
    names = ("attack_success", "attacked_acc", "clean_acc", "reading")
    wins, objects, clean, reading = (value_of(models, name) for name in names)
    because = (
        f"the word is named in {percent(wins)}, the object in {percent(objects)}: {points(value_of(models, 'word_wins'))};"
        f" without a label the object in {percent(clean)}; of ten words the right one is read in {percent(reading)}"
    )
    if reading.less(READING_CHANCE).sign <= 0:
        return Verdict(
            claim, CANNOT_TELL, f"{because}, which is not above chance: a model that cannot read cannot be misled"
        )
    if not knows_objects(models):
        return Verdict(claim, CANNOT_TELL, f"{because}; the objects are hardly known")
    return Verdict(claim, _word(value_of(models, "word_wins").sign), because)


def _few_tokens(models: Sequence[Weaknesses]) -> Verdict:
    few, whole = value_of(models, "few"), value_of(models, "whole")
    because = f"recall@1 of {FEW_TOKENS} tokens {percent(few)}, of all that fit ({ALL_TOKENS}) {percent(whole)}"
    claim = f"The first {FEW_TOKENS} tokens of a long caption retrieve as well as all of it"
    return Verdict(claim, _word(value_of(models, "past_few").sign), because)


def _late_fact(models: Sequence[Weaknesses]) -> Verdict:
    claim = "A fact far behind the first sentence is hardly noticed"
    early, late = value_of(models, "early"), value_of(models, "late")
    line = halfway(PROBE_CHANCE)
    because = (
        f"preferred to a false one in {percent(late)} after 45 words, in {percent(early)} at the start; chance"
        f" {100 * PROBE_CHANCE:.0f} %, halfway to perfect {100 * line:.0f} %"
    )
    if early.less(line).sign <= 0:
        return Verdict(claim, CANNOT_TELL, f"{because}: the model does not know the fact even at the start")
    return Verdict(claim, _word(-late.less(line).sign), because)


def _word(sign: int) -> str:
    return {1: AGREES, -1: DISAGREES, 0: CANNOT_TELL}[sign]
