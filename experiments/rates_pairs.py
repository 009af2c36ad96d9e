"""Worlds of images with captions: retrieval, long captions, and the modality gap."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import ClassVar, NamedTuple

import numpy as np

from clipbench.data import Contrast, Dataset
from clipbench.evaluation.task import Task
from clipbench_tasks.long_caption import LongCaption
from clipbench_tasks.modality_gap.task import ModalityGap
from clipbench_tasks.retrieval import Retrieval
from rates_worlds import Draw, Noise, SimulatedModel, Truth, Vectors, images_named, unit, untied

KS = (1, 5, 10)
QUERIES = 100_000
"""Samples of fresh data sets of n, of which recall in a gallery of n is the mean."""


# Retrieval ------------------------------------------------------------------------------------------------------------


class PairLaw(NamedTuple):
    """Images of classes of four, with their captions; a few are copies of others."""

    labels: Vectors
    owner: Vectors
    """Image of each caption."""
    scenes: Vectors
    copied_image: Vectors
    """The image whose vector each one has: itself, or an earlier one."""
    copied_caption: Vectors
    image_noise: Noise
    caption_noise: Noise

    @classmethod
    def draw(cls, rng: np.random.Generator, n_images: int, n_each: int, dim: int) -> "PairLaw":
        """Return captions ``n_each`` an image; one in thirty images, and captions, is a copy."""
        labels, owner = np.arange(n_images) // 4, np.repeat(np.arange(n_images), n_each)
        scenes = 0.6 * rng.standard_normal((n_images, dim))[labels] + 0.8 * rng.standard_normal((n_images, dim))
        return cls(
            labels,
            owner,
            scenes,
            _copied(rng, n_images, 1),
            _copied(rng, len(owner), n_each),
            Noise.draw(rng, n_images, dim),
            Noise.draw(rng, len(owner), dim),
        )

    def vectors(self, rng: np.random.Generator, strength: float) -> tuple[Vectors, Vectors]:
        """Return what one more model makes of images and captions."""
        images = 0.5 + strength * self.scenes + self.image_noise.of_model(rng)
        captions = 0.5 + strength * self.scenes[self.owner] + self.caption_noise.of_model(rng)
        return images[self.copied_image], captions[self.copied_caption]


def _copied(rng: np.random.Generator, n: int, step: int) -> Vectors:
    rows = np.arange(n)
    return np.where((rng.random(n) < 1 / 30) & (rows >= step), rows - step, rows)


@dataclass(frozen=True)
class Search:
    """Captions look for images and images for captions, and each kind for its own, with copies among them."""

    n_each: int
    """Captions an image."""
    task: ClassVar[Task] = Retrieval(ks=KS)
    dim: ClassVar[int] = 16

    strengths: ClassVar = {"none": 0.0, "small": 0.7, "large": 2.0}

    @property
    def name(self) -> str:
        return f"retrieval, {'one caption' if self.n_each == 1 else f'{self.n_each} captions'} an image"

    def draw(self, rng: np.random.Generator, n: int, effect: str, n_models: int = 1) -> Draw:
        law = PairLaw.draw(rng, n // self.n_each, self.n_each, self.dim)
        n_images = len(law.labels)
        texts = [f"caption {row}" for row in law.copied_caption.tolist()]
        dataset = Dataset(
            id=f"search-{self.n_each}",
            images=images_named(n_images),
            image_ids=[str(row) for row in range(n_images)],
            labels=law.labels if self.n_each == 1 else None,
            class_names=tuple(f"class {row}" for row in range(n_images // 4 + 1)) if self.n_each == 1 else None,
            captions=texts,
            caption_image=law.owner,
        )
        models = []
        for _ in range(n_models):
            images, captions = law.vectors(rng, self.strengths[effect])
            models.append(SimulatedModel(images, dict(zip(texts, captions, strict=True))))
        return Draw(dataset, models)

    def truth(self, n: int, effect: str) -> Truth:
        return _truth_of_search(self, n, effect)


@cache
def _truth_of_search(world: Search, n: int, effect: str) -> Truth:
    rng = np.random.default_rng(0)
    found: dict[str, list[Vectors]] = {}
    for _ in range(QUERIES // n):
        law = PairLaw.draw(rng, n // world.n_each, world.n_each, world.dim)
        images, captions = (unit(each) for each in law.vectors(rng, world.strengths[effect]))
        own = law.owner == np.arange(len(images))[:, None]
        searches = {
            "image_retrieval": _ranked(captions @ images.T, own.T, rng),
            "text_retrieval": _ranked(images @ captions.T, own, rng),
        }
        if world.n_each == 1:
            searches["image_image"] = _ranked(_without_self(images), law.labels == law.labels[:, None], rng)
        else:
            searches["text_text"] = _ranked(_without_self(captions), law.owner == law.owner[:, None], rng)
        for name, (place, _, most, expected) in searches.items():
            for k in KS:
                found.setdefault(f"{name}_recall@{k}", []).append(place < k)
                found.setdefault(f"baseline {name}_recall@{k}_strict", []).append(most < k)
            found.setdefault(f"{name}_median_rank", []).append(expected)
    return {
        name: float(np.median(np.concatenate(parts)) if name.endswith("rank") else np.concatenate(parts).mean())
        for name, parts in found.items()
    }


class _Ranked(NamedTuple):
    """Wrong items before the best right one: with ties broken at random, counted for it, and against it."""

    place: Vectors
    least: Vectors
    most: Vectors
    expected_rank: Vectors


def _without_self(vectors: Vectors) -> Vectors:
    scores = vectors @ vectors.T
    np.fill_diagonal(scores, -2)
    return scores


def _ranked(scores: Vectors, is_right: Vectors, rng: np.random.Generator) -> _Ranked:
    """Return the places of queries, one a row; an item itself, of score -2, is no right item."""
    scores, is_right = np.round(scores, 9), is_right & (scores > -1.5)
    is_query = is_right.any(axis=1)
    scores, is_right = scores[is_query], is_right[is_query]
    broken = untied(scores, rng)

    def wrong(each: Vectors, is_before: np.ufunc) -> Vectors:
        best = np.where(is_right, each, -3).max(axis=1, keepdims=True)
        return (is_before(each, best) & ~is_right).sum(axis=1)

    least, most = wrong(scores, np.greater), wrong(scores, np.greater_equal)
    best = np.where(is_right, scores, -3)
    n_best = (best == best.max(axis=1, keepdims=True)).sum(axis=1)
    return _Ranked(wrong(broken, np.greater), least, most, least + 1 + (most - least) / (n_best + 1))


# Long captions --------------------------------------------------------------------------------------------------------

CONTEXT = 30
"""Tokens that the model reads: start, end, and a token a word."""
TOKENS = (5, 10, 15, 20)
SHORTEST, LONGEST = 8, 40
"""Words of a caption."""
PLACES = {"early": 1.0, "middle": 0.8, "late": 0.5, "beyond": 0.0}
"""Strength of the effect of a fact, in units of the world's."""
N_BEFORE = {"early": (3, 3), "middle": (10, 10), "late": (20, 35), "beyond": (45, 45)}
"""Words before the fact, of every other item each."""
N_LETTERS, OF_N_LETTERS = np.array([1, 2, 3]), np.array([0.2, 0.4, 0.4])
"""Letters of the false fact, and shares of items; the true fact has two."""


