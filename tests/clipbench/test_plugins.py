"""Entry points: found lazily, by name, and with an error that says whose they are."""

import subprocess
import sys
from pathlib import Path

import pytest

from clipbench import plugins
from clipbench.errors import ClipbenchError, LeftOutWarning, UsageError


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder on the import path that holds distributions, as site-packages does."""
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def install(site: Path, distribution: str, *, declares: str, module: str = "") -> None:
    info = site / f"{distribution}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[clipbench.models]\n{declares}\n")
    if module:
        (site / f"{distribution}.py").write_text(module)


def test_a_strangers_plug_in_is_found_by_name_in_any_case(installed: Path) -> None:
    install(installed, "stranger", declares="Strange = stranger:load", module="def load(): return 7\n")

    assert "Strange" in plugins.names(plugins.MODELS)
    assert plugins.load(plugins.MODELS, "sTRANGE")() == 7


def test_names_are_listed_without_importing_the_plug_ins(installed: Path) -> None:
    install(installed, "heavy", declares="heavy = heavy:load", module="raise AssertionError('imported')\n")

    assert "heavy" in plugins.names(plugins.MODELS)
    assert "heavy" not in sys.modules


def test_what_is_installed_later_is_found_too_in_the_current_folder_as_well(
    installed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = installed / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    monkeypatch.syspath_prepend("")
    for site, name in ((installed, "one"), (here, "two")):
        assert name not in plugins.names(plugins.MODELS)
        install(site, name, declares=f"{name} = {name}:load")
        assert name in plugins.names(plugins.MODELS)


def test_listing_imports_no_torch() -> None:
    code = "import sys; from clipbench import plugins; plugins.names(plugins.MODELS); print('torch' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"


def test_an_unknown_name_is_told_the_nearest_and_where_to_look() -> None:
    with pytest.raises(
        UsageError, match=r"unknown model 'openclip': did you mean 'open_clip'\? \(clipbench list models\)"
    ):
        plugins.load(plugins.MODELS, "openclip")


def test_a_broken_plug_in_is_named_with_its_distribution_and_cause(installed: Path) -> None:
    install(installed, "broken", declares="shaky = broken:load", module="import no_such_module\n")

    with pytest.raises(
        ClipbenchError, match=r"'shaky' of broken cannot be imported .* No module named 'no_such_module'"
    ):
        plugins.load(plugins.MODELS, "shaky")


def test_a_plug_in_that_lacks_what_it_declares_is_broken_too(installed: Path) -> None:
    install(installed, "hollow", declares="hollow = hollow:load", module="")
    (installed / "hollow.py").write_text("")

    with pytest.raises(ClipbenchError, match=r"'hollow' of hollow cannot be imported from hollow:load"):
        plugins.load(plugins.MODELS, "hollow")


def test_a_name_that_two_distributions_declare_is_an_error_with_both(installed: Path) -> None:
    install(installed, "first", declares="same = first:load", module="def load(): ...\n")
    install(installed, "second", declares="Same = second:load", module="def load(): ...\n")

    with pytest.raises(ClipbenchError, match="declared by first and second: uninstall one"):
        plugins.load(plugins.MODELS, "same")


def test_a_name_of_clipbenchs_own_stays_its_own(installed: Path) -> None:
    ours = plugins.load(plugins.MODELS, "hf")
    install(installed, "thief", declares="HF = thief:load", module="def load(): ...\n")
    with pytest.warns(
        LeftOutWarning, match=r"'HF' of thief in clipbench\.models is left out, because clipbench has one"
    ):
        assert "HF" not in plugins.names(plugins.MODELS)
    assert plugins.load(plugins.MODELS, "hf") is ours


def test_of_several_plug_ins_the_broken_ones_are_named_and_the_others_usable(
    installed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plugins, "names", lambda group: ["fails", "good"])
    install(installed, "fails", declares="fails = fails:load", module="raise SystemExit\n")
    install(installed, "good", declares="good = good:load", module="load = 7\n")
    with pytest.warns(
        LeftOutWarning, match=r"'fails' of fails cannot be imported from fails:load \(it called sys.exit\(\)\)"
    ):
        assert plugins.load_usable(plugins.MODELS, lambda name: plugins.load(plugins.MODELS, name)) == {"good": 7}
