"""The page of a choice among models: the verdict, its tables, and the images that judges graded differently."""

from pathlib import Path

from clipbench.choosing.verdict import Choice
from clipbench_reports.page.html import assets, render_template, write_html


def write_choice(choice: Choice, path: Path) -> None:
    """Write a page, whole or not at all.

    Raises:
        UsageError: the file cannot be written.
    """
    write_html(render_template("choice.html.j2", **assets(), choice=choice), path)
