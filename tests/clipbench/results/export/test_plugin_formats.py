"""Formats that plug-ins declare: one that fails costs itself alone, with one line."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from clipbench import plugins
from clipbench.errors import ClipbenchError, UsageError
from clipbench.results.export.formats import ExportFormat, RenderedExport, export, format_of
from clipbench.results.run import Run


def failing(runs: Sequence[Run]) -> RenderedExport:
    raise KeyError("title")


MADE: dict[str, Any] = {
    "plain": ExportFormat(suffixes=(".txt",), render=lambda runs: RenderedExport(content=f"{len(runs)} run".encode())),
    "failing": ExportFormat(suffixes=(".txt",), render=failing),
    "no-format": failing,
}


@pytest.fixture
def run_folder(make_run: Any, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a run, where a plug-in declares three formats."""
    folder: Path = make_run().folder
    load, known = plugins.load, plugins.names(plugins.EXPORTS)
    monkeypatch.setattr(plugins, "names", lambda group: [*known, *MADE])
    monkeypatch.setattr(plugins, "load", lambda group, name: MADE[name] if name in MADE else load(group, name))
    return folder


def test_the_format_of_a_plug_in_is_found_by_its_name(run_folder: Path) -> None:
    assert export([run_folder], "plain").text == "1 run"
    with pytest.raises(UsageError, match=r"to='plane': no such format, did you mean 'plain'"):
        format_of("plane")


def test_a_format_that_fails_says_so_in_one_line_and_the_others_work(run_folder: Path) -> None:
    with pytest.raises(ClipbenchError, match=r"^the export failing failed \(KeyError: 'title'\)$"):
        export([run_folder], "failing")
    with pytest.raises(
        ClipbenchError, match=r"the export no-format of .* is of type function: expected an ExportFormat"
    ):
        export([run_folder], "no_format")
    assert export([run_folder], "csv").text is not None
