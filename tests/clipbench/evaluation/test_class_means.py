"""Which side is at fault where classes are named badly: what is named, what is not, and how often by chance."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from jaxtyping import Float32
from PIL import Image

from clipbench import Dataset, FileImage, doctor
from clipbench.evaluation.class_means import ClassHits, judged, leave_one_out_credit, with_other_images
from clipbench.results.record import CheckFinding
from clipbench.testing import INFO

DIM = 32


def unit_rows(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def drawn(
    rng: np.random.Generator,
    *,
    n_classes: int = 10,
    n: int = 160,
    separation: float = 1.0,
    skill: float = 1.0,
    order: Sequence[int] | None = None,
    of_images: np.random.Generator | None = None,
) -> ClassHits:
    """Return the hits of two towers.

    Args:
        rng: of the classes and their texts, and of the images too unless they have their own.
        separation: length of the part of an image's vector that its class decides, next to noise of length 1.
        skill: the same of the vector of a class's text.
        order: class whose text stands at each place.
    """
    centres = unit_rows(rng.standard_normal((n_classes, DIM)))
    texts = skill * centres + rng.standard_normal((n_classes, DIM)) / DIM**0.5
    labels = np.arange(n) % n_classes
    images = separation * centres[labels] + (of_images or rng).standard_normal((n, DIM)) / DIM**0.5
    best = (images @ unit_rows(texts)[range(n_classes) if order is None else order].T).argmax(axis=1)
    return ClassHits(
        by_means=leave_one_out_credit(images.astype(np.float32), labels),
        by_texts=(best == labels).astype(float),
        labels=labels,
        named=best,
        class_names=[f"class {number}" for number in range(n_classes)],
    )


def reach(hits: ClassHits) -> float:
    """Return what texts reach above chance, as a fraction of what class means do."""
    return (hits.by_texts.mean() - hits.chance) / (hits.by_means.mean() - hits.chance)


@pytest.mark.slow
@pytest.mark.parametrize(("separation", "skill"), [(1.0, 1.0), (0.5, 1.1), (0.3, 0.8), (0.3, 1.5), (0.8, 1.0)])
@pytest.mark.parametrize(("n_classes", "n"), [(2, 60), (10, 160), (50, 500)])
def test_towers_whose_texts_reach_half_have_a_warning_in_at_most_one_of_twenty_draws(
    separation: float, skill: float, n_classes: int, n: int
) -> None:
    rng = np.random.default_rng(0)
    n_draws = n_warnings = 0
    for seed in range(300):
        many, few = (
            drawn(
                np.random.default_rng(seed),
                n_classes=n_classes,
                n=n_images,
                separation=separation,
                skill=skill,
                of_images=rng,
            )
            for n_images in (40 * n_classes, n)
        )
        if reach(many) >= 0.5:
            n_draws += 1
            n_warnings += judged(few).status == "warning"
    assert n_warnings <= 0.05 * n_draws and n_draws >= 20


@pytest.mark.slow
@pytest.mark.parametrize("by_means", [0.3, 0.6, 0.95])
@pytest.mark.parametrize(("n_classes", "n"), [(2, 60), (10, 60), (10, 160), (100, 500)])
def test_texts_that_reach_just_a_third_have_a_warning_in_at_most_one_of_twenty_draws(
    by_means: float, n_classes: int, n: int
) -> None:
    chance = 1 / n_classes
    by_means = max(by_means, 2 * chance - 0.2)
    by_texts = chance + (by_means - chance) / 3
    rng = np.random.default_rng(1)
    n_warnings = 0
    for _ in range(1_000):
        labels = np.arange(n) % n_classes
        is_hit = rng.random(n) < by_texts
        hits = ClassHits(
            by_means=(rng.random(n) < by_means).astype(float),
            by_texts=is_hit.astype(float),
            labels=labels,
            named=np.where(is_hit, labels, (labels + rng.integers(1, n_classes, n)) % n_classes),
            class_names=[f"class {number}" for number in range(n_classes)],
        )
        finding = judged(hits)
        n_warnings += finding.status == "warning" and "neither" not in finding.seen
    assert n_warnings <= 50


def test_texts_that_have_nothing_of_the_classes_are_named() -> None:
    n_named = 0
    for seed in range(20):
        finding = judged(drawn(np.random.default_rng(seed), skill=0.0))
        n_named += finding.status == "warning" and "check the tokenizer and its ids" in finding.fix
    assert n_named >= 19


def test_class_names_in_another_order_are_named_with_a_pair() -> None:
    finding = judged(drawn(np.random.default_rng(0), order=[1, 2, 3, 4, 5, 6, 7, 8, 9, 0]))
    assert finding.status == "warning" and "in another order than the labels" in finding.seen
    parts, own = finding.seen.split("('")[1].split("' fits the images of '")
    number, of_images = int(parts.removeprefix("class ")), int(own.split("')")[0].removeprefix("class "))
    assert (number + 1) % 10 == of_images


def test_images_that_do_not_distinguish_the_classes_either_are_named() -> None:
    finding = judged(drawn(np.random.default_rng(0), n=500, separation=0.0))
    assert finding.status == "warning" and finding.seen.startswith("neither") and "preprocessing" in finding.fix


def test_the_credit_is_that_of_a_loop_over_images() -> None:
    rng = np.random.default_rng(0)
    labels = rng.permutation(np.arange(40) % 7)
    images = (rng.standard_normal((40, 5)) + labels[:, None]).astype(np.float32)
    vectors, expected = unit_rows(images.astype(float)), []
    for row, vector in enumerate(vectors):
        is_other = np.arange(40) != row
        means = [vectors[is_other & (labels == label)].mean(axis=0) for label in range(7)]
        expected.append(np.argmax([mean @ vector / np.linalg.norm(mean) for mean in means]) == labels[row])
    assert leave_one_out_credit(images, labels).tolist() == expected


def test_images_that_are_all_alike_tie() -> None:
    assert leave_one_out_credit(np.ones((6, 4), np.float32), np.array([0, 0, 1, 1, 2, 2])) == pytest.approx(1 / 3)


COLOURS = {"red": (230, 20, 20), "green": (20, 200, 30), "blue": (20, 40, 220), "grey": (128, 128, 128)}


class OfColours:
    """A model of colours, whose text tower knows their English names by ids of tokens."""

    info = replace(INFO, embed_dim=8)
    logit_scale = 100.0

    def __init__(self, *, shift: int = 0) -> None:
        self.shift = shift  # of the ids, as another tokenizer has others

    def encode_images(self, images: Sequence[Image.Image]) -> Float32[np.ndarray, "n 8"]:
        return self._vectors(np.stack([np.asarray(image.convert("RGB")).mean(axis=(0, 1)) for image in images]))

    def encode_texts(self, texts: Sequence[str]) -> Float32[np.ndarray, "n 8"]:
        names = [*COLOURS, "a", "photo", "of"]
        rows = []
        for text in texts:
            words = text.lower().replace(".", "").split()
            ids = [names.index(word) + self.shift if word in names else 99 for word in words]
            colours = [list(COLOURS.values())[number] for number in ids if number < len(COLOURS)]
            rows.append(np.mean(colours, axis=0) if colours else np.full(3, 101))
        return self._vectors(np.stack(rows))

    def _vectors(self, colours: np.ndarray) -> Float32[np.ndarray, "n 8"]:
        return np.pad((colours - 100) / 100, ((0, 0), (0, 5)), constant_values=0.05).astype(np.float32)


@pytest.fixture(scope="module")
def colours(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    folder = tmp_path_factory.mktemp("colours")
    rng = np.random.default_rng(3)
    labels = np.repeat(np.arange(len(COLOURS)), 30)
    images = [painted(folder / f"{row:03}.png", list(COLOURS.values())[label], rng) for row, label in enumerate(labels)]
    ids = [f"{row:03}" for row in range(len(images))]
    return Dataset(id="colours", images=images, image_ids=ids, labels=labels, class_names=tuple(COLOURS))


def painted(path: Path, colour: Sequence[int], rng: np.random.Generator) -> FileImage:
    noisy = np.array(colour) + rng.normal(0, 25, (12, 18, 3))
    Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(path)
    return FileImage(path)


def finding_of(model: OfColours, data: Dataset) -> CheckFinding:
    findings = doctor(model, data=data).findings
    return next(finding for finding in findings if finding.check == "class-means")


def test_a_model_that_works_has_no_warning(colours: Dataset) -> None:
    finding = finding_of(OfColours(), colours)
    assert finding.status == "ok" and "names 100.0 % of 120 images, the texts 100.0 %" in finding.seen


def test_ids_of_another_tokenizer_are_named(colours: Dataset) -> None:
    finding = finding_of(OfColours(shift=40), colours)
    assert finding.status == "warning" and "the texts do not reach the model" in finding.seen
    assert "the tokenizer and its ids" in finding.fix


def test_class_names_of_another_language_are_named(colours: Dataset) -> None:
    finding = finding_of(OfColours(), replace(colours, class_names=("rot", "gruen", "blau", "grau")))
    assert finding.status == "warning" and "the language of the class names" in finding.fix


def test_class_names_in_another_order_than_the_labels_are_named(colours: Dataset) -> None:
    finding = finding_of(OfColours(), replace(colours, class_names=("green", "blue", "grey", "red")))
    assert finding.status == "warning" and "' fits the images of '" in finding.seen


def test_a_change_that_lets_the_texts_reach_the_images_is_no_fault_of_the_texts(colours: Dataset) -> None:
    class InCapitals(OfColours):
        def encode_texts(self, texts: Sequence[str]) -> Float32[np.ndarray, "n 8"]:
            return super().encode_texts([text if text == text.lower() else "?" for text in texts])

    finding = finding_of(InCapitals(), replace(colours, class_names=("RED", "GREEN", "BLUE", "GREY")))
    assert finding.status == "ok" and "(with texts in lower case)" in finding.seen


@pytest.mark.parametrize(
    ("kept", "reason"),
    [
        (np.append(np.arange(20), [30, 60, 90]), "of 23 images, no two classes have two images each"),
        (np.arange(0, 120, 30), "of 4 images, no two classes have two images each"),
        (np.arange(0, 120, 6), "20 images with another one of the class are too few"),
    ],
)
def test_few_images_of_a_class_are_not_examined(colours: Dataset, kept: np.ndarray, reason: str) -> None:
    finding = finding_of(OfColours(), colours.take(kept))
    assert finding.status == "not examined" and reason in finding.seen


def test_one_class_and_several_right_classes_are_not_examined(colours: Dataset) -> None:
    single = replace(colours.take(np.arange(20)), class_names=("red",))
    assert "neither two classes nor captions" in finding_of(OfColours(), single).seen
    assert colours.labels is not None
    several = replace(colours, labels=None, right_classes=np.stack([colours.labels, (colours.labels + 1) % 4], axis=1))
    finding = finding_of(OfColours(), several)
    assert finding.status == "not examined" and finding.seen


def test_classes_without_a_second_image_are_left_out_on_both_sides(colours: Dataset) -> None:
    part = with_other_images(colours.take(np.arange(29, 120)))
    assert isinstance(part, Dataset) and part.labels is not None
    assert part.class_names == ("green", "blue", "grey") and len(part) == 90
    assert np.bincount(part.labels).tolist() == [30, 30, 30]
