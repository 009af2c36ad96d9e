"""A run on disk: reading it, and writing its result. Tables and arrays are read when they are asked for."""

import os
import re
import shlex
import shutil
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Literal

import numpy as np

from clipbench.errors import ClipbenchError, NotMeasured, UsageError, did_you_mean, option
from clipbench.files import TEMPORARY_FOLDER, is_inside, write_atomic, write_errors
from clipbench.plugins import plotter, report_writer, warn_left_out
from clipbench.results.failure import failure_reason
from clipbench.results.frames import metrics_frame, scorecard, slices_frame
from clipbench.results.metric_name import MetricName, split_evaluation
from clipbench.results.numbers import counted
from clipbench.results.opening import opening_lines
from clipbench.results.record import (
    SCHEMA_VERSION,
    EvaluationRecord,
    Metric,
    ModelRecord,
    Result,
    finished_evaluations,
    strict_json,
)
from clipbench.results.run_names import distinct_labels, run_folder, runs_nearby
from clipbench.results.shown_samples import margin_units
from clipbench.results.table import as_html, as_text
from clipbench.untrusted import reading
from clipbench.untrusted.schema import SchemaError, parse_record, unknown_fields

if TYPE_CHECKING:
    import pandas
    from matplotlib.figure import Figure


N_WORDS = 3
"""Columns of words that a table of failures has at most."""


