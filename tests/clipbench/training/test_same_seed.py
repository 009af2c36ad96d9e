"""Equal seeds give equal bits, in any process."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).with_name("train_and_hash.py")


VOCABULARY = """
from clipbench.data.scenes import training_pair
from clipbench.training.clip.tokenizer import train_tokenizer
captions = [training_pair(index).caption for index in range(300)]
print(sorted(train_tokenizer(captions, vocab_size=600, context_length=77).vocabulary().items()))
"""


def test_processes_that_hash_differently_learn_the_same_vocabulary() -> None:
    printed = set()
    for seed in ("0", "1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        done = subprocess.run(
            [sys.executable, "-c", VOCABULARY], capture_output=True, text=True, check=True, env=environment
        )
        printed.add(done.stdout)
    assert len(printed) == 1


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
