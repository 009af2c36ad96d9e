"""docs/api.ipynb: its code cells run, one after the other, and what is stored beside them is what they give.

``python tests/test_api_notebook.py`` runs them and stores their outputs.
"""

import ast
import base64
import io
import json
import os
import tempfile
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import pytest

NOTEBOOK = Path(__file__).parents[1] / "docs/api.ipynb"


def outputs(source: str, namespace: dict[str, Any]) -> list[dict[str, Any]]:
    """Run a cell and return what a notebook shows below it: printed text, and the value of a last expression."""
    from matplotlib.figure import Figure

    body = ast.parse(source).body
    last = ast.Expression(body.pop().value) if body and isinstance(body[-1], ast.Expr) else None  # type: ignore[attr-defined]
    printed = io.StringIO()
    with redirect_stdout(printed):
        exec(compile(ast.Module(body, []), str(NOTEBOOK), "exec"), namespace)  # noqa: S102  a notebook is code
        value = None if last is None else eval(compile(last, str(NOTEBOOK), "eval"), namespace)
    result: list[dict[str, Any]] = []
    if printed.getvalue():
        result.append({"output_type": "stream", "name": "stdout", "text": lines(printed.getvalue())})
    if value is not None:
        data = {"text/plain": lines(repr(value))}
        if isinstance(value, Figure):
            image = io.BytesIO()
            value.savefig(image, format="png", dpi=110)
            data["image/png"] = [base64.b64encode(image.getvalue()).decode()]
        elif hasattr(value, "_repr_html_"):
            data["text/html"] = lines(value._repr_html_())
        result.append({"output_type": "execute_result", "execution_count": None, "metadata": {}, "data": data})
    return result


def lines(text: str) -> list[str]:
    return text.splitlines(keepends=True)


def run_cells() -> list[tuple[dict[str, Any], list[dict[str, Any]]]]:
    """Return each code cell with its outputs."""
    namespace: dict[str, Any] = {"__name__": "__main__"}
    cells = [cell for cell in json.loads(NOTEBOOK.read_text())["cells"] if cell["cell_type"] == "code"]
    return [(cell, outputs("".join(cell["source"]), namespace)) for cell in cells]


def plain(result: list[dict[str, Any]]) -> list[str]:
    """Return the text outputs; pictures and pages differ by the version of what draws them."""
    return ["".join(output["text"]) for output in result if output["output_type"] == "stream"]


@pytest.mark.slow
def test_every_cell_runs_and_prints_what_is_stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CLIPBENCH_CACHE", str(tmp_path / "cache"))
    for cell, result in run_cells():
        assert plain(result) == plain(cell["outputs"]), "".join(cell["source"])
        kinds = [set(each.get("data", {"stream"})) for each in result]
        assert kinds == [set(each.get("data", {"stream"})) for each in cell["outputs"]], "".join(cell["source"])


if __name__ == "__main__":
    notebook = json.loads(NOTEBOOK.read_text())
    os.chdir(tempfile.mkdtemp())
    os.environ["CLIPBENCH_CACHE"] = str(Path("cache").absolute())
    made = iter(run_cells())
    for each in notebook["cells"]:
        if each["cell_type"] == "code":
            each["outputs"] = next(made)[1]
    NOTEBOOK.write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + "\n")
