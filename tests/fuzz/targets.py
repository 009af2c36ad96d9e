"""Targets of the fuzzer: the readers of everything that comes from outside, and inputs from which it begins.

An input is the name of a file on its first line, and then the file; a target says which names it takes.
"""

import gzip
import io
import json
import os
import shutil
import tarfile
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import chdir, contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import clipbench
from clipbench.errors import ClipbenchError
from clipbench.results.record import SCHEMA_VERSION

Read = Callable[[Path], object]
"""Reads a file, and does with it what a command would; a ClipbenchError is an answer, anything else an escape."""


@dataclass(frozen=True, kw_only=True)
class Target:
    """A reader, by the names of the files that it takes."""

    reads: Mapping[str, Read]
    seeds: tuple[bytes, ...]
    """Inputs without a fault, or known ones."""
    furnish: Callable[[Path], None] = lambda folder: None
    """Writes what must lie beside the file into an empty folder."""

    def run(self, data: bytes, folder: Path) -> None:
        """Read one input in a folder that is furnished."""
        head, _, content = data.partition(b"\n")
        names = list(self.reads)
        name = head.decode("latin-1")
        name = name if name in self.reads else names[len(head) % len(names)]
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        try:
            with chdir(folder):
                self.reads[name](path)
        finally:
            path.unlink(missing_ok=True)


@contextmanager
def answer() -> Iterator[None]:
    """Let a block end in an answer: in nothing, or in an error of one line."""
    try:
        yield
    except ClipbenchError as error:
        text = str(error)
        assert "\n" not in text and "(a bug " not in text, text[:300]


def seed(name: str, content: object) -> bytes:
    """Return an input: a text or bytes as they are, anything else as JSON."""
    if not isinstance(content, str | bytes):
        content = json.dumps(content)
    return name.encode() + b"\n" + (content.encode() if isinstance(content, str) else content)


def lines(*rows: object) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


# -- data


def images_beside(folder: Path) -> None:
    for name in ("a.png", "b.png"):
        Image.new("RGB", (8, 8)).save(folder / name)
    (folder / "names.txt").write_text("cat\ndog\n")


def load_data(path: Path) -> None:
    for task in ("zero-shot", "text-in-image"):
        with suppress(ClipbenchError):
            dataset = clipbench.load_data(path, task=task)
            dataset.unordered_fingerprint([image.digest() for image in dataset.images])
            for image in list(dataset.images)[:2]:
                with suppress(ClipbenchError):
                    image.open()
    with suppress(ClipbenchError):
        clipbench.load_data(path, data_options={"class_names": "names.txt"}, allow_partial=True)


MANIFEST = Target(
    reads=dict.fromkeys(
        ("m.csv", "m.tsv", "m.jsonl", "m.json", "annotations.json", "data.jsonl", "docci_descriptions.jsonlines"),
        load_data,
    ),
    seeds=(
        seed("m.csv", "image,caption,label\na.png,a cat,cat\nb.png,a dog,dog\n"),
        seed("m.csv", "image,label,class_name\na.png,0,cat\nb.png,1,dog\n"),
        seed("m.tsv", "image\tcaption_0\tcaption_1\tsplit\na.png\ta cat\ta pet\ttest\nb.png\ta dog\ta pet\ttrain\n"),
        seed("m.jsonl", lines({"image": "a.png", "caption": ["a", "b"], "image_id": 7}, {"image": "b.png", "caption": ["c"]})),
        seed("m.json", [{"image": "a.png", "label": 0}, {"image": "b.png", "label": 1, "split": "x", "caption": None}]),
        seed("m.json", [{"filename": "a.png", "caption": "a cat", "negative_caption": "a dog"}]),
        seed("m.jsonl", lines({"images": ["a.png", "b.png"], "captions": ["a", "b"], "truth": [[True, False], [False, True]]})),
        seed("m.json", {"7": {"image_path": "a.png", "true_caption": "x", "false_caption": "y", "bbox_x": 0, "bbox_y": 0, "bbox_w": 4, "bbox_h": 4, "attributes": ["red"]}}),
        seed("m.json", [{"sentence": "s", "images": [{"path": "a.png", "label": "True"}, {"path": "b.png", "label": 0}]}]),
        seed("m.json", {"v": {"image_file": "a.png", "caption": "x", "foil": "y", "mturk": {"caption": 3}}}),
        seed("m.jsonl", lines({"image": "a.png", "object": "cat", "text": "dog", "attack": "yes", "id": "1"})),
        seed("annotations.json", {"a.png": {"true object": "mug", "typographic attack label": "dog"}}),
        seed("m.json", [{"image": "a.png", "conversations": [{"value": "?"}, {"value": "a long caption"}]}]),
        seed("data.jsonl", lines({"IIW": "a caption", "image/key": "a.png"}, {"IIW": "b", "image": "b"})),
        seed("docci_descriptions.jsonlines", lines({"example_id": "1", "split": "test", "image_file": "a.png", "description": "d"})),
    ),
    furnish=images_beside,
)  # fmt: skip


