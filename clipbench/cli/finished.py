"""Commands on finished runs alone: the run in the terminal, a report, a site, a figure for a paper, files for other
tools.
"""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from clipbench.cli.main import command
from clipbench.cli.options import NO_OPEN, PATH, PORT, RUNS, TRACEBACK
from clipbench.cli.output import echo, echo_text, print_line, print_note, terminal_width
from clipbench.errors import UsageError, did_you_mean

if TYPE_CHECKING:
    from clipbench.results.record import EvaluationRecord, Metric, Result
    from clipbench.results.run import Run


@command()
@RUNS
@click.option("--task", "tasks", multiple=True, metavar="TASK[@DATA]", help="Task to print; repeatable. [default: all]")
@click.option(
    "--all",
    "shows_all",
    is_flag=True,
    help="Print all metrics, notes, controls, methods, data, versions and the command.",
)
@TRACEBACK
def show(runs: tuple[Path, ...], tasks: tuple[str, ...], shows_all: bool) -> None:
    """Print the results of runs, and what is missing from them.

    \b
    clipbench show runs/tiny                    # the headline of each task
    clipbench show runs/tiny --task retrieval   # all metrics of a task
    clipbench show runs/tiny --all              # and methods, data, versions

    A RUN is a run folder or the folder of several; of several RUNs, those without a run are left out.
    """
    from clipbench.results.run import find_runs, read_run

    read = [read_run(folder) for folder in find_runs(runs, print_note)]
    names = {name for run in read for record in run.result.evaluations for name in (record.name, record.task)}
    for task in tasks:
        if task not in names:
            raise UsageError(f"--task {task}: the run has no such task: {did_you_mean(task, names)}")
    for number, run in enumerate(read):
        heading = [f"{run.folder}:"] if len(read) > 1 else []
        echo(*[""] * bool(number), *heading, *_run_lines(run, tasks, shows_all=shows_all))


def _run_lines(run: "Run", tasks: Sequence[str], *, shows_all: bool) -> list[str]:
    """Return the results of some tasks of a run, of all without tasks, and what is missing."""
    from clipbench.cli.tables import average_lines, evaluation_lines, folded_facts, headline_lines
    from clipbench.results.provenance import model_facts, origin, why_missing
    from clipbench.results.run import model_name

    result = run.result
    records = [each for each in result.evaluations if not tasks or each.task in tasks or each.name in tasks]
    lines = ["  ".join(filter(None, (model_name(run), ", ".join(model_facts(run))))), origin(run)]
    lines += [f"warning: {each.check}: {each.seen}; {each.fix}" for each in result.preflight or ()]
    lines += _provenance(result) if shows_all else ()
    width = terminal_width()
    if not tasks and (table := headline_lines(records, width)):
        lines += ["", *table]
    folded = None if tasks or shows_all else folded_facts([record for record in records if record.status == "ok"])
    lines += [] if folded is None else [f"{folded}: --all"]
    for record in records:
        if tasks or shows_all or record.status != "ok":
            made = record.status == "ok"
            lines += ["", *(evaluation_lines(record, width) if made else [f"{record.name}  {why_missing(record)}"])]
            lines += _rest(record, width) if shows_all else ()
    if result.average is not None and not tasks:
        parts = (f"  {' + '.join(names)}" for names in result.average.parts)
        lines += ["", *average_lines(result.average, width), *(parts if shows_all else ())]
    lacking = [record.name for record in records if record.status != "ok"]
    if not records:
        lines += ["", "missing: the run has no such evaluation" if tasks else "missing: the run has no evaluation"]
    elif lacking:
        lines += ["", f"missing: {len(lacking)} of {len(records)} evaluations: {', '.join(lacking)}"]
    return lines


@command()
@RUNS
@click.option("-o", "--out", required=True, metavar="FILE.html", type=PATH, help="Output file.")
@click.option(
    "--print",
    "printed",
    type=click.Choice(["short", "full"]),
    default="short",
    help="Parts that are printed: those that stand open, or all that is folded too.",
)
@TRACEBACK
def report(runs: tuple[Path, ...], out: Path, printed: str) -> None:
    """Write one HTML report of finished runs.

    A RUN is a run folder or the folder of several; of several RUNs, those without a run are left out.
    Only the run folders are read: neither models nor data are needed.
    """
    from clipbench.plugins import report_writer
    from clipbench.results.run import find_runs, read_run

    report_writer()([read_run(run) for run in find_runs(runs, print_note)], out, prints_all=printed == "full")
    echo(f"wrote {out}")


