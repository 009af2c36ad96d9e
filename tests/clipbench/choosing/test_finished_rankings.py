"""Finished rankings in a pool: the same as the models that made them, and whatever does not fit is refused in a line."""

import json
import re
import threading
from collections.abc import Callable, Sequence
from functools import partial
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import clipbench as cb
from clipbench.choosing.finished_rankings import read_ranking
from clipbench.choosing.judgement_log import append, grade_lines, read_log, write_qrels
from clipbench.choosing.make import PoolOptions, make_pool
from clipbench.choosing.pool import Pool, read_rankings
from clipbench.choosing.verdict import choose_model
from clipbench.cli import main
from clipbench.errors import DataError, NotComparable, UsageError
from clipbench.models.protocol import Embedder
from clipbench.results.record import PriceRecord
from tests.clipbench.choosing.conftest import NoisyModel

N_IMAGES, N_QUERIES, K = 82, 30, 10
QUERIES = [f"query {number}" for number in range(N_QUERIES)]


MODELS = {name: NoisyModel(name, noise, n_images=N_IMAGES) for name, noise in (("good", 0.2), ("weaker", 0.4))}


@pytest.fixture
def photographs(draw_photographs: Callable[..., Path]) -> Path:
    return draw_photographs(N_IMAGES, "photo-{:02}.png")


def names_of(photographs: Path) -> list[str]:
    """Return the photographs in the order of a pool."""
    return sorted((path.relative_to(photographs).as_posix() for path in photographs.rglob("*.png")), key=Path)


def ranked(photographs: Path, model: NoisyModel) -> list[list[str]]:
    """Return all photographs for each query, the best first, by plain inner products."""
    names = names_of(photographs)
    images = model.encode("image", names)
    queries = model.encode("text", QUERIES)
    images, queries = (side / np.linalg.norm(side, axis=1, keepdims=True) for side in (images, queries))
    order = np.argsort(-(queries.astype(np.float64) @ images.T.astype(np.float64)), axis=1)
    return [[names[row] for row in rows] for rows in order]


def write_json(file: Path, results: Sequence[Sequence[str]], queries: Sequence[str] = QUERIES) -> Path:
    lines = [json.dumps({"query": query, "results": [*files]}) for query, files in zip(queries, results, strict=True)]
    file.write_text("\n".join(lines))
    return file


def write_trec(file: Path, results: Sequence[Sequence[str]]) -> Path:
    rows = [
        f"q{number} Q0 {name.rpartition('/')[2]} {rank} {1 / rank:.6f} engine\n"
        for number, names in enumerate(results, 1)
        for rank, name in enumerate(names, 1)
    ]
    file.write_text("".join(reversed(rows)))  # the order of lines says nothing
    return file


def judge(pool: Pool) -> None:
    """Grade all candidates: 3 for the photograph of the query's number, 1 for those next to it; of the last query, 0."""
    for query, images in pool.candidates.items():
        grades: dict[str, int | None] = {}
        for image in images:
            distance = abs(int(image[1:]) - int(query[1:]))
            grades[image] = 3 if distance == 0 else int(distance < 4)
        if query == f"q{N_QUERIES}":
            grades = dict.fromkeys(images, 0)
        append(pool, grade_lines(query, grades, "script"))


def make(photographs: Path, folder: Path, models: Sequence[str], rankings: dict[str, Path], **options: Any) -> Pool:
    loaders: list[tuple[str, Callable[[], Embedder]]] = [(name, partial(MODELS.__getitem__, name)) for name in models]
    return make_pool(loaders, photographs, QUERIES, folder, PoolOptions(k=K, rankings=[*rankings.items()], **options))