def judged_beside(folder: Path) -> None:
    images_beside(folder)
    (folder / "qrels").mkdir(exist_ok=True)
    files = {
        "corpus.jsonl": lines({"_id": "d1", "text": "a"}, {"_id": "d2", "image": "a.png"}),
        "queries.jsonl": lines({"_id": "q1", "text": "a"}),
        "qrels/test.tsv": "query-id\tcorpus-id\tscore\nq1\td1\t1\n",
    }
    for name, text in files.items():
        (folder / name).write_text(text)


def load_judged(path: Path) -> None:
    folder, content = path.parents[1] if path.parent.name == "qrels" else path.parent, path.read_bytes()
    judged_beside(folder)  # an input before this one may have been another of the files
    path.write_bytes(content)
    for allow_partial in (False, True):
        with suppress(ClipbenchError):
            dataset = clipbench.load_data(folder, task="retrieval", allow_partial=allow_partial)
            dataset.unordered_fingerprint([image.digest() for image in dataset.images])


JUDGED = Target(
    reads=dict.fromkeys(("qrels/test.tsv", "corpus.jsonl", "queries.jsonl"), load_judged),
    seeds=(
        seed("qrels/test.tsv", "query-id\tcorpus-id\tscore\nq1\td1\t1\nq1\td2\t0\n"),
        seed("qrels/test.tsv", "q1 0 d1 2\nq1 0 d2 -1\n"),
        seed("corpus.jsonl", lines({"_id": "d1", "title": "t", "text": "a", "image": "b.png"}, {"_id": "d2", "text": ""})),
        seed("queries.jsonl", lines({"query_id": "q1", "text": None, "image": "a.png"}, {"query_id": 7, "text": "b"})),
    ),
    furnish=judged_beside,
)  # fmt: skip


def shard_of(path: Path) -> None:
    """Read a tar shard whose members a JSON object names; texts are their contents."""
    members = {}
    with suppress(ValueError, RecursionError):
        members = json.loads(path.read_bytes())
    shard = io.BytesIO()
    with tarfile.open(fileobj=shard, mode="w") as tar:
        for name, text in members.items() if isinstance(members, dict) else ():
            content = str(text).encode("utf-8", "surrogatepass")
            info = tarfile.TarInfo(str(name).replace("\0", "")[:90].encode("utf-8", "replace").decode())
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    read_shard(path, shard.getvalue())


def read_shard(path: Path, content: bytes | None = None) -> None:
    (path.parent / "test").mkdir(exist_ok=True)
    (path.parent / "test/0.tar").write_bytes(path.read_bytes() if content is None else content)
    (path.parent / "test/nshards.txt").write_text("1")
    for kind in ("classification", "multilabel", "retrieval"):
        (path.parent / "dataset_type.txt").write_text(kind)
        with suppress(ClipbenchError):
            clipbench.load_data(path.parent).images[0].open()


def classnames_of(path: Path) -> None:
    read_shard(path, SHARD)


def _shard() -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        for name, content in (("a.png", PNG), ("a.cls", b"0"), ("a.txt", b"a cat\n"), ("a.npy", npy(np.array([0, 1])))):
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return file.getvalue()


def npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


PNG = b"\x89PNG\r\n\x1a\n" + bytes(30)
SHARD = _shard()

SHARDS = Target(
    reads={"0.tar": read_shard, "members.json": shard_of, "classnames.txt": classnames_of,
           "zeroshot_classification_templates.txt": classnames_of},
    seeds=(
        seed("0.tar", SHARD),
        seed("members.json", {"a.png": "x", "a.cls": "0", "b.png": "x", "b.cls": "1"}),
        seed("members.json", {"a.jpg": "x", "a.txt": "a cat\na dog", "dir/b.c.png": "x"}),
        seed("classnames.txt", "cat\ndog\n"),
        seed("zeroshot_classification_templates.txt", "a {c}.\nthe {c}\n"),
    ),
)  # fmt: skip


def read_prompts(path: Path) -> None:
    from clipbench.data.prompts import read_prompts

    prompts = read_prompts(path)
    json.dumps(prompts.record()).encode()
    for row in prompts.render(["cat", "dog"]):
        "".join(row).encode()


