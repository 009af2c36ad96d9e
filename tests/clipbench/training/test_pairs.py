from pathlib import Path

import pytest

from clipbench.data import DataOptions
from clipbench.errors import DataError, UsageError
from clipbench.testing import NamedImage
from clipbench.training.batches import load_corpus


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
        UsageError, match=r"other\.csv has no split 'train': it has test, training. Choose one with data_options="
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
    with pytest.raises(DataError, match="has 2 images: expected at least 20, because a tenth is held out"):
        load_corpus(str(tmp_path / "few.csv"), DataOptions(), seed=0, size=16)
    with pytest.raises(UsageError, match="no such file or folder"):
        load_corpus(str(tmp_path / "none.csv"), DataOptions(), seed=0, size=16)
