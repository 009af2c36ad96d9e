"""Pools, logs and verdicts: against grades by hand, with several judges, and with processes that are
killed.
"""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clipbench import files
from clipbench.choosing import make as make_module
from clipbench.choosing.judgement_log import append, grade_lines, read_log, skip_lines, undo_lines, write_qrels
from clipbench.choosing.make import PoolOptions, make_pool
from clipbench.choosing.pool import LOG, Facts, Pool, Ranking, read_pool, read_rankings
from clipbench.choosing.verdict import _unseen, choose_model
from clipbench.data.dataset import DataOptions
from clipbench.data.dataset_loading import load_data
from clipbench.errors import ClipbenchError, DataError, MachineError, NotComparable, UsageError
from clipbench.results.record import PriceRecord
from clipbench.testing import ToyModel
from tests.clipbench.choosing.conftest import NoisyModel

N_IMAGES, N_QUERIES, K = 24, 12, 4


Known = partial(NoisyModel, n_images=N_IMAGES)


@pytest.fixture
def photographs(draw_photographs: Callable[..., Path]) -> Path:
    return draw_photographs(N_IMAGES, "{:02} ü.png")


Make = Callable[..., Pool]


@pytest.fixture
def make(photographs: Path, tmp_path: Path) -> Make:
    """Return a function that makes a pool of two models, a better one and a worse one."""

    def make(
        *, out: str = "pool", models: dict[str, float] | None = None, queries: range = range(N_QUERIES), **options: Any
    ) -> Pool:
        noises = models or {"better": 0.1, "worse one": 0.5}
        loaders = [(name, partial(Known, name, noise)) for name, noise in noises.items()]
        texts = [f"query {number}" for number in queries]
        return make_pool(loaders, photographs, texts, tmp_path / out, PoolOptions(**{"k": K, "n_random": 2, **options}))

    return make


def judge(pool: Pool, queries: list[str]) -> None:
    """Grade all candidates of queries: the photograph of the query's number, and some others."""
    rng = np.random.default_rng(0)
    for query in queries:
        right = f"p{query[1:]}"
        grades = {image: 3 if image == right else int(rng.integers(0, 8) == 0) for image in pool.candidates[query]}
        append(pool, grade_lines(query, grades, "anna"))


def test_candidates_are_the_first_of_all_models_and_random_others_in_an_order_that_tells_nothing(make: Make) -> None:
    pool = make()
    rankings = read_rankings(pool)
    assert list(pool.candidates) != sorted(pool.candidates) and len(pool.candidates) == N_QUERIES
    for query, images in pool.candidates.items():
        firsts = {image for first in rankings[query].models.values() for image in first}
        assert sorted(images) == sorted({*firsts, *rankings[query].random})
        assert len(rankings[query].random) == 2 and not firsts & set(rankings[query].random)
        assert rankings[query].models["better"][0] == f"p{query[1:]}"
    text = "".join((pool.folder / name).read_text() for name in ("candidates.jsonl", "queries.jsonl", "corpus.jsonl"))
    assert "better" not in text and "random" not in text
    assert make(out="again").candidates == pool.candidates


def test_a_judged_pool_is_judged_data(make: Make) -> None:
    pool = make()
    judge(pool, [*pool.queries])
    log = read_log(pool)
    write_qrels(log)
    dataset = load_data(str(pool.folder), DataOptions())
    assert dataset.judgements is not None and len(dataset.judgements.grade) == log.n
    assert {image.name for image in dataset.images} == {str(path) for path in pool.images.values()}


