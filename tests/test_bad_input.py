"""Bad input gets one line that names it, wherever it comes from."""

import io
import json
import os
import tarfile
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import clipbench
from clipbench.api import load_data
from clipbench.comparison.gate_rules import Requirement, Tolerance, read_gate
from clipbench.data.prompts import read_prompts
from clipbench.errors import ClipbenchError
from clipbench.evaluation.plan import plan
from clipbench.models.adapters.vector_arrays import read_arrays
from clipbench.models.checkpoints import is_pattern, matching_checkpoints, read_json
from clipbench.models.options import LoadOptions
from clipbench.models.reference import resolve
from clipbench.results.other_tools import open_results
from clipbench.results.run import Run, read_run
from clipbench.training.history import read_history

DEEP = "[" * 100_000
LONG = "a" * 300
DIGITS = "1" * 5_000
IMAGE = io.BytesIO()
Image.new("RGB", (8, 8)).save(IMAGE, "PNG")

Read = Callable[[Path], object]


@pytest.fixture(scope="module")
def run_of_vectors(tmp_path_factory: pytest.TempPathFactory) -> Run:
    completed = clipbench.run(clipbench.vectors(images=np.eye(4), texts=np.eye(4)), "retrieval")
    return completed.save(tmp_path_factory.mktemp("runs") / "run")


def refused(read: Callable[[], object], message: str | None = None) -> None:
    with pytest.raises(ClipbenchError, match=message) as error:
        read()
    text = str(error.value)
    assert "\n" not in text and "bug" not in text and "Traceback" not in text, text


def classification(path: Path) -> object:
    return load_data(path, task="zero-shot")


def prompts(path: Path) -> object:
    return read_prompts(path)


def suite(path: Path) -> object:
    return plan(["all"], str(path))


JSON_READERS: dict[str, Read] = {
    "manifest.json": classification,
    "manifest.jsonl": classification,
    "annotations.json": classification,
    "data.jsonl": classification,
    "share.json": classification,
    "splits.json": classification,
    "prompts.json": prompts,
    "result.json": read_run,
    "values.json": open_results,
    "results.jsonl": open_results,
    "config.json": read_json,
    "log.jsonl": read_history,
}


@pytest.mark.parametrize("text", [DEEP, DEEP + "]" * 100_000, '{"a":' * 100_000, DIGITS, f'{{"label": {DIGITS}}}'])
@pytest.mark.parametrize("name", JSON_READERS)
def test_json_that_python_cannot_read_is_refused(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text + "\n")
    refused(lambda: JSON_READERS[name](tmp_path / name), name)


@pytest.mark.parametrize(
    "head", ['[{"image": "a", "conversations": ', '{"image": "a", "true object": ', '[{"filename": ']
)
def test_json_that_is_recognised_by_its_beginning_is_refused(tmp_path: Path, head: str) -> None:
    for name in ("annotations.json", "captions.json"):
        (tmp_path / name).write_text(head + DEEP)
        refused(partial(classification, tmp_path / name), name)


@pytest.mark.parametrize("text", [f"a = {DEEP}", f"a = {DIGITS}"])
@pytest.mark.parametrize("read", [suite, read_gate])
def test_toml_that_python_cannot_read_is_refused(tmp_path: Path, read: Read, text: str) -> None:
    (tmp_path / "mine.toml").write_text(text)
    refused(lambda: read(tmp_path / "mine.toml"), "mine.toml")


NAMES = (LONG, f"{LONG}/x.csv", "nul\0name", "nul\0.csv", "~nouser/x", "half\ud800.csv")


