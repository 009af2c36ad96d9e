"""Contrasts and attacks: what is refused, and what is left of them when images are left out."""

from dataclasses import replace

import numpy as np
import pytest

from clipbench.data import Attack, Contrast, Dataset, random_subset
from clipbench.data.dataset import check
from clipbench.errors import DataError
from clipbench.evaluation.datasets import Datasets
from clipbench.evaluation.plan import RunOptions
from clipbench.testing import NamedImage

PAIR = Contrast("pair", "swap", (0, 1), ("a b", "b a"), ((True, False), (False, True)))
SINGLE = Contrast("single", "add", (2,), ("a", "a b"), ((True, False),))
ATTACK = Attack("attack", label=0, word=1, attacked=3, clean=2, benign=1)


def dataset(**changes: object) -> Dataset:
    images = [NamedImage(name) for name in "abcd"]
    full_dataset = Dataset(
        id="four",
        images=images,
        image_ids=list("abcd"),
        class_names=("cat", "dog"),
        contrasts=(PAIR, SINGLE),
        attacks=(ATTACK,),
    )
    return replace(full_dataset, **changes)  # type: ignore[arg-type]


def test_a_contrast_stays_where_all_its_images_do_and_finds_them_again() -> None:
    part = dataset().take(np.array([2, 1]))
    assert part.contrasts == (SINGLE._replace(images=(0,)),)
    part = dataset().take(np.array([3, 1, 0]))
    assert part.contrasts == (PAIR._replace(images=(2, 1)),)


def test_an_attack_stays_without_the_baselines_that_are_left_out() -> None:
    assert dataset().take(np.array([1, 3])).attacks == (ATTACK._replace(attacked=1, clean=None, benign=0),)
    assert dataset().take(np.array([0, 1, 2])).attacks == ()


@pytest.mark.parametrize("limit", [3, 4, 39])
def test_a_limited_set_keeps_so_many_questions_with_all_their_images(limit: int) -> None:
    contrasts = tuple(SINGLE._replace(id=str(n), images=(n % 4,)) for n in range(40))
    cut = Datasets(RunOptions(limit=limit)).cut(dataset(contrasts=contrasts))
    assert cut.contrasts is not None and len(cut.contrasts) == limit
    assert cut.attacks is not None and len(cut.attacks) == 1 and cut.attacks[0].clean is not None
    assert cut.notes == (f"a seeded subset: at most {limit} of each kind of question (41 in all)",)


def test_other_conditions_stay_with_their_own_object_only() -> None:
    usual = [Attack(f"{n}", 0, 1, n, object=f"o{n}") for n in range(20)]
    others = [
        attack._replace(id=f"{attack.id}-high", attacked=20 + n, condition="height=0.3")
        for n, attack in enumerate(usual)
    ]
    images = [NamedImage(str(n)) for n in range(40)]
    data = dataset(images=images, image_ids=[str(n) for n in range(40)], contrasts=None, attacks=(*usual, *others))
    remaining_attacks = random_subset(data, 3, np.random.default_rng(0)).attacks or ()
    assert sorted(attack.object or "" for attack in remaining_attacks if attack.condition) == sorted(
        attack.object or "" for attack in remaining_attacks if not attack.condition
    )
    assert len(remaining_attacks) == 6
    alone = replace(data, attacks=tuple(attack._replace(object=None) for attack in (*usual, *others)))
    assert len(random_subset(alone, 3, np.random.default_rng(0)).attacks or ()) == 3


def test_images_that_are_only_asked_about_need_no_caption() -> None:
    captioned = dataset(captions=["x"], caption_image=np.array([3]))
    assert check(captioned) is captioned
    with pytest.raises(DataError, match="has 3 images without a caption, the first 'a'"):
        check(replace(captioned, contrasts=None, attacks=None))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"contrasts": (SINGLE._replace(images=(4,)),)}, r"item 'single' has the images \(4,\), expected rows from 0 to"),
        ({"contrasts": (SINGLE._replace(captions=("a",)),)}, "has a truth matrix of the wrong size"),
        ({"contrasts": (SINGLE._replace(captions=("a", " ")),)}, "has an empty caption"),
        ({"contrasts": (SINGLE._replace(is_true=((True, True),)),)}, "has only true or only false pairs"),
        ({"attacks": (ATTACK._replace(word=0),)}, "attacked by its own name"),
        ({"attacks": (ATTACK._replace(word=2),)}, "has class 0 for its object and class 2 for its word"),
        ({"attacks": (ATTACK._replace(blank=-1),)}, "expected rows from 0 to 3"),
        ({"contrasts": (PAIR, PAIR)}, "has the item 'pair' twice"),
    ],
)  # fmt: skip
def test_what_is_no_question_is_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(DataError, match=message):
        check(dataset(**changes))
