"""What wrong set-ups look like: twelve faults planted around a model, and the line of doctor that names each.

    python experiments/faults.py                                       # around tiny, 10 minutes
    python experiments/faults.py --model runs/mine --data photos.jsonl  # around a model that shows its parts

The page's other two models are of experiments/faults_models.py.

Each fault is a small change of the adapter, or of the data, that raises no error. ``doctor --data`` examines it without
an expected score. A fault is named if a finding has its words, and found if there is another warning or fault instead.
"""

import argparse
import json
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from clipbench import Dataset, FileImage, Internals, doctor, load_data, load_model
from clipbench.data import DataOptions, dataset_loading
from clipbench.evaluation.diagnosis import Diagnosis
from clipbench.models.protocol import Model, Tokens

N_IMAGES = 100
WIDENING = 2.5
"""Width over height of an image after both of its sides are padded, as only its middle is to be seen."""
TEXTS_AT_FAULT = "the tokenizer and its ids, the language of the class names"
"""Words of the finding that the texts are at fault, which names both causes, as their scores cannot tell them apart."""
GERMAN = {
    "a": "ein", "small": "kleiner", "large": "grosser", "of": "von", "left": "links", "right": "rechts", "red": "roter",
    "green": "gruener", "blue": "blauer", "yellow": "gelber", "white": "weisser", "black": "schwarzer", "and": "und",
    "against": "vor", "background": "Hintergrund", "plain": "einfarbig", "striped": "gestreifter", "two": "zwei",
    "spotted": "gepunkteter", "three": "drei", "star": "Stern", "moon": "Mond", "with": "mit", "word": "Wort",
}  # fmt: skip


@dataclass
class Parts:
    """The parts of a model, each of which a fault may replace."""

    preprocess: Callable[[Image.Image], np.ndarray]
    encode_pixels: Callable[[np.ndarray], np.ndarray]
    tokenize: Callable[[Sequence[str]], Tokens]
    encode_tokens: Callable[[Tokens], np.ndarray]
    mean: np.ndarray
    std: np.ndarray
    side: int


class Adapter:
    """A user's object around the parts of a model, which it shows, or hides."""

    def __init__(self, parts: Parts, *, shows_parts: bool, after: Callable[[np.ndarray], np.ndarray] | None = None):
        self.parts, self.after = parts, after
        if shows_parts:
            self.internals = self._internals

    def encode_images(self, images: list[Image.Image]) -> np.ndarray:
        vectors = self.parts.encode_pixels(np.stack([self.parts.preprocess(image) for image in images]))
        return vectors if self.after is None else self.after(vectors)

    def encode_texts(self, texts: list[str]) -> np.ndarray:
        return self.parts.encode_tokens(self.parts.tokenize(texts))

    def _internals(self) -> Internals:
        parts = self.parts
        return Internals(
            preprocess=parts.preprocess,
            encode_pixels=parts.encode_pixels,
            tokenize=parts.tokenize,
            encode_tokens=parts.encode_tokens,
        )


@dataclass(frozen=True)
class Fault:
    """A fault, and what names it."""

    name: str
    model: Callable[[Parts], Parts] = lambda parts: parts
    data: Callable[[Dataset], Dataset] = lambda data: data
    after: Callable[[np.ndarray], np.ndarray] | None = None
    is_of_classes: bool = False
    """True if it is planted in data with classes, where there are some."""
    words: tuple[str, ...] = ()
    """A finding names the fault if it has one of these."""


def planted() -> list[Fault]:
    """Return the twelve faults."""
    return [
        Fault("wrong template", data=_other_template, is_of_classes=True, words=("template", "'a photo of' in front")),
        Fault("texts in capitals", data=_in_capitals, is_of_classes=True, words=("lower case", "Title Case")),
        Fault("padding left out", model=_without_padding, words=("padding", "longer text", "padded to")),
        Fault("squashed, not cropped", model=_squashing, words=("the middle of an image cut out",)),
        Fault("channels swapped", model=_swapping, words=("red and blue swapped",)),
        Fault("no normalization", model=_without_normalization, words=("mean and standard deviation", "mean")),
        Fault("another mean", model=_with_other_mean, words=("mean and standard deviation", "mean")),
        Fault("lower resolution", model=_reducing, words=("reduced below",)),
        Fault("captions of another language", data=_in_german, words=("so both towers fit", TEXTS_AT_FAULT)),
        Fault("shifted rows", data=_shifted, words=("row below it", "row above it")),
        Fault(
            "another tokenizer",
            model=_with_other_tokens,
            words=("the tokenizer gives", "common words have the tokens", TEXTS_AT_FAULT),
        ),
        Fault("overflow of half precision", after=_half_precision, words=("not finite",)),
    ]


