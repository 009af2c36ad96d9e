import pytest

from clipbench.training.clip.config import ClipConfig
from clipbench.training.clip.model import CLIP
from clipbench.training.step import fix_temperature, make_optimizer


def test_gains_biases_class_embedding_and_temperature_are_not_decayed(micro: ClipConfig) -> None:
    model = CLIP(micro.for_siglip())
    optimizer = make_optimizer(model, lr=1.0, weight_decay=0.2)
    decay = {id(each): group["weight_decay"] for group in optimizer.param_groups for each in group["params"]}
    for name, parameter in model.named_parameters():
        is_excluded = "bias" in name or "ln_" in name or name in ("logit_scale", "visual.class_embedding")
        assert decay[id(parameter)] == (0.0 if is_excluded else 0.2), name
    assert {group["betas"] for group in optimizer.param_groups} == {(0.9, 0.98)}
    assert {group["eps"] for group in optimizer.param_groups} == {1e-6}


def test_a_fixed_temperature_is_not_learned(micro: ClipConfig) -> None:
    model = CLIP(micro)
    fix_temperature(model, 0.01)
    assert model.logit_scale.exp().item() == pytest.approx(100)
    learned = [
        parameter
        for group in make_optimizer(model, lr=1.0, weight_decay=0.0).param_groups
        for parameter in group["params"]
    ]
    assert not any(parameter is model.logit_scale for parameter in learned)
