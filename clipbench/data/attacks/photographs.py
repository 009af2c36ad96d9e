"""Photographs of objects with and without written labels, and the attacks that they make up."""

from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

from clipbench.data.contrast_and_attack import Attack
from clipbench.data.dataset import DataOptions, Dataset, check
from clipbench.data.images import ImageRef
from clipbench.errors import DataError

PhotographKind = Literal["clean", "blank", "benign", "attacked"]


class Photograph(NamedTuple):
    """One image of an object, and what is written on it."""

    image: ImageRef
    id: str
    object: str
    """Name of the object."""
    text: str | None
    """Text of the label: "" for a blank one, None where there is no label."""
    thing: str
    """Key of the photographed thing; its photographs are compared with each other."""
    condition: str = ""
    """Style of the label, in data that vary it; "" for the data set's one style."""

    @property
    def kind(self) -> PhotographKind:
        """Role of the photograph in an attack; the case of letters does not matter."""
        if not self.text:
            return "clean" if self.text is None else "blank"
        return "benign" if self.text.casefold() == self.object.casefold() else "attacked"


def attack_dataset(
    photographs: Sequence[Photograph], options: DataOptions, id: str, *, templates: tuple[str, ...] | None = None
) -> Dataset:
    """Return a data set of photographs: one attack for each that has another object's name written on it.

    The classes are all objects and all words, in alphabetical order. Attacks on one object are one cluster: the same
    thing is photographed several times.

    Raises:
        DataError: nothing is attacked, a thing has two images of one kind to compare with, or an id is repeated.
    """
    names = _spellings(photographs)
    row = {name: number for number, name in enumerate(names.values())}
    controls = _controls(photographs, id)
    attacks = [
        Attack(
            id=photograph.id,
            label=row[names[photograph.object.casefold()]],
            word=row[names[(photograph.text or "").casefold()]],
            attacked=number,
            **{kind: controls.get((photograph.thing, kind)) for kind in ("clean", "blank", "benign")},
            condition=photograph.condition,
            object=names[photograph.object.casefold()],
        )
        for number, photograph in enumerate(photographs)
        if photograph.kind == "attacked"
    ]
    if not attacks:
        raise DataError(f"data set {id} has {len(photographs)} images, and on none of them another thing's name")
    dataset = Dataset(
        id=id,
        images=[photograph.image for photograph in photographs],
        image_ids=[photograph.id for photograph in photographs],
        class_names=tuple(row),
        templates=templates,
        attacks=attacks,
    )
    return check(dataset, allow_partial=options.allow_partial)


def _spellings(photographs: Iterable[Photograph]) -> dict[str, str]:
    """Return the first spelling of each name by its lower-case form, in alphabetical order of the spellings."""
    spellings: dict[str, str] = {}
    for photograph in photographs:
        for name in (photograph.object, photograph.text):
            if name:
                spellings.setdefault(name.casefold(), name)
    return dict(sorted(spellings.items(), key=lambda item: item[1]))


def _controls(photographs: Sequence[Photograph], data: str) -> dict[tuple[str, PhotographKind], int]:
    """Return the row of each thing's image without a label, with a blank one, and with its own name."""
    controls: dict[tuple[str, PhotographKind], int] = {}
    for number, photograph in enumerate(photographs):
        if photograph.kind == "attacked":
            continue
        other = controls.setdefault((photograph.thing, photograph.kind), number)
        if other != number:
            raise DataError(
                f"data set {data}: '{photographs[other].id}' and '{photograph.id}' are both {photograph.kind} images of"
                f" {photograph.thing}: expected one to compare with; put different objects into different sets"
            )
    return controls
