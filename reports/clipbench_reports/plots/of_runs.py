"""Figures for papers that are of whole runs: trainings, and models against each other."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from clipbench.comparison.across import across
from clipbench.comparison.compare import differences
from clipbench.comparison.representations import similarity_matrix
from clipbench.comparison.robustness import BASELINES, SOURCES, robustness_of
from clipbench.errors import UsageError, option
from clipbench.results.numbers import shortest
from clipbench.results.provenance import data_facts, origin
from clipbench.results.record import MetricName
from clipbench.results.run import Run, labels, read_run
from clipbench.training.history import History, read_history
from clipbench.untrusted.reading import is_file
from clipbench_reports.drawing.marks import Chart
from clipbench_reports.drawing.models import figure_labels
from clipbench_reports.figures import many_models, matrices, training
from clipbench_reports.figures.differences import compare

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
