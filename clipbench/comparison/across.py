"""One quantity against another over many models: does the modality gap predict retrieval, say, beyond the size of the
model?
"""

import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from clipbench.errors import UsageError, did_you_mean
from clipbench.results.frames import as_frame
from clipbench.results.grouping import group_values
from clipbench.results.matching import check_same, trainings
from clipbench.results.model_costs import MIN_TIMED_ITEMS, MODEL_QUANTITIES
from clipbench.results.numbers import count
from clipbench.results.record import EvaluationRecord, Metric, TowerRecord, as_json, finished_evaluations
from clipbench.results.run import Run, all_evaluations, labels, runs_of
from clipbench.results.titles import full_title
from clipbench.seeding import generator
from clipbench.stats.intervals import Interval
from clipbench.stats.rank_correlation import RankCorrelation, rank_correlation

if TYPE_CHECKING:
    import pandas

PARAMETERS = "parameters"
CONDITIONS = ("device", "precision", "platform", "cpus", "torch")
"""Facts of a result's environment that speed and memory depend on."""
LEAST_MODELS = 3


class Quantity(NamedTuple):
    """A metric, or a quantity of the model itself."""

    title: str
    metric: Metric
    record: EvaluationRecord | None
    """The evaluation that it is of, None for a quantity of the model."""


@dataclass(frozen=True, kw_only=True)
class ModelPoint:
    """One model by its two quantities."""

    label: str
    x: Metric
    y: Metric
    n_parameters: int | None
    training: str | None
    """The training that the model is a checkpoint of, where its step is known."""


@dataclass(frozen=True, kw_only=True)
class Across:
    """Models by two quantities, and how far the order by one is the order by the other."""

    x_title: str
    y_title: str
    points: Sequence[ModelPoint]
    correlation: RankCorrelation
    given_parameters: RankCorrelation | None
    """With the number of parameters held fixed, None if these are unknown, or the same for all."""
    left_out: Sequence[str]
    """Models without a value of both, each with its reason."""
    evaluations: Sequence[str]
    """The one or two evaluations that the quantities are of, as ``task@data``."""
    are_checkpoints: bool
    """True if several models are checkpoints of one training. They are not independent, so there is no interval and no
    test.
    """
    front: Sequence[str] | None = None
    """The models of the Pareto front of quality against cost, by value, the cheapest first. None unless exactly one
    metric is a cost and the other has a better direction.
    """
    notes: Sequence[str] = ()
    """Notes on speed and memory, which depend on the machine, with the conditions that differ, and on models that have
    several runs.
    """

    def frame(self) -> "pandas.DataFrame":
        """Return a row per model: ``model``, ``x``, ``x_low``, ``x_high``, the same of ``y``, and ``parameters``.

        Quality against cost has ``on_front`` too, true of the models of ``front``.
        """
        rows = []
        for point in self.points:
            row: dict[str, object] = {"model": point.label}
            for axis, metric in (("x", point.x), ("y", point.y)):
                row |= {axis: metric.value, f"{axis}_low": metric.low, f"{axis}_high": metric.high}
            row["parameters"] = point.n_parameters
            if self.front is not None:
                row["on_front"] = point.label in self.front
            rows.append(row)
        return as_frame(rows)


