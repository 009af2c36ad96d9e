"""Runs with a sample of the queries: what they record and say, paired with each other, and refused beside those with
other samples.
"""

from pathlib import Path

import numpy as np
import pytest

from clipbench.comparison.compare_runs import compare
from tests.cli.conftest import Call, Done

N = 40


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: Call) -> Call:
    """Return a function that measures the vectors of a seed with some queries."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CLIPBENCH_CACHE", str(tmp_path / "cache"))

    def run(seed: int, params: str, out: str, *more: str, is_reversed: bool = False) -> Done:
        draws, noise = np.random.default_rng(0), np.random.default_rng(seed)
        shown, owner = draws.standard_normal((N, 8)), np.arange(2 * N) % N
        images, texts = (part + noise.standard_normal(part.shape) for part in (shown, shown[owner]))
        order, of_texts = np.arange(N), np.arange(2 * N)
        if is_reversed:
            order, of_texts = order[::-1], of_texts[::-1]
        np.savez(
            f"{out}.npz",
            allow_pickle=False,
            images=images[order].astype(np.float32),
            texts=texts[of_texts].astype(np.float32),
            text_to_image=np.argsort(order)[owner[of_texts]],
            image_ids=np.array([f"{row}.jpg" for row in order]),
            text_ids=np.array([f"text {row}" for row in of_texts]),
        )
        Path("suite.toml").write_text(f'[[evaluation]]\ntask = "retrieval"\nparams = {{{params}}}\n')
        arguments = ("--model", f"embeddings:{out}.npz", "--tasks", "retrieval", "--suite", "suite.toml", "--out", out)
        return call("run", *arguments, *more)

    return run


def test_runs_with_the_same_queries_are_paired_whatever_the_order_and_others_end_with_3(run: Call, call: Call) -> None:
    for seed, params, out in (
        (1, "queries = 20", "one"),
        (2, "queries = 20", "two"),
        (2, "queries = 21", "more"),
        (2, "", "all"),
    ):
        assert run(seed, params, out, "--no-report").status == 0
    assert run(2, "queries = 20", "reversed", "--no-report", is_reversed=True).status == 0
    assert call("compare", "one", "two").status == 0
    straight, reordered = (
        {difference.name: difference for difference in compare("one", other).differences}
        for other in ("two", "reversed")
    )
    name = "image_retrieval_recall@5"
    assert straight[name].value not in (None, 0) and straight[name].p_value is not None
    assert reordered[name] == straight[name]
    for other, words in (("more", "21"), ("all", "not given")):
        done = call("compare", "one", other)
        assert done.status == 3 and len(done.out.splitlines()) == 2
        assert f"queries 20 in the one run, {words} in the other" in done.out
