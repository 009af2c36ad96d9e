"""The functions of ``import clipbench``: measure a model, compare two, load models and data."""

import operator
import os
import weakref
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, nullcontext, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, SupportsIndex, TypeAlias, overload

from clipbench.choosing.judgement_log import read_log
from clipbench.choosing.make import PoolOptions, make_pool, read_queries
from clipbench.choosing.pool import Pool, read_pool
from clipbench.choosing.verdict import Choice, choose_model
from clipbench.comparison.chain import Chain
from clipbench.comparison.chain import compare_chain as chain_of_runs
from clipbench.comparison.compare_runs import compare as compare_results
from clipbench.comparison.compare_runs import metrics_of, open_side
from clipbench.comparison.gate import check_gate
from clipbench.comparison.gate_rules import Gate, Tolerance
from clipbench.comparison.model_table import table_maker
from clipbench.comparison.records import CompareOptions
from clipbench.data import DataOptions, Dataset
from clipbench.data.dataset_loading import load_data as load_reference
from clipbench.data.memory import dataset_in_memory
from clipbench.errors import KINDS, UsageError
from clipbench.evaluation.diagnosis import Diagnosis, DoctorOptions, diagnose
from clipbench.evaluation.explain_runs import explain_runs
from clipbench.evaluation.output_folders import REPORT, RESULT, Target, Targets, may_be_finished
from clipbench.evaluation.plan import RunOptions, task_class
from clipbench.evaluation.progress import Progress
from clipbench.evaluation.score_causes import Expectation
from clipbench.evaluation.session import Session, SessionOptions
from clipbench.evaluation.vector_comparison import (
    ComparisonOptions,
    VectorComparison,
    against_load_options,
    compare_vectors,
)
from clipbench.files import default_root, temporary_folder
from clipbench.hub import cache_only
from clipbench.models import reference as model_references
from clipbench.models.adapters.python import embedder_of
from clipbench.models.checkpoints import is_pattern
from clipbench.models.encoding.image_hashes import ImageHashes
from clipbench.models.encoding.loading import load_embedder
from clipbench.models.introspection.price import price_in_subprocess
from clipbench.models.options import LoadOptions
from clipbench.models.protocol import Embedder, Model
from clipbench.results.export.formats import Exported, ListChoice
from clipbench.results.export.formats import export as export_runs
from clipbench.results.other_tools import Values
from clipbench.results.record import finished_evaluations
from clipbench.results.run import Run, find_runs
from clipbench.untrusted.label_files import read_label_file

if TYPE_CHECKING:
    import datasets
    import pandas

    from clipbench.comparison.explanation_records import Explanation
    from clipbench.comparison.records import Comparison
    from clipbench.models.adapters.python import Encoders
    from clipbench.models.adapters.torch_module import TorchEncoders

    ModelLike: TypeAlias = str | os.PathLike[str] | Model | Embedder | Encoders | TorchEncoders
    DataLike: TypeAlias = (
        str
        | os.PathLike[str]
        | Dataset
        | pandas.DataFrame
        | datasets.Dataset
        | datasets.DatasetDict
        | Sequence[tuple[object, str | Sequence[str]]]
        | Mapping[str, Sequence[object]]
    )


PATHS = (str, os.PathLike)
"""Types of references and paths, as opposed to models and data in memory."""


