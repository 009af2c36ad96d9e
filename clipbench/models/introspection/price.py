"""The price of one query: time to load a model and to encode one item, its best speed, and its memory. ``clipbench run
--price``.
"""

import platform
import signal
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
from PIL import Image

from clipbench.data.modalities import IMAGE, TEXT
from clipbench.errors import FOREIGN, MachineError, error_summary
from clipbench.metrics.threads import n_threads
from clipbench.models.options import LoadOptions
from clipbench.models.protocol import Model
from clipbench.models.reference import load_model
from clipbench.results.record import PriceRecord
from clipbench.seeding import generator

Clock = Callable[[], float]
WARM_UP = 5
"""Calls before any is timed."""
LEAST, MOST, SECONDS = 20, 200, 10.0
"""Calls that are timed: at least ``LEAST``, then more until there are ``MOST`` or they took ``SECONDS``."""
BATCHES = (4, 16, 64, 256)
GROWTH = 1.05
"""A batch that encodes not that much faster than the best so far ends the search."""
SIZE = (640, 480)
TEXTS = ("a photo of a cat", "two people in red coats wait for a bus in the rain next to a shop that is closed")


def price_in_subprocess(reference: str, options: LoadOptions) -> PriceRecord:
    """Return the price of a model, measured in a new process without the memory of earlier models.

    Raises:
        MachineError: the process was killed.
    """
    with ProcessPoolExecutor(
        1,
        initializer=signal.signal,
        initargs=(signal.SIGINT, signal.SIG_DFL),  # Ctrl-C ends it in silence
        max_tasks_per_child=1,  # spawned, and gone after its task where this process was killed
    ) as process:
        try:
            return process.submit(_price, reference, options).result()
        except BrokenProcessPool as error:
            advice = "check the free memory, and in a script, call this only under if __name__ == '__main__'"
            raise MachineError(f"the process that measures the price of {reference} ended early: {advice}") from error


def _price(reference: str, options: LoadOptions) -> PriceRecord:
    tag = PriceTag()
    return tag.price(cast(Model, load_model(reference, options)))


class PriceTag:
    """Takes the price of a model: made before the model is loaded, asked once it is.

    Args:
        clock: gives seconds.
    """

    def __init__(self, clock: Clock = time.perf_counter) -> None:
        self._clock = clock
        self._resident = _process_memory("VmRSS")
        with suppress(OSError):  # the peak begins again here, where the system has one
            Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
        if (torch := _cuda()) is not None:
            torch.cuda.reset_peak_memory_stats()
        self._start = clock()

    def price(self, model: Model) -> PriceRecord:
        """Return the price of a model that has just been loaded, with a reason for each missing figure."""
        loaded, figures, reasons = self._clock(), dict[str, Any](), dict[str, str]()
        for name, item, encode in (
            (TEXT, lambda n: TEXTS[n % len(TEXTS)], model.encode_texts),
            (IMAGE, _image, model.encode_images),
        ):
            try:
                figures[f"{name}_p50"], figures[f"{name}_p95"] = self._one_at_a_time(item, encode)
            except FOREIGN as error:
                reasons |= dict.fromkeys((f"{name}_p50", f"{name}_p95"), error_summary(error))
        figures["memory_bytes"] = self._peak(model)
        if figures["memory_bytes"] is None:
            reasons["memory_bytes"] = "this system does not report the peak memory of a process"
        if "image_p50" in figures:
            images = [_image(n) for n in range(max(BATCHES))]  # after the peak, which they would be part of
            figures["images_per_second"], figures["batch_size"] = self._best_batch(
                model, images, 1 / figures["image_p50"]
            )
        else:
            reasons |= dict.fromkeys(("images_per_second", "batch_size"), reasons["image_p50"])
        rounded: dict[str, Any] = {}
        for name, figure in figures.items():
            rounded[name] = _rounded(figure) if isinstance(figure, float) else figure
        return PriceRecord(
            load_seconds=_rounded(loaded - self._start),
            vector_bytes=4 * model.info.embed_dim,
            machine=_machine(model),
            reasons=reasons,
            **rounded,
        )

    def _one_at_a_time(self, item: Callable[[int], Any], encode: Callable[[Any], object]) -> tuple[float, float]:
        """Return the median and the 95th percentile of the seconds in which one item is encoded."""
        for n in range(WARM_UP):
            encode([item(n)])
        seconds: list[float] = []
        while len(seconds) < LEAST or (len(seconds) < MOST and sum(seconds) < SECONDS):
            seconds.append(self._seconds(partial(encode, [item(len(seconds))])))
        return float(np.median(seconds)), float(np.quantile(seconds, 0.95))

    def _best_batch(self, model: Model, images: Sequence[Image.Image], single_rate: float) -> tuple[float, int]:
        """Return the most images per second, and the size of the batch that gives them.

        Args:
            single_rate: images per second one at a time.
        """
        best = single_rate, 1
        for size in BATCHES:
            encode = partial(_encode, model, images[:size])
            try:
                encode()
                rate = size / float(np.median([self._seconds(encode) for _ in range(3)]))
            except FOREIGN:  # memory of a device, most likely: a smaller one is the best
                break
            if rate <= GROWTH * best[0]:
                return max(best, (rate, size))
            best = rate, size
        return best

    def _seconds(self, call: Callable[[], object]) -> float:
        start = self._clock()
        call()
        return self._clock() - start

    def _peak(self, model: Model) -> int | None:
        if (model.info.device or "").startswith("cuda") and (torch := _cuda()) is not None:
            return int(torch.cuda.max_memory_allocated(model.info.device))
        peak = _process_memory("VmHWM")
        return None if peak is None or self._resident is None else max(0, peak - self._resident)


def _encode(model: Model, images: Sequence[Image.Image]) -> object:
    return list(model.encode_batches(IMAGE, [model.inputs_of(images)]))


def _image(n: int) -> Image.Image:
    """Return an image of the size of a photograph, another for each number, as a cache may know equal ones."""
    small = generator(0, "price", str(n)).integers(0, 256, (12, 16, 3), np.uint8)
    return Image.fromarray(small).resize(SIZE)


def _machine(model: Model) -> dict[str, str]:
    device, torch = model.info.device or "cpu", sys.modules.get("torch")
    threads = n_threads() if torch is None else torch.get_num_threads()
    if device.startswith("cuda") and torch is not None:
        device = torch.cuda.get_device_name(device)
    facts = {
        "cpu": _status_value("/proc/cpuinfo", "model name") or platform.machine(),
        "threads": str(threads),
        "device": device,
        "precision": model.info.precision or "",
    }
    return {name: fact for name, fact in facts.items() if fact}


def _process_memory(name: str) -> int | None:
    """Return a memory figure of this process in bytes, such as its peak VmHWM, or None if the system has none."""
    text = _status_value("/proc/self/status", name)
    return None if text is None else 1024 * int(text.split()[0])


def _status_value(file: str, name: str) -> str | None:
    """Return the value of a name in a file of lines ``name: value``, or None if there is none."""
    with suppress(OSError):
        for line in Path(file).read_text(encoding="utf-8", errors="replace").splitlines():
            key, _, value = line.partition(":")
            if key.strip() == name:
                return value.strip()
    return None


def _cuda() -> Any:
    """Return torch where it uses a CUDA device already."""
    torch = sys.modules.get("torch")
    return torch if torch is not None and torch.cuda.is_initialized() else None


def _rounded(value: float) -> float:
    return float(f"{value:.4g}")
