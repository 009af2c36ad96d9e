"""One side of a comparison: the vectors of the fixed inputs, and the pixels and tokens behind them, if shown."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import PurePath
from typing import Any, TypeVar

import numpy as np
from jaxtyping import Float32, Int64
from PIL import Image

from clipbench.checks.agreement.fixed_inputs import FixedImage, FixedText, fixed_inputs
from clipbench.checks.subject import LIMITS, UNKNOWN_LIMIT, WatchedModel, largest_distance, watched_internals
from clipbench.data.modalities import IMAGE, TEXT
from clipbench.errors import ClipbenchError, DataError, ModelError, option
from clipbench.metrics.similarity import unit
from clipbench.models.fingerprint import unusable_rows
from clipbench.models.introspection.preprocessing import measure_preprocessing
from clipbench.models.introspection.tokens import TokenFacts, token_lengths, tokenizer_facts
from clipbench.models.protocol import (
    Embedder,
    Internals,
    Model,
    ModelEmbedder,
    Preprocessing,
    Tokens,
    Vectors,
    capability,
)
from clipbench.results.numbers import counted, listed

Rows = Float32[np.ndarray, "_ _"]
"""A vector per row."""
Item = TypeVar("Item", FixedImage, FixedText)

SEPARATE = {
    IMAGE: ("square-224", "wide-2-1", "tall-1-3", "grey"),
    TEXT: ("short", "word", "cubes", "capitals", "chinese"),
}
"""Inputs that are also encoded in a batch of one, by modality. Texts are short, because long ones need no padding."""
NOUNS = {IMAGE: "picture", TEXT: "text"}
N_LISTED = 3
"""Inputs that a message names."""


@dataclass(frozen=True, eq=False)
class Encoded:
    """The vectors of one modality on one side."""

    ids: Sequence[str]
    vectors: Rows
    """A raw vector per id, all encoded in one call."""
    separate: Mapping[str, Rows] = field(default_factory=dict)
    """The vector of some ids, (1, dim), encoded in a batch of one. Empty for given vectors."""
    repeated: float = 0.0
    """Largest distance of unit vectors of one input that was encoded twice."""

    @property
    def batch_distance(self) -> float:
        """Largest distance of unit vectors of one input, encoded in a batch of one and among all others."""
        rows = {id: row for row, id in enumerate(self.ids)}
        return max((largest_distance(row, self.rows([rows[id]])) for id, row in self.separate.items()), default=0.0)

    @property
    def most_moved(self) -> str:
        """The id of the input that its batch moves most."""
        rows = {id: row for row, id in enumerate(self.ids)}
        return max(self.separate, key=lambda id: largest_distance(self.separate[id], self.rows([rows[id]])))

    def rows(self, positions: Sequence[int]) -> Rows:
        """Return the vectors of some positions."""
        return self.vectors[list(positions)]


class ComparedSide:
    """A model, or vectors of the fixed inputs that another program has made.

    Args:
        embedder: the model bound to a store, or given vectors whose ids are the ids of the fixed inputs.
        name: the name of the side in sentences.
        allows_partial: leave out inputs that the side refuses, or has no vector of.

    Raises:
        ModelError: the model fails, or refuses an input.
        DataError: vectors are missing.
        VectorError: a vector is zero or not finite.
    """

    def __init__(self, embedder: Embedder, name: str, *, allows_partial: bool = False) -> None:
        self.embedder, self.name, self.allows_partial = embedder, name, allows_partial
        self.refused: dict[str, str] = {}
        """The reason for which an input is left out, by its id."""

    @cached_property
    def model(self) -> Model | None:
        """The model, whose own errors are ModelErrors, or None for given vectors."""
        encoder = capability(self.embedder, ModelEmbedder)
        return None if encoder is None else WatchedModel(encoder.model)

    @cached_property
    def parts(self) -> Internals:
        """The parts that the side shows."""
        return Internals() if self.model is None else watched_internals(self.model)

    @property
    def takes_files(self) -> bool:
        """True where pictures are handed over as files, as to a server."""
        encoder = capability(self.embedder, ModelEmbedder)
        return encoder is not None and encoder.model.takes_files

    @property
    def dim(self) -> int:
        """Dimension of the vectors."""
        return self.embedder.info.embed_dim

    @property
    def rounding_limit(self) -> float:
        """Distance of unit vectors of one input up to which rounding explains it."""
        return LIMITS.get(self.embedder.info.precision or "", UNKNOWN_LIMIT)

    @cached_property
    def encoded(self) -> Mapping[str, Encoded]:
        """The vectors of pictures and of texts."""
        images, texts = fixed_inputs()
        if self.model is None:
            return {IMAGE: self._given(IMAGE, images), TEXT: self._given(TEXT, texts)}
        return {
            IMAGE: self._encode(IMAGE, images, self.encode_images),
            TEXT: self._encode(TEXT, texts, self.encode_texts),
        }

    def encode_images(self, images: Sequence[FixedImage]) -> Vectors:
        """Return the vectors of pictures, each opened as the side opens a file."""
        return self.encode_opened([self.open(image) for image in images])

    def encode_opened(self, images: Sequence[Any]) -> Vectors:
        """Return the vectors of opened pictures."""
        assert self.model is not None
        return self.model.encode(IMAGE, list(images)) if self.takes_files else self.model.encode_images(images)

    def encode_texts(self, texts: Sequence[FixedText]) -> Vectors:
        """Return the vectors of texts."""
        return self.encode_strings([text.text for text in texts])

    def encode_strings(self, texts: Sequence[str]) -> Vectors:
        """Return the vectors of strings."""
        assert self.model is not None
        return self.model.encode_texts(texts)

    def open(self, image: FixedImage) -> Any:
        """Return a picture as the side gets it: by its own reading, as a file for a server, or as runs read it."""
        if self.parts.open_image is not None:
            return self.parts.open_image(image.data)
        return image if self.takes_files else image.open()

    # -- the parts

    @cached_property
    def shows_pixels(self) -> bool:
        """True where the input of the image tower can be seen as one array per picture."""
        if self.parts.preprocess is None or self.parts.encode_pixels is None:
            return False
        pixels = self.parts.preprocess(Image.new("RGB", (64, 64)))
        return isinstance(pixels, np.ndarray) and pixels.ndim == 3

    @property
    def shows_tokens(self) -> bool:
        """True where the input of the text tower can be seen and fed."""
        return self.parts.tokenize is not None and self.parts.encode_tokens is not None

    def pixels(self, images: Sequence[FixedImage]) -> Float32[np.ndarray, "n channels height width"]:
        """Return the input of the image tower."""
        assert self.parts.preprocess is not None
        return np.stack([self.parts.preprocess(self.open(image)) for image in images])

    def tokens(self, texts: Sequence[str]) -> Tokens:
        """Return the input of the text tower."""
        assert self.parts.tokenize is not None
        return self.parts.tokenize(list(texts))

    @cached_property
    def preprocessing(self) -> Preprocessing:
        """The settings of the preprocessing, measured. All None if it is not shown."""
        return measure_preprocessing(self.parts.preprocess) if self.shows_pixels else Preprocessing()  # type: ignore[arg-type]

    @cached_property
    def side_length(self) -> int | None:
        """ComparedSide of the square input of the image tower in pixels, or None if unknown."""
        size = self.preprocessing.size
        return size[0] if size is not None and size[0] == size[1] else self.embedder.info.image_size

    @cached_property
    def token_facts(self) -> TokenFacts | None:
        """The habits of the tokenizer, or None if it is not shown."""
        if self.model is None or self.parts.tokenize is None:
            return None
        return tokenizer_facts(self.model, self.parts.tokenize)

    def token_lengths(self, texts: Sequence[str]) -> Int64[np.ndarray, " n"] | None:
        """Return the tokens of each text before its padding, or None if the tokenizer is not shown."""
        facts = self.token_facts
        return None if facts is None else token_lengths(self.tokens(texts)[facts.name], facts)

    # -- vectors

    def _encode(self, modality: str, inputs: Sequence[Item], encode: Callable[[Sequence[Item]], Vectors]) -> Encoded:
        accepted, vectors = self._encode_accepted(modality, inputs, encode)
        self._check_usable(modality, [item.id for item in accepted], vectors)
        by_id = {item.id: item for item in accepted}
        chosen = [by_id[id] for id in SEPARATE[modality] if id in by_id]
        separate = {item.id: encode([item]) for item in chosen}
        repeated = largest_distance(separate[chosen[0].id], encode(chosen[:1])) if chosen else 0.0
        return Encoded(list(by_id), vectors, separate, repeated)

    def _encode_accepted(
        self, modality: str, inputs: Sequence[Item], encode: Callable[[Sequence[Item]], Vectors]
    ) -> tuple[Sequence[Item], Vectors]:
        """Return the inputs that the side encodes with their vectors: all, unless it fails and each is tried."""
        try:
            return inputs, encode(inputs)
        except ModelError as failure:
            reasons = self._refusals(inputs, encode)
            accepted = [item for item in inputs if item.id not in reasons]
            if not accepted or not reasons:
                raise
            if not self.allows_partial:
                raise self._refusal(modality, reasons, len(inputs)) from failure
        self.refused |= reasons
        return accepted, encode(accepted)

    def _refusals(self, inputs: Sequence[Item], encode: Callable[[Sequence[Item]], Vectors]) -> dict[str, str]:
        """Return the reason for which each refused input fails, or raise ModelError if even the first, plain one does.

        A model that cannot be reached is not tried once per input.
        """
        encode(inputs[:1])
        reasons = {}
        for item in inputs[1:]:
            try:
                encode([item])
            except ModelError as error:
                reasons[item.id] = str(error)
        return reasons

    def _refusal(self, modality: str, reasons: Mapping[str, str], n_inputs: int) -> ModelError:
        names = listed([f"'{id}'" for id in list(reasons)[:N_LISTED]]) + (", ..." if len(reasons) > N_LISTED else "")
        refused = f"{len(reasons)} of {counted(n_inputs, NOUNS[modality])}"
        return ModelError(
            f"{self.name} refuses {refused}, {names} ({next(iter(reasons.values()))}): expected a vector per input."
            f" Compare the others with {option('allow_partial', True)}"
        )

    def _given(self, modality: str, inputs: Sequence[Item]) -> Encoded:
        """Return the vectors of the fixed inputs that are given, found by id."""
        rows_by_id = self._given_rows(modality)
        missing = [item.id for item in inputs if item.id not in rows_by_id]
        if missing and (len(missing) == len(inputs) or not self.allows_partial):
            names = ", ".join(missing[:N_LISTED]) + (", ..." if len(missing) > N_LISTED else "")
            array = "image_ids" if modality == IMAGE else "text_ids"
            advice = f"Encode what `clipbench doctor --write-inputs DIR` writes, with the ids in {array}"
            if len(missing) < len(inputs):
                advice += f", or compare the others with {option('allow_partial', True)}"
            raise DataError(
                f"{self.name} has no vector of {len(missing)} of {counted(len(inputs), NOUNS[modality])} ({names}):"
                f" expected one per fixed input. {advice}"
            )
        self.refused |= {id: "no vector is given" for id in missing}
        ids = [item.id for item in inputs if item.id in rows_by_id]
        vectors = self.embedder.encode(modality, [rows_by_id[id] for id in ids])
        return Encoded(ids, np.asarray(vectors, np.float32))

    def _given_rows(self, modality: str) -> Mapping[str, Any]:
        """Return what the embedder takes for an input, by the id of the input. A suffix of a file's name is ignored."""
        dataset = self.embedder.dataset
        if dataset is None:
            raise ClipbenchError(f"{self.name} has no vectors of pictures and texts: expected a model of both")
        if modality == IMAGE:
            return {PurePath(id).stem: image for id, image in zip(dataset.image_ids, dataset.images, strict=True)}
        return {id: id for id in getattr(self.embedder, "text_rows", {})}

    def _check_usable(self, modality: str, ids: Sequence[str], vectors: Vectors) -> None:
        flags = unusable_rows(vectors)
        if flags.any():
            first = ids[int(np.flatnonzero(flags)[0])]
            raise ModelError(
                f"{self.name} gave {NOUNS[modality]} '{first}' a vector that is zero or not finite: nothing can be"
                " compared"
            )


def cosines(one: Rows, other: Rows) -> np.ndarray:
    """Return the cosine of each two vectors in the same row, in [-1, 1], computed from the distance for accuracy.

    Example:
        >>> cosines(np.array([[3.0, 0]], np.float32), np.array([[1.2, 1.6]], np.float32)).round(6).tolist()
        [0.6]
    """
    distances = np.linalg.norm(unit(one).astype(np.float64) - unit(other), axis=1)
    return 1 - distances**2 / 2