def run(  # noqa: PLR0913  the options of the command, each by its name
    model: "ModelLike",
    tasks: str | Sequence[str] = "all",
    *,
    data: "DataLike | None" = None,
    suite: str = "standard",
    out: str | os.PathLike[str] | None = None,
    seed: int = 0,
    limit: int | None = None,
    device: str = "auto",
    precision: str = "fp32",
    batch_size: int | None = None,
    workers: int | None = None,
    arch: str | None = None,
    trust_remote_code: bool = False,
    model_options: Mapping[str, str] | None = None,
    data_options: Mapping[str, str] | None = None,
    data_root: str | os.PathLike[str] | None = None,
    prompts: str | os.PathLike[str] | None = None,
    on_bad_image: Literal["error", "skip"] = "error",
    allow_partial: bool = False,
    keep_arrays: bool = False,
    keep_lists: int = 0,
    thumbnails: int = 200,
    yes: bool = False,
    offline: bool = False,
    preflight: bool = True,
    log: str | Sequence[str] = (),
    progress: Progress | None = None,
) -> Run:
    """Measure a model on tasks, as ``clipbench run`` does. The options have the names of the command's options.

    Args:
        model: a reference (``"tiny"``, ``"vit-b-32"``, ``"hf:ORG/REPO"``, a path); the result of ``torch_model``,
            ``vectors`` or ``load_model``, or any object with ``encode_images(images)`` and ``encode_texts(texts)``,
            which get lists of RGB PIL images and of texts and return float vectors, (n, dim). It may have
            ``logit_scale``, ``logit_bias``, ``context_length``, ``count_tokens(texts)``, ``name`` and ``fingerprint``.
            Without a fingerprint, its vectors are not stored for a later run. ``encode_audio(items)``, and
            ``encode_...`` of any other name, encodes a modality of that name. An object with two modalities does not
            need images or texts.
        tasks: ``"all"`` (the default), which is all tasks of the suite that the data allows (``Progress.left_out`` is
            called with the others), or names such as ``["zero-shot", "retrieval@photos/captions.csv"]``.
        data: the data of all tasks, instead of the suite's data (None, the default): a reference, a pandas frame with
            columns image, caption and label, a Hugging Face data set, or (image, caption) pairs. Images are paths, PIL
            images or bytes. For several modalities, a dictionary with a list of items for each, such as ``{"audio":
            paths, "text": words}``, and ``audio_to_text``, rows, where item i does not belong to item i, or a frame,
            with the columns in ``data_options={"modalities": "audio,text"}``. Items are handed to their encoder as
            they are.
        suite: ``"standard"`` (the default, the papers' benchmarks), ``"quick"`` (fixed subsets of small data),
            ``"datacomp"`` (38 data sets and their average), ``"languages"`` (captions and classes in many),
            ``"scenes"`` (generated, offline) or a TOML file.
        out: a new folder for the run, with ``report.html``. With None (the default), the run is in a temporary folder
            that lasts as long as the returned object. ``Run.save`` keeps it.
        seed: an integer from 0 (the default), the seed of subsets and of all random draws. The same seed gives the same
            numbers.
        limit: number of images to score, a seeded, stratified subset. None (the default) scores all.
        device: ``"auto"`` (the default) or a torch device, such as ``"cuda:0"``. Only for references.
        precision: number format of the towers: ``"fp32"`` (the default), ``"bf16"`` or ``"fp16"``. Vectors are float32.
            Only for references.
        batch_size: number of images or texts per batch. None (the default) is 64, and 256 on a CUDA device.
        workers: number of processes that decode images. 0 decodes in this process. None (the default) is the number of
            cores minus 1.
        arch: open_clip architecture of a bare checkpoint file, such as ``"ViT-B-32"``; ``"ViT-B-32,mine.pt"`` as the
            model names both. None (the default) for references that know theirs.
        trust_remote_code: True runs the code that comes with a model whose reference names its commit,
            ``hf:ORG/REPO@COMMIT``. False by default.
        model_options: options of the model as texts, such as ``{"context": "248"}``. None (the default) for none.
        data_options: columns and split of the data as texts, such as ``{"caption": "title", "split": "test"}``. None
            (the default) for none.
        data_root: folder that holds data sets by name. None (the default) is the current folder.
        prompts: file with prompts for zero-shot. None (the default) takes the prompts of the data.
        on_bad_image: ``"error"`` (the default) stops at an image that cannot be read, ``"skip"`` leaves it out, and
            says so.
        allow_partial: True scores what is there if images or classes are missing. False by default.
        keep_arrays: True keeps all vectors in the run. False (the default) keeps a sample of 2,000 rows.
        keep_lists: results of each query of ``retrieval`` that the run keeps, for ``clipbench export --to trec``. 0 by
            default.
        thumbnails: number of small images that each evaluation keeps for reports. 200 by default.
        yes: True fetches the data sets of the catalogue that are missing. With False (the default),
            ``Progress.missing`` may decide so, once it has their sizes.
        offline: True downloads nothing. False by default.
        preflight: True (the default) makes the quick checks of ``doctor`` first. ``result.preflight`` has their
            warnings.
        log: trackers that the finished run is logged to: ``"wandb"``, ``"tensorboard"``, ``"trackio"``, ``"mlflow"``,
            or several. None of them by default.
        progress: object whose methods are called as the work goes on. Override the methods of ``Progress`` that matter,
            and set ``shows_bars`` for a bar on the terminal. None (the default) is silent.

    Returns:
        The run. An evaluation that could not be made is recorded in ``result.evaluations`` with its reason, as the
        command does. If none could be made, the first reason is raised.

    Raises:
        ClipbenchError: a name, an option, the model or the data is wrong, or nothing could be measured. The message is
            one line with a fix.

    Example:
        >>> import numpy as np
        >>> from clipbench import run, vectors
        >>> x = np.eye(4)
        >>> run(vectors(images=x, texts=x), "retrieval").metrics["retrieval@embeddings/text_retrieval_recall@1"].value
        1.0

    See Also:
        compare: two runs on the same samples.
        doctor: whether the numbers of a model can be believed.
        read_run: a run of an earlier day.
        export: runs as a table, or for other tools.
    """
    skips_bad_images = _skips_bad_images(on_bad_image)
    limit = None if limit is None else _check_integer("limit", limit, 1)
    workers = None if workers is None else _check_integer("workers", workers, 0)
    seed, thumbnails = _check_integer("seed", seed, 0), _check_integer("thumbnails", thumbnails, 0)
    trackers = [log] if isinstance(log, str) else log
    if out is None and "tensorboard" in trackers:
        raise UsageError("log='tensorboard' writes into the run folder, which is temporary here: set out to keep it")
    source, loading = _load_in_memory(data, _data_options(data_root, allow_partial, data_options))
    load = _load_options(device, precision, batch_size, arch, model_options, trust_remote_code)
    options = SessionOptions(
        tasks=[tasks] if isinstance(tasks, str) else list(tasks),
        suite=suite,
        data=source,
        prompts=None if prompts is None else Path(prompts),
        run=RunOptions(
            seed=seed,
            limit=limit,
            skip_bad_images=skips_bad_images,
            keep_arrays=keep_arrays,
            keep_lists=_check_integer("keep_lists", keep_lists, 0),
            n_thumbnails=thumbnails,
            data=loading,
            command=["clipbench.run"],
        ),
        load=load,
        workers=workers,
        checks_model=preflight,
        writes_reports=out is not None,
        fetches=True if yes else None if progress is not None else False,
        log=trackers,
    )
    with ExitStack() as stack:
        folder = stack.enter_context(temporary_folder("run")) if out is None else Path(out)
        with cache_only() if offline else nullcontext():
            run = _measure(model, folder, options, progress)
        _refuse_empty(run)
        weakref.finalize(run, stack.pop_all().close)  # a folder that is named stays
    return run