@dataclass(frozen=True)
class Paragraphs:
    """Two long captions an image, each word of which adds what it knows and its noise; and a probe of one fact."""

    name: ClassVar[str] = "long captions"
    task: ClassVar[Task] = LongCaption(ks=(1, 5, 10), tokens=TOKENS)
    dim: ClassVar[int] = 16

    strengths: ClassVar = {"none": 0.0, "small": 0.15, "large": 0.5}

    def draw(self, rng: np.random.Generator, n: int, effect: str, n_models: int = 1) -> Draw:
        n_images, owner = n // 2, np.repeat(np.arange(n // 2), 2)
        lengths = rng.integers(SHORTEST, LONGEST + 1, n)
        texts = [" ".join([f"c{row}", *["w"] * (length - 1)]) for row, length in enumerate(lengths.tolist())]
        law, facts = ParagraphLaw.draw(rng, n_images, self.dim), FactLaw.draw(rng, n, self.dim)
        dataset = Dataset(
            id="paragraphs",
            images=images_named(n_images + n),
            image_ids=[str(row) for row in range(n_images + n)],
            captions=texts,
            caption_image=owner,
            contrasts=_facts(facts, n_images),
        )
        models = []
        for _ in range(n_models):
            images, captions = law.vectors(rng, self.strengths[effect])
            of_facts, fact_captions = facts.vectors(rng, 2 * self.strengths[effect])
            read = Readings(captions.reshape(n, CONTEXT - 2, self.dim), fact_captions)
            models.append(SimulatedModel(np.concatenate([images, of_facts]), read, context_length=CONTEXT))
        return Draw(dataset, models)

    def truth(self, n: int, effect: str) -> Truth:
        found = {**_truth_of_paragraphs(self, n, effect), **_truth_of_facts(self, effect)}
        # By rounding, a score may tie with another all the same; the strict baseline then appears.
        return found | {f"baseline {name}_strict": value for name, value in found.items() if "_recall@" in name}


