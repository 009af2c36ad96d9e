"""The work of an embedder: how many items it encoded, in which time, and the memory that this took."""

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from clipbench.data.modalities import IMAGE
from clipbench.models.encoding.pipeline import EncodeResult
from clipbench.models.protocol import Call, Counts


class WorkLog:
    """Calls of one embedder, and on a CUDA device the peaks of memory.

    Args:
        device: of the model.
    """

    def __init__(self, device: str | None) -> None:
        self._device = device or ""
        self._calls: list[Call] = []
        self._ahead: list[Call] = []
        self.peak_bytes: dict[str, int] | None = None
        """The most memory that tensors took while items of each modality were encoded, or None if not watched."""

    def counts(self) -> Counts:
        """Return the work so far."""
        return Counts(tuple(self._calls))

    def add_stored(self, modality: str, keys: set[bytes]) -> None:
        """Note items that the store has. Items that were encoded ahead are counted as encoded."""
        for call in [call for call in self._ahead if call.modality == modality and call.encoded & keys]:
            self._ahead.remove(call)
            self._calls.append(call)
            keys = keys - call.encoded
        self._calls.append(Call(modality, stored=frozenset(keys)))

    def add_ahead(self, keys: Sequence[bytes], seconds: float) -> None:
        """Note images that were encoded before an evaluation needed them. They count for the first evaluation that
        does.
        """
        self._ahead.append(Call(IMAGE, encoded=frozenset(keys), seconds=seconds, is_ahead=True))

    @contextmanager
    def timed(self, modality: str, load: Callable[[], object]) -> Iterator[EncodeResult]:
        """Note time and memory of the items that the block adds to the result.

        Args:
            load: loads the model, if it is not loaded yet.
        """
        start, result, seconds_loading = time.monotonic(), EncodeResult(), 0.0
        try:
            load()
            seconds_loading = time.monotonic() - start
            if (torch := self._watched_torch()) is not None:
                torch.cuda.reset_peak_memory_stats(self._device)
            yield result
        finally:
            seconds, encoded = time.monotonic() - start, frozenset(result.keys)
            self._calls.append(Call(modality, encoded=encoded, seconds=seconds, seconds_loading=seconds_loading))
            torch = self._watched_torch()
            peak = 0 if torch is None else int(torch.cuda.max_memory_allocated(self._device))
            if peak and self.peak_bytes is not None:
                self.peak_bytes[modality] = max(peak, self.peak_bytes.get(modality, 0))

    def _watched_torch(self) -> Any:
        """Return torch if it keeps account of the device's memory and the memory is watched, otherwise None."""
        is_watched = self.peak_bytes is not None and self._device.startswith("cuda")
        return sys.modules.get("torch") if is_watched else None
