"""Kill, damage, fill and confuse clipbench in every way that docs/reliability.md promises it to survive. Run by `make torture`.

    python experiments/torture.py                      # ten minutes
    python experiments/torture.py --seconds 3600       # longer
    python experiments/torture.py --only 'SIGKILL'     # the attacks whose names hold a text
    python experiments/torture.py --tries 1            # each of them once
    python experiments/torture.py --short              # one of them, as the tests do

After each attack no number may be wrong and nothing that was committed lost, the command has said in a line what happened,
and the next command succeeds. Prints a table of attacks, tries and defects; exits with 1 if there are defects. Linux.
"""

import argparse
import contextlib
import importlib.util
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torture_world
from torture_attacks import Bench, attacks
from torture_world import SERVERS, World, can_mount, see_orphans, stop_politely

HUB = Path(__file__).parents[1] / "tests" / "hub_server.py"
SHARDS = 6
SHORT = ("run, SIGKILL, 2 workers",)
"""The attack of the tests: it takes seconds."""


@contextlib.contextmanager
def served(world: World) -> Iterator[dict[str, str]]:
    """Serve a data set from a process of its own: one with threads must not be forked."""
    specification = importlib.util.spec_from_file_location("hub_server", HUB)
    assert specification is not None and specification.loader is not None
    hub_server: Any = importlib.util.module_from_spec(specification)
    sys.modules["hub_server"] = hub_server
    specification.loader.exec_module(hub_server)
    address = world.folder / "address"
    child = os.fork()
    if child == 0:
        with hub_server.running(world.folder / "served") as (hub, url):
            rng = random.Random(0)
            shards = {f"test/{number}.tar": rng.randbytes(100_000) for number in range(SHARDS)}
            hub.add("clip-benchmark/wds_mnist", {"classnames.txt": b"0\n", "test/nshards.txt": b"6", **shards})
            hub.faults.append(hub_server.Fault(r"resolve/.*\.tar", "slow", seconds=0.05, method="GET"))
            address.with_suffix(".new").write_text(url)
            address.with_suffix(".new").rename(address)
            signal.pause()
    SERVERS.add(child)
    try:
        while not address.exists():
            time.sleep(0.01)
        yield {"HF_ENDPOINT": address.read_text(), "HF_HOME": str(world.folder / "home")}
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        SERVERS.remove(child)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=600, help="start no attack after this long")
    parser.add_argument("--tries", type=int, default=10**6, help="tries of each attack")
    parser.add_argument("--only", action="append", default=[], help="attacks whose names hold this; repeatable")
    parser.add_argument("--short", action="store_true", help="one attack, once")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def torture(given: argparse.Namespace, root: Path) -> int:
    """Try each attack in turn until the time is over, print the counts, and return the number of defects."""
    bench = Bench(root, serve=served if HUB.exists() else None)
    every = attacks(may_mount=can_mount(root), may_serve=bench.serve is not None)
    parts = SHORT if given.short else given.only or [""]
    chosen = {name: each for name, each in every.items() if any(part in name for part in parts)}
    trains = any(word in name for name in chosen for word in ("train", "watch", "--resume"))
    if wrong := bench.prepare(trains=trains, is_short=given.short):
        print("\n".join(wrong))
        return len(wrong)
    counts = dict.fromkeys(chosen, 0)
    defects: dict[str, list[str]] = {name: [] for name in chosen}
    start = time.monotonic()
    for number in range(1 if given.short else given.tries):
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
    return n_defects


if __name__ == "__main__":
    given = arguments()
    see_orphans()
    signal.signal(signal.SIGTERM, stop_politely)
    folder = Path(tempfile.mkdtemp(prefix="torture-"))
    folder.chmod(0o755)  # commands of another user go in, too
    os.environ["PYTHONPATH"] = str(Path(torture_world.__file__).parent)
    try:
        found = torture(given, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    sys.exit(1 if found else 0)
