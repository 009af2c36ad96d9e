"""Print the table of speed, and keep it in bench.json: `python benchmarks/bench.py [ROW...]`; README.md says how to
read it.

Each row is timed in a process of its own, so that none is measured with another's memory or threads.
"""

import argparse
import ast
import importlib
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from rows import Row, cpu_seconds
from table import text_of

HERE = Path(__file__).parent
PACKAGES = ("clipbench", "numpy", "scipy", "torch", "open-clip-torch", "pillow", "pandas", "pyarrow")

Record = dict[str, Any]
"""A row as bench.json has it."""


@dataclass(frozen=True)
class Measured:
    """A row with what else happened while it was measured."""

    row: Row
    seconds: float
    others: float
    """Processors that other programs (or other guests of the host) used on average."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure the rows that are named, or all, or compare two files."""
    options = parsed(arguments)
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # a command would compile all that it imports at each start
    records: dict[str, Record] = {}
    bench = {**conditions(options.size), "rows": records}
    for name in options.rows or row_names():
        print(f"{name} ...", end="", file=sys.stderr, flush=True)
        records[name] = measured_apart(name, options.size)
        print(f" {records[name].get('seconds', 0):.0f} s", file=sys.stderr, flush=True)
        options.out.write_text(
            json.dumps(bench, indent=1) + "\n", encoding="utf-8"
        )  # an hour's work is not lost with the last row
    old = json.loads(options.against.read_text(encoding="utf-8")) if options.against else None
    print("\n".join(text_of(bench, old)))


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Time clipbench beside its peer and the bare work.")
    parser.add_argument(
        "rows", nargs="*", metavar="ROW", help=f"rows to measure, all by default: {', '.join(row_names())}"
    )
    sizes = parser.add_mutually_exclusive_group()
    sizes.add_argument("--small", dest="size", action="store_const", const="small", help="seconds in all, as in CI")
    sizes.add_argument(
        "--full", dest="size", action="store_const", const="full", help="sizes of the reaches: an hour or more"
    )
    parser.add_argument(
        "--against", type=Path, metavar="OLD.json", help="show an older file's figures beside the new ones"
    )
    parser.add_argument("--out", type=Path, default=Path("bench.json"), help="file to write; bench.json by default")
    parser.set_defaults(size="default")
    options = parser.parse_args(arguments)
    unknown = [name for name in options.rows if name not in row_names()]
    if unknown:
        parser.error(f"unknown row '{unknown[0]}': expected one of {', '.join(row_names())}")
    if options.against and not options.against.is_file():
        parser.error(f"'{options.against}' is no file: expected a bench.json")
    return options


def row_names() -> list[str]:
    """Return the modules of this folder with a function ``measure``, without importing them."""
    return [
        path.stem for path in sorted(HERE.glob("*.py")) if _has_measure(ast.parse(path.read_text(encoding="utf-8")))
    ]


def _has_measure(module: ast.Module) -> bool:
    functions = (each for each in module.body if isinstance(each, ast.FunctionDef) and each.name == "measure")
    return any([argument.arg for argument in each.args.args] == ["size"] for each in functions)


def measured_apart(name: str, size: str) -> Record:
    """Return the record of a row that is measured in a process of its own; one that fails says why."""
    with ProcessPoolExecutor(max_workers=1, mp_context=get_context("spawn")) as pool:
        found = pool.submit(measured, name, size)
        error = found.exception()
    if isinstance(error, BrokenProcessPool):
        return {"failed": "its process was killed: memory may have run out"}
    return {"failed": f"{type(error).__name__}: {error}"} if error else record_of(found.result())


def measured(name: str, size: str) -> Measured:
    """Measure a row in this process."""
    measure = importlib.import_module(name).measure
    start, busy, own = time.perf_counter(), _busy_seconds(), cpu_seconds()
    row = measure(size)
    seconds = time.perf_counter() - start
    return Measured(row, seconds, max(0.0, _busy_seconds() - busy - (cpu_seconds() - own)) / seconds)


def _busy_seconds() -> float:
    """Return the seconds that all processors were busy or taken away so far; 0 where Linux does not say."""
    try:
        fields = [int(each) for each in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    except OSError:
        return 0.0
    idle, waiting = fields[3:5]
    return (sum(fields) - idle - waiting) / os.sysconf("SC_CLK_TCK")


def record_of(found: Measured) -> Record:
    """Return a row as bench.json has it, with each median and whether each reach is met."""
    row = found.row
    return {
        **asdict(row),
        "reaches": [{**asdict(each), "met": each.is_met} for each in row.reaches],
        "seconds": found.seconds,
        "others": found.others,
    }


def conditions(size: str) -> Record:
    """Return when, where and with what a table is made."""
    threads = os.environ.get("OMP_NUM_THREADS")
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "size": size,
        "commit": _commit(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": int(threads) if threads else None,
        "load": os.getloadavg()[0],
        "system": platform.platform(),
        "versions": {"python": platform.python_version(), **{name: _version(name) for name in PACKAGES}},
    }


def _commit() -> str | None:
    command = ["git", "-C", str(HERE), "describe", "--always", "--dirty"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip() or None


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


if __name__ == "__main__":
    main()
