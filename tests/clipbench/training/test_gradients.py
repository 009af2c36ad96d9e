import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from clipbench.training import step as gradients_module
from clipbench.training.batches import Batch
from clipbench.training.clip.config import ClipConfig
from clipbench.training.clip.model import CLIP
from clipbench.training.step import LOSSES, Towers, add_gradients

N = 10


def batch(config: ClipConfig) -> Batch:
    generator = torch.Generator().manual_seed(0)
    size = (N, 3, config.image_size, config.image_size)
    pixels = torch.randint(0, 256, size, dtype=torch.uint8, generator=generator)
    tokens = torch.zeros(N, config.context_length, dtype=torch.int64)
    for row, length in zip(tokens, (3, 12, 5, 4, 9, 2, 7, 3, 11, 6), strict=True):
        row[: length - 1] = torch.randint(1, 500, (length - 1,), generator=generator)
        row[length - 1] = config.vocab_size - 1
    return Batch(pixels, tokens)


def towers(config: ClipConfig, loss: str, dtype: torch.dtype = torch.float32) -> Towers:
    torch.manual_seed(0)
    model = CLIP(config.for_siglip() if loss == "siglip" else config)
    return Towers(model=model, device=torch.device("cpu"), dtype=dtype)


def gradients(model: CLIP) -> dict[str, Tensor]:
    return {name: parameter.grad for name, parameter in model.named_parameters() if parameter.grad is not None}


def naive(config: ClipConfig, loss: str) -> tuple[Tensor, dict[str, Tensor]]:
    """Return loss and gradients of one plain backward pass over the whole, untrimmed batch."""
    model, pairs = towers(config, loss).model, batch(config)
    mean, std = (torch.tensor(channel_values)[:, None, None] for channel_values in (config.mean, config.std))
    images = model.encode_image((pairs.pixels.float() / 255 - mean) / std)
    texts = model.encode_text(pairs.tokens)
    unit = F.normalize(images, dim=-1), F.normalize(texts, dim=-1)
    value = LOSSES[loss](*unit, model.logit_scale.exp(), model.logit_bias)
    value.backward()
    return value.detach(), gradients(model)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("micro_batch_size", [None, 1, 3, 10, 64])
def test_micro_batches_give_the_whole_batchs_gradients(
    micro: ClipConfig, loss: str, micro_batch_size: int | None
) -> None:
    expected_loss, expected = naive(micro, loss)
    ours = towers(micro, loss)
    found_loss = add_gradients(ours, batch(micro), LOSSES[loss], micro_batch_size=micro_batch_size)
    torch.testing.assert_close(found_loss, expected_loss, rtol=1e-5, atol=0)
    result = gradients(ours.model)
    assert result.keys() == expected.keys() == dict(ours.model.named_parameters()).keys()
    for name, value in expected.items():
        error = float((result[name] - value).norm() / value.norm())
        assert error < 1e-5, f"{name}: {error}"


def test_a_batch_in_parts_that_fit_the_cache_equals_the_whole(
    micro: ClipConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, expected = naive(micro, "clip")
    monkeypatch.setattr(gradients_module, "CACHE_SIZED", 4)
    ours = towers(micro, "clip")
    add_gradients(ours, batch(micro), LOSSES["clip"])
    for name, value in expected.items():
        assert float((gradients(ours.model)[name] - value).norm() / value.norm()) < 1e-5, name


@pytest.mark.parametrize("micro_batch_size", [None, 4])
def test_bfloat16_gradients_are_near_and_in_float32(micro: ClipConfig, micro_batch_size: int | None) -> None:
    _, expected = naive(micro, "clip")
    ours = towers(micro, "clip", torch.bfloat16)
    add_gradients(ours, batch(micro), LOSSES["clip"], micro_batch_size=micro_batch_size)
    result = gradients(ours.model)
    assert result.keys() == expected.keys()
    assert {value.dtype for value in result.values()} == {torch.float32}
    both = [torch.cat([gradient[name].flatten() for name in expected]) for gradient in (result, expected)]
    assert float(F.cosine_similarity(both[0], both[1], dim=0)) > 0.99


def test_gradients_are_added_to_those_that_are_there(micro: ClipConfig) -> None:
    ours = towers(micro, "clip")
    add_gradients(ours, batch(micro), LOSSES["clip"])
    once = {name: value.clone() for name, value in gradients(ours.model).items()}
    add_gradients(ours, batch(micro), LOSSES["clip"])
    for name, value in gradients(ours.model).items():
        torch.testing.assert_close(value, 2 * once[name], rtol=1e-5, atol=1e-8)
