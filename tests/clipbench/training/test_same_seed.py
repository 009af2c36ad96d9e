"""Equal seeds give equal bits, in any process."""

import os
import subprocess
import sys
from itertools import permutations
from pathlib import Path

import pytest

PROGRAM = Path(__file__).with_name("train_and_hash.py")


WORDS = sorted("".join(pair) for pair in permutations("abcdefgh", 2))
"""Each a pair of characters that occurs once: all are equally frequent, and the alphabet alone orders them."""
VOCABULARY = """
import sys
from clipbench.training.clip.inputs import train_tokenizer
ids = train_tokenizer(sys.argv[1:], vocab_size=600, context_length=77).vocabulary()
print(*[token.removesuffix("</w>") for token in sorted(ids, key=ids.__getitem__)[512:-2]])
"""


def test_processes_that_hash_differently_merge_equally_frequent_pairs_in_the_order_of_the_alphabet() -> None:
    """The trainer of the ``tokenizers`` library takes them in the order of a hash table that differs between
    processes.
    """
    for seed in ("0", "1"):
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        command = [sys.executable, "-c", VOCABULARY, *reversed(WORDS)]
        done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
        assert done.stdout.split() == WORDS


@pytest.mark.slow
@pytest.mark.parametrize("data", ["scenes", "own captions"])
def test_processes_that_hash_differently_train_the_same_vocabulary_and_weights(
    data: str, captions_file: Path, tmp_path: Path
) -> None:
    hashes = set()
    for seed in ("0", "1"):
        out = tmp_path / seed
        reference = "scenes" if data == "scenes" else str(captions_file)
        environment = {**os.environ, "PYTHONHASHSEED": seed, "OMP_NUM_THREADS": "1"}
        command = [sys.executable, str(PROGRAM), reference, str(out)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
        assert done.returncode == 0, done.stderr
        hashes.add(done.stdout)
    assert len(hashes) == 1
    assert len(hashes.pop().splitlines()) == 3, "a vocabulary, weights and the state of the optimiser"
