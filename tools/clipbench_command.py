"""The command of clipbench, for the makers of pages."""

import subprocess
import sys
from collections.abc import Collection
from pathlib import Path

CLIPBENCH = (sys.executable, "-m", "clipbench")


def clipbench(folder: Path, *arguments: str, statuses: Collection[int] = (0,)) -> None:
    """Run a command in a folder, which is made if needed, and exit if its status is not one of these."""
    folder.mkdir(parents=True, exist_ok=True)
    done = subprocess.run([*CLIPBENCH, *arguments], check=False, cwd=folder)
    if done.returncode not in statuses:
        sys.exit(done.returncode)