def across(*runs: Run | str | os.PathLike[str], x: str, y: str, data: str | None = None, seed: int = 0) -> Across:
    """Return many models by two of their metrics, with the rank correlation of the two.

    Args:
        runs: runs of different models, or their folders, three or more.
        x: a metric: ``"gap"``, ``"modality-gap/gap"`` or ``"modality-gap@coco/gap"``, as short as it is plain. Or a
            cost of the model: ``"parameters"``, ``"dimensions"``, ``"bytes"`` of a vector, ``"image_flops"``,
            ``"image_parameters"``, ``"image_per_second"``, ``"image_memory"``, and the same of ``text``. Runs with a
            price also have ``"image_p50"``, ``"text_p95"`` and the like, ``"load_seconds"``,
            ``"best_images_per_second"`` and ``"query_memory"``. Checkpoints have ``"step"``.
        y: another metric, with the same names.
        data: name of the data set, if runs have a task on several and the name of the metric leaves it open. None (the
            default) if there is only one.
        seed: an integer from 0 (the default), the seed of resamples and permutations.

    Returns:
        A record with these fields. ``points`` has both metrics and their intervals. ``correlation`` is Spearman's, with
        a bootstrap interval over models (from 8 on) and the p-value of a permutation test. ``given_parameters`` is the
        partial correlation with the number of parameters held fixed (interval from 20 on), since larger models may
        differ in both. ``front`` has the models of the Pareto front of quality against cost.

    Raises:
        UsageError: no such metric, one that names several, the same as x and y, or fewer than three models have both.
        ClipbenchError: a run is damaged, or runs were measured on different samples.

    Example:
        >>> from clipbench import run, vectors
        >>> turned = [np.roll(np.eye(8), k, axis=0) + np.eye(8) * weight for k, weight in ((1, 0.5), (1, 2), (2, 3))]
        >>> runs = [run(vectors(images=np.eye(8), texts=texts, name=str(k)), ["retrieval", "modality-gap"])
        ...         for k, texts in enumerate(turned)]
        >>> figure = across(*runs, x="pair_cosine", y="image_retrieval_recall@1")
        >>> len(figure.points), figure.correlation.interval.low is None
        (3, True)

    See Also:
        board: the ranks of several models.
    """
    loaded_runs = runs_of(runs)
    names = labels(loaded_runs)
    plotted_runs, points, left_out, quantities = [], [], [], []
    for label, run, training in zip(names, loaded_runs, trainings(loaded_runs), strict=True):
        first, second = _quantity(run, x, data), _quantity(run, y, data)
        if isinstance(first, str):
            left_out.append(f"{label}: {first}")
            continue
        if isinstance(second, str):
            left_out.append(f"{label}: {second}")
            continue
        plotted_runs.append(run)
        quantities.append((first, second))
        points.append(
            ModelPoint(
                label=label,
                x=first.metric,
                y=second.metric,
                n_parameters=run.result.model.get("n_parameters"),
                training=training,
            )
        )
    if not quantities:
        raise UsageError(_no_value_message(loaded_runs, (x, y), data))
    if quantities[0][0] == quantities[0][1]:
        raise UsageError(f"x = {x} and y = {y} are the same quantity: expected two different ones")
    if len(points) < LEAST_MODELS:
        raise UsageError(
            f"{len(points)} of {len(loaded_runs)} runs have both {x} and {y}: expected at least {LEAST_MODELS} models"
            + (f" ({left_out[0]})" if left_out else "")
        )
    for axis in zip(*quantities, strict=True):
        pairs = zip(plotted_runs, axis, strict=True)
        of_runs = [(run.label, quantity.record) for run, quantity in pairs if quantity.record is not None]
        check_same(of_runs, "its numbers cannot be drawn in one figure")
    plotted_names = [point.label for point in points]
    of_trainings = [point.training for point in points if point.training is not None]
    are_checkpoints = len(of_trainings) > len(set(of_trainings))
    xs = np.array([point.x.value for point in points], np.float64)
    ys = np.array([point.y.value for point in points], np.float64)
    rng = generator(seed, "across", x, y)
    correlation = rank_correlation(xs, ys, rng)
    partial_correlation = None if are_checkpoints else _given_parameters(points, xs, ys, rng, names=(x, y))
    if are_checkpoints and not math.isnan(correlation.value):  # interval and test take models for independent
        reason = "checkpoints of one training are not independent models"
        correlation = correlation._replace(interval=Interval(None, None, reason), p=None)
    x_quantity, y_quantity = quantities[0]
    records = [quantity.record for quantity in (x_quantity, y_quantity) if quantity.record is not None]
    return Across(
        x_title=x_quantity.title,
        y_title=y_quantity.title,
        points=points,
        correlation=correlation,
        given_parameters=partial_correlation,
        left_out=left_out,
        are_checkpoints=are_checkpoints,
        evaluations=list(dict.fromkeys(record.name for record in records)),
        front=_front(points, (x, y)),
        notes=[
            *_cost_notes(plotted_runs, names=plotted_names, axes=(x, y)),
            *_repeated_model_notes(plotted_runs, plotted_names),
        ],
    )


