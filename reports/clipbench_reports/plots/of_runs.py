"""Figures for papers that are of whole runs: trainings, scorecards, and models against each other."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

from clipbench.comparison.across import across
from clipbench.comparison.compare import differences
from clipbench.comparison.representations import similarity_matrix
from clipbench.comparison.robustness import BASELINES, SOURCES, robustness_of
from clipbench.errors import UsageError, option
from clipbench.results import numbers as fmt
from clipbench.results.numbers import shortest
from clipbench.results.provenance import data_facts, origin
from clipbench.results.record import Metric, MetricName
from clipbench.results.run import Run, labels, read_run
from clipbench.results.titles import full_title
from clipbench.stats.claims import above_chance
from clipbench.training.history import History, read_history
from clipbench.untrusted.reading import is_file
from clipbench_reports.drawing.marks import MODELS, Chart, Dots, Mark, Panel, Rule, fraction_axis, rows_axis
from clipbench_reports.drawing.models import figure_labels
from clipbench_reports.evidence import MissingEvidence
from clipbench_reports.figures import many_models, matrices, training
from clipbench_reports.figures.differences import compare
from clipbench_reports.figures.shared import CHANCE, HEAD, MAX_LINES, NAME_LENGTH, intervals, unwritten
from clipbench_reports.page.groups import Group, group
from clipbench_reports.text import shorten

RunLike = Run | Path | str
"""A run, or the folder of one."""


@dataclass(frozen=True, kw_only=True)
class PlotOptions:
    """Options of a figure."""

    width: str = "column"
    """``column``, ``full`` or a number of cm."""
    style: Path | None = None
    """A matplotlib style file."""
    projection: str | None = None
    """One of ``maps.PROJECTIONS``, of a plot that is projected; None is the first of them."""
    data: str | None = None
    """The data set, where the runs hold the task on several."""
    baseline: str | None = None
    """The models that ``robustness`` is read against: ``standard`` or ``open_clip``; None is the first of them."""
    x: str | None = None
    """The metric of ``across``, or the fact of a model, that lies along the x axis."""
    y: str | None = None
    """Likewise along the y axis."""
    seed: int = 0
    """Seed of a projection that is drawn at random, and of the resamples of ``across``."""
    format: str | None = None
    """``png`` draws with twice the pixels, for slides; other types have no pixels to speak of."""


Drawn = tuple[Chart, Sequence[str]]
"""A figure, and where its numbers come from."""


@dataclass(frozen=True, kw_only=True)
class RunsPlot:
    """A figure of whole runs."""

    summary: str
    """One line for ``clipbench plot --list``."""
    draw: Callable[[Sequence[RunLike], PlotOptions], Drawn]
    definition: str = ""
    """The definition of the quantity, with its source, for the caption."""


def opened(run: RunLike) -> Run:
    """Return a run, read where it is given as a folder."""
    return run if isinstance(run, Run) else read_run(Path(run))


def _track(paths: Sequence[RunLike], options: PlotOptions) -> Drawn:
    """Draw the runs of checkpoints as one history, or each training that has a log as one."""
    folders = [path.folder if isinstance(path, Run) else Path(path) for path in paths]
    are_runs = len(paths) > 1 and all(is_file(path / "result.json") for path in folders)
    histories = [read_history(*folders)] if are_runs else [read_history(path) for path in folders]
    histories = [_of_data(each, options.data) for each in histories]
    sources = [
        f"Training {each.label}, steps {shortest(each.steps[0])} to {shortest(each.steps[-1])}." for each in histories
    ]
    if are_runs:
        sources += _all_sources([opened(path) for path in paths])
    return training.track(histories, figure_labels([each.label for each in histories])), sources


def _of_data(history: History, data: str | None) -> History:
    """Return what a history of runs holds of one data set; a log, which names none, as it is."""
    names = [name for name in history.values if isinstance(name, MetricName)]
    data_sets = dict.fromkeys(_data_of(name) for name in names)
    gaps = [each for each in data_sets if f"modality-gap@{each}/gap" in history.values]
    if data is None and len(gaps) > 1:
        raise UsageError(f"{history.label} has modality-gap on {', '.join(gaps)}: choose with {option('data')}")
    if data is None:
        return history
    if data not in data_sets:
        held = ", ".join(data_sets) or "a log, which names no data"
        raise UsageError(f"{option('data', data)}: {history.label} has no such data, but {held}")
    return replace(history, values={name: history.values[name] for name in names if _data_of(name) == data})


def _data_of(name: MetricName) -> str:
    return name.evaluation.partition("@")[2]


def _scorecard(paths: Sequence[RunLike], options: PlotOptions) -> Drawn:
    runs = _held_to([opened(path) for path in paths], options.data)
    return scorecard_chart(group(runs), figure_labels(labels(runs))), _all_sources(runs)


def _compare(paths: Sequence[RunLike], options: PlotOptions) -> Drawn:
    if len(paths) != 2:
        raise UsageError(f"compare draws the difference of two runs: got {len(paths)}")
    runs = _held_to([opened(path) for path in paths], options.data)
    first, second = figure_labels(labels(runs))
    return compare(differences(*runs), (first, second)), _all_sources(runs)


def _robustness(paths: Sequence[RunLike], options: PlotOptions) -> Drawn:
    runs = [opened(path) for path in paths]
    baseline = options.baseline or next(iter(BASELINES))
    if options.data is not None:
        raise UsageError(f"{option('data', options.data)}: the plot robustness draws all shifts of a run: drop it")
    figure = many_models.robustness(robustness_of(runs, baseline), figure_labels(labels(runs)), baseline)
    return figure, [*_all_sources(runs), f"Reference models: {SOURCES[baseline]}."]


def _representational_similarity(paths: Sequence[RunLike], options: PlotOptions) -> Drawn:
    found = similarity_matrix([opened(path) for path in paths], options.data)
    figure = matrices.representational_similarity(found, figure_labels(found.labels))
    return figure, _all_sources(found.runs, [found.evaluation])


def _across(paths: Sequence[RunLike], options: PlotOptions) -> Drawn:
    if options.x is None or options.y is None:
        example = f"{option('x', 'gap')} {option('y', 'acc1')}"
        raise UsageError(
            f"across draws one metric against another: give {option('x')} and {option('y')}, such as {example}"
        )
    runs = [opened(path) for path in paths]
    found = across(*runs, x=options.x, y=options.y, data=options.data, seed=options.seed)
    return many_models.across(found, figure_labels([each.label for each in found.places])), _all_sources(runs)


def _held_to(runs: Sequence[Run], data: str | None) -> list[Run]:
    """Return runs with their evaluations on one data set only, where one was named.

    Raises:
        UsageError: a run has none on it.
    """
    if data is None:
        return list(runs)
    runs_of_data = []
    for run in runs:
        evaluations = [each for each in run.result.evaluations if each.dataset.id == data]
        if not evaluations:
            held = ", ".join(dict.fromkeys(each.dataset.id for each in run.result.evaluations)) or "nothing"
            raise UsageError(f"{option('data', data)}: run {run.label} has no such data, but {held}")
        runs_of_data.append(replace(run, result=replace(run.result, evaluations=evaluations)))
    return runs_of_data


def _all_sources(runs: Sequence[Run], evaluations: Sequence[str] | None = None) -> list[str]:
    sources = []
    for label, run in zip(labels(runs), runs, strict=True):
        names = [
            f"{each.name} ({data_facts(each.dataset)})"
            for each in run.result.evaluations
            if each.status == "ok" and (evaluations is None or each.name in evaluations)
        ]
        sources.append(f"{label}: {', '.join(names)}; {origin(run)}.")
    return sources


OF_RUNS: Mapping[str, RunsPlot] = {
    "track": RunsPlot(
        summary="gap, cones and recall through a training",
        definition=(
            "The modality gap is the distance between the centroids of image and text vectors (Liang et al., 2022)."
        ),
        draw=_track,
    ),
    "scorecard": RunsPlot(summary="all metrics that are fractions, with interval and chance", draw=_scorecard),
    "robustness": RunsPlot(
        summary="accuracy on shifted data against that on ImageNet, beside other models",
        definition=(
            "Effective robustness is the accuracy on shifted data less that of a line fitted to other models (Taori et "
            "al., 2020)."
        ),
        draw=_robustness,
    ),
    "across": RunsPlot(summary="one metric against another, a point a model, with the rank correlation", draw=_across),
    "representational-similarity": RunsPlot(
        summary="how alike every two models see the same images and texts: mutual k-NN and CKA",
        definition=(
            "Mutual k-NN: Huh et al., 2024. CKA: Kornblith et al., 2019, with the unbiased HSIC of Song et al., 2012."
        ),
        draw=_representational_similarity,
    ),
    "compare": RunsPlot(summary="the differences of two runs, paired by sample", draw=_compare),
}
"""The figures of whole runs, by the name that ``clipbench plot`` takes."""


ASIDE = 0.5
"""Share of the distance of two rows that the models of one row are spread over."""


ScorecardRows = Mapping[str, Mapping[int, Metric]]
"""Metrics by their recorded names, then by the places of their models among the runs."""


def scorecard_chart(groups: Sequence[Group], labels: Sequence[str]) -> Chart:
    """Return every metric that is a fraction and has a chance level, with interval, chance and published value.

    Raises:
        MissingEvidence: no model has such a metric; or there are more models than can be told apart.
    """
    if len(labels) > len(MODELS):
        raise MissingEvidence(f"{len(labels)} models cannot be told apart in one panel: at most {len(MODELS)}")
    shown = [(group, rows) for group in groups if (rows := _rows(group))]
    if not shown:
        raise MissingEvidence("no metric is a fraction with a chance level")
    n_all = sum(len(rows) for _, rows in shown)
    if n_all + HEAD * len(shown) > MAX_LINES:
        shown = [(group, _headlines(rows)) for group, rows in shown]
    n_left = n_all - sum(len(rows) for _, rows in shown)
    left_out = f" Headline metrics alone: {fmt.count(n_left)} more would not fit on a page." if n_left else ""
    measured = [
        (f"{group.task}@{group.data}/{name}", labels[place], metric)
        for group, rows in shown
        for name, by_place in rows.items()
        for place, metric in by_place.items()
    ]
    above = sum(above_chance(*(metric for _, _, metric in measured)))
    last = len(shown) - 1
    return Chart(
        title=f"{above} of {len(measured)} values lie above chance, by tests corrected for their number (Holm).",
        panels=[_card_panel(group, rows, labels, is_last=k == last) for k, (group, rows) in enumerate(shown)],
        reading=f"Values with their 95 % intervals; those without a chance level are left out.{left_out}",
        detail=" ".join(f"{name}, {label}: {fmt.percent(metric.value)} %." for name, label, metric in measured),
    )


def _card_panel(group: Group, rows: ScorecardRows, labels: Sequence[str], *, is_last: bool) -> Panel:
    x, subsets = fraction_axis("%" if is_last else ""), group.measured[0].evaluation.subsets
    titles = [full_title(name, next(iter(by_place.values())), subsets) for name, by_place in rows.items()]
    return Panel(
        title=f"{group.task}@{group.data}",
        x=x if is_last else unwritten(x),
        y=rows_axis([shorten(title, NAME_LENGTH) for title in titles]),
        marks=_marks(rows, labels),
        n_rows=len(rows),
    )


def _rows(group: Group) -> ScorecardRows:
    rows: dict[str, dict[int, Metric]] = {name: {} for each in group.measured for name in each.evaluation.metrics}
    for entry in group.measured:
        for name, metric in entry.evaluation.metrics.items():
            if metric.unit == "fraction" and metric.value is not None and metric.chance is not None:
                rows[name][entry.place] = metric
    return {name: by_place for name, by_place in rows.items() if by_place}


def _headlines(rows: ScorecardRows) -> ScorecardRows:
    """Return the rows of headline metrics, or the first row."""
    heads = {name: by for name, by in rows.items() if any(each.is_headline for each in by.values())}
    return heads or dict(islice(rows.items(), 1))


def _marks(rows: ScorecardRows, labels: Sequence[str]) -> list[Mark]:
    marks: list[Mark] = []
    for k, by_place in enumerate(rows.values()):
        for chance in sorted({metric.chance for metric in by_place.values() if metric.chance is not None}):
            marks.append(Rule(at=chance, axis="x", role="chance", name=CHANCE, span=(k - 0.4, k + 0.4)))
    for place, label in enumerate(labels):
        aside = ASIDE * ((place + 0.5) / len(labels) - 0.5) if len(labels) > 1 else 0.0
        own = {name: by_place[place] for name, by_place in rows.items() if place in by_place}
        ys = [k + aside for k, by_place in enumerate(rows.values()) if place in by_place]
        marks.append(intervals(own, ys, MODELS[place], label, is_upright=False))
        published = [
            (each.value, y, name)
            for y, (name, metric) in zip(ys, own.items(), strict=True)
            for each in metric.published
        ]
        if published:
            xs, places, ids = zip(*published, strict=True)
            marks.append(Dots(xs=xs, ys=places, role="pair", name="published", ids=ids))
    return marks
