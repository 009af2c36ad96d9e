"""The whole command, zero-shot classification of JPEGs from start to report, beside CLIP_benchmark's and the forward
passes.
"""

import io
import os
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr, redirect_stdout
from itertools import count as numbers
from pathlib import Path

import open_clip
import torch
from safetensors.torch import save_file

import peer
from clipbench.models.adapters.open_clip import load
from clipbench.models.options import LoadOptions
from photos import write_photos
from rows import Reach, Row, in_turns, times

ARCH, BATCH = "ViT-B-32", 64
SIZES = {"small": (8, 2, 2), "default": (64, 10, 20), "full": (372, 10, 80)}
"""Images, classes and templates."""


def save_weights(path: Path) -> Path:
    """Save random weights of ViT-B-32, in the precision in which they are published."""
    torch.manual_seed(0)
    with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        save_file(open_clip.create_model(ARCH).state_dict(), path)
    return path


def write_data(folder: Path, n_images: int, classes: Sequence[str], templates: Sequence[str]) -> Path:
    """Write a webdataset of classified photographs, in the form that both tools read."""
    (folder / "test").mkdir(parents=True)
    photos = write_photos(folder / "photos", n_images)
    with tarfile.open(folder / "test/0.tar", "w") as archive:
        for number, photo in enumerate(photos):
            for name, data in ((".jpg", photo.read_bytes()), (".cls", str(number % len(classes)).encode())):
                info = tarfile.TarInfo(f"s{number:07d}{name}")
                info.size = len(data)
                archive.addfile(info, io.BytesIO(data))
    (folder / "test/nshards.txt").write_text("1")
    (folder / "classnames.txt").write_text("\n".join(classes))
    (folder / "zeroshot_classification_templates.txt").write_text("\n".join(templates))
    return folder


def run_command(*arguments: str | Path, cache: Path) -> None:
    """Run clipbench in a process of its own, with a cache of its own, offline."""
    environment = {**os.environ, "CLIPBENCH_CACHE": str(cache), "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-m", "clipbench", *map(str, arguments)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"clipbench {arguments[0]} ended with {done.returncode}: {done.stderr[-500:]}")


def forward_passes(n_images: int, texts: list[str]) -> Callable[[], None]:
    """Return the forward passes over ready tensors of images, and over texts that are sorted and cut."""
    model = load(f"{ARCH}/random", LoadOptions(device="cpu"))
    images = torch.zeros(BATCH, 3, 224, 224)
    encode: Callable[[torch.Tensor], torch.Tensor] = model.module.encode_image  # type: ignore[assignment]

    def work() -> None:
        with torch.inference_mode():
            for start in range(0, n_images, BATCH):
                encode(images[: n_images - start])
        model.encode_texts(texts)

    return work


def measure(size: str) -> Row:
    n_images, n_classes, n_templates = SIZES[size]
    classes = open_clip.IMAGENET_CLASSNAMES[:n_classes]
    templates = [each("{c}") for each in open_clip.OPENAI_IMAGENET_TEMPLATES[:n_templates]]
    with tempfile.TemporaryDirectory() as folder:
        place, number = Path(folder), numbers()
        data = write_data(place / "photos", n_images, classes, templates)
        weights = save_weights(place / "vit-b-32.safetensors")

        def run(cache: Path) -> None:
            out = place / f"run-{next(number)}"
            model = ("--model", weights, "--arch", ARCH)
            run_command("run", *model, "--tasks", f"zero-shot@{data}", "--out", out, "--quiet", cache=cache)

        works: dict[str, Callable[[], object]] = {
            "ours": lambda: run(place / f"cache-{next(number)}"),
            "stored": lambda: run(place / "cache"),
            "passes": forward_passes(n_images, [each.format(c=name) for name in classes for each in templates]),
        }
        if peer.COMMAND.is_file():
            works["peer"] = lambda: peer.zero_shot(weights, ARCH, data, place / f"peer-{next(number)}.json")
        run(place / "cache")
        timed = in_turns(works, rounds=1 if size == "small" else 2, warm_up=False)
    reaches = [
        Reach(
            what="s of the command with everything stored: start, load, score, thumbnails, report",
            found=timed["stored"],
            at_most=4.0,
            is_judged=size != "small",
        )
    ]
    if "peer" in timed:
        reaches.append(
            times("as fast as the peer", timed["peer"], timed["ours"], at_least=1.0, is_judged=size != "small")
        )
    return Row(
        what=f"clipbench run, {n_images} JPEGs and {n_classes * n_templates} prompts, {ARCH}, nothing stored",
        ours=timed["ours"],
        peer=timed.get("peer"),
        peer_is=f"{peer.NAME}, its command" if "peer" in timed else "none: make test-peer installs it",
        limit=timed["passes"],
        limit_is="forward passes over ready tensors, texts sorted and cut",
        reaches=reaches,
    )
