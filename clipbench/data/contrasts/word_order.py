"""Captions with their words in another order: the same shuffles for every model, run and machine.

In ARO (Yuksekgonul et al., ICLR 2023) a caption must beat four shuffles of itself. ARO's code draws them anew at each
run, two of the four with a part-of-speech tagger. Here the draw depends only on the caption, and on no version of a
library, so it is the same next year without being stored. A list of function words replaces the tagger, so numbers are
near to the published ones, not equal to them. Files with stored shuffles (``correct_caption``, ``hard_text_1`` ...) are
read as they are.
"""

import re
from collections.abc import Callable, Sequence
from functools import partial
from itertools import chain
from typing import TypeVar

import numpy as np
from jaxtyping import Int64

from clipbench.data.questions import Contrast
from clipbench.seeding import Sampler

MAX_WORDS = 30
"""Words of a caption that are kept, as in ARO."""
MAX_DRAWS = 20
"""Draws before a caption counts as having no other order."""
_PUNCTUATION = re.compile(r"""[.!"()*#:;~]""")
_FUNCTION_WORDS = """
    a an the this that these those some any each every all both no another other his her its their my your our he
    she it they we you i him them us who which what there and or but nor so yet as if while than because of in on at
    by to from with without into onto over under above below between among through across along around behind beside
    near next inside outside up down off out for about against during after before is are was were be been being am
    has have had do does did can could will would may might must shall should not
"""
FUNCTION_WORDS = frozenset(_FUNCTION_WORDS.split())
"""Words that count as neither noun, adjective nor verb."""

Order = Callable[[list[str], Sampler], list[str]]
T = TypeVar("T")


def order_contrasts(
    captions: Sequence[str], caption_image: Int64[np.ndarray, " n_captions"], ids: Sequence[str]
) -> tuple[Contrast, ...]:
    """Return a contrast of each caption with up to four shuffles of itself.

    The shuffles are ARO's: content words among their places, the other words among theirs, words within each group of
    three, and the groups of three among themselves. A shuffle that equals the caption or another shuffle is left out,
    and so is a caption without shuffles.
    """
    contrasts = []
    for id, caption, image in zip(ids, captions, caption_image.tolist(), strict=True):
        # ARO's pre_caption: lower case, some punctuation removed, at most 30 words.
        kept_words = _PUNCTUATION.sub(" ", caption.lower()).split()[:MAX_WORDS]
        true = " ".join(kept_words)
        shuffles = [_reorder(true, name, order) for name, order in ORDERS.items()]
        false = list(dict.fromkeys(text for text in shuffles if text is not None))
        if false:
            truth = (True, *[False] * len(false))
            options = (true, *false)
            contrasts.append(Contrast(id=id, subset="order", images=(image,), captions=options, is_true=(truth,)))
    return tuple(contrasts)


def shuffle_words(caption: str) -> str | None:
    """Return a caption with its words in another order, seeded by the caption, or None if no order differs."""
    return _reorder(" ".join(caption.split()), "all", _shuffle_all)


def words(caption: str) -> list[str]:
    """Return the words of a caption, lower case and without punctuation."""
    return re.findall(r"[^\W_]+(?:['’][^\W_]+)*", caption.lower())


def _reorder(caption: str, name: str, order: Order) -> str | None:
    chance = Sampler("order", name, caption)
    parts = caption.split()
    for _ in range(MAX_DRAWS):
        text = " ".join(order(parts, chance))
        if text != caption:
            return text
    return None


def _shuffle_all(parts: list[T], chance: Sampler) -> list[T]:
    return chance.some_of(parts, len(parts))


def _split_in_threes(parts: list[str]) -> list[list[str]]:
    return [parts[start : start + 3] for start in range(0, len(parts), 3)]


def _shuffle_some(parts: list[str], chance: Sampler, *, are_content: bool) -> list[str]:
    is_moved = [(part.strip(",'-") in FUNCTION_WORDS) != are_content for part in parts]
    moved_rows = [row for row, moves in enumerate(is_moved) if moves]
    moved_parts = [parts[row] for row in moved_rows]
    shuffled = list(parts)
    for row, part in zip(moved_rows, chance.some_of(moved_parts, len(moved_parts)), strict=True):
        shuffled[row] = part
    return shuffled


def _shuffle_within_threes(parts: list[str], chance: Sampler) -> list[str]:
    shuffled = []
    for three in _split_in_threes(parts):
        shuffled += _shuffle_all(three, chance)
    return shuffled


def _shuffle_threes(parts: list[str], chance: Sampler) -> list[str]:
    return list(chain(*_shuffle_all(_split_in_threes(parts), chance)))


ORDERS: dict[str, Order] = {
    "content words": partial(_shuffle_some, are_content=True),
    "other words": partial(_shuffle_some, are_content=False),
    "within threes": _shuffle_within_threes,
    "threes": _shuffle_threes,
}
"""ARO's four perturbations."""