@overload
def doctor(
    model: "ModelLike",
    *,
    against: None = None,
    data: "DataLike | None" = None,
    expect: float | str | None = None,
    metric: str | None = None,
    limit: int | None = None,
    seed: int = 0,
    try_served: bool = False,
    device: str = "auto",
    precision: str = "fp32",
    batch_size: int | None = None,
    arch: str | None = None,
    trust_remote_code: bool = False,
    model_options: Mapping[str, str] | None = None,
    against_options: Mapping[str, str] | None = None,
    data_options: Mapping[str, str] | None = None,
    data_root: str | os.PathLike[str] | None = None,
    allow_partial: bool = False,
) -> Diagnosis: ...


@overload
def doctor(
    model: "ModelLike",
    *,
    against: "ModelLike",
    data: "DataLike | None" = None,
    expect: float | str | None = None,
    metric: str | None = None,
    limit: int | None = None,
    seed: int = 0,
    try_served: bool = False,
    device: str = "auto",
    precision: str = "fp32",
    batch_size: int | None = None,
    arch: str | None = None,
    trust_remote_code: bool = False,
    model_options: Mapping[str, str] | None = None,
    against_options: Mapping[str, str] | None = None,
    data_options: Mapping[str, str] | None = None,
    data_root: str | os.PathLike[str] | None = None,
    allow_partial: bool = False,
) -> VectorComparison: ...


def doctor(  # noqa: PLR0913  the options of the command, each by its name
    model: "ModelLike",
    *,
    against: "ModelLike | None" = None,
    data: "DataLike | None" = None,
    expect: float | str | None = None,
    metric: str | None = None,
    limit: int | None = None,
    seed: int = 0,
    try_served: bool = False,
    device: str = "auto",
    precision: str = "fp32",
    batch_size: int | None = None,
    arch: str | None = None,
    trust_remote_code: bool = False,
    model_options: Mapping[str, str] | None = None,
    against_options: Mapping[str, str] | None = None,
    data_options: Mapping[str, str] | None = None,
    data_root: str | os.PathLike[str] | None = None,
    allow_partial: bool = False,
) -> Diagnosis | VectorComparison:
    """Say whether a model's adapter is right and its numbers can be believed, as ``clipbench doctor`` does.

    Args:
        model: a reference, or a model in memory, as ``clipbench.run`` takes them. ``torch_model`` shows its tokenizer
            and preprocessing, so that more can be seen of it than of an object with two methods.
        against: another way to run the same weights, or vectors of the fixed inputs by their ids: are the vectors the
            same, which stage differs, and with ``data`` may both share an index? None (the default) examines one model.
        data: your own data, to be checked too, and to check the model with, as in ``clipbench.run``. None (the default)
            checks with generated inputs.
        expect: the score that you expect on the data, 52.1 (percent) or 0.521, or ``"published"``: each switch of the
            model is flipped in turn, to say which leads to it. None (the default) expects nothing.
        metric: metric of the expected score, such as ``"zero-shot/acc1"``. None (the default) is the headline of the
            task that the data allow.
        limit: number of images to score, a seeded, stratified subset. None (the default) scores all.
        seed: an integer from 0 (the default), the seed of subsets of the data.
        try_served: True tries changes of texts and images on a model behind a server too, about 20 times the requests
            of a sample of 500 images. False by default.
        device: ``"auto"`` (the default) or a torch device, as in ``clipbench.run``.
        precision: ``"fp32"`` (the default), ``"bf16"`` or ``"fp16"``, as in ``clipbench.run``.
        batch_size: number of images or texts per batch. None (the default) is 64, and 256 on a CUDA device.
        arch: open_clip architecture of a bare checkpoint file. None (the default) for references that know theirs.
        trust_remote_code: True runs the code that comes with a model whose reference names its commit. False by
            default.
        model_options: options of the model as texts, such as ``{"context": "248"}``. None (the default) for none.
        against_options: options of ``against``, as ``model_options``, also ``device``, ``precision``, ``batch_size``
            and ``arch`` where both differ. None (the default) for none.
        data_options: columns and split of the data as texts, such as ``{"split": "test"}``. None (the default) for
            none.
        data_root: folder that holds data sets by name. None (the default) is the current folder.
        allow_partial: True scores what is there if images or classes are missing. False by default.

    Returns:
        The diagnosis: ``is_healthy``, ``findings`` (check, status, what was seen, why it matters, the fix),
        ``frame()``, and ``explanation`` where a score was expected. With ``against``, the comparison: ``verdict``,
        ``is_same``, ``image`` and ``text`` (cosines), ``causes`` and ``share_index``.

    Raises:
        ClipbenchError: the model, the data or an option is wrong.

    Example:
        >>> diagnosis = doctor("tiny", device="cpu")
        >>> diagnosis.is_healthy, {finding.check: finding.status for finding in diagnosis.findings}["padding"]
        (True, 'ok')

    See Also:
        run: measure the model.
        load_model: the model itself, to look closer.
    """
    limit = None if limit is None else _check_integer("limit", limit, 1)
    seed = _check_integer("seed", seed, 0)
    if metric is not None and expect is None:
        raise UsageError("metric has no effect without expect: set expect to the score of that metric, such as 52.1")
    load = _load_options(device, precision, batch_size, arch, model_options, trust_remote_code)
    source, loading = _load_in_memory(data, _data_options(data_root, allow_partial, data_options))
    if against is not None:
        if expect is not None:
            raise UsageError("expect has no effect together with against: remove one of them")
        if try_served:
            raise UsageError("try_served has no effect together with against: remove one of them")
        compared = ComparisonOptions(data=source, loading=loading, limit=limit, seed=seed)
        return _compare_models(model, against, load, against_load_options(load, against_options or {}), compared)
    if against_options is not None:
        raise UsageError("against_options has no effect without against: remove it")
    options = DoctorOptions(
        data=source,
        loading=loading,
        expectation=None if expect is None else Expectation(str(expect), metric),
        limit=limit,
        seed=seed,
        tries_served=try_served,
    )
    with temporary_folder("store") as own_root:
        return diagnose(str(model) if isinstance(model, PATHS) else _embedder(model, load, own_root), load, options)


