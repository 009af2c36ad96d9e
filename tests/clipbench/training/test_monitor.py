"""A monitor inside a training loop: its numbers, what it leaves of the model, and when it raises an alarm."""

import json
import math
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from clipbench.errors import UsageError
from clipbench.training.history import read_history
from clipbench.training.monitor import Alarm, CollapseError, CollapseWarning, Limits, Monitor, find_alarms
from clipbench.training.scalars import Scalars

N, DIM = 40, 12


class Towers(nn.Module):
    """Two linear towers with dropout, and a temperature."""

    def __init__(self) -> None:
        super().__init__()
        self.image, self.text = nn.Linear(6, DIM), nn.Linear(35, DIM)
        self.dropout = nn.Dropout(0.5)
        self.frozen = nn.BatchNorm1d(DIM).eval()
        self.logit_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))
        self.logit_bias = None

    def encode_image(self, pixels: torch.Tensor) -> torch.Tensor:
        return self.frozen(self.dropout(self.image(pixels)))

    def encode_text(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.dropout(self.text(nn.functional.one_hot(tokens, 5).to(self.text.weight.dtype).flatten(1)))


@pytest.fixture
def model() -> Towers:
    torch.manual_seed(0)
    return Towers()


@pytest.fixture
def batch() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(N, 6, generator=generator), torch.randint(0, 5, (N, 7), generator=generator)


def naive(images: np.ndarray, texts: np.ndarray) -> dict[str, float]:
    images, texts = (side / np.linalg.norm(side, axis=1, keepdims=True) for side in (images, texts))
    scores = images @ texts.T
    off = ~np.eye(len(images), dtype=bool)
    hits = {}
    for name, table in (("text", scores), ("image", scores.T)):
        best = np.abs(table - table.max(axis=1, keepdims=True)) < 1e-6  # equal captions tie
        hits[f"{name}_retrieval_recall@1"] = (best.diagonal() / best.sum(axis=1)).mean()
    return {
        "gap": np.linalg.norm(images.mean(axis=0) - texts.mean(axis=0)),
        "image_cone": (images @ images.T)[off].mean(),
        "text_cone": (texts @ texts.T)[off].mean(),
        "pair_cosine": scores.diagonal().mean(),
        **hits,
        "n_pairs": len(images),
    }


def test_scalars_equal_a_naive_computation(model: Towers, batch: tuple[torch.Tensor, torch.Tensor]) -> None:
    found = Monitor(images=batch[0], texts=batch[1], batch_size=7)(model, 3)
    model.eval()
    with torch.no_grad():
        images, texts = (side.double().numpy() for side in (model.encode_image(batch[0]), model.encode_text(batch[1])))
    for name, value in naive(images, texts).items():
        assert found[name] == pytest.approx(value, rel=1e-5, abs=1e-6), name
    assert found["temperature"] == pytest.approx(0.07)
    assert found["image_duplicates"] == found["text_duplicates"] == found["non_finite"] == 0


def test_the_model_is_left_as_it_was(model: Towers, batch: tuple[torch.Tensor, torch.Tensor]) -> None:
    model.train()
    model.frozen.eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.get_rng_state()
    monitor = Monitor(images=batch[0], texts=batch[1])
    assert monitor(model, 0) == monitor(model, 1)  # with dropout on they would differ
    assert torch.equal(state, torch.get_rng_state())
    assert (model.training, model.dropout.training, model.frozen.training) == (True, True, False)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_a_call_inside_autocast_costs_no_gradient(model: Towers, batch: tuple[torch.Tensor, torch.Tensor]) -> None:
    outside = Monitor(images=batch[0], texts=batch[1])(model, 0)
    with torch.autocast("cpu", torch.bfloat16):
        assert Monitor(images=batch[0], texts=batch[1])(model, 0) == outside
        model.encode_text(batch[1]).float().sum().backward()
    assert model.text.weight.grad is not None


def test_weights_in_half_precision_get_images_in_half_precision(
    model: Towers, batch: tuple[torch.Tensor, torch.Tensor]
) -> None:
    exact = Monitor(images=batch[0], texts=batch[1])(model, 0)
    found = Monitor(images=batch[0], texts=batch[1])(model.bfloat16(), 0)
    assert found["gap"] == pytest.approx(exact["gap"], rel=0.02)


def test_wrapped_and_transformers_models_are_known(model: Towers, batch: tuple[torch.Tensor, torch.Tensor]) -> None:
    class Features(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = model

        def get_image_features(self, pixel_values: torch.Tensor) -> SimpleNamespace:
            return SimpleNamespace(pooler_output=self.inner.encode_image(pixel_values))

        def get_text_features(self, input_ids: torch.Tensor, attention_mask: Any = None) -> torch.Tensor:
            return self.inner.encode_text(input_ids)

    class Parallel(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.module = model

    images, texts = batch
    plain = Monitor(images=images, texts=texts)(model, 0)
    assert Monitor(images=images, texts=texts)(Parallel(), 0) == plain
    without_temperature = {name: value for name, value in plain.items() if name != "temperature"}
    tokens = {"input_ids": texts, "attention_mask": torch.ones_like(texts)}
    assert Monitor(images=images, texts=tokens)(Features(), 0) == without_temperature
    assert Monitor(images={"pixel_values": images}, texts=texts)(Features(), 0) == without_temperature


def told(monitor_of: Callable[..., Monitor], images: np.ndarray, texts: np.ndarray) -> set[str]:
    alarms: list[Alarm] = []
    monitor_of(on_alarm=alarms.append).vectors(images, texts, 7)
    return {alarm.name for alarm in alarms}


def test_each_kind_of_collapse_raises_its_alarm() -> None:
    rng = np.random.default_rng(0)
    good, other = rng.standard_normal((2, 200, 64))
    assert told(Monitor, good, other) == set()
    narrow = good * 0.02 + 1
    assert told(Monitor, narrow, other) == {"image_cone"}
    flat = rng.standard_normal((200, 2)) @ rng.standard_normal((2, 64))
    assert told(Monitor, good, flat) >= {"text_effective_rank"}
    copied = good.copy()
    copied[:12] = copied[0]  # 12 of 200 vectors are one: 6 %
    assert told(Monitor, copied, other) == {"image_duplicates"}
    broken = good.copy()
    broken[3, 5] = np.nan
    assert told(Monitor, broken, other) == {"non_finite"}
    broken[3] = 0
    assert told(Monitor, broken, other) == {"non_finite"}
    assert {"image_cone", "text_cone"} <= told(Monitor, np.ones((9, 4)), np.ones((9, 4)))


def test_a_limit_can_be_changed_or_removed() -> None:
    rng = np.random.default_rng(0)
    good, other = rng.standard_normal((2, 200, 64))
    any_cone = partial(Monitor, limits=Limits(cone=-0.0, effective_rank=None))
    assert told(any_cone, abs(good), other) == {"image_cone", "text_cone"}  # of the texts, 0.0007 by chance
    assert told(any_cone, abs(good), other - other.mean(axis=0)) == {"image_cone"}
    none = Limits(cone=None, effective_rank=None, duplicates=None, non_finite=None)
    assert told(lambda **more: Monitor(limits=none, **more), good * np.nan, np.ones((200, 64))) == set()
    for wrong in ({"cone": 1.5}, {"duplicates": -0.1}, {"effective_rank": math.nan}):
        with pytest.raises(UsageError, match=f"limit {next(iter(wrong))} is .*: expected 0 to"):
            Limits(**wrong)


def test_equal_captions_are_no_duplicates(model: Towers) -> None:
    tokens = torch.randint(0, 5, (4, 7), generator=torch.Generator().manual_seed(0)).repeat(10, 1)
    images = torch.randn(40, 6, generator=torch.Generator().manual_seed(0))
    found = Monitor(images=images, texts=tokens, on_alarm="raise")(model, 0)
    assert found["text_duplicates"] == 0
    assert (found["n_distinct_images"], found["n_distinct_texts"]) == (40, 4)
    rank = found["text_effective_rank"]
    assert rank is not None and rank < Limits().effective_rank  # type: ignore[operator]  # 3 at most: no sign of collapse
    assert found["text_retrieval_recall@1"] is not None and found["text_retrieval_recall@1"] <= 0.6


def test_the_limit_of_the_rank_is_a_quarter_of_the_possible_rank_of_few_inputs() -> None:
    healthy: Scalars = {"n_pairs": 200, "n_distinct_images": 200, "n_distinct_texts": 9, "image_effective_rank": 50.0}
    for rank, names in ((2.1, []), (1.9, ["text_effective_rank"])):
        assert [alarm.name for alarm in find_alarms({**healthy, "text_effective_rank": rank}, Limits(), 0)] == names
    assert find_alarms({**healthy, "text_effective_rank": 1.9}, Limits(), 0)[0].limit == 2.0


def test_few_distinct_captions_are_duplicates_without_a_collapse_of_rank() -> None:
    good, other = np.random.default_rng(0).standard_normal((2, 200, 64))
    assert told(Monitor, good, other[np.arange(200) % 4]) == {"text_duplicates"}
    alarms: list[Alarm] = []
    found = Monitor(on_alarm=alarms.append).vectors(good, other[np.arange(200) % 4], 0)
    assert (found["n_distinct_images"], found["n_distinct_texts"]) == (200, 4)


def test_an_alarm_warns_or_raises_as_asked() -> None:
    ones, good = np.ones((9, 20)), np.random.default_rng(0).standard_normal((9, 20))
    limits = Limits(duplicates=None)
    with pytest.warns(CollapseWarning, match=r"step 30: image_cone is 1, where healthy models have at most 0.99"):
        Monitor(limits=limits).vectors(ones, good, 30)
    with pytest.raises(CollapseError, match="step 30: image_cone is 1"):
        Monitor(on_alarm="raise").vectors(ones, ones, 30)


def test_a_warning_names_the_line_of_the_training_loop(tmp_path: Path) -> None:
    """In a process of its own: the tests' check of types adds frames of its own between the two."""
    loop = tmp_path / "loop.py"
    loop.write_text(
        "import numpy as np\n"
        "from clipbench.training.monitor import Monitor\n"
        "Monitor().vectors(np.ones((9, 4)), np.ones((9, 4)), 30)\n"
        "Monitor()(None, 31)\n"
    )
    done = subprocess.run([sys.executable, "-W", "always", loop], capture_output=True, text=True, check=True)
    said = [line.split(": ")[:3] for line in done.stderr.splitlines() if "CollapseWarning" in line]
    assert {tuple(parts) for parts in said} == {
        (f"{loop}:3", "CollapseWarning", "step 30"),
        (f"{loop}:4", "CollapseWarning", "step 31"),
    }


def test_a_failed_measurement_is_an_alarm_and_not_an_error(batch: tuple[torch.Tensor, torch.Tensor]) -> None:
    with pytest.warns(CollapseWarning, match="step 1: the model could not be measured .*neither encode_image and"):
        assert Monitor(images=batch[0], texts=batch[1])(nn.Linear(2, 2), 1) == {}
    with pytest.warns(CollapseWarning, match="the monitor has no pairs"):
        assert Monitor()(nn.Linear(2, 2), 1) == {}
    with pytest.warns(CollapseWarning, match="the vectors could not be measured"):
        assert Monitor().vectors(np.ones((3, 2)), np.ones((4, 2)), 1) == {}
    with pytest.raises(CollapseError, match="could not be measured"):
        Monitor(on_alarm="raise")(nn.Linear(2, 2), 1)


def test_a_step_that_json_cannot_hold_is_not_logged_and_does_not_end_the_training(tmp_path: Path) -> None:
    good, other = np.random.default_rng(0).standard_normal((2, 30, 64))
    monitor = Monitor(log=tmp_path / "monitor.jsonl")
    with pytest.warns(CollapseWarning, match="step nan: .*monitor.jsonl could not be written"):
        assert monitor.vectors(good, other, math.nan)["n_pairs"] == 30
    assert monitor.vectors(good, other, 1)["n_pairs"] == 30
    assert read_history(tmp_path / "monitor.jsonl").steps == [1]


def test_a_failure_is_logged_as_an_alarm(tmp_path: Path) -> None:
    alarms: list[Alarm] = []
    Monitor(log=tmp_path / "monitor.jsonl", on_alarm=alarms.append)(nn.Linear(2, 2), 5)
    (line,) = (tmp_path / "monitor.jsonl").read_text().splitlines()
    said = {"event": "alarm", "step": 5, "name": "failed", "value": None, "limit": None, "message": alarms[0].message}
    assert json.loads(line) == said


def test_wrong_arguments_are_refused_before_training(tmp_path: Path) -> None:
    one = torch.ones(1, 3)
    for given, message in (
        ({"images": one.repeat(3, 1), "texts": one.repeat(2, 1)}, "got 3 images and 2 texts"),
        ({"images": one, "texts": one}, "two or more: got 1 images and 1 texts"),
        ({"images": one}, "give images and texts, or neither"),
        ({"batch_size": 0}, "batch_size is 0: expected 1 or more"),
        ({"log": tmp_path}, "cannot write the log"),
    ):
        with pytest.raises(UsageError, match=message):
            Monitor(**given)
    monitor = Monitor()
    monitor.on_alarm = "shout"  # type: ignore[assignment]  # as an argument, the tests' check of types sees it first
    with pytest.raises(UsageError, match="on_alarm is 'shout': expected 'warn', 'raise' or a function"):
        monitor.__post_init__()


def test_the_log_is_read_like_that_of_clipbench_train(tmp_path: Path) -> None:
    path = tmp_path / "new/monitor.jsonl"
    rng = np.random.default_rng(0)
    images, texts = rng.standard_normal((2, 30, 64))
    alarms: list[Alarm] = []
    first = Monitor(log=path, on_alarm=alarms.append).vectors(images, texts, 10)
    with path.open("a") as file:
        file.write('{"event": "evalu')  # a kill
    Monitor(log=path, on_alarm=alarms.append).vectors(np.full((30, 64), np.nan), texts, 20)
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [(line["event"], line["step"]) for line in lines] == [("evaluation", 10), ("evaluation", 20), ("alarm", 20)]
    assert (lines[2]["name"], lines[2]["value"], lines[2]["limit"]) == ("non_finite", 0.5, 0.0)
    history = read_history(path)
    assert history.steps == [10, 20]
    assert history.values["gap"] == [first["gap"], None]


class Wandb:
    """Weights & Biases with a run that the training loop has open."""

    def __init__(self) -> None:
        self.run, self.logged, self.metrics = self, list[dict[str, float]](), list[str]()

    def define_metric(self, name: str, **_: str) -> None:
        self.metrics.append(name)

    def log(self, values: dict[str, float]) -> None:
        if not self.metrics:
            raise ConnectionError("no route")
        self.logged.append(values)


def test_trackers_get_the_scalars_in_the_run_of_the_loop(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    wandb = Wandb()
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    monitor = Monitor(log=[tmp_path / "monitor.jsonl", "wandb"])
    vectors = torch.randn(N, DIM, generator=torch.Generator().manual_seed(0))
    values = monitor.vectors(vectors, vectors + 1, 20)
    assert read_history(tmp_path / "monitor.jsonl").values["gap"] == [values["gap"]]
    (logged,) = wandb.logged
    assert logged["clipbench/gap"] == values["gap"] and logged["clipbench/step"] == 20
    assert wandb.metrics == ["clipbench/step", "clipbench/*"]
    wandb.metrics.clear()
    with pytest.warns(CollapseWarning, match=r"step 30: wandb could not be written \(ConnectionError: no route\)"):
        assert monitor.vectors(vectors, vectors + 1, 30) == values
    monitor.close()  # and leaves the run of the loop open


def test_a_monitor_names_a_library_that_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(
        UsageError, match=r"needs the package mlflow, which is not installed: pip install 'clipbench\[mlflow\]'"
    ):
        Monitor(log="mlflow")