@pytest.mark.parametrize("name", NAMES)
def test_a_name_that_no_file_has_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    Path("m.csv").write_text("image,label\na.png,cat\n")
    readers: list[Callable[[], object]] = [
        lambda: load_data(name),
        lambda: load_data(f"hf:./{name}"),
        lambda: load_data("m.csv", data_options={"class_names": name}),
        lambda: load_data("m.csv", data_options={"images": name}),
        lambda: load_data([(name, "a cat")]),
        lambda: prompts(Path(name)),
        lambda: suite(Path(f"{name}.toml")),
        lambda: read_gate(name),
        lambda: read_run(name),
        lambda: open_results(name),
        lambda: open_results(f"{name}#model"),
        lambda: read_history(name),
        lambda: resolve(name, LoadOptions()),
        lambda: resolve(f"{name}.pt", LoadOptions()),
        lambda: clipbench.load_model(f"embeddings:{name}"),
        lambda: clipbench.load_model(f"bundled:{name}"),
        lambda: clipbench.load_model(f"hf:{name}/x/y"),
        lambda: clipbench.load_model(f"local-dir:{name}"),
        lambda: matching_checkpoints(f"{name}*"),
    ]
    for read in readers:
        refused(read)
    assert not is_pattern(name) and is_pattern(f"{name}*")


@pytest.mark.parametrize("image", [LONG, "nul\\u0000", "a" * 5_000])
def test_a_name_in_a_manifest_that_no_file_has_is_missing(tmp_path: Path, image: str) -> None:
    (tmp_path / "m.jsonl").write_text(f'{{"image": "{image}", "caption": "a cat"}}\n')
    refused(lambda: load_data(tmp_path / "m.jsonl"), "1 of 1 images of m.jsonl are missing")


def test_data_that_would_be_waited_for_are_refused_by_their_kind(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "m.csv")
    message = f"cannot read {tmp_path / 'm.csv'}: got a FIFO, a device or a socket, expected a file or a folder."
    refused(lambda: load_data(tmp_path / "m.csv"), message)


def test_what_would_be_waited_for_is_refused(tmp_path: Path) -> None:
    for folder in ("class/cat", "split/test", "arrays", "bundled", "run"):
        (tmp_path / folder).mkdir(parents=True)
    names = (
        "m.csv",
        "p.json",
        "p.txt",
        "s.toml",
        "v.json",
        "log.jsonl",
        "x.npz",
        "class/cat/a.png",
        "split/test/0.tar",
        "arrays/images.npy",
        "bundled/config.json",
        "run/result.json",
    )
    for name in names:
        os.mkfifo(tmp_path / name)
    (tmp_path / "split/test/nshards.txt").write_text("1")
    readers: list[Callable[[], object]] = [
        lambda: load_data(tmp_path / "m.csv"),
        load_data(tmp_path / "class").images[0].open,
        lambda: load_data(tmp_path / "split"),
        lambda: prompts(tmp_path / "p.json"),
        lambda: prompts(tmp_path / "p.txt"),
        lambda: suite(tmp_path / "s.toml"),
        lambda: read_gate(tmp_path / "s.toml"),
        lambda: open_results(tmp_path / "v.json"),
        lambda: read_run(tmp_path / "run"),
        lambda: read_history(tmp_path / "log.jsonl"),
        lambda: read_arrays(tmp_path / "x.npz"),
        lambda: read_arrays(tmp_path / "arrays"),
        lambda: clipbench.load_model(f"bundled:{tmp_path / 'bundled'}"),
    ]
    for read in readers:
        refused(read)


def table(rows: list[dict[str, object]]) -> Read:
    def read(folder: Path) -> object:
        (folder / "a.png").write_bytes(IMAGE.getvalue())
        lines = (json.dumps({"image": "a.png", **row}) for row in rows)
        (folder / "m.jsonl").write_text("".join(f"{line}\n" for line in lines))
        return load_data(folder / "m.jsonl", data_options={"class_names": str(folder / "names.txt")})

    return read


@pytest.mark.parametrize(
    "rows",
    [
        [{"label": 10**30}],
        [{"label": str(10**30)}],
        [{"label": -(10**30)}],
        [{"label": "1" * 4_999}],
        [{"label": 10**30, "class_name": "cat"}],
        [{"label": "\ud800"}],
        [{"caption": "half \ud800"}],
        [{"caption": ["half \udfff"]}],
        [{"caption": "a cat", "image_id": "\ud800"}],
        [{"label": 1e400}],
        [{"label": [1]}],
    ],
)
def test_a_label_or_text_that_nothing_can_hold_is_refused(tmp_path: Path, rows: list[dict[str, object]]) -> None:
    (tmp_path / "names.txt").write_text("cat\ndog\n")
    refused(lambda: table(rows)(tmp_path), r"m\.jsonl")


