"""Figures for papers: their list, their data, and the files that come with each figure.

With ``gap.pdf`` come ``gap.csv``, the numbers that are plotted, and ``gap.txt``, a draft of its caption. Most are of
the evaluations of one task, whose section brings them; a few are of whole runs (``run_plots``).
"""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from clipbench import plugins
from clipbench.errors import ClipbenchError, PluginFault, UsageError, did_you_mean, option
from clipbench.files import writing_atomically
from clipbench.results.metric_name import evaluation_name
from clipbench.results.provenance import data_facts, origin
from clipbench.results.run import Run, labels
from clipbench.untrusted.reading import is_file
from clipbench_reports.drawing import chart_data, paper
from clipbench_reports.drawing.facets import figure_labels
from clipbench_reports.drawing.marks import Chart
from clipbench_reports.evidence import Damaged, Evidence, Fault, MissingArray, MissingEvidence, ModelEvidence, ModelKey
from clipbench_reports.figures import maps
from clipbench_reports.page.task_results import draw_charts
from clipbench_reports.plots.run_plots import RUN_PLOTS, Drawn, PlotOptions, RunLike, RunsPlot, open_run
from clipbench_reports.sections.section import OWN, LoadedSection, Plot, load_section
from clipbench_reports.text import whole_names

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["PlotOptions", "draw_plot", "plots", "write_plot"]

DEFAULTS = PlotOptions()
FIRST = next(iter(maps.PROJECTIONS))
OF_ONE_PLOT = {"baseline": "robustness", "x": "across", "y": "across"}
"""Options that only one plot takes."""


def plots() -> dict[str, str]:
    """Return the names of the plots with their summaries."""
    return {name: plot.summary for name, plot in _all_plots().items()}


def draw_plot(name: str, runs: Sequence[RunLike], options: PlotOptions = DEFAULTS) -> "Figure":
    """Return a plot as a figure of matplotlib, which no state of pyplot has a part in. A notebook shows it.

    What the section of a package fails to draw is left out with a warning.

    Args:
        name: one of ``plots()``.
        runs: runs, or their folders, for ``track`` also folders of trainings, or logs.

    Raises:
        UsageError: an unknown plot, width, projection or style, or runs that cannot be drawn together.
        PluginFault: the code of a package raised, and nothing is left to draw.
        ClipbenchError: a run is damaged, or lacks what is drawn.
    """
    width = _width(options.width)
    chart, _ = _chart_and_caption(name, runs, options)
    figure = paper.draw(chart, width=width, style=options.style)
    figure.file_dpi = _dpi(options.format)
    return figure


def write_plot(name: str, runs: Sequence[RunLike], out: Path, options: PlotOptions = DEFAULTS) -> list[Path]:
    """Write the figure of ``draw_plot`` with its table and its caption, and return the files.

    Raises:
        UsageError: what ``draw_plot`` raises it for, or a type that matplotlib does not write.
        ClipbenchError: a run is damaged, or lacks what is drawn.
    """
    paper.check_path(out)
    _check_companions(out)
    width = _width(options.width)
    chart, caption = _chart_and_caption(name, runs, options)
    texts = {
        out.with_suffix(".csv"): chart_data.chart_csv(chart).encode(),
        out.with_suffix(".txt"): ("\n\n".join(caption) + "\n").encode(),
    }
    with writing_atomically(texts):
        paper.save(chart, out, width=width, style=options.style, dpi=_dpi(options.format))
    return [out, *texts]


def _all_plots() -> dict[str, RunsPlot]:
    """Return the plots of sections, then the plots of whole runs.

    If two sections have a plot of the same name, it is clipbench's own or the first.
    """
    sections = {task: load_section(task) for task in plugins.names(plugins.SECTIONS)}
    task_plots: dict[str, RunsPlot] = {}
    for task, loaded in sorted(sections.items(), key=lambda section: (section[1].package != OWN, section[0])):
        if loaded.fault:
            warnings.warn(loaded.fault, stacklevel=2)
        for name, plot in loaded.section.plots.items():
            if name in task_plots or name in RUN_PLOTS:
                warnings.warn(f"the plot {name} of {loaded.package} is left out: its name is taken", stacklevel=2)
            else:
                draw = partial(_draw_evaluations, name, plot, task, loaded)
                task_plots[name] = RunsPlot(
                    summary=plot.summary, draw=draw, definition=plot.definition, is_projected=plot.is_projected
                )
    return {**task_plots, **RUN_PLOTS}


