"""The splits, and the held-out combinations of attributes that the train split never shows."""

from clipbench.data.scenes.geometry import stands
from clipbench.data.scenes.records import Scene
from clipbench.data.scenes.vocabulary import BASE_RELATIONS, held_out
from clipbench.errors import UsageError, did_you_mean

SPLITS = ("train", "test", "held-out")


def novelties(scene: Scene) -> list[tuple[str, ...]]:
    """Return the held-out combinations that occur in a scene; train and test scenes have none.

    A relation occurs where it clearly holds for two solids, whether or not a caption states it.
    """
    combinations = held_out()
    found: list[tuple[str, ...]] = [
        (solid.colour, solid.kind) for solid in scene.solids if (solid.colour, solid.kind) in combinations.looks
    ]
    for i, first in enumerate(scene.solids):
        for j, second in enumerate(scene.solids):
            if i == j or first.kind == second.kind:
                continue
            for relation in BASE_RELATIONS:
                order = (first.kind, relation, second.kind)
                if order in combinations.orders and stands(first, relation, second, is_nearer=i > j):
                    found.append(order)
    if scene.writing is not None and scene.writing.word in combinations.words:
        found.append((scene.writing.word,))
    return found


def belongs(scene: Scene, split: str) -> bool:
    """Return whether a scene belongs to a split: held-out scenes have a novel combination, others none."""
    return bool(novelties(scene)) == (split == "held-out")


def check_split(split: str) -> None:
    """Raise UsageError unless the split is known."""
    if split not in SPLITS:
        raise UsageError(f"scenes have no split '{split}': {did_you_mean(split, SPLITS)}")