def test_rankings_have_the_values_of_their_models_and_of_trec_eval(photographs: Path, tmp_path: Path) -> None:
    trec = pytest.importorskip("pytrec_eval", reason="trec_eval's own code, in pytrec-eval-terrier")
    exact, weaker = (ranked(photographs, MODELS[name]) for name in ("good", "weaker"))
    rng = np.random.default_rng(0)
    approximate = [[name for name in names if rng.random() > 0.1][: 2 * K] for names in exact]  # loses a tenth
    ann = write_json(tmp_path / "ann.jsonl", approximate)
    files = {
        "good": write_trec(tmp_path / "good.trec", exact),
        "weaker": write_json(tmp_path / "weaker.jsonl", weaker),
    }
    by_models = make(photographs, tmp_path / "models", ["good", "weaker"], {"ann": ann})
    by_files = make(photographs, tmp_path / "files", [], {**files, "ann": ann})
    assert by_files.candidates == by_models.candidates and by_files.facts.rankings == ["good", "weaker", "ann"]
    assert all(read_rankings(by_files)[query].models == line.models for query, line in read_rankings(by_models).items())
    for pool in (by_models, by_files):
        judge(pool)
    choices = [choose_model(read_log(pool), scope="list") for pool in (by_models, by_files)]
    assert choices[0].scores == choices[1].scores and choices[0].differences == choices[1].differences
    assert choices[0].is_decided and "good" in choices[0].sentence

    write_qrels(read_log(by_files))

    qrels: dict[str, dict[str, int]] = {}
    for line in (by_files.folder / "qrels/test.txt").read_text().splitlines():
        query, _, image, grade = line.split(" ")
        qrels.setdefault(query, {})[image] = int(grade)
    measures = {f"nDCG@{K}": f"ndcg_cut_{K}", f"precision@{K}": f"P_{K}", f"success@{K}": f"success_{K}"}
    ids = {Path(by_files.name(image)).as_posix(): image for image in by_files.images}
    for name, results in {"good": exact, "weaker": weaker, "ann": approximate}.items():
        run = {
            f"q{number}": {ids[file]: float(-rank) for rank, file in enumerate(files_of_query[:K])}
            for number, files_of_query in enumerate(results, 1)
        }
        names = {f"{measure.rpartition('_')[0]}.{K}" for measure in measures.values()}
        per_query = trec.RelevanceEvaluator(qrels, names).evaluate(run)
        assert len(per_query) == N_QUERIES
        for metric, measure in measures.items():
            expected = np.mean([values[measure] for values in per_query.values()])
            assert choices[1].scores[name][metric].value == pytest.approx(expected)
    lost = {difference.model: difference for difference in choices[1].differences if difference.other == "ann"}
    assert lost["good"].value > 0  # the loss of the index, by itself


def test_a_pool_of_rankings_grows_with_its_queries_and_refuses_another_version(
    photographs: Path, tmp_path: Path
) -> None:
    exact = ranked(photographs, MODELS["good"])
    other = write_json(tmp_path / "other.jsonl", ranked(photographs, MODELS["weaker"]))
    first, more = QUERIES[:20], QUERIES
    files = {"good": write_json(tmp_path / "good.jsonl", exact[:20], first), "other": other}
    other.write_text("\n".join(other.read_text().split("\n")[:20]))
    pool = make_pool([], photographs, first, tmp_path / "pool", PoolOptions(k=K, rankings=[*files.items()]))
    judge(pool)
    write_json(files["good"], exact, more)
    write_json(other, ranked(photographs, MODELS["weaker"]), more)
    longer = make_pool([], photographs, more, tmp_path / "pool", PoolOptions(k=K, rankings=[*files.items()]))
    assert len(longer.queries) == N_QUERIES and read_log(longer).n == read_log(pool).n > 0
    write_json(files["good"], [names[::-1] for names in exact], more)
    with pytest.raises(NotComparable, match="holds a pool of another version of good: its fingerprint is"):
        make_pool([], photographs, more, tmp_path / "pool", PoolOptions(k=K, rankings=[*files.items()]))


