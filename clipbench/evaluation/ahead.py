"""Models of a session that are loaded together, so that their images are decoded once."""

from collections.abc import Callable, Sequence
from pathlib import Path

from clipbench.distributed.rounds import current
from clipbench.errors import FOREIGN, ClipbenchError
from clipbench.evaluation.datasets import Datasets
from clipbench.evaluation.plan import Request, build_task
from clipbench.evaluation.targets import RESULT, Target
from clipbench.evaluation.task import ForeseeingTask
from clipbench.models.encoding.embedder import StoreEmbedder, encode_together
from clipbench.models.encoding.large_arrays import memory_bytes
from clipbench.models.protocol import Embedder, ModelInfo
from clipbench.untrusted.reading import is_file

SHARE_OF_MEMORY = 0.25
"""Part of the free memory of the device that the weights of models may take that are loaded together."""
MOST_MODELS = 16
"""The most models that are loaded together; more would hardly save more decoding."""


class Ahead:
    """Embedders of the next models, whose images are encoded already as far as several of them lacked the same ones.

    Args:
        load: returns the embedder of a reference.
        datasets: of the session.
        is_lenient: unreadable images are skipped.
    """

    def __init__(self, load: Callable[[str], Embedder], datasets: Datasets, *, is_lenient: bool) -> None:
        self._load, self._datasets, self._is_lenient = load, datasets, is_lenient
        self._loaded: dict[str, Embedder] = {}

    def embedder(self, target: Target, next_ones: Sequence[Target], requests: Sequence[Request]) -> Embedder:
        """Return the embedder of a model; with it some of the next ones are loaded, and encode the images of requests.

        Raises:
            ClipbenchError: the model cannot be loaded.
            MachineError: the store cannot be written to, or a process was killed.
        """
        if target.reference not in self._loaded:
            self._loaded = {}  # before others are loaded
            self._loaded[target.reference] = self._load(target.reference)
            self._load_others(next_ones)
            self._encode(requests)
        return self._loaded.pop(target.reference)

    def _load_others(self, targets: Sequence[Target]) -> None:
        """Load the models that follow, as long as one more of the largest so far would fit into memory."""
        (first,) = self._loaded.values()
        room = SHARE_OF_MEMORY * _free_memory(first.info.device) / current().n_here
        for target in targets:
            sizes = [_n_bytes(each.info) for each in self._loaded.values()]
            if len(sizes) >= MOST_MODELS or not all(sizes) or sum(sizes) + max(sizes) > room:
                return
            if target.embedder is not None or target.brings_samples or is_file(target.folder / RESULT):
                continue
            try:
                self._loaded[target.reference] = self._load(target.reference)
            except ClipbenchError:  # said when its turn has come
                continue

    def _encode(self, requests: Sequence[Request]) -> None:
        """Encode the images that tasks ask for first, in the batches in which they would ask for them."""
        embedders = [each for each in self._loaded.values() if isinstance(each, StoreEmbedder)]
        if len(embedders) < 2:
            return
        unforeseen = set[str | None]()
        for request in requests:
            task = build_task(request)
            if not isinstance(task, ForeseeingTask):
                unforeseen.add(request.data)  # its batches are not known, and a later task finds them in the store
                continue
            if request.data in unforeseen:
                continue
            try:
                dataset = self._datasets.get(request)
                images = dataset.images if self._is_lenient else task.first_images(dataset.whole())
            except FOREIGN:  # recorded by the evaluation
                continue
            encode_together(embedders, images)


def _n_bytes(info: ModelInfo) -> int:
    """Return the bytes of a model's weights, 0 where nobody knows."""
    return (info.n_parameters or 0) * (2 if info.precision in ("bf16", "fp16") else 4)


def _free_memory(device: str | None) -> int:
    """Return the free bytes of a device, 0 where nobody knows."""
    if device is not None and device.startswith("cuda"):
        import torch

        return torch.cuda.mem_get_info(device)[0]
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    available = next((1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable")), 0)
    return min(available, memory_bytes())  # a container may have less than its machine
