"""The peak memory of a process of its own, for tests that bound it."""

import re
from pathlib import Path


def peak_bytes() -> int:
    """Return the peak memory of this process, on Linux.

    ``ru_maxrss`` holds the memory of the process that started this one, too, and so that of all tests before.
    """
    found = re.search(r"^VmHWM:\s+(\d+) kB$", Path("/proc/self/status").read_text(encoding="utf-8"), re.MULTILINE)
    assert found is not None
    return 1024 * int(found[1])
