"""Base classes: a model gives raw vectors and the facts that scoring needs, an embedder gives tasks their vectors."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeVar

import numpy as np
from jaxtyping import Float32, Float64, Int64
from PIL import Image

from clipbench.data.dataset import Dataset
from clipbench.data.images import ImageRef
from clipbench.data.modalities import IMAGE, TEXT
from clipbench.errors import NoTokenCounts, UsageError, did_you_mean, model_option
from clipbench.files import default_root
from clipbench.metrics.similarity import unit, unscaled
from clipbench.models.fingerprint import Probes
from clipbench.models.large_arrays import large_array
from clipbench.models.options import DEFAULT_BATCH_SIZE
from clipbench.results.record import CheckFinding, TowerRecord

if TYPE_CHECKING:
    import torch


def no_logit_scale() -> str:
    """Return the reason why confidences and losses of a model are undefined."""
    return (
        "the model has no logit_scale, the factor from cosine to logit: give the object an attribute"
        " logit_scale, the vectors an array logit_scale, or use torch_model(..., logit_scale=...). For a"
        f" model reference whose files have none, give {model_option(logit_scale='NUMBER')}"
    )


COSINE, DOT = SIMILARITIES = ("cosine", "dot")
"""Ways in which two vectors are compared."""


Notes = tuple[str, ...]
"""Facts that a reader of the numbers should know, such as how a model was loaded, one sentence each."""


@dataclass(frozen=True, kw_only=True)
class ModelInfo:
    """The identity of a model and the constants that turn its cosines into logits."""

    ref: str
    """The reference that the user gave, such as ``vit-b-32``."""
    id: str
    """The model that the reference stands for, such as ``open_clip:ViT-B-32-quickgelu/openai``."""
    fingerprint: str
    """Hash of weights, preprocessing, tokenizer and precision: equal fingerprints, equal vectors."""
    family: str
    """The adapter and architecture family, such as ``open_clip/CLIP``."""
    embed_dim: int
    context_length: int | None = None
    """Tokens that the text tower takes, or None if it is not known."""
    image_size: int | None = None
    """Side of the square input in pixels, or None if it is not known or varies."""
    logit_scale: float | None = None
    """Factor from cosine to logit (already exponentiated), > 0, or None if nobody gave one: no confidence, no loss."""
    logit_bias: float = 0.0
    """Added to the scaled cosine: 0 for CLIP, learned for SigLIP."""
    n_parameters: int | None = None
    device: str | None = None
    """The device that it runs on, such as ``cpu`` or ``cuda:0``, or None if that means nothing."""
    precision: str | None = None
    """The type that the towers compute in, one of ``PRECISIONS``, or None if that means nothing."""
    notes: tuple[str, ...] = ()
    """Facts about how the model was loaded that a reader of the numbers should know."""
    step: int | None = None
    """Training step or epoch of a checkpoint, as far as it or its name says."""
    roles: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Modalities whose vectors depend on the role: by role its prompt, or what else it changes. All others have one
    vector.
    """
    is_joint: bool = False
    """True if it encodes an image with a text as one item."""
    similarity: str = "cosine"
    """``cosine``, or ``dot`` for a model whose own ranking is by the inner product of raw vectors, without scaling to
    length 1.
    """

    def __post_init__(self) -> None:
        if self.similarity not in SIMILARITIES:
            raise UsageError(
                f"model {self.ref} says similarity = {self.similarity!r:.40}: expected"
                f" {' or '.join(map(repr, SIMILARITIES))}"
            )


Role = Literal["query", "document"] | None
"""The side of a search that an item is on, for models that encode the two sides differently, or None without sides.
"""
ROLES: tuple[Literal["query", "document"], ...] = ("query", "document")


RoleTexts = dict[str, dict[str, str]]
"""By modality and role, a prompt, or what else the role changes."""


def parse_role(name: str) -> Role:
    """Return the role of a name, or raise UsageError for an unknown name.

    Example:
        >>> parse_role("query")
        'query'
    """
    role = next((role for role in ROLES if role == name), None)
    if role is None:
        raise UsageError(f"no role '{name}': {did_you_mean(name, ROLES)}")
    return role


Preprocess = Callable[[Image.Image], np.ndarray | Mapping[str, np.ndarray]]
"""From an image to the input of an image tower: float32 of shape (channels, height, width), or several arrays by
name.
"""

