"""Captions with their words in another order: the same shuffles for every model, run and machine.

In ARO (Yuksekgonul et al., ICLR 2023) a caption must beat four shuffles of itself. ARO's code draws them anew at each
run, two of the four with a part-of-speech tagger. Here the draw depends on the caption alone, and on no version of a
library, so it is the same next year without being stored; a list of function words replaces the tagger, so numbers are
near to the published ones, not equal to them. Files with stored shuffles (``correct_caption``, ``hard_text_1`` ...) are
read as they are.
"""

import re
from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Int64

from clipbench.data.contrast_and_attack import Contrast
from clipbench.data.scenes.world.chance import Chance

MAX_WORDS = 30
"""Words of a caption that are kept, as in ARO."""
MAX_DRAWS = 20
"""Draws before a caption counts as having no other order."""
_PUNCTUATION = re.compile(r"""[.!"()*#:;~]""")
_FUNCTION_WORDS = """a an the this that these those some any each every all both no another other his her its their my your our he she
    it they we you i him them us who which what there and or but nor so yet as if while than because of in on at by to
    from with without into onto over under above below between among through across along around behind beside near
    next inside outside up down off out for about against during after before is are was were be been being am has
    have had do does did can could will would may might must shall should not"""
FUNCTION_WORDS = frozenset(_FUNCTION_WORDS.split())
"""Words that count as neither noun, adjective nor verb."""

Order = Callable[[list[str], Chance], list[str]]


def order_contrasts(
    captions: Sequence[str], caption_image: Int64[np.ndarray, " n_captions"], ids: Sequence[str]
) -> tuple[Contrast, ...]:
    """Return a contrast of each caption with up to four shuffles of itself.

    The shuffles are ARO's: content words among their places, the other words among theirs, words within each group of
    three, and the groups of three among themselves. A shuffle that equals the caption or another shuffle is left out,
    and so is a caption without shuffles.

    Args:
        captions: texts.
        caption_image: row of each caption's image.
        ids: of the captions, distinct.

    Example:
        >>> (contrast,) = order_contrasts(["Two red cubes on a big table."], np.array([0]), ["7"])
        >>> contrast.captions[0], len(contrast.captions), int(contrast.truth.sum())
        ('two red cubes on a big table', 5, 1)
    """
    contrasts = []
    for id, caption, image in zip(ids, captions, caption_image.tolist(), strict=True):
        # ARO's pre_caption: lower case, some punctuation removed, at most 30 words.
        true = " ".join(_PUNCTUATION.sub(" ", caption.lower()).split()[:MAX_WORDS])
        false = dict.fromkeys(_reordered(true, name, order) for name, order in ORDERS.items())
        options = (true, *(text for text in false if text is not None))
        if len(options) > 1:
            truth = (True, *(False for _ in options[1:]))
            contrasts.append(Contrast(id=id, subset="order", images=(image,), captions=options, is_true=(truth,)))
    return tuple(contrasts)


def shuffled(caption: str) -> str | None:
    """Return a caption with its words in another order, drawn from the caption alone; None where there is no other.

    Example:
        >>> sorted(shuffled("a red cube").split()), shuffled("a red cube") != "a red cube", shuffled("cube cube")
        (['a', 'cube', 'red'], True, None)
    """
    return _reordered(" ".join(caption.split()), "all", _all)


def words(caption: str) -> list[str]:
    """Return the words of a caption, lower case and without punctuation.

    Example:
        >>> words("A dog's bone, on the left.")
        ['a', "dog's", 'bone', 'on', 'the', 'left']
    """
    return re.findall(r"[^\W_]+(?:['’][^\W_]+)*", caption.lower())


def _reordered(caption: str, name: str, order: Order) -> str | None:
    """Return the first drawn order that differs from the caption's."""
    chance = Chance("order", name, caption)
    parts = caption.split()
    for _ in range(MAX_DRAWS):
        text = " ".join(order(parts, chance))
        if text != caption:
            return text
    return None


def _all(parts: list[str], chance: Chance) -> list[str]:
    return chance.some_of(parts, len(parts))


def _some(parts: list[str], is_moved: Sequence[bool], chance: Chance) -> list[str]:
    moved = [part for part, moves in zip(parts, is_moved, strict=True) if moves]
    others = iter(chance.some_of(moved, len(moved)))
    return [next(others) if moves else part for part, moves in zip(parts, is_moved, strict=True)]


def _content(parts: list[str], chance: Chance) -> list[str]:
    return _some(parts, [part.strip(",'-") not in FUNCTION_WORDS for part in parts], chance)


def _function(parts: list[str], chance: Chance) -> list[str]:
    return _some(parts, [part.strip(",'-") in FUNCTION_WORDS for part in parts], chance)


def _threes(parts: list[str]) -> list[list[str]]:
    return [parts[start : start + 3] for start in range(0, len(parts), 3)]


def _within_threes(parts: list[str], chance: Chance) -> list[str]:
    return [part for three in _threes(parts) for part in _all(three, chance)]


def _among_threes(parts: list[str], chance: Chance) -> list[str]:
    threes = _threes(parts)
    return [part for three in chance.some_of(threes, len(threes)) for part in three]


ORDERS: dict[str, Order] = {
    "content words": _content,
    "other words": _function,
    "within threes": _within_threes,
    "threes": _among_threes,
}
"""ARO's four perturbations."""