@command()
@click.argument("folder", metavar="[FOLDER]", default="runs", type=PATH)
@PORT
@NO_OPEN
@click.option(
    "--export",
    "out",
    metavar="SITE",
    type=PATH,
    help="Write the list of runs and their reports into a new folder, for any host, and end.",
)
@TRACEBACK
def view(folder: Path, port: int, no_open: bool, out: Path | None) -> None:
    """Browse the runs below FOLDER, runs/ by default, in the browser.

    \b
    clipbench view
    clipbench view experiments --port 8000 --no-open
    clipbench view experiments --export site

    It shows runs, comparisons, reports, samples and maps of vectors. Nothing is written; only this machine, and who
    knows the address that is printed, can read it. Ctrl-C ends it. docs/view.md says more.
    """
    from clipbench import plugins

    if out is not None:
        from clipbench.results.numbers import counted

        n_runs = plugins.load(plugins.REPORTS, "site")(folder, out, print_line)
        echo(f"{counted(n_runs, 'run')} in {out / 'index.html'}")
        return
    made = plugins.load(plugins.REPORTS, "view")(folder, port)
    echo(f"{folder} is at {made.address}", "Ctrl-C ends it.")
    if not no_open:
        click.launch(made.address)
    made.serve()


@command(What=("lists", "data", "projection", "baseline", "x", "y"), Output=("out", "kind", "width", "style"))
@click.argument("name", metavar="NAME", required=False)
@click.argument("runs", nargs=-1, metavar="RUN...", type=PATH)
@click.option(
    "-o", "--out", metavar="FILE.{pdf,svg,png}", type=PATH, help="Output file.  [default with --format: NAME.FORMAT]"
)
@click.option(
    "--format",
    "kind",
    type=click.Choice(["pdf", "svg", "png"]),
    help="File type; png has 600 pixels per inch, twice those of -o FILE.png, for slides.",
)
@click.option(
    "--width",
    default="column",
    metavar="column|full|CM",
    help="Width of the figure: column (8.25 cm), full (17.5 cm), or a number of cm.",
)
@click.option("--projection", metavar="pca|umap|gap-axis|svd", help="Projection of the plot gap.  [default: pca]")
@click.option(
    "--baseline",
    metavar="standard|open_clip",
    help="Reference models of the plot robustness: trained on ImageNet alone, or open_clip's CLIP models. "
    " [default: standard]",
)
@click.option(
    "--x",
    metavar="METRIC",
    help="Metric on the x axis of the plot across, such as gap or retrieval/image_retrieval_recall@1; or a number of "
    "the model: parameters, dimensions, bytes, step, image_flops, image_parameters, image_per_second, image_memory, "
    "the same of text.",
)
@click.option("--y", metavar="METRIC", help="Metric on the y axis of the plot across.")
@click.option("--data", metavar="DATA", help="Data set to plot, if the run has the task on several.")
@click.option(
    "--seed",
    default=0,
    type=click.IntRange(min=0, max=2**32 - 1),
    metavar="N",
    help="Seed of UMAP, and of the resamples of the plot across.",
)
@click.option("--style", metavar="FILE.mplstyle", type=PATH, help="Matplotlib style file.")
@click.option("--list", "lists", is_flag=True, help="List the plots and exit.")
@TRACEBACK
def plot(
    name: str | None, runs: tuple[Path, ...], out: Path | None, kind: str | None, lists: bool, **given: object
) -> None:
    """Draw a figure for a paper.

    The numbers of the figure (.csv) and a draft of its caption (.txt) are written beside it.

    A RUN is a run folder or the folder of several; of several RUNs, those without a run are left out.
    Only the run folders are read: neither models nor data are needed.

    \b
    clipbench plot gap runs/tiny runs/vit-b-32 -o gap.pdf
    clipbench plot gap runs/tiny --projection gap-axis --width full -o gap.svg
    clipbench plot gap runs/tiny --format png         (gap.png, for slides)
    clipbench plot track runs/train -o track.pdf      (a training's folder)
    clipbench plot across runs/* --x gap --y zero-shot/acc1 -o across.pdf
    clipbench plot representational-similarity runs/* --width full -o alike.pdf
    clipbench plot --list
    """
    from clipbench.plugins import plotter
    from clipbench.results.run import find_runs

    maker = plotter()
    if lists:
        with _printed_warnings():
            found = maker.plots()
        width = max(len(each) for each in found)
        echo(*(f"{each:{width}}  {summary}" for each, summary in found.items()))
        return
    if kind is not None and name is not None:
        out = out or Path(f"{name}.{kind}")
        out = out if out.suffix else out.with_suffix(f".{kind}")
        if out.suffix.lower() != f".{kind}":
            raise click.UsageError(f"--format {kind} and -o {out} name two types: drop one of them")
    if name is None or not runs or out is None:
        lacking = "NAME" if name is None else "RUN..." if not runs else "-o FILE"
        raise click.UsageError(f"missing {lacking}: expected NAME RUN... -o FILE, such as gap runs/tiny -o gap.pdf")
    options = maker.PlotOptions(**given, format=kind)
    with _printed_warnings():
        # The plot track reads logs and the folders of trainings too, and finds the runs inside a folder itself.
        found_runs = _histories(runs) if name == "track" else find_runs(runs, print_note)
        written = maker.write_plot(name, found_runs, out, options)
    echo(*(f"wrote {path}" for path in written))


