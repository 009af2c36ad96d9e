"""text-in-image: each metric worked out by hand, models that see only the object or only the word, and published
scores.
"""

import re
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from clipbench.data import Attack, Contrast, Dataset, ImageRef, Prompts
from clipbench.data.scenes import SceneImage, scenes_dataset
from clipbench.data.scenes.world import KINDS, WORDS
from clipbench.errors import DataError
from clipbench.evaluation.task import Evaluation
from clipbench.results.record import Metric
from clipbench.testing import FixedEmbedder
from clipbench_tasks.text_in_image.task import TextInImage
from tests.made import ConstantEmbedder, assert_at_chance, data_of, evaluate_task

Vectors = dict[str, list[float]]


def evaluate(data: Dataset, images: Vectors, texts: Vectors) -> tuple[Evaluation, dict[str, Metric]]:
    return evaluate_task(TextInImage(prompts=Prompts(templates=("{c}",))), data, FixedEmbedder(images, texts))


# -- attacks


CLASSES = {"cat": [1.0, 0.0, 0.0], "dog": [0.0, 1.0, 0.0], "pear": [0.0, 0.0, 1.0]}
PICTURES = {
    "cat": [1.0, 0.2, 0.1],
    "cat-blank": [0.9, 0.3, 0.2],
    "cat-cat": [1.0, 0.0, 0.1],
    "cat-dog": [0.4, 0.9, 0.1],  # fooled
    "cat-pear": [0.5, 0.7, 0.6],  # neither: taken for a dog, and the pear before the cat
    "dog": [0.1, 0.9, 0.3],
    "dog-cat": [0.2, 0.8, 0.1],  # not fooled
}


def attacks() -> Dataset:
    row = {name: number for number, name in enumerate(PICTURES)}
    cat = Attack("1", 0, 1, row["cat-dog"], clean=row["cat"], blank=row["cat-blank"], benign=row["cat-cat"])
    pear = cat._replace(id="2", word=2, attacked=row["cat-pear"])
    dog = Attack("3", label=1, word=0, attacked=row["dog-cat"], clean=row["dog"])
    return data_of(PICTURES, class_names=tuple(CLASSES), attacks=(cat, pear, dog))


CAT = data_of("a", class_names=("cat", "dog"), attacks=(Attack("1", label=0, word=1, attacked=0),))
"""One image of a cat with the word dog."""


def test_an_attacked_image_has_the_cosines_of_its_object_and_of_what_it_was_taken_for() -> None:
    data = attacks()
    varied = (*(data.attacks or ()), Attack("4", 0, 1, 3, clean=0, condition="height=0.1"))
    samples = evaluate(replace(data, attacks=varied), PICTURES, CLASSES)[0].samples
    arrays = [np.array(PICTURES[name]) for name in ("cat-dog", "cat-pear", "dog-cat", "cat-dog")]
    lengths = np.array([np.linalg.norm(array) for array in arrays])
    assert samples["target_cosine"] == pytest.approx(np.array([0.4, 0.5, 0.8, 0.4]) / lengths, abs=1e-7)
    assert samples["predicted_cosine"] == pytest.approx(np.array([array.max() for array in arrays]) / lengths, abs=1e-7)
    assert samples["attacked_margin"][:3] == pytest.approx(samples["margin"][:3]) and np.isnan(
        samples["attacked_margin"][3]
    )


def test_what_a_label_does_is_measured_on_the_same_object() -> None:
    evaluation, metrics = evaluate(attacks(), PICTURES, CLASSES)
    expected = {
        "clean_acc": 1.0,
        "blank_acc": 1.0,
        "benign_acc": 1.0,
        "attacked_acc": 1 / 3,
        "attack_success": 1 / 3,
        "drop": 2 / 3,
        "drop_from_blank": 1.0,  # of the two that have a blank overlay
        "clean_two_way_acc": 1.0,
        "attacked_two_way_acc": 1 / 3,
        "clean_named_word": 0.0,
        "blank_named_word": 0.0,
        "attack_tie_rate": 0.0,
    }
    assert {name: metrics[name].value for name in expected} == pytest.approx(expected)
    assert evaluation.samples["predicted"].tolist() == ["dog", "dog", "dog"]
    assert evaluation.samples["right"].tolist() == [0.0, 0.0, 1.0] and evaluation.samples["fooled"].tolist() == [
        1.0,
        0.0,
        0.0,
    ]
    assert metrics["blank_acc"].n == 1  # image, which two attacks share


def test_objects_that_are_named_make_the_clusters() -> None:
    data = attacks()
    assert data.attacks is not None
    named_objects = replace(data, attacks=[attack._replace(object=str(n)) for n, attack in enumerate(data.attacks)])
    evaluation, metrics = evaluate(named_objects, PICTURES, CLASSES)
    assert len(set(evaluation.samples["cluster"].tolist())) == 3
    assert metrics["attack_success"].method == "Wilson"


