"""The files that a figure for print comes with: never written over what is another's."""

from pathlib import Path

from clipbench.errors import UsageError
from clipbench.untrusted.reading import is_file
from clipbench_reports.drawing.plotted import COLUMNS


def check_beside(out: Path) -> None:
    """Raise UsageError when the table or the caption of a figure would be written over a file that is not one of ours.

    A figure that is drawn again replaces its own: the table is told by its first line, and the caption by its table.
    """
    table, caption = out.with_suffix(".csv"), out.with_suffix(".txt")
    if is_file(table) and not _is_table(table):
        raise UsageError(f"{table} is there and is not the table of a figure: name another file for the figure")
    if is_file(caption) and not is_file(table):
        raise UsageError(f"{caption} is there and is not the caption of a figure: name another file for the figure")


def _is_table(path: Path) -> bool:
    try:
        with path.open(encoding="utf-8") as file:
            return file.readline().strip() == ",".join(COLUMNS)
    except (OSError, UnicodeDecodeError):
        return False
