"""Words in images: items that test whether a model reads them, and whether a written name overrules the object."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

from clipbench.data.contrast_and_attack import Attack, Contrast
from clipbench.data.dataset import Dataset, check
from clipbench.data.scenes.captions import TEMPLATES
from clipbench.data.scenes.image import SceneImage, world_note
from clipbench.data.scenes.sampling import belongs, check_split, portrait
from clipbench.data.scenes.world.chance import Chance
from clipbench.data.scenes.world.layout import lay_out
from clipbench.data.scenes.world.plan import sample_plan
from clipbench.data.scenes.world.records import SCENES_VERSION, Scene, Writing
from clipbench.data.scenes.world.vocabulary import FONTS, INKS, KINDS, PAPERS, WORDS, held_out
from clipbench.errors import UsageError

N_WORDS = 300
"""Number of words to read, and of objects to attack."""
N_CANDIDATES = 10
"""Words that a written one is to be found among."""
ONE_IN = 4
"""One in so many attacked objects is also attacked in each of the other ways."""

SWEEPS: Mapping[str, tuple[float, ...]] = {
    "height": (0.03, 0.045, 0.06, 0.08, 0.11, 0.15, 0.2),
    "contrast": (0.1, 0.2, 0.3, 0.5, 0.7, 1.0),
    "offset": (-0.4, -0.2, 0.0, 0.2, 0.4),
}
"""Values of each property of a label that is varied, one property at a time; each list holds the usual value."""


@dataclass(frozen=True, kw_only=True)
class Label:
    """Style of a label; the response curves of an attack vary it."""

    height: float = 0.11
    """Height of a capital letter, in widths of the image."""
    contrast: float = 1.0
    """Strength of the ink: 0 has the colour of the paper, 1 is full ink."""
    offset: float = 0.0
    """Distance of the label below the middle of the image, in its widths; 0.4 is clear of most objects."""
    font: str = "sans-bold"
    ink: str = "black"
    paper: str = "white"

    def __post_init__(self) -> None:
        bounds = {"height": (0.02, 0.25), "contrast": (0, 1), "offset": (-0.4, 0.4)}
        for name, (low, high) in bounds.items():
            value = getattr(self, name)
            if not low <= value <= high:
                raise UsageError(f"the {name} of a label must be from {low} to {high}, got {value}")
        for name, known in (("font", FONTS), ("ink", INKS), ("paper", PAPERS)):
            if getattr(self, name) not in known:
                raise UsageError(f"labels have no {name} '{getattr(self, name)}': known: {', '.join(known)}")

    def on(self, scene: Scene, word: str) -> Scene:
        """Return the scene with the word on it."""
        return replace(scene, writing=self.writing(word))

    def writing(self, word: str) -> Writing:
        """Return the label with a word on it, in widths of the image."""
        return Writing(
            word, 0.5, 0.5 + self.offset, self.height, self.font, "lower", self.ink, self.paper, self.contrast
        )


PLAIN_LABEL = Label()


class TypographicItem(NamedTuple):
    """One object in four images: without a label, with a blank one, with its own name, and with a wrong name."""

    kind: str
    """Kind of the object."""
    word: str
    """The attacking word: the name of another kind."""
    clean: SceneImage
    blank: SceneImage
    """A label as large as the attacking one, without text: an effect that remains with it is not reading."""
    benign: SceneImage
    attacked: SceneImage


def typographic_item(
    index: int, *, split: str = "test", label: Label = PLAIN_LABEL, size: int | None = None, seed: int = 0
) -> TypographicItem:
    """Return item ``index``, which cycles through the kinds.

    Raises:
        UsageError: there is no such split, or no image of that size.
    """
    scene = portrait(split, index, seed=seed)
    kind = scene.solids[0].kind
    word = Chance("attack", split, index, seed).one_of([other for other in KINDS if other != kind])
    attacked = label.on(scene, word)
    drawn = {
        "clean": scene,
        "blank": attacked.with_blank_sign(),
        "benign": label.on(scene, kind),
        "attacked": attacked,
    }
    images = {key: SceneImage(shown, size, f"scenes/{split}/label/{index}/{key}") for key, shown in drawn.items()}
    return TypographicItem(kind, word, **images)


class ReadingItem(NamedTuple):
    """An image with a written word, and candidates for the word."""

    image: SceneImage
    candidates: tuple[str, ...]
    """Distinct words in random order."""
    answer: int
    """Index of the written word among them."""


def reading_item(index: int, *, split: str = "test", size: int | None = None, seed: int = 0) -> ReadingItem:
    """Return item ``index``: a word alone, or with an object that the word does not name.

    In the held-out split all candidates are words that never occur in training; elsewhere none is.

    Raises:
        UsageError: there is no such split, or no image of that size.
    """
    check_split(split)
    words = [word for word in WORDS if (word in held_out().words) == (split == "held-out")]
    chance = Chance("reading", split, index, seed)
    scene, word = _legible(chance, split)
    others = chance.some_of([other for other in words if other != word], N_CANDIDATES - 1)
    candidates = chance.some_of([word, *others], N_CANDIDATES)
    return ReadingItem(
        SceneImage(scene, size, f"scenes/{split}/word/{index}"), tuple(candidates), candidates.index(word)
    )


def _legible(chance: Chance, split: str) -> tuple[Scene, str]:
    """Return a scene with a word that belongs to the split and names no object of the scene."""
    while True:
        plan = sample_plan(chance, arrangement=chance.one_of(("word", "alone")), has_word=True)
        assert plan.lettering is not None, "a word was asked for"
        word, scene = plan.lettering.word, lay_out(plan)
        if word in [look.kind for look in plan.looks] or not belongs(scene, split):
            continue
        if (word in held_out().words) == (split == "held-out"):
            return scene, word


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
                name = f"scenes/{split}/label/{index}/{condition}"
                attacked = drawn.add(replace(item.attacked, name=name))
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
