"""Costs of towers, in words and as a table."""

from dataclasses import replace

from clipbench.results.model_costs import cost_differences, cost_facts, cost_table, price_table
from clipbench.results.provenance import encoded_facts
from clipbench.results.record import PriceRecord, TowerRecord
from clipbench.results.table import as_markdown
from tests.made import result_of

IMAGE = TowerRecord(n_parameters=87_849_216, flops=8_817_623_040, item="an image of 224 x 224 pixels", n_encoded=5000, n_timed=5000,
                    items_per_second=812.4, reasons={"peak_bytes": "known only on CUDA devices"})  # fmt: skip
UNKNOWN = TowerRecord(reasons={"flops": "the model does not show this tower", "n_parameters": "likewise"}, n_encoded=5003, n_timed=3,
                      items_per_second=2.5)  # fmt: skip


def test_the_table_has_what_is_known_and_says_why_the_rest_is_not() -> None:
    result = result_of(model={}, towers={"image": IMAGE, "text": UNKNOWN})
    table = cost_table([result], ["mine"])
    assert table is not None
    assert [column.header for column in table.columns] == ["tower", "parameters", "FLOPs", "per second"]
    assert "| Image | 87.8 M | 8.82 G (1) | 812 |" in as_markdown(table)
    assert "of an image of 224 x 224 pixels" in table.notes and "the model does not show this tower" in table.notes
    assert "measured over fewer than 1,000 items, including start-up time" in table.notes
    assert table.warnings[0] == "peak memory: known only on CUDA devices"
    assert cost_facts(result) == ["8.82 GFLOPs per image"]


CPU = {"cpu": "Xeon", "threads": "2", "device": "cpu", "precision": "fp32"}
PRICE = PriceRecord(load_seconds=1.5, text_p50=0.0121, text_p95=0.02, image_p50=0.25, image_p95=0.3, images_per_second=8.25,
                    batch_size=16, memory_bytes=600_000_000, vector_bytes=2048, machine=CPU)  # fmt: skip


def test_prices_are_told_with_their_machine_and_not_where_none_was_taken() -> None:
    plain, first = result_of(model={}), result_of(model={}, price=PRICE)
    other = replace(PRICE, machine={**CPU, "device": "H100"}, memory_bytes=None, reasons={"memory_bytes": "untold"})
    second = replace(plain, price=other)
    assert price_table([plain], ["none"]) is None and not cost_differences(plain, first)
    alone, both = price_table([plain, first], ["none", "mine"]), price_table([first, second], ["mine", "yours"])
    assert alone is not None and alone.facts.endswith("on Xeon, 2 threads, fp32")
    assert "| mine | 1.50 | 12.1 | 20 | 250 | 300 | 8.25 | 16 | 600 MB | 2,048 |" in as_markdown(alone)
    assert both is not None and both.notes == ["Xeon, 2 threads, fp32", "H100, fp32"] and both.warnings == ["untold"]
    (differences,) = cost_differences(first, second)
    assert "never judged" in differences and "12.1 ms per text and 250 ms per image on H100, fp32" in differences


def test_what_was_encoded_is_told_where_it_was_counted() -> None:
    counts = {"images": 3, "stored_images": 0, "texts": 1, "stored_texts": 4}
    assert encoded_facts(counts) == "3 images encoded, 1 text encoded and 4 from cache"
    assert encoded_facts({"images": 3}) is None