def test_a_tie_between_object_and_word_is_half_for_each() -> None:
    _, metrics = evaluate(CAT, {"a": [1.0, 1.0]}, {"cat": [1.0, 0.0], "dog": [0.0, 1.0]})
    for name in ("attacked_acc", "attack_success", "attacked_two_way_acc"):
        assert metrics[name].value == 0.5
    assert metrics["attack_tie_rate"].value == 1.0


def test_a_tie_that_decides_nothing_is_no_tie_under_attack_and_one_of_the_word_is() -> None:
    attack = Attack("1", label=0, word=1, attacked=0)
    data = data_of("ab", class_names=tuple(CLASSES), attacks=(attack, attack._replace(id="2", attacked=1)))
    # The first image is a pear's, cat and dog tie below; in the second the word ties with the pear on top.
    evaluation, _ = evaluate(data, {"a": [0.1, 0.1, 1.0], "b": [0.1, 1.0, 1.0]}, CLASSES)
    assert evaluation.samples["attack_tied"].tolist() == [0.0, 1.0]
    assert evaluation.samples["attack_success"].tolist() == [0.0, 0.5]


def test_what_data_do_not_show_is_undefined_with_the_reason() -> None:
    _, values = evaluate(CAT, {"a": [1.0, 0.5]}, {"cat": [1.0, 0.0], "dog": [0.0, 1.0]})
    for name in ("clean_acc", "drop"):
        assert values[name].value is None and values[name].reason == "the data has no clean images of the objects"
    assert "blank_acc" not in values and "drop_from_blank" not in values


def test_the_two_way_choice_takes_the_mean_of_prompt_vectors_as_they_come() -> None:
    # Raw means: cat (4.5, 0.5) points along the first axis, dog (0.5, 1); unit means: both at 45 degrees.
    texts = {"a cat": [9.0, 0.0], "the cat": [0.0, 1.0], "a dog": [1.0, 0.0], "the dog": [0.0, 2.0]}
    task = TextInImage(prompts=Prompts(templates=("a {c}", "the {c}")))
    _, values = evaluate_task(task, CAT, FixedEmbedder({"a": [1.0, 0.0]}, texts))
    assert values["attacked_acc"].value == 0.5
    assert values["attacked_two_way_acc"].value == 1.0


def test_settings_become_curves_and_other_conditions_metrics_of_their_own() -> None:
    images = {"a": [1.0, 0.1], "b": [0.1, 1.0], "c": [0.2, 1.0]}
    attacks = (
        Attack("1", label=0, word=1, attacked=0, object="x"),
        Attack("2", label=0, word=1, attacked=1, condition="height=0.2", object="x"),
        Attack("3", label=0, word=1, attacked=0, condition="height=0.05", object="x"),
        Attack("4", label=0, word=1, attacked=0, condition="height=0.2", object="y"),
        Attack("5", label=0, word=1, attacked=2, condition="synthetic", object="x"),
    )
    data = data_of(images, class_names=("cat", "dog"), attacks=attacks)
    evaluation, values = evaluate(data, images, {"cat": [1.0, 0.0], "dog": [0.0, 1.0]})
    curve = evaluation.curves["attack_success_by_height"]
    assert (curve.x, curve.y) == ([0.05, 0.2], [0.0, 0.5])
    assert evaluation.curves["attacked_acc_by_height"].y == [1.0, 0.5]
    assert curve.low is not None and curve.low[0] == 0.0
    assert set(evaluation.curves) == {"attack_success_by_height", "attacked_acc_by_height"}
    assert (values["attack_success"].value, values["attack_success"].n) == (0.0, 1)
    assert values["synthetic/attack_success"].value == 1.0 and values["synthetic/attacked_acc"].value == 0.0


# -- reading


