"""An endless stream of captioned scenes, for training without a single file."""

from typing import NamedTuple

from clipbench.data.scenes.captions import STYLE_SHARES, caption
from clipbench.data.scenes.chance import Chance
from clipbench.data.scenes.records import Scene
from clipbench.data.scenes.sampling import portrait, scene


class Pair(NamedTuple):
    """A scene and a true caption."""

    scene: Scene
    caption: str


def training_pair(index: int, *, seed: int = 0) -> Pair:
    """Return pair ``index`` of the train split, for any index, in any order and process.

    Example:
        >>> training_pair(3) == training_pair(3)
        True
    """
    found = scene("train", index, seed=seed)
    chance = Chance("training caption", index, seed)
    return Pair(found, caption(found, chance.weighted(STYLE_SHARES), chance).text)


def primer_pair(index: int, *, seed: int = 0) -> Pair:
    """Return pair ``index`` of the primer: one large object of the train split, named in a few words.

    Colours, backgrounds and counts tell most images of a batch apart, so a model that starts with whole scenes takes
    long to learn kinds. In the primer, there is little else to learn.

    Example:
        >>> primer_pair(0).caption
        'there is a striped red sphere'
    """
    found = portrait("train", index, seed=seed)
    chance = Chance("primer caption", index, seed)
    return Pair(found, caption(found, "name" if chance.happens(0.2) else "short", chance).text)