@pytest.mark.parametrize("text", [r'["a {c} \ud800"]', r'{"cat": ["a cat \udc00"]}', r'{"\ud800": ["a cat"]}'])
def test_half_a_surrogate_pair_in_prompts_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "p.json").write_text(text)
    refused(lambda: prompts(tmp_path / "p.json"), r"p\.json is not JSON: .* holds half a surrogate pair")


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("task = 5\ndata = 'coco'", "task is 5, expected text"),
        ("task = 'retrieval'\ndata = 5", "data is 5, expected text"),
        ("task = 'retrieval'\ndata = ['coco']", r"data is \['coco'\], expected text"),
        ("task = 'retrieval'\ndata = 'coco'\nparams = 5", "params is 5, expected an object"),
        ("task = 'retrieval'\ndata = 'coco'\nparams = ['ks']", r"params is \['ks'\], expected an object"),
        ("task = 'retrieval'\ndata = 'coco'\nparams = {ks = 5}", "'retrieval', parameter ks is 5, expected a list"),
        ("task = 'retrieval'\ndata = 'coco'\nparams = {ks = ['a']}", r"parameter ks\[0\] is 'a', expected an integer"),
        ("task = 'retrieval'\ndata = 'coco'\nparams = {ks = [1979-05-27]}", r"ks\[0\] is datetime"),
        ("task = 'zero-shot'\ndata = 'imagenet'\nparams = {prompts = 'x'}", "parameter prompts is 'x'"),
        ("task = 'zero-shot'\ndata = 'imagenet'\nparams = {prompts = {templates = ['a']}}", "a suite cannot give it"),
        ("task = 'long-caption'\ndata = 'x'\nparams = {share = 'half'}", "share is 'half', expected a number"),
        ("task = 'long-caption'\ndata = 'x'\nparams = {share = nan}", "share is nan, expected a number"),
        ("task = 'retrieval'\ndata = 'coco'\ndata_options = 5", "data_options is 5, expected an object"),
        ("task = 'retrieval'\ndata = 'coco'\ndata_options = {n = 5}", "data_options.n is 5, expected text"),
    ],
)
def test_a_suite_of_wrong_types_says_what_was_expected(tmp_path: Path, entry: str, message: str) -> None:
    (tmp_path / "s.toml").write_text(f"[[evaluation]]\n{entry}\n")
    refused(lambda: suite(tmp_path / "s.toml"), message)


@pytest.mark.parametrize("text", ["evaluation = 5", "evaluation = [5]", "evaluation = [[]]", "evaluation = 'x'"])
def test_a_suite_without_tables_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "s.toml").write_text(text)
    refused(lambda: suite(tmp_path / "s.toml"), r"s\.toml.*\[\[evaluation\]\]")


@pytest.mark.parametrize("pattern", ["**", "/**/x", "runs/**/step-*", "hf:**", "*/*/*/*", "/*/*/*/*/*/x"])
def test_a_reference_does_not_search_the_whole_tree(pattern: str) -> None:
    refused(lambda: matching_checkpoints(pattern), "would search too many folders")


@pytest.mark.parametrize(
    "text",
    [
        "1" * 400,
        "1" * 400 + "pp",
        "9" * 32_000 + "x",
        "0." + "9" * 32_000 + "x",
        "1e999",
        "nan",
        "inf",
        "-1",
        "1_0",
        "٣",
    ],
)
def test_a_tolerance_is_a_finite_number(text: str) -> None:
    refused(lambda: Tolerance.parse_option(text, "max_drop"), "expected 0.5pp")


