"""The models that a session measures, and the folder of each: free for a run, or with the run that was asked for."""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import NoReturn

from clipbench.errors import ClipbenchError, UsageError, option
from clipbench.evaluation.datasets import Datasets
from clipbench.evaluation.measure import describe
from clipbench.evaluation.plan import Request, RunOptions, task_class
from clipbench.files import TEMPORARY_SUFFIX, remove_abandoned
from clipbench.models import holds_samples
from clipbench.models.checkpoints import is_pattern, matching_checkpoints
from clipbench.models.options import LoadOptions
from clipbench.models.protocol import Embedder, SearchEmbedder, capability
from clipbench.models.reference import check_references, resolve
from clipbench.results.failure import FAILED
from clipbench.results.matching import match
from clipbench.results.numbers import counted
from clipbench.results.record import EvaluationRecord, finished_evaluations
from clipbench.results.run import Run, read_run
from clipbench.results.run_names import distinct_names
from clipbench.untrusted.reading import entries, is_file, is_folder, is_there

RESULT, REPORT = "result.json", "report.html"
OUR_FOLDERS = {"samples", "arrays", "thumbs"}
"""Folders that an interrupted run may have left in its own, next to an incomplete result or report."""


@dataclass(frozen=True)
class Target:
    """A model to be measured."""

    reference: str
    name: str
    """The name that distinguishes it from other models."""
    folder: Path
    may_be_finished: bool = False
    """Reuse the run in the folder, if it is the one that is asked for."""
    embedder: Embedder | None = None
    """The model itself, if it is in memory. The reference is then only its name."""

    @property
    def brings_samples(self) -> bool:
        """True where vectors come with their own samples, so that no other data can be asked for."""
        return holds_samples(self.reference) if self.embedder is None else self.embedder.dataset is not None


@dataclass(frozen=True)
class Targets:
    """The models of a session."""

    out: Path
    """Parent of their run folders, or the folder of the only run."""
    models: Sequence[Target]
    are_series: bool = False
    """True if a pattern named them: then one line is printed for each."""
    are_several: bool = False
    """True where ``out`` is a parent."""

    def check_references(self, load: LoadOptions) -> None:
        """Raise UsageError if no reference means a model, two mean the same one, or none needs the architecture that is
        given: a slip should not be found after hours of downloads."""
        references = [target.reference for target in self.models if target.embedder is None]
        check_references(references, load)
        errors: list[UsageError] = []
        for reference in references:
            try:
                resolve(reference.strip(), load)
            except UsageError as error:
                errors.append(error)
        if errors and len(errors) == len(references):
            raise errors[0]


def find_targets(references: Sequence[str], out: Path | None, *, writes_reports: bool = True) -> Targets:
    """Return the models that references and patterns stand for, each once, with folders that are free to be written.

    Each of several models has a folder of its own name, so that the same command finds again what it has finished. A
    single model's run is finished once its report is there as well.

    Raises:
        UsageError: a pattern matches nothing, or a folder holds something else.
    """
    stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
    distinct = list(dict.fromkeys(references))
    if len(distinct) < len(references):
        repeated = next(reference for reference in distinct if references.count(reference) > 1)
        raise UsageError(f"{option('model', repeated)} is given {references.count(repeated)} times: remove all but one")
    if len(distinct) == 1 and not is_pattern(distinct[0]):
        folder = out or Path("runs") / f"{stamp}-{slug(distinct[0])}"
        is_finished = may_be_finished(folder, writes_reports=writes_reports)
        return Targets(folder, [Target(distinct[0], distinct[0], folder, may_be_finished=is_finished)])
    parent = out or Path("runs") / stamp
    models = _expand_patterns(distinct)
    folders = distinct_names([slug(name) for _, name in models], ignores_case=True)
    targets = [
        Target(reference, name, parent / folder, may_be_finished=True)
        for (reference, name), folder in zip(models, folders, strict=True)
    ]
    for target in targets:
        if not has_results(target.folder):
            check_folder(target.folder)
    return Targets(parent, targets, any(map(is_pattern, distinct)), are_several=True)


def may_be_finished(folder: Path, *, writes_reports: bool) -> bool:
    """Return whether the folder of a single run holds a run that only lacks its report, and so can be reused.

    Raises:
        UsageError: it holds something else, or a run with its report.
    """
    if writes_reports and is_file(folder / RESULT) and not is_there(folder / REPORT):
        return True
    check_folder(folder)
    return False


def check_folder(folder: Path) -> None:
    """Raise UsageError when a run cannot be written there without touching what is not its own."""
    if is_file(folder):
        raise UsageError(f"{option('out', folder)} is a file: expected a new folder")
    if has_results(folder):
        raise UsageError(
            f"{option('out', folder)} already holds a run: results are never overwritten, name another folder"
        )
    names = {entry.name for entry in entries(folder, UsageError)} if is_folder(folder) else set()
    names -= OUR_FOLDERS | {FAILED} | ({RESULT, REPORT} if RESULT in names else set())
    foreign = sorted(name for name in names if not (name.startswith(".") and name.endswith(TEMPORARY_SUFFIX)))
    if foreign:
        raise UsageError(f"{option('out', folder)} holds other files ({foreign[0]}): expected a new or empty folder")


