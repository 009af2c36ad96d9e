import ast
import pickle
import re
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

import clipbench
from clipbench.errors import DEPENDENCIES, BadImage, ClipbenchError, DataError, UsageError, as_keywords, missing_package

PYPROJECT = Path(__file__).parents[2] / "pyproject.toml"


@pytest.mark.skipif(not PYPROJECT.is_file(), reason="pyproject.toml is not part of the tests alone")
def test_the_dependencies_are_those_that_are_declared() -> None:
    declared = {
        re.split(r"[<>=\[]", each)[0] for each in tomllib.loads(PYPROJECT.read_text())["project"]["dependencies"]
    }
    names = {
        module: {re.sub(r"[-_.]+", "-", each).lower() for each in found}
        for module, found in packages_distributions().items()
    }
    of_each = {module: declared & names[module.partition(".")[0]] for module in DEPENDENCIES}
    assert all(of_each.values()), of_each
    assert set().union(*of_each.values()) == declared


@pytest.mark.parametrize("name", ["google.cloud", "torchaudio", "", None])
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
    error = pickle.loads(pickle.dumps(BadImage("a\nb.png", "truncated")))
    assert str(error).startswith("cannot read image a b.png: truncated") and error.name == "a\nb.png"


COMMANDS_ALONE = {
    "download.py": "of `data get`",
    "checkpoints.py": "of `train`",
    "formats.py": "of `export`",
    "model_index.py": "of `export`",
    "tables.py": "of `export`",
    "gate.py": "of `compare`",
    "gate_rules.py": "of `compare`",
    "_markdown.py": "of `compare`",
    "_terminal.py": "of `compare`",
}
"""Modules whose messages name flags that are no keyword of a function."""


def test_every_flag_in_a_message_becomes_a_keyword() -> None:
    names = {"data-option": "data_options", "model-option": "model_options"}
    root, left = Path(clipbench.__file__).parent, []
    for path in sorted(root.rglob("*.py")):
        if {"cli", "distributed", "training"} & set(path.relative_to(root).parts) or path.name in {
            *COMMANDS_ALONE,
            "errors.py",
        }:
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        quoted = {id(each.value) for each in ast.walk(tree) if isinstance(each, ast.Expr)}
        for each in ast.walk(tree):
            text = ast.unparse(each) if isinstance(each, ast.JoinedStr) else getattr(each, "value", None)
            if isinstance(text, str) and id(each) not in quoted:
                outside = re.sub("`[^`]*(`|$)", "", as_keywords(text, names))
                left += [f"{path.name}: {found}" for found in re.findall(r"(?<![\w-])--[a-z][a-z-]*", outside)]
    assert not [each for each in left if not each.endswith("--local-dir")], left


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("replace it, or run with --on-bad-image skip to", "replace it, or run with on_bad_image='skip' to"),
        ("needs its architecture: add --arch ARCH, such as --arch ViT-B-32", "needs its architecture: add arch='ARCH', such as arch='ViT-B-32'"),
        ("(a bug in the task: --traceback shows where)", "(a bug in the task)"),
        ("give its folder as --model hf:FOLDER, or", "give its folder as 'hf:FOLDER', or"),
        ("run `hf download x --local-dir F`", "run `hf download x --local-dir F`"),
        ("name another --out or move it", "name another out or move it"),
        ("expected --tasks all, TASK or TASK@DATA", "expected tasks='all', TASK or TASK@DATA"),
        ("name what is expected with --metric TASK/METRIC", "name what is expected with metric='TASK/METRIC'"),
        ("--trust-remote-code runs code", "trust_remote_code=True runs code"),
        # names of the user's own that look like flags
        ("/c/hub/models--acme--model is no folder", "/c/hub/models--acme--model is no folder"),
        ("models--yes--clip/x", "models--yes--clip/x"),
        ("datasets--pixparse--cats All files", "datasets--pixparse--cats All files"),
        ("/data/x--data-option", "/data/x--data-option"),
        # values of the user's own
        ("drop --data-option split=train[:5%]", "drop options split=train[:5%]"),
        ("--data-option class_names=/data/My Files/n.txt", "options class_names=/data/My Files/n.txt"),
        ("--data-option group=region:x: expected", "options group=region:x: expected"),
        ("(--data-option caption=it's)", "(options caption=it's)"),
        ("--out Runs/a.b is a file", "out Runs/a.b is a file"),
        ("--out C:/Runs is a file", "out C:/Runs is a file"),
        ("--out FILE/x is a file", "out FILE/x is a file"),
        ("--data Photos/x.csv", "data Photos/x.csv"),
        # advice
        ("name one with --data-option split=NAME", "name one with options={'split': 'NAME'}"),
        ("does it have --model-option model=NAME?", "does it have model_options={'model': 'NAME'}?"),
        ("a bare checkpoint is --model FILE with --arch ARCH, a", "a bare checkpoint is 'FILE' with arch='ARCH', a"),
        ("a checkpoint in it is FILE with --arch ARCH", "a checkpoint in it is FILE with arch='ARCH'"),
        ("by --model-option a=NAME or --model-option b=NAME", "by model_options={'a': 'NAME'} or model_options={'b': 'NAME'}"),
    ],
)  # fmt: skip
def test_a_message_names_the_keywords_that_its_caller_wrote(text: str, expected: str) -> None:
    assert as_keywords(text, {"data-option": "options", "model-option": "model_options"}) == expected


def test_functions_name_their_keywords(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text("image,caption,label\na.png,a cat,cat\n")
    with pytest.raises(UsageError, match=r"no column 'x' \(options caption=x\)"):
        clipbench.load_data(tmp_path / "m.csv", options={"caption": "x"})
    with pytest.raises(UsageError, match=r"no column 'x' \(data_options caption=x\)"):
        clipbench.run("tiny", "retrieval", data=tmp_path / "m.csv", data_options={"caption": "x"})
    (tmp_path / "x.pt").touch()
    with pytest.raises(ClipbenchError, match=r"add arch='ARCH', such as arch='ViT-B-32'"):
        clipbench.load_model(tmp_path / "x.pt")
