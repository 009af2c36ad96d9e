"""Short names of models and data sets: distinct, and cut in the middle, where checkpoints differ least."""

from collections import Counter
from collections.abc import Sequence
from os.path import commonprefix
from pathlib import PurePath

NAME_LENGTH = 48
"""The longest name in a sentence, in characters."""


def last_parts(names: Sequence[str]) -> list[str]:
    """Return the last parts of names that are paths, if these are distinct. A tag keeps its architecture.

    Example:
        >>> last_parts(["runs/base", "runs/mine/step-2"]), last_parts(["a/model", "b/model"])
        (['base', 'step-2'], ['a/model', 'b/model'])
        >>> last_parts(["hf:openai/clip", "open_clip:ViT-B-32/openai"])
        ['clip', 'open_clip:ViT-B-32/openai']
    """
    parts = [name if name.startswith("open_clip:") else PurePath(name).name or name for name in names]
    return parts if len(set(parts)) == len(names) else list(names)


def shorten_names(names: Sequence[str], length: int = NAME_LENGTH) -> list[str]:
    """Return names of at most ``length`` characters, cut in the middle. Distinct names stay distinct.

    Names that begin and end alike keep the part in which they differ, or get their positions if it is too long.

    Example:
        >>> shorten_names(["runs/" + "a" * 20 + "-final", "b"], 12)
        ['runs/…-final', 'b']
        >>> shorten_names([f"ViT-B-32-laion-lr{rate}-warmup2000-final" for rate in (1, 2)], 16)
        ['ViT-…r1-wa…final', 'ViT-…r2-wa…final']
    """
    half, quarter, third = length // 2, length // 4, length // 3
    by_cut: dict[str, list[str]] = {}
    for name in names:
        cut = f"{name[: half - 1]}…{name[-half:]}" if len(name) > length else name
        by_cut.setdefault(cut, []).append(name)
    short: dict[str, str] = {}
    for cut, group in by_cut.items():
        start = max(0, len(commonprefix(group)) - third // 3)  # noqa: RUF071  names are characters here
        tail = length - quarter - third - 2
        for name in group:
            part = f"{name[:quarter]}…{name[start : start + third]}…{name[-tail:]}"
            short[name] = cut if len(set(group)) == 1 else part
    counts = Counter(short.values())
    distinct = []
    for position, name in enumerate(names, 1):
        is_shared = counts[short[name]] > 1
        distinct.append(f"{short[name][: length - 6]}… #{position}" if is_shared else short[name])
    return distinct
