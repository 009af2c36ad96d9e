"""Facts that a run states of itself: costs of its model and towers, and where its numbers come from, in words."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any, Literal, NamedTuple

from clipbench.results.numbers import NONE, abbreviated, count, counted, significant
from clipbench.results.record import DatasetRecord, EvaluationRecord, PriceRecord, Result, TowerRecord
from clipbench.results.run import Run
from clipbench.results.table import Cell, Column, Table

FEW = 1000
"""Items over which the time that it takes to start says little of the speed."""
FACTS = (
    "Parameters and floating-point operations of encoding one item; items per second as this run encoded them on its"
    " machine, with decoding and preprocessing"
)


class ModelQuantity(NamedTuple):
    """A number that a result has of its model, and of no evaluation."""

    title: str
    key: str
    """Field of the model's record, or of its tower's."""
    cheaper: Literal["less", "more"] | None = None
    """Direction in which a value costs less; None where the quantity is no price."""
    divisor: float = 1.0
    """Between the value as it is recorded and the one that the title speaks of."""
    tower: str | None = None
    """The tower that it is of; None where it is of the whole model."""
    is_measured: bool = False
    """True where a run measured it on its machine, False where every machine gives it alike."""
    times: float = 1.0
    """A factor of the field."""
    is_price: bool = False
    """True for a field of the price of one query."""

    def read(self, result: Result) -> tuple[float | None, str]:
        """Return the value; None with the reason where nobody knows it."""
        if self.tower is None and not self.is_price:
            value = result.model.get(self.key)
            return (self.times * value, "") if isinstance(value, int | float) else (None, "the model does not say it")
        found = result.price if self.tower is None else result.towers.get(self.tower)
        if found is None:
            lacking = "took no price: `clipbench run --price` does" if self.is_price else "says nothing of this tower"
            return None, f"the run {lacking}"
        value = getattr(found, self.key)
        return (None, found.reasons.get(self.key, "")) if value is None else (float(value), "")


def _of_tower(name: str) -> dict[str, ModelQuantity]:
    return {
        f"{name}_parameters": ModelQuantity(
            f"Parameters of the {name} tower, millions", "n_parameters", "less", 1e6, tower=name
        ),
        f"{name}_flops": ModelQuantity(f"GFLOPs of one {name}", "flops", "less", 1e9, tower=name),
        f"{name}_per_second": ModelQuantity(
            f"{name.capitalize()}s encoded a second", "items_per_second", "more", tower=name, is_measured=True
        ),
        f"{name}_memory": ModelQuantity(
            f"Peak memory while encoding {name}s, GB", "peak_bytes", "less", 1e9, tower=name, is_measured=True
        ),
    }


def _of_price(key: str, title: str, cheaper: Literal["less", "more"] = "less", divisor: float = 1.0) -> ModelQuantity:
    return ModelQuantity(title, key, cheaper, divisor, is_measured=True, is_price=True)


MODEL_QUANTITIES: Mapping[str, ModelQuantity] = {
    "parameters": ModelQuantity("Parameters, millions", "n_parameters", "less", 1e6),
    **_of_tower("image"),
    **_of_tower("text"),
    "dimensions": ModelQuantity("Dimensions of a vector", "embed_dim", "less"),
    "bytes": ModelQuantity("Bytes of a vector in float32", "embed_dim", "less", times=4),
    **{
        f"{name}_p{percent}": _of_price(f"{name}_p{percent}", f"Milliseconds of one {name}, {words}", divisor=1e-3)
        for name in ("text", "image")
        for percent, words in ((50, "median"), (95, "95th percentile"))
    },
    "load_seconds": _of_price("load_seconds", "Seconds to load"),
    "best_images_per_second": _of_price("images_per_second", "Images a second at the best batch", "more"),
    "query_memory": _of_price("memory_bytes", "Peak memory of one query, GB", divisor=1e9),
    "step": ModelQuantity("Training step", "step"),
}
"""Quantities by the names that ``clipbench plot across`` and the columns of exports have for them."""


def cost_facts(result: Result) -> list[str]:
    """Return the size of the model and the work of each tower in words, of those that are known."""
    size = result.model.get("n_parameters")
    return [
        *([f"{abbreviated(size, 'kMB')} parameters"] if isinstance(size, int | float) else []),
        *(
            f"{abbreviated(tower.flops, 'kMGT')}FLOPs per {name}"
            for name, tower in result.towers.items()
            if tower.flops is not None
        ),
    ]


def costs_apart(base: Result, candidate: Result) -> list[str]:
    """Return a line on the sizes and the work of two models that differ in them, and one on their prices, where both
    are known.

    Example:
        >>> from types import SimpleNamespace
        >>> small, large = (
        ...     SimpleNamespace(model={"n_parameters": n}, towers={"image": TowerRecord(flops=n)}, price=None)
        ...     for n in (2_000_000, 8_000_000)
        ... )
        >>> for cost in costs_apart(small, large)[0].split("; "):
        ...     print(cost)
        the base has 2.00 M parameters, 2.00 MFLOPs per image
        the candidate has 8.00 M parameters, 8.00 MFLOPs per image
        >>> costs_apart(small, small)
        []
    """
    found = []
    ours, theirs = (", ".join(cost_facts(each)) for each in (base, candidate))
    if base.towers and candidate.towers and ours and theirs and ours != theirs:
        found.append(f"the base has {ours}; the candidate has {theirs}")
    ours, theirs = ("".join(price_facts(each)) for each in (base, candidate))
    if ours and theirs:
        of_what = "price of one query, of the machine as well as of the model, and never judged"
        found.append(f"{of_what}: base {ours}; candidate {theirs}")
    return found


def price_facts(result: Result) -> list[str]:
    """Return the median times of one query in words, with the machine; none where the run took no price."""
    price = result.price
    if price is None:
        return []
    times = [("text", price.text_p50), ("image", price.image_p50)]
    each = [f"{significant(1000 * value)} ms per {name}" for name, value in times if value is not None]
    return [f"{' and '.join(each)} on {_machine(price.machine)}"] if each else []


def cost_tables(results: Sequence[Result], labels: Sequence[str]) -> list[Table]:
    """Return the price of one query of each model, and the costs of its towers, of those that are known."""
    return [each for each in (price_table(results, labels), cost_table(results, labels)) if each is not None]


def price_table(results: Sequence[Result], labels: Sequence[str]) -> Table | None:
    """Return a row a model with the price of one query; None where no run took it."""
    priced = [(label, result.price) for result, label in zip(results, labels, strict=True) if result.price is not None]
    return priced_table(priced) if priced else None


def priced_table(
    priced: Sequence[tuple[str, PriceRecord]], beside: Mapping[str, Sequence[Cell]] | None = None
) -> Table:
    """Return a row a model with the price of one query.

    Args:
        priced: the models by their labels; one or more.
        beside: values of each, by the names of metrics; the main prices alone then stand beside them.
    """
    columns, beside = (_MAIN_PRICES, beside) if beside else (_PRICES, {})
    machines = list(dict.fromkeys(_machine(price.machine) for _, price in priced))
    notes = machines if len(machines) > 1 else []
    rows: list[list[Cell | str] | str] = [
        [
            Cell(label, note=machines.index(_machine(price.machine)) + 1 if notes else 0),
            *(cells[row] for cells in beside.values()),
            *(NONE if getattr(price, key) is None else written(getattr(price, key)) for key, _, written in columns),
        ]
        for row, (label, price) in enumerate(priced)
    ]
    reasons = dict.fromkeys(price.reasons[key] for _, price in priced for key, *_ in columns if key in price.reasons)
    return Table(
        title="Price of one query",
        facts="Milliseconds of one text and one image alone, after warming up"
        + (f", on {machines[0]}" if not notes else "; of a machine as well as of a model"),
        columns=[Column("model", is_number=False), *map(Column, [*beside, *(header for _, header, _ in columns)])],
        rows=rows,
        notes=notes,
        warnings=list(reasons),
    )


def _bytes(value: float) -> str:
    return f"{abbreviated(value, 'kMGT')}B"


def _milliseconds(seconds: float) -> str:
    return significant(1000 * seconds)


_PRICES: Sequence[tuple[str, str, Callable[[Any], str]]] = (
    ("load_seconds", "load, s", significant),
    *((f"{name}_{at}", f"{name} {at}", _milliseconds) for name in ("text", "image") for at in ("p50", "p95")),
    ("images_per_second", "images per second", significant),
    ("batch_size", "at batch", count),
    ("memory_bytes", "memory", _bytes),
    ("vector_bytes", "vector, bytes", count),
)
_MAIN_PRICES = (
    ("text_p50", "one query, ms", _milliseconds),
    ("image_p50", "one image, ms", _milliseconds),
    *_PRICES[-2:],
)


def _machine(machine: Mapping[str, str]) -> str:
    """Return the machine of a price in words: its CUDA device, or else its CPU with the threads."""
    device = machine.get("device", "cpu")
    threads = machine.get("threads", "")
    place = (
        f"{machine.get('cpu', device)}, {threads} thread{'' if threads == '1' else 's'}" if device == "cpu" else device
    )
    return ", ".join(filter(None, [place, machine.get("precision", "")]))


def cost_table(results: Sequence[Result], labels: Sequence[str]) -> Table | None:
    """Return a row a tower of each model; None where no run says anything of one.

    Quantities that no tower has are left out, with the reason as a warning.
    """
    towers = [(result.towers, label) for result, label in zip(results, labels, strict=True) if result.towers]
    if not towers:
        return None
    each = [tower for found, _ in towers for tower in found.values()]
    columns = [column for column in _COLUMNS if any(getattr(tower, column.key) is not None for tower in each)]
    notes: list[str] = []
    rows: list[list[Cell | str] | str] = []
    for found, label in towers:
        rows += [label] if len(results) > 1 else []
        rows += [
            [name.capitalize(), *(_cell(tower, column, notes) for column in columns)] for name, tower in found.items()
        ]
    missing = {
        column.header: "; ".join(
            dict.fromkeys(tower.reasons[column.key] for tower in each if column.key in tower.reasons)
        )
        for column in _COLUMNS
        if column not in columns
    }
    return Table(
        title="Cost of each tower",
        facts=FACTS,
        columns=[Column("tower", is_number=False), *(Column(column.header) for column in columns)],
        rows=rows,
        notes=notes,
        warnings=[f"{header}: {reasons}" for header, reasons in missing.items() if reasons],
    )


class _Column(NamedTuple):
    key: str
    header: str
    written: Callable[[float], str]


_COLUMNS = (
    _Column("n_parameters", "parameters", partial(abbreviated, letters="kMB")),
    _Column("flops", "FLOPs", partial(abbreviated, letters="kMGT")),
    _Column("items_per_second", "per second", significant),
    _Column("peak_bytes", "peak memory", _bytes),
)


def _cell(tower: TowerRecord, column: _Column, notes: list[str]) -> Cell:
    value, note = getattr(tower, column.key), ""
    if value is None:
        note = tower.reasons.get(column.key, "")
    elif column.key == "flops" and tower.item:
        note = f"of {tower.item}"
    elif column.key == "items_per_second" and tower.n_timed < FEW:
        note = f"measured over fewer than {count(FEW)} items, start included"
    if note and note not in notes:
        notes.append(note)
    return Cell(NONE if value is None else column.written(value), note=notes.index(note) + 1 if note else 0)


FINGERPRINT_LENGTH = 12
"""Characters that tell one model from another; result.json has all."""


def origin(run: Run) -> str:
    """Return which weights a run is of, and how and when it was made: ``fingerprint 1a2b3c4d5e6f, seed 0, ...``."""
    result = run.result
    fingerprint = str(result.model.get("fingerprint") or "not recorded")[:FINGERPRINT_LENGTH]
    created = moment(result.created) or "date not recorded"
    return f"fingerprint {fingerprint}, seed {result.seed}, {created}, clipbench {result.clipbench_version}"


def model_facts(run: Run) -> list[str]:
    """Return short facts on the model: its full name, sizes, scale, and what it ran on; those that are not known are
    left out.
    """
    model, environment = run.result.model, run.result.environment
    return [
        *_known("{}", model.get("family") if model.get("id") in (None, model.get("ref")) else model["id"]),
        *_known("step {}", _number(model, "step")),
        *_known("{} px", model.get("image_size")),
        *cost_facts(run.result),
        *price_facts(run.result),
        *_known("{} tokens", model.get("context_length")),
        *_known("{} dimensions", model.get("embed_dim")),
        *_known("logit scale {}", _number(model, "logit_scale")),
        *_known("{}", " on ".join(str(environment[key]) for key in ("precision", "device") if environment.get(key))),
    ]


def data_facts(data: DatasetRecord) -> str:
    """Return which samples of a data set were used.

    Example:
        >>> data_facts(DatasetRecord(id="coco", split="test", n_samples=5000))
        'split test, 5,000 images'
    """
    facts = [
        *_known("revision {}", data.revision),
        *_known("split {}", data.split),
        counted(data.n_samples, data.sample),
    ]
    return ", ".join(facts)


def encoded_facts(counts: Mapping[str, int]) -> str | None:
    """Return how many images, texts and others went through the model, and how many came from the cache."""
    if not counts.keys() >= {"images", "stored_images", "texts", "stored_texts"}:
        return None  # vectors that were there before
    parts = []
    for name in (name for name in counts if f"stored_{name}" in counts):
        encoded, stored = counts[name], counts[f"stored_{name}"]
        is_plural = name in ("images", "texts")
        first = counted(encoded or stored, name[:-1]) if is_plural else f"{name}: {count(encoded or stored)}"
        if encoded and stored:
            parts.append(f"{first} encoded and {count(stored)} from cache")
        else:
            parts.append(f"{first} {'from cache' if stored else 'encoded'}")
    return ", ".join(parts)


def moment(created: str) -> str:
    """Return an ISO 8601 time for reading."""
    try:
        time = datetime.fromisoformat(created)
    except ValueError:
        return created
    return f"{time:%Y-%m-%d %H:%M} {time.tzname() or 'UTC'}"


def why_missing(record: EvaluationRecord) -> str:
    """Return why an evaluation has no numbers, such as ``unavailable: no data in data/coco``."""
    return f"{record.status}: {record.reason or 'no reason was recorded'}"


def _known(words: str, fact: object) -> list[str]:
    return [] if fact in (None, "") else [words.replace("{}", str(fact))]


def _number(model: Mapping[str, Any], name: str) -> str | None:
    value = model.get(name)
    return significant(value) if isinstance(value, int | float) else None
