"""Print modules and lines by room, of a commit and of the working tree: rooms.py [COMMIT], a table for design/layout.md."""

import subprocess
import sys
from collections import defaultdict
from pathlib import Path

ROOTS = ("clipbench", "tasks/clipbench_tasks", "reports/clipbench_reports")


def git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], check=True, capture_output=True, text=True).stdout


def rooms(files: dict[str, str]) -> dict[str, tuple[int, int]]:
    """Return the number of modules and of lines that are not blank, by room: the first folder below a package."""
    counts: dict[str, tuple[int, int]] = defaultdict(lambda: (0, 0))
    for path, text in files.items():
        root = next((root for root in ROOTS if path.startswith(f"{root}/")), None)
        if root is not None and path.endswith(".py"):
            folder, _, rest = path.removeprefix(f"{root}/").partition("/")
            room = f"{Path(root).name}/{folder}" if rest else Path(root).name
            modules, lines = counts[room]
            counts[room] = (modules + 1, lines + sum(1 for line in text.splitlines() if line.strip()))
    return counts


def main(commit: str) -> None:
    names = git("ls-tree", "-r", "--name-only", commit, *ROOTS).splitlines()
    before = rooms({name: git("show", f"{commit}:{name}") for name in names if name.endswith(".py")})
    now = rooms({name: Path(name).read_text(encoding="utf-8") for name in git("ls-files", *ROOTS).splitlines()
                 if name.endswith(".py") and Path(name).is_file()})  # fmt: skip
    print(f"| room | modules at {commit} | now | lines at {commit} | now |\n|---|---:|---:|---:|---:|")
    for room in sorted({*before, *now}):
        cells = [f"{each[room][at]:,}" if room in each else "" for at in (0, 1) for each in (before, now)]
        print(f"| `{room}` | {' | '.join(cells)} |")
    totals = [f"{sum(each[at] for each in side.values()):,}" for at in (0, 1) for side in (before, now)]
    print(f"| all | {' | '.join(totals)} |")


if __name__ == "__main__":
    main(*(sys.argv[1:] or ["1776ff3"]))