def _compare_models(
    model: "ModelLike",
    against: "ModelLike",
    load: LoadOptions,
    against_load: LoadOptions,
    options: ComparisonOptions,
) -> VectorComparison:
    """Return the comparison of two models, of which those in memory have a store of their own.

    Options of loading are for a reference, and refused only if there is none.
    """
    in_memory = LoadOptions(batch_size=load.batch_size)
    if not isinstance(model, PATHS) and isinstance(against, PATHS):
        load = in_memory
    elif isinstance(model, PATHS) and not isinstance(against, PATHS):
        against_load = replace(in_memory, options=against_load.options)
    with temporary_folder("store") as own_root:
        first = str(model) if isinstance(model, PATHS) else _embedder(model, load, own_root / "first")
        second_root = own_root / "second"
        second = str(against) if isinstance(against, PATHS) else _embedder(against, against_load, second_root)
        return compare_vectors(first, second, load, against_load, options)


def compare(  # noqa: PLR0913  the options of the command, each by its name
    base: Run | Values | str | os.PathLike[str],
    candidate: Run | Values | str | os.PathLike[str],
    *,
    max_drop: str | float | None = None,
    gate: str | os.PathLike[str] | Mapping[str, Any] | None = None,
    require: Sequence[str] = (),
    strict: bool = False,
    conclusive: bool = False,
    alpha: float = 0.05,
    equivalence_margin: str | float = "0",
    labels: str | os.PathLike[str] | None = None,
) -> "Comparison":
    """Say of each metric whether the candidate is better than the base, by paired samples, and apply a gate.

    Args:
        base: a run, a run folder, or a results file of another tool (CLIP_benchmark, DataComp, open_clip, MIEB).
        candidate: the same for the other model.
        max_drop: largest loss allowed for any metric: ``"0.5pp"`` (percentage points), ``"1%"`` (of the base's value)
            or ``"0"``. None (the default) sets no limit.
        gate: a gate file, or a mapping with its keys: ``{"zero-shot/*": {"max_drop": "1pp"}}``. Its rules come after
            ``max_drop``. None (the default) for no file.
        require: values that the candidate must reach: ``["zero-shot@imagenet/acc1 >= 63%"]``. None of them by default.
        strict: True fails on every loss beyond its limit, also if no test shows it. False by default.
        conclusive: True has the exit status 3 if a metric is neither shown to be worse nor within its limit. False by
            default.
        alpha: significance level of the verdicts and of the gate, from 1e-6 to 0.5, after Holm's correction. 0.05 by
            default.
        equivalence_margin: two values are equivalent if the interval of their difference is within this margin, such as
            ``"0.5pp"`` or ``"1%"`` (of the base's value). ``"0"`` by default.
        labels: a table with ``id`` and ``label``, other labels of the images of zero-shot (several are separated by
            ``;``, or a list in JSON). ``relabelled`` has the difference by them and by the recorded ones. None (the
            default) takes only the recorded labels.

    Returns:
        The comparison: ``differences`` with ``value`` (candidate minus base), interval, p-value and ``verdict``.
        ``frame()`` has them as a table. ``print`` shows the headline metrics and all that got worse. ``verdict`` is the
        word for the whole. ``gate.outcomes`` and ``gate.frame()`` have the result per gated metric. ``exit_status`` is
        what ``clipbench compare`` would exit with: 1 if a metric lost more than the limit, and a test shows that it is
        a loss, or a requirement is not met; 3 if that cannot be tested; 0 otherwise.

    Raises:
        NotComparable: the two have no evaluation in common, or none on the same samples.
        NotMeasured: a folder holds the reason why its model could not be measured.
        UsageError: a limit has no unit, or the gate gates nothing.
        ClipbenchError: a folder or file cannot be read.

    Example:
        >>> import numpy as np
        >>> from clipbench import compare, run, vectors
        >>> x = np.eye(32)
        >>> good, bad = (run(vectors(images=x, texts=y), "retrieval") for y in (x, np.roll(x, 1, axis=0)))
        >>> comparison = compare(bad, good)
        >>> {metric.name: metric.verdict for metric in comparison.differences}["text_retrieval_recall@1"]
        'better'
        >>> gated = compare(good, bad, max_drop="0.5pp")
        >>> gated.verdict, gated.exit_status, gated.gate.outcomes[0].status
        ('worse', 1, 'regression')

    See Also:
        explain: where the candidate got worse.
        compare_chain: several runs, each with the one before.
        board: the ranks of several models.
    """
    rules = Gate.from_options(max_drop, require, file=gate, strict=strict, conclusive=conclusive)
    margin = Tolerance.parse_option(equivalence_margin, "equivalence_margin")
    options = CompareOptions(alpha=alpha, equivalence_margin=margin)
    sides = open_side(base), open_side(candidate)
    check_gate(rules, metrics_of(*sides))
    return compare_results(*sides, options, rules, None if labels is None else read_label_file(Path(labels)))


