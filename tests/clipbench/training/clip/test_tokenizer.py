import random
from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np
import open_clip
import pytest
import tokenizers

from clipbench.errors import ModelError
from clipbench.training.clip.inputs import (
    END,
    START,
    ClipTokenizer,
    clip_tokenizer,
    load_tokenizer,
    train_tokenizer,
)

CAPTIONS = ["a red cube on a blue sphere", "two green cones", "a red cone, and a blue cube!", "3 cubes isn't 4"] * 5

TELLING = (
    "a photo of a cat",
    "A Photo, of: the_Cat!  (isn't it?) &amp; 3 naïve “dogs” 猫 🐈",
    "It's 12345 o'clock!!! they'll, I'd; caf&eacute;s ÀÉ ß ﬁ ½ ²",
    "",
    " ".join(["one two three four five six seven eight"] * 40),
    "don't stop\n\tthe  music",
)


@pytest.fixture(scope="module")
def clips() -> ClipTokenizer:
    return clip_tokenizer()


@pytest.fixture(scope="module")
def small() -> ClipTokenizer:
    return train_tokenizer(CAPTIONS, vocab_size=560, context_length=16)


def test_the_papers_tokenizer_gives_open_clips_ids(clips: ClipTokenizer) -> None:
    rng = random.Random(0)
    alphabet = "".join(map(chr, [*range(32, 127), *range(0xC0, 0x180), *range(0x391, 0x3C9)])) + " " * 30 + "猫🐈½²“”’"
    texts = [*TELLING, *("".join(rng.choices(alphabet, k=rng.randint(0, 120))) for _ in range(500))]
    expected = open_clip.SimpleTokenizer()(texts).numpy()
    np.testing.assert_array_equal(clips.encode(texts), expected)


@pytest.mark.parametrize("which", ["clips", "small"])
@pytest.mark.parametrize("text", ["a red cube on a sphere", "isn't", "naïve 猫 🐈"])
def test_the_library_decodes_the_text_by_the_saved_file(
    which: str, text: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    tokenizer: ClipTokenizer = request.getfixturevalue(which)
    tokenizer.save(tmp_path)
    ids = tokenizer.encode([text])[0]
    back = tokenizers.Tokenizer.from_file(str(tmp_path / "tokenizer.json")).decode(ids[: ids.argmax()].tolist())
    assert back.replace(" ", "") == text.replace(" ", "")


def test_merges_are_those_of_counting_every_pair_anew_after_each() -> None:
    texts = ["".join(random.Random(seed).choices("abc ", k=200)) for seed in range(4)]
    pieces = [[*word[:-1], word[-1] + "</w>"] for text in texts for word in text.split()]
    expected: list[str] = []
    while len(expected) < 30:
        n_pairs = Counter(pair for piece in pieces for pair in pairwise(piece))
        left, right = min(n_pairs, key=lambda pair: (-n_pairs[pair], pair))
        expected += [] if left + right in expected else [left + right]
        for piece in pieces:
            place = 0
            while place < len(piece) - 1:
                if piece[place : place + 2] == [left, right]:
                    piece[place : place + 2] = [left + right]
                place += 1
    vocabulary = train_tokenizer(texts, vocab_size=514 + 30, context_length=8).vocabulary()
    assert sorted(vocabulary, key=vocabulary.__getitem__)[512:-2] == expected


def test_a_vocabulary_is_no_larger_than_asked_and_ends_with_start_and_end() -> None:
    for size in (514, 520, 5000):
        vocabulary = train_tokenizer(CAPTIONS, vocab_size=size, context_length=16).vocabulary()
        assert len(vocabulary) <= size
        assert sorted(vocabulary.values()) == list(range(len(vocabulary)))
        assert (vocabulary[START], vocabulary[END]) == (len(vocabulary) - 2, len(vocabulary) - 1)


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"tokenizer\.json cannot be read .* expected what clipbench train wrote"):
        load_tokenizer(tmp_path, 16)
    (tmp_path / "tokenizer.json").write_text('{"version": "1.0"')
    with pytest.raises(ModelError, match="cannot be read"):
        load_tokenizer(tmp_path, 16)