def test_a_result_is_named_by_its_path_or_its_last_part_and_copies_count_once(
    photographs: Path, tmp_path: Path
) -> None:
    (photographs / "copy.png").write_bytes((photographs / "photo-00.png").read_bytes())
    short = [[name.rpartition("/")[2] for name in names] for names in ranked(photographs, MODELS["good"])]
    short[0] = ["photo-00.png", "copy.png", *(name for name in short[0] if name not in ("photo-00.png", "copy.png"))]
    rankings = [["copy.png", *names] for names in ranked(photographs, MODELS["weaker"])]
    rankings[0] = ["copy.png", *(name for name in rankings[0][1:] if name != "copy.png")]
    rankings[1:] = [names[1:] for names in rankings[1:]]
    files = {
        "short": write_json(tmp_path / "short.jsonl", short),
        "whole": write_json(tmp_path / "whole.jsonl", rankings),
    }
    pool = make(photographs, tmp_path / "pool", [], files)
    assert pool.facts.n_images == N_IMAGES
    line = read_rankings(pool)["q1"]
    items = next(image for image, path in pool.images.items() if path.name == "copy.png")
    assert line.models["short"][0] == items == line.models["whole"][0] and len({*line.models["short"]}) == K
    (photographs / "other").mkdir()
    (photographs / "other/photo-01.png").write_bytes(b"another with this name")
    with pytest.raises(DataError, match=r"'photo-01.png', the file name of 2 photographs: expected names relative to"):
        make(photographs, tmp_path / "again", [], {"short": files["short"], "whole": files["whole"]})


def test_an_unreadable_photograph_is_an_error_or_left_out(photographs: Path, tmp_path: Path) -> None:
    (photographs / "bad.png").write_bytes(b"no image")
    results = [["bad.png", *names] for names in ranked_without(photographs, "bad.png")]
    files = {name: write_json(tmp_path / f"{name}.jsonl", results) for name in ("a", "b")}
    with pytest.raises(DataError, match=r"cannot read image .*bad.png"):
        make(photographs, tmp_path / "pool", [], files)
    notes: list[str] = []
    options = PoolOptions(k=K, rankings=[*files.items()], skip_bad_images=True)
    pool = make_pool([], photographs, QUERIES, tmp_path / "pool", options, note=notes.append)
    assert notes[0] == f"skipped 1 of {N_IMAGES + 1} images" and notes[1].startswith("skipped ") and len(notes) == 2
    assert pool.facts.n_images == N_IMAGES
    assert all(path.name != "bad.png" for path in pool.images.values())


def ranked_without(photographs: Path, name: str) -> list[list[str]]:
    names = [other for other in names_of(photographs) if other != name]
    return [names[number:] + names[:number] for number in range(N_QUERIES)]


def price(name: str) -> PriceRecord:
    return PriceRecord(load_seconds=1.0, text_p50=0.01, vector_bytes=4)


def test_prices_are_those_of_the_models(photographs: Path, tmp_path: Path) -> None:
    file = write_json(tmp_path / "engine.jsonl", ranked(photographs, MODELS["weaker"]))
    with pytest.raises(UsageError, match=r"measures models: got only finished rankings\. Remove it\."):
        make(photographs, tmp_path / "pool", [], {"a": file, "b": file}, price=price)
    pool = make(photographs, tmp_path / "pool", ["good"], {"a": file}, price=price)
    judge(pool)
    choice = choose_model(read_log(pool), scope="list")
    assert [*pool.facts.prices] == ["good"] and choice.front() == ["good"] and len(choice.tables()) == 3
    assert "no other model with a price is better" in choice.text()
    only = make(photographs, tmp_path / "only", [], {"a": file, "b": file})
    assert "The price of a query was not measured" not in choose_model(read_log(only)).text()
    unpriced = make(photographs, tmp_path / "unpriced", ["good"], {"a": file})
    assert "The price of a query was not measured" in choose_model(read_log(unpriced)).text()