Item = TypeVar("Item")

Vectors = Float32[np.ndarray, "n dim"]

PromptVectors = Sequence[Float32[np.ndarray, "_ dim"]]
"""For each class, the vectors of its prompts."""
ClassVectors = Float32[np.ndarray, "n_classes dim"]

TokenCounts = Int64[np.ndarray, " n_texts"]
"""Tokens of each text before truncation, start and end included."""


class Predictions(NamedTuple):
    """The class of each image, decided before, without the scores of the other classes."""

    predicted: Int64[np.ndarray, " n_images"]
    """Rows of the data set's class names."""
    confidence: Float64[np.ndarray, " n_images"] | None = None
    """Probability of the predicted class, in [0, 1], or None if unknown."""


class SearchResults(NamedTuple):
    """The result lists of all queries of a data set, one row per result, by query and then by rank."""

    side: Literal["text", "image", "query"]
    """The queries: captions that look for their image, images that look for their captions, or the queries of
    judgements.
    """
    query: Int64[np.ndarray, " n_results"]
    """Row of the query, ascending."""
    item: Int64[np.ndarray, " n_results"]
    """Row of the image, the caption or the document."""
    group: Int64[np.ndarray, " n_results"]
    """Number of the group of results with equal scores, ascending. Each result is a group of its own if the order of
    the list decides.
    """
    depth: int
    """Number of results that a list may have."""
    n_without: int
    """Queries without a line in the file, which have an empty list."""


Tokens = Mapping[str, np.ndarray]
"""Inputs of a text tower by name: integers of shape (n_texts, n_tokens)."""

TOWERS = (("encode_image", "encode_text"), ("get_image_features", "get_text_features"))
"""Names of a module's methods for its towers: in open_clip, OpenAI's code and the bundled model, and in
transformers.
"""

Resize = Literal["crop", "squash", "pad"]
"""Ways to make an image square: its middle is cut out, its sides are scaled apart, or bars are added."""


@dataclass(frozen=True, kw_only=True)
class Preprocessing:
    """The settings of an image preprocessing. An unknown setting is None."""

    size: tuple[int, int] | None = None
    """Height and width of the input, in pixels."""
    mean: tuple[float, ...] | None = None
    """Subtracted from each channel of an image in [0, 1]."""
    std: tuple[float, ...] | None = None
    """Divides each channel."""
    resize: Resize | None = None
    interpolation: str | None = None
    """``nearest``, ``bilinear``, ``bicubic`` or ``lanczos``."""
    fault: str | None = None
    """The reason why the settings cannot be stated, such as channels in the order blue, green, red."""


@dataclass(frozen=True, kw_only=True)
class Internals:
    """The parts behind ``Model.encode``. A part that the adapter does not show is None.

    They let ``clipbench doctor`` see what a model is fed, and run it with one setting changed.
    """

    open_image: Callable[[bytes], Image.Image] | None = None
    """From the bytes of a file to the image, where the model's own code opens files. None for the reading of every
    run (``data.images``).
    """
    preprocess: Callable[[Image.Image], Any] | None = None
    """From an RGB image to the input of the image tower, (channels, height, width)."""
    encode_pixels: Callable[[np.ndarray], Float32[np.ndarray, "n_images dim"]] | None = None
    """From preprocessed images, (n_images, channels, height, width), to raw vectors."""
    tokenize: Callable[[Sequence[str]], Tokens] | None = None
    """From texts to the input of the text tower, padded and cut as the adapter does it."""
    encode_tokens: Callable[[Tokens], Float32[np.ndarray, "n_texts dim"]] | None = None
    """From tokens to raw vectors."""
    module: "torch.nn.Module | None" = None
    """The torch module that holds both towers, with its weights and modes."""