@dataclass(frozen=True, repr=False)
class Run:
    """A run folder and the result in it. Tables and arrays are read when asked for.

    ``clipbench.run`` and ``clipbench.read_run`` return one. Printed, or in a notebook, it shows its scorecard.

    Example:
        >>> from clipbench import run, vectors
        >>> x, noise = np.eye(4), np.roll(np.eye(4), 1, axis=0)
        >>> made = run(vectors(images=x, texts=noise, name="mine"), "retrieval")
        >>> print(
        ...     made.frame().query("metric == 'text_retrieval_recall@1'")[["task", "value", "n"]].to_string(index=False)
        ... )
             task  value  n
        retrieval    0.0  4
        >>> [*made.failures("retrieval", n=1).columns[:2]]
        ['sample_id', 'rank_margin']
    """

    folder: Path
    result: Result

    def __repr__(self) -> str:
        done = [record.name for record in finished_evaluations(self.result)]
        rest = [
            f"{record.name} {record.status}: {record.reason}"
            for record in self.result.evaluations
            if record.status != "ok"
        ]
        first = f"{model_name(self)}: {', '.join(done) or 'no evaluations'}"
        return f"<run of {'; '.join([first, *rest])}>"

    @property
    def label(self) -> str:
        """The folder, or the model's name if ``clipbench.run`` made the folder and removes it again."""
        is_temporary = self.folder.parent.name.startswith(TEMPORARY_FOLDER)
        return model_name(self) if is_temporary else str(self.folder)

    @property
    def metrics(self) -> dict[str, Metric]:
        """The metrics of finished evaluations by ``task@data/metric``. If one was made twice, the first counts."""
        return {str(name): metric for name, metric in self.named_metrics.items() if not name.slice}

    @property
    def named_metrics(self) -> dict[MetricName, Metric]:
        """The same, and the metrics of slices and of the summaries over slices."""
        metrics: dict[MetricName, Metric] = {}
        for record in finished_evaluations(self.result):
            for name, metric in metrics_of(record):
                metrics.setdefault(name, metric)
        return metrics

    def frame(self) -> "pandas.DataFrame":
        """Return a tidy table, one row a metric: model, task, data, metric, value, low, high, chance, n, unit, ...

        Values and bounds are in the metric's unit (``fraction`` is in [0, 1]); an undefined value is NaN, with a
        reason.
        """
        return metrics_frame(self.result)

    def evaluation(self, name: EvaluationRecord | str) -> EvaluationRecord:
        """Return the finished evaluation of a task, or of ``task@data``. If one was made twice, it is the first.

        Args:
            name: a task such as ``"retrieval"``, or ``"retrieval@coco"`` where it was made on several data sets; or the
                record itself.

        Raises:
            UsageError: the run has none, or several of that task.
            ClipbenchError: it was not measured.
        """
        if not isinstance(name, str):
            return name
        task, data = split_evaluation(name)
        evaluations = self.result.evaluations
        task_name = task.strip().lower().replace("_", "-")
        records = [record for record in evaluations if record.task == task_name and data in ("", record.dataset.id)]
        if not records:
            names = dict.fromkeys(record.name if data else record.task for record in evaluations)
            raise UsageError(f"the run has no evaluation '{name}': {did_you_mean(name, names)}")
        if len({record.dataset.id for record in records}) > 1:
            raise UsageError(f"the run has '{name}' on several data sets: name one, as '{records[0].name}'")
        done = next((record for record in records if record.status == "ok"), None)
        if done is None:
            raise ClipbenchError(f"{records[0].name} was not measured: {records[0].reason}")
        return done

    def has_samples(self, evaluation: EvaluationRecord) -> bool:
        """Return whether the run keeps samples of an evaluation, False if its whole folder of samples was removed.

        Args:
            evaluation: the record, from ``result.evaluations``.
        """
        parts = Path(evaluation.files.get("samples", "")).parts
        return len(parts) < 2 or reading.is_folder(self.folder / parts[0])

    def samples(self, evaluation: EvaluationRecord | str) -> "pandas.DataFrame":
        """Return the table of an evaluation, one row per sample: ``sample_id`` and the columns behind its metrics.

        Args:
            evaluation: a task, ``task@data``, or the record.

        Raises:
            UsageError: the run has no such evaluation.
            ClipbenchError: it was not measured, or its table is damaged.
        """
        return self._table(self.evaluation(evaluation), "samples")

    def neighbours(self, evaluation: EvaluationRecord | str) -> "pandas.DataFrame":
        """Return the texts or images that were nearest to the worst failures of an evaluation, the nearest first.

        A row has ``sample_id``, ``rank`` from 1, ``text``, ``image`` (a content hash, empty for none), ``cosine`` and
        ``is_right``; ``label_set`` where there are several. It is empty where the task keeps none.

        Args:
            evaluation: a task, ``task@data``, or the record.

        Raises:
            UsageError: the run has no such evaluation.
            ClipbenchError: it was not measured, or the table is damaged.
        """
        import pandas

        record = self.evaluation(evaluation)
        if "neighbours" not in record.files:
            return pandas.DataFrame(columns=["sample_id", "rank", "text", "image", "cosine", "is_right"])
        return self._table(record, "neighbours")

    def result_lists(self, evaluation: EvaluationRecord | str) -> "pandas.DataFrame":
        """Return the first results of each query, a row per result, by query and then by rank.

        A row has ``side`` (``text`` or ``image``, what the query is, or ``query`` in judged data), the names ``query``
        and ``result``, ``score``, equal for results in no order, and ``depth``, the number of results that a list may
        have.

        Args:
            evaluation: a task, ``task@data``, or the record.

        Raises:
            UsageError: the run has no such evaluation, or keeps no lists of it.
            ClipbenchError: it was not measured, or the table is damaged.
        """
        record = self.evaluation(evaluation)
        if "lists" not in record.files:
            raise UsageError(f"run {self.folder} keeps no result lists: run it again with {option('keep_lists', 100)}")
        table = self._table(record, "lists")
        if missing := {"side", "query", "result", "score", "depth"} - {*table}:
            raise ClipbenchError(
                f"the lists of {record.name} in {self.folder} have no column {min(missing)}: the run is damaged, make"
                " it again"
            )
        return table

    def list_depth(self, evaluation: EvaluationRecord) -> int:
        """Return the number of results that the kept lists of an evaluation may have, 0 if none are kept.

        Args:
            evaluation: the record, from ``result.evaluations``.
        """
        if "lists" not in evaluation.files:
            return 0
        return int(self.result_lists(evaluation)["depth"].max())

    def slices(self) -> "pandas.DataFrame":
        """Return a row per group and metric. Summaries are the groups ``(mean)``, ``(worst)`` and ``(distance)``.

        It is empty where the data has no groups: name their columns as the data option ``group``.
        """
        return slices_frame(self.result)

    def slice_samples(self, evaluation: EvaluationRecord, grouping: str) -> "pandas.DataFrame":
        """Return the samples of all slices of a grouping, with the slice of each in the column ``group:NAME``.

        Args:
            evaluation: the record, from ``result.evaluations``.
            grouping: name of the grouping, such as ``"language"``.

        Raises:
            ClipbenchError: the table is damaged.
        """
        name = f"slices/{grouping}" if evaluation.slices[grouping].of not in ("images", "queries") else "samples"
        return self._table(evaluation, name)

    def failures(self, evaluation: EvaluationRecord | str, n: int = 20) -> "pandas.DataFrame":
        """Return the samples that the model got wrong, the worst first, at most ``n``; ``samples`` has all their
        columns.

        The second column says how far a sample is from success: ``cosine_margin``, the score of the right answer minus
        the best wrong one, or for retrieval ``rank_margin``, 1.5 minus the rank. 0 is a tie, which is not a success. If
        both are among the samples, it is ``margin``, and ``unit`` follows.

        Args:
            evaluation: a task, ``task@data``, or the record.
            n: the most samples to return, an integer from 1. 20 by default.

        Raises:
            UsageError: the run has no such evaluation.
            ClipbenchError: its samples have no margin, since the task has no right and wrong answers.
        """
        record = self.evaluation(evaluation)
        table = self.samples(record)
        if n < 1:
            raise UsageError(f"n is {n}: expected 1 or more")
        if "margin" not in table.columns:
            raise ClipbenchError(f"samples of {record.name} have no margin: the task has no right and wrong answers")
        failed = table[table["margin"] <= 0].sort_values("margin", kind="stable").head(n)
        if not failed.empty:
            failed = failed.dropna(axis=1, how="all")
        names = map(str, failed.select_dtypes(["object", "string"]))
        texts = [name for name in names if name not in ("sample_id", "cluster")]
        words = [name for name in texts if name.rpartition("_")[2] != "image" and (failed[name] != "").any()]
        cosines = [name for name in ("target_cosine", "predicted_cosine") if name in failed]
        table = failed[["sample_id", "margin", *words[:N_WORDS], *cosines]].reset_index(drop=True)
        units = margin_units(failed)
        if len({*units}) > 1:
            table.insert(2, "unit", units)
            return table
        return table.rename(columns={"margin": "_".join(filter(None, [*units[:1], "margin"]))})

    def plot(  # noqa: PLR0913  the options of the command, each by its name
        self,
        name: str,
        *,
        data: str | None = None,
        width: str = "column",
        projection: str | None = None,
        baseline: str | None = None,
        seed: int = 0,
        format: Literal["png"] | None = None,
    ) -> "Figure":
        """Return a figure for papers, which a notebook shows and ``savefig`` writes.

        Args:
            name: such as ``"gap"`` or ``"cones"``. ``clipbench plot --list`` has all.
            data: name of the data set, if the run has the task on several. None (the default) if it has one.
            width: ``"column"`` (the default), ``"full"`` or a number of cm.
            projection: projection of ``gap``: ``"pca"``, ``"umap"``, ... None (the default) is ``"pca"``.
            baseline: reference models of ``robustness``: ``"standard"`` or ``"open_clip"``. None (the default) is
                ``"standard"``.
            seed: an integer from 0 (the default), the seed of a projection that draws at random.
            format: None (the default), or ``"png"`` for slides: ``savefig("gap.png")`` then writes twice the pixels,
                600 per inch.

        Raises:
            ClipbenchError: no such plot, or the run lacks what it draws.
        """
        plots = plotter()
        options = plots.PlotOptions(
            data=data, width=width, projection=projection, baseline=baseline, seed=seed, format=format
        )
        return plots.draw_plot(name, [self], options)

    def report(self, path: str | os.PathLike[str]) -> Path:
        """Write the HTML report, one file that opens anywhere, and return its path.

        Args:
            path: the file, which is replaced if it exists.
        """
        report_writer()([self], Path(path))
        return Path(path)

    def save(self, folder: str | os.PathLike[str]) -> "Run":
        """Copy the run into a new folder, whole or not at all, and return it from there.

        Args:
            folder: a folder that does not exist or is empty.

        Raises:
            UsageError: there is something already: results are never overwritten.
            ClipbenchError: a link in the run leads out of its folder: a file of another place would be copied.
        """
        leaving = next((path for path in sorted(self.folder.rglob("*")) if not is_inside(path, self.folder)), None)
        if leaving is not None:
            raise ClipbenchError(f"{leaving} is a link that leads out of the run: remove it to copy the run")
        target = Path(folder)
        half = target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}.half")
        if reading.is_there(target) and (not reading.is_folder(target) or reading.entries(target, UsageError)):
            raise UsageError(f"{target} already exists: results are never overwritten, name another folder")
        try:
            with write_errors(target):
                shutil.copytree(self.folder, half)
                os.replace(half, target)
        finally:
            shutil.rmtree(half, ignore_errors=True)
        return Run(target, self.result)

    def __str__(self) -> str:
        return "\n".join([*opening_lines(self.result.evaluations), as_text(scorecard(self.result), width=100)])

    def _repr_html_(self) -> str:
        return as_html(scorecard(self.result))

    def arrays(self, evaluation: EvaluationRecord) -> dict[str, np.ndarray]:
        """Return the arrays that an evaluation's figures need, empty when it has none.

        Args:
            evaluation: the record, from ``result.evaluations``.
        """
        if "arrays" not in evaluation.files:
            return {}
        with self._file(evaluation, "arrays") as file, np.load(file, allow_pickle=False) as archive:
            return dict(archive)

    def _table(self, evaluation: EvaluationRecord, name: str) -> "pandas.DataFrame":
        import pandas

        with self._file(evaluation, name) as file:
            table = pandas.read_parquet(file)
            if "sample_id" in table and not table["sample_id"].map(pandas.api.types.is_hashable).all():
                raise ValueError("a sample_id is a list or an object, expected text")
            return table

    @contextmanager
    def _file(self, evaluation: EvaluationRecord, kind: str) -> Iterator[BinaryIO]:
        """Yield the open file of a table or of arrays, and raise ClipbenchError if the block cannot read it.

        A run from elsewhere may name any file of this machine.
        """
        path = self.folder / evaluation.files.get(kind, f"({kind} of {evaluation.name})")
        if not is_inside(path, self.folder):
            raise ClipbenchError(
                f"run {self.folder} names {path} for the {kind} of {evaluation.name}, which is outside its folder, and"
                " is not read: the run is damaged, or was tampered with"
            )
        if not reading.is_file(path):
            all_arrays = f"run again with {option('keep_arrays', True)} to keep all arrays"
            again = all_arrays if kind == "arrays" else "make it again"
            raise ClipbenchError(f"run {self.folder} lacks {path.name}: the run is damaged, {again}")
        try:
            with reading.open_file(path, inside=self.folder) as file:
                yield file
        except Exception as error:  # numpy, zipfile, pyarrow and pandas raise many kinds of error for a damaged file
            cause = " ".join(str(getattr(error, "strerror", None) or error).split())
            raise ClipbenchError(
                f"cannot read the {kind} of {evaluation.name} in {self.folder} ({cause}): the run is damaged, "
                "make it again"
            ) from error


