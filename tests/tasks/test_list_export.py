"""``export --to trec`` and ``--to rankings``: lists that a run keeps have the metrics of the run when they are read."""

import gzip
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import clipbench as cb
from clipbench import plugins
from clipbench.cli.main import main
from clipbench.errors import UsageError
from clipbench.metrics.result_lists import MOST_TIED, first_items
from clipbench.results.export.formats import ListChoice, export
from tests.tasks.test_result_lists import TextVectors, write_judged, write_trec

pytestmark = pytest.mark.skipif(
    "trec" not in plugins.names(plugins.EXPORTS), reason="the entry point trec is not installed: make install"
)
N_IMAGES = 12
DEPTH = 10


class DistinctVectors(TextVectors):
    """Random vectors of texts and images, no two of them equal."""

    def _vector(self, content: str) -> np.ndarray:
        return np.random.default_rng([*content.encode()]).normal(size=8).astype(np.float32)


class OneVector(TextVectors):
    """The same vector for everything."""

    def _vector(self, content: str) -> np.ndarray:
        return np.ones(8, np.float32)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Write images with two captions each."""
    folder = tmp_path / "photos"
    folder.mkdir()
    lines = ["image,caption"]
    for row in range(N_IMAGES):
        Image.new("RGB", (8, 8), (row * 20, 7, 9)).save(folder / f"{row:02}.png")
        lines += [f"{row:02}.png,caption {row} {number}" for number in range(2)]
    (folder / "captions.csv").write_text("\n".join(lines))
    return folder / "captions.csv"


def kept_run(model: TextVectors, data: Path, out: Path, depth: int = DEPTH) -> cb.Run:
    return cb.run(model, tasks=["retrieval"], data=str(data), keep_lists=depth, out=out)


def exported(run: cb.Run, file: Path, to: str, depth: int | None = DEPTH, side: str | None = None) -> Sequence[str]:
    return export([run.folder], to, file, ListChoice(depth=depth, side=side)).notes


def measured(file: Path, data: Path, **options: str) -> cb.Run:
    return cb.run(
        f"rankings:{file}", tasks=["retrieval"], data=str(data), model_options=options, out=file.with_suffix(".run")
    )


def shared_metrics(base: cb.Run, run: cb.Run) -> dict[str, tuple[cb.Metric, cb.Metric]]:
    """Return the metrics that both runs define, except means of ranks, which a short list shortens."""
    metrics, expected = run.result.evaluations[0].metrics, base.result.evaluations[0].metrics
    return {
        name: (metric, expected[name])
        for name, metric in metrics.items()
        if metric.value is not None and expected[name].value is not None and name != "mrr"
    }


@pytest.mark.parametrize(
    ("file_name", "model", "side"),
    [
        ("lists.trec", DistinctVectors(), "text"),
        ("lists.jsonl", TextVectors(), "text"),
        ("lists.trec.gz", DistinctVectors(), "image"),
    ],
    ids=["distinct scores", "equal scores", "compressed, of images"],
)
def test_an_exported_run_has_the_same_metrics_when_it_is_read(
    photos: Path, tmp_path: Path, file_name: str, model: TextVectors, side: str
) -> None:
    base = kept_run(model, photos, tmp_path / "base")
    file = tmp_path / file_name
    exported(base, file, "trec" if ".trec" in file_name else "rankings", side=side)
    run = measured(file, photos, depth=str(DEPTH), direction=side)
    shared = shared_metrics(base, run)
    prefix = "image_retrieval" if side == "text" else "text_retrieval"
    assert {f"{prefix}_recall@{k}" for k in (1, 5, 10)} <= shared.keys()
    for name, (metric, expected) in shared.items():
        assert metric == expected, name
    assert cb.compare(base, run, max_drop="0").exit_status == 0


def test_judged_data_are_exported_too(tmp_path: Path) -> None:
    judged = write_judged(tmp_path / "data", seed=4)
    base = kept_run(TextVectors(), judged.folder, tmp_path / "base")
    notes = exported(base, tmp_path / "lists.jsonl", "rankings")
    assert any("are kept: read the file with model_options" in note for note in notes)
    shared = shared_metrics(base, measured(tmp_path / "lists.jsonl", judged.folder, depth=str(DEPTH)))
    assert {"ndcg@1", "ndcg@10", "recall@10", "hit_rate@5", "map@R", "r_precision"} <= shared.keys()
    for name, (metric, expected) in shared.items():
        assert metric == expected, name


def test_a_sample_of_queries_has_the_metrics_of_the_vectors(tmp_path: Path) -> None:
    judged = write_judged(tmp_path / "data", seed=6)
    suite = tmp_path / "sample.toml"
    suite.write_text(f'[[evaluation]]\ntask = "retrieval"\ndata = "{judged.folder}"\nparams = {{queries = 9}}\n')
    full_run = kept_run(TextVectors(), judged.folder, tmp_path / "whole")
    exported(full_run, tmp_path / "lists.jsonl", "rankings")
    base = cb.run(TextVectors(), suite=str(suite), tasks="retrieval", keep_lists=DEPTH, out=tmp_path / "base")
    options = {"depth": str(DEPTH)}
    lists = f"rankings:{tmp_path / 'lists.jsonl'}"
    run = cb.run(lists, suite=str(suite), tasks="retrieval", model_options=options, out=tmp_path / "run")
    note = "9 of 30 queries, drawn at random, search the whole gallery, and each is ranked exactly"
    assert run.result.evaluations[0].notes[0] == note
    assert run.samples("retrieval")["sample_id"].tolist() == base.samples("retrieval")["sample_id"].tolist()
    shared = shared_metrics(base, run)
    assert {"ndcg@10", "hit_rate@1"} <= shared.keys()
    for name, (metric, expected) in shared.items():
        assert metric == expected, name
    queries = run.result_lists("retrieval")["query"]
    assert set(queries) == set(base.result_lists("retrieval")["query"]) and len(set(queries)) == 9


def test_lists_of_a_file_are_exported_without_an_option(tmp_path: Path) -> None:
    judged = write_judged(tmp_path / "data", seed=5)
    rng = np.random.default_rng(5)
    lists = {query: rng.permutation(judged.documents)[:7].tolist() for query in judged.queries}
    base = measured(write_trec(tmp_path / "engine.trec", lists), judged.folder)
    exported(base, tmp_path / "again.trec", "trec", depth=None)
    again = measured(tmp_path / "again.trec", judged.folder)
    assert again.result.evaluations[0].metrics == base.result.evaluations[0].metrics
    exported(base, tmp_path / "first.trec", "trec", depth=3)
    lines = [line.split() for line in (tmp_path / "first.trec").read_text().splitlines()]
    assert [(query, name) for query, _, name, *_ in lines] == [(q, name) for q in lists for name in lists[q][:3]]
    with pytest.raises(UsageError, match="keeps 7 results per query: its file has no more"):
        exported(base, tmp_path / "deep.trec", "trec", depth=8)


def test_a_list_has_the_whole_group_of_the_last_score() -> None:
    vectors = np.array([[0.6, 0.8], [1, 0], [0.6, 0.8], [0, 1], [1, 0]], np.float32)
    first = first_items(vectors[1:2], vectors, 3, without=[np.array([1])])
    assert first.item.tolist() == [4, 0, 2]
    assert first_items(vectors[1:2], vectors, 3).item.tolist() == [1, 4, 0, 2]
    same = np.ones((MOST_TIED + 50, 1), np.float32)
    assert len(first_items(same[:2], same, 10).item) == 2 * (MOST_TIED + 10)


def test_a_constant_model_keeps_its_chance(photos: Path, tmp_path: Path) -> None:
    base = kept_run(OneVector(), photos, tmp_path / "base", depth=3)
    notes = exported(base, tmp_path / "lists.jsonl", "rankings", depth=3, side="text")
    assert any("24 lists are longer than 3" in note for note in notes)
    run = measured(tmp_path / "lists.jsonl", photos, depth="3", direction="text")
    recall = run.result.evaluations[0].metrics["image_retrieval_recall@1"].value
    assert recall == pytest.approx(1 / N_IMAGES)
    notes = exported(base, tmp_path / "lists.trec", "trec", depth=3, side="text")
    assert any("24 lists have equal scores, whose order here is the order of the data" in note for note in notes)


def test_a_folder_has_a_file_per_side(photos: Path, tmp_path: Path) -> None:
    base = kept_run(TextVectors(), photos, tmp_path / "base")
    exported(base, tmp_path / "lists", "trec")
    names = sorted(path.name for path in (tmp_path / "lists").iterdir())
    assert [name.rpartition("-")[2] for name in names] == ["image.trec", "text.trec"]


def test_a_name_with_spaces_is_refused_by_trec(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "my cat.png")
    Image.new("RGB", (8, 8), "red").save(tmp_path / "dog.png")
    (tmp_path / "captions.csv").write_text("image,caption\nmy cat.png,a cat\ndog.png,a dog")
    base = kept_run(TextVectors(), tmp_path / "captions.csv", tmp_path / "base")
    with pytest.raises(UsageError, match=r"a TREC run cannot hold the name 'my cat.png#0', which has spaces: use"):
        exported(base, tmp_path / "lists.trec", "trec", side="text")
    assert not (tmp_path / "lists.trec").exists()
    exported(base, tmp_path / "lists.jsonl", "rankings", side="text")
    assert json.loads((tmp_path / "lists.jsonl").read_text().splitlines()[0])["query"] == "my cat.png#0"


def test_a_compressed_file_is_the_same_each_time(photos: Path, tmp_path: Path) -> None:
    base = kept_run(TextVectors(), photos, tmp_path / "base")
    contents = []
    for name in ("one.trec.gz", "two.trec.gz"):
        exported(base, tmp_path / name, "trec", side="image")
        contents.append((tmp_path / name).read_bytes())
    assert contents[0] == contents[1] and gzip.decompress(contents[0]).startswith(b"00.png Q0 ")


CANNOT = [
    (["kept", "--to", "trec"], "one file cannot hold lists of captions of retrieval@captions.csv and lists of images"),
    (["kept", "--to", "trec", "--direction", "text", "--depth", "11"], "keeps 10 results per query: run its command"),
    (["bare", "--to", "trec", "--depth", "7"], "keeps no result lists: run its command again with --keep-lists 7"),
    (["kept", "--to", "csv", "--depth", "7"], "--depth 7 has no effect on csv"),
    (["kept", "--to", "trec", "--direction", "text", "-o", "lists.csv"], "trec needs a file ending in .trec or"),
    (["kept", "--to", "trec", "--direction", "text", "--depth", "0"], "--depth"),
]


def test_what_cannot_be_exported_is_one_line(
    photos: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, depth in (("bare", 0), ("kept", DEPTH)):
        cb.run(TextVectors(), tasks=["retrieval"], data=str(photos), keep_lists=depth, out=name)
    capfd.readouterr()
    for arguments, fault in CANNOT:
        with pytest.raises(SystemExit) as end:
            main(["export", *arguments])
        error = capfd.readouterr().err
        assert end.value.code == 2
        assert fault in error and len(error.splitlines()) == 1


def test_lists_cannot_be_kept_by_other_tasks(photos: Path, tmp_path: Path) -> None:
    with pytest.raises(cb.ClipbenchError, match="keep_lists=5 has no effect on modality-gap"):
        cb.run(TextVectors(), tasks=["modality-gap"], data=str(photos), keep_lists=5, out=tmp_path / "out")


def test_a_finished_run_without_lists_is_not_taken_for_one_with_lists(
    photos: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    arguments = ["run", "--model", "tiny", "--tasks", "retrieval", "--data", str(photos), "--no-report", "-q"]
    file = write_trec(tmp_path / "lists", {f"{row:02}.png": [f"{row:02}.png#0"] for row in range(N_IMAGES)})
    arguments += ["--model", f"rankings:{file}", "--no-preflight", "--out", str(tmp_path / "runs")]
    for more, status in (["--keep-lists", "3"], 0), (["--keep-lists", "2"], 0), (["--keep-lists", "5"], 3):
        with pytest.raises(SystemExit) as end:
            main([*arguments, *more])
        assert (end.value.code or 0) == status
    assert "that kept 3 results per query, made without --keep-lists 5" in capfd.readouterr().err
