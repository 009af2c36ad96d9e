"""Worlds of composition: items of four kinds in groups, items that share images, and captions alone."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import ClassVar, NamedTuple
from zlib import crc32

import numpy as np

from clipbench.data import Contrast, Dataset
from clipbench.evaluation.task import Task
from clipbench_tasks.composition.task import Composition
from rates_worlds import Draw, Noise, SimulatedModel, Truth, Vectors, images_named, unit, untied

POPULATION = 100_000
"""Items of each kind that stand for endless ones."""
KINDS = {
    "twins": ((1,), (1, -1)),
    "pairs": ((1, -1), (1, -1)),
    "plus": ((1,), (1, 1, -1)),
    "images": ((1, 1, -1, -1), (1,)),
}
"""Signs of the images and captions of an item; a caption is true of the images of its own sign."""
GROUPS = np.repeat([0, 1, 2, 3], [12, 8, 3, 2])
"""Group of an item by its number in its subset, over and over."""
OF_GROUP = np.array([0.4, 0.8, 1.2, 1.6])
"""Strength of the effect in each group, in units of the world's."""
TIED, SAME_WORDS = 0.1, 0.3
"""Shares of items whose false caption has the vector of the first true one, and of those in which it has its words."""
N_MORE, OF_N_MORE = np.array([-1, 0, 1]), np.array([0.2, 0.6, 0.2])
"""Words that a false caption has more than the true ones, and the shares of items."""


class Items(NamedTuple):
    """Items of one kind: vectors of their images and captions by one model."""

    images: Vectors
    """(items, images, dim)."""
    captions: Vectors


@dataclass(frozen=True)
class FourKinds:
    """Items of SugarCrepe's form, Winoground's, SugarCrepe++'s and NLVR's, each kind a subset with groups of its
    own.
    """

    name: ClassVar[str] = "composition, four kinds of items"
    task: ClassVar[Task] = Composition()
    dim: ClassVar[int] = 12

    strengths: ClassVar = {"none": 0.0, "small": 0.5, "large": 1.5}

    def draw(self, rng: np.random.Generator, n: int, effect: str, n_models: int = 1) -> Draw:
        kinds = rng.permutation(np.resize(list(KINDS), n))
        numbers = np.array([(kinds[:row] == kind).sum() for row, kind in enumerate(kinds)])
        is_tied, n_more = rng.random(n) < TIED, rng.choice(N_MORE, n, p=OF_N_MORE)
        has_same_words = (n_more == 0) & (rng.random(n) < SAME_WORDS / OF_N_MORE[1])
        n_images = np.array([len(KINDS[kind][0]) for kind in kinds])
        first = np.cumsum(n_images) - n_images
        contrasts, texts = [], []
        for row, kind in enumerate(kinds.tolist()):
            of_images, of_captions = KINDS[kind]
            captions = [
                caption_text(row, place, int(n_more[row]), bool(has_same_words[row]))
                if sign < 0
                else caption_text(row, place)
                for place, sign in enumerate(of_captions)
            ]
            contrasts.append(
                Contrast(
                    id=str(row),
                    subset=kind,
                    images=tuple(range(first[row], first[row] + len(of_images))),
                    captions=tuple(captions),
                    is_true=tuple(tuple(one == other for other in of_captions) for one in of_images),
                    group=f"group {GROUPS[numbers[row] % len(GROUPS)]}",
                )
            )
            texts += captions
        dataset = Dataset(
            id="four-kinds",
            images=images_named(int(n_images.sum())),
            image_ids=[str(row) for row in range(n_images.sum())],
            contrasts=tuple(contrasts),
        )
        drawn = {kind: ItemLaw.draw(rng, kind, int((kinds == kind).sum()), self.dim) for kind in KINDS}
        models = []
        for _ in range(n_models):
            images = np.empty((n_images.sum(), self.dim))
            known: dict[str, Vectors] = {}
            for kind, law in drawn.items():
                rows = np.flatnonzero(kinds == kind)
                strength = self.strengths[effect] * OF_GROUP[GROUPS[numbers[rows] % len(GROUPS)]]
                items = law.items(rng, strength, is_tied[rows])
                for item, item_images, item_captions in zip(rows, items.images, items.captions, strict=True):
                    images[first[item] : first[item] + len(item_images)] = item_images
                    known |= dict(zip(contrasts[item].captions, item_captions, strict=True))
            models.append(SimulatedModel(images, Texts(known, shuffle_noise(rng, self.dim))))
        return Draw(dataset, models)

    def truth(self, n: int, effect: str) -> Truth:
        return _truth_of_four_kinds(self, effect)


