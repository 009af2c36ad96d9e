"""Attacks on probes: worlds in which it is known who is fooled, folds that keep an object out, and published scores."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import clipbench as cb
from clipbench.data import Attack, Dataset, Prompts
from clipbench.evaluation.task import Evaluation
from clipbench.results.record import Metric
from clipbench.testing import FixedEmbedder, NamedImage, ToyModel
from clipbench_tasks.text_in_image.probes import CLASSIFIERS, training_of
from clipbench_tasks.text_in_image.task import TextInImage
from tests.made import data_of, evaluate_task

PUBLISHED = Path(__file__).parents[4] / "shared" / "data" / "typographic" / "published_clip_scores_in_the_wild_2.json"
CLASSES = ("cat", "dog", "cow")
N_OBJECTS = 4
"""Objects of each class."""
Vectors = dict[str, list[float]]


def directions(**parts: float) -> list[float]:
    """Return a vector of a direction for each class as an object, and one for each as a word."""
    return [parts.get(name, 0.0) for name in (*CLASSES, *(f"word_{name}" for name in CLASSES))]


TEXTS: Vectors = {name: directions(**{name: 1.0, f"word_{name}": 1.0}) for name in CLASSES}
"""The prompt of a class is near to its objects and to its written word alike."""


def world(word: str) -> tuple[Dataset, Vectors]:
    """Return objects with the name of the next class on them, and vectors to which the name adds twice a direction.

    Args:
        word: that direction, with CLASS for the class that is written.
    """
    images: Vectors = {}
    attacks = []
    for label, name in enumerate(CLASSES):
        other = CLASSES[(label + 1) % len(CLASSES)]
        for number in range(N_OBJECTS):
            images[f"{name}{number}"] = directions(**{name: 1.0})
            images[f"{name}{number}-{other}"] = directions(**{name: 1.0} | {word.replace("CLASS", other): 2.0})
            at = len(images)
            attacks.append(Attack(f"{name}{number}", label, CLASSES.index(other), at - 1, clean=at - 2))
    return data_of(images, id="toy", class_names=CLASSES, attacks=attacks), images


def evaluate(data: Dataset, images: Vectors, texts: Vectors = TEXTS) -> tuple[Evaluation, dict[str, Metric]]:
    task = TextInImage(prompts=Prompts(templates=("{c}",)), probes=True)
    return evaluate_task(task, data, FixedEmbedder(images, texts))


def success(values: Mapping[str, Metric]) -> list[float | None]:
    return [values[f"{key}_attack_success"].value for key in CLASSIFIERS]


def test_a_word_in_directions_that_objects_do_not_have_fools_the_prompts_alone() -> None:
    _, values = evaluate(*world("word_CLASS"))
    assert success(values) == [1.0, 0.0, 0.0] and values["attack_success"].value == 1.0
    difference = values["zero_shot_minus_linear_probe"]
    assert difference.value == 1.0 and difference.chance == 0.0 and (difference.low or 0) > 0.4
    assert values["zero_shot_minus_knn"].value == 1.0
    assert values["linear_probe_attacked_acc"].value == values["knn_plain_acc"].value == 1.0
    assert values["linear_probe_plain_named_word"].baseline_of == ["linear_probe_attack_success"]
    assert values["zero_shot_plain_named_word"].value == 0.0 and values["knn_attacked_acc"].chance == 1 / 3


def test_a_word_in_the_direction_of_the_objects_that_it_names_fools_all() -> None:
    evaluation, values = evaluate(*world("CLASS"))
    assert success(values) == [1.0, 1.0, 1.0] and values["zero_shot_minus_linear_probe"].value == 0.0
    assert evaluation.samples["linear_probe_predicted"][0] == "dog"
    assert evaluation.notes[-1].startswith("probes: 12 attacks among 3 classes of equal weight, trained on images of")
    assert "other objects than the attacked one, in 4 folds (each 9 without a word, 3 a class)" in evaluation.notes[-1]


def test_no_attack_is_tested_by_a_probe_that_saw_its_object() -> None:
    data, images = world("word_CLASS")
    # Objects 0 and 1 share an image with a blank overlay: they are one.
    attacks = list(data.attacks or ())
    attacks[1] = attacks[1]._replace(blank=attacks[0].clean)
    training = training_of(replace(data, attacks=attacks), attacks, data.image_ids)
    for attack, fold in zip(attacks, training.of_attack.tolist(), strict=True):
        is_of_attack = np.isin(training.images, attack.images)
        assert is_of_attack.any() and (training.folds[is_of_attack] == fold).all()
    assert training.of_attack[0] == training.of_attack[1] and len(set(training.of_attack.tolist())) == 4
    # Two files of one content are one image too.
    copied = ["cat3" if id == "cow3" else id for id in data.image_ids]
    of_attack = training_of(data, data.attacks or (), copied).of_attack
    assert of_attack[3] == of_attack[11]
    # Two of the cats look like nothing else: a probe that saw them would know them, and none does.
    odd = {**images}
    for name in ("cat0", "cat0-dog"):
        odd[name] = directions(cat=-1.0, word_cow=3.0)
    right = evaluate(data, odd)[0].samples
    assert right["linear_probe_plain_acc"][0] == 0.0 and right["knn_plain_acc"][0] == 0.0
    assert right["linear_probe_plain_acc"][1:].all()


def test_the_order_of_attacks_and_images_changes_nothing() -> None:
    data, images = world("word_CLASS")
    rng = np.random.default_rng(0)
    noisy = {name: (np.array(vector) + rng.normal(0, 0.8, 6)).tolist() for name, vector in images.items()}
    first = evaluate(data, noisy)[0].samples
    order = rng.permutation(len(data))
    mixed = data.take(order)
    second = evaluate(replace(mixed, attacks=tuple(reversed(mixed.attacks or ()))), noisy)[0].samples
    place = [first["sample_id"].tolist().index(id) for id in second["sample_id"]]
    for key in CLASSIFIERS:
        for part in ("attack_success", "attacked_acc", "plain_acc"):
            assert second[f"{key}_{part}"].tolist() == first[f"{key}_{part}"][place].tolist()


def test_attacks_by_or_on_classes_that_cannot_be_trained_are_left_out() -> None:
    data, images = world("word_CLASS")
    attacks = [attack for attack in data.attacks or () if attack.label != 2 or attack.id == "cow0"]
    evaluation, values = evaluate(replace(data, attacks=attacks), images)
    # One cow trains nothing: of the others, only the cats have a word (dog) that is trained.
    assert values["linear_probe_attack_success"].n == 4 and values["attack_success"].n == 9
    assert values["knn_attacked_acc"].chance == 1 / 2
    assert (
        np.isnan(evaluation.samples["knn_attack_success"][-1])
        and evaluation.samples["linear_probe_predicted"][-1] == ""
    )


def test_one_object_a_class_leaves_the_probes_undefined_with_the_reason() -> None:
    data, images = world("word_CLASS")
    attacks = [attack for attack in data.attacks or () if attack.id.endswith("0")]
    _, values = evaluate(replace(data, attacks=attacks), images)
    undefined = values["linear_probe_attack_success"]
    assert undefined.value is None and "two objects each, shown without a word" in (undefined.reason or "")
    assert "knn_attack_success" not in values


# -- images of their own to train on


def photographs(tmp_path: Path, *classes: str) -> str:
    for name in classes:
        for number in range(2):
            (tmp_path / name).mkdir(exist_ok=True)
            NamedImage(f"{name}{number}").open().save(tmp_path / name / f"{number}.png")
    return str(tmp_path)


def test_other_images_are_trained_on_where_the_data_name_some(tmp_path: Path) -> None:
    data, _ = world("word_CLASS")
    folder = photographs(tmp_path, "Cat", "dog", "horse")
    run = cb.run(ToyModel(), "text-in-image", data=data, data_options={"train": folder}, limit=5)
    (record,) = run.result.evaluations
    table = run.samples("text-in-image")
    is_asked = table["linear_probe_attack_success"].notna()
    assert len(table) == 5 and is_asked.tolist() == table["object"].eq("cat").tolist()  # the next class is the dog's
    assert record.metrics["knn_attacked_acc"].chance == 1 / 2
    notes = " ".join(record.notes)
    assert "among 2 classes of equal weight, trained on images of their own (4 without a word, 2 a class)" in notes
    assert "in classes without an attack (2): left out" in notes


def test_an_image_that_an_attack_shows_trains_no_probe(tmp_path: Path) -> None:
    folder = photographs(tmp_path, "cat", "dog")
    options = {"train": folder, "n": "2"}
    run = cb.run(ToyModel(), "text-in-image", data=folder, data_options=options)
    (record,) = run.result.evaluations
    assert "2 training images are left out, because an attack shows them" in record.notes
    assert any("images of their own (2 without a word, 1 a class)" in note for note in record.notes)
    run = cb.run(ToyModel(), "text-in-image", data=folder, data_options={"train": folder})
    reason = run.result.evaluations[0].metrics["linear_probe_attack_success"].reason or ""
    assert reason.endswith(
        "both classes of the images to train on, of which 4 are left out because an attack shows them"
    )


def test_a_class_of_many_images_has_no_advantage() -> None:
    data, images = world("word_CLASS")
    # Nothing shows of what class an object is; most of those to train on are dogs, the word on every cat.
    alike = {name: directions(cat=1.0) for name in images}
    rows = [row for row, id in enumerate(data.image_ids) if "-" not in id and not id.startswith("cow")]
    other_rows = [row for row in rows if data.image_ids[row] not in ("cat1", "cat2", "cat3")]
    further_images = [NamedImage(f"more {row}") for row in other_rows]
    alike |= {namedimage.name: directions(cat=1.0) for namedimage in further_images}
    labels = np.array([0] * len(data) + [CLASSES.index(data.image_ids[row][:3]) for row in other_rows])
    everything = replace(
        data,
        images=[*data.images, *further_images],
        image_ids=[*data.image_ids, *(namedimage.name for namedimage in further_images)],
        labels=labels,
        is_training=np.arange(len(labels)) >= len(data),
        attacks=[namedimage for namedimage in data.attacks or () if namedimage.label == 0],
    )
    evaluation, values = evaluate(everything, alike)
    assert success(values)[1:] == [0.5, 0.5]
    assert "(5 without a word, 1 to 4 a class)" in evaluation.notes[-1]


def test_images_to_train_on_that_show_no_class_of_the_attacks_are_refused(tmp_path: Path) -> None:
    data, _ = world("word_CLASS")
    options = {"train": photographs(tmp_path, "horse", "sheep")}
    with pytest.raises(
        cb.ClipbenchError, match=r"none of its 4 images is of a class of toy: .* 'horse', expected names such"
    ):
        cb.run(ToyModel(), "text-in-image", data=data, data_options=options)
    with pytest.raises(cb.ClipbenchError, match="data 'scenes' has no option 'train'"):
        cb.run(ToyModel(), "text-in-image@scenes", data_options=options)


# -- published


def statistics(values: Mapping[str, Sequence[Sequence[object]]], kind: str, classes: Sequence[str]) -> list[float]:
    shares = {str(name): float(str(share)) for share, name in values[f"{kind}_statistics"]}
    return [shares.get(name, 0.0) for name in classes]


@pytest.mark.skipif(not PUBLISHED.is_file(), reason=f"needs {PUBLISHED}")
def test_published_scores_fool_zero_shot_in_25_of_34_attacks_and_the_linear_probe_in_none() -> None:
    published = json.loads(PUBLISHED.read_text())
    kinds = ("zero_shot", "linear_probe")
    names = {n for words in published.values() for f in words.values() for k in kinds for _, n in f[f"{k}_statistics"]}
    classes = sorted(names)
    spelled = {name.casefold(): name for name in classes}
    n = len(classes)
    # Prompts see the first n directions, where images have the zero-shot scores; images to train on lie in the others.
    images = {f"train {name}": [0.0] * n + np.eye(n)[k].tolist() for k, name in enumerate(classes)}
    attacks = []
    for thing, words in published.items():
        own = words["blank"]["zero_shot_statistics"][0][1]
        for word, result in words.items():
            images[f"{thing}-{word}"] = [share for kind in kinds for share in statistics(result, kind, classes)]
            if word != "blank" and spelled[word] != own:
                attacks.append(
                    Attack(
                        f"{thing}-{word}",
                        label=classes.index(own),
                        word=classes.index(spelled[word]),
                        attacked=len(images) - 1,
                        blank=n + 6 * list(published).index(thing),
                        object=thing,
                    )
                )
    assert list(images)[attacks[0].blank or 0] == "apple-blank"
    data = data_of(
        images,
        class_names=tuple(classes),
        attacks=attacks,
        labels=np.minimum(np.arange(len(images)), n - 1),
        is_training=np.arange(len(images)) < n,
    )
    texts = {name: np.eye(2 * n)[k].tolist() for k, name in enumerate(classes)}
    _, values = evaluate(data, images, texts)
    assert values["attack_success"].value == values["zero_shot_attack_success"].value == pytest.approx(25 / 34)
    assert values["attacked_acc"].value == pytest.approx(7 / 34)
    assert values["blank_acc"].value == pytest.approx(29 / 34)  # the blank laptop is taken for a notebook computer
    assert values["linear_probe_attack_success"].value == 0.0 and values["linear_probe_attack_success"].n == 34
    difference = values["zero_shot_minus_linear_probe"]
    assert difference.value == pytest.approx(25 / 34) and 0.25 < (difference.low or 0) < (difference.high or 0) <= 1
    assert "over 7 clusters" in (values["linear_probe_attack_success"].method or difference.method or "")
