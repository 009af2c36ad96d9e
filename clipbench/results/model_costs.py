"""Costs of a model: its size, the work and speed of its towers, and the price of one query."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Literal, NamedTuple

from clipbench.results.numbers import NONE, abbreviated, count, significant
from clipbench.results.record import PriceRecord, Result, TowerRecord
from clipbench.results.table import Cell, Row, Table, columns, note_number

MIN_TIMED_ITEMS = 1000
"""Items from which on the time to start is a small part of the measured speed."""
FACTS = (
    "Parameters and floating-point operations of encoding one item, and items per second as this run encoded them on"
    " its machine, with decoding and preprocessing"
)

_parameters = partial(abbreviated, letters="kMB")
_operations = partial(abbreviated, letters="kMGT")


def _bytes(value: float) -> str:
    return f"{abbreviated(value, 'kMGT')}B"


def _milliseconds(seconds: float) -> str:
    return significant(1000 * seconds)


class ModelQuantity(NamedTuple):
    """A number that a result has of its model, and of no evaluation."""

    key: str
    """Field of the record of the model, of the tower or of the price."""
    title: str = ""
    header: str = ""
    """Header of its column in the tables of costs and prices, empty if it has none there."""
    write: Callable[[Any], str] = significant
    """Returns the value of a cell in that column."""
    cheaper: Literal["less", "more"] | None = None
    """Direction in which a value costs less, None if the quantity is not a cost."""
    divisor: float = 1.0
    """Ratio of the recorded value to the value in the unit of the title."""
    tower: str | None = None
    """Tower that the quantity describes, None if it describes the whole model."""
    is_measured: bool = False
    """True if a run measured it on its machine, False if it is the same on every machine."""
    factor: float = 1.0
    is_price: bool = False
    """True for a field of the price of one query."""

    def read(self, result: Result) -> tuple[float | None, str]:
        """Return the value, or None with the reason if it is unknown."""
        if self.tower is None and not self.is_price:
            value = result.model.get(self.key)
            return (
                (self.factor * value, "") if isinstance(value, int | float) else (None, "the model does not provide it")
            )
        record = result.price if self.tower is None else result.towers.get(self.tower)
        if record is None:
            reason = "took no price: `clipbench run --price` does" if self.is_price else "says nothing of this tower"
            return None, f"the run {reason}"
        value = getattr(record, self.key)
        return (None, record.reasons.get(self.key, "")) if value is None else (float(value), "")


def _tower_quantities(tower: str) -> dict[str, ModelQuantity]:
    quantity, measured = partial(ModelQuantity, tower=tower), partial(ModelQuantity, tower=tower, is_measured=True)
    size, speed = f"Parameters of the {tower} tower, millions", f"{tower.capitalize()}s encoded per second"
    memory = f"Peak memory while encoding {tower}s, GB"
    return {
        f"{tower}_parameters": quantity("n_parameters", size, "parameters", _parameters, "less", 1e6),
        f"{tower}_flops": quantity("flops", f"GFLOPs of one {tower}", "FLOPs", _operations, "less", 1e9),
        f"{tower}_per_second": measured("items_per_second", speed, "per second", significant, "more"),
        f"{tower}_memory": measured("peak_bytes", memory, "peak memory", _bytes, "less", 1e9),
    }


_price = partial(ModelQuantity, is_measured=True, is_price=True)
_PRICES = {
    **{
        f"{item}_{key}": _price(
            f"{item}_{key}", f"Milliseconds of one {item}, {statistic}", f"{item} {key}", _milliseconds, "less", 1e-3
        )
        for item in ("text", "image")
        for key, statistic in (("p50", "median"), ("p95", "95th percentile"))
    },
    "load_seconds": _price("load_seconds", "Seconds to load", "load, s", significant, "less"),
    "best_images_per_second": _price(
        "images_per_second", "Images per second at the best batch", "images per second", significant, "more"
    ),
    "query_memory": _price("memory_bytes", "Peak memory of one query, GB", "memory", _bytes, "less", 1e9),
}
MODEL_QUANTITIES: Mapping[str, ModelQuantity] = {
    "parameters": ModelQuantity("n_parameters", "Parameters, millions", cheaper="less", divisor=1e6),
    **_tower_quantities("image"),
    **_tower_quantities("text"),
    "dimensions": ModelQuantity("embed_dim", "Dimensions of a vector", cheaper="less"),
    "bytes": ModelQuantity("embed_dim", "Bytes of a vector in float32", cheaper="less", factor=4),
    **_PRICES,
    "step": ModelQuantity("step", "Training step"),
}
"""Quantities by their names in ``clipbench plot across`` and in the columns of exports."""

_TOWER_COLUMNS = [*_tower_quantities("image").values()]  # the columns are the same for any tower
_MEMORY = [_PRICES["query_memory"], _price("vector_bytes", header="vector, bytes", write=count)]
_PRICE_COLUMNS = [
    _PRICES["load_seconds"],
    *(_PRICES[name] for name in ("text_p50", "text_p95", "image_p50", "image_p95", "best_images_per_second")),
    _price("batch_size", header="at batch", write=count),
    *_MEMORY,
]
_MAIN_PRICE_COLUMNS = [
    _PRICES["text_p50"]._replace(header="one query, ms"),
    _PRICES["image_p50"]._replace(header="one image, ms"),
    *_MEMORY,
]


def cost_facts(result: Result) -> list[str]:
    """Return the size of the model and the work of each tower in words, without unknown ones."""
    facts = []
    size = result.model.get("n_parameters")
    if isinstance(size, int | float):
        facts.append(f"{_parameters(size)} parameters")
    for name, tower in result.towers.items():
        if tower.flops is not None:
            facts.append(f"{_operations(tower.flops)}FLOPs per {name}")
    return facts


def price_facts(result: Result) -> list[str]:
    """Return the median times of one query in words, with the machine, or none if the run measured no price."""
    price = result.price
    if price is None:
        return []
    medians = [("text", price.text_p50), ("image", price.image_p50)]
    times = [f"{_milliseconds(seconds)} ms per {item}" for item, seconds in medians if seconds is not None]
    return [f"{' and '.join(times)} on {_machine(price.machine)}"] if times else []


def cost_differences(base: Result, candidate: Result) -> list[str]:
    """Return a line on the sizes and the work of two models if they differ, and one on their prices if known.

    Example:
        >>> from types import SimpleNamespace
        >>> small, large = (
        ...     SimpleNamespace(model={"n_parameters": n}, towers={"image": TowerRecord(flops=n)}, price=None)
        ...     for n in (2_000_000, 8_000_000)
        ... )
        >>> for cost in cost_differences(small, large)[0].split(", and "):
        ...     print(cost)
        the base has 2.00 M parameters, 2.00 MFLOPs per image
        the candidate has 8.00 M parameters, 8.00 MFLOPs per image
        >>> cost_differences(small, small)
        []
    """
    lines = []
    base_costs, candidate_costs = (", ".join(cost_facts(result)) for result in (base, candidate))
    if base.towers and candidate.towers and base_costs and candidate_costs and base_costs != candidate_costs:
        lines.append(f"the base has {base_costs}, and the candidate has {candidate_costs}")
    base_price, candidate_price = ("".join(price_facts(result)) for result in (base, candidate))
    if base_price and candidate_price:
        title = "price of one query, of the machine as well as of the model, and never judged"
        lines.append(f"{title}: base {base_price}; candidate {candidate_price}")
    return lines


def cost_tables(results: Sequence[Result], labels: Sequence[str]) -> list[Table]:
    """Return the table of prices and the table of tower costs of some models, if any is known."""
    tables = (price_table(results, labels), cost_table(results, labels))
    return [table for table in tables if table is not None]


def price_table(results: Sequence[Result], labels: Sequence[str]) -> Table | None:
    """Return a table with the price of one query, a row per model, or None if no run measured it."""
    prices = [(label, result.price) for result, label in zip(results, labels, strict=True) if result.price is not None]
    return table_of_prices(prices) if prices else None


def table_of_prices(
    prices: Sequence[tuple[str, PriceRecord]], metric_columns: Mapping[str, Sequence[Cell]] | None = None
) -> Table:
    """Return a table with the price of one query, a row per model.

    Args:
        prices: the labels and prices of one or more models.
        metric_columns: values of each model, by the names of metrics. With them, the table has only the main prices.
    """
    quantities, metric_columns = (_MAIN_PRICE_COLUMNS, metric_columns) if metric_columns else (_PRICE_COLUMNS, {})
    machines = list(dict.fromkeys(_machine(price.machine) for _, price in prices))
    notes = machines if len(machines) > 1 else []
    rows: list[Row | str] = []
    for row, (label, price) in enumerate(prices):
        machine_note = machines.index(_machine(price.machine)) + 1 if notes else 0
        metric_cells = [cells[row] for cells in metric_columns.values()]
        price_cells = [_written(quantity, price) for quantity in quantities]
        rows.append([Cell(label, note=machine_note), *metric_cells, *price_cells])
    headers = [*metric_columns, *(quantity.header for quantity in quantities)]
    records = [price for _, price in prices]
    reasons: dict[str, None] = {}
    for quantity in quantities:
        reasons |= dict.fromkeys(_reasons(quantity, records))
    return Table(
        title="Price of one query",
        facts="Milliseconds of a single text and a single image, after warming up"
        + (f", on {machines[0]}" if not notes else ", on different machines"),
        columns=columns("model", numbers=headers),
        rows=rows,
        notes=notes,
        warnings=list(reasons),
    )


def cost_table(results: Sequence[Result], labels: Sequence[str]) -> Table | None:
    """Return a table of the costs of each model's towers, a row per tower, or None if no run recorded any.

    Quantities that no tower has are left out, with the reason as a warning.
    """
    models = [(result.towers, label) for result, label in zip(results, labels, strict=True) if result.towers]
    if not models:
        return None
    all_towers: list[TowerRecord] = []
    for towers, _ in models:
        all_towers += towers.values()
    quantities, warnings = [], []
    for quantity in _TOWER_COLUMNS:
        if any(getattr(tower, quantity.key) is not None for tower in all_towers):
            quantities.append(quantity)
        elif reasons := "; ".join(_reasons(quantity, all_towers)):
            warnings.append(f"{quantity.header}: {reasons}")
    notes: list[str] = []
    rows: list[Row | str] = []
    for towers, label in models:
        if len(results) > 1:
            rows.append(label)
        for name, tower in towers.items():
            cells = [_tower_cell(tower, quantity, notes) for quantity in quantities]
            rows.append([name.capitalize(), *cells])
    return Table(
        title="Cost of each tower",
        facts=FACTS,
        columns=columns("tower", numbers=[quantity.header for quantity in quantities]),
        rows=rows,
        notes=notes,
        warnings=warnings,
    )


def _tower_cell(tower: TowerRecord, quantity: ModelQuantity, notes: list[str]) -> Cell:
    note = ""
    if getattr(tower, quantity.key) is None:
        note = tower.reasons.get(quantity.key, "")
    elif quantity.key == "flops" and tower.item:
        note = f"of {tower.item}"
    elif quantity.key == "items_per_second" and tower.n_timed < MIN_TIMED_ITEMS:
        note = f"measured over fewer than {count(MIN_TIMED_ITEMS)} items, including start-up time"
    return Cell(_written(quantity, tower), note=note_number(note, notes))


def _written(quantity: ModelQuantity, record: TowerRecord | PriceRecord) -> str:
    value = getattr(record, quantity.key)
    return NONE if value is None else quantity.write(value)


def _reasons(quantity: ModelQuantity, records: Iterable[TowerRecord | PriceRecord]) -> list[str]:
    """Return the distinct reasons why a quantity is missing."""
    return list(dict.fromkeys(record.reasons[quantity.key] for record in records if quantity.key in record.reasons))


def _machine(machine: Mapping[str, str]) -> str:
    """Return the machine of a price in words: its CUDA device, or its CPU with the threads."""
    device, threads = machine.get("device", "cpu"), machine.get("threads", "")
    if device == "cpu":
        device = f"{machine.get('cpu', device)}, {threads} thread{'' if threads == '1' else 's'}"
    return ", ".join(filter(None, [device, machine.get("precision", "")]))