PROMPTS = Target(
    reads={"p.json": read_prompts, "p.txt": read_prompts},
    seeds=(
        seed("p.json", ["a photo of a {c}.", "the {c}"]),
        seed("p.json", {"cat": ["a cat", "one cat"], "dog": ["a dog"]}),
        seed("p.txt", "a photo of a {c}.\n\nthe {c}\n"),
    ),
)


def read_catalogue(path: Path) -> None:
    from clipbench.data.catalogue.entries import OWN_CATALOGUE, catalogue

    os.environ[OWN_CATALOGUE] = str(path)
    catalogue.cache_clear()
    try:
        for name in list(catalogue())[-2:]:
            with suppress(ClipbenchError):
                clipbench.load_data(name, data_root=path.parent)
    finally:
        del os.environ[OWN_CATALOGUE]
        catalogue.cache_clear()


CATALOGUE = Target(
    reads={"own.toml": read_catalogue},
    seeds=(
        seed("own.toml", '[birds]\ntitle = "Birds"\nkind = "classification"\nlicence = "ours"\nplaces = ["birds"]\nn_images = 2\n'
             'n_classes = 2\n[[birds.source]]\nform = "by-hand"\nnote = "ask"\nfiles = ["x"]\ncolumns = {image = "i"}\n'),
    ),
)  # fmt: skip


# -- suites, tasks and references


def read_suite(path: Path) -> None:
    from clipbench.evaluation.plan import plan

    for request in plan(["all"], str(path)):
        json.dumps(dict(request.params))


SUITE = Target(
    reads={"s.toml": read_suite},
    seeds=(
        seed("s.toml", '[[evaluation]]\ntask = "retrieval"\ndata = "coco"\nparams = {ks = [1, 5]}\n'),
        seed("s.toml", '[[evaluation]]\ntask = "long-caption"\ndata = "x"\ndata_options = {n = "4"}\n[evaluation.params]\nshare = 0.5\n'),
        seed("s.toml", '[[evaluation]]\ntask = "zero-shot"\ndata = "scenes"\n[[evaluation]]\ntask = "modality-gap"\ndata = "a/b"\n'),
    ),
)  # fmt: skip


def as_text(read: Callable[[str], object]) -> Read:
    return lambda path: read(path.read_bytes().decode("utf-8", "surrogateescape")[:4096])


def model_reference(text: str) -> None:
    from clipbench.models.checkpoints import is_pattern, matching_checkpoints
    from clipbench.models.options import LoadOptions
    from clipbench.models.reference import holds_samples, resolve

    holds_samples(text)
    if is_pattern(text):
        with suppress(ClipbenchError):
            matching_checkpoints(text)
    prefix, body, _ = resolve(text, LoadOptions())
    if prefix == "embeddings":
        clipbench.load_model(f"embeddings:{body}")


def task_reference(text: str) -> None:
    from clipbench.evaluation.plan import plan

    for request in plan([text], "scenes"):
        if request.data is not None and not request.data.lower().startswith(("scenes", "hf:")):
            with suppress(ClipbenchError):
                clipbench.load_data(request.data, task=request.task)


def targets_of(text: str) -> None:
    from clipbench.evaluation.output_folders import find_targets

    find_targets([text], None)


REFERENCES = Target(
    reads={"model": as_text(model_reference), "task": as_text(task_reference), "targets": as_text(targets_of)},
    seeds=(
        *(seed("model", text) for text in ("vit-b-32", "ViT-B-16,laion2b_s34b_b88k", "hf:ORG/REPO", "x.pt", "runs/*/step-?",
                                           "embeddings:x.npz", "embeddings:.", "hf-hub:a/b", "./x", "~/x", "python:m:f", "step-1")),
        *(seed("task", text) for text in ("all", "zero-shot", "retrieval@coco", "zero-shot@./m.csv,retrieval", "long-caption@~/x",
                                          "composition@.", "text-in-image@cifar-10", "retrieval@hf:ORG/NAME:c:s")),
        *(seed("targets", text) for text in ("tiny", "runs/*", "hf:x/y")),
    ),
    furnish=images_beside,
)  # fmt: skip


# -- results


