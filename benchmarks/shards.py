"""A run over a webdataset: the peak of memory at two lengths, which may grow by vectors and sample rows, not by
images.
"""

import io
import os
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from statistics import median

from photos import write_photos
from rows import Rounds, Row, count

IMAGES = {"small": (40, 160), "default": (200, 1_200), "full": (2_000, 20_000)}
CLASSES = ("cat", "dog", "horse", "sheep")
DISTINCT = 40
"""Photographs that are drawn; the others are these with a comment of their own."""
REPEATS = {"small": 1, "default": 3, "full": 3}
"""Runs of each length, of which the median counts: a peak differs by 10 MB from run to run."""


def write_shards(folder: Path, photos: list[bytes], n: int) -> Path:
    """Write n classified images as a webdataset of shards of 1,000."""
    (folder / "test").mkdir(parents=True)
    (folder / "classnames.txt").write_text("\n".join(CLASSES))
    (folder / "test/nshards.txt").write_text(str(-(-n // 1_000)))
    for shard in range(-(-n // 1_000)):
        with tarfile.open(folder / f"test/{shard}.tar", "w") as archive:
            for number in range(1_000 * shard, min(n, 1_000 * (shard + 1))):
                jpeg = with_comment(photos[number % len(photos)], f"{number}")
                for name, data in ((".jpg", jpeg), (".cls", str(number % len(CLASSES)).encode())):
                    info = tarfile.TarInfo(f"s{number:07d}{name}")
                    info.size = len(data)
                    archive.addfile(info, io.BytesIO(data))
    return folder


def with_comment(jpeg: bytes, text: str) -> bytes:
    """Return a JPEG with a comment, which makes it another file with the same pixels."""
    return jpeg[:2] + b"\xff\xfe" + (len(text) + 2).to_bytes(2, "big") + text.encode() + jpeg[2:]


def peak_of_run(data: Path, place: Path) -> float:
    """Return the most memory in MB that the process of a run, or one that it started, took."""
    place.mkdir()
    command = [sys.executable, "-m", "clipbench", "run", "--model", "tiny", "--tasks", f"zero-shot@{data}"]
    environment = {**os.environ, "CLIPBENCH_CACHE": str(place / "cache"), "HF_HUB_OFFLINE": "1"}
    with open(place / "log", "w+") as log:
        process = subprocess.Popen(
            [*command, "--out", str(place / "run"), "--quiet"], env=environment, stdout=log, stderr=log
        )
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            log.seek(0)
            raise RuntimeError(f"clipbench run ended with {process.returncode}: {log.read()[-500:]}")
    return usage.ru_maxrss * (1024 if sys.platform == "linux" else 1) / 1e6


def measure(size: str) -> Row:
    peaks = []
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        photos = [path.read_bytes() for path in write_photos(place / "photos", DISTINCT)]
        for n in IMAGES[size]:
            of_run = place / f"{n}"
            data = write_shards(of_run / "data", photos, n)
            peaks.append(median(peak_of_run(data, of_run / f"{repeat}") for repeat in range(REPEATS[size])))
    few, many = IMAGES[size]
    a_file = sum(map(len, photos)) / len(photos) / 1000
    return Row(
        what=f"clipbench run over a webdataset of {many:,} images of {a_file:.0f} kB, peak of memory",
        ours=Rounds(values=peaks[1:], unit="MB"),
        reaches=[
            count(
                f"kB more for each image beyond {few:,}",
                1000 * (peaks[1] - peaks[0]) / (many - few),
                at_most=10,
                is_judged=size != "small",
            )
        ],
        notes=[f"{peaks[0]:,.0f} MB for {few:,} images; vectors, sample rows and file positions are the rest"],
    )