def metrics_of(record: EvaluationRecord) -> Iterator[tuple[MetricName, Metric]]:
    """Yield the metrics of an evaluation and of its slices, by their full names."""
    for name, metric in record.metrics.items():
        yield MetricName(record.name, name), metric
    for grouping, slices in record.slices.items():
        for group, metrics in slices.by_group.items():
            for name, metric in metrics.items():
                yield MetricName(record.name, name, grouping, group), metric


def write_result(result: Result, folder: Path) -> None:
    """Write ``result.json``, atomically: it is there whole or not at all."""
    # Half a surrogate pair, as the name of a file may hold, is written as JSON's own escape of it.
    content = f"{strict_json(result, indent=1)}\n".encode(errors="backslashreplace")
    write_atomic({folder / "result.json": content}, is_durable=True)


def check_record(record: Result | EvaluationRecord, label: str) -> None:
    """Raise ClipbenchError unless a record can be written and read again, as a plug-in may return anything.

    Args:
        label: the record, for the message.
    """
    try:
        # An evaluation lies so deep in a result.
        ((data,),) = reading.decode_json(f"[[{strict_json(record)}]]", is_text=False)
        parse_record(type(record), data)
    except (TypeError, ValueError, RecursionError) as error:
        expected = "expected texts and numbers of Python, neither infinite nor NaN, in lists and objects of few levels"
        raise ClipbenchError(f"{label} cannot be recorded: {error}; {expected}") from error
    except SchemaError as error:
        raise ClipbenchError(f"{label} cannot be recorded: {error}") from error