class ItemLaw(NamedTuple):
    """Parts that all models share of the items of a kind: a scene and a contrast each, and a part of the noise."""

    kind: str
    base: Vectors
    contrast: Vectors
    noise: Noise

    @classmethod
    def draw(cls, rng: np.random.Generator, kind: str, n: int, dim: int) -> "ItemLaw":
        """Return n items; their scenes lie around a common one, so that all cosines are above 0 on average."""
        n_vectors = sum(map(len, KINDS[kind]))
        base = 0.5 / np.sqrt(dim) + rng.standard_normal((n, dim)) / np.sqrt(dim)
        noise = Noise.draw(rng, n * n_vectors, dim)
        return cls(kind, base, unit(rng.standard_normal((n, dim))), noise)

    def items(self, rng: np.random.Generator, strength: Vectors, is_tied: Vectors) -> Items:
        """Return what one more model makes of the items."""
        of_images, of_captions = KINDS[self.kind]
        signs = np.array([*of_images, *of_captions], np.float64)
        noise = self.noise.of_model(rng).reshape(len(self.base), len(signs), -1)
        vectors = self.base[:, None] + noise / np.sqrt(noise.shape[2]) / 2
        vectors = vectors + strength[:, None, None] * signs[:, None] * self.contrast[:, None]
        images, captions = np.split(vectors, [len(of_images)], axis=1)
        if -1 in of_captions:
            captions[is_tied, -1] = captions[is_tied, 0]
        return Items(images, captions)


N_SHUFFLES = 1 << 17


class Texts:
    """Vectors of known captions, and of shuffles of the first one of an item: that one's, with a noise for each
    text.
    """

    def __init__(self, known: Mapping[str, Vectors], noise: Vectors) -> None:
        self.known, self.noise = known, noise

    def __call__(self, texts: Sequence[str]) -> Vectors:
        return np.array([self._vector(text) for text in texts])

    def _vector(self, text: str) -> Vectors:
        if text in self.known:
            return self.known[text]
        (item,) = (word for word in text.split() if word[0] == "i" and word[1:].isdecimal())
        return self.known[caption_text(int(item[1:]), 0)] + self.noise[crc32(text.encode()) % len(self.noise)]


def shuffle_noise(rng: np.random.Generator, dim: int) -> Vectors:
    """Return noises for shuffles of captions to share: so many that two of the thousands of one sample hardly meet."""
    return rng.standard_normal((N_SHUFFLES, dim), np.float32) / np.float32(2 * np.sqrt(dim))


def caption_text(item: int, place: int, n_more: int = 0, has_same_words: bool = False) -> str:
    """Return a caption of nine words; a false one has one more, one less, or the same words in another order."""
    common = ["a", "small", "b", "on", "the", "c", "by"]
    if has_same_words:
        return " ".join([f"i{item}", "d", *reversed(common)])
    common = common[1:] if n_more < 0 else ["y", *common] if n_more > 0 else common
    return " ".join([f"i{item}", *common, f"x{place}" if place else "d"])


class Choices(NamedTuple):
    """Outcomes of items with ties broken at random, with ties as misses, and with ties as hits."""

    broken: Vectors
    strict: Vectors
    lenient: Vectors


def chosen(scores: Vectors, truth: Vectors, rng: np.random.Generator) -> Choices | None:
    """Return whether each image has all its true captions above its false ones; None where there is no choice."""
    outcomes = []
    rounded = np.round(scores, 9)
    for each, is_enough in ((untied(scores, rng), np.greater), (rounded, np.greater), (rounded, np.greater_equal)):
        hit = np.ones(len(scores), bool)
        for image, line in enumerate(truth):
            if line.any() and not line.all():
                hit &= is_enough(each[:, image, line].min(axis=1), each[:, image, ~line].max(axis=1))
        outcomes.append(hit)
    return Choices(*outcomes) if any(line.any() and not line.all() for line in truth) else None


def pair_share(scores: Vectors, truth: Vectors) -> Vectors:
    """Return the mean over pairs of a true and a false caption of one image of whether they are in the right order."""
    rounded = np.round(scores, 9)
    pairs = [
        (1 + np.sign(rounded[:, image, true] - rounded[:, image, false])) / 2
        for image, line in enumerate(truth)
        for true in np.flatnonzero(line)
        for false in np.flatnonzero(~line)
    ]
    return np.mean(pairs, axis=0)


