"""Costs of towers, in words and as a table."""

from typing import Any

from clipbench.results.provenance import cost_facts, cost_table
from clipbench.results.record import Result, TowerRecord
from clipbench.results.table import as_markdown


def result(towers: dict[str, TowerRecord], **model: Any) -> Result:
    return Result(clipbench_version="", created="", command=[], seed=0, environment={}, model=model, evaluations=[],
                  towers=towers)  # fmt: skip


IMAGE = TowerRecord(n_parameters=87_849_216, flops=8_817_623_040, item="an image of 224 x 224 pixels", n_encoded=5000, n_timed=5000,
                    items_per_second=812.4, reasons={"peak_bytes": "known on CUDA devices only"})  # fmt: skip
UNKNOWN = TowerRecord(reasons={"flops": "the model does not show this tower", "n_parameters": "likewise"}, n_encoded=5003, n_timed=3,
                      items_per_second=2.5)  # fmt: skip


def test_the_table_has_what_is_known_and_says_why_the_rest_is_not() -> None:
    made = result({"image": IMAGE, "text": UNKNOWN})
    table = cost_table([made], ["mine"])
    assert table is not None
    assert [column.header for column in table.columns] == ["tower", "parameters", "FLOPs", "per second"]
    assert "| Image | 87.8 M | 8.82 G (1) | 812 |" in as_markdown(table)
    assert "of an image of 224 x 224 pixels" in table.notes and "the model does not show this tower" in table.notes
    assert "measured over fewer than 1,000 items, start included" in table.notes
    assert table.warnings[0] == "peak memory: known on CUDA devices only"
    assert cost_facts(made) == ["8.82 GFLOPs per image"]