TREC = "q1 Q0 b.png 2 0.5 x\nq1 Q0 a.png 1 0.9 x\nq2 Q0 a.png 7 3 x\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (TREC, [["a.png", "b.png"], ["a.png"]]),
        (
            '{"query": "two", "results": ["x"]}\n\n{"query": "q1", "results": ["y", "z"]}',
            [["y", "z"], ["x"]],
        ),
    ],
)
def test_both_forms_are_read(tmp_path: Path, text: str, expected: list[list[str]]) -> None:
    (tmp_path / "run").write_text(text)
    assert [query.results for query in read_ranking(tmp_path / "run", ["one", "two"])] == expected


def test_a_text_counts_before_the_number_of_another_query(tmp_path: Path) -> None:
    (tmp_path / "run").write_text('{"query": "q1", "results": ["x"]}\n{"query": "one", "results": ["y"]}')
    assert [query.results for query in read_ranking(tmp_path / "run", ["one", "q1"])] == [["y"], ["x"]]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "run is empty: expected lines of QUERY Q0 FILE RANK SCORE TAG, or"),
        (
            TREC.replace("q2", "q9"),
            "query q9: got the query 'q9', expected a line of the queries, or q1 to q2",
        ),
        (TREC.replace("a.png 1", "b.png 1"), "query q1: got 'b.png' again, expected each result once"),
        (TREC.replace("2 0.5", "1 0.5"), r"query q1: scores contradict ranks: got 0\.9 at rank 1 after 0\.5 at rank 1"),
        (TREC.replace("2 0.5", "2 9.5"), r"query q1: scores contradict ranks: got 9\.5 at rank 2 after 0\.9"),
        (TREC.replace("2 0.5", "2 nan"), "scores contradict ranks: got nan at rank 2 after 0"),
        ("q1 Q0 a.png 1\n", "line 1: got 'q1 Q0 a.png 1', expected QUERY Q0 FILE RANK SCORE TAG, or"),
        ('{"query": "one", "results": ["x"]}', "results of 1 of 2 queries: the first query without a result is 'two'"),
        ('{"query": "one", "results": ["x"]}\n' * 2, "line 2: got query 'one' again, after .*line 1"),
        ('{"query": "one", "results": "x"}', "line 1: results is 'x', expected a list. Write {\"query\": "),
        ('{"query": ', "line 1 is not JSON"),
    ],
)
def test_what_does_not_fit_is_refused_in_a_line(tmp_path: Path, text: str, fault: str) -> None:
    (tmp_path / "run").write_text(text)
    with pytest.raises(DataError, match=fault):
        read_ranking(tmp_path / "run", ["one", "two"])


def test_short_lists_are_taken_and_lack_what_they_do_not_have(photographs: Path, tmp_path: Path) -> None:
    exact = ranked(photographs, MODELS["good"])
    good = write_json(tmp_path / "good.jsonl", exact)
    few = write_json(tmp_path / "few.jsonl", [exact[0][:7], [], *(names[:1] for names in exact[2:])])
    notes: list[str] = []
    options = PoolOptions(k=K, rankings=[("good", good), ("few", few)])
    pool = make_pool([], photographs, QUERIES, tmp_path / "pool", options, note=notes.append)
    assert notes == ["few: 30 of 30 lists have fewer than 10 photographs, without copies and unreadable images"]
    lines = read_rankings(pool)
    assert [len(lines[query].models["few"]) for query in ("q1", "q2", "q3")] == [7, 0, 1]
    assert lines["q1"].models["few"] == lines["q1"].models["good"][:7]
    judge(pool)
    choice = choose_model(read_log(pool), scope="list")
    assert choice.is_decided and "good" in choice.sentence
    alone = PoolOptions(k=K, rankings=[("few", few), ("same", few)], n_random=0)
    with pytest.raises(DataError, match="no ranking has a result of query 'query 1': there is nothing to judge"):
        make_pool([], photographs, QUERIES, tmp_path / "nothing", alone)


