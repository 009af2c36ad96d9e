"""The headline metrics of an evaluation by the groups of its data, such as languages."""

from collections.abc import Callable, Mapping, Sequence

from clipbench.results import numbers as fmt
from clipbench.results.record import Metric, SlicesRecord
from clipbench.results.titles import full_title, headlines
from clipbench_reports.drawing.marks import Axis, Chart, Mark, ModelKey, Panel, Ranges, Rule, fraction_axis, nice_axis
from clipbench_reports.drawing.models import Panels, Statement, chart, facets
from clipbench_reports.drawing.svg import shorten
from clipbench_reports.figures._figure import bounds
from clipbench_reports.page.evidence import ByModel, Evidence, MissingEvidence, ModelEvidence, read_each
from clipbench_reports.page.text import quoted

NAME_LENGTH = 22
ROW = 0.1
"""Height of a row, where the width of the plane is 1, or half of it where two planes stand beside each other."""
MOST_ROWS = 40
"""Groups that are drawn: more of them are the lowest and the highest."""
MEAN = "mean of the groups"

Values = Mapping[str, Mapping[str, Metric]]
"""Metrics by their title, then by group."""


def slices(grouping: str) -> Callable[[Sequence[ModelEvidence]], Chart]:
    """Return the function that draws the headline metrics of each group, a panel a metric."""

    def draw(models: Sequence[ModelEvidence]) -> Chart:
        by_model = read_each(models, lambda evidence: _values(evidence, grouping))
        means = {model: _means(evidence, grouping) for model, evidence in models if model in by_model.values}
        titles = list(dict.fromkeys(title for each in by_model.all for title in each))
        order = _order([each[titles[0]] for each in by_model.all if titles[0] in each])
        shown = order if len(order) <= MOST_ROWS else [*order[: MOST_ROWS // 2], *order[-MOST_ROWS // 2 :]]
        parts = [_panel(title, shown, by_model, {m: own.get(title) for m, own in means.items()}) for title in titles]
        left_out = "" if shown == order else f" The {len(order) - len(shown)} groups in the middle are left out."
        return chart(
            parts,
            {model: _state(evidence, grouping) for model, evidence in models if model in by_model.values},
            by_model,
            reading=f"Each row is a group of the data by {quoted(grouping)}, those with the smallest first values on top; bars are"
            f" 95 % intervals of the group by itself, the line is the mean of the groups.{left_out}",
            n_columns=min(2, len(titles)),
        )

    return draw


def _recorded(evidence: Evidence, grouping: str) -> SlicesRecord:
    found = evidence.evaluation.slices.get(grouping)
    if found is None:
        raise MissingEvidence(f"no slices by {quoted(grouping)} were recorded")
    return found


def _values(evidence: Evidence, grouping: str) -> Values:
    recorded, subsets = _recorded(evidence, grouping), evidence.evaluation.subsets
    found = {
        full_title(name, metric, subsets): {
            group: metrics[name] for group, metrics in recorded.groups.items() if name in metrics
        }
        for name, metric in headlines(evidence.evaluation).items()
    }
    found = {title: groups for title, groups in found.items() if groups}
    if not found:
        raise MissingEvidence(f"no headline metric has a value in the slices by {quoted(grouping)}")
    return found


def _means(evidence: Evidence, grouping: str) -> dict[str, float]:
    recorded, subsets = _recorded(evidence, grouping), evidence.evaluation.subsets
    return {
        full_title(name, metric, subsets): metric.value
        for name, metric in recorded.mean.items()
        if metric.value is not None
    }


def _order(values: Sequence[Mapping[str, Metric]]) -> list[str]:
    """Return the groups by their mean value over the models, the smallest first."""
    known: dict[str, list[float]] = {}
    for groups in values:
        for group, metric in groups.items():
            known.setdefault(group, []).append(metric.value or 0.0)
    return sorted(known, key=lambda group: sum(known[group]) / len(known[group]))


def _panel(title: str, order: Sequence[str], models: ByModel[Values], means: Mapping[ModelKey, float | None]) -> Panels:
    own = models.map(lambda values: {group: m for group, m in values.get(title, {}).items() if group in order})
    metrics = [metric for groups in own.values() for metric in groups.values()]
    ends = [end for m in metrics for end in (m.value, m.low, m.high) if end is not None]
    plane = Panel(
        title=title,
        x=fraction_axis("%") if metrics[0].unit == "fraction" else nice_axis(ends),
        y=Axis(
            low=len(order) - 0.5,
            high=-0.5,
            ticks=range(len(order)),
            names=[shorten(group, NAME_LENGTH) for group in order],
        ),
        aspect=ROW * len(order) + 0.05,
        has_grid=False,
    )
    marks: dict[ModelKey, list[Mark]] = {}
    for model, groups in own.items():
        rows = [group for group in order if group in groups]
        lows, highs = bounds(groups[group] for group in rows)
        dots = Ranges(
            xs=[groups[group].value or 0.0 for group in rows],
            ys=[order.index(group) for group in rows],
            lows=lows,
            highs=highs,
            role="ink",
            name=title,
            is_upright=False,
            ids=rows,
        )
        mean = means.get(model)
        line: list[Mark] = [] if mean is None else [Rule(at=mean, axis="x", role="pair", name=MEAN)]
        marks[model] = [*line, dots]
    return facets(plane, marks, models, keys=[title])


def _state(evidence: Evidence, grouping: str) -> Statement:
    recorded = _recorded(evidence, grouping)
    values = _values(evidence, grouping)
    name = next(
        name for name in headlines(evidence.evaluation) if any(name in each for each in recorded.groups.values())
    )
    title = next(iter(values))
    groups, subject = values[title], f"{title} by {quoted(grouping)}"
    low, high = (pick(groups, key=lambda group: groups[group].value or 0.0) for pick in (min, max))
    lowest, highest = (fmt.quantity(groups[group].value, groups[group].unit) for group in (low, high))
    mean, distance = recorded.mean.get(name), recorded.distance.get(name)
    on_average = "" if mean is None else f", {fmt.quantity(mean.value, mean.unit)} on average"
    if distance is not None and (distance.low or 0.0) > 0:
        words = f"{subject}: from {lowest} ({quoted(low)}) to {highest} ({quoted(high)}){on_average}."
    else:
        words = f"{subject}: {lowest} to {highest}{on_average}; no two groups are shown to differ."
    detail = " ".join(
        f"{each}: {', '.join(f'{group} {fmt.quantity(metric.value, metric.unit)}' for group, metric in own.items())}."
        for each, own in values.items()
    )
    return Statement(
        title=words,
        subject=f"{subject}, smallest and largest value of a group",
        value=f"{lowest} and {highest}",
        detail=detail,
    )
