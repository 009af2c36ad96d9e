"""The most memory that tensors take on a device at a time. Of torch, which is not imported here."""

import sys
from typing import Any


def reset_peak(device: str | None) -> None:
    """Begin anew to look for the most memory in use on a CUDA device; on others do nothing."""
    torch = _torch(device)
    if torch is not None:
        torch.cuda.reset_peak_memory_stats(device)


def peak_bytes(device: str | None) -> int | None:
    """Return the most bytes that tensors took since ``reset_peak``; None where the device keeps no account."""
    torch = _torch(device)
    return None if torch is None else int(torch.cuda.max_memory_allocated(device))


def _torch(device: str | None) -> Any:
    """Return torch where a model of it runs on a CUDA device."""
    return sys.modules.get("torch") if device is not None and device.startswith("cuda") else None
