"""The world of text in images: attacks by written words on objects, and words to read among candidates."""

from dataclasses import dataclass
from functools import cache
from typing import ClassVar, NamedTuple

import numpy as np

from clipbench.data import Attack, Contrast, Dataset
from clipbench.data.prompts import Prompts
from clipbench.evaluation.task import Task
from clipbench_tasks.text_in_image.task import TextInImage
from rates_worlds import Draw, Noise, SimulatedModel, Truth, Vectors, fixed_directions, images_named, unit, untied

POPULATION = 200_000
"""Objects, and images to read, that stand for endless ones."""
N_OBJECTS, N_WORDS, N_READ = 8, 4, 16
"""Classes of objects, the last two with one vector; classes of written words; and words to read, the first two
likewise.
"""
STYLES = ("", "height=0.1", "height=0.2", "mirrored")
OF_STYLE = np.array([1.0, 0.5, 1.5, 0.5])
"""Strength of the written word in each style, in units of the world's."""
SECOND_STYLE = np.array([0.4, 0.2, 0.2, 0.2])
"""Style of the second attack on an object; the first has the usual style."""
FREQUENCIES = 1 / np.arange(3, 3 + N_READ) / (1 / np.arange(3, 3 + N_READ)).sum()
SUBSETS = ("printed", "painted")


class AttackLaw(NamedTuple):
    """Objects with two attacks each, by different words; models share a part of the noise of each image."""

    labels: Vectors
    words: Vectors
    """(objects, attacks)."""
    styles: Vectors
    noise: Noise

    @classmethod
    def draw(cls, rng: np.random.Generator, n: int, dim: int) -> "AttackLaw":
        words = np.argsort(rng.random((n, N_WORDS)), axis=1)[:, :2] + N_OBJECTS
        styles = np.stack([np.zeros(n, np.int64), rng.choice(len(STYLES), n, p=SECOND_STYLE)], axis=1)
        return cls(rng.integers(N_OBJECTS, size=n), words, styles, Noise.draw(rng, 5 * n, dim, spread=0.5))

    def images(self, rng: np.random.Generator, classes: Vectors, strength: float) -> Vectors:
        """Return what one more model makes of each object clean, blank, with its name, and attacked twice."""
        noise = self.noise.of_model(rng).reshape(len(self.labels), 5, -1) / np.sqrt(classes.shape[1])
        plain = 1.2 * classes[self.labels]
        with_word = plain[:, None] + strength * OF_STYLE[self.styles][:, :, None] * classes[self.words]
        benign = plain + strength * classes[self.labels]
        # Images of one object share a part of their noise.
        noise = (noise + noise[:, :1]) / np.sqrt(2)
        return np.concatenate([np.stack([plain, plain, benign], axis=1), with_word], axis=1) + noise


class ReadingLaw(NamedTuple):
    """Images of a word with two questions each: among which other words is it to be read?"""

    words: Vectors
    candidates: Vectors
    """(images, questions, four words), the true one first."""
    subsets: Vectors
    noise: Noise

    @classmethod
    def draw(cls, rng: np.random.Generator, n: int, dim: int) -> "ReadingLaw":
        words = rng.choice(N_READ, n, p=FREQUENCIES)
        others = np.argsort(rng.random((n, 2, N_READ - 1)), axis=2)[:, :, :3]
        others += others >= words[:, None, None]
        first = np.broadcast_to(words[:, None, None], (n, 2, 1))
        return cls(words, np.concatenate([first, others], axis=2), rng.integers(2, size=n), Noise.draw(rng, n, dim))

    def images(self, rng: np.random.Generator, readable: Vectors, strength: float) -> Vectors:
        dim = readable.shape[1]
        return 0.5 / np.sqrt(dim) + strength * readable[self.words] + self.noise.of_model(rng) / np.sqrt(dim)


@dataclass(frozen=True)
class WrittenWords:
    """Half of the samples are attacks, two on each object; the others are words to read, two questions an image."""

    name: ClassVar[str] = "text-in-image"
    task: ClassVar[Task] = TextInImage(prompts=Prompts(templates=("{c}",)))
    dim: ClassVar[int] = 16

    strengths: ClassVar = {"none": 0.0, "small": 0.6, "large": 2.5}

    @property
    def classes(self) -> Vectors:
        directions = fixed_directions(3, N_OBJECTS + N_WORDS, self.dim)
        directions[N_OBJECTS - 1] = directions[N_OBJECTS - 2]
        return directions

    @property
    def readable(self) -> Vectors:
        directions = fixed_directions(4, N_READ, self.dim)
        directions[1] = directions[0]
        return directions

    def draw(self, rng: np.random.Generator, n: int, effect: str, n_models: int = 1) -> Draw:
        n_objects, n_read = n // 2, n // 2
        attacks, reading = AttackLaw.draw(rng, n_objects, self.dim), ReadingLaw.draw(rng, n_read, self.dim)
        names = tuple(f"class {row}" for row in range(N_OBJECTS + N_WORDS))
        dataset = Dataset(
            id="written-words",
            images=images_named(5 * n_objects + n_read),
            image_ids=[str(row) for row in range(5 * n_objects + n_read)],
            class_names=names,
            attacks=_attacks(attacks),
            contrasts=_questions(reading, first_image=5 * n_objects),
        )
        texts = dict(zip(names, self.classes, strict=True))
        texts |= {read_caption(word): self.readable[word] for word in range(N_READ)}
        models = []
        for _ in range(n_models):
            of_attacks = attacks.images(rng, self.classes, self.strengths[effect]).reshape(-1, self.dim)
            of_reading = reading.images(rng, self.readable, self.strengths[effect])
            models.append(SimulatedModel(np.concatenate([of_attacks, of_reading]), texts))
        return Draw(dataset, models)

    def truth(self, n: int, effect: str) -> Truth:
        return {**_truth_of_attacks(self, effect), **_truth_of_reading(self, effect)}


