"""Judged data of the Hub in each layout, from a Hub on this machine, against a naive reading with the datasets
library.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from clipbench.data import Dataset
from clipbench.data.dataset import DataOptions
from clipbench.data.dataset_loading import load_data
from clipbench.data.readers.judged_configs import ParquetImage
from clipbench.errors import ClipbenchError, DataError, Unavailable, UsageError
from tests import hub_server
from tests.clipbench.data.conftest import ImageBytes

datasets = pytest.importorskip("datasets")
pytestmark = pytest.mark.usefixtures("library_cache")

Columns = dict[str, Sequence[Any]]
REPOSITORY = "me/judged"


IMAGES = [0, None, 2, 3]
TEXTS = ["a", "b", None, "d"]
OF_LANGUAGE: dict[str, Columns] = {
    "corpus": {"id": ["d0", "d1"], "image": [0, 1]},
    "queries": {"id": ["q0"], "text": ["x"]},
    "qrels": {"query-id": ["q0"], "corpus-id": ["d1"], "score": [1]},
}
# By configuration a split and columns; an image is its number.
LAYOUTS: dict[str, dict[str, tuple[str, Columns]]] = {
    "mteb": {
        "corpus": ("test", {"id": ["d0", "d1", "d2", "d3"], "title": ["T", "", None, ""], "text": TEXTS, "image": IMAGES}),
        "queries": ("test", {"id": ["q0", "q1", "q2"], "text": ["x", "y", "z"]}),
        "default": ("test", {"query-id": ["q0", "q0", "q2"], "corpus-id": ["d1", "d2", "d3"], "score": [2, -1, 1]}),
    },
    "BEIR": {
        "corpus": ("corpus", {"_id": ["0", "1"], "title": ["A title", ""], "text": ["one", "two"]}),
        "queries": ("queries", {"_id": ["q"], "text": [" a query"], "image": [1]}),
        "qrels": ("test", {"query-id": ["q"], "corpus-id": ["1"], "score": [1.0]}),
    },
    "ViDoRe v2": {
        "corpus": ("test", {"corpus-id": [7, 8], "image": [0, 1], "doc-id": ["p", "p"]}),
        "queries": ("test", {"query-id": [1, 2, 3], "query": ["x", "y", "z"], "language": ["english", "french", "french"]}),
        "qrels": ("test", {"query-id": [1, 2, 3, 3], "corpus-id": [7, 8, 7, 8], "score": [1, 2, 1, 1]}),
    },
    "ViDoRe v3": {
        "corpus": ("test", {"corpus_id": [7, 8], "image": [0, 1], "doc_id": ["p", "p"], "markdown": ["#", "#"]}),
        "queries": ("test", {"query_id": [1, 2], "query": ["x", "y"], "language": ["english", "french"]}),
        "qrels": ("test", {"query_id": [1, 2], "corpus_id": [7, 8], "score": [1, 2], "content_type": ["t", "t"]}),
    },
    "M-BEIR": {
        "corpus": ("corpus", {"id": ["1:1", "1:2"], "text": ["", "b"], "image": [0, None], "modality": ["image", "text"]}),
        "query": ("test", {"id": ["9:1", "9:2"], "text": ["x", None], "image": [4, 5], "modality": ["image,text", "image"]}),
        "default": ("test", {"query-id": ["9:1", "9:2"], "corpus-id": ["1:2", "1:1"], "score": [1, 1]}),
    },
    "languages": {
        f"{language}-{name}": ("test", columns)
        for language in ("french", "german")
        for name, columns in OF_LANGUAGE.items()
    },
}  # fmt: skip


def files_of(layout: Mapping[str, tuple[str, Columns]], image_bytes: ImageBytes, tmp_path: Path) -> dict[str, bytes]:
    """The card of a repository, and a parquet file for each configuration, with groups of two rows."""
    files, configs = {}, []
    for config, (split, columns) in layout.items():
        record = datasets.Dataset.from_dict(
            {
                name: [_cell(value, image_bytes) for value in column] if name == "image" else column
                for name, column in columns.items()
            }
        )
        if "image" in columns:
            record = record.cast_column("image", datasets.Image())
        record.to_parquet(str(tmp_path / "x"), batch_size=2)
        files[f"{config}/{split}-00000-of-00001.parquet"] = (tmp_path / "x").read_bytes()
        configs.append({"config_name": config, "data_files": [{"split": split, "path": f"{config}/{split}-*"}]})
    return {"README.md": f"---\nconfigs: {json.dumps(configs)}\n---\n".encode(), **files}


def _cell(number: int | None, image_bytes: ImageBytes) -> Any:
    return None if number is None else {"bytes": image_bytes(number), "path": None}


def naive(layout: Mapping[str, tuple[str, Columns]]) -> dict[str, Any]:
    """What mteb's loader and its loaders of ViDoRe make of a repository: items by id, and grades."""
    result: dict[str, Any] = {"queries": {}, "documents": {}, "grades": {}}
    for config, (split, _) in layout.items():
        language, _, kind = config.rpartition("-")
        rows = datasets.load_dataset(REPOSITORY, config, split=split)
        if "image" in rows.column_names:
            rows = rows.cast_column("image", datasets.Image(decode=False))
        start = f"{language}/" if language else ""
        for row in rows:
            id = next((str(row[name]) for name in ("_id", "id", "query-id", "query_id") if name in row), "")
            if kind in ("default", "qrels"):
                document = next(str(row[name]) for name in ("corpus-id", "corpus_id") if name in row)
                result["grades"][start + id, document] = int(row["score"])
                continue
            is_query = kind in ("query", "queries")
            id = id if is_query or "id" in row or "_id" in row else str(row.get("corpus-id", row.get("corpus_id")))
            text = f"{row.get('title') or ''} {row.get('text') or row.get('query') or ''}".strip()
            item = text, (row.get("image") or {}).get("bytes"), (language or row.get("language", "")) * is_query
            result["queries" if is_query else "documents"][start * is_query + id] = item
    judged = {query for query, _ in result["grades"]}
    result["queries"] = {id: item for id, item in result["queries"].items() if id in judged}
    return result


