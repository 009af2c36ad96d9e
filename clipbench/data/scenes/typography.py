"""Words in images: items that test whether a model reads them, and whether a written name overrules the object."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from clipbench.data.dataset import Dataset
from clipbench.data.questions import Attack, Contrast
from clipbench.data.scenes.captions import TEMPLATES
from clipbench.data.scenes.drawing import SceneImage
from clipbench.data.scenes.layout import lay_out, sample_plan
from clipbench.data.scenes.sampling import belongs, portrait
from clipbench.data.scenes.world import KINDS, WORDS, Scene, Writing, held_out
from clipbench.seeding import Chance

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

    def writing(self, word: str) -> Writing:
        """Return the label with a word on it, in widths of the image."""
        place = 0.5 + self.offset
        return Writing(word, 0.5, place, self.height, LABEL_FONT, "lower", "black", "white", self.contrast)


LABEL_FONT = "sans-bold"
PLAIN_LABEL = Label()


def typographic_item(index: int, *, split: str = "test", label: Label = PLAIN_LABEL) -> tuple[str, dict[str, Scene]]:
    """Return an attacking word and an object in four scenes: without a label, with a blank one, its own name, the word.

    The object of item ``index`` cycles through the kinds. The blank label is as large as the attacking one: an effect
    that remains with it is not reading.
    """
    scene = portrait(split, index)
    kind = scene.solids[0].kind
    word = Chance("attack", split, index, 0).one_of([other for other in KINDS if other != kind])
    attacked = replace(scene, writing=label.writing(word))
    benign = replace(scene, writing=label.writing(kind))
    return word, {"clean": scene, "blank": attacked.with_blank_sign(), "benign": benign, "attacked": attacked}


def reading_item(index: int, *, split: str = "test") -> tuple[Scene, list[str], int]:
    """Return a scene with a written word, candidates for the word, and which of them it is.

    The word is alone, or with an object that it does not name. Candidates are distinct, in random order. In the held-out
    split all are words that never occur in training; elsewhere none is.
    """
    words = [word for word in WORDS if (word in held_out().words) == (split == "held-out")]
    chance = Chance("reading", split, index, 0)
    scene, word = _legible(chance, split)
    others = chance.some_of([other for other in words if other != word], N_CANDIDATES - 1)
    candidates = chance.some_of([word, *others], N_CANDIDATES)
    return scene, candidates, candidates.index(word)


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
    """Return the labels of the response curves by the name of their condition."""
    return {f"{name}={value:g}": Label(**{name: value}) for name, values in SWEEPS.items() for value in values}


def varied_attacks(plain: Sequence[Attack], draw: Callable[[int, Label, str], int], mark: str) -> list[Attack]:
    """Return one in four attacks with labels of other heights, contrasts and places.

    Args:
        draw: draws the attack of a number with another label, named after the condition, and returns the image's row.
        mark: stands between the id of an attack and the condition.
    """
    varied = []
    for condition, label in label_conditions().items():
        for number in range(0, len(plain), ONE_IN):
            row = plain[number].attacked if label == PLAIN_LABEL else draw(number, label, condition)
            id = f"{plain[number].id}{mark}{condition}"
            varied.append(plain[number]._replace(id=id, attacked=row, condition=condition))
    return varied


def text_in_image_dataset(split: str, n: int) -> Dataset:
    """Return ``n`` words to read and ``n`` objects to attack, one in four of them in 18 ways, as a data set."""
    images: list[SceneImage] = []

    def add(scene: Scene, name: str) -> int:
        images.append(SceneImage(scene, f"scenes/{split}/{name}"))
        return len(images) - 1

    def draw(index: int, label: Label, condition: str) -> int:
        scenes = typographic_item(index, split=split, label=label)[1]
        return add(scenes["attacked"], f"label/{index}/{condition}")

    contrasts = []
    for index in range(n):
        scene, candidates, answer = reading_item(index, split=split)
        contrasts.append(
            Contrast(
                id=f"{split}/word/{index}",
                subset="with_object" if scene.solids else "word_alone",
                images=(add(scene, f"word/{index}"),),
                captions=tuple(f'the word "{word}"' for word in candidates),
                is_true=(tuple(place == answer for place in range(len(candidates))),),
            )
        )
    plain, kinds = [], list(KINDS)
    for index in range(n):
        word, scenes = typographic_item(index, split=split)
        id = f"{split}/label/{index}"
        clean, blank, benign, attacked = (add(each, f"label/{index}/{name}") for name, each in scenes.items())
        label = kinds.index(scenes["clean"].solids[0].kind)
        plain.append(Attack(id, label, kinds.index(word), attacked, clean, blank, benign, object=id))
    attacks = [*plain, *varied_attacks(plain, draw, "/")]
    return Dataset(
        id="scenes",
        split=split,
        contrasts=contrasts,
        attacks=attacks,
        images=images,
        image_ids=[image.name.removeprefix("scenes/") for image in images],
        class_names=tuple(KINDS),
        templates=TEMPLATES,
        subsets={"word_alone": "Word alone", "with_object": "With an object"},
    )
