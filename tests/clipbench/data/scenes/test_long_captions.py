"""Long captions of scenes: captions that tell images apart, and a fact that moves through a paragraph."""

from itertools import permutations

from clipbench.data.scenes import scenes_dataset
from clipbench.data.scenes.facts import verdict
from clipbench.data.scenes.sampling import SPLITS, looks, novelties
from clipbench.data.scenes.scene_datasets import POSITIONS, long_caption_item, position_items
from tests.clipbench.data.scenes.test_composition import is_false, is_true


def test_the_deciding_sentence_is_true_and_its_twin_false_and_of_the_same_split() -> None:
    for split in SPLITS:
        for index in range(40):
            shown, items = position_items(index, split=split)
            assert list(items) == list(POSITIONS)
            assert len({tuple(sorted(true.text.split())) for true, _ in items.values()}) == 1
            for name, (true, false) in items.items():
                assert is_true(true, shown) and is_false(false, shown)
                words, others = true.text.split(), false.text.split()
                changed = [at for at, pair in enumerate(zip(words, others, strict=True)) if pair[0] != pair[1]]
                assert len(changed) == 1 + (split == "held-out")
                start = next(at for at in range(len(words)) if words[at : at + 3] == ["There", "is", "a"])
                assert POSITIONS[name] <= start < POSITIONS[name] + 12 and start < changed[0] < start + 6
                *_, colour, kind = " ".join(others[start:]).split(".")[0].split()
                assert (colour, kind) in looks(split)


def test_long_captions_are_true_and_longer_than_the_window() -> None:
    for index in range(60):
        shown, stated = long_caption_item(index)
        assert is_true(stated, shown) and len(stated.text.split()) >= 90
        assert not novelties(shown)


def test_captions_are_long_and_each_is_refuted_by_every_other_image() -> None:
    ids = scenes_dataset("long-captions", n=120).caption_ids or ()
    items = [long_caption_item(int(id_.rpartition("/")[2])) for id_ in ids]
    assert len(items) == 120
    for first, second in permutations(items, 2):
        assert any(verdict(fact, second.scene) is False for fact in first.caption.facts), first.caption.text
    assert all(85 <= len(item.caption.text.split()) <= 130 for item in items)


def test_there_are_five_hundred_captioned_images_and_half_as_many_to_be_asked_about() -> None:
    dataset = scenes_dataset("long-captions")
    assert dataset.captions is not None and dataset.caption_image is not None and dataset.contrasts is not None
    assert (len(dataset), len(set(dataset.captions)), len(dataset.contrasts)) == (750, 500, 1000)
    assert dataset.caption_image.tolist() == list(range(500))
    number = int(dataset.image_ids[7].rpartition("/")[2])
    assert dataset.captions[7] == long_caption_item(number).caption.text
    subsets = [contrast.subset for contrast in dataset.contrasts]
    assert {subset: subsets.count(subset) for subset in subsets} == dict.fromkeys(
        ("early", "middle", "late", "beyond"), 250
    )
    assert {row for contrast in dataset.contrasts for row in contrast.images} == set(range(500, 750))
