"""The small images of a run folder, embedded in the page as long as there is room."""

import base64
import re
from dataclasses import dataclass
from pathlib import Path

from clipbench.files import is_inside
from clipbench.results.run import Run
from clipbench.untrusted.reading import read_bytes

MAX_BYTES = 2_200_000
"""Characters of all images of a page: with figures and tables one of a few tasks stays under 3 MB."""


@dataclass
class PageBudget:
    """The number of characters of images that may still be embedded."""

    left: int
    n_shares: int = 1
    """Parts that share it: what one of them does not use is left for the next."""
    whole: "PageBudget | None" = None
    """The budget that this is a share of."""

    def share(self, n: int = 1) -> "PageBudget":
        """Return the room for one of those who share it, who counts as much as ``n``.

        Example:
            >>> page = PageBudget(900, n_shares=3)
            >>> page.share().take("x" * 100), page.share().left
            (True, 400)
        """
        part = PageBudget(self.left * n // max(n, self.n_shares), whole=self)
        self.n_shares -= n
        return part

    def take(self, *addresses: str) -> bool:
        """Return whether there is room for all of some addresses, which they then take."""
        needed = sum(map(len, addresses))
        if needed > self.left or not (self.whole is None or self.whole.take(*addresses)):
            return False
        self.left -= needed
        return True


def address(run: Run, digest: str, *, is_small: bool = False) -> str:
    """Return the ``data:`` address of an image by its content hash; empty where the run kept none, or a damaged one.

    Args:
        digest: what a sample table holds; anything but a hash finds nothing.
        is_small: whether a smaller copy will do, where the run kept both; where it kept one, that is the image.
    """
    if not re.fullmatch(r"[0-9a-f]{8,128}", digest):
        return ""
    paths = (run.folder / "thumbs" / f"{digest}.webp", run.folder / "thumbs" / "small" / f"{digest}.webp")
    addresses = (_embedded(path, run.folder) for path in (reversed(paths) if is_small else paths))
    return next(filter(None, addresses), "")


def _embedded(path: Path, folder: Path) -> str:
    if not is_inside(path, folder):  # a run that another has made may link to any image of this machine
        return ""
    try:
        data = read_bytes(path, MAX_BYTES)
    except OSError:
        return ""
    is_whole = data[:4] == b"RIFF" and data[8:12] == b"WEBP"
    return f"data:image/webp;base64,{base64.b64encode(data).decode()}" if is_whole else ""
