"""Folders of judged data: BEIR's, MixBench's and TREC's judgements, and what is wrong with one."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clipbench.data import DataOptions, Dataset
from clipbench.data.dataset import check
from clipbench.data.dataset_loading import load_data
from clipbench.data.questions import JudgedItems, Judgements
from clipbench.errors import DataError, Unavailable, UsageError

CORPUS = [
    {"_id": "d1", "title": "Boats", "text": "Two boats.", "metadata": {}},
    {"_id": "d2", "title": "", "text": "", "image": "images/a.png"},
    {"_id": "d3", "text": "A hill.", "image": "images/b.png"},
]
QUERIES = [
    {"_id": "q1", "text": "a boat"},
    {"_id": "q2", "text": "", "image": "images/b.png"},
    {"_id": "q3", "text": "x"},
]
BEIR = "query-id\tcorpus-id\tscore\nq1\td1\t2\nq1\td3\t0\nq2\td3\t1\n"
TREC = "q1 0 d1 2\nq1 0 d3 0\n\nq2 0 d3 1\n"


def lines(rows: list[dict[str, object]]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def folder(
    root: Path,
    *,
    corpus: object = CORPUS,
    queries: object = QUERIES,
    qrels: dict[str, str] | None = None,
    names: tuple[str, str] = ("corpus.jsonl", "queries.jsonl"),
) -> Path:
    for name, rows in zip(names, (corpus, queries), strict=True):
        (root / name).write_text(rows if isinstance(rows, str) else lines(rows))  # type: ignore[arg-type]
    for name, text in ({"qrels/test.tsv": BEIR} if qrels is None else qrels).items():
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_text(text)
    (root / "images").mkdir(exist_ok=True)
    for number, name in enumerate(("a.png", "b.png")):
        Image.new("RGB", (4, 4), (number, 0, 0)).save(root / "images" / name)
    return root


def load(path: Path, *, allow_partial: bool = False, **options: str) -> Dataset:
    return load_data(str(path), DataOptions(allow_partial=allow_partial, options=options))


def judged(dataset: Dataset) -> list[tuple[str, str, int]]:
    judgements = dataset.judgements
    assert judgements is not None
    rows = zip(judgements.query.tolist(), judgements.document.tolist(), judgements.grade.tolist(), strict=True)
    return [
        (judgements.queries.ids[query], judgements.documents.ids[document], grade) for query, document, grade in rows
    ]


def fingerprints(dataset: Dataset) -> tuple[str, str | None]:
    digests = [image.digest() for image in dataset.images]
    return dataset.fingerprint(digests), dataset.unordered_fingerprint(digests)


def test_texts_images_and_both_with_their_judgements(tmp_path: Path) -> None:
    dataset = load(folder(tmp_path))
    judgements = dataset.judgements
    assert judgements is not None
    assert judgements.documents.texts == (
        "Boats Two boats.",
        "",
        "A hill.",
    ) and judgements.documents.images.tolist() == [
        -1,
        0,
        1,
    ]
    assert judgements.queries.ids == ("q1", "q2") and judgements.queries.images.tolist() == [-1, 1]
    assert dataset.image_ids == ["images/a.png", "images/b.png"] and dataset.split == "test"
    assert judged(dataset) == [("q1", "d1", 2), ("q1", "d3", 0), ("q2", "d3", 1)]
    assert dataset.notes == ("1 query is not judged in test.tsv: left out",)
    assert "judgements" in repr(dataset)


@pytest.mark.parametrize("qrels", ["qrels/test.txt", "qrels/test.trec", "qrels.qrels", "qrels.tsv"])
def test_judgements_in_the_form_of_trec_are_the_same(qrels: str, tmp_path: Path) -> None:
    assert judged(load(folder(tmp_path, qrels={qrels: TREC}))) == [("q1", "d1", 2), ("q1", "d3", 0), ("q2", "d3", 1)]


def test_a_folder_of_mixbench_and_tables_with_commas(tmp_path: Path) -> None:
    corpus = "corpus_id,text,image\nd1,Boats Two boats.,\nd2,,images/a.png\nd3,A hill.,images/b.png\n"
    queries = "query_id,text,image\nq1,a boat,\nq2,,images/b.png\n"
    names = ("mixed_corpus.csv", "queries.csv")
    dataset = load(folder(tmp_path, corpus=corpus, queries=queries, qrels={"qrels/qrels.tsv": BEIR}, names=names))
    assert dataset.split is None and len(judged(dataset)) == 3 and dataset.notes == ()


def test_the_split_is_test_unless_another_is_named(tmp_path: Path) -> None:
    path = folder(
        tmp_path, qrels={"qrels/test.tsv": BEIR, "qrels/dev.tsv": "query-id\tcorpus-id\tgrade_0_3\nq3\td2\t1\n"}
    )
    assert (
        load(path).notes[0]
        == "only the split test is read (dev left out). data_options={'split': 'NAME'} reads another"
    )
    assert judged(load(path, split="dev")) == [("q3", "d2", 1)]
    assert judged(load(path, qrels="qrels/dev.tsv")) == [("q3", "d2", 1)]
    with pytest.raises(UsageError, match=r"has no split 'devel': it has dev, test"):
        load(path, split="devel")
    with pytest.raises(UsageError, match=r"'qrels': 'x\.tsv'}: no such file"):
        load(path, qrels="x.tsv")
    with pytest.raises(UsageError, match=r"names the judgements: remove data_options={'split': 'dev'}"):
        load(path, qrels="qrels/dev.tsv", split="dev")
    (path / "qrels" / "test.tsv").rename(path / "qrels" / "train.tsv")
    with pytest.raises(UsageError, match=r"judgements for dev, train: choose one with data_options={'split': 'NAME'}"):
        load(path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"qrels": {"qrels/test.tsv": "q1\td1\n"}}, r"test\.tsv, line 1: 2 fields, expected query, document and grade"),
        ({"qrels": {"qrels/test.tsv": BEIR + "q1\td2\thigh\n"}}, "line 5: the grade is 'high', expected an integer"),
        ({"qrels": {"qrels/test.tsv": BEIR + "q1\td1\t1\n"}}, "'d1' has grade 1 for query 'q1', and 2 before"),
        ({"qrels": {"qrels/test.tsv": "query-id\tcorpus-id\tscore\n"}}, r"test\.tsv has no judgements"),
        ({"qrels": {"qrels/readme.md": ""}}, "qrels has no judgements: expected files such as"),
        ({"qrels": {"qrels/test.tsv": BEIR + "q9\td1\t1\n"}}, "1 of 4 judgements in test.tsv name a query or"),
        ({"qrels": {"qrels/test.tsv": "q1\td1\t1.0\nq1\td2\t1\n"}}, "line 1: the grade is '1.0', expected an integer"),
        ({"qrels": {"qrels/test.tsv": "q9\td1\t1\n"}}, "the first is query 'q9': fix them$"),
        ({"corpus": [{"_id": "d1", "body": "x"}]}, "has no column of texts or images: expected title, text or image, got _id, body"),
        ({"corpus": [*CORPUS, {"_id": "d4", "text": " "}]}, r"corpus\.jsonl, line 4: expected a text or an image"),
        ({"corpus": [*CORPUS, {"_id": "d1", "text": "x"}]}, "document id 'd1' twice"),
        ({"corpus": [{"text": "x"}]}, "has no column of ids: its columns are text, expected _id or id"),
        ({"corpus": [*CORPUS, {"_id": None, "text": "x"}]}, "line 4: expected an id in _id, got None"),
        ({"corpus": [{"_id": "d1", "text": ["x"]}]}, "line 1: expected a text in text"),
        ({"corpus": [{"_id": "d1", "image": "https://x/y.png"}]}, "is a web address: download the images"),
    ],
)  # fmt: skip
def test_what_is_malformed_is_named(changes: dict[str, object], message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message):
        load(folder(tmp_path, **changes))  # type: ignore[arg-type]


def test_a_part_may_be_left_out_where_that_is_allowed(tmp_path: Path) -> None:
    path = folder(tmp_path, qrels={"qrels/test.tsv": BEIR + "q9\td1\t1\n"})
    notes = load(path, allow_partial=True).notes
    assert "1 of 4 judgements in test.tsv name a query or document that the data set lacks: left out" in notes
    (path / "images" / "b.png").unlink()
    (path / "qrels" / "test.tsv").write_text(BEIR)
    with pytest.raises(Unavailable, match=r"1 of 2 images of .* are missing"):
        load(path)
    dataset = load(path, allow_partial=True)  # the document and the query with that image go
    assert judged(dataset) == [("q1", "d1", 2)] and len(dataset) == 1


def test_the_fingerprint_knows_the_judgements_and_the_unordered_one_not_their_order(tmp_path: Path) -> None:
    base = fingerprints(load(folder(tmp_path)))
    assert fingerprints(load(folder(tmp_path, qrels={"qrels/test.tsv": BEIR.replace("\t2\n", "\t1\n")})))[1] != base[1]
    turned = fingerprints(load(folder(tmp_path, corpus=CORPUS[::-1], queries=QUERIES[::-1])))
    assert turned[0] != base[0] and turned[1] == base[1]
    renamed = [{**QUERIES[0], "text": "a ship"}, *QUERIES[1:]]
    assert fingerprints(load(folder(tmp_path, queries=renamed)))[1] not in (None, base[1])


def test_items_go_with_their_images(tmp_path: Path) -> None:
    dataset = load(folder(tmp_path)).take(np.array([1]))
    assert dataset.judgements is not None
    assert dataset.judgements.documents.ids == ("d1", "d3") and dataset.judgements.documents.images.tolist() == [-1, 0]
    assert judged(dataset) == [("q1", "d1", 2), ("q1", "d3", 0), ("q2", "d3", 1)]


@pytest.mark.parametrize(
    ("images", "texts", "pairs", "message"),
    [
        ([-1], ["a"], [(0, 0), (0, 0)], "judges document 'd' twice for query 'q'"),
        ([3], ["a"], [(0, 0)], "document 'd' has image 3, expected 0 to -1"),
        ([-1], [" "], [(0, 0)], "document 'd' has neither a text nor an image"),
        ([], [], [], "has judgements, and no document"),
    ],
)
def test_judgements_that_do_not_fit_together_are_refused(
    images: list[int], texts: list[str], pairs: list[tuple[int, int]], message: str
) -> None:
    rows = np.array(pairs, np.int64).reshape(-1, 2)
    judgements = Judgements(
        queries=JudgedItems(("q",), ("x",), np.array([-1])),
        documents=JudgedItems(tuple("d" for _ in texts), tuple(texts), np.array(images, np.int64)),
        query=rows[:, 0],
        document=rows[:, 1],
        grade=np.ones(len(rows), np.int64),
    )
    with pytest.raises(DataError, match=message):
        check(Dataset(id="x", images=[], image_ids=[], judgements=judgements))
