"""Size and work of a model's towers: the parameters and floating-point operations that encoding one item takes."""

import sys
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from PIL import Image

from clipbench.data.modalities import IMAGE, TEXT
from clipbench.errors import FOREIGN, cause
from clipbench.models.protocol import Model, stacked
from clipbench.results.record import TowerRecord

if TYPE_CHECKING:
    from clipbench.models.facts.operations import Operations

COUNTED = ("n_parameters", "flops")
"""Fields of ``TowerRecord`` that are counted here."""
SIDE = 224
"""Side in pixels of the image of a model that does not state its own."""
GREY = (128, 128, 128)
TEXT_ITEM = "a photo of a cat"


class _Pass(NamedTuple):
    """Encoding of one item."""

    run: Callable[[], object]
    item: str


def tower_sizes(model: Model) -> dict[str, TowerRecord]:
    """Return parameters and operations of each tower, by its modality; what cannot be counted is absent, with the reason.

    It takes a forward pass of one image and of one text. Nothing is run of a model that does not show its torch module or
    the parts behind its methods: to encode may cost money there, and would show no operation.
    """
    passes = {IMAGE: _image_pass, TEXT: _text_pass}
    return {
        name: _size(partial(passes[name], tower) if name in passes else lambda: None)
        for name, tower in model.towers().items()
    }


def _size(prepared: Callable[[], _Pass | None]) -> TowerRecord:
    if "torch" not in sys.modules:
        return _absent("it does not compute in torch in this process")
    from clipbench.models.facts.operations import counting

    try:
        forward = prepared()
        if forward is None:
            return _absent("the model does not show this tower")
        with counting() as operations:
            forward.run()
    except FOREIGN as error:  # a library's, on a module or an input that it did not expect
        return _absent(f"encoding one item could not be counted ({cause(error)})")
    return _counted(operations, forward.item)


def _counted(operations: "Operations", item: str) -> TowerRecord:
    if operations.unknown is not None:
        return _absent(f"it computes by {operations.unknown}, whose work is not known")
    if not operations.flops:
        return _absent("no product of matrices of torch was seen")
    if not operations.n_parameters:  # compiled into constants
        reasons = {"n_parameters": "no parameter of torch was seen"}
        return TowerRecord(flops=operations.flops, item=item, reasons=reasons)
    return TowerRecord(n_parameters=operations.n_parameters, flops=operations.flops, item=item)


def _absent(reason: str) -> TowerRecord:
    return TowerRecord(reasons=dict.fromkeys(COUNTED, reason))


def _image_pass(model: Model) -> _Pass | None:
    parts = model.internals()
    side = model.info.image_size or SIDE
    image = Image.new("RGB", (side, side), GREY)
    preprocess = model.preprocess or parts.preprocess
    encode = parts.encode_pixels if model.preprocess is None else partial(model.encode, IMAGE)
    if preprocess is not None and encode is not None:
        made = preprocess(image)
        seen = "a square image" if isinstance(made, Mapping) else "an image of {} x {} pixels".format(*made.shape[-2:])
        return _Pass(partial(encode, stacked([made])), seen)
    return None if parts.module is None else _Pass(partial(model.encode_images, [image]), "a square image")


def _text_pass(model: Model) -> _Pass | None:
    parts = model.internals()
    if parts.tokenize is not None and parts.encode_tokens is not None:
        tokens = parts.tokenize([TEXT_ITEM])
        n_tokens = next(iter(tokens.values())).shape[1]
        return _Pass(partial(parts.encode_tokens, tokens), f"a text of {n_tokens} tokens, padding included")
    if parts.module is not None:
        return _Pass(partial(model.encode_texts, [TEXT_ITEM]), f"the text '{TEXT_ITEM}'")
    return None