@pytest.mark.parametrize("text", ["a >= " + "1" * 400, "a >= " + "9" * 32_000 + "x", "a >= 1e999", " " * 32_000 + ">= 1", "a" + " " * 32_000, ">=" * 9_000, "a >= nan"])  # fmt: skip
def test_a_requirement_is_a_finite_number(text: str) -> None:
    refused(lambda: Requirement.parse(text), "expected METRIC >= NUMBER")


def shard(path: Path, members: dict[str, bytes], *, sparse: str = "", claimed: int | None = None) -> None:
    path.parent.mkdir(exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            if name == sparse:
                member.type = tarfile.GNUTYPE_SPARSE
            tar.addfile(member, io.BytesIO(content))
    if claimed is not None:  # a size that the file does not hold, in the first header
        raw = bytearray(path.read_bytes())
        raw[124:136] = b"%011o\0" % claimed
        raw[148:156] = b" " * 8
        raw[148:156] = b"%06o\0 " % sum(raw[:512])
        path.write_bytes(raw)


HUGE = (
    b"\x93NUMPY\x01\x00\x76\x00"
    + b"{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000,), }".ljust(117)
    + b"\n"
)
ZIPPED = io.BytesIO()
np.savez(ZIPPED, np.zeros(3))


@pytest.mark.parametrize(
    ("member", "content", "kind", "extra"),
    [
        ("npy", HUGE, "multilabel", {}),
        ("npy", ZIPPED.getvalue(), "multilabel", {}),
        ("npy", b"PK\x03\x04", "multilabel", {}),
        ("npy", b"", "multilabel", {}),
        ("cls", b"1" * 30, "classification", {}),
        ("cls", b"9" * 5_000, "classification", {}),
        ("cls", "٣".encode(), "classification", {}),
        ("cls", b"0" * 600, "classification", {"sparse": "a.cls"}),
        ("txt", b"0" * 600, "retrieval", {"sparse": "a.txt"}),
        ("cls", b"0", "classification", {"claimed": 1 << 32}),
        ("cls", b"0", "classification", {"claimed": 1 << 20}),
        ("cls", b"0", "caf\u00e9\xff", {}),
        ("cls", b"0", b"\xff\xfe", {}),
    ],
)
def test_a_damaged_shard_is_refused(
    tmp_path: Path, member: str, content: bytes, kind: str | bytes, extra: dict[str, object]
) -> None:
    shard(tmp_path / "test/0.tar", {f"a.{member}": content, "a.png": IMAGE.getvalue()}, **extra)  # type: ignore[arg-type]
    (tmp_path / "test/nshards.txt").write_text("1")
    (tmp_path / "dataset_type.txt").write_bytes(kind if isinstance(kind, bytes) else kind.encode())
    (tmp_path / "classnames.txt").write_text("cat\n")
    refused(lambda: load_data(tmp_path), f"0.tar|dataset_type|{tmp_path.name}")


def test_members_that_nobody_asks_for_are_not_read(tmp_path: Path) -> None:
    shard(tmp_path / "test/0.tar", {"a.png": IMAGE.getvalue(), "a.cls": b"0", "a.mp4": b"film"})
    (tmp_path / "test/nshards.txt").write_text("1")
    (tmp_path / "classnames.txt").write_text("cat\n")
    assert len(load_data(tmp_path)) == 1


@pytest.mark.parametrize("count", ["1" * 30, "9" * 5_000, "-1", "1000001", "\u0663"])
def test_a_number_of_shards_that_cannot_be_is_refused(tmp_path: Path, count: str) -> None:
    (tmp_path / "test").mkdir()
    (tmp_path / "test/nshards.txt").write_text(count)
    refused(lambda: load_data(tmp_path), "expected the number of shards")


def encrypted(path: Path, names: list[str]) -> None:
    """Write an .npz whose members say that they are encrypted."""
    np.savez(path, **{name: np.eye(3, dtype=np.float32) for name in names})  # type: ignore[arg-type]
    raw = bytearray(path.read_bytes())
    for mark, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        start = raw.find(mark)
        while start >= 0:
            raw[start + at] |= 1
            start = raw.find(mark, start + 4)
    path.write_bytes(raw)


def test_an_encrypted_archive_is_refused(tmp_path: Path, run_of_vectors: Run) -> None:
    encrypted(tmp_path / "x.npz", ["images", "texts"])
    refused(lambda: read_arrays(tmp_path / "x.npz"), r"cannot read .*x\.npz .*encrypted")
    run = run_of_vectors.save(tmp_path / "run")
    record = run.result.evaluations[0]
    encrypted(run.folder / record.files["arrays"], ["a"])
    refused(lambda: run.arrays(record), "the run is damaged, make it again")


@pytest.mark.parametrize("names", [np.array([b"\xff", b"a", b"b"]), np.array([0x7FFFFFFF, 1, 2], "<u4").view("<U1")])
def test_names_that_are_no_text_are_refused(tmp_path: Path, names: np.ndarray) -> None:
    x = np.eye(3, dtype=np.float32)
    np.savez(tmp_path / "x.npz", images=x, texts=x, image_ids=names)
    refused(lambda: clipbench.load_model(f"embeddings:{tmp_path / 'x.npz'}"), "x.npz")


def test_a_name_of_an_array_that_is_no_text_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
        archive.writestr("im\x1bages\udcff".encode("utf-8", "surrogateescape").decode("latin-1") + ".npy", b"x")
    refused(lambda: read_arrays(tmp_path / "x.npz"), "x.npz")


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({"notes": 5}, "model.notes is 5, expected a list"),
        ({"notes": [5]}, r"model.notes\[0\] is 5, expected text"),
        ({"ref": ["x"]}, "model.ref is "),
        ({"step": "last"}, "model.step is 'last', expected an integer"),
        ({"logit_scale": "x"}, "model.logit_scale is 'x', expected a number"),
        ({"n_parameters": 10**30}, "model.n_parameters is 10+, expected an integer below"),
    ],
)
def test_facts_of_a_model_in_a_result_are_checked(
    tmp_path: Path, run_of_vectors: Run, facts: dict[str, object], message: str
) -> None:
    content = json.loads((run_of_vectors.folder / "result.json").read_text())
    content["model"] |= facts
    (tmp_path / "result.json").write_text(json.dumps(content))
    refused(lambda: read_run(tmp_path), f"result.json is not a clipbench result .{message}")


