"""Kill, damage, fill and confuse clipbench in every way that design/reliability.md promises it to survive. Run by `make
torture`.

    OMP_NUM_THREADS=1 python experiments/torture.py             # forty minutes
    OMP_NUM_THREADS=1 python experiments/torture.py --seconds 7200
    OMP_NUM_THREADS=1 python experiments/torture.py --only SIGKILL    # the attacks whose names hold a text
    OMP_NUM_THREADS=1 python experiments/torture.py --tries 1         # each attack once

A forked command has none of the threads of torch, and would wait for them: hence OMP_NUM_THREADS.

After each attack no number may be wrong and nothing that was committed lost, the command has said in a line what
happened, and the next command succeeds. Prints a table of attacks, tries and defects; exits with 1 if there are
defects. Linux.
"""

import argparse
import random
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

import torture_attacks
import torture_commands
import torture_served
from torture_attacks import Attack, Bench
from torture_served import TESTS
from torture_world import can_mount, install, see_orphans


def attacks(*, may_mount: bool) -> dict[str, Attack]:
    """Return the attacks by name; those with servers where there are tests to take these from."""
    named = torture_attacks.attacks(may_mount=may_mount)
    return named | torture_served.attacks() | torture_commands.attacks() if TESTS.exists() else named


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=2400, help="start no attack after this long")
    parser.add_argument("--tries", type=int, default=10**6, help="tries of each attack")
    parser.add_argument("--only", action="append", default=[], help="attacks whose names hold this; repeatable")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def torture(given: argparse.Namespace, root: Path) -> int:
    """Try each attack in turn until the time is over, print the counts, and return the number of defects."""
    bench = Bench(root)
    every = attacks(may_mount=can_mount(root))
    chosen = {name: each for name, each in every.items() if any(part in name for part in given.only or [""])}
    if wrong := bench.prepare(chosen):
        print("\n".join(wrong))
        return len(wrong)
    counts = dict.fromkeys(chosen, 0)
    defects: dict[str, list[str]] = {name: [] for name in chosen}
    start = time.monotonic()
    for number in range(given.tries):
        for name, attack in chosen.items():
            if time.monotonic() - start > given.seconds:
                break
            wrong = attack(bench, random.Random(f"{given.seed} {number} {name}"))
            counts[name] += 1
            if wrong:
                defects[name].append("; ".join(wrong))
                print(f"DEFECT {name}, try {number}: {defects[name][-1]}", flush=True)
        else:
            continue
        break
    print(f"| {'attack':34} | tries | survived | defects |\n|---|---:|---:|---:|")
    for name, tries in counts.items():
        print(f"| {name:34} | {tries:5} | {tries - len(defects[name]):8} | {len(defects[name]):7} |")
    n_tries, n_defects = sum(counts.values()), sum(map(len, defects.values()))
    print(f"| {'all':34} | {n_tries:5} | {n_tries - n_defects:8} | {n_defects:7} |")
    print(f"{time.monotonic() - start:.0f} s, seed {given.seed}", flush=True)
    print(torture_commands.table_of_kills(), end="", flush=True)
    return n_defects


if __name__ == "__main__":
    given = arguments()
    see_orphans()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # worlds are removed
    folder = Path(tempfile.mkdtemp(prefix="torture-"))
    folder.chmod(0o755)  # commands of another user go in, too
    install(folder)
    try:
        found = torture(given, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    sys.exit(1 if found else 0)
