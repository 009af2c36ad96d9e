"""Short names of models and data sets: distinct, and cut in the middle, where checkpoints differ least."""

from collections import Counter
from collections.abc import Sequence
from pathlib import PurePath

NAME_LENGTH = 48
"""The longest name in a sentence, in characters."""


def last_parts(names: Sequence[str]) -> list[str]:
    """Return the last parts of names that are paths, if these are distinct; a tag keeps its architecture.

    Example:
        >>> last_parts(["runs/base", "runs/mine/step-2"]), last_parts(["a/model", "b/model"])
        (['base', 'step-2'], ['a/model', 'b/model'])
        >>> last_parts(["hf:openai/clip", "open_clip:ViT-B-32/openai"])
        ['clip', 'open_clip:ViT-B-32/openai']
    """
    parts = [name if name.startswith("open_clip:") else PurePath(name).name or name for name in names]
    return parts if len(set(parts)) == len(names) else list(names)


def shorten_names(names: Sequence[str], length: int = NAME_LENGTH) -> list[str]:
    """Return names of at most ``length`` characters, cut in the middle; distinct names stay distinct.

    Names that begin and end alike keep the part in which they differ. If that part is too long, they get their positions.

    Example:
        >>> shorten_names(["runs/" + "a" * 20 + "-final", "b"], 12)
        ['runs/…-final', 'b']
        >>> shorten_names([f"ViT-B-32-laion-lr{rate}-warmup2000-final" for rate in (1, 2)], 16)
        ['ViT-…r1-wa…final', 'ViT-…r2-wa…final']
    """
    alike: dict[str, list[str]] = {}
    for name in dict.fromkeys(names):
        alike.setdefault(_cut_middle(name, length), []).append(name)
    short_by_name = {
        name: cut if len(group) == 1 else _keep_part(name, _n_shared(group), length)
        for cut, group in alike.items()
        for name in group
    }
    short = [short_by_name[name] for name in names]
    counts, shared = Counter(short), Counter(names)
    return [
        f"{cut[: length - len(str(place)) - 3]}… #{place}" if counts[cut] > shared[name] else cut
        for place, (name, cut) in enumerate(zip(names, short, strict=True), 1)
    ]


def _cut_middle(name: str, length: int) -> str:
    half = length // 2
    return name if len(name) <= length else f"{name[: half - 1]}…{name[-half:]}"


def _n_shared(names: Sequence[str]) -> int:
    """Return the number of characters with which all names begin."""
    first, last = min(names), max(names)
    return next((k for k, (one, other) in enumerate(zip(first, last, strict=False)) if one != other), len(first))


def _keep_part(name: str, start: int, length: int) -> str:
    """Return the ends of a name, and between them the part around ``start``."""
    if len(name) <= length:
        return name
    head, part = length // 4, length // 3
    start, tail = max(0, start - part // 3), length - head - part - 2
    return f"{name[:head]}…{name[start : start + part]}…{name[-tail:]}"