def read_run(path: str | os.PathLike[str]) -> Run:
    """Return the run in a folder, or in the folder of a ``result.json``.

    The last part of the path may be the name by which a table calls a run of that folder, such as ``step-18``.

    Args:
        path: the run folder, its ``result.json``, or a folder of several runs and a name in it.

    Raises:
        UsageError: there are runs in the folder, and the name fits none of them, or several.
        ClipbenchError: there is no result, it is not JSON, or a newer clipbench wrote it.

    Example:
        >>> import tempfile
        >>> from clipbench import run, vectors
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     saved = run(vectors(images=np.eye(3), texts=np.eye(3)), "retrieval").save(f"{folder}/mine")
        ...     read_run(f"{folder}/mine")
        <run of vectors: retrieval@embeddings>

    See Also:
        run: make a run.
    """
    file, data = _read(Path(path))
    return Run(file.parent, _result(data, file))


def read_headlines(path: Path) -> Run:
    """Return the run in a folder with only the headline metrics of its evaluations, for a list of many runs.

    Args:
        path: of the folder.

    Raises:
        ClipbenchError: as ``read_run``.
    """
    file, data = _read(path)
    if isinstance(data, dict) and isinstance(data.get("evaluations"), list):
        data["evaluations"] = [
            _headlines_only(record) if isinstance(record, dict) else record for record in data["evaluations"]
        ]
    return Run(file.parent, _result(data, file))