@contextmanager
def _printed_warnings() -> Iterator[None]:
    """Print what libraries and sections warn of, each once, in a line."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        yield
    for line in dict.fromkeys(str(each.message).splitlines()[0] for each in said):
        print_note(line)


def _histories(paths: tuple[Path, ...]) -> list[Path]:
    """Return paths without the files that are neither logs nor results, such as a report that a pattern matched."""
    from clipbench.untrusted.reading import is_file

    others = [path for path in paths if is_file(path) and path.suffix not in (".json", ".jsonl")]
    if len(others) in (0, len(paths)):
        return list(paths)
    for path in others:
        print_note(f"{path} is left out: it holds neither a log nor a run")
    return [path for path in paths if path not in others]


@command()
@RUNS
@click.option("--to", required=True, metavar="FORMAT", help="Output format, one of those above.")
@click.option(
    "-o", "--out", metavar="FILE", type=PATH, help="Output file, replaced if it exists.  [default: standard output]"
)
@TRACEBACK
def export(runs: tuple[Path, ...], to: str, out: Path | None) -> None:
    """Write the metrics of runs as a table, or for other tools.

    \b
    csv, parquet    one row per metric, with interval, chance and versions
    clip_benchmark  CLIP_benchmark's JSON: one list, or files (-o FOLDER)
    mteb            mteb's JSON of its image tasks, likewise
    every-eval-ever JSON of the EvalEval coalition's shared schema
    model-index     YAML for the metadata of a Hugging Face model card
    eval-results    YAML for the leaderboards of the Hub's benchmarks
    markdown        one table per evaluation, one column per model
    latex           the same tables for a paper, with booktabs
    bibtex          clipbench and the data of the runs, for a bibliography

    A RUN is a run folder or the folder of several; of several RUNs, those without a run are left out.
    Only the run folders are read: neither models nor data are needed.
    """
    from clipbench.results.export.formats import export as write
    from clipbench.results.run import find_runs

    done = write(find_runs(runs, print_note), to, out)
    for note in done.notes:
        print_note(note)
    if done.text is not None:
        echo_text(done.text)
    for path in done.written:
        echo(f"wrote {path}")


def _provenance(result: "Result") -> Iterator[str]:
    from clipbench.results.provenance import cost_table, price_table
    from clipbench.results.table import as_text

    yield f"command: {' '.join(result.command)}"
    yield f"environment: {_pairs(result.environment)}"
    yield f"model: {_pairs(result.model)}"
    costs, prices = cost_table([result], [""]), price_table([result], [str(result.model.get("ref", ""))])
    for table in (costs and replace(costs, facts=""), prices):
        if table is not None:
            yield from as_text(table).splitlines()
            yield from (f"  {warning}" for warning in table.warnings)


def _rest(record: "EvaluationRecord", width: int | None) -> Iterator[str]:
    from clipbench.cli.tables import metric_lines

    data = record.dataset
    yield f"  data: revision {data.revision}, split {data.split}, fingerprint {data.fingerprint}"
    if data.cite:
        yield f"  cite: {data.cite}"
    yield f"  task: version {record.task_version}{''.join(f', {key} {value}' for key, value in record.params.items())}"
    if record.controls:
        yield "  controls:"
        yield from ("  " + line for line in metric_lines(record.controls, width and width - 2))
    yield from (f"  {line}" for line in _methods(record.metrics))


def _methods(metrics: "Mapping[str, Metric]") -> Iterator[str]:
    """Yield how the intervals of the metrics that have a value were made; then why others have none."""
    from clipbench.results.numbers import interval_name

    with_interval: dict[str, list[str]] = {}
    without: dict[str, list[str]] = {}
    for name, metric in metrics.items():
        if metric.value is None:
            continue
        if metric.low is None:
            without.setdefault(metric.reason or "no interval", []).append(name)
        else:
            made = f"{interval_name([metric])} by {metric.method or 'a method not recorded'}"
            with_interval.setdefault(made, []).append(name)
    yield from (f"{made}: {', '.join(names)}" for made, names in with_interval.items())
    yield from (f"{', '.join(names)}: {reason}" for reason, names in without.items())


def _pairs(facts: Mapping[str, object]) -> str:
    return ", ".join(f"{key} {value}" for key, value in facts.items())
