import ast
import pickle
import re
from inspect import signature
from pathlib import Path

import pytest
from click import Context

import clipbench
import clipbench_reports
import clipbench_tasks
from clipbench.cli.main import COMMANDS, cli
from clipbench.errors import (
    BadImage,
    ClipbenchError,
    DataError,
    UsageError,
    bug_summary,
    data_option,
    for_command_line,
    missing_package,
    model_option,
    option,
)
from clipbench_reports.plots.run_plots import PlotOptions


@pytest.mark.parametrize(
    ("module", "package"),
    [
        *(("umap.umap_", "umap-learn"), ("click", "click"), ("PIL", "pillow"), ("sklearn", "scikit-learn")),
        *(("google.protobuf", "protobuf"), ("google", "protobuf")),
    ],
)
def test_a_dependency_is_named_as_pip_knows_it(module: str, package: str) -> None:
    assert missing_package(ModuleNotFoundError("No module", name=module)) == package


@pytest.mark.parametrize("name", ["google.cloud", "mine.click", "torchaudio", "data", "onnxruntime", "", None])
def test_a_package_of_someone_else_is_none_of_the_dependencies(name: str | None) -> None:
    assert missing_package(ModuleNotFoundError("No module", name=name)) is None


def test_a_message_is_one_line_of_bounded_length_whatever_it_names() -> None:
    assert (
        str(DataError("a caption 'one\ntwo\r\nthree\u2028four' is wrong")) == "a caption 'one two three four' is wrong"
    )
    text = str(ClipbenchError(f"begins {'x' * 100_000} ends"))
    assert len(text) < 2_100 and text.startswith("begins xxx") and text.endswith("xxx ends")
    assert str(ClipbenchError()) == ""


def test_a_bad_image_travels_between_processes() -> None:
    sent = pickle.dumps(BadImage("a\nb.png", "truncated"))
    error = pickle.loads(sent)
    assert str(error).startswith("cannot read image a b.png: truncated") and error.name == "a\nb.png"
    with for_command_line():
        assert "run with --on-bad-image skip" in str(pickle.loads(sent))


FUNCTIONS = (
    clipbench.run,
    clipbench.doctor,
    clipbench.compare,
    clipbench.explain,
    clipbench.load_model,
    clipbench.load_data,
    clipbench.Run.plot,
    clipbench.pool,
    clipbench.choose,
    clipbench.export,
    PlotOptions,
)
OF_COMMANDS = ("cli/", "training/", "distributed/", "comparison/formats/", "models/reference.py")
"""Code whose texts the command line alone shows; ``reference.py`` lists references as ``clipbench list models`` has
them.
"""


def test_every_option_that_a_message_names_is_one_of_the_command_line_and_of_python() -> None:
    keywords = {name for function in FUNCTIONS for name in signature(function).parameters}
    commands = [command for name in COMMANDS if (command := cli.get_command(Context(cli), name))]
    flags = {flag for command in commands for parameter in command.params for flag in parameter.opts}
    option_names: set[str] = set()
    written = []
    for folder in (Path(metric.__path__[0]) for metric in (clipbench, clipbench_tasks, clipbench_reports)):
        for path in sorted(folder.rglob("*.py")):
            nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
            calls = [node for node in nodes if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)]
            of_options = [call for call in calls if call.func.id == "option"]  # type: ignore[attr-defined]
            option_names |= {str(call.args[0].value) for call in of_options if isinstance(call.args[0], ast.Constant)}
            if path.relative_to(folder).as_posix().startswith(OF_COMMANDS):
                continue
            skipped = {id(node.value) for node in nodes if isinstance(node, ast.Expr)}  # docstrings
            skipped |= {id(part) for node in nodes if isinstance(node, ast.JoinedStr) for part in node.values}
            for call in calls:
                if call.func.id == "on_command_line":  # type: ignore[attr-defined]
                    skipped |= set(map(id, call.args))
            for node in nodes:
                if isinstance(node, ast.Compare):
                    skipped |= set(map(id, node.comparators))  # a flag of a recorded command
            for node in nodes:
                text = ast.unparse(node) if isinstance(node, ast.JoinedStr) else getattr(node, "value", None)
                if isinstance(text, str) and id(node) not in skipped:
                    matches = re.findall(r"(?<![\w-])--([a-z][a-z-]*)", re.sub("`[^`]*(`|$)", "", text))
                    names = {flag.replace("-option", "-options").replace("-", "_") for flag in matches}
                    written += [f"{path.name}:{getattr(node, 'lineno', '')}: {name}" for name in names & keywords]
    assert len(option_names) > 20 and not option_names - keywords
    assert not {f"--{name.replace('_', '-')}" for name in option_names} - flags
    assert not written, "flags that a reader in Python would see"


@pytest.mark.parametrize(
    ("name", "value", "keyword", "flag"),
    [
        ("out", None, "out", "--out"),
        ("out", Path("Runs/a.b"), "out='Runs/a.b'", "--out Runs/a.b"),
        ("batch_size", 1, "batch_size=1", "--batch-size 1"),
        ("on_bad_image", "skip", "on_bad_image='skip'", "--on-bad-image skip"),
        ("trust_remote_code", True, "trust_remote_code=True", "--trust-remote-code"),
    ],
)
def test_an_option_is_worded_for_its_reader(name: str, value: object, keyword: str, flag: str) -> None:
    assert option(name, value) == keyword
    with for_command_line():
        assert option(name, value) == flag
        assert bug_summary(KeyError("a"), "the task") == "KeyError: 'a' (a bug in the task: --traceback shows where)"


def test_an_option_of_data_or_model_keeps_the_value_as_it_was_given() -> None:
    assert data_option(caption="it's") == """data_options={'caption': "it's"}"""
    assert model_option(model="NAME") == "model_options={'model': 'NAME'}"
    with for_command_line():
        assert data_option(class_names="/data/My Files/n.txt") == "--data-option class_names=/data/My Files/n.txt"
        assert model_option(context="248") == "--model-option context=248"


def test_functions_name_their_keywords(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text("image,caption,label\na.png,a cat,cat\n")
    with pytest.raises(UsageError, match=r"no column 'x' \(data_options={'caption': 'x'}\)"):
        clipbench.load_data(tmp_path / "m.csv", data_options={"caption": "x"})
    (tmp_path / "x.pt").touch()
    with pytest.raises(ClipbenchError, match=r"add arch='ARCH', such as arch='ViT-B-32'"):
        clipbench.load_model(tmp_path / "x.pt")