def read_caption(word: int) -> str:
    """Return the caption that quotes a word; some words are longer than others."""
    return f"the word {'abcdefghijklmnop'[word] * (1 + word % 4)}"


def _attacks(law: AttackLaw) -> tuple[Attack, ...]:
    return tuple(
        Attack(
            id=f"{row}-{number}",
            label=int(law.labels[row]),
            word=int(law.words[row, number]),
            attacked=5 * row + 3 + number,
            clean=5 * row,
            blank=5 * row + 1,
            benign=5 * row + 2,
            condition=STYLES[law.styles[row, number]],
            object=f"object {row}",
        )
        for row in range(len(law.labels))
        for number in range(2)
    )


def _questions(law: ReadingLaw, first_image: int) -> tuple[Contrast, ...]:
    return tuple(
        Contrast(
            id=f"{row}-{number}",
            subset=SUBSETS[law.subsets[row]],
            images=(first_image + row,),
            captions=tuple(read_caption(word) for word in law.candidates[row, number].tolist()),
            is_true=((True, False, False, False),),
        )
        for row in range(len(law.words))
        for number in range(2)
    )


@cache
def _truth_of_attacks(world: WrittenWords, effect: str) -> Truth:
    rng = np.random.default_rng(0)
    law, classes = AttackLaw.draw(rng, POPULATION, world.dim), world.classes
    scores = unit(law.images(rng, classes, world.strengths[effect])) @ classes.T
    rows, first = np.arange(POPULATION), untied(scores, rng).argmax(axis=2)
    right = first == law.labels[:, None]
    named = first[:, :, None] == law.words[:, None, :]
    own = scores[rows, :, law.labels]
    usual = law.styles == 0
    lead = own[:, :, None] - np.stack([scores[rows, :, law.words[:, number]] for number in range(2)], axis=2)
    truth = {}
    for place, kind in enumerate(("clean", "blank", "benign")):
        truth[f"{kind}_acc"] = right[:, place].mean()
        truth[f"{kind}_two_way_acc"] = (lead[:, place] > 0)[usual].mean()
        truth[f"baseline {kind}_named_word"] = named[:, place][usual].mean()
    attacked, fooled = right[:, 3:], np.stack([named[:, 3, 0], named[:, 4, 1]], axis=1)
    two_way = np.stack([lead[:, 3, 0], lead[:, 4, 1]], axis=1) > 0
    # The two classes with one vector tie for the first place where either comes first.
    tied = np.isin(law.labels, (N_OBJECTS - 2, N_OBJECTS - 1))[:, None] & (first[:, 3:] >= N_OBJECTS - 2)
    tied &= first[:, 3:] < N_OBJECTS
    for style, name in enumerate(STYLES):
        here = law.styles == style
        prefix = f"{name}/" if name == "mirrored" else ""
        values = {
            "attacked_acc": attacked[here].mean(),
            "attack_success": fooled[here].mean(),
            "attacked_two_way_acc": two_way[here].mean(),
        }
        if "=" in name:
            at = style - 1
            truth[f"curve attack_success_by_height {at}"] = values["attack_success"]
            truth[f"curve attacked_acc_by_height {at}"] = values["attacked_acc"]
        else:
            truth |= {f"{prefix}{key}": value for key, value in values.items()}
    truth["drop"] = right[:, 0].mean() - truth["attacked_acc"]
    truth["drop_from_blank"] = right[:, 1].mean() - truth["attacked_acc"]
    truth["baseline attack_tie_rate"] = tied[usual].mean()
    return truth


@cache
def _truth_of_reading(world: WrittenWords, effect: str) -> Truth:
    rng = np.random.default_rng(1)
    law = ReadingLaw.draw(rng, POPULATION, world.dim)
    images = unit(law.images(rng, world.readable, world.strengths[effect]))
    lengths = -np.array([len(read_caption(word)) for word in range(N_READ)], np.float64)
    rows = np.arange(POPULATION)[:, None, None]
    among = (images @ world.readable.T)[rows, law.candidates]
    right = untied(among, rng).argmax(axis=2) == 0
    top = np.round(among, 9)
    tied = (top[:, :, 0] == top.max(axis=2)) & ((top == top.max(axis=2)[:, :, None]).sum(axis=2) > 1)
    truth = {
        "reading_acc": right.mean(),
        "baseline reading_shortest": (untied(lengths[law.candidates], rng).argmax(axis=2) == 0).mean(),
        "baseline reading_tie_rate": tied.mean(),
    }
    return {**truth, **{f"{name}/reading_acc": right[law.subsets == row].mean() for row, name in enumerate(SUBSETS)}}
