"""The most memory that tensors take on a device at a time. Of torch, which is not imported here."""

import sys
from typing import Any


class Peaks:
    """The most bytes of a CUDA device that tensors took while items of each modality were encoded.

    Args:
        device: watched from now on, which resets torch's own account of the peak; None watches nothing.
    """

    def __init__(self, device: str | None = None) -> None:
        self.device = device
        self.most: dict[str, int] = {}
        """By modality; without those of which torch has no account."""

    def reset(self) -> None:
        """Begin anew to look for the peak."""
        torch = self._torch()
        if torch is not None:
            torch.cuda.reset_peak_memory_stats(self.device)

    def note(self, modality: str) -> None:
        """Note the peak since ``reset`` for a modality."""
        torch = self._torch()
        peak = 0 if torch is None else int(torch.cuda.max_memory_allocated(self.device))
        if peak:
            self.most[modality] = max(peak, self.most.get(modality, 0))

    def _torch(self) -> Any:
        """Return torch where a model of it may run on the device."""
        return sys.modules.get("torch") if self.device is not None and self.device.startswith("cuda") else None
