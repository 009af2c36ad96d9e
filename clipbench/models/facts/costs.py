"""What each tower of a model costs: its size and work, and the speed and memory of a run."""

from dataclasses import replace

from clipbench.data.modalities import IMAGE, TEXT
from clipbench.distributed.rounds import current
from clipbench.models.protocol import Counts, Embedder
from clipbench.results.record import TowerRecord

NOT_CUDA = "known on CUDA devices only"
NOT_ALONE = "known where clipbench run measures one model: others, or a program of your own, may hold memory too"
NOT_TORCH = "torch, which keeps account of the memory, has no tensors of it on the device"
TOGETHER = "they were encoded together with those of other models"
NONE_ENCODED = "all vectors came from the cache"
NOT_ASKED = "none was asked for"


def tower_costs(embedder: Embedder, since: Counts | None) -> dict[str, TowerRecord]:
    """Return the costs of each tower by its modality; none where the vectors were given.

    Args:
        since: the embedder's counts before the run.
    """
    counts = embedder.counts()
    if counts is None:
        return {}
    done, sizes = counts - (since or Counts()), embedder.sizes()
    names = [*sizes, *(name for name in done.modalities if name not in sizes and name not in (IMAGE, TEXT))]
    return {name: _of_run(sizes.get(name, TowerRecord()), done, name, embedder) for name in names}


def _of_run(size: TowerRecord, done: Counts, modality: str, embedder: Embedder) -> TowerRecord:
    """Return a tower with what the calls of a run say of it.

    Args:
        done: the counts of the run.
    """
    calls = [call for call in done.calls if call.modality == modality]
    n_encoded = len(frozenset[bytes]().union(*(call.encoded for call in calls)))
    timed = [call for call in calls if call.encoded and not call.is_ahead]
    seconds = sum(call.seconds - call.seconds_loading for call in timed)
    n_timed = sum(len(call.encoded) for call in timed)
    rate = n_timed / seconds if n_timed and seconds > 0 else None
    peak = embedder.peaks.most.get(modality)
    reasons = dict(size.reasons)
    none_timed = TOGETHER if n_encoded else NONE_ENCODED if calls else NOT_ASKED
    if rate is None:
        reasons["items_per_second"] = none_timed
    if not (embedder.info.device or "").startswith("cuda"):
        reasons["peak_bytes"] = NOT_CUDA
    elif embedder.peaks.device is None:
        reasons["peak_bytes"] = NOT_ALONE
    elif peak is None:
        reasons["peak_bytes"] = NOT_TORCH if n_timed else none_timed
    return replace(
        size,
        n_encoded=n_encoded,
        n_timed=n_timed,
        n_processes=current().n,
        items_per_second=None if rate is None else float(f"{rate:.4g}"),
        peak_bytes=peak,
        reasons=reasons,
    )
