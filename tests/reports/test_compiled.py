"""Templates are compiled once, and whenever their source, or what compiles them, has changed."""

import sys
from collections.abc import Callable
from pathlib import Path

import jinja2
import pytest

from clipbench_reports.compiled import environment


@pytest.fixture
def render(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], tuple[str, int]]:
    """Return a function that renders a template of a package anew, and says how many templates it compiled."""
    (tmp_path / "paged/templates").mkdir(parents=True)
    (tmp_path / "paged/__init__.py").write_text("")
    (tmp_path / "paged/templates/a.j2").write_text("{{ '<' }} {{ 'x' | shout }}")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    monkeypatch.delitem(sys.modules, "paged", raising=False)
    compiled: list[str] = []
    compile_source = jinja2.Environment.compile

    def counted(self: jinja2.Environment, source: str, name: str | None, filename: str | None) -> object:
        compiled.append(source)
        return compile_source(self, source, name, filename)

    monkeypatch.setattr(jinja2.Environment, "compile", counted)

    def render(loud: str = "!") -> tuple[str, int]:
        compiled.clear()
        page = environment("paged", {"shout": lambda text: text + loud}).get_template("a.j2").render()
        return page, len(compiled)

    return render


def test_a_template_is_compiled_once_and_what_a_filter_gives_is_not_kept(
    render: Callable[..., tuple[str, int]], tmp_path: Path
) -> None:
    assert render() == ("&lt; x!", 1)
    assert render("?") == ("&lt; x?", 0)
    (tmp_path / "paged/templates/a.j2").write_text("{{ 'y' | shout }}")
    assert render() == ("y!", 1)
    assert render() == ("y!", 0)
    (kept,) = (tmp_path / "paged/templates/__pycache__").iterdir()
    for damaged in (b"", kept.read_bytes()[:60], bytes(range(256))):
        kept.write_bytes(damaged)
        assert render() == ("y!", 1)


def test_where_nothing_can_be_kept_templates_are_compiled_each_time(
    render: Callable[..., tuple[str, int]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    assert render() == render() == ("&lt; x!", 1)
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    (tmp_path / "paged/templates/__pycache__").write_text("a file where a folder should be")
    assert render() == render() == ("&lt; x!", 1)