@cache
def run_of_vectors() -> Path:
    """A run of two tasks on a few vectors, in a folder of its own."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(12, 4)).astype(np.float32)
    classes = {"labels": np.arange(12) % 3, "class_texts": x[:3], "class_names": ["a", "b", "c"]}
    vectors = clipbench.vectors(images=x, texts=x + 0.1, logit_scale=10.0, **classes)  # type: ignore[arg-type]
    folder = Path(tempfile.mkdtemp(prefix="fuzz-run-")) / "run"
    clipbench.run(vectors, ["retrieval", "zero-shot"]).save(folder)
    return folder


def result_content() -> Any:
    return json.loads((run_of_vectors() / "result.json").read_text())


def read_result(path: Path) -> None:
    from click.testing import CliRunner

    from clipbench import plugins
    from clipbench.cli.main import cli
    from clipbench.comparison.compare_runs import compare
    from clipbench.results.export.formats import export
    from clipbench.results.run import read_run
    from clipbench.training.history import history_of_runs

    run = read_run(path)
    repr(run), run._repr_html_(), run.frame(), run.slices()
    CliRunner().invoke(cli, ["show", str(path.parent), "--all"], standalone_mode=False, catch_exceptions=False)
    for form in plugins.names(plugins.EXPORTS):
        with suppress(ClipbenchError):
            export([path.parent], form, path.parent / f"out.{form}")
    with suppress(ClipbenchError):
        history_of_runs([run])
    for base, candidate in ((run, run), (run, read_run(run_of_vectors())), (read_run(run_of_vectors()), run)):
        with suppress(ClipbenchError):
            comparison = compare(base, candidate)
            in_all_formats(comparison)
            comparison.frame(), comparison.similarity_frame()
    with suppress(ClipbenchError):
        run.report(path.parent / "report.html")


RESULT = Target(
    reads={"result.json": read_result},
    seeds=(),
    furnish=lambda folder: None if folder.joinpath("samples").exists() else copy_run(folder),
)


def copy_run(folder: Path) -> None:
    shutil.copytree(run_of_vectors(), folder, dirs_exist_ok=True)


def in_all_formats(comparison: Any) -> None:
    from clipbench.comparison import formats

    for form in (formats.terminal, formats.markdown, formats.as_json, formats.junit):
        form([comparison])


def read_values(path: Path) -> None:
    from clipbench.comparison.compare_runs import compare
    from clipbench.results.other_tools import open_results

    results = open_results(path)
    json.dumps({name: asdict(metric) for name, metric in results.metrics.items()}, allow_nan=False)
    in_all_formats(compare(results, results))


FOREIGN = Target(
    reads={"v.json": read_values, "results.jsonl": read_values, "v.csv": read_values},
    seeds=(
        seed("v.json", {"dataset": "wds/cifar10", "task": "zeroshot_classification", "model": "m", "pretrained": "p", "language": "en",
                        "metrics": {"acc1": 0.5, "acc5": 0.9}}),
        seed("v.json", [{"dataset": "sugar_crepe/add_att", "task": "image_caption_selection", "metrics": {"acc": 0.5, "text_acc": 0.5}}]),
        seed("results.jsonl", lines({"key": "imagenet1k", "metrics": {"acc1": 0.5}}, {"key": "retrieval/flickr30k", "metrics": {"r": 1}})),
        seed("results.jsonl", lines({"epoch": 1, "imagenet-zeroshot-val-top1": 0.5, "image_to_text_R@1": 0.25, "clip_val_loss": 2.5})),
        seed("v.json", {"task_name": "Winoground", "scores": {"test": [{"hf_subset": "default", "accuracy": 0.2, "text_acc": 0.3}]}}),
        seed("v.csv", "acc1,dataset,task,model,pretrained,language,model_fullname\n0.5,cifar10,zeroshot_classification,m,p,en,m p\n"),
    ),
)  # fmt: skip


def read_rankings(path: Path) -> None:
    """Measure result lists in data with captions and in data with judgements."""
    for data, options in (("captions.csv", {}), ("judged", {"missing": "empty", "depth": "2"})):
        with answer():
            run_into_a_folder(
                f"rankings:{path}", "retrieval", path, data=str(path.parent / data), model_options=options
            )
    clipbench.load_model(f"rankings:{path}")


def compressed(read: Read) -> Read:
    """Return a reader that first compresses its file: odd content in a sound archive."""

    def read_compressed(path: Path) -> None:
        path.write_bytes(gzip.compress(path.read_bytes(), mtime=0))
        read(path)

    return read_compressed


def searched_beside(folder: Path) -> None:
    images_beside(folder)
    (folder / "captions.csv").write_text("image,caption\na.png,a cat\nb.png,a dog\n")
    (folder / "judged").mkdir(exist_ok=True)
    judged_beside(folder / "judged")


LISTS = lines(
    {"query": "a cat", "results": ["a.png", "b.png"], "scores": [0.9, 0.5]}, {"query": "a dog", "results": ["b.png"]}
)
TREC = "q1 Q0 d1 1 0.9 tag\nq1 Q0 d2 2 0.5 tag\n"
RANKINGS = Target(
    reads={"r.jsonl": read_rankings, "r.trec": read_rankings, "r.trec.gz": read_rankings,
           "packed.jsonl.gz": compressed(read_rankings), "packed.trec.gz": compressed(read_rankings)},
    seeds=(
        seed("r.jsonl", LISTS),
        seed("r.jsonl", lines({"query": "q1", "results": []}, {"query": "q1", "results": ["d1"], "scores": [1]})),
        seed("r.jsonl", lines({"query": "a.png", "results": ["a cat", "a dog"], "scores": None}, {"query": "b.png", "results": []})),
        seed("r.trec", TREC),
        seed("r.trec.gz", gzip.compress(TREC.encode(), mtime=0)),
        seed("packed.jsonl.gz", LISTS),
        seed("packed.trec.gz", TREC),
    ),
    furnish=searched_beside,
)  # fmt: skip


def read_labels(path: Path) -> None:
    """Compare two runs on the labels of a file, as ``compare --labels`` does."""
    comparison = clipbench.compare(*labelled_runs(), labels=path)
    in_all_formats(comparison)
    comparison.frame()


@cache
def labelled_runs() -> Any:
    """Two runs on images that have the names of ImageNet's validation images."""
    classes = [0, 1, 2] * 4
    folder = Path(tempfile.mkdtemp(prefix="fuzz-labels-"))
    runs = []
    for shift in (0, 1):
        file = folder / f"{shift}.csv"
        rows = (
            f"ILSVRC2012_val_{row + 1:08}.JPEG,{label},{(label + shift * (row % 2)) % 3}"
            for row, label in enumerate(classes)
        )
        file.write_text("id,label,prediction\n" + "\n".join(rows) + "\n")
        runs.append(clipbench.run(f"predictions:{file}", "zero-shot", out=folder / f"run-{shift}", thumbnails=0))
    return tuple(runs)


