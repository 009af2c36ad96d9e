"""Figures for papers: which there are, what each draws on, and the files that come with each.

With ``gap.pdf`` come ``gap.csv``, the numbers that are plotted, and ``gap.txt``, a draft of its caption.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from clipbench.comparison.across import across
from clipbench.comparison.compare import differences
from clipbench.comparison.representations import similarity_matrix
from clipbench.comparison.robustness import BASELINES, SOURCES, robustness_of
from clipbench.errors import ClipbenchError, UsageError, did_you_mean
from clipbench.files import writing_atomically
from clipbench.results.numbers import shortest
from clipbench.results.provenance import data_facts, origin
from clipbench.results.record import MetricName
from clipbench.results.run import Run, labels, read_run
from clipbench.training.history import History, read_history
from clipbench.untrusted.reading import is_file
from clipbench_reports import figures
from clipbench_reports.drawing import paper, plotted
from clipbench_reports.drawing.marks import Chart, ModelKey
from clipbench_reports.drawing.models import figure_labels
from clipbench_reports.page.evidence import Damaged, Evidence, MissingArray, MissingEvidence, ModelEvidence
from clipbench_reports.page.groups import group
from clipbench_reports.page.section_figures import drawn
from clipbench_reports.plots.files import check_beside
from clipbench_reports.sections.section import Draw

if TYPE_CHECKING:
    from matplotlib.figure import Figure

RunLike = Run | Path | str
"""A run, or the folder of one."""

FIRST = next(iter(figures.PROJECTIONS))
_PROJECTED: frozenset[Draw] = frozenset({figures.gap, figures.modality_map})


@dataclass(frozen=True, kw_only=True)
class PlotOptions:
    """Options of a figure."""

    width: str = "column"
    """``column``, ``full`` or a number of cm."""
    style: Path | None = None
    """A matplotlib style file."""
    projection: str | None = None
    """Projection of ``gap``, one of ``figures.PROJECTIONS``; None is the first of them."""
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


DEFAULTS = PlotOptions()


@dataclass(frozen=True, kw_only=True)
class _Drawn:
    """A figure with what its caption must say of where it comes from."""

    figure: Chart
    sources: Sequence[str]


@dataclass(frozen=True, kw_only=True)
class Plot:
    """A kind of figure that ``clipbench plot`` draws."""

    summary: str
    """One line for ``clipbench plot --list``."""
    definition: str = ""
    """The definition of the quantity, with its source, for the caption."""
    tasks: tuple[str, ...] = ()
    """Tasks, any of which leaves the evidence to draw."""
    draws: tuple[Draw, ...] = ()
    """Figures of an evaluation, joined as panels of one; one that lacks something is left out, if another is there."""
    of_runs: Callable[[Sequence[RunLike], PlotOptions], _Drawn] | None = None
    """Draws all runs at once, in place of ``draws``."""


def draw_plot(name: str, runs: Sequence[RunLike], options: PlotOptions = DEFAULTS) -> "Figure":
    """Return a plot as a figure of matplotlib, which no state of pyplot has a part in; a notebook shows it.

    Args:
        name: one of ``PLOTS``.
        runs: runs, or their folders; for ``track`` also folders of trainings, or logs.

    Raises:
        UsageError: an unknown plot, width, projection or style, or runs that cannot be drawn together.
        ClipbenchError: a run is damaged, or lacks what is drawn.
    """
    width = _width(options.width)
    figure = paper.draw(_drawn(name, runs, options).figure, width=width, style=options.style)
    figure.file_dpi = _dpi(options.format)
    return figure


def write_plot(name: str, runs: Sequence[RunLike], out: Path, options: PlotOptions = DEFAULTS) -> list[Path]:
    """Write the figure of ``draw_plot`` with its table and its caption; return the files.

    Raises:
        UsageError: what ``draw_plot`` raises it for, or a type that matplotlib does not write.
        ClipbenchError: a run is damaged, or lacks what is drawn.
    """
    paper.check_path(out)
    check_beside(out)
    width = _width(options.width)
    drawn = _drawn(name, runs, options)
    texts = {
        out.with_suffix(".csv"): plotted.table(drawn.figure).encode(),
        out.with_suffix(".txt"): _caption(drawn, PLOTS[name]).encode(),
    }
    with writing_atomically(texts):
        paper.save(drawn.figure, out, width=width, style=options.style, dpi=_dpi(options.format))
    return [out, *texts]


def _drawn(name: str, runs: Sequence[RunLike], options: PlotOptions) -> _Drawn:
    plot = PLOTS.get(name)
    if plot is None:
        raise UsageError(f"unknown plot '{name}': {did_you_mean(name, PLOTS)} (clipbench plot --list)")
    if options.projection is not None and options.projection not in figures.PROJECTIONS:
        raise UsageError(
            f"unknown projection '{options.projection}': {did_you_mean(options.projection, figures.PROJECTIONS)}"
        )
    if options.projection is not None and not _PROJECTED & set(plot.draws):
        projected = " and ".join(each for each, other in PLOTS.items() if _PROJECTED & set(other.draws))
        raise UsageError(
            f"--projection {options.projection}: only the plots {projected} are projected, {name} is not: drop it"
        )
    if options.baseline is not None and name != "robustness":
        raise UsageError(f"--baseline {options.baseline}: only the plot robustness has one, {name} has none: drop it")
    for axis, metric in (("x", options.x), ("y", options.y)):
        if metric is not None and name != "across":
            raise UsageError(
                f"--{axis} {metric}: only the plot across takes a metric for an axis, {name} does not: drop it"
            )
    try:
        return plot.of_runs(runs, options) if plot.of_runs else _draw_evaluations(name, plot, runs, options)
    except MissingEvidence as error:
        raise ClipbenchError(f"cannot draw {name}: {error}") from error


def _run(run: RunLike) -> Run:
    return run if isinstance(run, Run) else read_run(Path(run))


def _dpi(kind: str | None) -> int | None:
    """Return the resolution that a format asks for, or None for the usual one."""
    return paper.SLIDE_DPI if kind == "png" else None


def _width(words: str) -> float:
    """Return a width in cm."""
    try:
        width = paper.WIDTHS[words] if words in paper.WIDTHS else float(words)
    except ValueError as error:
        raise UsageError(f"--width {words}: expected {', '.join(paper.WIDTHS)} or a number of cm") from error
    if not 3 <= width <= 100:
        raise UsageError(f"--width {words}: expected 3 to 100 cm")
    return width


def _draw_evaluations(name: str, plot: Plot, runs: Sequence[RunLike], options: PlotOptions) -> _Drawn:
    """Return one figure with all panels of the evaluations of a task, of all runs together.

    Raises:
        MissingEvidence: nothing can be drawn of a run.
    """
    evidences = [_evidence(_run(run), name, plot, options.data) for run in runs]
    names = labels([evidence.run for evidence in evidences])
    keys = [ModelKey(label, place) for place, label in enumerate(figure_labels(names))]
    models = [ModelEvidence(*each) for each in zip(keys, evidences, strict=True)]
    projection = {"projection": options.projection or FIRST, "seed": options.seed}
    made = [drawn(partial(draw, **projection) if draw in _PROJECTED else draw, models) for draw in plot.draws]
    for model, evidence in models:
        reasons = [missing[model] for _, missing in made if model in missing]
        if len(reasons) == len(made):
            raise _nothing(evidence.run, reasons[0]) from reasons[0]
    charts = []
    for chart in (chart for own, _ in made for chart in own):
        sentences = [f"Not drawn for {model.label}: {reason}." for model, reason in chart.missing.items()]
        charts.append(replace(chart, reading=" ".join([chart.reading, *sentences])))
    sources = []
    for label, evidence in zip(names, evidences, strict=True):
        evaluation = evidence.evaluation
        data = f"{evaluation.name} ({data_facts(evaluation.dataset)}), task version {evaluation.task_version}"
        sources.append(f"{label}: {data}; {origin(evidence.run)}.")
    return _Drawn(figure=charts[0] if len(charts) == 1 else _joined(charts), sources=sources)


def _evidence(run: Run, name: str, plot: Plot, data: str | None) -> Evidence:
    """Return the evaluation of a run that a plot draws on: the only one, or that on the data that were named."""
    asked = [each for each in run.result.evaluations if each.task in plot.tasks]
    evaluations = [each for each in asked if each.status == "ok" and data in (None, each.dataset.id)]
    names = list(dict.fromkeys(each.dataset.id for each in evaluations))
    if len(names) > 1:
        raise UsageError(f"run {run.label} has {evaluations[0].task} on {', '.join(names)}: choose with --data")
    if len(evaluations) > 1:
        raise UsageError(
            f"run {run.label} has {', '.join(dict.fromkeys(each.name for each in evaluations))} more than once, with different "
            f"parameters, and {name} draws one: make a run with one of them"
        )
    if evaluations:
        return Evidence(run, evaluations[0])
    on_data = f" on {data}" if data is not None else ""
    reasons = [f"; {each.name} is {each.status}" + (f" ({each.reason})" if each.reason else "") for each in asked]
    raise ClipbenchError(
        f"run {run.label} has no {' or '.join(plot.tasks)}{on_data} to draw {name} from{''.join(reasons[:2])}: "
        f"clipbench run --tasks {plot.tasks[0]}"
    )


def _nothing(run: Run, reason: MissingEvidence) -> MissingEvidence:
    """Return the error of a run of which nothing can be drawn; that of a damaged file names the run already."""
    if isinstance(reason, Damaged):
        return reason
    hint = "; run again with --keep-arrays to have all arrays" if isinstance(reason, MissingArray) else ""
    return MissingEvidence(f"{run.label}: {reason}{hint}")


def _joined(made: Sequence[Chart]) -> Chart:
    """Return several figures as panels of one.

    Where one has panels beside each other, those that are alone have the whole width; else, of more than two, the first.
    """
    panels, n_columns = [panel for each in made for panel in each.panels], max(each.n_columns for each in made)
    alone = [len(each.panels) == 1 for each in made for _ in each.panels]
    if n_columns == 1 and len(panels) > 2:
        alone, n_columns = [k == 0 for k in range(len(panels))], 2
    elif n_columns == 1:
        alone = [False] * len(panels)
    return Chart(
        title=" ".join(each.title for each in made),
        panels=[
            replace(panel, is_broad=panel.is_broad or is_alone) for panel, is_alone in zip(panels, alone, strict=True)
        ],
        reading=" ".join(dict.fromkeys(each.reading for each in made)),
        detail=" ".join(each.detail for each in made if each.detail),
        n_columns=n_columns,
        is_grid=any(each.is_grid for each in made),
        keys=[key for each in made for key in each.keys],
    )


def _track(paths: Sequence[RunLike], options: PlotOptions) -> _Drawn:
    """Draw the runs of checkpoints as one history, or each training that has a log as one."""
    folders = [path.folder if isinstance(path, Run) else Path(path) for path in paths]
    are_runs = len(paths) > 1 and all(is_file(path / "result.json") for path in folders)
    histories = [read_history(*folders)] if are_runs else [read_history(path) for path in folders]
    histories = [_of_data(each, options.data) for each in histories]
    sources = [
        f"Training {each.label}, steps {shortest(each.steps[0])} to {shortest(each.steps[-1])}." for each in histories
    ]
    return _Drawn(
        figure=figures.track(histories, figure_labels([each.label for each in histories])),
        sources=[*sources, *(_all_sources([_run(path) for path in paths]) if are_runs else ())],
    )


def _of_data(history: History, data: str | None) -> History:
    """Return what a history of runs holds of one data set; a log, which names none, as it is."""
    names = [name for name in history.values if isinstance(name, MetricName)]
    data_sets = dict.fromkeys(_data_of(name) for name in names)
    gaps = [each for each in data_sets if f"modality-gap@{each}/gap" in history.values]
    if data is None and len(gaps) > 1:
        raise UsageError(f"{history.label} has modality-gap on {', '.join(gaps)}: choose with --data")
    if data is None:
        return history
    if data not in data_sets:
        held = ", ".join(data_sets) or "a log, which names no data"
        raise UsageError(f"--data {data}: {history.label} has no such data, but {held}")
    return replace(history, values={name: history.values[name] for name in names if _data_of(name) == data})


def _data_of(name: MetricName) -> str:
    return name.evaluation.partition("@")[2]


def _scorecard(paths: Sequence[RunLike], options: PlotOptions) -> _Drawn:
    runs = _held_to([_run(path) for path in paths], options.data)
    return _Drawn(figure=figures.scorecard(group(runs), figure_labels(labels(runs))), sources=_all_sources(runs))


def _compare(paths: Sequence[RunLike], options: PlotOptions) -> _Drawn:
    if len(paths) != 2:
        raise UsageError(f"compare draws the difference of two runs: got {len(paths)}")
    runs = _held_to([_run(path) for path in paths], options.data)
    first, second = figure_labels(labels(runs))
    return _Drawn(figure=figures.compare(differences(*runs), (first, second)), sources=_all_sources(runs))


def _robustness(paths: Sequence[RunLike], options: PlotOptions) -> _Drawn:
    runs = [_run(path) for path in paths]
    baseline = options.baseline or next(iter(BASELINES))
    if options.data is not None:
        raise UsageError(f"--data {options.data}: the plot robustness draws all shifts of a run: drop it")
    figure = figures.robustness(robustness_of(runs, baseline), figure_labels(labels(runs)), baseline)
    return _Drawn(figure=figure, sources=[*_all_sources(runs), f"Reference models: {SOURCES[baseline]}."])


def _representational_similarity(paths: Sequence[RunLike], options: PlotOptions) -> _Drawn:
    found = similarity_matrix([_run(path) for path in paths], options.data)
    figure = figures.representational_similarity(found, figure_labels(found.labels))
    return _Drawn(figure=figure, sources=_all_sources(found.runs, [found.evaluation]))


def _across(paths: Sequence[RunLike], options: PlotOptions) -> _Drawn:
    if options.x is None or options.y is None:
        raise UsageError("across draws one metric against another: give --x and --y, such as --x gap --y acc1")
    runs = [_run(path) for path in paths]
    found = across(*runs, x=options.x, y=options.y, data=options.data, seed=options.seed)
    return _Drawn(
        figure=figures.across(found, figure_labels([each.label for each in found.places])), sources=_all_sources(runs)
    )


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
            raise UsageError(f"--data {data}: run {run.label} has no such data, but {held}")
        runs_of_data.append(replace(run, result=replace(run.result, evaluations=evaluations)))
    return runs_of_data


def _all_sources(runs: Sequence[Run], evaluations: Sequence[str] | None = None) -> list[str]:
    """Return where the numbers of each run come from: of all its evaluations, or of some."""
    sources = []
    for label, run in zip(labels(runs), runs, strict=True):
        names = [
            f"{each.name} ({data_facts(each.dataset)})"
            for each in run.result.evaluations
            if each.status == "ok" and (evaluations is None or each.name in evaluations)
        ]
        sources.append(f"{label}: {', '.join(names)}; {origin(run)}.")
    return sources


def _caption(drawn: _Drawn, plot: Plot) -> str:
    """Return a draft of a caption: what is shown, how to read it, the definition, and where it comes from."""
    figure = drawn.figure
    parts = [figure.title, figure.reading, plot.definition]
    return "\n\n".join([" ".join(part for part in parts if part), *drawn.sources]) + "\n"


_GAP = "The modality gap is the distance between the centroids of image and text vectors (Liang et al., 2022)."

_GAP_OF_MODALITIES = (
    "The modality gap is the distance between the centroids of the vectors of two modalities (Liang et al., 2022)."
)

PLOTS: Mapping[str, Plot] = {
    "gap": Plot(
        summary="images and texts as points of a plane, pairs joined by lines",
        definition=_GAP,
        tasks=("modality-gap",),
        draws=(figures.gap,),
    ),
    "cones": Plot(
        summary="distributions of cosines within and across the modalities",
        definition="A cone is the mean cosine of different vectors of one modality (Ethayarajh, 2019; Liang et al., 2022).",
        tasks=("modality-gap",),
        draws=(figures.cones,),
    ),
    "spectrum": Plot(
        summary="the dimensions that carry the gap, and gap and recall without them",
        definition=_GAP,
        tasks=("modality-gap",),
        draws=(figures.spectrum,),
    ),
    "shift": Plot(
        summary="gap, loss, recall and accuracy as the modalities are moved along the gap",
        definition=_GAP,
        tasks=("modality-gap",),
        draws=(figures.shift,),
    ),
    "corrections": Plot(
        summary="gap, loss, recall and accuracy under corrections made afterwards",
        definition="Centring: I0T and GR-CLIP; standardising: centring, and dividing by the standard deviation of each "
        "dimension; centring with the length kept: the collapse of C3; ReAlign: texts at the mean and the spread of images.",
        tasks=("modality-gap",),
        draws=(figures.corrections,),
    ),
    "similarity-calibration": Plot(
        summary="the probability of a match by cosine, within a modality and across the two",
        tasks=("modality-gap",),
        draws=(figures.similarity_calibration,),
    ),
    "modalities": Plot(
        summary="gap, cosines, recall@1 and separability of every two modalities",
        definition=_GAP_OF_MODALITIES,
        tasks=("modalities",),
        draws=(figures.modality_matrices,),
    ),
    "modality-map": Plot(
        summary="items of all modalities as points of a plane",
        definition=_GAP_OF_MODALITIES,
        tasks=("modalities",),
        draws=(figures.modality_map,),
    ),
    "track": Plot(summary="gap, cones and recall through a training", definition=_GAP, of_runs=_track),
    "similarity-matrix": Plot(
        summary="the batch matrix of a few pairs, and its softmax by row and by column",
        tasks=("retrieval",),
        draws=(figures.similarity,),
    ),
    "relevance": Plot(
        summary="nDCG and recall of relevant documents by rank, on data with judgements",
        definition="nDCG has the grades as gains (linear), as trec_eval has.",
        tasks=("retrieval",),
        draws=(figures.relevance,),
    ),
    "mixed-retrieval": Plot(
        summary="nDCG and the preference for texts in a corpus of images and texts, by their share",
        definition="Centring subtracts the mean of each modality (GR-CLIP).",
        tasks=("mixed-retrieval",),
        draws=(figures.mixed,),
    ),
    "typographic": Plot(
        summary="accuracy and attack success under typographic attacks",
        definition="An attack succeeds when the class of the written word scores highest.",
        tasks=("text-in-image",),
        draws=(figures.hijacking, figures.probe_attacks, *map(figures.response, figures.SETTINGS)),
    ),
    "long-caption": Plot(
        summary="recall by tokens kept, and accuracy by where a fact is stated",
        tasks=("long-caption",),
        draws=(figures.tokens_kept, figures.positions),
    ),
    "operating-points": Plot(
        summary="precision and recall by cosine threshold, of pairs and of answers that may be none",
        definition="Precision is that of a stream in which half should be accepted.",
        tasks=("operating-points",),
        draws=tuple(map(figures.operating_points, figures.QUESTIONS)),
    ),
    "compression": Plot(
        summary="recall@1 and accuracy by bytes of a vector, and the smallest that lose less than a point",
        definition="PCA and int8 are fitted on the stored vectors alone; queries stay float32, but for signs.",
        tasks=("compression",),
        draws=tuple(map(figures.compression, figures.STORED_QUESTIONS)),
    ),
    "few-shot": Plot(
        summary="accuracy by the number of labels of each class, beside zero-shot",
        definition="k-NN: the 20 nearest vote with weights exp(cosine / 0.07) (Wu et al., 2018). Linear probe: logistic regression on "
        "unit vectors, C = 10; the prompt-initialised one is regularised towards the logit scale times the prompts' vectors.",
        tasks=("few-shot",),
        draws=(figures.few_shot,),
    ),
    "composition": Plot(
        summary="accuracy by subset, and cosines of a caption with its false twin",
        tasks=("composition",),
        draws=(figures.composition, figures.twins),
    ),
    "scorecard": Plot(summary="all metrics that are fractions, with interval and chance", of_runs=_scorecard),
    "robustness": Plot(
        summary="accuracy on shifted data against that on ImageNet, beside other models",
        definition="Effective robustness is the accuracy on shifted data less that of a line fitted to other models (Taori et "
        "al., 2020).",
        of_runs=_robustness,
    ),
    "across": Plot(
        summary="one metric against another, a point a model, with the rank correlation",
        of_runs=_across,
    ),
    "representational-similarity": Plot(
        summary="how alike every two models see the same images and texts: mutual k-NN and CKA",
        definition="Mutual k-NN: Huh et al., 2024. CKA: Kornblith et al., 2019, with the unbiased HSIC of Song et al., 2012.",
        of_runs=_representational_similarity,
    ),
    "compare": Plot(summary="the differences of two runs, paired by sample", of_runs=_compare),
}
"""The kinds of figures, by the name that ``clipbench plot`` takes."""


def plots() -> dict[str, str]:
    """Return the names of the plots, with what each shows."""
    return {name: plot.summary for name, plot in PLOTS.items()}