class ParagraphLaw(NamedTuple):
    """Scenes, and the part of the noise of images, and of each word of their captions, that all models share."""

    scenes: Vectors
    image_noise: Noise
    word_noise: Vectors

    @classmethod
    def draw(cls, rng: np.random.Generator, n: int, dim: int) -> "ParagraphLaw":
        scenes, words = rng.standard_normal((n, dim)), rng.standard_normal((n, 2, CONTEXT - 2, dim))
        return cls(scenes, Noise.draw(rng, n, dim), words)

    def vectors(self, rng: np.random.Generator, strength: float) -> tuple[Vectors, Vectors]:
        """Return images, and (images, captions, words, dim): captions of their first words, from one on."""
        images = 0.5 + 3 * strength * self.scenes + self.image_noise.of_model(rng)
        words = (self.word_noise + rng.standard_normal(self.word_noise.shape)) / np.sqrt(2)
        captions = np.cumsum(0.5 + strength * self.scenes[:, None, None] + words, axis=2)
        return images, captions


class FactLaw(NamedTuple):
    """Items of the probe, as many of each place, with the part of the noise that all models share."""

    places: Vectors
    n_before: Vectors
    n_letters: Vectors
    scenes: Vectors
    contrasts: Vectors
    noise: Noise

    @classmethod
    def draw(cls, rng: np.random.Generator, n: int, dim: int) -> "FactLaw":
        places = np.arange(n) % len(PLACES)
        n_before = np.array(list(N_BEFORE.values()))[places, np.arange(n) // len(PLACES) % 2]
        return cls(
            places,
            n_before,
            rng.choice(N_LETTERS, n, p=OF_N_LETTERS),
            rng.standard_normal((n, dim)),
            rng.standard_normal((n, dim)),
            Noise.draw(rng, 3 * n, dim),
        )

    @property
    def is_read(self) -> Vectors:
        """True where the fact stands before the last token of the context."""
        return self.n_before + 2 < CONTEXT

    def vectors(self, rng: np.random.Generator, strength: float) -> tuple[Vectors, Vectors]:
        """Return images, and their true and false captions, (items, 2, dim)."""
        strengths = strength * np.array(list(PLACES.values()))[self.places][:, None]
        noise = self.noise.of_model(rng).reshape(len(self.places), 3, -1)
        signs = np.array([1.0, -1.0])[:, None]
        captions = (self.scenes + 0)[:, None] + (strengths * self.contrasts)[:, None] * signs + noise[:, 1:]
        return self.scenes + strengths * self.contrasts + noise[:, 0], captions


def _facts(law: FactLaw, first_image: int) -> tuple[Contrast, ...]:
    names = list(PLACES)
    contrasts = []
    for row, (place, n_before, n_letters) in enumerate(zip(law.places, law.n_before, law.n_letters, strict=True)):
        beginning = " ".join([f"f{row}", *["w"] * (n_before - 1)])
        captions = (f"{beginning} tt", f"{beginning} {'f' * n_letters}")
        contrasts.append(
            Contrast(
                id=str(row),
                subset=names[place],
                images=(first_image + row,),
                captions=captions,
                is_true=((True, False),),
            )
        )
    return tuple(contrasts)


class Readings:
    """Vectors of the beginnings of captions, as far as the model reads, and of the captions of facts."""

    def __init__(self, captions: Vectors, facts: Vectors) -> None:
        self.captions, self.facts = captions, facts

    def __call__(self, texts: Sequence[str]) -> Vectors:
        return np.array([self._vector(text.split()) for text in texts])

    def _vector(self, words: list[str]) -> Vectors:
        row = int(words[0][1:])
        if words[0][0] == "f":
            return self.facts[row, 0 if words[-1] == "tt" else 1]
        return self.captions[row, min(len(words), CONTEXT - 2) - 1]


@cache
def _truth_of_paragraphs(world: Paragraphs, n: int, effect: str) -> Truth:
    rng = np.random.default_rng(0)
    owner = np.repeat(np.arange(n // 2), 2)
    lengths = [*TOKENS, CONTEXT]
    own = owner == np.arange(n // 2)[:, None]
    found: dict[str, list[Vectors]] = {}
    for _ in range(QUERIES // n):
        images, captions = ParagraphLaw.draw(rng, n // 2, world.dim).vectors(rng, world.strengths[effect])
        images, captions = unit(images), captions.reshape(n, CONTEXT - 2, world.dim)
        n_words = rng.integers(SHORTEST, LONGEST + 1, n)
        for number, length in enumerate(lengths):
            cut = unit(captions[np.arange(n), np.minimum(n_words, length - 2) - 1])
            scores = images @ cut.T
            ways = {"image_retrieval": (scores.T, own.T), "text_retrieval": (scores, own)}
            if length == CONTEXT:
                ways["text_text"] = (_without_self(cut), owner == owner[:, None])
            for way, (of_way, right) in ways.items():
                ranked = _ranked(of_way, right, rng)
                found.setdefault(f"curve {way}_recall@1_by_tokens {number}", []).append(ranked.place < 1)
                if length == CONTEXT:
                    for k in KS:
                        found.setdefault(f"{way}_recall@{k}", []).append(ranked.place < k)
                    found.setdefault(f"{way}_median_rank", []).append(ranked.expected_rank)
    truth = {
        name: float(np.median(np.concatenate(parts)) if name.endswith("rank") else np.concatenate(parts).mean())
        for name, parts in found.items()
    }
    recall = np.array([truth[f"curve image_retrieval_recall@1_by_tokens {number}"] for number in range(len(lengths))])
    truth["effective_length"] = float(np.interp(0.95 * recall[-1], recall, lengths))
    n_words = np.arange(SHORTEST, LONGEST + 1)
    truth["caption_tokens"] = float((n_words + 2).mean())
    truth["truncated_fraction"] = float((n_words + 2 > CONTEXT).mean())
    truth["tokens_lost"] = float(np.maximum(n_words + 2 - CONTEXT, 0).mean())
    return truth


@cache
def _truth_of_facts(world: Paragraphs, effect: str) -> Truth:
    rng = np.random.default_rng(0)
    law = FactLaw.draw(rng, 200_000, world.dim)
    images, captions = law.vectors(rng, 2 * world.strengths[effect])
    captions[~law.is_read, 1] = captions[~law.is_read, 0]
    scores = np.einsum("nd,nkd->nk", unit(images), unit(captions))
    right = (1 + np.sign(np.round(scores[:, 0] - scores[:, 1], 9))) / 2
    truth = {"baseline shorter_caption": float(OF_N_LETTERS[2] + OF_N_LETTERS[1] / 2)}
    for row, name in enumerate(PLACES):
        here = law.places == row
        truth[f"{name}/text_acc"] = truth[f"curve text_acc_by_position {row}"] = float(right[here].mean())
        truth[f"baseline {name}/tie_rate"] = float((right[here] == 0.5).mean())
        truth[f"baseline {name}/beyond_window"] = float((~law.is_read)[here].mean())
    return truth


# The modality gap -----------------------------------------------------------------------------------------------------

POPULATION = 200_000
"""Pairs that stand for endless ones."""
COSINES = 4_000_000
"""Random pairs of vectors of the population."""


class CloudLaw(NamedTuple):
    """Pairs of a scene each, with the part of the noise that all models share."""

    scenes: Vectors
    noise: Noise

    @classmethod
    def draw(cls, rng: np.random.Generator, n: int, n_each: int, dim: int) -> "CloudLaw":
        return cls(rng.standard_normal((n, dim)), Noise.draw(rng, (1 + n_each) * n, dim))

    def vectors(self, rng: np.random.Generator, cone: float, gap: float) -> tuple[Vectors, Vectors]:
        """Return what one more model makes of images, and of (images, captions, dim): their means differ by the gap."""
        n, dim = self.scenes.shape
        # Dimensions of falling size, as models have them.
        sizes = np.arange(1, dim + 1) ** -0.5
        noise = self.noise.of_model(rng).reshape(n, -1, dim) + self.scenes[:, None]
        vectors = noise * sizes + cone * np.eye(dim)[0]
        vectors[:, 1:] += gap * np.eye(dim)[1]
        return vectors[:, 0], vectors[:, 1:]


@dataclass(frozen=True)
class Clouds:
    """Images and texts without a gap, with a gap of the size of its noise, and far apart."""

    name: str
    cone: float
    """Length of the mean of all vectors before they have length 1; 0 for vectors all around the origin."""
    n_each: int
    task: ClassVar[Task] = ModalityGap(rescored_sample=2)
    dim: ClassVar[int] = 12

    gaps: ClassVar = {"none": 0.0, "small": 0.3, "large": 4.0}

    def draw(self, rng: np.random.Generator, n: int, effect: str, n_models: int = 1) -> Draw:
        law = CloudLaw.draw(rng, n, self.n_each, self.dim)
        owner = np.repeat(np.arange(n), self.n_each)
        texts = [f"caption {row}" for row in range(len(owner))]
        dataset = Dataset(
            id=f"clouds-{self.n_each}",
            images=images_named(n),
            image_ids=[str(row) for row in range(n)],
            captions=texts,
            caption_image=owner,
        )
        models = []
        for _ in range(n_models):
            images, captions = law.vectors(rng, self.cone, self.gaps[effect])
            known = dict(zip(texts, captions.reshape(-1, self.dim), strict=True))
            models.append(SimulatedModel(images, known))
        return Draw(dataset, models)

    def truth(self, n: int, effect: str) -> Truth:
        return _truth_of_clouds(self, n, effect)


@cache
def _truth_of_clouds(world: Clouds, n: int, effect: str) -> Truth:
    rng = np.random.default_rng(0)
    law = CloudLaw.draw(rng, POPULATION, world.n_each, world.dim)
    raw = law.vectors(rng, world.cone, world.gaps[effect])
    images, captions = map(unit, raw)
    texts = captions[:, 0]
    x, y = images.mean(axis=0), texts.mean(axis=0)
    pair = np.einsum("nd,nd->n", images, texts)
    # Of two captions of n images, one in 2 n - 1 has the image of the other.
    among_own = float(np.einsum("nd,nd->n", captions[:, 0], captions[:, -1]).mean())
    share = (world.n_each - 1) / (world.n_each * n - 1)
    within = ((1 - x @ x) / 2, (1 - y @ y) / 2, (1 - (share * among_own + (1 - share) * (y @ y))) / 2)
    far = (1 - pair.mean()) / 2
    rows, others = rng.integers(POPULATION, size=(2, COSINES))
    rows, others = rows[rows != others], others[rows != others]
    values = {
        "gap": np.linalg.norm(x - y),
        "image_cone": x @ x,
        "text_cone": y @ y,
        "cross_cosine": x @ y,
        "pair_cosine": pair.mean(),
        "alignment": 2 - 2 * pair.mean(),
        "l2i": np.sqrt(2 - 2 * pair).mean(),
        "image_norm": np.linalg.norm(raw[0], axis=1).mean(),
        "text_norm": np.linalg.norm(raw[1][:, 0], axis=1).mean(),
        "rmg_first_caption": far / (far + (within[0] + within[1]) / 2),
        "rmg": far / (far + (within[0] + within[2]) / 2),
        "rmg_unhalved": far / (far + within[0] + within[2]),
        "separability": _separability(images, texts, n, rng),
    }
    for name, one, other in (("image", images, images), ("text", texts, texts), ("cross", images, texts)):
        cosines = np.einsum("nd,nd->n", one[rows], other[others])
        values[f"{name}_uniformity"] = np.log(np.exp(-2 * (2 - 2 * cosines)).mean())
    return {name: float(value) for name, value in values.items()}


def _separability(images: Vectors, texts: Vectors, n: int, rng: np.random.Generator) -> float:
    """Return the accuracy, on the population, of classifiers that were each trained on n / 2 other pairs."""
    from sklearn.linear_model import LogisticRegression

    accuracies = []
    for _ in range(200):
        rows = rng.integers(len(images), size=n // 2)
        classifier = LogisticRegression(max_iter=10_000)
        classifier.fit(np.concatenate([images[rows], texts[rows]]), np.repeat([1, 0], n // 2))
        held_out = rng.integers(len(images), size=10_000)
        accuracies += [
            classifier.score(images[held_out], np.ones(10_000)),
            classifier.score(texts[held_out], np.zeros(10_000)),
        ]
    return float(np.mean(accuracies))
