"""Costs of each tower: the parameters and operations that one item takes, and the speed and memory of a run."""

import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial

from PIL import Image

from clipbench.data.modalities import IMAGE, TEXT
from clipbench.distributed.rounds import current_rounds
from clipbench.errors import FOREIGN, error_summary
from clipbench.models.protocol import Counts, Model, ModelEmbedder, stack_inputs
from clipbench.results.record import TowerRecord

COUNTED = ("n_parameters", "flops")
"""Fields of ``TowerRecord`` that are counted here."""
SIDE = 224
"""Side in pixels of the image of a model that does not state its own."""
GREY = (128, 128, 128)
TEXT_ITEM = "a photo of a cat"

Pass = tuple[Callable[[], object], str]
"""A function that encodes one item, and a name for the item."""


def tower_costs(embedder: ModelEmbedder, since: Counts | None) -> dict[str, TowerRecord]:
    """Return the costs of each tower by its modality.

    Args:
        since: the embedder's counts before the run.
    """
    work, sizes = embedder.counts() - (since or Counts()), embedder.sizes()
    names = [*sizes, *(name for name in work.modalities if name not in sizes and name not in (IMAGE, TEXT))]
    return {name: _with_run_costs(sizes.get(name, TowerRecord()), work, name, embedder) for name in names}


def _with_run_costs(size: TowerRecord, work: Counts, modality: str, embedder: ModelEmbedder) -> TowerRecord:
    """Return a tower with the costs that the calls of a run recorded."""
    calls = [call for call in work.calls if call.modality == modality]
    n_encoded = len(frozenset[bytes]().union(*(call.encoded for call in calls)))
    timed = [call for call in calls if call.encoded and not call.is_ahead]
    seconds = sum(call.seconds - call.seconds_loading for call in timed)
    n_timed = sum(len(call.encoded) for call in timed)
    rate = n_timed / seconds if n_timed and seconds > 0 else None
    peak = (embedder.peak_bytes or {}).get(modality)
    reasons = dict(size.reasons)
    none_timed = "all vectors came from the cache" if calls else "none was requested"
    if n_encoded:
        none_timed = "they were encoded together with the inputs of other models"
    if rate is None:
        reasons["items_per_second"] = none_timed
    if not (embedder.info.device or "").startswith("cuda"):
        reasons["peak_bytes"] = "known only on CUDA devices"
    elif embedder.peak_bytes is None:
        reasons["peak_bytes"] = (
            "known only if clipbench run measures one model, because other models and programs may hold memory too"
        )
    elif peak is None:
        not_torch = "torch, which keeps account of the memory, has no tensors of it on the device"
        reasons["peak_bytes"] = not_torch if n_timed else none_timed
    return replace(
        size,
        n_encoded=n_encoded,
        n_timed=n_timed,
        n_processes=current_rounds().n,
        items_per_second=None if rate is None else float(f"{rate:.4g}"),
        peak_bytes=peak,
        reasons=reasons,
    )


def tower_sizes(model: Model) -> dict[str, TowerRecord]:
    """Return parameters and operations of each tower by modality, with a reason for each absent figure.

    It takes a forward pass of one image and of one text. Nothing is run of a model that does not show its torch module
    or the parts behind its methods: to encode may cost money there, and would show no operation.
    """
    passes = {IMAGE: _image_pass, TEXT: _text_pass}
    return {name: _size(passes.get(name, lambda tower: None), tower) for name, tower in model.towers().items()}


def _size(prepared: Callable[[Model], Pass | None], model: Model) -> TowerRecord:
    """Return the parameters and operations for one item, encoded by the function of ``prepared``."""
    if "torch" not in sys.modules:
        return _absent("it does not compute in torch in this process")
    from clipbench.models.introspection.operations import count_operations

    try:
        forward = prepared(model)
        if forward is None:
            return _absent("the model does not show this tower")
        run, item = forward
        with count_operations() as operations:
            run()
    except FOREIGN as error:  # a library's, on a module or an input that it did not expect
        return _absent(f"encoding one item could not be counted ({error_summary(error)})")
    if operations.unknown is not None:
        return _absent(f"it uses {operations.unknown}, whose number of operations is unknown")
    if not operations.flops:
        return _absent("no product of matrices of torch was seen")
    n_parameters = operations.n_parameters or None  # none where they are compiled into constants
    reasons = {} if n_parameters else {"n_parameters": "no parameter of torch was seen"}
    return TowerRecord(n_parameters=n_parameters, flops=operations.flops, item=item, reasons=reasons)


def _absent(reason: str) -> TowerRecord:
    return TowerRecord(reasons=dict.fromkeys(COUNTED, reason))


def _image_pass(model: Model) -> Pass | None:
    parts = model.internals()
    side = model.info.image_size or SIDE
    image = Image.new("RGB", (side, side), GREY)
    preprocess = model.preprocess or parts.preprocess
    encode = parts.encode_pixels if model.preprocess is None else partial(model.encode, IMAGE)
    if preprocess is not None and encode is not None:
        pixels = preprocess(image)
        input_label = (
            "a square image" if isinstance(pixels, Mapping) else "an image of {} x {} pixels".format(*pixels.shape[-2:])
        )
        return (partial(encode, stack_inputs([pixels])), input_label)
    return None if parts.module is None else (partial(model.encode_images, [image]), "a square image")


def _text_pass(model: Model) -> Pass | None:
    parts = model.internals()
    if parts.tokenize is not None and parts.encode_tokens is not None:
        tokens = parts.tokenize([TEXT_ITEM])
        n_tokens = next(iter(tokens.values())).shape[1]
        return (partial(parts.encode_tokens, tokens), f"a text of {n_tokens} tokens, padding included")
    if parts.module is not None:
        return (partial(model.encode_texts, [TEXT_ITEM]), f"the text '{TEXT_ITEM}'")
    return None
