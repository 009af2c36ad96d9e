"""``csv``: the long table of ``rows``."""

import csv
import io
from collections.abc import Sequence

from clipbench.results.export.rendered import Rendered
from clipbench.results.export.rows import COLUMNS, Cell, rows
from clipbench.results.run import Run


def render(runs: Sequence[Run]) -> Rendered:
    """Return a row a metric; numbers have all their digits, and what is not known is empty."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows([_written(value) for value in row.values()] for row in rows(runs))
    return Rendered(content=text.getvalue().encode())


def _written(value: Cell) -> str | int | float:
    if isinstance(value, bool):
        return "true" if value else "false"
    return "" if value is None else value