def read(dataset: Dataset) -> dict[str, Any]:
    judged = dataset.judgements
    assert judged is not None
    result: dict[str, Any] = {}
    for name, side in (("queries", judged.queries), ("documents", judged.documents)):
        images = [None if row < 0 else dataset.images[row].read() for row in side.images.tolist()]
        items = zip(side.texts, images, side.languages or [""] * len(side.ids), strict=True)
        result[name] = dict(zip(side.ids, items, strict=True))
    pairs = zip(judged.query.tolist(), judged.document.tolist(), judged.grade.tolist(), strict=True)
    ids = judged.queries.ids, judged.documents.ids
    return {**result, "grades": {(ids[0][query], ids[1][document]): grade for query, document, grade in pairs}}


def load(**options: str) -> Dataset:
    return load_data(f"hf:{REPOSITORY}", DataOptions(options=options))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_each_layout_is_read_as_by_the_datasets_library(
    hub: Any, image_bytes: ImageBytes, tmp_path: Path, closed_images: None, layout: str
) -> None:
    from huggingface_hub import constants

    hub.add(REPOSITORY, files_of(LAYOUTS[layout], image_bytes, tmp_path))
    dataset = load()
    assert not list(Path(datasets.config.HF_DATASETS_CACHE).rglob("*.arrow"))  # no copy
    images = [image for image in dataset.images if isinstance(image, ParquetImage)]
    assert len(images) == len(dataset.images)
    assert all(Path(constants.HF_HUB_CACHE) in image.file.parents for image in images)
    expected = naive(LAYOUTS[layout])
    assert read(dataset) == expected and list(read(dataset)["documents"]) == list(expected["documents"])
    assert (dataset.revision, dataset.split) == ("a" * 40, "test")
    if layout == "mteb":
        assert dataset.notes == ("1 query is not judged in the split test: left out",)
        assert [(image.group, image.row) for image in images] == [(0, 0), (1, 0), (1, 1)]
    assert read(load_data(f"hf:{hub.root / REPOSITORY / ('a' * 40)}", DataOptions())) == expected


