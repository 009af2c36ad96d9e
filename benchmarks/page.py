"""Write the table of a bench.json into design/performance.md: `python benchmarks/page.py [bench.json]`.

Figures of before are those of before.json.
"""

import json
import re
import sys
from pathlib import Path

from table import text_of

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "design/performance.md"
BEFORE = Path(__file__).with_name("before.json")
START, END = "<!-- table of benchmarks/page.py -->\n", "<!-- end of the table -->\n"


def page_with(bench: dict[str, object], page: str) -> str:
    """Return the page with the table of a bench.json in the place of the one that is there."""
    before = json.loads(BEFORE.read_text(encoding="utf-8"))
    lines = text_of(bench, before)
    n_rows = lines.index("")
    # A list keeps the lines below the table apart; Markdown would join them.
    table = "\n".join(
        [*(re.sub(" +", " ", line) for line in lines[:n_rows]), "", *(f"- {line}" for line in lines[n_rows + 1 :])]
    )
    head, rest = page.split(START)
    _, tail = rest.split(END)
    return f"{head}{START}\n{table}\n\n{END}{tail}"


def main(source: str = "bench.json") -> None:
    """Write the page."""
    if not Path(source).is_file():
        sys.exit(f"'{source}' is no file: make bench writes bench.json")
    bench = json.loads(Path(source).read_text(encoding="utf-8"))
    PAGE.write_text(page_with(bench, PAGE.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