def _chart_and_caption(name: str, runs: Sequence[RunLike], options: PlotOptions) -> tuple[Chart, list[str]]:
    """Return a plot, and the paragraphs of its caption: title, reading, definition and sources."""
    all_plots = _all_plots()
    if name not in all_plots:
        raise UsageError(f"unknown plot '{name}': {did_you_mean(name, all_plots)} (clipbench plot --list)")
    _check_options(name, options, projected=[plot_name for plot_name, plot in all_plots.items() if plot.is_projected])
    try:
        with whole_names():
            chart, sources = all_plots[name].draw(runs, options)
    except Fault as error:
        raise PluginFault(f"cannot draw {name}: {error}") from error
    except MissingEvidence as error:
        raise ClipbenchError(f"cannot draw {name}: {error}") from error
    return chart, [" ".join(filter(None, [chart.title, chart.reading, all_plots[name].definition])), *sources]


def _check_options(name: str, options: PlotOptions, *, projected: Sequence[str]) -> None:
    projection = options.projection
    if projection is not None and projection not in maps.PROJECTIONS:
        raise UsageError(f"unknown projection '{projection}': {did_you_mean(projection, maps.PROJECTIONS)}")
    if projection is not None and name not in projected:
        raise UsageError(
            f"{option('projection', projection)}: only the plots {' and '.join(projected)} are projected, "
            f"{name} is not: remove it"
        )
    for key, owner in OF_ONE_PLOT.items():
        value = getattr(options, key)
        if value is not None and name != owner:
            raise UsageError(f"{option(key, value)}: only the plot {owner} takes it, {name} does not: remove it")


def _dpi(kind: str | None) -> int | None:
    return paper.SLIDE_DPI if kind == "png" else None


def _width(words: str) -> float:
    try:
        width = paper.WIDTHS[words] if words in paper.WIDTHS else float(words)
    except ValueError as error:
        raise UsageError(f"{option('width', words)}: expected {', '.join(paper.WIDTHS)} or a number of cm") from error
    if not 3 <= width <= 100:
        raise UsageError(f"{option('width', words)}: expected 3 to 100 cm")
    return width


def _draw_evaluations(
    name: str, plot: Plot, task: str, loaded: LoadedSection, runs: Sequence[RunLike], options: PlotOptions
) -> Drawn:
    """Return one figure with all panels of the evaluations of a task, of all runs together.

    Raises:
        MissingEvidence: nothing can be drawn of a run.
    """
    evidences = [_find_evidence(open_run(run), name, task, options.data) for run in runs]
    names = labels([evidence.run for evidence in evidences])
    keys = [ModelKey(label, position) for position, label in enumerate(figure_labels(names))]
    models = list(map(ModelEvidence, keys, evidences))
    makers: list[Callable[..., Chart | Sequence[Chart]]] = [loaded.guard(draw, Chart) for draw in plot.draws]
    if plot.is_projected:
        makers = [partial(make, projection=options.projection or FIRST, seed=options.seed) for make in makers]
    drawings = [draw_charts(make, models) for make in makers]
    for model, evidence in models:
        reasons = [missing[model] for _, missing in drawings if model in missing]
        if len(reasons) == len(drawings):
            reason = reasons[0]
            if isinstance(reason, Damaged | Fault):
                raise reason  # which names the run, or the package
            keeping = f". Run again with {option('keep_arrays', True)} to keep all arrays"
            hint = keeping if isinstance(reason, MissingArray) else ""
            raise MissingEvidence(f"{evidence.run.label}: {reason}{hint}") from reason
    faults, charts = dict[str, None](), list[Chart]()
    for drawn_charts, missing in drawings:
        faults |= dict.fromkeys(str(reason) for reason in missing.values() if isinstance(reason, Fault))
        for chart in drawn_charts:
            sentences = [f"Not drawn for {model.label}: {reason}." for model, reason in chart.missing.items()]
            charts.append(replace(chart, reading=" ".join([chart.reading, *sentences])))
    for fault in faults:
        warnings.warn(fault, stacklevel=2)
    sources = []
    for label, evidence in zip(names, evidences, strict=True):
        evaluation = evidence.evaluation
        data = f"{evaluation.name} ({data_facts(evaluation.dataset)}), task version {evaluation.task_version}"
        sources.append(f"{label}: {data}; {origin(evidence.run)}.")
    return charts[0] if len(charts) == 1 else _join_charts(charts), sources