class Model:
    """Base class of models, which turn items of modalities into raw (not normalised) float32 vectors.

    A subclass gives ``info`` and ``encode``. Everything else has a default, which may be replaced.

    Example:
        >>> from dataclasses import replace
        >>> from clipbench.testing import INFO
        >>> class Lengths(Model):
        ...     info = replace(INFO, embed_dim=1)
        ...     def encode(self, modality, inputs, role=None):
        ...         return np.array([[len(text)] for text in inputs], np.float32)
        >>> Lengths().encode_texts(["a", "bcd"]).tolist()
        [[1.0], [3.0]]
    """

    info: ModelInfo
    """Identity and constants, which do not change while the model lives."""
    modalities: Sequence[str] = (IMAGE, TEXT)
    """The names of the modalities that it encodes."""
    preprocess: Preprocess | None = None
    """From an image to the input of the image tower, where that can be done apart from the model, in worker processes:
    picklable, without the weights. None for a model that takes images as they are.
    """
    files: Sequence[Path] = ()
    """Files, and folders with all that is in them, that it was loaded from, or none if there is more to it."""
    takes_files: bool = False
    """True where ``encode`` also takes images as files (``data.images.EncodedImage``), whose bytes reach the model
    unchanged, as a server's do.
    """
    is_sole: bool = False
    """True where all of its work has to be done in one process, as of a model that counts what it costs."""

    def encode(self, modality: str, inputs: Any, role: Role = None) -> Vectors:
        """Return one vector per item, in order, or raise Unavailable without an encoder of the modality.

        Args:
            modality: one of ``modalities``.
            inputs: texts, images (or the stacked outputs of ``preprocess`` for them), or items of other modalities as
                the data give them. Any number of texts may be given at once.
            role: the side of a search that the items are on, always None for a modality that is not in ``info.roles``.
        """
        raise NotImplementedError

    def encode_batches(self, modality: str, batches: Iterable[Any], role: Role = None) -> Iterator[Vectors]:
        """Yield the vectors of one batch of inputs after the other. Later batches may have been read by then.

        A model replaces this so that its device need not wait for what comes between two batches.
        """
        return (self.encode(modality, batch, role) for batch in batches)

    def encode_images(self, images: Sequence[Image.Image]) -> Vectors:
        """Return one vector per image, in order, after the model's preprocessing if it has one."""
        batches = map(self.inputs_of, in_batches(images, DEFAULT_BATCH_SIZE))
        vectors = list(self.encode_batches(IMAGE, batches))
        return np.concatenate(vectors) if vectors else np.empty((0, self.info.embed_dim), np.float32)

    def inputs_of(self, images: Sequence[Image.Image]) -> Any:
        """Return images as ``encode`` takes them."""
        return list(images) if self.preprocess is None else stack_inputs([self.preprocess(image) for image in images])

    def encode_texts(self, texts: Sequence[str]) -> Vectors:
        """Return one vector per text, in order."""
        return self.encode(TEXT, list(texts))

    def combine(self, vectors: Vectors) -> Float32[np.ndarray, " dim"] | None:
        """Return the raw vector of a class from the vectors of its prompts, or None for their mean, for all classes."""
        return None

    def count_tokens(self, texts: Sequence[str]) -> TokenCounts:
        """Return the tokens of each text before truncation, start and end included, or raise NoTokenCounts if
        unknown.
        """
        raise NoTokenCounts(
            f"model '{self.info.ref}' does not say how many tokens a text takes: its adapter has no count_tokens(texts)"
        )

    def costs(self) -> Notes:
        """Return notes about the costs of the model so far except time, and about deviations from the options."""
        return ()

    def internals(self) -> Internals:
        """Return the parts behind ``encode``, for ``clipbench doctor``."""
        return Internals(
            preprocess=self.preprocess, encode_pixels=None if self.preprocess is None else partial(self.encode, IMAGE)
        )

    def towers(self) -> "Mapping[str, Model]":
        """Return the model of each modality: this one, unless it is made of several."""
        return dict.fromkeys(self.modalities, self)


def in_batches(items: Sequence[Item], size: int) -> list[Sequence[Item]]:
    """Return items in order, in batches of a size, of which the last may be smaller."""
    return [items[start : start + size] for start in range(0, len(items), size)]


def encode_in_batches(encode: Callable[[Any], Vectors], items: Sequence[Any], size: int, dim: int) -> Vectors:
    """Return the vectors of items, of shape (n, dim), encoded in batches of a size."""
    vectors = np.empty((len(items), dim), np.float32)
    for start in range(0, len(items), size):
        vectors[start : start + size] = encode(items[start : start + size])
    return vectors


def stack_inputs(inputs: Sequence[Any]) -> Any:
    """Return arrays of one shape as one array with a row per input, and arrays by name stacked by name."""
    if isinstance(inputs[0], Mapping):
        stacked = {}
        for name in inputs[0]:
            stacked[name] = np.stack([arrays[name] for arrays in inputs])
        return stacked
    return np.stack(inputs)