def overlap(scores: Vectors, truth: Vectors) -> Vectors:
    """Return the mean over captions of the Jaccard index of a caption's true images with as many nearest to it."""
    shares = []
    for caption, line in enumerate(truth):
        if line.any() and not line.all():
            nearest = np.argsort(-scores[:, caption], axis=1)[:, : line.sum()]
            n_hits = line[nearest].sum(axis=1)
            shares.append(n_hits / (2 * line.sum() - n_hits))
    return np.mean(shares, axis=0)


@cache
def _truth_of_four_kinds(world: FourKinds, effect: str) -> Truth:
    found = {kind: _truth_of_kind(world, kind, effect) for kind in KINDS}
    of_kinds = {kind: each.values for kind, each in found.items()}
    mean_caption = np.mean([each.mean_caption for each in found.values()], axis=0)
    truth = {f"{kind}/{name}": value for kind, values in of_kinds.items() for name, value in values.items()}
    for name in {name for values in of_kinds.values() for name in values}:
        mean = float(np.mean([values[name] for values in of_kinds.values() if name in values]))
        truth |= {name: mean, f"macro/{name}": mean, f"micro/{name}": mean}
    return with_baselines({**truth, "other_cosine": float(mean_caption @ mean_caption)})


class _OfKind(NamedTuple):
    values: dict[str, float]
    mean_caption: Vectors


def with_baselines(truth: Truth) -> Truth:
    """Return the true values, those of baselines under their names too."""
    return {**truth, **{f"baseline {name}": value for name, value in truth.items()}}


def _truth_of_kind(world: FourKinds, kind: str, effect: str) -> _OfKind:
    rng = np.random.default_rng(len(kind))
    n = POPULATION
    groups, is_tied = np.resize(GROUPS, n), rng.random(n) < TIED
    law = ItemLaw.draw(rng, kind, n, world.dim)
    items = law.items(rng, world.strengths[effect] * OF_GROUP[groups], is_tied)
    images, captions = unit(items.images), unit(items.captions)
    of_images, of_captions = (np.array(signs) for signs in KINDS[kind])
    truth, scores = of_images[:, None] == of_captions, np.einsum("nid,ncd->nic", images, captions)
    columns: dict[str, Vectors] = {}
    decided = {
        "text_acc": chosen(scores, truth, rng),
        "image_acc": chosen(scores.swapaxes(1, 2), truth.T, rng),
    }
    if decided["text_acc"] and decided["image_acc"]:
        decided["group_acc"] = Choices(*(a & b for a, b in zip(decided["text_acc"], decided["image_acc"], strict=True)))
    if kind == "plus":
        cosines = np.einsum("nad,nbd->nab", captions, captions)
        pairs = np.stack([cosines[:, 0, 1], cosines[:, 0, 2], cosines[:, 1, 2]], axis=1)
        decided["text_only_acc"] = chosen(pairs[:, None], np.array([[True, False, False]]), rng)
    present = {name: each for name, each in decided.items() if each is not None}
    for name, each in present.items():
        columns |= {name: each.broken, f"{name}_strict": each.strict}
    columns["tie_rate"] = np.any([each.strict != each.lenient for each in present.values()], axis=0)
    if "text_acc" in present:
        columns["text_pair_acc"] = pair_share(scores, truth)
        twins = [
            cosines
            for one, other in zip(*np.nonzero(truth), strict=True)
            for cosines in [
                np.einsum("nd,nd->n", captions[:, other], captions[:, false]) for false in np.flatnonzero(~truth[one])
            ]
        ]
        columns["hard_negative_cosine"] = np.mean(twins, axis=0)
    if "image_acc" in present:
        columns["image_pair_acc"] = pair_share(scores.swapaxes(1, 2), truth.T)
        columns["image_jaccard"] = overlap(untied(scores, rng).swapaxes(1, 2), truth.T)
    shuffles = unit(items.captions[:, 0] + shuffle_noise(rng, world.dim)[rng.integers(N_SHUFFLES, size=n)])
    columns["shuffled_cosine"] = np.einsum("nd,nd->n", captions[:, 0], shuffles)
    own, other = (np.einsum("nd,nd->n", images[:, 0], each) for each in (captions[:, 0], shuffles))
    columns["word_order_acc"] = own > other
    by_group = {
        f"macro_{name}": float(np.mean([column[groups == group].mean() for group in np.unique(groups)]))
        for name, column in columns.items()
        if "acc" in name
    }
    values = {**{name: float(column.mean()) for name, column in columns.items()}, **by_group, **BLIND.get(kind, {})}
    return _OfKind(values, captions[:, 0].mean(axis=0))