def compare_chain(
    *runs: Run | Values | str | os.PathLike[str],
    max_drop: str | float | None = None,
    gate: str | os.PathLike[str] | Mapping[str, Any] | None = None,
    alpha: float = 0.05,
    equivalence_margin: str | float = "0",
) -> Chain:
    """Compare each run with the one before, and the last with the first: reference, served, compressed, indexed.

    All these comparisons are one family of tests (Holm).

    Args:
        runs: three or more, in order, each as in ``compare``.
        max_drop: largest loss from the first to the last run, such as ``"0.5pp"``, as in ``compare``. None (the
            default) sets no limit.
        gate: a gate file or a mapping for the last run against the first, as in ``compare``. None (the default) for no
            file.
        alpha: significance level, from 1e-6 to 0.5, as in ``compare``. 0.05 by default.
        equivalence_margin: margin of equal values, such as ``"0.5pp"``, as in ``compare``. ``"0"`` by default.

    Returns:
        The chain: ``steps`` has a comparison for each step, ``whole`` the one of the last run with the first.
        ``print`` shows a row for each step, and ``frame()`` has all metrics.

    Raises:
        UsageError: there are fewer than three runs, or a limit has no unit.
        NotComparable: two of the runs have nothing in common to compare.
        ClipbenchError: a folder or file cannot be read.

    Example:
        >>> import numpy as np
        >>> from clipbench import compare_chain, run, vectors
        >>> x = np.eye(32)
        >>> runs = [run(vectors(images=x, texts=np.roll(x, n, axis=0)), "retrieval") for n in (0, 0, 1)]
        >>> chain = compare_chain(*runs)
        >>> [step.verdict for step in chain.steps], chain.verdict
        (['undecided', 'worse'], 'worse')

    See Also:
        compare: two runs.
    """
    rules = Gate.from_options(max_drop, (), file=gate)
    margin = Tolerance.parse_option(equivalence_margin, "equivalence_margin")
    return chain_of_runs(runs, CompareOptions(alpha=alpha, equivalence_margin=margin), rules)


def explain(
    base: "Run | str | os.PathLike[str]",
    candidate: "Run | str | os.PathLike[str]",
    *,
    metric: str | None = None,
    columns: str | os.PathLike[str] | None = None,
    model: "ModelLike | None" = None,
    seed: int = 0,
) -> "Explanation":
    """Find the groups of samples in which a candidate got worse, or better.

    Groups are made of inputs only, and fixed before outcomes are read. The chance of any false claim among all groups
    is 5 % for each of two questions: is it worse here, and is it worse here than elsewhere?

    Args:
        base: a run, or its folder.
        candidate: another run over the same samples.
        metric: name of a metric that scores each sample, such as ``"text_retrieval_recall@1"``. None (the default) is
            the first headline.
        columns: a CSV file with more columns of the samples. The first is ``id`` or ``image``. None (the default) for
            no more columns.
        model: the base's model, for groups of similar classes and of 550 phrases. The embeddings of the images are
            taken from the store. None (the default) leaves these groups out.
        seed: an integer from 0 (the default), the seed of the draws that correct for many groups.

    Returns:
        The explanation: ``claims`` with group, difference, interval, p-value and ids of samples. ``frame()`` has all
        groups that were tested. ``print`` shows the claims and what could not be seen.

    Raises:
        NotComparable: the runs have other samples.
        UsageError: there are fewer than 100 samples, or the metric or the file is wrong.

    Example:
        >>> import numpy as np
        >>> from clipbench import explain, run, vectors
        >>> x, camera = np.eye(400), np.repeat(["phone", "other"], [100, 300])
        >>> y = np.roll(x, 1, axis=0)
        >>> runs = [
        ...     run(vectors(images=x, texts=texts, group=camera), "retrieval")
        ...     for texts in (x, np.vstack([y[:100], x[100:]]))
        ... ]
        >>> [(claim.slice, claim.claim) for claim in explain(*runs).claims]
        [('group = phone', 'worse than elsewhere')]

    See Also:
        compare: whether the candidate is worse at all.
    """
    with temporary_folder("store") as own_root:
        return explain_runs(
            base,
            candidate,
            metric=metric,
            columns=None if columns is None else Path(columns),
            model=_any_embedder(model, own_root),
            seed=seed,
        )


