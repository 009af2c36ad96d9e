"""Finished result lists as a model: trec_eval's values, ties as the mean over all orders, and one line for what is
wrong.
"""

import gzip
import json
from collections.abc import Sequence
from itertools import permutations
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from PIL import Image

import clipbench as cb
from clipbench import plugins
from clipbench.cli.main import main
from clipbench.metrics.similarity import unit

pytestmark = pytest.mark.skipif(
    "rankings" not in plugins.names(plugins.MODELS), reason="the entry point rankings is not installed: make install"
)
N_QUERIES, N_DOCUMENTS = 30, 50


class Judged(NamedTuple):
    """Judged data on disk, with the grades by query and document."""

    folder: Path
    grades: dict[str, dict[str, int]]
    queries: list[str]
    documents: list[str]


def write_judged(folder: Path, seed: int, n_documents: int = N_DOCUMENTS) -> Judged:
    """Write judged texts with grades from 0 to 3. Every query has a relevant document."""
    rng = np.random.default_rng(seed)
    (folder / "qrels").mkdir(parents=True)
    queries = [f"q{number}" for number in range(N_QUERIES)]
    documents = [f"d{number}" for number in range(n_documents)]
    grades: dict[str, dict[str, int]] = {}
    for query in queries:
        judged = rng.choice(documents, rng.integers(2, 8), replace=False).tolist()
        grades[query] = {document: int(rng.integers(0, 4)) for document in judged}
        grades[query][judged[0]] = 2
    corpus = [json.dumps({"_id": id, "text": f"text {id}"}) for id in documents]
    texts = [json.dumps({"_id": id, "text": f"query {id}"}) for id in queries]
    lines = [f"{query}\t{id}\t{grade}" for query, judged in grades.items() for id, grade in judged.items()]
    (folder / "corpus.jsonl").write_text("\n".join(corpus))
    (folder / "queries.jsonl").write_text("\n".join(texts))
    (folder / "qrels/test.tsv").write_text("\n".join(["query-id\tcorpus-id\tscore", *lines]))
    return Judged(folder, grades, queries, documents)


@pytest.fixture
def judged(tmp_path: Path) -> Judged:
    return write_judged(tmp_path / "data", seed=0)


def write_trec(file: Path, lists: dict[str, list[str]]) -> Path:
    lines = [
        f"{query} Q0 {name} {rank} {1 / rank} engine"
        for query, names in lists.items()
        for rank, name in enumerate(names, 1)
    ]
    text = "\n".join(lines).encode()
    file.write_bytes(gzip.compress(text) if file.suffix == ".gz" else text)
    return file


def write_json(file: Path, lists: dict[str, list[str]], scores: dict[str, list[float]] | None = None) -> Path:
    lines = []
    for query, names in lists.items():
        line: dict[str, object] = {"query": query, "results": names}
        lines.append(json.dumps(line | ({} if scores is None else {"scores": scores[query]})))
    text = "\n".join(lines).encode()
    file.write_bytes(gzip.compress(text) if file.suffix == ".gz" else text)
    return file


def measured(file: Path, data: Path, **options: str) -> cb.Run:
    out = file.with_name(f"run-{file.name}-{len(options)}")
    return cb.run(f"rankings:{file}", tasks=["retrieval"], data=str(data), model_options=options, out=out)


def random_lists(judged: Judged, seed: int, depth: int) -> dict[str, list[str]]:
    rng = np.random.default_rng(seed)
    return {query: rng.permutation(judged.documents)[: rng.integers(1, depth + 1)].tolist() for query in judged.queries}


def test_an_unknown_query_is_named_with_the_number_of_queries(judged: Judged, tmp_path: Path) -> None:
    file = write_trec(tmp_path / "lists.trec", {"elsewhere": judged.documents[:2]})
    expected = (
        rf"got the query 'elsewhere', which .* lacks: expected the id of one of its {len(judged.queries)} queries"
    )
    with pytest.raises(cb.ClipbenchError, match=expected):
        measured(file, judged.folder)


SIX_SETS = [(0, ".trec"), (1, ".trec.gz"), (2, ".jsonl"), (3, ".jsonl.gz"), (4, ".trec"), (5, ".jsonl")]


