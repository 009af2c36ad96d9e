from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from clipbench.data import DataOptions, Dataset
from clipbench.data.scenes.world.vocabulary import KINDS
from clipbench.errors import DataError, UsageError
from clipbench.testing import NamedImage
from clipbench.training.corpus import load_corpus
from clipbench.training.pairs import DatasetPairs, PairSource


def dataset(**changes: object) -> Dataset:
    parts = {
        "id": "three",
        "images": [NamedImage(name) for name in "abc"],
        "image_ids": list("abc"),
        "captions": ["c1", "a1", "b1", "a2"],
        "caption_image": np.array([2, 0, 1, 0]),
    }
    return Dataset(**{**parts, **changes})  # type: ignore[arg-type]


def test_the_captions_of_an_image_take_turns() -> None:
    pairs = DatasetPairs(dataset())
    assert [pairs.pair(0, epoch)[1] for epoch in range(4)] == ["a1", "a2", "a1", "a2"]
    assert [pairs.pair(number, 5)[1] for number in (1, 2)] == ["b1", "c1"]
    assert pairs.pair(1, 0)[0].tobytes() == NamedImage("b").open().tobytes()
    assert pairs.pair(1, 0)[0].mode == "RGB"
    assert isinstance(pairs, PairSource)
    assert (pairs.name, pairs.n_pairs, list(pairs.captions())) == ("three", 3, ["c1", "a1", "b1", "a2"])


def test_a_tenth_is_held_out_and_never_trained_on(captions_file: Path) -> None:
    corpus = load_corpus(str(captions_file), DataOptions(), seed=0, size=16)
    assert (corpus.train.n_pairs, corpus.held_out.n_pairs) == (44, 4)
    images = [
        {pairs.pair(number, 0)[0].tobytes() for number in range(pairs.n_pairs or 0)}
        for pairs in (corpus.train, corpus.held_out)
    ]
    assert not images[0] & images[1]
    assert corpus.may_crop


def test_the_train_split_is_used_if_there_is_one(captions_file: Path, tmp_path: Path) -> None:
    lines = captions_file.read_text().splitlines()
    with_split = [f"{lines[0]},split"]
    with_split += [
        f"{captions_file.parent}/{line},{'train' if row < 60 else 'test'}" for row, line in enumerate(lines[1:])
    ]
    (tmp_path / "split.csv").write_text("\n".join(with_split) + "\n")
    corpus = load_corpus(str(tmp_path / "split.csv"), DataOptions(), seed=0, size=16)
    assert (corpus.train.n_pairs, corpus.held_out.n_pairs) == (27, 3)
    assert corpus.train.name == "split.csv (train)"
    (tmp_path / "other.csv").write_text((tmp_path / "split.csv").read_text().replace(",train", ",training"))
    with pytest.raises(
        UsageError, match=r"other\.csv has no split 'train': it has test, training; name one with --data-"
    ):
        load_corpus(str(tmp_path / "other.csv"), DataOptions(), seed=0, size=16)
    named = load_corpus(str(tmp_path / "other.csv"), DataOptions(options={"split": "training"}), seed=0, size=16)
    assert named.train.n_pairs == 27
    with pytest.raises(DataError, match="18 images"):
        load_corpus(str(tmp_path / "split.csv"), DataOptions(options={"split": "test"}), seed=0, size=16)


def test_data_that_cannot_be_trained_on_are_refused(tmp_path: Path) -> None:
    for kind in ("cat", "dog"):
        (tmp_path / kind).mkdir()
        NamedImage(kind).open().save(tmp_path / kind / "1.png")
    with pytest.raises(DataError, match=r"has no captions to train on: name their column with --data-option caption="):
        load_corpus(str(tmp_path), DataOptions(), seed=0, size=16)
    (tmp_path / "few.csv").write_text("image,caption\ncat/1.png,a cat\ndog/1.png,a dog\n")
    with pytest.raises(DataError, match="has 2 images: expected at least 20, a tenth to measure on"):
        load_corpus(str(tmp_path / "few.csv"), DataOptions(), seed=0, size=16)
    with pytest.raises(UsageError, match="no such file or folder"):
        load_corpus(str(tmp_path / "none.csv"), DataOptions(), seed=0, size=16)


def test_scenes_are_endless_and_drawn_at_the_size_of_the_model() -> None:
    corpus = load_corpus("scenes", DataOptions(), seed=0, size=64)
    assert corpus.train.n_pairs is None
    assert corpus.held_out.n_pairs == 500
    assert not corpus.may_crop, "a crop may cut off what a caption counts"
    for index in (0, 10**9):
        image, caption = corpus.train.pair(index, 0)
        again, same = corpus.train.pair(index, 7)
        assert (image.tobytes(), caption) == (again.tobytes(), same)
        assert (image.size, image.mode) == ((64, 64), "RGB")
    other = load_corpus("Scenes", DataOptions(), seed=1, size=96)
    assert other.train.pair(0, 0)[0].size == (96, 96)
    assert other.train.pair(0, 0)[1] != corpus.train.pair(0, 0)[1]


def test_a_primer_of_single_objects_comes_first_and_changes_no_later_scene() -> None:
    plain = load_corpus("scenes", DataOptions(), seed=0, size=64).train
    primed = load_corpus("scenes", DataOptions(options={"primer": "100"}), seed=0, size=64).train
    names = {kind for index in range(100) for kind in KINDS if kind in primed.pair(index, 0)[1]}
    assert names == set(KINDS), "each kind is named"
    assert max(len(primed.pair(index, 0)[1].split()) for index in range(100)) < 10
    assert primed.pair(99, 0)[1] != plain.pair(99, 0)[1]
    assert primed.pair(100, 0)[1] == plain.pair(100, 0)[1]
    assert list(islice(primed.captions(), 50)) == list(islice(plain.captions(), 50)), "one vocabulary for both"


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"caption": "text"}, "data 'scenes' take no option 'caption'"),
        ({"primer": "many"}, "--data-option primer=many: expected a number of pairs, 0 or more"),
        ({"primer": "-1"}, "--data-option primer=-1: expected a number of pairs"),
    ],
)
def test_scenes_refuse_unknown_options_and_a_primer_that_is_no_number(option: dict[str, str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        load_corpus("scenes", DataOptions(options=option), seed=0, size=64)