def _quantity(run: Run, name: str, data: str | None) -> Quantity | str:
    """Return the point of a run under a name, or the reason if it has no value.

    Raises:
        UsageError: the name fits metrics of several evaluations.
    """
    if name in MODEL_QUANTITIES:
        quantity = MODEL_QUANTITIES[name]
        value, reason = quantity.read(run.result)
        if value is None:
            return f"no {name}" + (f" ({reason})" if reason else "")
        return Quantity(quantity.title, Metric(value=value / quantity.divisor, unit="count"), None)
    matches = []
    for record in finished_evaluations(run.result):
        if data in (None, record.dataset.id):
            matches += [(record, metric) for metric in record.metrics if name in _names_of_metric(record, metric)]
    full_names = list(dict.fromkeys(f"{record.name}/{metric}" for record, metric in matches))
    if len(full_names) > 1:
        raise UsageError(f"run {run.label} has '{name}' in several tasks: use a full name, {' or '.join(full_names)}")
    if not matches:
        return f"no {name}"
    record, full_name = matches[0]
    metric = record.metrics[full_name]
    if metric.value is None:
        return f"{name} is undefined ({metric.reason})"
    return Quantity(full_title(full_name, metric, record.subsets), metric, record)


def _names_of_metric(record: EvaluationRecord, metric: str) -> tuple[str, str, str]:
    """Return the names under which a metric can be asked for: its own, with its task, and with its evaluation."""
    return metric, f"{record.task}/{metric}", f"{record.name}/{metric}"


def _no_value_message(runs: Sequence[Run], names: Sequence[str], data: str | None) -> str:
    """Return the error of data or a name that no run has, or of two names that none has both of."""
    if not runs:
        return "no runs: expected three or more, or their folders"
    records = all_evaluations(runs)
    on_data = [record for record in records if data in (None, record.dataset.id)]
    if data is not None and not on_data:
        return (
            f"no run is of the data set '{data}':"
            f" {did_you_mean(data, dict.fromkeys(record.dataset.id for record in records))}"
        )
    known_names = list(MODEL_QUANTITIES)
    for record in on_data:
        for metric in record.metrics:
            known_names += _names_of_metric(record, metric)
    for name in names:
        if name not in known_names:
            # "flops" may mean image_flops or text_flops.
            of_towers = [quantity for quantity in MODEL_QUANTITIES if quantity.endswith(f"_{name}")]
            hint = (
                f"did you mean {' or '.join(of_towers)}?"
                if of_towers
                else did_you_mean(name, dict.fromkeys(known_names))
            )
            suffix = (
                "" if hint.startswith("did you") else f", or a quantity of the model: {', '.join(MODEL_QUANTITIES)}"
            )
            return f"no run has '{name}'{f' on {data}' if data else ''}: {hint}{suffix}"
        if name in MODEL_QUANTITIES:
            readings = [_quantity(run, name, None) for run in runs]
            if all(isinstance(reading, str) for reading in readings):
                return f"no run has a value of {name}: {'; '.join(dict.fromkeys(map(str, readings)))}"
    return f"no run has a value of both {names[0]} and {names[1]}"


def _given_parameters(
    points: Sequence[ModelPoint], xs: np.ndarray, ys: np.ndarray, rng: np.random.Generator, *, names: tuple[str, str]
) -> RankCorrelation | None:
    counts = [point.n_parameters for point in points if point.n_parameters is not None]
    if len(counts) < len(points) or len(set(counts)) == 1 or PARAMETERS in names:
        return None
    correlation = rank_correlation(xs, ys, rng, np.array(counts, np.float64))
    return None if math.isnan(correlation.value) else correlation