def test_what_is_open_is_bounded_both_ways_and_the_bounds_contain_the_full_values(make: Make) -> None:
    pool = make()
    judge(pool, [*pool.queries])
    lines = (pool.folder / LOG).read_text().splitlines(keepends=True)
    choice = choose_model(read_log(pool), scope="list")
    (pool.folder / LOG).write_text("".join(lines[: len(lines) // 2]))
    half = choose_model(read_log(pool), scope="list")
    assert half.n_open == 1 and 0 < half.n_queries < N_QUERIES
    assert half.differences[0].low <= choice.differences[0].value <= half.differences[0].high
    assert choice.differences[0].low == choice.differences[0].high == pytest.approx(choice.differences[0].value)
    begun = read_log(pool).begun()
    (pool.folder / LOG).write_text("".join(line for line in lines if json.loads(line)["query"] in begun))
    full = choose_model(read_log(pool))
    for model, scores in half.scores.items():
        for name, score in scores.items():
            value = full.scores[model][name].value
            assert value is not None and score.low <= value <= score.high and score.low < score.high


@pytest.mark.parametrize(
    ("models", "expected"),
    [
        ({"better": 0.0, "bad": 50.0}, "better is better than bad (+"),
        ({"better": 0.0, "as good": 0.001}, "better is equal, within 3 points, to as good (0.00 pp [0.00, 0.00])"),
        ({"better": 0.0, "as good": 0.001, "bad": 50.0}, "better is better than bad (+"),
        ({"one": 0.5, "two": 0.5}, "Not decided after 2 queries and "),
    ],
)
def test_the_verdict_is_a_sentence(make: Make, models: dict[str, float], expected: str) -> None:
    pool = make(models=models)
    queries = [*pool.queries]
    for query in queries[:2] if "one" in models else queries:
        grades = {image: 3 * (image == f"p{query[1:]}") for image in pool.candidates[query]}
        append(pool, grade_lines(query, grades, "anna"))
    chosen = choose_model(read_log(pool), scope="list")
    assert chosen.sentence.startswith(expected) and chosen.is_decided == ("one" not in models)
    assert str(chosen).startswith(chosen.sentence.replace("−", "-"))
    assert str(chosen).count(chosen.sentence.replace("−", "-")) == 1
    if len(models) == 3:
        assert "and equal, within 3 points, to as good (0.0" in chosen.sentence


def price(milliseconds: float) -> PriceRecord:
    machine, reasons = {"device": "H100"}, {"memory_bytes": "untold"}
    return PriceRecord(
        load_seconds=1, text_p50=milliseconds / 1000, vector_bytes=2048, machine=machine, reasons=reasons
    )


@pytest.mark.parametrize(
    ("models", "prices", "front"),
    [
        ({"better": 0.0, "as good": 0.001, "bad": 50.0}, (10, 20, 5), ["bad", "better"]),
        ({"better": 0.0, "as good": 0.001, "bad": 50.0}, (20, 10, 10), ["as good"]),
        ({"better": 0.0, "as good": 0.001, "bad": 50.0}, (10, 10, 10), ["better", "as good"]),
        ({"one": 0.5, "two": 0.5}, (20, 10), ["two", "one"]),
    ],
)
def test_prices_stand_beside_the_verdict_and_the_front_is_of_what_is_decided(
    make: Make, models: dict[str, float], prices: tuple[float, ...], front: list[str]
) -> None:
    pool = make(models=models, price=lambda name: price(prices[[*models].index(name)]))
    assert choose_model(read_log(pool)).front() == []  # nothing is judged
    for query in [*pool.queries][: 2 if "one" in models else N_QUERIES]:
        append(
            pool,
            grade_lines(query, {image: 3 * (image == f"p{query[1:]}") for image in pool.candidates[query]}, "anna"),
        )
    chosen = choose_model(read_log(pool), scope="list")
    assert chosen.front() == front
    (name, scores), shown = next(iter(chosen.scores.items())), str(chosen)
    score = 100 * (scores[f"nDCG@{K}"].value or 0)
    assert re.search(rf"^{name} +{score:.1f} +{prices[0]} +– +– +2,048$", shown, re.MULTILINE)
    assert f"Pareto front of nDCG@{K} and the time of one query: {' and '.join(front)}. " in shown
    assert "after warming up, on H100\n" in shown and "untold" in chosen.facts()


def test_prices_are_added_to_a_pool_that_is_judged_and_kept(make: Make) -> None:
    pool = make()
    judge(pool, ["q1"])
    plain = choose_model(read_log(pool))
    assert len(plain.tables()) == 2 and "not measured: the same pool with price=True adds it." in str(plain)
    for price_of, expected in ((lambda name: price(5), 0.005), (None, 0.005), (lambda name: price(7), 0.007)):
        again = make(price=price_of)
        assert [each.text_p50 for each in again.facts.prices.values()] == [expected] * 2
        assert read_log(again).n and "not measured" not in str(choose_model(read_log(again)))


def test_relevant_photographs_that_no_model_found_are_estimated(make: Make) -> None:
    pool = make()
    rankings = read_rankings(pool)
    for query, images in pool.candidates.items():
        random = rankings[query].random
        append(pool, grade_lines(query, {image: int(image == random[0]) for image in images}, "anna"))
    chosen = choose_model(read_log(pool))
    unseen = chosen.unseen
    assert unseen is not None and (unseen.n_relevant, unseen.n_drawn) == (N_QUERIES, 2 * N_QUERIES)
    sizes = [N_IMAGES - len({i for first in ranking.models.values() for i in first}) for ranking in rankings.values()]
    assert unseen.value == pytest.approx(np.mean(sizes) / 2)
    assert 0 < unseen.low < unseen.value < unseen.high < max(sizes)
    sentence = f"for future queries like these: {unseen.value:.1f} [{unseen.low:.1f}, {unseen.high:.1f}] per query,"
    assert f"that no model found, {sentence}" in str(chosen)
    assert "no model found, for the 12 queries of the list: " in str(choose_model(read_log(pool), scope="list"))


@pytest.mark.parametrize(("share_of_queries", "share_of_images"), [(0.1, 1.0), (0.1, 0.3), (1.0, 0.02)])
def test_relevant_photographs_that_no_model_found_are_covered_for_future_queries(
    share_of_queries: float, share_of_images: float
) -> None:
    """A few queries may have all of them: simulated, n = 60 queries with 5 of 100 photographs each."""
    n_queries, n_images, n_drawn, n_simulations = 60, 100, 5, 300
    ids = [f"q{row}" for row in range(n_queries)]
    lines = [f"p{row}" for row in range(n_drawn)]
    facts = Facts(models={"a": "a", "b": "b"}, images="", n_images=n_images, content="", k=1, n_random=n_drawn, seed=0)
    candidates = dict.fromkeys(ids, lines)
    pool = Pool(folder=Path(), facts=facts, queries={}, candidates=candidates, batches={}, images={})
    rankings = {query: Ranking(query=query, models={}, random=lines) for query in ids}
    rng, n_covered = np.random.default_rng(0), 0
    for _ in range(n_simulations):
        n_relevant = np.where(rng.random(n_queries) < share_of_queries, round(share_of_images * n_images), 0)
        hits = rng.hypergeometric(n_relevant, n_images - n_relevant, n_drawn)
        grades = {
            query: {image: int(row < n_hits) for row, image in enumerate(lines)}
            for query, n_hits in zip(ids, hits.tolist(), strict=True)
        }
        unseen = _unseen(pool, rankings, grades)
        assert unseen is not None
        n_covered += unseen.low <= share_of_queries * share_of_images * n_images <= unseen.high
    assert n_covered / n_simulations >= 0.93


def test_of_several_judges_the_lower_median_counts_and_what_they_grade_apart_is_listed(make: Make) -> None:
    pool = make()
    query = next(iter(pool.queries))
    first, second, *_ = images = pool.candidates[query]
    for name, grade in (("anna", 0), ("ben", 3), ("cem", 1), ("dora", 2)):
        append(pool, grade_lines(query, {**dict.fromkeys(images, 0), first: grade}, name))
    log = read_log(pool)
    assert (log.grades(query) or {})[first] == 1 and log.judges == ["anna", "ben", "cem", "dora"]
    assert [disagreement[:2] for disagreement in log.disagreements()] == [(query, first)]
    append(pool, skip_lines(query, "anna"))  # without a say, and the grades of others stay
    assert (read_log(pool).grades(query) or {})[first] == 2
    append(pool, undo_lines(read_log(pool), "anna"))
    assert (read_log(pool).grades(query) or {})[first] == 1
    append(pool, undo_lines(read_log(pool), "anna"))  # all that anna graded at one moment, and nothing of others
    assert "anna" not in read_log(pool).by_judge(query)[second] and read_log(pool).n == 3 * len(images)


LINE = {"query": "q1", "image": "p1", "grade": 1, "judge": "anna", "time": "t"}


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("grade: 3", "line 2 is not a judgement: Expecting value"),
        ("[]", "line 2 is not a judgement: it is [], expected an object"),
        ({**LINE, "grade": 7}, "line 2 is not a judgement: grade is 7, expected 0 to 3, or null"),
        ({**LINE, "grade": True}, "line 2 is not a judgement: grade is True, expected an integer"),
        ({**LINE, "query": "q99"}, "line 2 is not a judgement: query is 'q99', which the pool lacks"),
        ({**LINE, "image": "p99"}, "line 2 is not a judgement: image is 'p99', which is not a candidate of query q1"),
        ({**LINE, "judge": ""}, "line 2 is not a judgement: expected a judge, and either an image or skip"),
        ({**LINE, "skip": True}, "line 2 is not a judgement: expected a judge, and either an image or skip"),
        ({"query": "q1"}, "line 2 is not a judgement: judge is not there"),
    ],
)
def test_a_log_that_was_edited_into_nonsense_is_refused_by_its_line(make: Make, line: object, fault: str) -> None:
    pool = make()
    append(pool, grade_lines("q1", {pool.candidates["q1"][0]: 1}, "anna"))
    with (pool.folder / LOG).open("a") as file:
        file.write(f"{line if isinstance(line, str) else json.dumps(line)}\n")
    with pytest.raises(DataError) as error:
        read_log(pool)
    assert fault in str(error.value) and str(error.value).endswith("Fix or remove the line")


WORKER = """
import sys
from pathlib import Path
from typing import Any
from clipbench.choosing import make as make_module
from clipbench.choosing.judgement_log import append, grade_lines
from clipbench.choosing.pool import read_pool
pool = read_pool(Path(sys.argv[1]))
for query, images in pool.candidates.items():
    for image in images:
        for grade in range(3):
            append(pool, grade_lines(query, {image: grade}, sys.argv[2]))
            print(f"{query} {image} {grade}\\n", end="", flush=True)  # in one piece, also where Python does not buffer
"""


def test_two_judges_at_once_lose_nothing(make: Make) -> None:
    pool = make()
    started = [
        subprocess.Popen([sys.executable, "-c", WORKER, pool.folder, name], stdout=subprocess.PIPE) for name in "ab"
    ]
    for popen in started:
        popen.communicate(timeout=120)
    n = sum(map(len, pool.candidates.values()))
    log = read_log(pool)
    assert log.n == 2 * n and {line.grade for line in log.lines} == {2} and not log.notes
    assert len((pool.folder / LOG).read_bytes().splitlines()) == 6 * n


def test_a_log_that_is_a_folder_is_no_empty_log(make: Make) -> None:
    pool = make()
    (pool.folder / LOG).unlink()
    (pool.folder / LOG).mkdir()
    with pytest.raises(DataError, match=r"cannot read .*log\.jsonl: Is a directory"):
        read_log(pool)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGKILL")
def test_a_killed_process_loses_nothing_that_it_answered_and_its_half_line_costs_a_note(make: Make) -> None:
    pool = make()
    with subprocess.Popen(
        [sys.executable, "-c", WORKER, pool.folder, "a"], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        answered = [process.stdout.readline() for _ in range(25)]
        process.kill()
        answered += process.stdout.readlines()
    written = [json.loads(line) for line in (pool.folder / LOG).read_text().splitlines()]
    lines = [f"{line['query']} {line['image']} {line['grade']}\n" for line in written]
    assert lines[: len(answered)] == answered and len(lines) - len(answered) in (0, 1)
    before = read_log(pool)
    with (pool.folder / LOG).open("a") as file:
        file.write('{"query": "q1", "ima')
    torn = read_log(pool)
    assert torn.lines == before.lines and "was never finished and is ignored" in torn.notes[0]
    append(pool, skip_lines("q1", "b"))
    assert len(read_log(pool).lines) == len(before.lines) + 1 and not read_log(pool).notes
    os.truncate(pool.folder / LOG, (pool.folder / LOG).stat().st_size - 1)  # an editor may leave out the last line end
    append(pool, skip_lines("q2", "b"))
    assert len(read_log(pool).lines) == len(before.lines) + 2


def test_a_pool_is_kept_and_never_overwritten(make: Make, photographs: Path, tmp_path: Path) -> None:
    pool = make()
    judge(pool, ["q1"])
    assert make().facts == pool.facts and read_log(make()).n
    with pytest.raises(UsageError, match=r"holds another pool \(k differ\), and judgements are never overwritten"):
        make(k=3)
    options = PoolOptions(k=K, n_random=2)
    loaders = [
        ("better", partial(Known, "better", 0.1, "new weights")),
        ("worse one", partial(Known, "worse one", 0.5)),
    ]
    with pytest.raises(
        NotComparable, match="a pool of another version of better: its fingerprint is new weights, and was better"
    ):
        make_pool(loaders, photographs, [f"query {n}" for n in range(N_QUERIES)], pool.folder, options)
    with pytest.raises(
        UsageError, match="holds a pool of other queries: keep its queries, and add new ones at the end"
    ):
        make(queries=range(1, N_QUERIES), price=lambda name: pytest.fail("measured for a pool that is refused"))
    longer = make(queries=range(N_QUERIES + 8))
    assert [*longer.queries][:N_QUERIES] == [*pool.queries] and len(longer.queries) == N_QUERIES + 8
    assert all(longer.candidates[query] == images for query, images in pool.candidates.items())
    assert read_log(longer).n == len(pool.candidates["q1"])

    judge(longer, [*pool.queries])  # all of the first batch, of whose order nothing follows for the second
    (result,) = choose_model(read_log(longer), scope="list").differences
    ends = [(N_QUERIES * result.value + 8 * side) / (N_QUERIES + 8) for side in (-1, 1)]
    assert result.value > 0.1 and (result.low, result.high) == pytest.approx(ends, abs=1e-4)


def test_equal_photographs_are_one_and_a_bad_one_is_left_out_where_asked(photographs: Path, tmp_path: Path) -> None:
    import clipbench as cb

    (photographs / "99 copy.png").write_bytes((photographs / "00 ü.png").read_bytes())
    (photographs / "bad.png").write_bytes(b"no image")
    models = [ToyModel(fingerprint="one"), ToyModel(fingerprint="two", embed_dim=16)]
    for model, name in zip(models, ("one", "two"), strict=True):
        object.__setattr__(model, "info", type(model.info)(**{**vars(model.info), "ref": name}))
    with pytest.raises(DataError, match=r"cannot read image .*bad.png"):
        cb.pool(models, photographs, ["a query"], tmp_path / "pool")
    with pytest.raises(UsageError, match="price=True loads each model again in a process of its own: got a model in"):
        cb.pool(models, photographs, ["a query"], tmp_path / "pool", price=True)
    with pytest.raises(UsageError, match=r"queries: got \[7\], expected a text or a path or a list of texts"):
        cb.pool(models, photographs, [7], tmp_path / "pool")  # type: ignore[list-item]
    with pytest.raises(UsageError, match="on_bad_image is 'ignore': expected 'error' or 'skip'"):
        cb.pool(models, photographs, ["a query"], tmp_path / "pool", on_bad_image="ignore")  # type: ignore[arg-type]
    pool = cb.pool(models, photographs, ["a query"], tmp_path / "pool", on_bad_image="skip")
    assert pool.facts.n_images == N_IMAGES
    assert {path.name for path in pool.images.values()} == {file.name for file in photographs.rglob("* ü.png")}
    notes: list[str] = []
    loaders = [(name, partial(Known, name, 0.1)) for name in ("a", "bb")]
    make_pool(loaders, photographs, ["x"], tmp_path / "noted", PoolOptions(), note=notes.append)
    assert notes == ["1 photograph left out, because another one is the same picture"]
    names = {path.relative_to(photographs).as_posix() for path in photographs.rglob("*.png")} - {
        "99 copy.png",
        "bad.png",
    }
    assert [Path(pool.name(image)).as_posix() for image in pool.images] == sorted(names)
    assert not cb.choose(pool).is_decided and "no query is fully judged" in cb.choose(tmp_path / "pool").sentence


@pytest.mark.parametrize(
    "changed", [{"k": 0}, {"k": K + 1}, {"k": "ten"}, {"n_images": 3}, {"models": {"better": "better"}}]
)
def test_facts_that_contradict_the_pool_are_refused(make: Make, changed: dict[str, Any]) -> None:
    pool = make()
    (pool.folder / "pool.json").write_text(json.dumps(vars(pool.facts) | changed))
    with pytest.raises(DataError, match="Make the pool again in another folder"):
        choose_model(read_log(read_pool(pool.folder)))


@pytest.mark.parametrize("name", ["pool.json", "corpus.jsonl", "queries.jsonl", "candidates.jsonl", "rankings.jsonl"])
@pytest.mark.parametrize(
    "damage", ["", "{}\n", "[1]\n", "{", '{"query": "q1", "images": ["p1"], "_id": "x", "text": 1}\n']
)
def test_a_damaged_pool_is_refused_in_a_line(make: Make, name: str, damage: str) -> None:
    folder = make().folder
    (folder / name).write_text(damage)
    with pytest.raises(ClipbenchError, match=rf"{name}|which the pool lacks") as error:
        choose_model(read_log(read_pool(folder)))
    assert "\n" not in str(error.value)


def test_a_new_pool_on_a_full_disk_leaves_nothing(make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = files.write_atomic

    def fill(files: Mapping[Path, bytes], **options: Any) -> None:
        if any(files.values()):
            raise MachineError("cannot write candidates.jsonl: No space left on device")
        write(files, **options)

    monkeypatch.setattr(make_module, "write_atomic", fill)
    with pytest.raises(MachineError, match="No space left"):
        make()
    assert not (tmp_path / "pool").exists()
    monkeypatch.undo()
    assert make().folder == tmp_path / "pool"
