"""Figures for papers that are of whole runs: trainings, and models against each other."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from clipbench.comparison.across import across
from clipbench.comparison.compare_runs import differences
from clipbench.comparison.representations import similarity_matrix
from clipbench.comparison.robustness import BASELINES, SOURCES, robustness_of
from clipbench.errors import UsageError, option
from clipbench.results.metric_name import MetricName, evaluation_name
from clipbench.results.numbers import shortest
from clipbench.results.provenance import data_facts, origin
from clipbench.results.run import Run, labels, read_run
from clipbench.training.history import History, read_history
from clipbench.untrusted.reading import is_file
from clipbench_reports.drawing.facets import figure_labels
from clipbench_reports.drawing.marks import Chart
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
    """One of ``maps.PROJECTIONS``, of a plot that is projected, None for the first of them."""
    data: str | None = None
    """The data set, where the runs hold the task on several."""
    baseline: str | None = None
    """The models that ``robustness`` is read against: ``standard`` or ``open_clip``, None for the first of them."""
    x: str | None = None
    """The metric of ``across``, or the fact of a model, along the x axis."""
    y: str | None = None
    """The metric, or the fact of a model, along the y axis."""
    seed: int = 0
    """Seed of a projection that is drawn at random, and of the resamples of ``across``."""
    format: str | None = None
    """``png`` draws with twice the pixels, for slides. Other types have no pixels to speak of."""


Drawn = tuple[Chart, Sequence[str]]
"""A figure, and where its numbers come from."""


@dataclass(frozen=True, kw_only=True)
class RunsPlot:
    """A figure of runs: of whole runs, or of their evaluations of a task."""

    summary: str
    """One line for ``clipbench plot --list``."""
    draw: Callable[[Sequence[RunLike], PlotOptions], Drawn]
    definition: str = ""
    """The definition of the quantity, with its source, for the caption."""
    is_projected: bool = False
    """True of a figure that takes ``projection`` and ``seed``."""


def open_run(run: RunLike) -> Run:
    """Return a run, which is read if it is a folder."""
    return run if isinstance(run, Run) else read_run(Path(run))


def _draw_track(paths: Sequence[RunLike], options: PlotOptions) -> Drawn:
    """Draw the runs of checkpoints as one history, or each training that has a log as one."""
    folders = [path.folder if isinstance(path, Run) else Path(path) for path in paths]
    are_runs = len(paths) > 1 and all(is_file(path / "result.json") for path in folders)
    histories = [read_history(*folders)] if are_runs else [read_history(path) for path in folders]
    histories = [_restrict_history(history, options.data) for history in histories]
    sources = []
    for history in histories:
        first, last = shortest(history.steps[0]), shortest(history.steps[-1])
        sources.append(f"Training {history.label}, steps {first} to {last}.")
    if are_runs:
        sources += _source_lines([open_run(path) for path in paths])
    return training.track(histories, figure_labels([history.label for history in histories])), sources


def _restrict_history(history: History, data: str | None) -> History:
    """Return a history with the metrics of one data set, or a log unchanged, since it names no data."""
    names = [name for name in history.values if isinstance(name, MetricName)]
    data_sets = dict.fromkeys(name.data for name in names)
    gap_names = {data_set: MetricName(evaluation_name("modality-gap", data_set), "gap") for data_set in data_sets}
    gaps = [data_set for data_set, name in gap_names.items() if name in history.values]
    if data is None and len(gaps) > 1:
        raise UsageError(f"{history.label} has modality-gap on {', '.join(gaps)}: choose with {option('data')}")
    if data is None:
        return history
    if data not in data_sets:
        held = ", ".join(data_sets) or "a log, which names no data"
        raise UsageError(f"{option('data', data)}: {history.label} has no such data. It holds {held}")
    return replace(history, values={name: history.values[name] for name in names if name.data == data})


def _draw_comparison(paths: Sequence[RunLike], options: PlotOptions) -> Drawn:
    if len(paths) != 2:
        raise UsageError(f"compare draws the difference of two runs: got {len(paths)}")
    runs = _restrict_runs([open_run(path) for path in paths], options.data)
    first, second = figure_labels(labels(runs))
    return compare(differences(*runs), (first, second)), _source_lines(runs)


def _draw_robustness(paths: Sequence[RunLike], options: PlotOptions) -> Drawn:
    runs = [open_run(path) for path in paths]
    baseline = options.baseline or next(iter(BASELINES))
    if options.data is not None:
        raise UsageError(f"{option('data', options.data)}: the plot robustness draws all shifts of a run: remove it")
    figure = many_models.robustness(robustness_of(runs, baseline), figure_labels(labels(runs)), baseline)
    return figure, [*_source_lines(runs), f"Reference models: {SOURCES[baseline]}."]


def _draw_similarity(paths: Sequence[RunLike], options: PlotOptions) -> Drawn:
    similarity = similarity_matrix([open_run(path) for path in paths], options.data)
    figure = matrices.representational_similarity(similarity, figure_labels(similarity.labels))
    return figure, _source_lines(similarity.runs, [similarity.evaluation])


def _draw_across(paths: Sequence[RunLike], options: PlotOptions) -> Drawn:
    if options.x is None or options.y is None:
        example = f"{option('x', 'gap')} {option('y', 'acc1')}"
        raise UsageError(
            f"across draws one metric against another: give {option('x')} and {option('y')}, such as {example}"
        )
    runs = [open_run(path) for path in paths]
    scatter = across(*runs, x=options.x, y=options.y, data=options.data, seed=options.seed)
    return many_models.across(scatter, figure_labels([point.label for point in scatter.points])), _source_lines(runs)


def _restrict_runs(runs: Sequence[Run], data: str | None) -> list[Run]:
    """Return runs with only their evaluations on one data set, with all if ``data`` is None.

    Raises:
        UsageError: a run has none on it.
    """
    if data is None:
        return list(runs)
    runs_of_data = []
    for run in runs:
        evaluations = [evaluation for evaluation in run.result.evaluations if evaluation.dataset.id == data]
        if not evaluations:
            held = ", ".join(dict.fromkeys(evaluation.dataset.id for evaluation in run.result.evaluations)) or "nothing"
            raise UsageError(f"{option('data', data)}: run {run.label} has no such data. It holds {held}")
        runs_of_data.append(replace(run, result=replace(run.result, evaluations=evaluations)))
    return runs_of_data


def _source_lines(runs: Sequence[Run], evaluations: Sequence[str] | None = None) -> list[str]:
    sources = []
    for label, run in zip(labels(runs), runs, strict=True):
        names = []
        for evaluation in run.result.evaluations:
            is_drawn = evaluations is None or evaluation.name in evaluations
            if is_drawn and evaluation.status == "ok":
                names.append(f"{evaluation.name} ({data_facts(evaluation.dataset)})")
        sources.append(f"{label}: {', '.join(names)}; {origin(run)}.")
    return sources


RUN_PLOTS: Mapping[str, RunsPlot] = {
    "track": RunsPlot(
        summary="gap, cones and recall through a training",
        definition=(
            "The modality gap is the distance between the centroids of image and text embeddings (Liang et al., 2022)."
        ),
        draw=_draw_track,
    ),
    "robustness": RunsPlot(
        summary="accuracy on shifted data against accuracy on ImageNet, with other models as a baseline",
        definition=(
            "Effective robustness is the accuracy on shifted data minus the accuracy that a line fitted to other "
            "models predicts (Taori et al., 2020)."
        ),
        draw=_draw_robustness,
    ),
    "across": RunsPlot(
        summary="one metric against another, one point per model, with the rank correlation", draw=_draw_across
    ),
    "representational-similarity": RunsPlot(
        summary="similarity of every two models on the same images and texts: mutual k-NN and CKA",
        definition=(
            "Mutual k-NN: Huh et al., 2024. CKA: Kornblith et al., 2019, with the unbiased HSIC of Song et al., 2012."
        ),
        draw=_draw_similarity,
    ),
    "compare": RunsPlot(summary="the differences of two runs, paired by sample", draw=_draw_comparison),
}
"""The figures of whole runs, by the name that ``clipbench plot`` takes."""