def pareto_front(costs: Sequence[float], ahead: Callable[[int, int], int]) -> list[int]:
    """Return the rows of the models that no other beats, the cheapest first.

    A model beats another if it is better and costs no more, or is equal and cheaper.

    Args:
        ahead: 1 if the first of two rows is better, 0 if they are equal, -1 otherwise.
    """
    rows = sorted(range(len(costs)), key=lambda row: costs[row])

    def beats(other: int, row: int) -> bool:
        if costs[other] == costs[row]:
            return ahead(other, row) > 0
        return costs[other] < costs[row] and ahead(other, row) >= 0

    return [row for row in rows if not any(beats(other, row) for other in rows)]


def _front(points: Sequence[ModelPoint], names: tuple[str, str]) -> list[str] | None:
    """Return the labels of the models of the front, None unless one is a cost and the other has a better direction."""
    cheaper = [MODEL_QUANTITIES[name].cheaper if name in MODEL_QUANTITIES else None for name in names]
    if cheaper.count(None) != 1:
        return None
    quality, price = ("x", "y") if cheaper[0] is None else ("y", "x")
    is_better = {getattr(point, quality).higher_is_better for point in points}
    if len(is_better) > 1 or is_better == {None}:
        return None
    price_sign = 1 if "less" in cheaper else -1
    quality_sign = 1 if is_better == {True} else -1
    costs = [getattr(point, price).value * price_sign for point in points]
    scores = [getattr(point, quality).value * quality_sign for point in points]
    front = pareto_front(costs, lambda one, other: int(np.sign(scores[one] - scores[other])))
    return [points[row].label for row in front]


def _cost_notes(runs: Sequence[Run], *, names: Sequence[str], axes: tuple[str, str]) -> list[str]:
    """Return what a reader has to know of speeds and memory, which are of a machine as well as of a model."""
    quantities = {name: MODEL_QUANTITIES[name] for name in axes if name in MODEL_QUANTITIES}
    if not any(quantity.is_measured for quantity in quantities.values()):
        return []
    measured = {}
    for name, quantity in quantities.items():
        if quantity.is_measured and quantity.tower:
            measured[name] = [run.result.towers[quantity.tower] for run in runs]
    if any(quantity.is_price for quantity in quantities.values()):
        conditions = _conditions_of_prices(runs)
    else:
        conditions = _conditions_of_towers(runs, measured)
    differing = [name for name, values in conditions.items() if len(values) > 1]
    difference = f", and these runs differ in {', '.join(differing)}" if differing else ""
    notes = [f"Speed and memory are of a run's machine as well as of its model{difference}."]
    few = []
    for name, towers in measured.items():
        if name.endswith("_per_second"):
            labelled_towers = zip(names, towers, strict=True)
            few += [label for label, tower in labelled_towers if tower.n_timed < MIN_TIMED_ITEMS]
    if few:
        notes.append(
            f"Speed measured over fewer than {count(MIN_TIMED_ITEMS)} items, including start-up time:"
            f" {', '.join(dict.fromkeys(few))}."
        )
    return notes


def _conditions_of_prices(runs: Sequence[Run]) -> dict[str, set[str]]:
    """Return the distinct values of what the price of a query depends on."""
    machines = [run.result.price.machine for run in runs if run.result.price]
    conditions = {}
    for key in ("cpu", "threads", "device", "precision"):
        conditions[key] = {str(machine.get(key)) for machine in machines}
    return conditions


def _conditions_of_towers(runs: Sequence[Run], measured: Mapping[str, Sequence[TowerRecord]]) -> dict[str, set[str]]:
    """Return the distinct values of what the speed and memory of towers depend on."""
    conditions = {}
    for key in CONDITIONS:
        conditions[key] = {as_json(run.result.environment.get(key)) for run in runs}
    for towers in measured.values():
        conditions["number of processes"] = {str(tower.n_processes) for tower in towers}
    return conditions


def _repeated_model_notes(runs: Sequence[Run], names: Sequence[str]) -> list[str]:
    """Return a sentence for each model that several runs are of."""
    by_model = group_values((run.result.model.get("fingerprint"), name) for run, name in zip(runs, names, strict=True))
    return [
        f"{', '.join(labels)} are runs of one model: the correlation counts it {len(labels)} times."
        for fingerprint, labels in by_model.items()
        if fingerprint and len(labels) > 1
    ]
