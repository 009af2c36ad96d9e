"""Files of other people are read in few places, which bound what they take and never run what they hold."""

import ast
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

READERS = {
    *("json.load", "json.loads", "tomllib.load", "tomllib.loads", "yaml.load", "yaml.safe_load", "pickle.load", "pickle.loads"),
    *("pickle.Unpickler", "marshal.loads", "shelve.open", "zipfile.ZipFile", "tarfile.open", "torch.load", "np.load"),
    *("numpy.load", "joblib.load", "load_file", "safe_open", "pandas.read_parquet", "pandas.read_pickle"),
    *("pyarrow.parquet.read_table", "pyarrow.parquet.ParquetFile"),
}  # fmt: skip
HOMES = {
    "clipbench/untrusted/": "bounds size, depth and numbers",
    "clipbench/models/_checkpoint_file.py": "weights: tensors alone",
    "clipbench/models/_vector_arrays.py": "vectors: no objects, bounded",
    "clipbench/results/run.py": "tables and arrays of a run: no objects, bounded",
    "clipbench/data/web_files.py": "archives of the catalogue: bounded, nothing gets out of the folder",
    "clipbench/data/webdataset.py": "shards: read member by member, never unpacked",
    "clipbench/data/catalogue.py": "the package's own file",
    "clipbench/data/prompts.py": "the package's own file",
    "clipbench/models/reference.py": "the package's own file",
}
SAFE = {"np.load": "allow_pickle=False", "torch.load": "weights_only=True"}


def readings() -> Iterator[tuple[str, str, str]]:
    """Yield the module, the name and the text of each call of a reader in the three packages."""
    for package in ("clipbench", "clipbench_tasks", "clipbench_reports"):
        spec = find_spec(package)
        assert spec is not None and spec.origin is not None
        root = Path(spec.origin).parent
        for path in sorted(root.rglob("*.py")):
            tree = ast.parse(path.read_text(encoding="utf-8"))
            full = {
                each.asname or each.name: f"{node.module}.{each.name}"
                for node in ast.walk(tree)
                if isinstance(node, ast.ImportFrom)
                for each in node.names
            }
            for node in ast.walk(tree):
                if isinstance(node, ast.Call):
                    name = ast.unparse(node.func)
                    if name in READERS or (name := full.get(name, "")) in READERS:
                        yield f"{package}/{path.relative_to(root).as_posix()}", name, ast.unparse(node)


def test_files_of_others_are_read_at_home_alone() -> None:
    found = list(readings())
    elsewhere = [(module, text) for module, _, text in found if not module.startswith(tuple(HOMES))]
    assert not elsewhere, "read them by clipbench.untrusted.reading"
    assert {home for home in HOMES if any(module.startswith(home) for module, *_ in found)} == set(HOMES)


def test_no_reader_makes_objects() -> None:
    assert [text for _, name, text in readings() if SAFE.get(name, "") not in text] == []
    assert not [text for _, name, text in readings() if name.startswith(("pickle.", "marshal.", "shelve.", "joblib."))]
