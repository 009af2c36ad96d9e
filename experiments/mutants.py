"""Change one statement of the code at a time, and count which changes the tests of its room notice. Run by `make
mutants`.

    python experiments/mutants.py               # try the 300 of experiments/mutants.json: a few hours on two cores
    python experiments/mutants.py --only stats  # those whose names hold a text
    python experiments/mutants.py record        # write what became of them into that file
    python experiments/mutants.py draw          # another sample, in the place of this one

Each is tried in a copy of the last commit; the checkout is never changed. A mutant is killed where a test of its room
fails or the tests take three times as long and a minute; gone where its statement is in no function of that name any
more. What is known is kept below runs/mutants, so that an interrupted run goes on. Nobody judges the survivors here:
some are as right as the code was.
"""

import argparse
import ast
import copy
import json
import os
import random
import subprocess
import sys
import tempfile
import time
import tomllib
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata
from pathlib import Path
from queue import SimpleQueue
from typing import Any

ROOT = Path(__file__).parents[1]
SAMPLE = ROOT / "experiments" / "mutants.json"
PACKAGES = ("clipbench", "tasks/clipbench_tasks", "reports/clipbench_reports")
ROOMS = {
    room: (f"tests/clipbench/{room}", f"clipbench/{room}")
    for room in ("metrics", "stats", "comparison", "results", "models", "evaluation")
}
"""Tests and doctests that have to notice the mutants of a room."""
N_EACH, SEED = 50, 300
SWAPS: dict[type[ast.AST], type[ast.AST]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.And: ast.Or,
    ast.Or: ast.And,
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
}

Mutant = dict[str, Any]
"""id, room, file, function, operator, statement, nth (of the equal statements of a function), mutated, and outcomes."""


def statements(block: Sequence[ast.stmt], scope: str = "") -> Iterator[tuple[str, ast.stmt]]:
    """Yield statements with their functions: no imports, docstrings, asserts, or what is for types alone."""
    for node in block:
        if isinstance(node, ast.Import | ast.ImportFrom | ast.Assert):
            continue
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            continue
        if isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "__name__ == '__main__'"):
            continue
        inner = scope
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            inner = f"{scope}.{node.name}".lstrip(".")
        if not isinstance(node, ast.ClassDef | ast.Try | ast.Match):
            yield inner, node
        for name in ("body", "orelse", "finalbody", "handlers", "cases"):
            for each in getattr(node, name, ()):
                yield from statements([each] if isinstance(each, ast.stmt) else each.body, inner)


def header(node: ast.stmt) -> ast.stmt:
    """Return a statement without its blocks and decorators."""
    found = copy.deepcopy(node)
    for name in ("orelse", "decorator_list"):
        if hasattr(found, name):
            setattr(found, name, [])
    if hasattr(found, "body"):
        found.body = [ast.Expr(ast.Constant(...))]
    return found


def text_of(node: ast.stmt) -> str:
    """Return a statement in one format, of a compound one the line that ends with a colon."""
    return ast.unparse(header(node)).removesuffix("\n    ...")


def mutations(node: ast.stmt) -> Iterator[tuple[str, str]]:
    """Yield operator and text of each change of a statement.

    Example:
        >>> list(mutations(ast.parse("a = b < 1").body[0]))
        [('swap', 'a = b <= 1'), ('number', 'a = b < 2')]
    """
    if isinstance(node, ast.Raise | ast.Continue | ast.AugAssign):
        yield "delete", "pass"
    if isinstance(node, ast.Raise):
        return  # all else in it is the text of an error
    if isinstance(node, ast.Return) and node.value is not None:
        yield "return", "return None"
    whole = header(node)
    for at, each in enumerate(ast.walk(whole)):
        found = change(each)
        if found is not None:
            operator, name, value = found
            changed = copy.deepcopy(whole)
            setattr(list(ast.walk(changed))[at], name, value)
            yield operator, text_of(changed)