def _find_evidence(run: Run, name: str, task: str, data: str | None) -> Evidence:
    """Return the evidence of a run that a plot draws: its only evaluation of the task, or the one on ``data``."""
    candidates = [evaluation for evaluation in run.result.evaluations if evaluation.task == task]
    evaluations = [
        evaluation for evaluation in candidates if evaluation.status == "ok" and data in (None, evaluation.dataset.id)
    ]
    names = list(dict.fromkeys(evaluation.dataset.id for evaluation in evaluations))
    if len(names) > 1:
        raise UsageError(f"run {run.label} has {task} on {', '.join(names)}: choose with {option('data')}")
    if len(evaluations) > 1:
        repeated = ", ".join(dict.fromkeys(evaluation.name for evaluation in evaluations))
        raise UsageError(
            f"run {run.label} has {repeated} more than once, with different parameters, and {name} draws one: "
            "make a run with one of them"
        )
    if evaluations:
        return Evidence(run, evaluations[0])
    target = task if data is None else evaluation_name(task, data)
    reasons = ""
    for evaluation in candidates[:2]:
        reasons += f"; {evaluation.name} is {evaluation.status}"
        if evaluation.reason:
            reasons += f" ({evaluation.reason})"
    raise ClipbenchError(
        f"run {run.label} has no {target} to draw {name} from{reasons}: `clipbench run --tasks {target}` makes it"
    )


def _join_charts(charts: Sequence[Chart]) -> Chart:
    """Return several figures as panels of one.

    If a figure has panels side by side, the panel of a figure with only one is broad. Otherwise, the first of more than
    two panels is broad.
    """
    n_columns = max(chart.n_columns for chart in charts)
    panels = [panel for chart in charts for panel in chart.panels]
    if n_columns > 1:
        panels = []
        for chart in charts:
            is_alone = len(chart.panels) == 1
            panels += [replace(panel, is_broad=panel.is_broad or is_alone) for panel in chart.panels]
    elif len(panels) > 2:
        panels[0] = replace(panels[0], is_broad=True)
        n_columns = 2
    return Chart(
        title=" ".join(chart.title for chart in charts),
        panels=panels,
        reading=" ".join(dict.fromkeys(chart.reading for chart in charts)),
        n_columns=n_columns,
        is_grid=any(chart.is_grid for chart in charts),
        keys=[key for chart in charts for key in chart.keys],
    )


def _check_companions(out: Path) -> None:
    """Raise UsageError when the table or the caption of a figure would be written over a file that is not one of ours.

    A figure that is drawn again replaces its own: its first line shows the table, and the table the caption.
    """
    table, caption = out.with_suffix(".csv"), out.with_suffix(".txt")
    if is_file(table) and not _is_table(table):
        raise UsageError(f"{table} exists and is not the table of a figure: name another file for the figure")
    if is_file(caption) and not is_file(table):
        raise UsageError(f"{caption} exists and is not the caption of a figure: name another file for the figure")


def _is_table(path: Path) -> bool:
    try:
        with path.open(encoding="utf-8") as file:
            return file.readline().strip() == ",".join(chart_data.COLUMNS)
    except (OSError, UnicodeDecodeError):
        return False