@pytest.mark.parametrize(("seed", "form"), SIX_SETS)
def test_values_are_those_of_trec_eval(tmp_path: Path, seed: int, form: str) -> None:
    trec = pytest.importorskip("pytrec_eval", reason="trec_eval's own code, in pytrec-eval-terrier")
    judged = write_judged(tmp_path / "data", seed)
    lists = random_lists(judged, seed, depth=20)
    lists["q3"] = lists["q3"] + [name for name in judged.documents if name not in lists["q3"]][: 20 - len(lists["q3"])]
    file = (write_trec if "trec" in form else write_json)(tmp_path / f"lists{form}", lists)
    metrics = measured(file, judged.folder).result.evaluations[0].metrics

    names = {"ndcg_cut.1,5,10", "recall.1,5,10", "success.1,5,10", "recip_rank", "Rprec"}
    run = {query: {name: -float(rank) for rank, name in enumerate(result)} for query, result in lists.items()}
    per_query = trec.RelevanceEvaluator(judged.grades, names).evaluate(run)
    pairs = {"mrr": "recip_rank", "r_precision": "Rprec"}
    for k in (1, 5, 10):
        pairs |= {f"ndcg@{k}": f"ndcg_cut_{k}", f"recall@{k}": f"recall_{k}", f"hit_rate@{k}": f"success_{k}"}
    for metric, name in pairs.items():
        expected = np.mean([values[name] for values in per_query.values()])
        assert metrics[metric].value == pytest.approx(expected, abs=1e-12), metric
    expected_map = np.mean([naive_map_at_r(judged.grades[query], lists[query]) for query in judged.queries])
    assert metrics["map@R"].value == pytest.approx(expected_map, abs=1e-12)


def naive_map_at_r(grades: dict[str, int], names: Sequence[str]) -> float:
    n_relevant = sum(grade > 0 for grade in grades.values())
    hits, total = 0, 0.0
    for rank, name in enumerate(names[:n_relevant], 1):
        if grades.get(name, 0) > 0:
            hits += 1
            total += hits / rank
    return total / n_relevant


def test_equal_scores_have_the_mean_over_all_orders(judged: Judged, tmp_path: Path) -> None:
    trec = pytest.importorskip("pytrec_eval", reason="trec_eval's own code, in pytrec-eval-terrier")
    lists = {query: [*grades, "d49" if "d49" not in grades else "d48"][:5] for query, grades in judged.grades.items()}
    scores = {query: [0.9, *[0.5] * (len(names) - 1)] for query, names in lists.items()}
    file = write_json(tmp_path / "tied.jsonl", lists, scores)
    metrics = measured(file, judged.folder, depth="10").result.evaluations[0].metrics

    pairs = {"mrr": "recip_rank", "ndcg@5": "ndcg_cut_5", "hit_rate@1": "success_1", "recall@1": "recall_1"}
    evaluator = trec.RelevanceEvaluator(judged.grades, {"recip_rank", "ndcg_cut.5", "success.1", "recall.1"})
    values: dict[str, list[float]] = {metric: [] for metric in pairs}
    maps = []
    for query, (first, *tied) in lists.items():
        orders = [(first, *order) for order in permutations(tied)]
        runs = [{query: {name: -float(rank) for rank, name in enumerate(order)}} for order in orders]
        results = [evaluator.evaluate(run)[query] for run in runs]
        for metric, name in pairs.items():
            values[metric].append(float(np.mean([result[name] for result in results])))
        maps.append(np.mean([naive_map_at_r(judged.grades[query], order) for order in orders]))
    for metric, by_query in values.items():
        assert metrics[metric].value == pytest.approx(np.mean(by_query), abs=1e-12), metric
    assert metrics["map@R"].value == pytest.approx(np.mean(maps), abs=1e-12)


class TextVectors:
    """Random vectors of texts and images, some of them equal."""

    def encode_texts(self, texts: Sequence[str]) -> np.ndarray:
        return np.stack([self._vector(text) for text in texts])

    def encode_images(self, images: Sequence[Image.Image]) -> np.ndarray:
        return np.stack([self._vector(str(image.getpixel((0, 0)))) for image in images])

    def _vector(self, content: str) -> np.ndarray:
        seed = sum(position * ord(letter) for position, letter in enumerate(content, 1)) % 37  # equal ones tie
        return np.random.default_rng(seed).normal(size=8).astype(np.float32)


