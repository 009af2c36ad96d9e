"""Models and data for transcripts: their vectors are whole numbers, made of hashes, so that all that follows from them
is the same on any machine.
"""

import json
import re
import shutil
import sys
from collections.abc import Sequence
from hashlib import blake2b
from pathlib import Path

import numpy as np
from PIL import Image

import clipbench
from clipbench.data.scenes.world import COLOURS

DIM = 16
HERE = Path(__file__).parent
KINDS = ("red", "green", "blue")
"""The classes."""


def direction(name: str) -> np.ndarray:
    """Return whole numbers that belong to a name."""
    return np.frombuffer(blake2b(name.encode(), digest_size=DIM).digest(), np.int8).astype(np.int64)


class Toy:
    """Knows words, and of an image how much of each half has which colour."""

    logit_scale = 20.0
    context_length = 32
    noise = 3

    def encode_images(self, images: Sequence[Image.Image]) -> np.ndarray:
        return np.array([self._image(image) for image in images], np.float32)

    def encode_texts(self, texts: Sequence[str]) -> np.ndarray:
        return np.array([self._text(text) for text in texts], np.float32)

    def count_tokens(self, texts: Sequence[str]) -> np.ndarray:
        return np.array([len(text.split()) + 2 for text in texts], np.int64)

    def _image(self, image: Image.Image) -> np.ndarray:
        steps = max(1, image.height // 32), max(1, image.width // 32)
        pixels = np.asarray(image.convert("RGB"), np.int64)[:: steps[0], :: steps[1]]
        nearest = np.stack([((pixels - rgb) ** 2).sum(axis=2) for rgb in COLOURS.values()]).argmin(axis=0)
        seen = 3 * direction("an image")
        for half, rows in zip(("above", "below"), np.array_split(nearest, 2), strict=True):
            shares = np.bincount(rows.ravel(), minlength=len(COLOURS)) * 16 // rows.size
            for name, share in zip(COLOURS, shares.tolist(), strict=True):
                seen = seen + min(share, 4) * (2 * direction(name) + direction(half + name))
            seen = seen + self.noise * direction(f"{half} {shares.tolist()}")
        return seen

    def _text(self, text: str) -> np.ndarray:
        words = re.findall("[a-z]+", text.lower())[: self.context_length - 2]
        total = sum((direction(word) * (6 if word in COLOURS else 1) for word in words), -3 * direction("an image"))
        return total + self.noise * direction(" ".join(words))


class Dull(Toy):
    """As ``Toy``, with more noise."""

    noise = 16


class Failing(Toy):
    """Encodes probes, and fails at the first caption."""

    def encode_texts(self, texts: Sequence[str]) -> np.ndarray:
        if any("over" in text or "below" in text for text in texts):
            self.fail()
        return super().encode_texts(texts)

    def fail(self) -> None:
        raise RuntimeError("no such layer: text.7")


class Exiting(Failing):
    def fail(self) -> None:
        sys.exit(0)


class Interrupted(Failing):
    def fail(self) -> None:
        raise KeyboardInterrupt


class Nan(Toy):
    def encode_images(self, images: Sequence[Image.Image]) -> np.ndarray:
        return np.full((len(images), DIM), np.nan, np.float32)


class Narrow(Toy):
    def encode_texts(self, texts: Sequence[str]) -> np.ndarray:
        return super().encode_texts(texts)[:, :8]


class Short(Toy):
    def encode_images(self, images: Sequence[Image.Image]) -> np.ndarray:
        return super().encode_images(images)[1:]


class Constant(Toy):
    """One vector for everything."""

    def encode_images(self, images: Sequence[Image.Image]) -> np.ndarray:
        return np.ones((len(images), DIM), np.float32)

    def encode_texts(self, texts: Sequence[str]) -> np.ndarray:
        return np.ones((len(texts), DIM), np.float32)


class Unscaled(Toy):
    logit_scale = None  # type: ignore[assignment]


def unfinished() -> Toy:
    raise FileNotFoundError("weights.pt")


def nothing() -> int:
    return 3


NUMBER = 3


def write_world(folder: Path) -> None:
    """Fill a folder with images that have captions and labels, vectors of all kinds, and files that are damaged."""
    shutil.copytree(HERE / "world", folder, dirs_exist_ok=True)
    (folder / "empty").mkdir()
    _write_photos(folder)
    _write_vectors(folder)


def _write_photos(folder: Path) -> None:
    (folder / "photos").mkdir()
    rows = []
    for n in range(24):
        one, other = KINDS[n % 3], ("yellow", "white", "black", "pink")[n // 3 % 4]
        image = Image.new("RGB", (16, 16), COLOURS[other])
        image.paste(COLOURS[one], (0, 0, 16, 6 + n // 12 * 4))
        image.save(folder / f"photos/{n:02}.png")
        captions = [f"{one} over {other} {'low' if n < 12 else 'high'}", f"{other} below {one}, number {n}"]
        rows.append({"image": f"photos/{n:02}.png", "captions": captions, "label": one})
    lines = [f"{json.dumps(row)}\n" for row in rows]
    (folder / "photos.jsonl").write_text("".join(lines))
    (folder / "dozen.jsonl").write_text("".join(lines[:12]))
    (folder / "few.jsonl").write_text("".join(lines[:6]))
    (folder / "lacking.jsonl").write_text("".join(lines[:6]).replace("photos/03.png", "photos/99.png"))
    (folder / "unreadable.jsonl").write_text("".join(lines[:6]).replace("photos/03.png", "damaged/image.png"))
    shutil.copy(folder / "photos/00.png", folder / "photo.png")


def write_pools(folder: Path) -> None:
    """Make a pool that two judges have judged but for a query, and two whose logs are damaged."""
    queries = [f"{one} over {other}" for one in KINDS for other in ("yellow", "white", "pink")]
    (folder / "queries.txt").write_text("".join(f"{query}\n" for query in queries))
    (folder / "queries-empty.txt").write_text("red\n\nblue\n")
    (folder / "queries-twice.txt").write_text("red\nblue\nred\n")
    pool = clipbench.pool(
        ["python:toy:Toy", "python:toy:Constant"],
        folder / "photos",
        folder / "queries.txt",
        folder / "judged",
        k=3,
        n_random=2,
    )
    captions = [json.loads(line)["captions"][0] for line in (folder / "photos.jsonl").read_text().splitlines()]
    lines = [{"query": "q1", "skip": True, "judge": "ben", "time": "t"}]
    for query, images in pool.candidates.items():
        for index, image in enumerate(images if query != "q1" else ()):
            grade = 2 * captions[int(pool.images[image].stem)].startswith(pool.queries[query])
            grades = {"anna": grade, "ben": grade + (query == "q2" and index == 0)}
            lines += [
                {"query": query, "image": image, "grade": grades[name], "judge": name, "time": "t"} for name in grades
            ]
    log = "".join(f"{json.dumps(line)}\n" for line in lines)
    edited = log.replace('"grade": 0', '"grade": "no"', 1)
    for name, text in (("edited", edited), ("torn", log[:300]), ("judged", log)):
        if name != "judged":
            shutil.copytree(folder / "judged", folder / name)
        (folder / name / "log.jsonl").write_text(text)


def _write_vectors(folder: Path) -> None:
    names = [f"item-{n:02}" for n in range(60)]
    labels = np.arange(60) % 3
    shared = np.array([direction(name) + direction(KINDS[n % 3]) for n, name in enumerate(names)])
    given: dict[str, np.ndarray] = {
        "labels": labels,
        "class_texts": np.array([2 * direction(kind) + direction("a text") for kind in KINDS], np.float32),
        "class_names": np.array(KINDS),
        "image_ids": np.array(names),
        "text_ids": np.array([f"caption of {name}" for name in names]),
        "logit_scale": np.array(20, np.float32),
    }

    def noisy(kind: str, noise: int) -> np.ndarray:
        values = np.array([direction(f"{kind} {name}") for name in names])
        return np.asarray(2 * shared + noise * values + 2 * direction(kind), np.float32)

    def write(name: str, **changes: np.ndarray | None) -> None:
        arrays = {"images": noisy("an image", 2), "texts": noisy("a text", 1), **given, **changes}
        present = {name: array for name, array in arrays.items() if array is not None}
        np.savez(folder / f"{name}.npz", allow_pickle=False, **present)

    write("base")
    write("clear", images=noisy("an image", 1))
    write("noisy", images=noisy("an image", 5))
    write("unscaled", logit_scale=None)
    write("unlabelled", labels=None, class_texts=None, class_names=None)
    write("shifted", texts=np.roll(noisy("a text", 1), 2, axis=0), text_ids=None, image_ids=None)
    write("fewer", texts=noisy("a text", 1)[:50], text_ids=None)
    write("nan", images=noisy("an image", 2) * np.where(np.arange(60) == 7, np.nan, 1)[:, None].astype(np.float32))
    write("zero", images=noisy("an image", 2) * (np.arange(60) != 7)[:, None])
    write("narrow", texts=noisy("a text", 1)[:, :8])
    write("labels", labels=labels + 1)
    write("integers", images=noisy("an image", 2).astype(np.int64))
    write("misnamed", image_embeddings=noisy("an image", 2), images=None)
    np.savez(folder / "sounds.npz", audio=noisy("a sound", 3), images=noisy("an image", 1), texts=noisy("a text", 1))
    np.savez(folder / "objects.npz", images=np.array([{}, {}], object))