def test_the_nearest_caption_is_what_is_read() -> None:
    captions = ("the word cat", "the word dog", "the word pears")
    first = Contrast("1", "alone", (0,), captions, ((True, False, False),))
    second = Contrast("2", "beside", (1,), captions, ((False, False, True),))
    texts = dict(zip(captions, CLASSES.values(), strict=True))
    images = {"p": [1.0, 0.1, 0.0], "q": [0.1, 0.9, 0.8]}
    evaluation, values = evaluate(data_of(images, contrasts=(first, second)), images, texts)
    assert values["reading_acc"].value == 0.5 and values["reading_acc"].chance == pytest.approx(1 / 3)
    assert values["alone/reading_acc"].value == 1.0 and values["beside/reading_acc"].value == 0.0
    assert evaluation.samples["read"].tolist() == ["the word cat", "the word dog"]
    assert evaluation.samples["margin"].tolist() == pytest.approx([0.9 / np.sqrt(1.01), -0.1 / np.sqrt(1.46)], abs=1e-6)
    assert evaluation.samples["target_cosine"].tolist() == pytest.approx(
        [1 / np.sqrt(1.01), 0.8 / np.sqrt(1.46)], abs=1e-7
    )
    assert evaluation.samples["predicted_cosine"].tolist() == pytest.approx(
        [1 / np.sqrt(1.01), 0.9 / np.sqrt(1.46)], abs=1e-7
    )
    assert evaluation.samples["reading_margin"].tolist() == evaluation.samples["margin"].tolist()
    # Two captions are the shortest, one of them true once: half a coin's credit over two items.
    assert values["reading_shortest"].value == pytest.approx((1 / 2 + 0) / 2)
    # The mean image is (1.1, 1.0, 0.8): nearest to the first caption.
    blind = values["reading_blind"]
    assert blind.value == 0.5 and blind.n == 2 and blind.chance == values["reading_acc"].chance
    assert blind.low is None and (blind.reason or "").startswith(
        "no interval: the choice depends on the mean of all images"
    )


def test_reading_takes_one_image() -> None:
    wino = Contrast("7", "swap", (0, 1), ("a", "b"), ((True, False), (False, True)))
    with pytest.raises(DataError, match="item '7' has 2 images: expected one image and several captions"):
        evaluate(data_of("pq", contrasts=(wino,)), PICTURES, CLASSES)


# -- control models on the generated world


class Control(FixedEmbedder):
    """A model that sees one thing in a scene: its object, or the word written on it."""

    def __init__(self, sees: str) -> None:
        super().__init__({}, {"nothing": one_hot(None).tolist()})
        self.sees = sees

    def images(self, images: Sequence[ImageRef]) -> np.ndarray:
        return np.stack([one_hot(self._seen(image)) for image in images])

    def texts(self, texts: Sequence[str]) -> np.ndarray:
        return np.stack([one_hot(self._named(text)) for text in texts])

    def _seen(self, image: ImageRef) -> str | None:
        assert isinstance(image, SceneImage)
        writing = image.scene.writing
        if self.sees == "object":
            return image.scene.solids[0].kind if image.scene.solids else None
        return writing.word if writing is not None and not writing.is_blank else None

    def _named(self, text: str) -> str | None:
        quoted = re.fullmatch(r'the word "(\w+)"', text)
        if quoted and self.sees == "object":
            return None
        return quoted[1] if quoted else next(kind for kind in KINDS if kind in text.split())


def one_hot(name: str | None) -> np.ndarray:
    vector = np.zeros(len(WORDS) + 1, np.float32)
    vector[-1 if name is None else WORDS.index(name)] = 1
    return vector


@pytest.fixture(scope="module")
def scenes() -> Dataset:
    return scenes_dataset("attacks", n=40)


def control(sees: str, data: Dataset) -> tuple[dict[str, float | None], Evaluation]:
    evaluation, metrics = evaluate_task(TextInImage(), data, Control(sees))
    return {name: metric.value for name, metric in metrics.items()}, evaluation


def test_a_model_that_is_blind_to_text_is_never_fooled_and_reads_at_chance(scenes: Dataset) -> None:
    values, result = control("object", scenes)
    assert values["attack_success"] == 0.0 and values["attacked_acc"] == values["clean_acc"] == 1.0
    assert values["drop"] == values["drop_from_blank"] == 0.0 and values["attacked_two_way_acc"] == 1.0
    assert values["reading_acc"] == pytest.approx(0.1) and values["reading_tie_rate"] == 1.0
    assert set(result.curves["attack_success_by_contrast"].y) == {0.0}


def test_a_model_that_only_reads_is_always_fooled(scenes: Dataset) -> None:
    values, result = control("word", scenes)
    assert values["attack_success"] == 1.0 and values["attacked_acc"] == 0.0 and values["benign_acc"] == 1.0
    assert values["clean_acc"] == values["blank_acc"] == pytest.approx(0.1)  # nothing is written: all classes tie
    assert values["reading_acc"] == 1.0 and values["attacked_two_way_acc"] == 0.0
    assert set(result.curves["attack_success_by_offset"].y) == {1.0}


def test_a_constant_model_scores_exactly_chance(scenes: Dataset) -> None:
    evaluation, metrics = evaluate_task(TextInImage(), scenes, ConstantEmbedder())
    assert_at_chance(metrics, "reading_shortest")
    assert evaluation.curves["attack_success_by_height"].y == pytest.approx([0.1] * 7)