def has_results(folder: Path) -> bool:
    """Return whether a folder holds a run with an evaluation that was measured, true if the run is damaged."""
    if not is_there(folder / RESULT):
        return False
    try:
        return bool(finished_evaluations(read_run(folder).result))
    except ClipbenchError:
        return True


def clear_leftovers(folder: Path) -> None:
    """Remove what an interrupted or failed run left in a folder that ``check_folder`` has allowed to use.

    Its thumbnails go too: the one that was written last may be cut off.
    """
    if is_file(folder / RESULT):
        (folder / REPORT).unlink(missing_ok=True)  # first: without its result, a report is a foreign file
        (folder / RESULT).unlink()
    (folder / FAILED).unlink(missing_ok=True)
    remove_abandoned(folder)
    for subfolder in (folder / name for name in OUR_FOLDERS):
        for path in (subfolder, *subfolder.glob("*/")):
            remove_abandoned(path)
    for image in (folder / "thumbs").rglob("*.webp"):
        if re.fullmatch(r"[0-9a-f]{32}", image.stem):
            image.unlink(missing_ok=True)


def finished_run(
    embedder: Embedder,
    requests: Sequence[Request],
    folder: Path,
    options: RunOptions,
    datasets: Datasets,
    *,
    note: Callable[[str], None] = lambda _: None,
) -> Run | None:
    """Return the run in a folder if it matches the requests, or None if the folder holds no results.

    Model fingerprint and seed have to be equal, the evaluations the same (``results.matching``), and all arrays there
    if all are to be kept.

    Args:
        note: called with each difference that does not matter, such as the data's revision where the samples are equal.

    Raises:
        UsageError: the folder holds another run. The message says how it differs.
    """
    if not has_results(folder):
        return None
    run = read_run(folder)
    result, left_out = run.result, run.result.left_out

    def refuse(difference: str) -> NoReturn:
        raise UsageError(
            f"{folder} holds a finished run of {difference}: results are never overwritten, name another"
            f" {option('out')} or move the folder away"
        )

    if result.model.get("fingerprint") != embedder.info.fingerprint:
        refuse("other weights, or at another precision")
    if result.seed != options.seed:
        refuse(f"seed {result.seed}")
    for missing in _missing_content(run, embedder, options):
        refuse(missing)
    requests = [request for request in requests if not (request.is_optional and request.task in left_out)]
    if len(result.evaluations) != len(requests):
        refuse(f"other tasks ({', '.join(record.name for record in result.evaluations)})")
    for request, record in zip(requests, result.evaluations, strict=True):
        comparison = match(record, describe(request, embedder, datasets))
        if not comparison.is_same:
            refuse(f"{record.name} with other {comparison.names} than requested now")
        for difference in comparison.notes:
            note(f"{record.name}: {difference}")
    return run


def _missing_content(run: Run, embedder: Embedder, options: RunOptions) -> Iterator[str]:
    """Yield what a finished run kept less of than the options ask for: arrays, and results per query."""
    for record in run.result.evaluations:
        if options.keep_arrays and "arrays" in record.files and not record.has_all_rows:
            yield f"a sample of the arrays, made without {option('keep_arrays', True)}"
        depth = run.list_depth(record)
        if _can_make_lists(embedder, record) and depth < options.keep_lists:
            kept = f"{counted(depth, 'result')} per query" if depth else "no result lists"
            yield f"{record.name} that kept {kept}, made without {option('keep_lists', options.keep_lists)}"


def _can_make_lists(embedder: Embedder, record: EvaluationRecord) -> bool:
    """Return whether an evaluation has result lists that its run keeps only when it is told to."""
    is_finished = capability(embedder, SearchEmbedder) is not None
    return record.status == "ok" and task_class(record.task).takes_lists and not is_finished


def slug(text: str) -> str:
    """Return a text as a safe file name.

    Example:
        >>> slug("open_clip:ViT-B-32/openai")
        'open_clip-ViT-B-32-openai'
    """
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-.")[-80:] or "unnamed"


def _expand_patterns(references: list[str]) -> list[tuple[str, str]]:
    """Return references and names. With several patterns, a name is the full path."""
    n_patterns = sum(map(is_pattern, references))
    expanded: dict[str, tuple[str, str]] = {}
    for reference in references:
        if not is_pattern(reference):
            expanded.setdefault(reference, (reference, reference))
            continue
        for member in matching_checkpoints(reference):
            name = member.name if n_patterns == 1 else member.reference
            expanded.setdefault(member.reference, (member.reference, name))
    return list(expanded.values())
