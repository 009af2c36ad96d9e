"""The built-in suite once more, when every vector and thumbnail is stored: start, read, score and report."""

import subprocess
import sys
import tempfile
from itertools import count as numbers
from pathlib import Path

from command import run_command
from rows import Reach, Row, in_turns

LIMIT = {"small": ("--limit", "40"), "default": (), "full": ()}


def measure(size: str) -> Row:
    with tempfile.TemporaryDirectory() as folder:
        place, number = Path(folder), numbers()

        def suite() -> None:
            arguments = ("run", "--model", "tiny", "--tasks", "all", "--suite", "scenes", "--quiet", *LIMIT[size])
            run_command(*arguments, "--out", place / f"run-{next(number)}", cache=place / "cache")

        def nothing() -> None:
            subprocess.run([sys.executable, "-c", "import numpy, pandas"], check=True)

        rounds = 1 if size == "small" else 3
        timed = in_turns({"ours": suite, "nothing": nothing}, rounds=rounds)  # the first stores everything
    seconds = Reach(what="s from start to report", found=timed["ours"], at_most=4.0, is_judged=size != "small")
    return Row(
        what="clipbench run of the built-in suite, all tasks, everything stored",
        ours=timed["ours"],
        limit=timed["nothing"],
        limit_is="an interpreter that imports numpy and pandas",
        reaches=[seconds],
    )