def test_a_half_download_goes_on_and_the_cache_serves_when_the_hub_is_down(
    hub: Any, image_bytes: ImageBytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    hub.add(REPOSITORY, files_of(LAYOUTS["mteb"], image_bytes, tmp_path))
    hub.faults = [
        hub_server.Fault(r"corpus/.*parquet$", "cut", after=200, times=1),
        hub_server.Fault(r"default/.*parquet$", "status", status=500),
    ]
    with pytest.raises(Unavailable, match="500"):
        load()
    came, n_before = _fetched(hub.requests), len(hub.requests)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(
        Unavailable, match=r"because of HF_HUB_OFFLINE.*\. Fix: download it on a machine with a network"
    ):
        load()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    hub.faults = []
    dataset = read(load())
    assert came and not came & _fetched(hub.requests[n_before:])  # what has come is not fetched again
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    cached = load()
    assert (
        read(cached) == dataset
        and cached.notes[-1] == "the Hub did not answer, so the newest copy in the cache was read"
    )


def _fetched(requests: Sequence[tuple[str, str, str | None]]) -> set[str]:
    return {path for method, path, _ in requests if method == "GET" and path.endswith((".parquet", ".md"))}


def changed(config: str, **columns: Sequence[Any]) -> dict[str, tuple[str, Columns]]:
    """The layout of mteb with other columns of a configuration; None leaves one out."""
    split, before = LAYOUTS["mteb"][config]
    return {
        **LAYOUTS["mteb"],
        config: (split, {name: column for name, column in {**before, **columns}.items() if column}),
    }


OTHER = {**LAYOUTS["languages"], "german-corpus": ("test", {"id": ["d0", "d9"], "image": [0, 1]})}
BAD: dict[str, tuple[Any, dict[str, str], type[ClipbenchError], str]] = {
    "unknown": (changed("corpus", id=["d0", "d9", "d2", "d3"]), {}, DataError,
        ("1 of 3 judgements in the split test name a query or document that the data set lacks, the first is document"
        " 'd1': fix them, or leave them out with allow_partial=True")),
    "neither": (changed("corpus", title=(), text=(), image=()), {}, DataError,
        r"corpus/test-.*parquet has no column of texts or images: expected title, text or image, got id"),
    "empty": (changed("corpus", image=[0, 1, None, 3]), {}, DataError, "parquet, row 2: expected a text or an image, and both are empty"),
    "twice": (changed("corpus", id=["d1", "d1", "d2", "d3"]), {}, DataError, "has the document id 'd1' twice: expected distinct ids"),
    "two grades": (changed("default", **{"corpus-id": ["d1", "d1", "d3"]}), {}, DataError, "'d1' has grade -1 for query 'q0', and 2 before"),
    "half a grade": (changed("default", score=[0.5, 1.0, 1.0]), {}, DataError, "row 0: the grade is 0.5, expected an integer"),
    "no grades": (changed("default", score=()), {}, DataError, "columns are query-id, corpus-id, expected query-id, corpus-id and score"),
    "split": (LAYOUTS["mteb"], {"split": "dev"}, UsageError, "hf:me/judged has no split 'dev': it has test"),
    "two splits": (LAYOUTS["mteb"], {}, UsageError, "has the splits dev, train: choose one with split=NAME"),
    "shards": (LAYOUTS["mteb"], {}, Unavailable, "configuration corpus: expected 2 files such as corpus/.*, got 1: fetch the data again"),
    "option": (LAYOUTS["mteb"], {"label": "x"}, UsageError, "has no option 'label'"),
    "languages": (OTHER, {}, UsageError, "has different documents for german than for french: choose one language, as hf:me/judged:german"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_what_is_wrong_is_one_line(hub: Any, image_bytes: ImageBytes, tmp_path: Path, case: str) -> None:
    layout, options, error, message = BAD[case]
    files = files_of(layout, image_bytes, tmp_path)
    if case == "shards":
        files["corpus/test-00000-of-00002.parquet"] = files.pop("corpus/test-00000-of-00001.parquet")
    if case == "two splits":
        dev, test = b'{"split": "dev", "path": "default/test-*"}', b'{"split": "test", "path": "default/test-*"}'
        files["README.md"] = files["README.md"].replace(test, dev + b", " + dev.replace(b"dev", b"train"))
    hub.add(REPOSITORY, files)
    with pytest.raises(error, match=message) as caught:
        load(**options)
    assert "\n" not in str(caught.value)
