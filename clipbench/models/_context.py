"""Text towers stretched to more tokens, as Long-CLIP does it. Imported only with torch at hand."""

import torch
from jaxtyping import Float

from clipbench.errors import UsageError
from clipbench.models._checkpoint import StateDict

KEPT = 20
"""Positions that Long-CLIP leaves as they are: those that short captions have trained well."""
FACTOR = 4


def with_context(state: StateDict, context: int) -> tuple[StateDict, tuple[str, ...]]:
    """Return weights with that many text positions, and what a reader of the numbers should know.

    A Long-CLIP checkpoint has them: its two tables, the frozen and the trained one, become one. An ordinary one is
    stretched by the rule that Long-CLIP starts its training from (Zhang et al., ECCV 2024, arXiv 2403.15378).

    Raises:
        UsageError: the checkpoint has neither that many positions nor as many as stretch to it.
    """
    name = next((name for name in ("positional_embedding", "text.positional_embedding") if name in state), None)
    if name is None:
        return state, ()
    trained = state.get(f"{name}_res")
    rest = {key: value for key, value in state.items() if key not in (name, f"{name}_res")}
    table = state[name] if trained is None else torch.cat([state[name][:KEPT], trained[KEPT:]])
    if len(table) == context:
        return {**rest, name: table}, ()
    if len(table) <= KEPT or context != stretched_length(len(table)):
        raise UsageError(
            f"option context={context} does not fit a checkpoint with {len(table)} text positions:"
            f" expected {len(table)}, or {stretched_length(len(table))} to stretch it"
        )
    note = f"text positions stretched from {len(table)} to {context} by Long-CLIP's rule, without its training"
    return {**rest, name: stretched(table)}, (note,)


def stretched_length(n_positions: int) -> int:
    """Return how many positions a table is stretched to.

    Example:
        >>> stretched_length(77)
        248
    """
    return KEPT + FACTOR * (n_positions - KEPT)


def stretched(table: Float[torch.Tensor, "n_positions width"]) -> Float[torch.Tensor, "n_stretched width"]:
    """Return a table with the first positions kept and each later one interpolated to its follower in four steps.

    The last has no follower: its steps go on as those before it went.
    """
    tail = table[KEPT:]
    after = torch.cat([tail[1:], 2 * tail[-1:] - tail[-2:-1]])
    steps = [((FACTOR - k) * tail + k * after) / FACTOR for k in range(FACTOR)]
    return torch.cat([table[:KEPT], torch.stack(steps, dim=1).flatten(0, 1)])
