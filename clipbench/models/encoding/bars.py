"""Progress bars of encoding."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from clipbench.data.modalities import IMAGE, TEXT

if TYPE_CHECKING:
    from tqdm import tqdm


@contextmanager
def progress_bar(verb: str, modality: str, total: int, *, is_shown: bool) -> "Iterator[tqdm[Any]]":
    """Show a bar, only on a terminal."""
    from tqdm import tqdm

    unit = modality if modality in (IMAGE, TEXT) else f"{modality} item"
    disable = None if is_shown else True  # None: drawn only on a terminal
    with tqdm(total=total, desc=f"{verb} {unit}s", unit=f" {unit}", disable=disable, leave=False, delay=0.5) as bar:
        yield bar