def _headlines_only(record: dict[str, Any]) -> dict[str, Any]:
    light_record = {key: value for key, value in record.items() if key not in ("baselines", "curves", "slices")}
    metrics = record.get("metrics")
    if isinstance(metrics, dict):
        marked = {
            name: metric for name, metric in metrics.items() if isinstance(metric, dict) and metric.get("is_headline")
        }
        light_record["metrics"] = marked or dict(list(metrics.items())[:1])
    return light_record


def _read(path: Path) -> tuple[Path, object]:
    path = run_folder(path)
    file = path / "result.json" if reading.is_folder(path) else path
    if not reading.is_there(file):
        if reason := failure_reason(file.parent):
            raise NotMeasured(f"{file.parent} was not measured: {reason}")
        raise ClipbenchError(
            f"no result.json in {path}{reading.why_not_there(file)}: expected a folder that `clipbench run` finished"
            f"{runs_nearby(path)}"
        )
    if not is_inside(file, file.parent):
        raise ClipbenchError(
            f"{file} is a link that leads out of its folder, and is not followed: give the folder of the run"
        )
    text = reading.read_text(file, ClipbenchError, inside=file.parent)
    return file, reading.parse_json(
        text, str(file), ClipbenchError, advice="the run is damaged, make it again", is_text=False
    )


def find_runs(paths: Sequence[Path], note: Callable[[str], None] = lambda _: None) -> list[Path]:
    """Return the run folders that paths name: runs themselves, and the runs inside the folder of several, each once.

    A path may end with the name by which a table calls a run of its folder (``run_folder``).

    If there are several paths, as a pattern of the shell gives them, paths that exist and hold no run are left out. A
    single path, or a path that does not exist, is returned as it is: reading it says what is wrong. A link out of the
    folder of several runs is left out too.

    Args:
        note: is called with a sentence on what is left out.
    """

    def by_numbers(path: Path) -> list[tuple[int, str]]:  # step-2 comes before step-10
        key = []
        for part in re.split(r"(\d+)", str(path)):
            key.append((int(part), "") if part.isdecimal() else (-1, part))
        return key

    folders: list[Path] = []
    for path in map(run_folder, paths):
        is_run = reading.is_file(path / "result.json")
        inside = [] if is_run else sorted(reading.matching(path, "*/result.json"), key=by_numbers)
        for file in [file for file in inside if not is_inside(file, path)]:
            note(f"{file.parent} is left out: it is a link that leads out of {path}. Name the run itself")
            inside.remove(file)
        is_other = not is_run if reading.is_folder(path) else path.suffix != ".json"
        if inside:
            folders += [file.parent for file in inside]
        elif is_other and reading.is_there(path) and len(paths) > 1:
            note(f"{path} is left out: it holds no run")
        else:
            folders.append(path)
    return _without_repetition(folders, note) or list(paths)