class Embedder:
    """Base class of the sources of vectors for tasks: each distinct item is encoded only once.

    One kind is a model with a store, the other holds vectors that are given. A subclass gives ``info`` and ``encode``.
    What only some can do is asked for with ``capability``.
    """

    info: ModelInfo
    """The model's identity, logit scale and bias."""
    dataset: Dataset | None = None
    """The only samples that there are vectors for, where they come along with the vectors, or None for a model."""

    @property
    def notes(self) -> Notes:
        """Facts about where the vectors come from that a reader of the numbers should know."""
        return ()

    @property
    def root(self) -> Path:
        """Folder for vectors that are too many for memory."""
        return default_root()

    def encode(self, modality: str, items: Sequence[Any], role: Role = None) -> Vectors:
        """Return the raw vector of each item, in order, finite and not zero.

        Args:
            modality: ``image``, ``text``, or another of the data.
            items: references to images, texts, or items of a data set's ``modalities``.
            role: the side of a search that the items are on.

        Raises:
            Unavailable: the model has no encoder of the modality.
        """
        raise NotImplementedError

    def combine(self, by_prompt: PromptVectors) -> ClassVectors | None:
        """Return the raw vector of each class from the vectors of its prompts, or None for their mean."""
        return None

    def encode_sides(self, modality: str, items: Sequence[Any]) -> "Sides":
        """Return ``scoring_vectors`` of items as queries and as documents, encoded once for a model without roles."""
        query = self.scoring_vectors(self.encode(modality, items, "query"))
        if modality not in self.info.roles:
            return Sides(query, query)
        return Sides(query, self.scoring_vectors(self.encode(modality, items, "document")))

    def scoring_vectors(self, vectors: Vectors) -> Vectors:
        """Return vectors whose inner products are the model's scores: unit vectors, or unscaled ones for ``dot``.

        Raises:
            VectorError: a vector is zero or not finite.
        """
        prepare = unit if self.info.similarity == COSINE else unscaled
        return prepare(vectors, out=large_array(vectors.shape, self.root))

    def images(self, images: Sequence[ImageRef]) -> Vectors:
        """Return the raw vector of each image, in order, on no side of a search."""
        return self.encode(IMAGE, images)

    def texts(self, texts: Sequence[str]) -> Vectors:
        """Return the raw vector of each text, in order, on no side of a search."""
        return self.encode(TEXT, texts)

    def count_tokens(self, texts: Sequence[str]) -> TokenCounts:
        """Return the tokens of each text before truncation, start and end included, or raise NoTokenCounts if
        unknown.
        """
        raise NoTokenCounts(f"{self.info.id} does not say how many tokens a text takes")

    def digests(self, images: Sequence[ImageRef]) -> list[str]:
        """Return the content hash of each image, in order, or raise BadImage for one that cannot be read."""
        return [image.digest() for image in images]

    def readable(self, dataset: Dataset, role: Role = "query") -> Dataset:
        """Return a data set without the images that cannot be decoded, with notes, or raise DataError if none remains.

        Args:
            role: in which the images will be needed, because they are encoded to find out. In most tasks they are
                queries.
        """
        return dataset

    def image_notes(self, images: Sequence[ImageRef]) -> Notes:
        """Return notes on the images that are not plain RGB or grey, by how they are read."""
        return ()


class ModelEmbedder(Embedder):
    """Base class of the embedders that encode with a model."""

    model: Model
    probes: Probes | None = None
    """Vectors of a few fixed inputs, if the model has encoded them when it was loaded or checked."""

    @property
    def peak_bytes(self) -> Mapping[str, int] | None:
        """The peak memory of tensors on a CUDA device by encoded modality, or None if not watched."""
        return None

    def watch_memory(self) -> None:
        """Note the memory of the device that encoding takes from now on, in a process without other models."""

    def counts(self) -> "Counts":
        """Return the work so far."""
        raise NotImplementedError

    def sizes(self) -> Mapping[str, TowerRecord]:
        """Return size and work of each tower, by its modality."""
        return {}

    def stored_findings(self) -> list[CheckFinding] | None:
        """Return the findings of the quick checks of an earlier run that hold for this one, None if there are none."""
        return None

    def store_findings(self, findings: list[CheckFinding] | None) -> None:
        """Store the findings of the quick checks for later runs, None if they were not made.

        Raises:
            ClipbenchError: the model failed as a whole, not in one evaluation.
        """


