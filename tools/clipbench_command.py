"""The command of clipbench, for the makers of pages."""

import subprocess
import sys
from pathlib import Path

CLIPBENCH = (sys.executable, "-m", "clipbench")


def clipbench(folder: Path, *arguments: str) -> None:
    """Run a command in a folder, which is made if needed, and exit if the command fails."""
    folder.mkdir(parents=True, exist_ok=True)
    done = subprocess.run([*CLIPBENCH, *arguments], check=False, cwd=folder)
    if done.returncode:
        sys.exit(done.returncode)
