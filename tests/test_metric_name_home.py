"""Only `results/metric_name.py` takes names of metrics and evaluations apart, or writes `task@data` and slices."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
HOME = "clipbench/results/metric_name.py"
SIGNS = frozenset("/@{}")
SPLITS = ("partition", "rpartition", "split", "rsplit", "index", "rindex", "find", "rfind")
ENDS = ("removeprefix", "removesuffix", "startswith", "endswith")
OTHER_TEXTS = {
    "clipbench/choosing/finished_rankings.py": (1, "paths of photographs"),
    "clipbench/data/contrasts/contrast_files.py": (5, "JSON, paths of images"),
    "clipbench/data/dataset_loading.py": (1, "references of data"),
    "clipbench/data/readers/result_lists.py": (1, "JSON"),
    "clipbench/models/adapters/rankings.py": (1, "paths of images"),
    "clipbench/data/labels.py": (1, "content of a fingerprint, in a room that cannot import results"),
    "clipbench/data/readers/judged_configs.py": (1, "paths"),
    "clipbench/data/readers/webdataset.py": (1, "paths"),
    "clipbench/data/scenes/scene_questions.py": (1, "paths"),
    "clipbench/errors.py": (1, "any misspelled name, also of a model or of data"),
    "clipbench/evaluation/published.py": (1, "references of models"),
    "clipbench/metrics/compression.py": (2, "stored formats, kind@dimensions"),
    "clipbench/models/adapters/http_api.py": (1, "placeholders"),
    "clipbench/models/adapters/open_clip.py": (3, "references of models"),
    "clipbench/models/towers/checkpoint_file.py": (1, "paths"),
    "clipbench/models/foreign_code.py": (2, "repositories and their commits"),
    "clipbench/models/model_settings.py": (1, "names of repositories"),
    "clipbench/results/export/bibtex.py": (2, "BibTeX"),
    "clipbench/results/export/clip_benchmark.py": (2, "references of models"),
    "clipbench/results/export/every_eval_ever.py": (1, "references of models"),
    "clipbench/results/other_tool_names.py": (2, "names of data in other tools, which are paths"),
    "clipbench/results/table/html.py": (1, "places where a line may break"),
    "clipbench/results/table/latex.py": (1, "LaTeX"),
    "clipbench/results/trackers.py": (1, "names of figures, which are files"),
}
"""Lines with such signs in other texts: their number by file, and what the texts are."""


def is_sign(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value in SIGNS


def outer_text(node: ast.expr) -> str:
    """Return the constant beginning and end of a text, such as "/" for f"{evaluation}/"."""
    match node:
        case ast.Constant(value=str(text)):
            return text[:1] + text[-1:]
        case ast.JoinedStr(values=[first, *_] as parts):
            first_text, last_text = (
                part.value if isinstance(part, ast.Constant) else "" for part in (first, parts[-1])
            )
            return str(first_text)[:1] + str(last_text)[-1:]
    return ""


def splits(tree: ast.Module) -> Iterator[int]:
    """Yield the lines that split a text at a sign of names, or look for a sign in it."""
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Attribute(attr=method), args=[first, *_]):
                choices = [first.body, first.orelse] if isinstance(first, ast.IfExp) else [first]
                is_split = method in SPLITS and any(map(is_sign, choices))
                is_cut = method in ENDS and SIGNS & set(outer_text(first))
                if is_split or is_cut:
                    yield node.lineno
            case ast.Compare(left=left, ops=[ast.In() | ast.NotIn()]) if is_sign(left):
                yield node.lineno
            case ast.JoinedStr(values=parts):
                texts = [part.value if isinstance(part, ast.Constant) else "" for part in parts]
                is_evaluation = any(text == "@" for text in texts[1:-1])
                is_slice = any(
                    text == "{" and after in ("=", "}") for text, after in zip(texts, texts[2:], strict=False)
                )
                if is_evaluation or is_slice:
                    yield node.lineno


def split_lines() -> dict[str, list[int]]:
    """Return the lines that split a text at a sign of names, by file."""
    lines: dict[str, list[int]] = {}
    for folder in ("clipbench", "tasks/clipbench_tasks", "reports/clipbench_reports"):
        for file in sorted((ROOT / folder).rglob("*.py")):
            name = file.relative_to(ROOT).as_posix()
            numbers = [*splits(ast.parse(file.read_text(encoding="utf-8")))]
            if numbers and name != HOME:
                lines[name] = sorted(numbers)
    return lines


def test_names_are_taken_apart_in_one_module() -> None:
    lines = split_lines()
    expected = {file: n for file, (n, _) in OTHER_TEXTS.items()}
    assert {file: len(numbers) for file, numbers in lines.items()} == expected, (
        "a name is taken apart or written outside results/metric_name.py: use a function from there. List other texts"
        f" in OTHER_TEXTS. Lines: {lines}"
    )


@pytest.mark.parametrize(
    "source",
    [
        'name.rpartition("/")[0]',
        'name.split("@")',
        'rest.partition("{" if "{" in rest else "/")',
        'name.removeprefix(f"{evaluation}/")',
        'name.endswith("/text_acc")',
        '"{" in pattern',
        'f"{task}@{data}"',
        'f"{evaluation}{{{grouping}={group}}}"',
    ],
)
def test_the_guard_sees_each_way_to_do_it(source: str) -> None:
    assert [*splits(ast.parse(source))]


def test_paths_of_several_letters_pass() -> None:
    assert not [*splits(ast.parse('path.split(", "); f"{folder}/{file}"; name.startswith("hf:"); "ab" in name'))]
