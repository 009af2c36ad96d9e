from dataclasses import replace
from itertools import chain
from pathlib import Path

import numpy as np
import pytest

from clipbench.data import DataOptions, Dataset, FileImage
from clipbench.errors import DataError, UsageError
from clipbench.training.batches import DatasetPairs, PairReader, SampleIndex, SampleOrder, load_batches, load_corpus
from clipbench.training.clip.config import ClipConfig
from clipbench.training.clip.inputs import ClipPreprocess, train_tokenizer


def numbers(order: SampleOrder, step: int) -> list[int]:
    return [sample.pair for sample in order.samples(step)]


def test_an_epoch_has_each_pair_at_most_once_and_drops_what_is_left_over() -> None:
    order = SampleOrder(n_pairs=10, batch_size=4, seed=0)
    for epoch in range(3):
        numbers_drawn = numbers(order, 2 * epoch) + numbers(order, 2 * epoch + 1)
        assert len(set(numbers_drawn)) == 8
        assert set(numbers_drawn) <= set(range(10))
        assert {draw.epoch for draw in order.samples(2 * epoch)} == {epoch}
    assert numbers(order, 0) != numbers(order, 2), "another order each epoch"
    assert {number for step in range(60) for number in numbers(order, step)} == set(range(10))


def test_the_order_depends_on_the_seed_alone() -> None:
    orders = [SampleOrder(n_pairs=50, batch_size=10, seed=seed) for seed in (3, 3, 4)]
    assert numbers(orders[0], 7) == numbers(orders[1], 7)
    assert numbers(orders[0], 7) != numbers(orders[2], 7)


@pytest.mark.parametrize("n_pairs", [None, 30])
@pytest.mark.parametrize("n_processes", [2, 3])
def test_the_shares_of_all_processes_make_up_the_batch(n_pairs: int | None, n_processes: int) -> None:
    order = SampleOrder(n_pairs=n_pairs, batch_size=12, seed=0)
    shared = SampleOrder(n_pairs=n_pairs, batch_size=12, seed=0, n_processes=n_processes)
    for step in range(5):
        shares = [shared.samples(step, process) for process in range(n_processes)]
        assert list(chain.from_iterable(shares)) == order.samples(step)


def test_batches_that_do_not_fit_are_refused() -> None:
    with pytest.raises(
        UsageError, match="a batch of 64 is larger than the data, 20 pairs to train on: give at most --batch-size 20"
    ):
        SampleOrder(n_pairs=20, batch_size=64, seed=0)
    with pytest.raises(UsageError, match="a batch of 64 cannot be shared by 3 processes: give a multiple"):
        SampleOrder(n_pairs=None, batch_size=64, seed=0, n_processes=3)


@pytest.fixture
def reader(micro: ClipConfig, captions_file: Path) -> PairReader:
    corpus = load_corpus(str(captions_file), DataOptions(), seed=0, size=16)
    return PairReader(pairs=corpus.train, preprocess=ClipPreprocess(micro), crops=True, seed=0)


def test_worker_processes_give_the_same_batches(reader: PairReader) -> None:
    tokenizer = train_tokenizer(reader.pairs.captions(), vocab_size=560, context_length=12)
    order = SampleOrder(n_pairs=reader.pairs.n_pairs, batch_size=6, seed=0)
    steps = [order.samples(step) for step in range(4)]
    here, there = (list(load_batches(reader, tokenizer, steps, workers=workers)) for workers in (0, 2))
    assert len(here) == len(there) == 4
    for one, other in zip(here, there, strict=True):
        assert one.pixels.shape == (6, 3, 16, 16)
        np.testing.assert_array_equal(one.pixels.numpy(), other.pixels.numpy())
        np.testing.assert_array_equal(one.tokens.numpy(), other.tokens.numpy())


def test_an_image_that_cannot_be_read_is_named(reader: PairReader, tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_bytes(b"no image")
    pairs = DatasetPairs(
        Dataset(
            id="bad",
            images=[FileImage(tmp_path / "bad.png")],
            image_ids=["bad"],
            captions=["a cat"],
            caption_image=np.array([0]),
        )
    )
    tokenizer = train_tokenizer(["a cat"], vocab_size=560, context_length=12)
    samples = [[SampleIndex(position=0, pair=0, epoch=0)]]
    for workers in (0, 1):
        with pytest.raises(
            DataError, match=r"cannot read image .*bad\.png \(.*\): replace it, or remove it from the data"
        ):
            list(load_batches(replace(reader, pairs=pairs), tokenizer, samples, workers=workers))
