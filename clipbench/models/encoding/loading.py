"""The embedder of a model reference: the model with its store, or the vectors that a file gives."""

from functools import partial
from pathlib import Path
from typing import Any

from clipbench.files import default_root
from clipbench.models.encoding.embedder import StoreEmbedder
from clipbench.models.encoding.image_hashes import ImageHashes
from clipbench.models.encoding.load_cache import CachedEmbedder, load_cache_of
from clipbench.models.options import LoadOptions
from clipbench.models.protocol import Embedder
from clipbench.models.reference import load_with_probes, resolve


def load_embedder(  # noqa: PLR0913  those of StoreEmbedder, each by its name
    reference: str,
    options: LoadOptions,
    root: Path | None = None,
    *,
    workers: int | None = None,
    show_progress: bool = False,
    hashes: ImageHashes | None = None,
    owns_process: bool = False,
) -> Embedder:
    """Return the model that a reference stands for with its store, or the embedder of precomputed vectors.

    Args:
        root: folder of the store, or None for the user's. The other options are as in ``StoreEmbedder``.
        owns_process: no code of the user's runs in this process. Then the model may be described by its last loading
            (``encoding.load_cache``), and is loaded only if something is missing.

    Raises:
        ClipbenchError: the reference or an option is wrong, or the weights are not here.
    """
    root = root or default_root()
    store_options: dict[str, Any] = {
        "batch_size": options.n_at_once,
        "workers": workers,
        "show_progress": show_progress,
        "hashes": hashes,
    }
    source = partial(load_embedder, reference, options, root, workers=workers)
    load = partial(load_with_probes, reference, options)
    cache = load_cache_of(reference, *resolve(reference.strip(), options), root) if owns_process else None
    if cache is not None and (description := cache.read()) is not None:
        described = CachedEmbedder(description, root, cache, load, **store_options)
        described.source = source
        return described
    loaded = load()
    model = loaded.model
    if isinstance(model, Embedder):
        return model
    embedder = (
        StoreEmbedder(model, root, **store_options)
        if cache is None
        else CachedEmbedder(model, root, cache, load, **store_options)
    )
    embedder.probes = loaded.probes
    embedder.source = None if model.is_sole else source
    return embedder