def change(node: ast.AST) -> tuple[str, str, Any] | None:
    """Return what may be changed in a part of a statement: operator, field and new value."""
    match node:
        case ast.Constant(bool() | int() | float() as value):
            return "number", "value", not value if isinstance(value, bool) else value + 1
        case ast.Compare(ops=[first, *rest]) if type(first) in SWAPS:
            return "swap", "ops", [SWAPS[type(first)](), *rest]
        case ast.BinOp(op=op) | ast.BoolOp(op=op) if type(op) in SWAPS:
            return "swap", "op", SWAPS[type(op)]()
        case ast.Call(keywords=[_, *rest]):
            return "argument", "keywords", rest
        case ast.If(test=test) | ast.IfExp(test=test):
            return "condition", "test", ast.UnaryOp(ast.Not(), test)
    return None


def draw() -> list[Mutant]:
    """Return mutants of each room, one of a statement at most."""
    drawn = []
    for room, (_, folder) in ROOMS.items():
        found = []
        for path in sorted((ROOT / folder).rglob("*.py")):
            n_equal = Counter[tuple[str, str]]()
            for function, node in statements(ast.parse(path.read_text(encoding="utf-8")).body):
                place = function, text_of(node)
                changes = [each for each in mutations(node) if each[1] != place[1]]
                name = path.relative_to(ROOT).as_posix()
                found.append((name, *place, n_equal[place], changes))
                n_equal[place] += 1
        rng = random.Random(f"{room} {SEED}")
        for number, each in enumerate(sorted(rng.sample([each for each in found if each[-1]], N_EACH)), 1):
            file, function, statement, nth, changes = each
            operator, mutated = rng.choice(changes)
            drawn.append({"id": f"{room}-{number:02}", "room": room, "file": file, "function": function,
                          "operator": operator, "statement": statement, "nth": nth, "mutated": mutated})  # fmt: skip
    return drawn


def find(tree: Path, mutant: Mutant) -> tuple[Path, str] | None:
    """Return the file of a mutant's statement, its own before others, and the source with the statement changed."""
    others = sorted(path for package in PACKAGES for path in (tree / package).rglob("*.py"))
    for path in (tree / mutant["file"], *others):
        if not path.is_file() or mutant["function"].rpartition(".")[2] not in (source := path.read_text("utf-8")):
            continue
        module = ast.parse(source)
        equal = [
            node
            for function, node in statements(module.body)
            if function.rpartition(".")[2].lstrip("_") == mutant["function"].rpartition(".")[2].lstrip("_")
            and text_of(node) == mutant["statement"]
        ]
        if equal:
            node = equal[min(mutant["nth"], len(equal) - 1)]
            is_compound = mutant["mutated"].endswith(":")
            (new,) = ast.parse(mutant["mutated"] + ("\n    ..." if is_compound else "")).body
            for name in ("body", "orelse", "decorator_list"):
                if hasattr(node, name) and is_compound:
                    setattr(new, name, getattr(node, name))
            return path, ast.unparse(_Swap(node, new).visit(module))
    return None


class _Swap(ast.NodeTransformer):
    def __init__(self, old: ast.AST, new: ast.AST) -> None:
        self.old, self.new = old, new

    def visit(self, node: ast.AST) -> ast.AST:
        return self.new if node is self.old else self.generic_visit(node)


def copied(revision: str, tree: Path) -> Path:
    """Return a copy of a commit, with its entry points: those of the environment may be of another commit."""
    tree.mkdir()
    archive = subprocess.run(["git", "-C", str(ROOT), "archive", revision], check=True, capture_output=True).stdout
    subprocess.run(["tar", "x"], cwd=tree, input=archive, check=True)
    project = tomllib.loads((tree / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    information = tree / "installed" / f"{project['name']}-{project['version']}.dist-info"
    information.mkdir(parents=True)
    lines = []
    for group, entries in (*project["entry-points"].items(), ("console_scripts", project["scripts"])):
        lines += [f"[{group}]", *(f"{name} = {target}" for name, target in entries.items())]
    (information / "entry_points.txt").write_text("\n".join(lines), encoding="utf-8")
    installed = metadata.distribution(project["name"]).read_text("METADATA")
    (information / "METADATA").write_text(installed or "", encoding="utf-8")
    return tree


def run_tests(tree: Path, room: str, most_seconds: float | None = None) -> tuple[int | None, float]:
    """Return the status of a room's tests, None where they took too long, and their seconds."""
    folders = [tree / "installed", *((tree / package).parent for package in PACKAGES)]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, folders)), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "pytest", "-xq", "-p", "no:cacheprovider", *ROOMS[room]]
    begun = time.monotonic()
    try:
        done = subprocess.run(command, cwd=tree, env=env, capture_output=True, timeout=most_seconds, check=False)
    except subprocess.TimeoutExpired:
        return None, time.monotonic() - begun
    return done.returncode, time.monotonic() - begun


