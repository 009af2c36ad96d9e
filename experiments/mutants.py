"""Change one statement of the code at a time, and count which changes the tests of its room notice. Run by `make mutants`.

    python experiments/mutants.py                        # try the 300 of experiments/mutants.json: an hour or two on two cores
    python experiments/mutants.py --only stats           # those whose names hold a text
    python experiments/mutants.py record                 # write what became of them into that file, as what was before
    python experiments/mutants.py record --as after      # beside what was before
    python experiments/mutants.py gone                   # write down which statements are nowhere any more
    python experiments/mutants.py draw                   # another sample, in the place of this one

Each is tried in a copy of the last commit; the checkout is never changed. A mutant is killed where a test of its room fails, and
slow where the tests take much longer than without it, which counts as killed. What is known is kept below runs/mutants, so
that an interrupted run goes on. A survivor may be as right as the code was: nobody judges it here.
"""

import argparse
import json
import random
import subprocess
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from mutants_code import Code, Mutant, mutations
from mutants_trying import PACKAGES, Log, Trial, try_all

ROOT = Path(__file__).parents[1]
SAMPLE = ROOT / "experiments" / "mutants.json"


class Room(NamedTuple):
    """A part of the code."""

    drawn: tuple[str, ...]
    """Paths that mutants are drawn from, the start of a name."""
    tests: tuple[str, ...]
    """Paths of the tests that have to notice them, and of the code whose doctests have to; where a statement has moved to
    another room, those of that room are added."""


ENCODING = (
    "device_memory",
    *(
        f"encoding/{module}"
        for module in (
            *("embedder", "items", "large_arrays", "loading", "pipeline"),
            *("store", "store_listing", "unit_vectors", "workers"),
        )
    ),
    *(f"towers/{module}" for module in ("context", "devices", "text_tower", "torch_model")),
)
ROOMS: Mapping[str, Room] = {
    "metrics": Room(("clipbench/metrics/",), ("tests/clipbench/metrics", "clipbench/metrics")),
    "stats": Room(("clipbench/stats/",), ("tests/clipbench/stats", "clipbench/stats")),
    "comparison": Room(("clipbench/comparison/",), ("tests/clipbench/comparison", "clipbench/comparison")),
    "results": Room(("clipbench/results/",), ("tests/clipbench/results", "clipbench/results")),
    "models": Room(
        tuple(f"clipbench/models/{module}.py" for module in ENCODING), ("tests/clipbench/models", "clipbench/models")
    ),
    "evaluation": Room(("clipbench/evaluation/",), ("tests/clipbench/evaluation", "clipbench/evaluation")),
}
N_EACH = 50
SEED = 300
KILLED = ("killed", "slow")


# The sample ------------------------------------------------------------------------------------------------------------


def draw(code: Code, seed: int = SEED) -> list[Mutant]:
    """Return mutants of each room, as many by each operator as there are, and of no statement two."""
    return [
        mutant._replace(id=f"{room}-{number:02}")
        for room in ROOMS
        for number, mutant in enumerate(_drawn(code, room, random.Random(f"{room} {seed}")), 1)
    ]


def _drawn(code: Code, room: str, rng: random.Random) -> list[Mutant]:
    by_operator = defaultdict[str, list[Mutant]](list)
    for mutant in _all_of(code, room):
        by_operator[mutant.operator].append(mutant)
    for each in by_operator.values():
        rng.shuffle(each)
    chosen = dict[tuple[Any, ...], Mutant]()
    while len(chosen) < N_EACH and any(by_operator.values()):
        for operator in sorted(by_operator):
            is_new = False
            while by_operator[operator] and not is_new and len(chosen) < N_EACH:
                mutant = by_operator[operator].pop()
                place = mutant.file, mutant.function, mutant.statement, mutant.nth
                is_new = place not in chosen
                chosen.setdefault(place, mutant)
    return sorted(chosen.values())


def _all_of(code: Code, room: str) -> Iterable[Mutant]:
    for file in code.files:
        if file.startswith(ROOMS[room].drawn):
            n_equal = Counter[tuple[str, str]]()
            for statement in code.statements(file):
                function, text = statement.function, statement.text
                for operator, result in dict.fromkeys((each.operator, each.text) for each in mutations(statement)):
                    yield Mutant("", room, file, function, operator, text, n_equal[function, text], result)
                n_equal[function, text] += 1


