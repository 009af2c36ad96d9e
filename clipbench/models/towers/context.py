"""Text towers stretched to more tokens, as Long-CLIP does it. Imported only with torch at hand."""

import torch
from jaxtyping import Float

from clipbench.errors import UsageError
from clipbench.models.towers.checkpoint_file import StateDict

N_KEPT = 20
"""First positions, which Long-CLIP leaves unchanged: short captions have trained them well."""
FACTOR = 4
MIN_POSITIONS = N_KEPT + 2
"""Positions that a table must have to be stretched: its end is extrapolated from the last two."""


def with_context(state: StateDict, context: int) -> tuple[StateDict, tuple[str, ...]]:
    """Return weights with that many text positions, and notes for the result.

    The two tables of a Long-CLIP checkpoint, the frozen and the trained one, are joined. The table of an ordinary one is
    stretched by the rule from which Long-CLIP starts its training (Zhang et al., ECCV 2024, arXiv 2403.15378).

    Raises:
        UsageError: the checkpoint has neither that many positions nor a number that stretches to it.
    """
    name = next((name for name in ("positional_embedding", "text.positional_embedding") if name in state), None)
    if name is None:
        return state, ()
    trained = state.get(f"{name}_res")
    rest = {key: value for key, value in state.items() if key not in (name, f"{name}_res")}
    table = state[name] if trained is None else torch.cat([state[name][:N_KEPT], trained[N_KEPT:]])
    table, notes = stretched_to(table, context)
    return {**rest, name: table}, notes


def stretched_to(
    table: Float[torch.Tensor, "n_positions width"], context: int
) -> tuple[Float[torch.Tensor, "context width"], tuple[str, ...]]:
    """Return a table of that many positions, and a note if it had to be stretched.

    Raises:
        UsageError: it has neither that many positions nor a number that stretches to it: for other lengths no rule has
            been published and tested.
    """
    n_positions = len(table)
    if n_positions == context:
        return table, ()
    if n_positions < MIN_POSITIONS or context != stretched_length(n_positions):
        longer = f", or {stretched_length(n_positions)} to stretch it" if n_positions >= MIN_POSITIONS else ""
        raise UsageError(
            f"option context={context} does not fit a checkpoint with {n_positions} text positions:"
            f" expected {n_positions}{longer}"
        )
    note = f"text positions stretched from {n_positions} to {context} by Long-CLIP's rule, without its training"
    return stretched(table), (note,)


def needs_causal_tower(context: int, model: str) -> UsageError:
    """Return the error for a text tower whose vector depends on padding behind the text."""
    return UsageError(
        f"option context={context} needs a causal text tower pooled at the end of the text, and that of"
        f" {model} is none: drop the option"
    )


def stretched_length(n_positions: int) -> int:
    """Return the number of positions of a stretched table.

    Example:
        >>> stretched_length(77)
        248
    """
    return N_KEPT + FACTOR * (n_positions - N_KEPT)


def stretched(table: Float[torch.Tensor, "n_positions width"]) -> Float[torch.Tensor, "n_stretched width"]:
    """Return a table with the first positions kept and each later one interpolated to the next in four steps.

    The last position has no next one: it is extrapolated from the last two.
    """
    tail = table[N_KEPT:]
    after = torch.cat([tail[1:], 2 * tail[-1:] - tail[-2:-1]])
    steps = [((FACTOR - k) * tail + k * after) / FACTOR for k in range(FACTOR)]
    return torch.cat([table[:N_KEPT], torch.stack(steps, dim=1).flatten(0, 1)])