def test_unknown_photographs_are_refused(photographs: Path, tmp_path: Path) -> None:
    exact = ranked(photographs, MODELS["good"])
    good = write_json(tmp_path / "good.jsonl", exact)
    unknown = write_json(tmp_path / "unknown.jsonl", [*exact[:-1], ["nope.png", *exact[-1]]])
    with pytest.raises(
        DataError, match=r"line 30: got 'nope.png', which is not in .*photographs: expected names relative"
    ):
        make(photographs, tmp_path / "pool", [], {"good": good, "unknown": unknown})
    with pytest.raises(UsageError, match="a pool needs two models or rankings, got 1"):
        make(photographs, tmp_path / "pool", [], {"good": good})
    with pytest.raises(UsageError, match="two models or rankings are called good: remove one"):
        make(photographs, tmp_path / "pool", ["good"], {"good": good})


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (["b"], "--ranking b: expected NAME=FILE, such as immich=immich.jsonl"),
        (["=x"], "--ranking =x: expected NAME=FILE"),
        (["a=x", "a=y"], "two models or rankings are called a: remove one, or give it another name"),
    ],
)
def test_the_command_takes_a_name_and_a_file(
    photographs: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], values: list[str], message: str
) -> None:
    (tmp_path / "queries.txt").write_text("\n".join(QUERIES))
    options = ["--images", str(photographs), "--queries", str(tmp_path / "queries.txt"), "--out", str(tmp_path / "out")]
    rankings = [part for value in values for part in ("--ranking", value)]
    with pytest.raises(SystemExit) as end:
        main(["pool", *rankings, *options])
    error = capfd.readouterr().err
    assert end.value.code == 2 and message in error and len(error.splitlines()) == 1


def test_python_takes_rankings_without_models(photographs: Path, tmp_path: Path) -> None:
    files = {name: write_json(tmp_path / f"{name}.jsonl", ranked(photographs, model)) for name, model in MODELS.items()}
    pool = cb.pool([], photographs, QUERIES, tmp_path / "pool", rankings=files)
    assert [*pool.facts.models] == ["good", "weaker"] and not cb.choose(pool).is_decided


class StubEngine(BaseHTTPRequestHandler):
    """Answers as a plain search engine, and as immich."""

    def do_POST(self) -> None:
        content = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        names = [f"{content['query']} {number}.png" for number in range(int(content.get("size") or content["limit"]))]
        answer: dict[str, Any] = {"hits": [{"file": name} for name in names]}
        if self.path == "/api/search/smart" and self.headers["x-api-key"] and content["type"] == "IMAGE":
            answer = {"assets": {"items": [{"originalFileName": name} for name in names]}}
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(answer).encode())

    def log_message(self, *args: object) -> None:
        """Print nothing."""


def test_the_scripts_of_the_guide_write_files_that_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = Path(__file__).parents[3] / "docs/choose.md"
    if not page.is_file():
        pytest.skip("docs/ is not part of the source distribution")
    plain, immich = re.findall(r"```python\n(.*?def search.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    loop = plain.partition("with open")[1] + plain.partition("with open")[2]
    assert len(plain.split("\n")) <= 16
    monkeypatch.chdir(tmp_path)
    (tmp_path / "queries.txt").write_text("\n".join(QUERIES))
    with HTTPServer(("127.0.0.1", 0), StubEngine) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        for script in (plain, plain.partition("def search")[0] + immich + loop):
            address = f"127.0.0.1:{server.server_port}"
            exec(re.sub(r"localhost:\d+", address, script), {})  # noqa: S102  the page's own code
            results = read_ranking(tmp_path / "engine.jsonl", QUERIES)
            assert [query.results[:2] for query in results[:2]] == [
                [f"query {q} {n}.png" for n in (0, 1)] for q in (0, 1)
            ]
            (tmp_path / "engine.jsonl").unlink()
        server.shutdown()
