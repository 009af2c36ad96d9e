"""A monitor inside a training loop: its numbers, what it leaves of the model, and when it raises an alarm."""

import json
import math
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from clipbench.training.history import read_history
from clipbench.training.monitor import Alarm, CollapseError, CollapseWarning, Monitor

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
    result = Monitor(images=batch[0], texts=batch[1], batch_size=7)(model, 3)
    model.eval()
    with torch.no_grad():
        images, texts = (side.double().numpy() for side in (model.encode_image(batch[0]), model.encode_text(batch[1])))
    for name, value in naive(images, texts).items():
        assert result[name] == pytest.approx(value, rel=1e-5, abs=1e-6), name
    assert result["temperature"] == pytest.approx(0.07)
    assert result["image_duplicates"] == result["text_duplicates"] == result["non_finite"] == 0


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


def test_a_failed_measurement_is_an_alarm_and_not_an_error(batch: tuple[torch.Tensor, torch.Tensor]) -> None:
    with pytest.warns(CollapseWarning, match="step 1: the model could not be measured .*neither encode_image and"):
        assert Monitor(images=batch[0], texts=batch[1])(nn.Linear(2, 2), 1) == {}
    with pytest.warns(CollapseWarning, match="the monitor has no pairs"):
        assert Monitor()(nn.Linear(2, 2), 1) == {}
    with pytest.warns(CollapseWarning, match="the vectors could not be measured"):
        assert Monitor().vectors(np.ones((3, 2)), np.ones((4, 2)), 1) == {}
    with pytest.raises(CollapseError, match="could not be measured"):
        Monitor(on_alarm="raise")(nn.Linear(2, 2), 1)


def test_another_number_of_vectors_than_of_inputs_is_an_alarm(batch: tuple[torch.Tensor, torch.Tensor]) -> None:
    images, texts = batch
    model = Towers()
    encode = model.encode_image
    model.encode_image = lambda inputs: torch.cat([encode(inputs), encode(inputs[:1])])  # type: ignore[assignment]
    monitor = Monitor(images=images, texts=texts, on_alarm="raise")
    with pytest.raises(CollapseError, match=r"encode_image gave \d+ vectors for \d+ inputs: expected one per input"):
        monitor(model, 3)
    with pytest.raises(CollapseError, match="the vectors could not be measured"):
        monitor.vectors(np.ones((17, 4)), np.ones((16, 4)), 3)


def test_a_step_that_json_cannot_hold_is_not_logged_and_does_not_end_the_training(tmp_path: Path) -> None:
    good, other = np.random.default_rng(0).standard_normal((2, 30, 64))
    monitor = Monitor(log=tmp_path / "monitor.jsonl")
    with pytest.warns(CollapseWarning, match="step nan: .*monitor.jsonl could not be written"):
        assert monitor.vectors(good, other, math.nan)["n_pairs"] == 30
    assert monitor.vectors(good, other, 1)["n_pairs"] == 30
    assert read_history(tmp_path / "monitor.jsonl").steps == [1]


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