NAMED = [f"ILSVRC2012_val_{row + 1:08}.JPEG" for row in range(12)]
LABELS = Target(
    reads=dict.fromkeys(("l.csv", "l.tsv", "l.jsonl", "l.json"), read_labels),
    seeds=(
        seed("l.csv", "id,label\n" + "".join(f"{name},{row % 3}\n" for row, name in enumerate(NAMED))),
        seed("l.tsv", "id\tlabel\n" + "".join(f"{name}\t{row % 3};{(row + 1) % 3}\n" for row, name in enumerate(NAMED))),
        seed("l.jsonl", lines(*({"id": name, "label": [row % 3]} for row, name in enumerate(NAMED)))),
        seed("l.json", [[row % 3] for row in range(12)]),
        seed("l.json", [{"id": name, "label": row % 3} for row, name in enumerate(NAMED)]),
    ),
)  # fmt: skip


def read_failure(path: Path) -> None:
    """Name a folder whose model failed among runs, in each command that takes runs."""
    from click.testing import CliRunner

    from clipbench.cli.main import cli
    from clipbench.evaluation.output_folders import find_targets
    from clipbench.results.run import read_run

    content, before = str(run_of_vectors()), path.read_bytes()
    for arguments in (
        ["show", str(path.parent)],
        ["compare", content, str(path.parent)],
        ["export", str(path.parent), "--to", "csv"],
    ):
        with answer():
            CliRunner().invoke(cli, arguments, standalone_mode=False, catch_exceptions=False)
    with answer():
        clipbench.board(content, path.parent)
    with answer():
        find_targets([str(path.parent)], None)
    assert path.read_bytes() == before and [file.name for file in path.parent.iterdir()] == [path.name]
    with answer():
        read_run(path.parent)


FAILED = Target(
    reads={"run/failed.json": read_failure},
    seeds=(
        seed("run/failed.json", {"schema_version": SCHEMA_VERSION, "clipbench_version": "1.0", "created": "2026-01-01T00:00:00+00:00",
                                 "command": ["clipbench", "run"], "model": "hf:a/b", "reason": "cannot load hf:a/b: it is not there"}),
    ),
)  # fmt: skip


def read_gate(path: Path) -> None:
    from clipbench.comparison.gate import apply_gate, check_gate
    from clipbench.comparison.gate_rules import read_gate

    gate = read_gate(path)
    run, same = _run_and_same()
    check_gate(gate, run.named_metrics)
    apply_gate(same, gate, base=run.named_metrics, candidate=run.named_metrics, alpha=0.05)


@cache
def _run_and_same() -> Any:
    from clipbench.comparison.compare_runs import compare
    from clipbench.results.run import read_run

    run = read_run(run_of_vectors())
    return run, compare(run, run)


