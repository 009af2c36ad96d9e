"""The figure of any task whose data has groups: its headline metrics by group."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from clipbench.results import numbers as fmt
from clipbench.results.record import Metric, SlicesRecord
from clipbench.results.titles import full_title, headlines
from clipbench_reports.drawing.facets import Panels, Statement, chart, facets
from clipbench_reports.drawing.marks import Chart, Mark, Panel, Rule, fraction_axis, nice_axis, rows_axis
from clipbench_reports.evidence import ByModel, Evidence, MissingEvidence, Models, read_each
from clipbench_reports.figures.shared import ends_of, intervals
from clipbench_reports.text import quoted, shorten

NAME_LENGTH = 22
ROW = 0.1
"""Height of a row, where the width of the plane is 1, or half of it where two planes are next to each other."""
MOST_ROWS = 40
"""Groups that are drawn: more of them are the lowest and the highest."""
MEAN = "mean of the groups"

Values = Mapping[str, Mapping[str, Metric]]
"""Metrics by their title, then by group."""


def slices(grouping: str) -> Callable[[Models], Chart]:
    """Return the function that draws the headline metrics of each group, one panel per metric."""

    def draw(models: Models) -> Chart:
        by_model = read_each(models, lambda evidence: _read_slices(evidence, grouping))
        distinct_titles: dict[str, None] = {}
        for slice_values in by_model.all:
            distinct_titles |= dict.fromkeys(slice_values.values)
        titles = list(distinct_titles)
        first_title = titles[0]
        order = _order([model.values[first_title] for model in by_model.all if first_title in model.values])
        reading = (
            f"Each row is a group of the data by {quoted(grouping)}, those with the smallest first values on top."
            " Bars are 95 % intervals per group, and the line is the mean of the groups."
        )
        drawn_groups = order
        if len(order) > MOST_ROWS:
            drawn_groups = [*order[: MOST_ROWS // 2], *order[-MOST_ROWS // 2 :]]
            reading += f" The {len(order) - len(drawn_groups)} groups in the middle are left out."
        return chart(
            [_panel(title, drawn_groups, by_model) for title in titles],
            by_model.map(lambda slice_values: slice_values.statement),
            reading=reading,
            n_columns=min(2, len(titles)),
        )

    return draw


class _SliceValues(NamedTuple):
    values: Values
    means: Mapping[str, float]
    statement: Statement


def _read_slices(evidence: Evidence, grouping: str) -> _SliceValues:
    recorded, subsets = evidence.evaluation.slices.get(grouping), evidence.evaluation.subsets
    if recorded is None:
        raise MissingEvidence(f"no slices by {quoted(grouping)} were recorded")
    values: dict[str, dict[str, Metric]] = {}
    measured_names = []
    for name, headline in headlines(evidence.evaluation).items():
        of_groups = {group: metrics[name] for group, metrics in recorded.groups.items() if name in metrics}
        if of_groups:
            measured_names.append(name)
            values[full_title(name, headline, subsets)] = of_groups
    if not measured_names:
        raise MissingEvidence(f"no headline metric has a value in the slices by {quoted(grouping)}")
    means = {}
    for name, metric in recorded.mean.items():
        if metric.value is not None:
            means[full_title(name, metric, subsets)] = metric.value
    return _SliceValues(values, means, _state(values, recorded, measured_names[0], grouping))


def _order(values: Sequence[Mapping[str, Metric]]) -> list[str]:
    """Return the groups by their mean value over the models, the smallest first."""
    by_group: dict[str, list[float]] = {}
    for metrics in values:
        for group, metric in metrics.items():
            by_group.setdefault(group, []).append(metric.value or 0.0)
    return sorted(by_group, key=lambda group: sum(by_group[group]) / len(by_group[group]))


def _panel(title: str, order: Sequence[str], models: ByModel[_SliceValues]) -> Panels:
    metrics = []
    for model in models.all:
        groups = model.values.get(title, {})
        metrics += [metric for group, metric in groups.items() if group in order]
    are_fractions = metrics[0].unit == "fraction"
    plane = Panel(
        title=title,
        x=fraction_axis("%") if are_fractions else nice_axis(ends_of(metrics)),
        y=rows_axis([shorten(group, NAME_LENGTH) for group in order]),
        aspect=ROW * len(order) + 0.05,
        has_grid=False,
    )

    def marks(slice_values: _SliceValues) -> list[Mark]:
        groups = slice_values.values.get(title, {})
        group_metrics = {group: groups[group] for group in order if group in groups}
        rows = [order.index(group) for group in group_metrics]
        group_intervals = intervals(group_metrics, rows, "ink", title, is_upright=False)
        if title not in slice_values.means:
            return [group_intervals]
        return [Rule(at=slice_values.means[title], axis="x", role="pair", name=MEAN), group_intervals]

    return facets(plane, models.map(marks), keys=[title])


def _state(values: Values, recorded: SlicesRecord, name: str, grouping: str) -> Statement:
    """Return the statement about the first metric: its smallest and largest value of a group."""
    title, groups = next(iter(values.items()))
    low = min(groups, key=lambda group: groups[group].value or 0.0)
    high = max(groups, key=lambda group: groups[group].value or 0.0)
    lowest = fmt.quantity(groups[low].value, groups[low].unit)
    highest = fmt.quantity(groups[high].value, groups[high].unit)
    mean, distance = recorded.mean.get(name), recorded.distance.get(name)
    on_average = "" if mean is None else f", {fmt.quantity(mean.value, mean.unit)} on average"
    if distance is not None and (distance.low or 0.0) > 0:
        ends = f"{lowest} ({quoted(low)}) and {highest} ({quoted(high)}){on_average}"
    else:  # the ends of equal groups are chance: they are not named
        ends = f"{lowest} and {highest}{on_average}, and no two groups are shown to differ"
    return Statement(subject=f"{title} by {quoted(grouping)}, smallest and largest value of a group", value=ends)
