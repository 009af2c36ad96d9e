"""The world as data sets, and as a stream for training."""

import multiprocessing
from dataclasses import replace
from itertools import permutations

import numpy as np
import pytest

from clipbench.data.images import DrawnImage, ImageRef
from clipbench.data.scenes.captions import TEMPLATES
from clipbench.data.scenes.drawing import SceneImage
from clipbench.data.scenes.facts import verdict
from clipbench.data.scenes.sampling import novelties, primer_pair, scene, training_pair
from clipbench.data.scenes.scene_datasets import distinct_pairs, portrait_labels, scenes_dataset
from clipbench.data.scenes.world import KINDS, Scene


def test_zero_shot_has_one_image_of_every_look_per_round() -> None:
    dataset = scenes_dataset("classes")
    assert (len(dataset), dataset.class_names, dataset.templates) == (1800, tuple(KINDS), TEMPLATES)
    assert dataset.labels is not None and dataset.class_names is not None
    assert np.bincount(dataset.labels).tolist() == [180] * 10
    sets = portrait_labels("test", 1800)
    assert np.bincount(sets["colour_kind"].labels).tolist() == [20] * 90
    for row in (0, 17, 1234):
        solid = _scene(dataset.images[row]).solids[0]
        assert dataset.class_names[dataset.labels[row]] == solid.kind
        names = sets["colour_kind"].class_names
        assert names[sets["colour_kind"].labels[row]] == f"{solid.colour} {solid.kind}"


def test_retrieval_has_a_thousand_captions_each_refuted_by_every_other_image() -> None:
    pairs, _ = distinct_pairs("test", 150)
    assert len({pair.caption.text for pair in pairs.values()}) == 150
    for first, second in permutations(pairs.values(), 2):
        assert any(verdict(fact, second.scene) is False for fact in first.caption.facts), first.caption.text
    dataset = scenes_dataset("pairs")
    assert dataset.captions is not None and dataset.caption_image is not None
    assert len(set(dataset.captions)) == len(dataset) == 1000
    assert list(dataset.captions[:150]) == [pair.caption.text for pair in pairs.values()]
    assert dataset.caption_image.tolist() == list(range(1000))


def test_the_pairs_of_the_modality_gap_are_said_twice_with_the_same_objects() -> None:
    dataset = scenes_dataset("paraphrases", n=50)
    assert dataset.captions is not None and dataset.caption_image is not None and dataset.caption_ids is not None
    assert dataset.caption_image.tolist() == [*range(50), *range(50)]
    assert len(set(dataset.caption_ids)) == 100
    once, again = dataset.captions[:50], dataset.captions[50:]
    assert sum(first != second for first, second in zip(once, again, strict=True)) >= 40
    for image, first, second in zip(dataset.images, once, again, strict=True):
        for solid in _scene(image).solids:
            assert all(word in first and word in second for word in (solid.colour, solid.kind)), second


def test_images_are_drawn_as_large_as_the_model_takes_them_within_what_can_be_drawn() -> None:
    image = scenes_dataset("pairs", n=1).images[0]
    assert isinstance(image, DrawnImage)
    assert [image.open_at(side).size[0] for side in (32, 64, 225, 512, 1024)] == [64, 64, 225, 512, 512]
    assert image.open().size == (224, 224)
    fixed = scenes_dataset("pairs", n=1, size=96).images[0]
    assert isinstance(fixed, DrawnImage)
    assert fixed.open_at(224).size == fixed.open().size == (96, 96)


def test_models_of_any_input_size_are_measured_on_the_same_data_unless_a_size_is_fixed() -> None:
    free, fixed = scenes_dataset("pairs", n=5), scenes_dataset("pairs", n=5, size=64)
    prints = [data.fingerprint([image.digest() for image in data.images]) for data in (free, fixed)]
    assert prints[0] != prints[1]
    assert "drawn as wide as the model's input" in free.notes[0] and "drawn 64 pixels wide" in fixed.notes[0]


def test_digests_tell_scenes_sizes_and_versions_apart_but_not_names(monkeypatch: pytest.MonkeyPatch) -> None:
    image = SceneImage(scene("test", 0), "here", 64)
    assert replace(image, name="there").digest() == image.digest()
    other_images = [replace(image, size=128), replace(image, size=None), replace(image, scene=scene("test", 1))]
    assert len({image.digest(), *(other.digest() for other in other_images)}) == 4
    before = image.digest()
    assert len(before) == 32 and int(before, 16) >= 0
    monkeypatch.setattr("clipbench.data.scenes.drawing.SCENES_VERSION", 999)
    assert image.digest() != before


# -- training


def test_training_pairs_are_the_same_in_any_order_and_process() -> None:
    pairs = [training_pair(index) for index in range(20)]
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.map(training_pair, range(19, -1, -1)) == pairs[::-1]


def test_primer_pairs_show_one_large_object_of_the_train_split_and_name_its_kind() -> None:
    for index in range(200):
        shown, pair_of_scenes = primer_pair(index)
        (solid,) = shown.solids
        assert solid.kind in pair_of_scenes.text and shown.writing is None
        assert not novelties(shown)


def test_training_captions_are_many_and_now_and_then_quote_the_written_word() -> None:
    pairs = [training_pair(index) for index in range(1000)]
    assert len({pair.caption.text for pair in pairs}) > 850
    written = [pair for pair in pairs if pair.scene.writing is not None]
    quoted = [
        pair for pair in written if pair.scene.writing and pair.scene.writing.word in pair.caption.text.split('"')
    ]
    assert 0.2 < len(quoted) / len(written) < 0.8


def _scene(image: ImageRef) -> Scene:
    assert isinstance(image, SceneImage)
    return image.scene