def as_float64(vectors: np.ndarray) -> np.ndarray:
    return unit(vectors).astype(np.float64)


def lists_with_scores(
    queries: np.ndarray, items: np.ndarray, names: Sequence[str], query_names: Sequence[str]
) -> tuple[dict[str, list[str]], dict[str, list[float]]]:
    lists, scores = {}, {}
    for query, similarity in zip(query_names, (as_float64(queries) @ as_float64(items).T).round(9), strict=True):
        order = np.argsort(-similarity, kind="stable")
        lists[query], scores[query] = [names[row] for row in order], similarity[order].tolist()
    return lists, scores


def test_lists_of_exact_ranks_equal_the_vectors_to_the_last_bit(judged: Judged, tmp_path: Path) -> None:
    model = TextVectors()
    base = cb.run(model, tasks=["retrieval"], data=str(judged.folder), out=tmp_path / "base")
    queries = model.encode_texts([f"query {id}" for id in judged.queries])
    documents = model.encode_texts([f"text {id}" for id in judged.documents])
    file = write_json(
        tmp_path / "exact.jsonl", *lists_with_scores(queries, documents, judged.documents, judged.queries)
    )
    run = measured(file, judged.folder)
    assert base.result.evaluations[0].baselines["judged_tie_rate"].value
    assert run.result.evaluations[0].metrics == base.result.evaluations[0].metrics
    assert run.result.evaluations[0].baselines == base.result.evaluations[0].baselines
    assert cb.compare(base, run, max_drop="0").exit_status == 0


@pytest.fixture
def captions(tmp_path: Path) -> Path:
    """Write 12 images with two captions each."""
    folder = tmp_path / "photos"
    folder.mkdir()
    lines = ["image,caption"]
    for row in range(12):
        Image.new("RGB", (8, 8), (row * 20, 7, 9)).save(folder / f"{row:02}.png")
        lines += [f"{row:02}.png,caption {row} {number}" for number in range(2)]
    (folder / "captions.csv").write_text("\n".join(lines))
    return folder / "captions.csv"


@pytest.mark.parametrize("side", ["text", "image"])
def test_both_directions_of_captions_equal_the_vectors(captions: Path, tmp_path: Path, side: str) -> None:
    model = TextVectors()
    base = cb.run(model, tasks=["retrieval"], data=str(captions), out=tmp_path / "base")
    data = cb.load_data(str(captions))
    assert data.captions is not None
    texts, names = [*data.captions], [*data.image_ids]
    of_texts, of_images = model.encode_texts(texts), model.encode_images([image.open() for image in data.images])
    if side == "text":
        lists, scores = lists_with_scores(of_texts, of_images, names, texts)
    else:
        lists, scores = lists_with_scores(of_images, of_texts, texts, names)
    run = measured(write_json(tmp_path / "exact.jsonl", lists, scores), captions)
    prefix = "image_retrieval" if side == "text" else "text_retrieval"
    metrics, expected = run.result.evaluations[0].metrics, base.result.evaluations[0].metrics
    assert metrics.keys() == expected.keys()
    for name, metric in metrics.items():
        if name.startswith(prefix):
            assert metric == expected[name]
        else:
            assert metric.value is None and "no lists of" in str(metric.reason)
    assert cb.compare(base, run, max_drop="0").exit_status == 0  # what lists cannot define is not gated
    assert len(run.failures("retrieval", n=3)) == 3


def test_a_loss_in_lists_fails_the_gate(captions: Path, tmp_path: Path) -> None:
    texts = [f"caption {row} {number}" for row in range(12) for number in range(2)]
    owner = {text: f"{text.split()[1]:0>2}.png" for text in texts}
    other_names = {text: [name for name in sorted({*owner.values()}) if name != owner[text]] for text in texts}
    good = write_json(tmp_path / "good.jsonl", {text: [owner[text], *other_names[text][:4]] for text in texts})
    bad = write_json(tmp_path / "bad.jsonl", {text: other_names[text][:5] for text in texts})
    runs = [measured(file, captions) for file in (good, bad)]
    metrics = runs[1].result.evaluations[0].metrics
    assert metrics["image_retrieval_recall@1"].value == 0 == metrics["image_retrieval_recall@5"].value
    reason = "finished result lists do not define it: it needs the first 10 results, and the lists end at 5"
    assert metrics["image_retrieval_recall@10"].reason == reason
    assert metrics["image_retrieval_median_rank"].value is None
    comparison = cb.compare(*runs, max_drop="0.5pp")
    assert comparison.exit_status == 1 and comparison.verdict == "worse"