def pool(  # noqa: PLR0913  the options of the command, each by its name
    models: "Sequence[ModelLike]",
    images: str | os.PathLike[str],
    queries: str | os.PathLike[str] | Sequence[str],
    out: str | os.PathLike[str],
    *,
    rankings: Mapping[str, str | os.PathLike[str]] | None = None,
    k: int = 10,
    n_random: int = 5,
    seed: int = 0,
    on_bad_image: Literal["error", "skip"] = "error",
    price: bool = False,
    device: str = "auto",
    precision: str = "fp32",
    batch_size: int | None = None,
    arch: str | None = None,
    trust_remote_code: bool = False,
    model_options: Mapping[str, str] | None = None,
) -> Pool:
    """Collect what models find among photographs, to be judged with ``clipbench judge``, as ``clipbench pool`` does.

    Args:
        models: as ``clipbench.run`` takes them; two or more together with ``rankings``.
        images: a folder of photographs.
        queries: a text file with a query in each line, or the queries.
        out: a new folder for the pool. A folder that holds the same pool already is kept, with its judgements.
        rankings: files with the results of search engines by their names: TREC runs, or JSON Lines of
            ``{"query": text, "results": [file name, ...]}``. None (the default) for no engine.
        k: number of photographs that each model adds to the pool per query. 10 by default.
        n_random: number of further photographs per query, drawn at random. 5 by default.
        seed: an integer from 0 (the default), the seed of the random photographs, and of the order in which queries and
            photographs are shown.
        on_bad_image: ``"error"`` (the default) stops at an image that cannot be read, ``"skip"`` leaves it out.
        price: True measures what one query costs each model, which ``choose`` shows. The models must be references.
            False by default.
        device: ``"auto"`` (the default) or a torch device, as in ``clipbench.run``.
        precision: ``"fp32"`` (the default), ``"bf16"`` or ``"fp16"``, as in ``clipbench.run``.
        batch_size: number of images or texts per batch. None (the default) is 64, and 256 on a CUDA device.
        arch: open_clip architecture of a bare checkpoint file. None (the default) for references that know theirs.
        trust_remote_code: True runs the code that comes with a model whose reference names its commit. False by
            default.
        model_options: options of the models as texts, such as ``{"context": "248"}``. None (the default) for none.

    Returns:
        The pool: ``queries``, ``candidates`` (photographs to judge per query) and ``folder``.

    Raises:
        ClipbenchError: the models, the photographs, the queries or an option are wrong.

    Example:
        >>> import tempfile
        >>> from PIL import Image
        >>> from clipbench import choose, pool
        >>> folder = Path(tempfile.mkdtemp())
        >>> Image.new("RGB", (8, 8), "red").save(folder / "red.png")
        >>> photos = pool(["tiny", "pair:tiny+tiny"], folder, ["a red cube"], folder / "pool", device="cpu")
        >>> dict(photos.candidates), choose(photos).is_decided  # nobody has judged it
        ({'q1': ['p1']}, False)

    See Also:
        choose: which model is better, by the judgements.
    """
    load = _load_options(device, precision, batch_size, arch, model_options, trust_remote_code)
    texts = read_queries(Path(queries)) if isinstance(queries, PATHS) else list(queries)
    options = PoolOptions(
        k=_check_integer("k", k, 1),
        rankings=[(name, Path(file)) for name, file in (rankings or {}).items()],
        n_random=_check_integer("n_random", n_random, 0),
        seed=_check_integer("seed", seed, 0),
        price=partial(price_in_subprocess, options=load) if price else None,
        skip_bad_images=_skips_bad_images(on_bad_image),
    )
    model_references.check_references([str(model) for model in models if isinstance(model, PATHS)], load)
    hashes = ImageHashes()
    with temporary_folder("store") as own_root:

        def loader(model: "ModelLike") -> tuple[str, Callable[[], Embedder]]:
            if isinstance(model, PATHS):
                return str(model), lambda: load_embedder(str(model), load, hashes=hashes)
            if price:
                raise UsageError(
                    "price=True loads each model again in a process of its own: got a model in memory, "
                    "expected references"
                )
            embedder = _embedder(model, load, own_root)
            return embedder.info.ref, lambda: embedder

        return make_pool([*map(loader, models)], Path(images), texts, Path(out), options)


def choose(
    pool: Pool | str | os.PathLike[str],
    *,
    scope: Literal["future", "list"] = "future",
    equivalence_margin: str = "3pp",
    alpha: float = 0.05,
) -> Choice:
    """Return which model of a pool is better, by the judgements so far, as ``clipbench choose`` does.

    Args:
        pool: what ``pool`` returned, or its folder.
        scope: ``"future"`` queries (the default), of which the list is a sample, or the ``"list"`` itself.
        equivalence_margin: points of nDCG, relative to the pool. Models are equal if the interval of their difference
            is within this margin. ``"3pp"`` by default.
        alpha: chance that any of the intervals ever misses the truth, however often one looks, between 0 and 1. 0.05 by
            default.

    Returns:
        The choice: ``is_decided``, ``sentence``, ``scores``, ``differences``. ``print`` shows all of it.

    Raises:
        ClipbenchError: the pool does not exist, or a file of it is damaged.

    Example:
        >>> choose("photos")  # see ``pool`` for one that can be chosen from
        Traceback (most recent call last):
            ...
        clipbench.errors.UsageError: photos is not a pool: expected a folder with pool.json

    See Also:
        pool: make a pool.
    """
    judged_pool = pool if isinstance(pool, Pool) else read_pool(Path(pool))
    return choose_model(read_log(judged_pool), scope=scope, equivalence_margin=equivalence_margin, alpha=alpha)


