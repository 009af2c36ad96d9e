"""The text-in-image set of the scenes: words to read, and labels of many styles that attack."""

from collections.abc import Mapping
from dataclasses import replace

from clipbench.data.contrast_and_attack import Attack, Contrast
from clipbench.data.dataset import Dataset, check
from clipbench.data.scenes.captions import TEMPLATES
from clipbench.data.scenes.image import SceneImage, world_note
from clipbench.data.scenes.records import SCENES_VERSION
from clipbench.data.scenes.typography import PLAIN_LABEL, Label, TypographicItem, reading_item, typographic_item
from clipbench.data.scenes.vocabulary import KINDS

N_WORDS = 300
"""Number of words to read, and of objects to attack."""
ONE_IN = 4
"""One in so many attacked objects is also attacked in each of the other ways."""

SWEEPS: Mapping[str, tuple[float, ...]] = {
    "height": (0.03, 0.045, 0.06, 0.08, 0.11, 0.15, 0.2),
    "contrast": (0.1, 0.2, 0.3, 0.5, 0.7, 1.0),
    "offset": (-0.4, -0.2, 0.0, 0.2, 0.4),
}
"""Values of each property of a label that is varied, one property at a time; each list holds the usual value."""


def label_conditions() -> dict[str, Label]:
    """Return the labels of the response curves by the name of their condition.

    Example:
        >>> conditions = label_conditions()
        >>> len(conditions), conditions["height=0.06"] == Label(height=0.06), conditions["offset=0"] == PLAIN_LABEL
        (18, True, True)
    """
    return {
        f"{name}={value:g}": replace(PLAIN_LABEL, **{name: value})  # type: ignore[arg-type]
        for name, values in SWEEPS.items()
        for value in values
    }


def text_in_image_dataset(split: str, n: int, *, size: int | None, seed: int) -> Dataset:
    """Return ``n`` words to read and ``n`` objects to attack, one in four of them in 18 ways, as a data set."""
    drawn = _DrawnImages()
    dataset = Dataset(
        id="scenes",
        revision=str(SCENES_VERSION),
        split=split,
        contrasts=[_reading(drawn, split, index, size=size, seed=seed) for index in range(n)],
        attacks=_attacks(drawn, split, n, size=size, seed=seed),
        images=drawn.images,
        image_ids=[image.name.removeprefix("scenes/") for image in drawn.images],
        class_names=tuple(KINDS),
        templates=TEMPLATES,
        subsets={"word_alone": "Word alone", "with_object": "With an object"},
        notes=(world_note(size, seed),),
    )
    return check(dataset)


class _DrawnImages:
    """Images in order; ``add`` returns the row of each."""

    def __init__(self) -> None:
        self.images: list[SceneImage] = []

    def add(self, image: SceneImage) -> int:
        self.images.append(image)
        return len(self.images) - 1


def _reading(drawn: _DrawnImages, split: str, index: int, *, size: int | None, seed: int) -> Contrast:
    item = reading_item(index, split=split, size=size, seed=seed)
    return Contrast(
        id=f"{split}/word/{index}",
        subset="with_object" if item.image.scene.solids else "word_alone",
        images=(drawn.add(item.image),),
        captions=tuple(f'the word "{word}"' for word in item.candidates),
        is_true=(tuple(place == item.answer for place in range(len(item.candidates))),),
    )


def _attacks(drawn: _DrawnImages, split: str, n: int, *, size: int | None, seed: int) -> list[Attack]:
    plain = [_attack(drawn, split, index, size=size, seed=seed) for index in range(n)]
    varied = []
    for condition, label in label_conditions().items():
        for index in range(0, n, ONE_IN):
            if label == PLAIN_LABEL:
                attacked = plain[index].attacked
            else:
                item = typographic_item(index, split=split, label=label, size=size, seed=seed)
                attacked = drawn.add(_named(item, f"{split}/label/{index}/{condition}"))
            id = f"{plain[index].id}/{condition}"
            varied.append(plain[index]._replace(id=id, attacked=attacked, condition=condition))
    return [*plain, *varied]


def _attack(drawn: _DrawnImages, split: str, index: int, *, size: int | None, seed: int) -> Attack:
    item = typographic_item(index, split=split, size=size, seed=seed)
    kinds = list(KINDS)
    return Attack(
        id=f"{split}/label/{index}",
        label=kinds.index(item.kind),
        word=kinds.index(item.word),
        clean=drawn.add(item.clean),
        blank=drawn.add(item.blank),
        benign=drawn.add(item.benign),
        attacked=drawn.add(item.attacked),
        object=f"{split}/label/{index}",
    )


def _named(item: TypographicItem, name: str) -> SceneImage:
    return replace(item.attacked, name=f"scenes/{name}")