class ClassEmbedder(Embedder):
    """Base class of the models of predicted classes, which have no vectors."""

    def predictions(self, images: Sequence[ImageRef]) -> Predictions:
        """Return the predicted class of each image, in order."""
        raise NotImplementedError


class SearchEmbedder(Embedder):
    """Base class of the models of finished result lists, which have no vectors."""

    def search_results(self, dataset: Dataset) -> SearchResults:
        """Return the result lists of all queries of a data set.

        Raises:
            DataError: a query or a result is not in the data, or a query has no list.
        """
        raise NotImplementedError


E = TypeVar("E", bound=Embedder)


def capability(embedder: Embedder, kind: type[E]) -> E | None:
    """Return an embedder as one that can do more, such as ``ModelEmbedder``, or None if it cannot."""
    return embedder if isinstance(embedder, kind) else None


class Sides(NamedTuple):
    """Scoring vectors of items as queries and as documents, one array for both if the model has no roles for them."""

    query: Vectors
    document: Vectors

    @property
    def are_equal(self) -> bool:
        """True for one array."""
        return self.query is self.document

    def take(self, rows: Int64[np.ndarray, " n_rows"]) -> "Sides":
        """Return some rows."""
        query = self.query[rows]
        return Sides(query, query if self.are_equal else self.document[rows])

    def first(self, n: int) -> "Sides":
        """Return the first rows, not copied."""
        query = self.query[:n]
        return Sides(query, query if self.are_equal else self.document[:n])


COUNT_NAMES = {IMAGE: "images", TEXT: "texts"}
"""Modalities as counts and seconds in results name them, where that is not their own name."""


class Call(NamedTuple):
    """The work of one call of an embedder, where items are identified by the hash of their content."""

    modality: str
    encoded: frozenset[bytes] = frozenset()
    """Items that went through the model."""
    stored: frozenset[bytes] = frozenset()
    """Items that the store already had."""
    seconds: float = 0.0
    """Time spent on encoding, decoding included."""
    seconds_loading: float = 0.0
    """Part of ``seconds`` that the model took to be loaded, where that was put off."""
    is_ahead: bool = False
    """True where it was spent before the evaluation that the call counts for, on several models at once."""


@dataclass(frozen=True)
class Counts:
    """The work of an embedder up to a moment. The difference of two is the work between them.

    Example:
        >>> before = Counts((Call("text", encoded=frozenset({b"a", b"b"}), seconds=2.0),))
        >>> now = Counts((*before.calls, Call("text", stored=frozenset({b"a", b"b"}))))
        >>> (now - before).n_items()
        {'images': 0, 'texts': 0, 'stored_images': 0, 'stored_texts': 2}
        >>> (now - before).seconds("text")
        0.0
    """

    calls: tuple[Call, ...] = ()

    def __sub__(self, earlier: "Counts") -> "Counts":
        return Counts(self.calls[len(earlier.calls) :])

    def n_items(self) -> dict[str, int]:
        """Return how many distinct items were encoded, and how many the store had before, by ``COUNT_NAMES``."""
        n_encoded, n_stored = {}, {}
        for modality in self.modalities:
            calls = [call for call in self.calls if call.modality == modality]
            encoded = frozenset[bytes]().union(*(call.encoded for call in calls))
            stored = frozenset[bytes]().union(*(call.stored for call in calls))
            name = COUNT_NAMES.get(modality, modality)
            n_encoded[name], n_stored[f"stored_{name}"] = len(encoded), len(stored - encoded)
        return n_encoded | n_stored

    @property
    def modalities(self) -> list[str]:
        """Images, texts, and other modalities that were asked for."""
        return list(dict.fromkeys([IMAGE, TEXT, *(call.modality for call in self.calls)]))

    def seconds(self, modality: str) -> float:
        """Return the seconds that were spent on encoding."""
        return sum((call.seconds for call in self.calls if call.modality == modality), 0.0)

    def seconds_ahead(self) -> float:
        """Return the seconds of encoding before the evaluation of the calls."""
        return sum((call.seconds for call in self.calls if call.is_ahead), 0.0)