def test_empty_and_missing_lists_find_nothing(judged: Judged, tmp_path: Path) -> None:
    best = {query: sorted(grades, key=grades.get, reverse=True)[:1] for query, grades in judged.grades.items()}  # type: ignore[arg-type]
    lists = {query: best[query] for query in judged.queries[: N_QUERIES // 2]}
    file = write_json(tmp_path / "half.jsonl", lists | {"q20": []})
    run = measured(file, judged.folder, missing="empty")
    evaluation = run.result.evaluations[0]
    assert evaluation.metrics["hit_rate@1"].value == 0.5 == evaluation.metrics["mrr"].value
    assert any("14 queries without a list" in note for note in evaluation.notes)
    assert any("15 of 30 lists have fewer than 1 results" in note for note in evaluation.notes)


GOOD = '{"query": "q0", "results": ["d1", "d2"]}\n'


@pytest.mark.parametrize(
    ("text", "options", "fault"),
    [
        ("", [], "is empty: expected lines of QUERY Q0 FILE RANK SCORE TAG"),
        ('{"query": "q0", "results": ["nowhere"]}', ["missing=empty"], "got the document 'nowhere', which"),
        ('{"query": "q99", "results": ["d1"]}', [], "got the query 'q99', which"),
        (GOOD * 2, [], "got query 'q0' again, after"),
        ("q0 Q0 d1 1 0.5 x\nq0 Q0 d2 2 0.9 x", [], "scores contradict ranks: got 0.9 at rank 2 after 0.5 at rank 1"),
        ('{"query": "q0", "results": ["d1", "d2"], "scores": [0.1, 0.2]}', [], "scores contradict ranks: got 0.2"),
        ('{"query": "q0", "results": ["d1", "d2"], "scores": [0.1]}', [], "got 1 scores of 2 results"),
        ('{"query": "q0", "results": ["d1", "d1"]}', [], "got 'd1' again, expected each result once"),
        (GOOD, [], "has lists for 1 of 30 queries: the first query without a list is 'q1'. Add an empty list for each"),
        ('{"query": "q0", "results": []}', [], "has only empty lists"),
        (GOOD, ["depth=0"], "expected 1 or more results"),
        (GOOD, ["missing=zero"], "expected --model-option missing=empty"),
        (GOOD, ["direction=left"], "expected text or image"),
        (GOOD, ["direction=text"], "because its judgements already define the queries: remove it"),
        (GOOD, ["top=3"], "takes no option 'top'"),
    ],
)
def test_what_does_not_fit_is_one_line(
    judged: Judged, tmp_path: Path, capfd: pytest.CaptureFixture[str], text: str, options: list[str], fault: str
) -> None:
    (tmp_path / "lists").write_text(text)
    arguments = ["run", "--model", f"rankings:{tmp_path / 'lists'}", "--tasks", "retrieval"]
    arguments += ["--data", str(judged.folder), "--out", str(tmp_path / "out"), "-q"]
    for value in options:
        arguments += ["--model-option", value]
    with pytest.raises(SystemExit) as end:
        main(arguments)
    error = capfd.readouterr().err
    assert end.value.code == 2
    assert fault in error and len(error.splitlines()) == 1
    assert not (tmp_path / "out" / "result.json").exists()


def test_both_directions_in_one_file_are_refused(captions: Path, tmp_path: Path) -> None:
    lists = {"caption 0 0": ["00.png"], "01.png": ["caption 1 0"]}
    file = write_json(tmp_path / "mixed.jsonl", lists)
    with pytest.raises(cb.ClipbenchError, match="has both directions: got 1 caption and 1 image as queries"):
        measured(file, captions, missing="empty")


def test_other_tasks_say_that_lists_have_no_vectors(captions: Path, tmp_path: Path) -> None:
    file = write_json(tmp_path / "lists.jsonl", {"caption 0 0": ["00.png"]})
    with pytest.raises(cb.ClipbenchError, match="holds result lists, no vectors: only retrieval can be measured"):
        cb.run(f"rankings:{file}", tasks=["modality-gap"], data=str(captions), out=tmp_path / "out")