@pytest.mark.parametrize(
    "record",
    [
        {"dataset": "d", "task": "zeroshot_classification", "metrics": "{c}"},
        {"dataset": "d", "task": "zeroshot_classification", "metrics": ["acc1"]},
        {"dataset": "d", "task": "zeroshot_classification", "metrics": {"acc1": 0.5}, "model": [1], "pretrained": {}},
        {"dataset": "d", "task": "zeroshot_classification", "metrics": {"acc1": 0.5}, "model_fullname": ["x"]},
        {"dataset": "d", "task": "zeroshot_classification", "metrics": {"acc1": 0.5}, "language": ["en"]},
        {"key": "imagenet1k", "metrics": "{c}"},
        {"key": "imagenet1k", "metrics": {"acc1": {"a": 1}}},
        {"task_name": "Winoground", "scores": "x"},
        {"task_name": "Winoground", "scores": {"test": 5}},
        {"task_name": "Winoground", "scores": {"test": [5]}},
        {"task_name": "Winoground", "scores": {"test": [{"hf_subset": ["x"], "accuracy": 0.5}]}},
        {"task_name": ["Winoground"], "scores": {"test": [{"accuracy": 0.5}]}},
    ],
)
def test_malformed_results_of_other_tools_are_refused_or_read(tmp_path: Path, record: dict[str, object]) -> None:
    (tmp_path / "v.json").write_text(json.dumps(record))
    try:
        results = open_results(tmp_path / "v.json")
    except ClipbenchError as error:
        assert "\n" not in str(error)
    else:
        assert all(isinstance(metric.value, float) for metric in results.metrics.values())