def _without_repetition(folders: Sequence[Path], note: Callable[[str], None]) -> list[Path]:
    """Return each folder once. A run that is given twice would be shown as two models."""
    by_place: dict[Path, Path] = {}
    for folder in folders:
        place = (folder.parent if folder.name == "result.json" else folder).resolve()
        if place in by_place:
            also = "" if by_place[place] == folder else f", also as {by_place[place]}"
            note(f"{folder} is given twice{also}: it is taken once")
        else:
            by_place[place] = folder
    return list(by_place.values())


def all_evaluations(runs: Iterable[Run]) -> list[EvaluationRecord]:
    """Return the evaluations of some runs, finished or not."""
    return [record for run in runs for record in run.result.evaluations]


def runs_of(sources: Iterable[Run | str | os.PathLike[str]]) -> list[Run]:
    """Return runs, of which each is given itself or by its folder.

    Raises:
        ClipbenchError: as by ``read_one_run``.
    """
    return [source if isinstance(source, Run) else read_one_run(Path(source)) for source in sources]


def read_one_run(path: Path) -> Run:
    """Return the run in a folder.

    Raises:
        ClipbenchError: there is no run, or it is damaged or newer.
        UsageError: it is the folder of several runs.
    """
    path = run_folder(path)
    inside = [] if reading.is_file(path / "result.json") else reading.matching(path, "*/result.json")
    if inside:
        n = counted(len(inside), "run")
        raise UsageError(f"{path} is a folder of {n}, expected one run, such as {inside[0].parent}")
    return read_run(path)


def labels(runs: Sequence[Run]) -> list[str]:
    """Return a distinct name for each run: the model as it was asked for, with the folder where that is not enough."""
    return distinct_labels([model_name(run) for run in runs], [run.folder.name for run in runs])


def model_name(run: Run) -> str:
    """Return how the model was asked for."""
    return str(run.result.model.get("ref") or "unnamed model")


def _result(data: object, file: Path) -> Result:
    version = data.get("schema_version") if isinstance(data, dict) else None
    if not isinstance(version, str) or not re.fullmatch(r"\d{1,4}\.\d{1,4}", version):
        raise ClipbenchError(
            f"{file} has schema version {reading.shown(version)}, so it is not a clipbench result: expected a folder"
            " that `clipbench run` finished"
        )
    (major, minor), (own_major, own_minor) = (map(int, text.split(".")) for text in (version, SCHEMA_VERSION))
    if major > own_major:
        raise ClipbenchError(
            f"{file} has schema version {version}, expected at most {SCHEMA_VERSION}: update clipbench to read it"
        )
    try:
        result = parse_record(Result, data)
        parse_record(ModelRecord, result.model, "model.")
        unknown = list(islice(unknown_fields(Result, data), 4))
        if unknown and (major, minor) <= (own_major, own_minor):
            raise SchemaError(f"schema {version} has no field {unknown[0]}")
        if unknown:
            names = ", ".join([*unknown[:3], *(["..."] if unknown[3:] else [])])
            warn_left_out(f"{file} is of schema {version}, and this clipbench reads {SCHEMA_VERSION}: left out {names}")
        for number, evaluation in enumerate(result.evaluations):
            for name, curve in evaluation.curves.items():
                sizes = [len(side) for side in (curve.x, curve.y, curve.low, curve.high) if side is not None]
                if len(set(sizes)) > 1:
                    raise SchemaError(
                        f"evaluations[{number}].curves.{name} has {' and '.join(map(str, sizes))} numbers, "
                        "expected equal counts"
                    )
        return result
    except SchemaError as error:
        raise ClipbenchError(f"{file} is not a clipbench result ({error}): {_again(data)}") from error


def _again(data: object) -> str:
    """Return the advice to measure again, with the command of a result, and another folder, if it names one."""
    command = data.get("command") if isinstance(data, dict) else None
    if not isinstance(command, list) or command[:2] != ["clipbench", "run"]:
        return "make the run again"
    words = [str(word) for word in command]
    for index, word in enumerate(words):  # runs are never overwritten
        flag, _, value = word.partition("=")
        if words[index - 1] == "--out" or (flag == "--out" and value):
            words[index] = f"{word.rstrip('/')}-again"
    return f"make the run again: {shlex.join(words)}"
