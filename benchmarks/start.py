"""Cost of a command before it works: help and the import of the library, beside Python with click alone."""

import os
import subprocess
import sys

from rows import Row, in_turns, times

ROUNDS = {"small": 1, "default": 5, "full": 15}


def start(*arguments: str) -> None:
    """Run Python in a process of its own."""
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    subprocess.run([sys.executable, *arguments], env=environment, check=True, capture_output=True)


def measure(size: str) -> Row:
    """Return the row of ``bench.py``."""
    works = {
        "help": lambda: start("-m", "clipbench", "--help"),
        "import": lambda: start("-c", "import clipbench"),
        "list": lambda: start("-m", "clipbench", "list", "tasks"),
        "bare": lambda: start("-c", "import click"),
    }
    timed = in_turns(works, rounds=ROUNDS[size])
    return Row(
        what="clipbench --help",
        ours=timed["help"],
        limit=timed["bare"],
        limit_is="Python that imports click",
        reaches=[
            times("Python with click", timed["help"], timed["bare"], at_most=3),
            times("Python with click, import clipbench", timed["import"], timed["bare"], at_most=1.5),
            times("Python with click, list tasks", timed["list"], timed["bare"], at_most=6),
        ],
    )