GATE = Target(
    reads={"gate.toml": read_gate},
    seeds=(
        seed("gate.toml", 'require = ["zero-shot@embeddings/acc1 >= 63%", "retrieval/*rank < 50"]\n"*" = {max_drop = "1pp"}\n'),
        seed("gate.toml", '"zero-shot/*" = {max_drop = "2pp", alpha = 0.01}\n"*rank" = {max_drop = "5%"}\n[[acknowledge]]\n'
             'metric = "zero-shot/acc1"\nreason = "known"\nexpires = 2026-12-31\n'),
    ),
)  # fmt: skip


def read_log(path: Path) -> None:
    from clipbench.training.history import read_history
    from clipbench.training.log import read_log

    with suppress(ClipbenchError):
        read_log(path)
    read_history(path)


LOG = Target(
    reads={"log.jsonl": read_log},
    seeds=(
        seed("log.jsonl", lines({"event": "start", "step": 0}, {"event": "evaluation", "step": 0, "gap": 0.8, "recall": None},
                                {"event": "step", "step": 1, "loss": 2.5}, {"event": "evaluation", "step": 5, "gap": 0.7})),
    ),
)  # fmt: skip


# -- vectors


def read_arrays(path: Path) -> None:
    model = clipbench.load_model(f"embeddings:{arrays_file(path)}")
    clipbench.run(model, "retrieval", thumbnails=0)


def arrays_file(path: Path) -> Path:
    """Return an .npz, also one that a JSON object describes: the values of each array, by its name."""
    if path.suffix == ".json":
        described = {}
        with suppress(ValueError, RecursionError):
            described = json.loads(path.read_bytes())
        arrays: dict[str, Any] = {}
        for name, value in described.items() if isinstance(described, dict) else ():
            with suppress(ValueError, TypeError, OverflowError):
                array = np.array(value)
                arrays[str(name).replace("/", "-").replace("\0", "-")[:200]] = (
                    array.astype("f4") if array.dtype == "f8" else array
                )
        path = path.with_suffix(".npz")
        with suppress(ValueError, OSError, UnicodeError):
            np.savez(path, **arrays)
    return path


def arrays_beside(folder: Path) -> None:
    for name in ("images", "texts"):
        np.save(folder / f"{name}.npy", X)


def read_items(path: Path) -> None:
    for task in ("composition", "text-in-image", "long-caption"):
        with answer():
            run_into_a_folder(f"embeddings:{path.parent}", task, path)
    clipbench.load_model(f"embeddings:{path.parent}")


def run_into_a_folder(model: str, task: str, path: Path, **options: Any) -> None:
    """Measure a model that a file says, and check that a refused one leaves no run behind."""
    folder = path.parent / "measured"
    try:
        clipbench.run(model, task, out=folder, thumbnails=0, **options)
    except ClipbenchError:
        assert not folder.exists(), "a refused file left a run"
        raise
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def read_predictions(path: Path) -> None:
    if path.name == "classes.txt":
        (path.parent / "fixed.csv").write_text("id,label,prediction\na,cat,cat\nb,dog,cat\n")
        options = {"model_options": {"classes": str(path)}}
        run_into_a_folder("predictions:fixed.csv", "zero-shot", path, **options)
    else:
        run_into_a_folder(f"predictions:{path}", "zero-shot", path)


