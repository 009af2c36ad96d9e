"""The small pictures of a run folder, embedded in the page as long as there is room."""

import base64
import re
from dataclasses import dataclass

from clipbench.result import Run

MAX_BYTES = 3_000_000
"""Of all pictures of a page, as they stand in it: with figures and tables it stays under 5 MB."""


@dataclass
class Room:
    """How many characters of pictures may still be embedded."""

    left: int

    def take(self, *addresses: str) -> bool:
        """Return whether there is room for all of some addresses, which they then take."""
        needed = sum(map(len, addresses))
        if needed > self.left:
            return False
        self.left -= needed
        return True


def address(run: Run, digest: str) -> str:
    """Return the ``data:`` address of a picture by its content hash; empty where the run kept none, or a damaged one.

    Args:
        digest: what a sample table holds; anything but a hash finds nothing.
    """
    if not re.fullmatch(r"[0-9a-f]{8,128}", digest):
        return ""
    try:
        data = (run.folder / "thumbs" / f"{digest}.webp").read_bytes()
    except OSError:
        return ""
    is_whole = data[:4] == b"RIFF" and data[8:12] == b"WEBP"
    return f"data:image/webp;base64,{base64.b64encode(data).decode()}" if is_whole else ""
