"""Corpora of images and texts, and what the captions that are no document of them find there."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Float64, Int64

from clipbench.data.dataset import Dataset
from clipbench.errors import MissingPart, VectorError
from clipbench.metrics import correction_maps
from clipbench.metrics.similarity import score_blocks, unit
from clipbench.results.numbers import shortest

IMAGE, TEXT, BOTH = range(3)
"""Kinds of a document: an image, a text, or one of each."""
ZERO = "centring leaves a vector without a direction: it is the mean of its modality"
THIRDS, CENTRED = "thirds", "centred"
"""The corpus of a third each, and what a corpus is called with each modality centred."""


class Corpus(NamedTuple):
    """A corpus, and the kind of each of its documents."""

    name: str
    title: str
    kinds: Int64[np.ndarray, " n_documents"]


class Sides(NamedTuple):
    """Unit vectors."""

    queries: Float32[np.ndarray, "n_queries dim"]
    images: Float32[np.ndarray, "n_documents dim"]
    texts: Float32[np.ndarray, "n_documents dim"]

    @property
    def both(self) -> Float32[np.ndarray, "n_documents dim"]:
        """The documents that are both: a mean without a direction, of opposite vectors, is the image."""
        total = self.images + self.texts
        has_direction = np.abs(total).max(axis=1, keepdims=True) > 0
        return unit(np.where(has_direction, total, self.images))

    def centred(self) -> "Sides":
        """Return the same with each modality centred; raise VectorError where a vector is the mean of its modality."""
        maps = correction_maps(self.images, self.texts, kind="centring")
        return Sides(maps.text(self.queries), maps.image(self.images), maps.text(self.texts))

    def documents(self, corpus: Corpus) -> Float32[np.ndarray, "n_documents dim"]:
        """Return the vectors of a corpus."""
        return np.choose(corpus.kinds[:, None], (self.images, self.texts, self.both))


class Found(NamedTuple):
    """The results of all queries in a corpus."""

    above: Int64[np.ndarray, " n_queries"]
    """Documents that score higher than the right one."""
    tied: Int64[np.ndarray, " n_queries"]
    """Others that score as the right one does."""
    right_score: Float32[np.ndarray, " n_queries"]
    first: Int64[np.ndarray, " n_queries"]
    first_score: Float32[np.ndarray, " n_queries"]
    first_is_text: Float64[np.ndarray, " n_queries"]
    """Share of the documents with the highest score that are texts; likewise of images."""
    first_is_image: Float64[np.ndarray, " n_queries"]


class Documents(NamedTuple):
    """The captions of the data as documents and as queries."""

    images: Int64[np.ndarray, " n_documents"]
    """Row of the image of each document."""
    texts: Int64[np.ndarray, " n_documents"]
    """Row of the caption of each."""
    queries: Int64[np.ndarray, " n_queries"]
    """Rows of the captions that search."""
    right: Int64[np.ndarray, " n_queries"]
    """The document that each looks for."""


def documents_of(dataset: Dataset) -> Documents:
    """Return which captions are documents and which search.

    Raises:
        MissingPart: no image has a second caption.
    """
    assert dataset.captions is not None and dataset.caption_image is not None
    images, firsts, place = np.unique(dataset.caption_image, return_index=True, return_inverse=True)
    others = np.setdiff1d(np.arange(len(dataset.captions)), firsts)
    if not len(others):
        raise MissingPart(dataset.id, "a second caption of some image, which looks for the image's document")
    captions = np.array(dataset.captions, object)
    is_other = captions[others] != captions[firsts[place[others]]]
    queries = others[is_other]
    if not len(queries):
        raise MissingPart(dataset.id, "second caption in other words than the first")
    return Documents(images, firsts, queries, place[queries])


def corpus_name(share: float) -> str:
    return f"texts={shortest(100 * share)}"


def corpora_of(n: int, shares: Sequence[float], rng: np.random.Generator) -> Iterator[Corpus]:
    """Yield the corpora of n documents: by the share of texts, and of a third each."""
    order = rng.permutation(n)
    for share in shares:
        words = {0.0: "Images alone", 1.0: "Texts alone"}.get(share, f"{shortest(100 * share)} % texts")
        yield Corpus(corpus_name(share), words, np.where(order < round(share * n), TEXT, IMAGE))
    yield Corpus(THIRDS, "A third each texts, images and both", order % 3)


def searches(sides: Sides, corpora: Sequence[Corpus], right: Int64[np.ndarray, " n_queries"]) -> dict[str, Found]:
    """Return what is found in each corpus, by its name; with each modality centred too, where that is possible."""
    found = _searched(sides, corpora, right)
    try:
        centred = sides.centred()
    except VectorError:
        return found
    return found | {f"{name}/{CENTRED}": each for name, each in _searched(centred, corpora, right).items()}


def _searched(sides: Sides, corpora: Sequence[Corpus], right: Int64[np.ndarray, " n_queries"]) -> dict[str, Found]:
    """Return what is found in each corpus, from three products of queries and documents for all of them."""
    parts: dict[str, list[Found]] = {corpus.name: [] for corpus in corpora}
    of_kinds = [score_blocks(sides.queries, documents) for documents in (sides.images, sides.texts, sides.both)]
    for blocks in zip(*of_kinds, strict=True):
        rows, scores = blocks[0][0], [block for _, block in blocks]
        for corpus in corpora:
            parts[corpus.name].append(_found(np.choose(corpus.kinds, scores), corpus.kinds, right[rows]))
    return {
        name: Found(*(np.concatenate(columns) for columns in zip(*each, strict=True))) for name, each in parts.items()
    }


def _found(
    scores: Float32[np.ndarray, "block n_documents"],
    kinds: Int64[np.ndarray, " n_documents"],
    right: Int64[np.ndarray, " block"],
) -> Found:
    rows = np.arange(len(scores))
    own, first = scores[rows, right], scores.argmax(axis=1)
    top = scores[rows, first]
    is_first = scores == top[:, None]
    n_first = is_first.sum(axis=1)
    return Found(
        above=(scores > own[:, None]).sum(axis=1),
        tied=(scores == own[:, None]).sum(axis=1) - 1,
        right_score=own,
        first=first,
        first_score=top,
        first_is_text=is_first[:, kinds == TEXT].sum(axis=1) / n_first,
        first_is_image=is_first[:, kinds == IMAGE].sum(axis=1) / n_first,
    )