def read_sample(path: Path = SAMPLE) -> list[Mutant]:
    """Return the mutants that are written down."""
    return [Mutant(**each) for each in json.loads(path.read_text(encoding="utf-8"))["mutants"]]


def write_sample(mutants: Iterable[Mutant], path: Path = SAMPLE) -> None:
    """Write mutants down, one a line."""
    each = ({name: value for name, value in mutant._asdict().items() if value is not None} for mutant in mutants)
    lines = ",\n".join(json.dumps(mutant, ensure_ascii=False) for mutant in each)
    path.write_text(f'{{"seed": {SEED}, "mutants": [\n{lines}\n]}}\n', encoding="utf-8")


# What became of it -----------------------------------------------------------------------------------------------------


def table(sample: Sequence[Mutant], outcomes: Mapping[str, str | None]) -> str:
    """Return by room how many were drawn, are gone, were killed and survived, and how many of those that are here died before."""
    lines = [
        "| room | drawn | gone | tried | killed | of them slow | survived | of the tried, killed before |",
        f"|---|{'---:|' * 7}",
    ]
    for name in (*dict.fromkeys(mutant.room for mutant in sample), "all"):
        of_room = [mutant for mutant in sample if name in (mutant.room, "all")]
        counts = Counter(outcomes.get(mutant.id) for mutant in of_room)
        tried = [mutant for mutant in of_room if outcomes.get(mutant.id) in (*KILLED, "survived")]
        before = sum(mutant.before in KILLED for mutant in tried)
        numbers = [len(of_room), counts["gone"], len(tried), counts["killed"] + counts["slow"], counts["slow"]]
        lines.append("| " + " | ".join(map(str, (name, *numbers, counts["survived"], before))) + " |")
    return "\n".join(lines)


def survivors(sample: Sequence[Mutant], outcomes: Mapping[str, str | None]) -> str:
    """Return a text with each mutant that survived, what it is, and whether it did not before; and those that are gone."""
    lines = []
    for mutant in sample:
        outcome = outcomes.get(mutant.id)
        if outcome in ("survived", "gone"):
            news = ", killed before" if mutant.before in KILLED and outcome == "survived" else ""
            lines.append(
                f"{mutant.id} {outcome}{news}: {mutant.file}, {mutant.function or 'at its top'} ({mutant.operator})"
            )
            lines += [f"    {mutant.statement}", f"    {mutant.mutated}"]
    return "\n".join(lines)


def main() -> None:
    """Run one of the actions."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", nargs="?", default="run", choices=["run", "record", "gone", "draw"])
    parser.add_argument("--only", default="", metavar="TEXT", help="run mutants whose names hold it")
    parser.add_argument("--jobs", type=int, default=2, metavar="N", help="processes")
    parser.add_argument("--revision", default="HEAD", help="commit whose code and tests are tried")
    parser.add_argument("--log", type=Path, help="what is known: runs/mutants/COMMIT.jsonl")
    parser.add_argument("--as", dest="name", default="before", choices=["before", "after"], help="of record")
    given = parser.parse_args()
    code = Code(ROOT, PACKAGES)
    if given.action == "draw":
        write_sample(draw(code))
        return
    sample = read_sample()
    if given.action == "gone":
        write_sample(each._replace(after="gone") if code.find(each) is None else each for each in sample)
        return
    git = ["git", "-C", str(ROOT), "rev-parse", "--short=12", given.revision]
    revision = subprocess.run(git, check=True, capture_output=True, text=True).stdout.strip()
    log = Log(given.log or ROOT / "runs" / "mutants" / f"{revision}.jsonl")
    if given.action == "run":
        tried = [mutant for mutant in sample if given.only in mutant.id]
        try_all(Trial(ROOT, revision, {name: room.tests for name, room in ROOMS.items()}, log), tried, given.jobs)
    known = log.read()
    outcomes = {mutant.id: known[mutant.id]["outcome"] for mutant in sample if mutant.id in known}
    if given.action == "record":
        is_after = given.name == "after"
        write_sample(
            each._replace(after=outcomes.get(each.id)) if is_after else each._replace(before=outcomes.get(each.id))
            for each in sample
        )
    failed = [test for room in ROOMS for test in known.get(room, {}).get("failed", ())]
    print(survivors(sample, outcomes), "", table(sample, outcomes), sep="\n")
    print("\n".join(["", "left out, since they fail without a mutant:", *failed]) if failed else "")


if __name__ == "__main__":
    main()