def export(  # noqa: PLR0913  the options of the command, each by its name
    *runs: Run | str | os.PathLike[str],
    to: str,
    out: str | os.PathLike[str] | None = None,
    rows: Literal["metrics", "models"] = "metrics",
    metric: str | Sequence[str] = (),
    intervals: bool = False,
    depth: int | None = None,
    direction: Literal["text", "image"] | None = None,
) -> Exported:
    """Write the metrics or the result lists of runs, as a table or for other tools, as ``clipbench export`` does.

    Args:
        runs: runs, run folders, or folders of several runs; one or more.
        to: name of the format, such as ``"latex"``, ``"markdown"``, ``"csv"``, ``"bibtex"`` or ``"clip_benchmark"``.
            ``clipbench export --help`` lists all.
        out: output file, replaced if it exists, or a folder where the format has that form. None (the default) writes
            no file: the content is the ``text`` of the result.
        rows: rows of ``latex``, ``markdown`` and ``csv``: ``"metrics"`` (the default), or ``"models"`` for the table of
            a paper, in which a value is bold if paired tests show that its model is better than every other one.
        metric: columns of ``rows="models"``, such as ``"acc1"`` or ``["zero-shot@birds/acc1", "retrieval/mrr"]``. The
            default is the first headline metric of each evaluation.
        intervals: add the confidence interval of each value to ``rows="models"``. False by default.
        depth: results per query of ``trec`` and ``rankings``, an integer from 1. None (the default) writes all that the
            run keeps.
        direction: lists of ``trec`` and ``rankings`` whose queries are captions (``"text"``) or images (``"image"``).
            None (the default) writes both.

    Returns:
        The outcome: ``text``, or the files ``written``, and ``notes`` on what the format has no place for. ``print``
        shows the text.

    Raises:
        UsageError: a format, a metric or an option is wrong, or no run is given.
        ClipbenchError: a run is damaged.

    Example:
        >>> import numpy as np
        >>> from clipbench import export, run, vectors
        >>> x = np.eye(32)
        >>> good, bad = (
        ...     run(vectors(images=x, texts=y, name=name), "retrieval")
        ...     for name, y in (("good", x), ("bad", np.roll(x, 1, axis=0)))
        ... )
        >>> print(export(good, bad, to="csv", rows="models", metric="text_retrieval_recall@1"), end="")
        Model,Image-to-text R@1 (%),bold
        good,100.0,Image-to-text R@1 (%)
        bad,0.0,

    See Also:
        board: the ranks of several models.
        compare: the difference of two runs for each metric.
    """
    if not runs:
        raise UsageError("no run to export: got 0 runs, expected at least 1")
    metrics = [metric] if isinstance(metric, str) else [*metric]
    make_table = table_maker(rows, metrics, has_intervals=intervals)
    if direction not in (None, "text", "image"):
        raise UsageError(f"direction is {direction!r}: expected 'text', 'image' or None")
    depth = None if depth is None else _check_integer("depth", depth, 1)
    sources = list[Path | Run]()
    for source in runs:
        sources += [source] if isinstance(source, Run) else find_runs([Path(source)])
    choice = ListChoice(depth=depth, side=direction)
    return export_runs(sources, to, None if out is None else Path(out), choice, make_table)


def load_model(  # noqa: PLR0913  the options of the command, each by its name
    reference: str | os.PathLike[str],
    *,
    device: str = "auto",
    precision: str = "fp32",
    batch_size: int | None = None,
    arch: str | None = None,
    trust_remote_code: bool = False,
    model_options: Mapping[str, str] | None = None,
) -> Model | Embedder:
    """Return the model that a reference stands for, ready to encode.

    Args:
        reference: such as ``"tiny"``, ``"vit-b-32"``, ``"open_clip:ViT-B-16/laion2b_s34b_b88k"``, ``"hf:ORG/REPO"``, a
            checkpoint with ``arch``, or ``"embeddings:FILE"``. ``clipbench list models`` has all forms.
        device: ``"auto"`` (the default) or a torch device, such as ``"cuda:0"``.
        precision: number format of the towers: ``"fp32"`` (the default), ``"bf16"`` or ``"fp16"``. Vectors are float32.
        batch_size: number of images or texts per batch. None (the default) is 64, and 256 on a CUDA device.
        arch: open_clip architecture of a bare checkpoint file, such as ``"ViT-B-32"``; ``"ViT-B-32,mine.pt"`` as the
            model names both. None (the default) for references that know theirs.
        trust_remote_code: True runs the code that comes with a model whose reference names its commit,
            ``hf:ORG/REPO@COMMIT``. False by default.
        model_options: options of the model as texts, such as ``{"context": "248"}``. None (the default) for none.

    Returns:
        The model, with ``encode_images``, ``encode_texts`` and ``info``.

    Raises:
        ClipbenchError: the reference or an option is wrong, or the weights are not here.

    Example:
        >>> model = load_model("tiny", device="cpu")
        >>> model.encode_texts(["a red cube"]).shape == (1, model.info.embed_dim)
        True

    See Also:
        torch_model: a model that is in memory.
        run: measure a model.
    """
    load = _load_options(device, precision, batch_size, arch, model_options, trust_remote_code)
    model_references.check_references([str(reference)], load)
    return model_references.load_model(str(reference), load)