BLIND = {
    "twins": {"same_words": SAME_WORDS, "shorter_caption": 0.2 + 0.6 / 2},
    "pairs": {"same_words": SAME_WORDS, "shorter_caption": 0.6 / 4},
    "plus": {"same_words": SAME_WORDS / 2, "shorter_caption": 0.2 + 0.6 / 3},
}
"""Values that follow from the texts: of two true captions, the second has other words than the false one."""


# Items that share images ----------------------------------------------------------------------------------------------

SUBSETS = ("swap_obj", "swap_att", "replace_obj", "replace_att")


@dataclass(frozen=True)
class SharedImages:
    """SugarCrepe's form: two items of each image, of different subsets, so that items of one image are alike."""

    name: ClassVar[str] = "composition, two items an image"
    task: ClassVar[Task] = Composition()
    dim: ClassVar[int] = 12

    strengths: ClassVar = {"none": 0.0, "small": 0.4, "large": 1.5}

    def draw(self, rng: np.random.Generator, n: int, effect: str, n_models: int = 1) -> Draw:
        law = SharedLaw.draw(rng, n // 2, self.dim)
        contrasts = tuple(
            Contrast(
                id=f"{image}-{place}",
                subset=SUBSETS[subset],
                images=(image,),
                captions=(caption_text(2 * image + place, 0), caption_text(2 * image + place, 1)),
                is_true=((True, False),),
            )
            for image, subsets in enumerate(law.subsets)
            for place, subset in enumerate(subsets)
        )
        dataset = Dataset(
            id="shared-images",
            images=images_named(n // 2),
            image_ids=[str(row) for row in range(n // 2)],
            contrasts=contrasts,
        )
        names = [text for each in contrasts for text in each.captions]
        models = []
        for _ in range(n_models):
            images, captions = law.items(rng, self.strengths[effect])
            known = dict(zip(names, captions.reshape(-1, self.dim), strict=True))
            models.append(SimulatedModel(images, Texts(known, shuffle_noise(rng, self.dim))))
        return Draw(dataset, models)

    def truth(self, n: int, effect: str) -> Truth:
        return _truth_of_shared_images(self, effect)


class SharedLaw(NamedTuple):
    """Parts that all models share: the scene of each image, the contrasts of its two items, and a part of the noise."""

    subsets: Vectors
    base: Vectors
    contrasts: Vectors
    """(images, items, dim); those of later subsets are weaker."""
    is_tied: Vectors
    noise: Noise

    @classmethod
    def draw(cls, rng: np.random.Generator, n: int, dim: int) -> "SharedLaw":
        subsets = np.argsort(rng.random((n, len(SUBSETS))), axis=1)[:, :2]
        base = 0.5 / np.sqrt(dim) + rng.standard_normal((n, dim)) / np.sqrt(dim)
        contrasts = unit(rng.standard_normal((n, 2, dim))) * (1 - 0.2 * subsets[:, :, None])
        return cls(subsets, base, contrasts, rng.random((n, 2)) < TIED, Noise.draw(rng, 5 * n, dim, spread=0.6))

    def items(self, rng: np.random.Generator, strength: float) -> tuple[Vectors, Vectors]:
        """Return what one more model makes of them: images, and (images, items, true and false, dim)."""
        noise = self.noise.of_model(rng).reshape(len(self.base), 5, -1) / np.sqrt(self.base.shape[1])
        images = self.base + strength * self.contrasts.sum(axis=1) + noise[:, 0]
        signs = np.array([1.0, -1.0])[:, None]
        captions = self.base[:, None, None] + strength * signs * self.contrasts[:, :, None]
        captions = captions + noise[:, 1:].reshape(captions.shape) / 2
        captions[self.is_tied, 1] = captions[self.is_tied, 0]
        return images, captions


@cache
def _truth_of_shared_images(world: SharedImages, effect: str) -> Truth:
    rng = np.random.default_rng(0)
    law = SharedLaw.draw(rng, POPULATION, world.dim)
    images, captions = law.items(rng, world.strengths[effect])
    shuffles = unit(
        captions[:, :, 0] + shuffle_noise(rng, world.dim)[rng.integers(N_SHUFFLES, size=captions.shape[:2])]
    )
    images, captions = unit(images)[:, None], unit(captions)
    scores = np.einsum("nid,nicd->nic", np.broadcast_to(images, captions[:, :, 0].shape), captions)
    flat = scores.reshape(-1, 1, 2)
    decided = chosen(flat, np.array([[True, False]]), rng)
    assert decided is not None
    columns = {
        "text_acc": decided.broken,
        "text_acc_strict": decided.strict,
        "tie_rate": decided.strict != decided.lenient,
        "hard_negative_cosine": np.einsum("nid,nid->ni", captions[:, :, 0], captions[:, :, 1]).ravel(),
        "shuffled_cosine": np.einsum("nid,nid->ni", captions[:, :, 0], shuffles).ravel(),
        "word_order_acc": (scores[:, :, 0] > (images * shuffles).sum(axis=2)).ravel(),
        "same_words": np.zeros(len(flat)),
        "shorter_caption": np.full(len(flat), 0.5),
    }
    subset = np.array(SUBSETS)[law.subsets.ravel()]
    truth = {name: float(column.mean()) for name, column in columns.items()}
    for name, column in columns.items():
        of_subsets = {each: float(column[subset == each].mean()) for each in SUBSETS}
        truth |= {f"{each}/{name}": value for each, value in of_subsets.items()}
        truth[f"macro/{name}"], truth[f"micro/{name}"] = float(np.mean(list(of_subsets.values()))), truth[name]
        for category in ("swap", "replace"):
            truth[f"{category}/{name}"] = float(np.mean([v for k, v in of_subsets.items() if k.startswith(category)]))
    mean = captions[:, :, 0].reshape(-1, world.dim).mean(axis=0)
    return with_baselines({**truth, "other_cosine": float(mean @ mean)})


# Captions alone -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class CaptionsAlone:
    """Two captions an image, each against four shuffles of itself."""

    name: ClassVar[str] = "composition, captions alone"
    task: ClassVar[Task] = Composition()
    dim: ClassVar[int] = 12

    strengths: ClassVar = {"none": 0.0, "small": 0.2, "large": 1.0}

    def draw(self, rng: np.random.Generator, n: int, effect: str, n_models: int = 1) -> Draw:
        owner = np.repeat(np.arange(n // 2), 2)
        base = self._scenes(rng, n // 2)
        noise = Noise.draw(rng, n // 2 + n, self.dim)
        texts = [caption_text(row, 0) for row in range(n)]
        dataset = Dataset(
            id="captions-alone",
            images=images_named(n // 2),
            image_ids=[str(row) for row in range(n // 2)],
            captions=texts,
            caption_image=owner,
        )
        models = []
        for _ in range(n_models):
            images, captions = self._vectors(rng, base, owner, noise, effect)
            known = dict(zip(texts, captions, strict=True))
            models.append(SimulatedModel(images, Texts(known, shuffle_noise(rng, self.dim))))
        return Draw(dataset, models)

    def _scenes(self, rng: np.random.Generator, n: int) -> Vectors:
        return 0.5 / np.sqrt(self.dim) + rng.standard_normal((n, self.dim)) / np.sqrt(self.dim)

    def _vectors(
        self, rng: np.random.Generator, base: Vectors, owner: Vectors, noise: Noise, effect: str
    ) -> tuple[Vectors, Vectors]:
        images, captions = np.split(noise.of_model(rng) / np.sqrt(self.dim), [len(base)])
        # The scene is in the image by the strength of the effect; the captions have it, and so have their shuffles.
        return 0.5 + self.strengths[effect] * base + images, base[owner] + captions

    def truth(self, n: int, effect: str) -> Truth:
        return _truth_of_captions_alone(self, effect)


@cache
def _truth_of_captions_alone(world: CaptionsAlone, effect: str) -> Truth:
    rng = np.random.default_rng(0)
    base, owner = world._scenes(rng, POPULATION), np.arange(POPULATION)
    noise = Noise.draw(rng, 2 * POPULATION, world.dim)
    images, captions = world._vectors(rng, base, owner, noise, effect)
    others = captions[:, None] + shuffle_noise(rng, world.dim)[rng.integers(N_SHUFFLES, size=(POPULATION, 5))]
    images, captions, others = unit(images), unit(captions), unit(others)
    own = np.einsum("nd,nd->n", images, captions)
    false = np.einsum("nd,nkd->nk", images, others)
    mean = captions.mean(axis=0)
    values = {
        "text_acc": (own[:, None] > false[:, :4]).all(axis=1).mean(),
        "text_pair_acc": (own[:, None] > false[:, :4]).mean(),
        "word_order_acc": (own > false[:, 4]).mean(),
        "hard_negative_cosine": np.einsum("nd,nkd->nk", captions, others[:, :4]).mean(),
        "shuffled_cosine": np.einsum("nd,nd->n", captions, others[:, 4]).mean(),
        "other_cosine": mean @ mean,
        "tie_rate": 0.0,
        "same_words": 1.0,
        "shorter_caption": 1 / 5,
    }
    values["text_acc_strict"] = values["text_acc"]
    return with_baselines({**values, **{f"order/{name}": value for name, value in values.items()}})
