"""Files of other people are read in few modules, which never run their content."""

import ast
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path

READERS = {
    *("json.load", "json.loads", "tomllib.load", "tomllib.loads", "yaml.load", "yaml.safe_load", "pickle.load", "pickle.loads"),
    *("pickle.Unpickler", "marshal.loads", "shelve.open", "zipfile.ZipFile", "tarfile.open", "torch.load", "numpy.load"),
    *("joblib.load", "safetensors.safe_open", "safetensors.torch.load_file", "safetensors.numpy.load_file"),
    *("pandas.read_csv", "pandas.read_json", "pandas.read_parquet", "pandas.read_pickle"),
    *("pyarrow.parquet.read_table", "pyarrow.parquet.ParquetFile"),
}  # fmt: skip
HOMES = {
    "clipbench/untrusted/": "bounds depth and numbers",
    "clipbench/models/towers/checkpoint_file.py": "weights: tensors alone",
    "clipbench/models/adapters/vector_arrays.py": "vectors: no objects",
    "clipbench/results/run.py": "tables and arrays of a run: no objects",
    "clipbench/data/catalogue/resumable_downloads.py": "archives of the catalogue: nothing gets out of the folder",
    "clipbench/data/readers/webdataset.py": "shards: read member by member, never unpacked",
    "clipbench/data/readers/judged_configs.py": "judged data: columns of text, each different image of a few rows once",
    "clipbench/models/adapters/interpreter_child.py": (
        "what a command hands a process of its own: arrays of numbers alone"
    ),
    "clipbench/distributed/rounds.py": "what processes of one command hand each other in a folder of the user alone",
    "clipbench/data/catalogue/entries.py": "the package's own file",
    "clipbench/data/prompts.py": "the package's own file",
    "clipbench/models/reference.py": "the package's own file",
}
SAFE = {"numpy.load": "allow_pickle=False", "torch.load": "weights_only=True"}


def calls(source: str) -> Iterator[tuple[str, str]]:
    """Yield the name, from its package on, and the text of each call of a reader in a module."""
    tree = ast.parse(source)
    full: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            full |= {imported_name.asname: imported_name.name for imported_name in node.names if imported_name.asname}
        elif isinstance(node, ast.ImportFrom):
            full |= {
                imported_name.asname or imported_name.name: f"{node.module}.{imported_name.name}"
                for imported_name in node.names
            }
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            head, dot, rest = dotted(node.func).partition(".")
            name = full.get(head, head) + dot + rest
            if name in READERS:
                yield name, ast.unparse(node)


def dotted(node: ast.expr) -> str:
    """Return a name with its attributes; much faster than ``ast.unparse``."""
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


@cache
def readings() -> list[tuple[str, str, str]]:
    """Return the module, the name and the text of each call of a reader in the three packages."""
    result = []
    for package in ("clipbench", "clipbench_tasks", "clipbench_reports"):
        spec = find_spec(package)
        assert spec is not None and spec.origin is not None
        root = Path(spec.origin).parent
        for path in sorted(root.rglob("*.py")):
            for name, text in calls(path.read_text(encoding="utf-8")):
                result.append((f"{package}/{path.relative_to(root).as_posix()}", name, text))
    return result


def test_files_of_others_are_read_at_home_alone() -> None:
    result = readings()
    elsewhere = [(module, text) for module, _, text in result if not module.startswith(tuple(HOMES))]
    assert not elsewhere, "read them by clipbench.untrusted.reading"
    assert {home for home in HOMES if any(module.startswith(home) for module, *_ in result)} == set(HOMES)


def test_no_reader_makes_objects() -> None:
    assert [text for _, name, text in readings() if SAFE.get(name, "") not in text] == []
    pickles = {
        module for module, name, _ in readings() if name.startswith(("pickle.", "marshal.", "shelve.", "joblib."))
    }
    assert pickles == {"clipbench/distributed/rounds.py"}  # of our own processes
