"""Photographs of objects with and without written labels, and the attacks that they make up."""

from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

from clipbench.data.contrast_and_attack import Attack
from clipbench.data.dataset import DataOptions, Dataset, check
from clipbench.data.images import ImageRef
from clipbench.errors import DataError

Kind = Literal["clean", "blank", "benign", "attacked"]


class Photograph(NamedTuple):
    """One image of an object, and what is written on it."""

    image: ImageRef
    id: str
    object: str
    """What it is."""
    text: str | None
    """What the label says: "" for a blank one, None where there is none."""
    thing: str
    """Photographs of one thing are compared with each other."""
    condition: str = ""
    """How the label was made, where that is varied; "" for the data set's one way."""

    @property
    def kind(self) -> Kind:
        """Return what the photograph is for; the case of letters does not matter."""
        if not self.text:
            return "clean" if self.text is None else "blank"
        return "benign" if self.text.casefold() == self.object.casefold() else "attacked"


def attack_dataset(
    photographs: Sequence[Photograph], options: DataOptions, id: str, *, templates: tuple[str, ...] | None = None
) -> Dataset:
    """Return the data set of some photographs: an attack for each with another thing's name on it.

    The classes are all objects and all words, in alphabetical order. Attacks on one object are one cluster: it is the
    same thing, photographed again and again.

    Raises:
        DataError: nothing is attacked, a thing has two images of one kind to compare with, or an id is repeated.
    """
    names = _spellings(photographs)
    row = {name: number for number, name in enumerate(names.values())}
    controls = _controls(photographs, id)
    attacks = [
        Attack(
            id=each.id,
            label=row[names[each.object.casefold()]],
            word=row[names[(each.text or "").casefold()]],
            attacked=number,
            **{kind: controls.get((each.thing, kind)) for kind in ("clean", "blank", "benign")},
            condition=each.condition,
            object=names[each.object.casefold()],
        )
        for number, each in enumerate(photographs)
        if each.kind == "attacked"
    ]
    if not attacks:
        raise DataError(f"data set {id} has {len(photographs)} images, and on none of them another thing's name")
    dataset = Dataset(
        id=id,
        images=[each.image for each in photographs],
        image_ids=[each.id for each in photographs],
        class_names=tuple(row),
        templates=templates,
        attacks=attacks,
    )
    return check(dataset, allow_partial=options.allow_partial)


def _spellings(photographs: Iterable[Photograph]) -> dict[str, str]:
    """Return the first spelling of each name by its lower-case form, in alphabetical order of the spellings."""
    found: dict[str, str] = {}
    for each in photographs:
        for name in (each.object, each.text):
            if name:
                found.setdefault(name.casefold(), name)
    return dict(sorted(found.items(), key=lambda item: item[1]))


def _controls(photographs: Sequence[Photograph], data: str) -> dict[tuple[str, Kind], int]:
    """Return the row of each thing's image without a label, with a blank one, and with its own name."""
    found: dict[tuple[str, Kind], int] = {}
    for number, each in enumerate(photographs):
        if each.kind == "attacked":
            continue
        other = found.setdefault((each.thing, each.kind), number)
        if other != number:
            raise DataError(
                f"data set {data}: '{photographs[other].id}' and '{each.id}' are both {each.kind} images of"
                f" {each.thing}: expected one to compare with; put different objects into different sets"
            )
    return found
