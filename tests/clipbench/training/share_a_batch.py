"""Write both losses and their gradients of a fixed batch, of which this process has its share: share_a_batch.py
FILE.
"""

import sys

import torch

from clipbench.distributed.group import n_processes, process_group, rank, sum_over_processes
from clipbench.training.batches import Batch
from clipbench.training.clip.config import ClipConfig, Tower
from clipbench.training.clip.model import CLIP
from clipbench.training.step import LOSSES, Towers, add_gradients, sum_gradients

N = 8
CONFIG = ClipConfig(
    embed_dim=16,
    image_size=16,
    patch_size=8,
    vision=Tower(width=16, layers=1, heads=2),
    text=Tower(width=16, layers=1, heads=2),
    vocab_size=40,
    context_length=6,
)


def main(file: str) -> None:
    torch.set_num_threads(1)
    with process_group(torch.device("cpu")) as device:
        result = {f"{name} of {loss}": value for loss in LOSSES for name, value in gradients(loss, device).items()}
    torch.save(result, file)


def gradients(loss: str, device: torch.device) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    model = CLIP(CONFIG.for_siglip() if loss == "siglip" else CONFIG)
    pixels = torch.randint(0, 256, (N, 3, 16, 16), dtype=torch.uint8)
    tokens = torch.randint(1, 39, (N, 6))
    tokens[:, -1] = 39
    share = slice(rank() * N // n_processes(), (rank() + 1) * N // n_processes())
    towers = Towers(model=model, device=device)
    value = add_gradients(towers, Batch(pixels[share], tokens[share]), LOSSES[loss], micro_batch_size=3)
    sum_gradients(model)
    whole = torch.tensor(sum_over_processes(float(value), device=device))
    learned = {name: parameter.grad for name, parameter in model.named_parameters() if parameter.grad is not None}
    return {**learned, "loss": whole}


if __name__ == "__main__":
    main(*sys.argv[1:])
