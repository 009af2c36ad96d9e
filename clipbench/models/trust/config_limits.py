"""Limits on what a model's configuration may ask for, checked before anything of that size is built."""

from collections.abc import Iterator

from clipbench.errors import ModelError
from clipbench.untrusted.reading import shown

MOST_LAYERS = 1_000
"""Layers of one tower; the deepest published dual encoders have below 100."""
MOST_SIDE = 4_096
"""Side of an image or patch in pixels."""
MOST_TOKENS = 1 << 19
"""Tokens of a text; the towers of language models take up to half as many."""
SPARE_WEIGHTS = 1 << 26
"""Weights by which a model may exceed its files: those that lack a few get a message that names them."""

SIDES = frozenset({"image_size", "patch_size", "size", "crop_size", "height", "shortest_edge", "longest_edge"})
"""Names of sides in pixels in the configuration of a model, where ``width`` is that of a tower."""
SIDES_OF_IMAGES = SIDES | {"width"}
"""Those in the configuration of preprocessing."""
_TOKENS = ("max_position_embeddings", "context_length")
_LAYERS = ("layers", "depth", "depths", "n_layer", "num_hidden_layers")


def check_sizes(config: object, source: object, sides: frozenset[str] = SIDES) -> None:
    """Raise ModelError for a configuration with more layers, larger images or longer texts than any model has.

    Args:
        config: the JSON of a configuration, of a model or of its preprocessing.
        source: its file, for the message.
        sides: names of sides in pixels.
    """
    for key, number in _numbers(config, ""):
        most = (
            MOST_LAYERS
            if key.endswith(_LAYERS)
            else MOST_TOKENS
            if key in _TOKENS
            else MOST_SIDE
            if key in sides
            else None
        )
        if most is not None and not 1 <= number <= most:
            raise ModelError(f"{source} has {key} = {shown(number)}, expected 1 to {most:,}")


def check_weights(n_described: int, n_held: int, source: object) -> None:
    """Raise ModelError where a configuration describes a far larger model than its checkpoint holds.

    Args:
        n_described: weights and constants of the described model.
        n_held: weights that the checkpoint can hold at most.
        source: the model, for the message.
    """
    if n_described > n_held + SPARE_WEIGHTS:
        raise ModelError(
            f"{source} has weights for {n_held:,} numbers at most, and its configuration describes a model of"
            f" {n_described:,}: do they belong together?"
        )


def _numbers(value: object, key: str) -> Iterator[tuple[str, int | float]]:
    """Yield each number in a configuration with the nearest name above it."""
    if isinstance(value, dict):
        for name, each in value.items():
            yield from _numbers(each, str(name))
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _numbers(each, key)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield key, value