def npz(**arrays: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.savez(file, **arrays)  # type: ignore[arg-type]
    return file.getvalue()


X = np.eye(4, dtype=np.float32)
ARRAYS = Target(
    reads={"x.npz": read_arrays, "x.json": read_arrays},
    seeds=(
        seed("x.npz", npz(images=X, texts=X, image_ids=np.array(["a", "b", "c", "d"]))),
        seed("x.npz", npz(images=X, texts=X[:2], text_to_image=np.array([0, 3]), logit_scale=np.array(10.0))),
        seed("x.json", {"images": [[1.0, 0.5], [0.5, 1.0]], "texts": [[1.0, 0.5], [0.5, 1.0]], "logit_scale": 100.0, "logit_bias": 0.5,
                        "image_ids": ["a", "b"], "text_ids": ["x", "y"], "text_to_image": [1, 0]}),
        seed("x.json", {"images": [[1.0, 0.5], [0.5, 1.0]], "class_texts": [[1.0, 0.5], [0.5, 1.0]], "labels": [0, 1],
                        "class_names": ["cat", "dog"]}),
    ),
)  # fmt: skip


def read_fixed_inputs(path: Path) -> None:
    """Compare vectors of the fixed inputs of ``doctor --against`` with sound ones. JSON describes an .npz."""
    path = arrays_file(path)
    for sides in (
        (f"embeddings:{path}", str(fixed_inputs_reference())),
        (str(fixed_inputs_reference()), f"embeddings:{path}"),
    ):
        for allow_partial in (False, True):
            with answer():
                comparison = clipbench.doctor(sides[0], against=sides[1], allow_partial=allow_partial)
                str(comparison), repr(comparison)
    clipbench.doctor(f"embeddings:{path}", against=f"embeddings:{path}")


@cache
def fixed_inputs_reference() -> str:
    file = Path(tempfile.mkdtemp(prefix="fuzz-inputs-")) / "x.npz"
    np.savez(file, **fixed_vectors())  # type: ignore[arg-type]
    return f"embeddings:{file}"


def fixed_vectors(share: float = 1.0) -> dict[str, np.ndarray]:
    """Return vectors of a share of the fixed inputs, with their ids."""
    from clipbench.checks.agreement.fixed_inputs import fixed_inputs

    ids = [np.array([one.id for one in inputs][: round(share * len(inputs))]) for inputs in fixed_inputs()]
    images, texts = (np.random.default_rng(0).normal(size=(len(names), 4)).round(2).astype("f4") for names in ids)
    return {"images": images, "texts": texts, "image_ids": ids[0], "text_ids": ids[1]}


FIXED = Target(reads={"x.json": read_fixed_inputs, "x.npz": read_fixed_inputs}, seeds=())
ITEMS = Target(
    reads={"items.jsonl": read_items},
    furnish=arrays_beside,
    seeds=(
        seed("items.jsonl", lines({"id": 0, "images": [0, 1], "captions": [0, 1], "truth": [[1, 0], [0, 1]]},
                                  {"id": "b", "images": [2], "captions": [2, 3], "truth": [[True, False]]})),
        seed("items.jsonl", lines({"id": "a", "clean": 0, "attacked": 1, "blank": 2, "benign": 3, "classes": [0, 1, 2], "label": 0,
                                   "word": 2, "condition": "large", "object": "cat"},
                                  {"id": 7, "attacked": 2, "classes": [0, 1, 2], "label": 1, "word": 0})),
        seed("items.jsonl", lines({"id": "a", "image": 0, "captions": [0, 1, 2], "tokens": [2, 4, 9]},
                                  *({"id": row, "image": row, "captions": [1, 3], "tokens": [2, 4]} for row in (1, 2, 3)))),
    ),
)  # fmt: skip
PREDICTED = Target(
    reads=dict.fromkeys(("x.csv", "x.jsonl", "x.parquet", "classes.txt"), read_predictions),
    seeds=(
        seed("classes.txt", "cat\ndog\ncow\n"),
        seed("x.csv", "id,label,prediction,confidence\na,cat,cat,0.5\nb,dog,cat,0.25\nc,cow,cow,1\n"),
        seed("x.jsonl", lines({"id": 1, "label": "a", "prediction": "b"}, {"id": 2, "label": "b", "prediction": "b"})),
    ),
)


def read_chunk(path: Path) -> None:
    from clipbench.models.encoding.store import Shelf

    shelf = Shelf(path.parents[3], "model", "image", 4)
    keys = [b"a" * 16, b"b" * 16]
    missing = shelf.missing(keys)  # a damaged chunk is found here, as by the embedder
    shelf.get([key for key in keys if key not in missing])


@cache
def chunk() -> bytes:
    from clipbench.models.encoding.store import Shelf

    with tempfile.TemporaryDirectory() as folder:
        shelf = Shelf(Path(folder), "model", "image", 4)
        shelf.put([b"a" * 16, b"b" * 16], X[:2])
        (file,) = shelf.folder.glob("*.vectors")
        return file.read_bytes()


CHUNK = Target(reads={"store/model/image/1.vectors": read_chunk}, seeds=())


# -- configurations of models


@cache
def bundled_folder() -> Path:
    """A checkpoint of the bundled architecture, of a few kilobytes."""
    from clipbench.training.clip.checkpoint import TrainingProgress, save_model, write_progress
    from clipbench.training.clip.config import ClipConfig, Tower
    from clipbench.training.clip.inputs import train_tokenizer
    from clipbench.training.clip.model import CLIP

    folder = Path(tempfile.mkdtemp(prefix="fuzz-model-"))
    tokenizer = train_tokenizer(["a cat"], vocab_size=516, context_length=8)
    tower = Tower(width=16, layers=1, heads=2)
    sizes = {"embed_dim": 8, "image_size": 16, "patch_size": 8, "context_length": 8, "vocab_size": tokenizer.vocab_size}
    save_model(folder, CLIP(ClipConfig(vision=tower, text=tower, **sizes)), tokenizer)  # type: ignore[arg-type]
    write_progress(folder, TrainingProgress(arguments={"seed": 0}, data={"id": "x"}, step=7, losses=[[1, 2.5]]))
    return folder


def read_bundled(path: Path) -> None:
    from clipbench.models.options import LoadOptions
    from clipbench.training.clip.adapter import load
    from clipbench.training.clip.checkpoint import load_checkpoint

    with suppress(ClipbenchError):
        load_checkpoint(path.parent)
    load(str(path.parent), LoadOptions(device="cpu"))


def beside(source: Callable[[], Path], path: Path, read: Read) -> None:
    """Read a file among the others of its folder, which are copied once."""
    folder = path.parent / "model"
    if not folder.exists():
        shutil.copytree(source(), folder)
    target = folder / path.name
    before = target.read_bytes() if target.exists() else None
    target.write_bytes(path.read_bytes())
    try:
        read(target)
    finally:
        target.unlink() if before is None else target.write_bytes(before)


def of_folder(source: Callable[[], Path], read: Read) -> Read:
    return lambda path: beside(source, path, read)


BUNDLED = Target(
    reads=dict.fromkeys(("config.json", "train.json", "tokenizer.json"), of_folder(bundled_folder, read_bundled)),
    seeds=(),
)


@cache
def small_models() -> Any:
    import importlib.util

    spec = importlib.util.spec_from_file_location(
        "small_models", Path(__file__).parents[1] / "clipbench/models/small_models.py"
    )
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@cache
def open_clip_folder() -> Path:
    config = {**small_models().CLIP, "text_cfg": {**small_models().TEXT, "width": 16}}
    folder: Path = small_models().open_clip_folder(Path(tempfile.mkdtemp(prefix="fuzz-model-")), config)
    return folder


def read_open_clip(path: Path) -> None:
    from clipbench.models.adapters.open_clip import load_folder
    from clipbench.models.options import LoadOptions

    load_folder(str(path.parent), LoadOptions(device="cpu"))


OPEN_CLIP = Target(reads={"open_clip_config.json": of_folder(open_clip_folder, read_open_clip)}, seeds=())


@cache
def hf_folder() -> Path:
    import transformers

    folder = Path(tempfile.mkdtemp(prefix="fuzz-model-"))
    small_models().letters_tokenizer(folder)
    size = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = transformers.CLIPConfig(
        text_config={**size, "max_position_embeddings": 77, **small_models().LETTERS},
        vision_config={**size, "image_size": 32, "patch_size": 8},
        projection_dim=8,
    )
    transformers.CLIPModel(config).save_pretrained(folder)
    processor = transformers.CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    processor.save_pretrained(folder)
    return folder


def read_hf(path: Path) -> None:
    from clipbench.models.adapters.transformers import load
    from clipbench.models.options import LoadOptions

    load(str(path.parent), LoadOptions(device="cpu"))


HF = Target(
    reads=dict.fromkeys(
        ("config.json", "preprocessor_config.json", "tokenizer_config.json"), of_folder(hf_folder, read_hf)
    ),
    seeds=(),
)

TARGETS: Mapping[str, Target] = {
    "manifest": MANIFEST,
    "judged": JUDGED,
    "shards": SHARDS,
    "prompts": PROMPTS,
    "catalogue": CATALOGUE,
    "suite": SUITE,
    "references": REFERENCES,
    "gate": GATE,
    "result": RESULT,
    "foreign": FOREIGN,
    "rankings": RANKINGS,
    "labels": LABELS,
    "failed": FAILED,
    "log": LOG,
    "arrays": ARRAYS,
    "items": ITEMS,
    "fixed_inputs": FIXED,
    "predictions": PREDICTED,
    "chunk": CHUNK,
    "bundled": BUNDLED,
    "open_clip": OPEN_CLIP,
    "hf": HF,
}


def with_seeds(name: str) -> Target:
    """Return a target with its seeds; those of some have to be made first."""
    target = TARGETS[name]
    folders = {"bundled": bundled_folder, "open_clip": open_clip_folder, "hf": hf_folder}
    if name in folders:
        files = [folders[name]() / array for array in target.reads]
        return replace(target, seeds=tuple(seed(file.name, file.read_bytes()) for file in files if file.exists()))
    if name == "fixed_inputs":
        arrays = [fixed_vectors(), fixed_vectors(0.5)]
        described = [seed("x.json", {key: value.tolist() for key, value in array.items()}) for array in arrays]
        return replace(target, seeds=(*described, *(seed("x.npz", npz(**array)) for array in arrays)))
    if name == "result":
        content = result_content()
        short = {**content, "evaluations": content["evaluations"][1:]}
        return replace(target, seeds=(seed("result.json", short), seed("result.json", content)))
    return replace(target, seeds=(seed("store/model/image/1.vectors", chunk()),)) if name == "chunk" else target