def _other_template(data: Dataset) -> Dataset:
    if data.captions is None:
        return replace(data, templates=("My {c}: the one beside a Star, a Moon and a Cube",))
    return replace(data, captions=[f"a photo of {caption[:1].lower()}{caption[1:]}" for caption in data.captions])


def _in_capitals(data: Dataset) -> Dataset:
    if data.captions is None:
        return replace(data, class_names=tuple(name.upper() for name in data.class_names or ()))
    return replace(data, captions=[caption.upper() for caption in data.captions])


def _without_padding(parts: Parts) -> Parts:
    def tokenize(texts: Sequence[str]) -> Tokens:
        ids = parts.tokenize(texts)["text"]
        return {"text": ids[:, : int((ids != 0).sum(axis=1).max())]}

    return replace(parts, tokenize=tokenize)


def _squashing(parts: Parts) -> Parts:
    square = (parts.side, parts.side)
    return replace(parts, preprocess=lambda image: parts.preprocess(image.resize(square, Image.Resampling.BICUBIC)))


def _swapping(parts: Parts) -> Parts:
    def preprocess(image: Image.Image) -> np.ndarray:
        red, green, blue = image.convert("RGB").split()
        return parts.preprocess(Image.merge("RGB", (blue, green, red)))

    return replace(parts, preprocess=preprocess)


def _without_normalization(parts: Parts) -> Parts:
    return replace(parts, preprocess=lambda image: _colours(parts, parts.preprocess(image)))


def _with_other_mean(parts: Parts) -> Parts:
    mean, std = np.float32(123.675), np.float32(58.395)  # of pixels in [0, 255], but the pixels are in [0, 1]
    return replace(parts, preprocess=lambda image: (_colours(parts, parts.preprocess(image)) - mean) / std)


def _colours(parts: Parts, pixels: np.ndarray) -> np.ndarray:
    return (pixels * parts.std[:, None, None] + parts.mean[:, None, None]).astype(np.float32)


def _reducing(parts: Parts) -> Parts:
    def preprocess(image: Image.Image) -> np.ndarray:
        scale = parts.side / 4 / min(image.size)
        small = image.resize([max(1, round(length * scale)) for length in image.size], Image.Resampling.BICUBIC)
        return parts.preprocess(small)

    return replace(parts, preprocess=preprocess)


def _in_german(data: Dataset) -> Dataset:
    if data.captions is None:
        return replace(data, class_names=tuple(_translated(name) for name in data.class_names or ()))
    return replace(data, captions=[_translated(caption) for caption in data.captions])


def _translated(text: str) -> str:
    return " ".join(GERMAN.get(word.lower(), word[::-1]) for word in text.split())


def _shifted(data: Dataset) -> Dataset:
    if data.captions is None:
        assert data.labels is not None
        return replace(data, labels=np.roll(data.labels, 1))
    return replace(data, captions=[*data.captions[1:], data.captions[0]])


def _with_other_tokens(parts: Parts) -> Parts:
    largest = int(parts.tokenize(["zebra ~"])["text"].max())

    def tokenize(texts: Sequence[str]) -> Tokens:
        tokens = parts.tokenize(texts)
        ids = np.array(tokens["text"])
        is_word = (ids > 0) & (ids < largest - 1)
        ids[is_word] = largest - 1 - ids[is_word]
        return {"text": ids}

    return replace(parts, tokenize=tokenize)


def _half_precision(vectors: np.ndarray) -> np.ndarray:
    largest = np.abs(vectors).max(axis=1)
    with np.errstate(over="ignore"):
        return (vectors * (65_504 / np.quantile(largest, 0.9))).astype(np.float16).astype(np.float32)


def parts_of(model: Model) -> Parts:
    """Return the parts of a loaded model that shows all of them, with ids of tokens under the name ``text``."""
    shown = model.internals()
    assert shown.preprocess is not None and shown.encode_pixels is not None
    assert shown.tokenize is not None and shown.encode_tokens is not None
    side = model.info.image_size or 64
    black, white = (shown.preprocess(Image.new("RGB", (side, side), (grey,) * 3))[:, 0, 0] for grey in (0, 255))
    std = 1 / (white - black)
    return Parts(
        preprocess=shown.preprocess,
        encode_pixels=shown.encode_pixels,
        tokenize=shown.tokenize,
        encode_tokens=shown.encode_tokens,
        mean=-black * std,
        std=std,
        side=side,
    )