def try_all(mutants: Sequence[Mutant], known: Path, revision: str, jobs: int) -> None:
    """Try mutants in copies of a commit, and add what became of each to a file, a line of JSON each."""
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder, ThreadPoolExecutor(jobs) as pool:
        trees = SimpleQueue[Path]()
        for number in range(jobs):
            trees.put(copied(revision, Path(folder, str(number))))
        seconds = {}
        for room in dict.fromkeys(mutant["room"] for mutant in mutants):
            status, seconds[room] = run_tests(Path(folder, "0"), room)
            if status != 0:
                sys.exit(f"the tests of {room} fail without a mutant")

        def attempt(mutant: Mutant) -> None:
            tree, outcome = trees.get(), "gone"
            place = find(tree, mutant)
            if place is not None:
                path, source = place
                before = path.read_text(encoding="utf-8")
                try:
                    path.write_text(source, encoding="utf-8")
                    status, _ = run_tests(tree, mutant["room"], 3 * seconds[mutant["room"]] + 60)
                finally:
                    path.write_text(before, encoding="utf-8")
                    trees.put(tree)
                outcome = "survived" if status == 0 else "killed"
            else:
                trees.put(tree)
            with known.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"id": mutant["id"], "outcome": outcome}) + "\n")

        list(pool.map(attempt, mutants))


def table(sample: Sequence[Mutant], outcomes: dict[str, str]) -> str:
    """Return by room how many mutants were killed, survived and are gone, and how many of the tried were killed
    before.
    """
    lines = ["| room | killed | survived | gone | of the tried, killed before |", "|---|---:|---:|---:|---:|"]
    for room in (*ROOMS, "all"):
        of_room = [each for each in sample if room in (each["room"], "all")]
        counts = Counter(outcomes.get(each["id"], "") for each in of_room)
        tried = [each for each in of_room if outcomes.get(each["id"]) in ("killed", "survived")]
        before = sum(each.get("before") in ("killed", "slow") for each in tried)
        lines.append(f"| {room} | {counts['killed']} | {counts['survived']} | {counts['gone']} | {before} |")
    return "\n".join(lines)


def main() -> None:
    """Run one of the actions."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", nargs="?", default="run", choices=["run", "record", "draw"])
    parser.add_argument("--only", default="", metavar="TEXT", help="run mutants whose names hold it")
    parser.add_argument("--jobs", type=int, default=2, metavar="N", help="processes")
    parser.add_argument("--revision", default="HEAD", help="commit whose code and tests are tried")
    given = parser.parse_args()
    sample = draw() if given.action == "draw" else json.loads(SAMPLE.read_text(encoding="utf-8"))["mutants"]
    git = ["git", "-C", str(ROOT), "rev-parse", "--short=12", given.revision]
    revision = subprocess.run(git, check=True, capture_output=True, text=True).stdout.strip()
    log = ROOT / "runs" / "mutants" / f"{revision}.jsonl"
    log.parent.mkdir(parents=True, exist_ok=True)
    log.touch()
    outcomes = {each["id"]: each["outcome"] for each in map(json.loads, log.read_text("utf-8").splitlines())}
    if given.action == "run":
        waiting = [each for each in sample if given.only in each["id"] and each["id"] not in outcomes]
        try_all(waiting, log, given.revision, given.jobs)
        outcomes = {each["id"]: each["outcome"] for each in map(json.loads, log.read_text("utf-8").splitlines())}
        for each in sample:
            if outcomes.get(each["id"]) == "survived":
                print(
                    f"{each['id']} survived: {each['file']}, {each['function']}",
                    each["statement"],
                    each["mutated"],
                    sep="\n    ",
                )
        print(table(sample, outcomes))
        return
    if given.action == "record":
        sample = [{**each, "after": outcomes.get(each["id"])} for each in sample]
    lines = ",\n".join(json.dumps(each, ensure_ascii=False) for each in sample)
    SAMPLE.write_text(f'{{"seed": {SEED}, "mutants": [\n{lines}\n]}}\n', encoding="utf-8")


if __name__ == "__main__":
    main()
