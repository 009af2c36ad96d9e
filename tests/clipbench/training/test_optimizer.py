import math

import pytest
import torch

from clipbench.training.clip.config import ClipConfig
from clipbench.training.clip.model import CLIP
from clipbench.training.optimizer import clamp_logit_scale, fix_temperature, learning_rate, make_optimizer


def test_gains_biases_class_embedding_and_temperature_are_not_decayed(micro: ClipConfig) -> None:
    model = CLIP(micro.for_siglip())
    optimizer = make_optimizer(model, lr=1.0, weight_decay=0.2)
    decay = {id(each): group["weight_decay"] for group in optimizer.param_groups for each in group["params"]}
    for name, parameter in model.named_parameters():
        is_excluded = "bias" in name or "ln_" in name or name in ("logit_scale", "visual.class_embedding")
        assert decay[id(parameter)] == (0.0 if is_excluded else 0.2), name
    assert {group["betas"] for group in optimizer.param_groups} == {(0.9, 0.98)}
    assert {group["eps"] for group in optimizer.param_groups} == {1e-6}


def test_the_learning_rate_rises_and_then_falls_to_zero() -> None:
    rates = [learning_rate(step, lr=2.0, warmup=10, steps=110) for step in range(110)]
    assert rates[0] == pytest.approx(0.2)
    assert max(rates) == rates[9] == rates[10] == 2.0
    assert rates[60] == pytest.approx(1.0)
    assert rates[109] == pytest.approx(2.0 * 0.5 * (1 + math.cos(math.pi * 0.99)))
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert learning_rate(0, lr=2.0, warmup=0, steps=5) == 2.0


@pytest.mark.parametrize(("scale", "expected"), [(9.0, 100.0), (-1.0, 1.0), (math.log(30), 30.0)])
def test_the_logit_scale_stays_between_1_and_100(micro: ClipConfig, scale: float, expected: float) -> None:
    model = CLIP(micro)
    torch.nn.init.constant_(model.logit_scale, scale)
    clamp_logit_scale(model)
    assert model.logit_scale.exp().item() == pytest.approx(expected, rel=1e-5)


def test_a_fixed_temperature_is_not_learned(micro: ClipConfig) -> None:
    model = CLIP(micro)
    fix_temperature(model, 0.01)
    assert model.logit_scale.exp().item() == pytest.approx(100)
    learned = [
        each for group in make_optimizer(model, lr=1.0, weight_decay=0.0).param_groups for each in group["params"]
    ]
    assert not any(each is model.logit_scale for each in learned)