def reading_case_and_padding(parts: Parts) -> Parts:
    """Return the parts of a model that reads capitals and padding, as many do, and those of ``clipbench train`` do not."""
    context = parts.tokenize(["a"])["text"].shape[1]
    dim = parts.encode_tokens(parts.tokenize(["a"])).shape[1]
    direction = np.asarray(np.random.default_rng(0).standard_normal(dim), np.float32)
    direction = direction / np.linalg.norm(direction)

    def tokenize(texts: Sequence[str]) -> Tokens:
        cased = ["".join(f"q{letter.lower()}" if letter.isupper() else letter for letter in text) for text in texts]
        return parts.tokenize(cased)

    def encode_tokens(tokens: Tokens) -> np.ndarray:
        ids = tokens["text"]
        full = np.pad(ids, ((0, 0), (0, context - ids.shape[1])))
        vectors = parts.encode_tokens({"text": full})
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        return vectors + lengths * direction * (1 - ids.shape[1] / context)

    return replace(parts, tokenize=tokenize, encode_tokens=encode_tokens)


def widened(data: Dataset, folder: Path) -> Dataset:
    """Return the data with grey on both sides of each image, which a model that crops the middle does not see."""
    images = []
    for number, ref in enumerate(data.images):
        image = ref.open().convert("RGB")
        wide = Image.new("RGB", (round(WIDENING * image.height), image.height), (127, 127, 127))
        wide.paste(image, ((wide.width - image.width) // 2, 0))
        path = folder / f"{data.id.replace('/', '-')}-{number:04}.png"
        wide.save(path)
        images.append(FileImage(path))
    return replace(data, images=images)


def scenes_of(folder: Path, n: int = N_IMAGES) -> tuple[Dataset, Dataset]:
    """Return generated scenes with captions, and generated scenes with classes, in the middle of wide images."""
    captioned = load_data("scenes", data_options={"n": str(n)})
    classes = dataset_loading.load_data("scenes", DataOptions(options={"n": str(n)}, form="classes"))
    label_set = (classes.label_sets or {})["kind"]
    kinds = replace(
        classes, id="kinds", labels=label_set.labels, class_names=label_set.class_names, label_sets=None, captions=None
    )
    return widened(captioned, folder), widened(kinds, folder)


def examined(fault: Fault, parts: Parts, data: Dataset, *, shows_parts: bool) -> dict[str, Any]:
    """Return whether doctor names or finds a planted fault, the line that does, and the score with the fault."""
    adapter = Adapter(fault.model(parts), shows_parts=shows_parts, after=fault.after)
    diagnosis = doctor(adapter, data=fault.data(data))
    state, line = outcome(fault, diagnosis)
    scores = [
        change.score - change.change
        for change in diagnosis.tries
        if change.score is not None and change.change is not None
    ]
    score = round(scores[0], 3) if scores else None
    return {"fault": fault.name, "shows_parts": shows_parts, "state": state, "score": score, "line": line}


def outcome(fault: Fault, diagnosis: Diagnosis) -> tuple[str, str]:
    """Return ``named``, ``found`` or ``-`` for a diagnosis of a model with a fault, and the line."""
    lines = [
        (finding, f"{finding.check}: {finding.seen}. {finding.fix}")
        for finding in diagnosis.findings
        if finding.status in ("warning", "fault")
    ]
    for _, line in lines:
        if any(words in line for words in fault.words):
            return "named", line
    return ("found", lines[0][1]) if lines else ("-", "")


def results(
    parts: Parts, captioned: Dataset, classes: Dataset | None = None, *, shows_parts: bool, names: Sequence[str] = ()
) -> Iterator[dict[str, Any]]:
    """Yield a record for the healthy model, and for each fault.

    Args:
        captioned: the data, in general with captions.
        classes: data with classes, None to plant all faults in the same data.
        names: of the faults to examine, all if empty.
    """
    for fault in [Fault("none"), *planted()]:
        if not names or fault.name in names:
            data = classes if fault.is_of_classes and classes is not None else captioned
            yield examined(fault, parts, data, shows_parts=shows_parts)


def main() -> None:
    """Examine each fault, and print a line of JSON for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--data")
    parser.add_argument("--fault", action="append", default=[], help="name of a fault (repeatable)")
    parser.add_argument("--hidden", action="store_true", help="the object shows none of its parts")
    options = parser.parse_args()
    model = load_model(options.model)
    assert isinstance(model, Model), "vectors have no parts"
    with tempfile.TemporaryDirectory() as folder:
        if options.data:
            data, classes = widened(load_data(options.data), Path(folder)), None
        else:
            data, classes = scenes_of(Path(folder))
        is_bundled = model.info.id.startswith("bundled:")
        parts = reading_case_and_padding(parts_of(model)) if is_bundled else parts_of(model)
        for record in results(parts, data, classes, shows_parts=not options.hidden, names=options.fault):
            print(json.dumps({"model": options.model, **record}, ensure_ascii=False), flush=True)


if __name__ == "__main__":
    main()