def load_data(
    data: "DataLike",
    *,
    task: str | None = None,
    data_root: str | os.PathLike[str] | None = None,
    allow_partial: bool = False,
    data_options: Mapping[str, str] | None = None,
) -> Dataset:
    """Return data as the tasks see them: images as references, with labels, captions or both.

    Args:
        data: a reference (``"scenes"``, a name of the catalogue, a path, ``"hf:ORG/NAME"``), or data in memory as
            ``clipbench.run`` takes them.
        task: name of the task that will use them, because each task has other generated scenes. None (the default) for
            no task.
        data_root: folder that holds data sets by name. None (the default) is the current folder.
        allow_partial: True leaves out samples without image, and classes without samples. False (the default) refuses
            them.
        data_options: columns and split as texts, such as ``{"caption": "title"}``. None (the default) for none.

    Returns:
        The data set: its length is the number of images.

    Raises:
        ClipbenchError: no such data, or they are malformed.

    Example:
        >>> scenes = load_data("scenes", data_options={"n": "4"})
        >>> len(scenes), scenes.captions is not None
        (4, True)

    See Also:
        run: measure a model on data.
    """
    loading = _data_options(data_root, allow_partial, data_options)
    if task is not None:
        loading = replace(loading, form=task_class(task).data_form)
    if isinstance(data, PATHS):
        return load_reference(str(data), loading)
    return dataset_in_memory(data, loading)


def _measure(model: "ModelLike", folder: Path, options: SessionOptions, progress: Progress | None) -> Run:
    is_finished = may_be_finished(folder, writes_reports=options.writes_reports)
    with temporary_folder("store") as own_root:
        embedder, name = None, str(model)
        if isinstance(model, PATHS):
            if is_pattern(name):
                raise UsageError(f"'{name}' is a pattern: measure its models one at a time, or use `clipbench run`")
        else:
            shows_bars = progress is not None and progress.shows_bars
            embedder = _embedder(model, options.load, own_root, workers=options.workers, shows_bars=shows_bars)
            name = embedder.info.ref
        target = Target(name, name, folder, may_be_finished=is_finished, embedder=embedder)
        session = Session(options, Targets(folder, [target]), progress)
        run = session.measure(target)
        session.report(run)
        session.try_log(target, run)
    return run


def _embedder(
    model: "ModelLike", load: LoadOptions, own_root: Path, *, workers: int | None = None, shows_bars: bool = False
) -> Embedder:
    """Return a model in memory as an embedder, and refuse options that have no effect on it."""
    for name, value, default in (
        ("device", load.device, "auto"),
        ("precision", load.precision, "fp32"),
        ("arch", load.arch, None),
        ("model_options", load.options, {}),
        ("trust_remote_code", load.trust_remote_code, False),
    ):
        if value != default:
            raise UsageError(f"{name}={value!r} has no effect on a model in memory: remove it")
    return embedder_of(
        model, default_root(), own_root, batch_size=load.n_at_once, workers=workers, show_progress=shows_bars
    )


def _any_embedder(model: "ModelLike | None", own_root: Path) -> Embedder | None:
    """Return the embedder of a reference or of a model in memory, loaded without options, or None without a model."""
    if model is None:
        return None
    if isinstance(model, PATHS):
        return load_embedder(str(model), LoadOptions())
    return _embedder(model, LoadOptions(), own_root)


def _load_in_memory(data: "DataLike | None", loading: DataOptions) -> tuple[str | Dataset | None, DataOptions]:
    """Return data as a reference, or as a data set if they are in memory, and the options for loading them.

    Of data that have been read it is left to say on how many images words are written, and what is trained on.
    """
    if data is None or isinstance(data, PATHS):
        return None if data is None else str(data), loading
    task_options = {name: text for name, text in loading.options.items() if name in ("n", "train")}
    return dataset_in_memory(data, loading), replace(loading, options=task_options)


def _data_options(
    data_root: str | os.PathLike[str] | None, allow_partial: bool, options: Mapping[str, str] | None
) -> DataOptions:
    root = None if data_root is None else Path(data_root)
    return DataOptions(data_root=root, allow_partial=allow_partial, options=options or {})


def _load_options(
    device: str,
    precision: str,
    batch_size: int | None,
    arch: str | None,
    options: Mapping[str, str] | None,
    trust_remote_code: bool,
) -> LoadOptions:
    return LoadOptions(
        device=device,
        precision=precision,
        batch_size=None if batch_size is None else _check_integer("batch_size", batch_size, 1),
        arch=arch,
        options=options or {},
        trust_remote_code=trust_remote_code,
    )


def _skips_bad_images(on_bad_image: object) -> bool:
    if on_bad_image not in ("error", "skip"):
        raise UsageError(f"on_bad_image is {on_bad_image!r}: expected 'error' or 'skip'")
    return on_bad_image == "skip"


def _check_integer(name: str, value: SupportsIndex, minimum: int) -> int:
    """Return an integer of Python or of numpy, or raise UsageError if it is a truth value or out of range."""
    number = operator.index(value)
    if isinstance(value, bool) or not minimum <= number < 2**63:
        limit = f"{minimum} or more" if number < 2**63 else "below 2^63"
        raise UsageError(f"{name}: got {value!r:.60}, expected an integer, {limit}")
    return number


def _refuse_empty(run: Run) -> None:
    """Raise when no evaluation could be made: a run without a number is a mistake, which a record would hide.

    The record is removed: it would refuse the folder to the call that has been put right.
    """
    if finished_evaluations(run.result):
        return
    for name in (RESULT, REPORT):
        (run.folder / name).unlink(missing_ok=True)
    with suppress(OSError):
        run.folder.rmdir()
    first, *others = run.result.evaluations
    suffix = f" (and {len(others)} more could not be measured)" if others else ""
    kind = KINDS[first.error or "ClipbenchError"]
    raise kind(f"{first.name} could not be measured: {first.reason}{suffix}")
