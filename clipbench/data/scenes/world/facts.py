"""Facts about a scene, judged true or false from the places of its solids and from nothing else.

A verdict is True, False, or None where people could disagree, such as "left of" for an object that is only a little to
the left. Captions state only facts that are True; a false caption states at least one that is False. The margins are
wide, so that every caption is clearly true or clearly false.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product

from clipbench.data.scenes.world.geometry import is_in, size_name, stands, word_stands
from clipbench.data.scenes.world.records import Scene, Solid


@dataclass(frozen=True, slots=True)
class Description:
    """An object as a caption describes it; None for each attribute that the caption leaves out."""

    kind: str | None = None
    colour: str | None = None
    size: str | None = None
    texture: str | None = None


@dataclass(frozen=True, slots=True)
class Exists:
    """There is at least one such object."""

    what: Description


@dataclass(frozen=True, slots=True)
class Count:
    """There are exactly so many such objects."""

    what: Description
    number: int


@dataclass(frozen=True, slots=True)
class Related:
    """Every object of the first kind has the relation to every one of the second, and both kinds exist."""

    subject: Description
    relation: str
    object: Description


@dataclass(frozen=True, slots=True)
class Located:
    """Every such object is in that part of the image, and at least one exists."""

    what: Description
    place: str


@dataclass(frozen=True, slots=True)
class Backdrop:
    """The background has that colour and texture; None for what is not stated."""

    colour: str | None = None
    texture: str | None = None


@dataclass(frozen=True, slots=True)
class Written:
    """A word can be read in the image, in that ink and on a sign of that colour; None for what is not stated."""

    word: str
    ink: str | None = None
    paper: str | None = None


@dataclass(frozen=True, slots=True)
class WrittenBy:
    """The word stands on, above or below every such object, and at least one exists."""

    word: str
    relation: str
    object: Description


Fact = Exists | Count | Related | Located | Backdrop | Written | WrittenBy


def verdict(fact: Fact, scene: Scene) -> bool | None:
    """Return whether a fact is true of a scene; None where people could disagree.

    Example:
        >>> from clipbench.data.scenes.world.records import Background, Scene, Solid
        >>> cube = Solid("cube", "red", "plain", x=0.2, y=0.5, radius=0.1)
        >>> scene = Scene(Background("grey", "plain", 0.1), (cube,))
        >>> verdict(Exists(Description("cube", "red")), scene), verdict(Exists(Description("cone")), scene)
        (True, False)
        >>> verdict(Located(Description("cube"), "left"), scene), verdict(Count(Description("cube"), 2), scene)
        (True, False)
    """
    judge = _JUDGES.get(type(fact))
    if judge is None:
        raise TypeError(f"not a fact: {fact!r}")
    return judge(fact, scene)


def _exists(fact: Exists, scene: Scene) -> bool | None:
    return bool(matching(scene, fact.what))


def _count(fact: Count, scene: Scene) -> bool | None:
    return len(matching(scene, fact.what)) == fact.number


def _related(fact: Related, scene: Scene) -> bool | None:
    subjects, objects = matching(scene, fact.subject), matching(scene, fact.object)
    order = scene.solids
    return _all(
        [stands(order[i], fact.relation, order[j], is_nearer=i > j) for i, j in product(subjects, objects) if i != j]
    )


def _located(fact: Located, scene: Scene) -> bool | None:
    return _all([is_in(scene.solids[i], fact.place) for i in matching(scene, fact.what)])


def _backdrop(fact: Backdrop, scene: Scene) -> bool | None:
    background = scene.background
    return fact.colour in (None, background.colour) and fact.texture in (None, background.texture)


def _written(fact: Written, scene: Scene) -> bool | None:
    writing = scene.writing
    if writing is None or writing.is_blank:
        return False
    return fact.word == writing.word and fact.ink in (None, writing.ink) and fact.paper in (None, writing.paper)


def _written_by(fact: WrittenBy, scene: Scene) -> bool | None:
    if not verdict(Written(fact.word), scene):
        return False
    assert scene.writing is not None
    return _all([word_stands(scene.writing, fact.relation, scene.solids[i]) for i in matching(scene, fact.object)])


def matching(scene: Scene, what: Description) -> list[int]:
    """Return the indices of the scene's solids that fit a description."""
    return [i for i, solid in enumerate(scene.solids) if _fits(solid, what)]


def _fits(solid: Solid, what: Description) -> bool:
    return (
        what.kind in (None, solid.kind)
        and what.colour in (None, solid.colour)
        and what.texture in (None, solid.texture)
        and (what.size is None or what.size == size_name(solid))
    )


def _all(verdicts: list[bool | None]) -> bool | None:
    """Return True when all are true, False when all are false or there are none, else None."""
    if all(verdicts):
        return bool(verdicts)
    return False if all(verdict is False for verdict in verdicts) else None


_JUDGES: dict[type, Callable[..., bool | None]] = {
    Exists: _exists,
    Count: _count,
    Related: _related,
    Located: _located,
    Backdrop: _backdrop,
    Written: _written,
    WrittenBy: _written_by,
}
