"""Images that their captions cannot tell apart."""

from clipbench.data.scenes.facts import verdict
from clipbench.data.scenes.phrases import Phrase
from clipbench.data.scenes.records import Scene


def may_be_confused(first: tuple[Scene, Phrase], second: tuple[Scene, Phrase]) -> bool:
    """Return whether the caption of either could be true of the other: it states nothing that is false there."""
    return not (_is_refuted(first[1], second[0]) and _is_refuted(second[1], first[0]))


def _is_refuted(stated: Phrase, scene: Scene) -> bool:
    return any(verdict(fact, scene) is False for fact in stated.facts)
