"""The costs of a model and its towers: as quantities by name, in words, and as a table."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Literal, NamedTuple

from clipbench.results.numbers import NONE, abbreviated, count, significant
from clipbench.results.record import Result, TowerRecord
from clipbench.results.table import Cell, Column, Table

BYTES_OF_A_NUMBER = 4
"""Of float32, as vectors are stored."""
FEW = 1000
"""Items over which the time that it takes to start says little of the speed."""
FACTS = (
    "Parameters and floating-point operations of encoding one item; items per second as this run encoded them on its machine,"
    " with decoding and preprocessing"
)


class Found(NamedTuple):
    """A quantity of a run; None with the reason where nobody knows it."""

    value: float | None
    reason: str = ""


class ModelQuantity(NamedTuple):
    """A number that a result has of its model, and of no evaluation."""

    title: str
    read: Callable[[Result], Found]
    cheaper: Literal["less", "more"] | None = None
    """Which of two values costs less; None where the quantity is no price."""
    divisor: float = 1.0
    """Between the value as it is recorded and the one that the title speaks of."""
    measured_of: str | None = None
    """The tower of which a run measured it on its machine; None of what every machine gives alike."""


def _of_model(key: str, times: float, result: Result) -> Found:
    value = result.model.get(key)
    return Found(times * value) if isinstance(value, int | float) else Found(None, "the model does not say it")


def _of_tower(tower: str, key: str, result: Result) -> Found:
    found = result.towers.get(tower)
    if found is None:
        return Found(None, "the run says nothing of this tower")
    value = getattr(found, key)
    return Found(None, found.reasons.get(key, "")) if value is None else Found(float(value))


def _of_towers(tower: str, one: str) -> dict[str, ModelQuantity]:
    """Return the quantities of a tower whose items are called so."""

    def read(key: str) -> Callable[[Result], Found]:
        return partial(_of_tower, tower, key)

    return {
        f"{tower}_parameters": ModelQuantity(
            f"Parameters of the {tower} tower, millions", read("n_parameters"), "less", 1e6
        ),
        f"{tower}_flops": ModelQuantity(f"GFLOPs of one {one}", read("flops"), "less", 1e9),
        f"{tower}_per_second": ModelQuantity(
            f"{one.capitalize()}s encoded a second", read("items_per_second"), "more", 1.0, tower
        ),
        f"{tower}_memory": ModelQuantity(
            f"Peak memory while encoding {one}s, GB", read("peak_bytes"), "less", 1e9, tower
        ),
    }


MODEL_QUANTITIES: Mapping[str, ModelQuantity] = {
    "parameters": ModelQuantity("Parameters, millions", partial(_of_model, "n_parameters", 1), "less", 1e6),
    **_of_towers("image", "image"),
    **_of_towers("text", "text"),
    "dimensions": ModelQuantity("Dimensions of a vector", partial(_of_model, "embed_dim", 1), "less"),
    "bytes": ModelQuantity("Bytes of a vector in float32", partial(_of_model, "embed_dim", BYTES_OF_A_NUMBER), "less"),
    "step": ModelQuantity("Training step", partial(_of_model, "step", 1)),
}
"""Quantities by the names that ``clipbench plot across`` and the columns of exports have for them."""


def cost_facts(result: Result) -> list[str]:
    """Return the size of the model and the work of each tower in words, of those that are known.

    Example:
        >>> from types import SimpleNamespace
        >>> towers = {"image": TowerRecord(flops=8_817_623_040), "text": TowerRecord()}
        >>> cost_facts(SimpleNamespace(model={"n_parameters": 151277313}, towers=towers))
        ['151 M parameters', '8.82 GFLOPs per image']
    """
    size = result.model.get("n_parameters")
    return [
        *([f"{abbreviated(size, 'kMB')} parameters"] if isinstance(size, int | float) else []),
        *(
            f"{abbreviated(tower.flops, 'kMGT')}FLOPs per {name}"
            for name, tower in result.towers.items()
            if tower.flops is not None
        ),
    ]


def costs_apart(base: Result, candidate: Result) -> str | None:
    """Return what two models cost, in a line; None where one is not known, or they cost the same.

    Example:
        >>> from types import SimpleNamespace
        >>> small, large = (SimpleNamespace(model={"n_parameters": n}, towers={"image": TowerRecord(flops=10 * n)})
        ...                 for n in (2_000_000, 8_000_000))
        >>> costs_apart(small, large)
        'the base has 2.00 M parameters, 20.0 MFLOPs per image; the candidate has 8.00 M parameters, 80.0 MFLOPs per image'
        >>> costs_apart(small, small) is None
        True
    """
    ours, theirs = (", ".join(cost_facts(each)) for each in (base, candidate))
    if not base.towers or not candidate.towers or not ours or not theirs or ours == theirs:
        return None
    return f"the base has {ours}; the candidate has {theirs}"


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
    missing = {column.header: _reasons(each, column.key) for column in _COLUMNS if column not in columns}
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
    note: Callable[[TowerRecord], str] = lambda tower: ""


def _item(tower: TowerRecord) -> str:
    return f"of {tower.item}" if tower.item else ""


def _speed(tower: TowerRecord) -> str:
    return f"measured over fewer than {count(FEW)} items, start included" if tower.n_timed < FEW else ""


def _bytes(value: float) -> str:
    return f"{abbreviated(value, 'kMGT')}B"


_COLUMNS = (
    _Column("n_parameters", "parameters", partial(abbreviated, letters="kMB")),
    _Column("flops", "FLOPs", partial(abbreviated, letters="kMGT"), _item),
    _Column("items_per_second", "per second", significant, _speed),
    _Column("peak_bytes", "peak memory", _bytes),
)


def _cell(tower: TowerRecord, column: _Column, notes: list[str]) -> Cell:
    value = getattr(tower, column.key)
    note = column.note(tower) if value is not None else tower.reasons.get(column.key, "")
    if note and note not in notes:
        notes.append(note)
    return Cell(NONE if value is None else column.written(value), note=notes.index(note) + 1 if note else 0)


def _reasons(towers: Sequence[TowerRecord], key: str) -> str:
    return "; ".join(dict.fromkeys(tower.reasons[key] for tower in towers if key in tower.reasons))
