"""Groups of images by what the base's embedding sees in them: the phrases that they are nearest to, similar classes.

The members follow from the base's embedding only. Clusters of that embedding are not used: some gather the base's own
errors, and a model that differs only by noise is then better in them.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.resources import files
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32

from clipbench.comparison.explanation_groups import InputColumn, SampleGroup

PHRASES = "phrases"
SIMILAR_CLASSES = "similar classes"
PHRASE_SHARE = 0.05
"""Fraction of the images that are in the group of a phrase: those that are nearest to it."""

Vectors = Float32[np.ndarray, "_ dim"]


class InputEmbeddings(NamedTuple):
    """Embeddings of images and texts by the base's model, of length 1."""

    images: Vectors
    texts: Vectors


EmbedInputs = Callable[[Sequence[str], Sequence[str]], InputEmbeddings]
"""Embeds images, by content hash, and texts. Raises Unavailable if an image is not stored or texts have no encoder."""


def embedded_groups(images: Sequence[str], classes: Sequence[InputColumn], embed: EmbedInputs) -> list[SampleGroup]:
    """Return the groups of phrases, and of pairs of similar classes.

    Args:
        images: content hash of each sample's image.
        classes: the class of each sample, for each label set.

    Raises:
        Unavailable: the embeddings are not here.
    """
    phrases = files(__package__).joinpath("phrases.txt").read_text(encoding="utf-8").splitlines()
    distinct_labels: set[str] = set()
    for column in classes:
        distinct_labels.update(label for label in column.values.tolist() if label)
    labels = sorted(distinct_labels)
    digests = sorted(set(images))
    rows = {digest: row for row, digest in enumerate(digests)}
    embeddings = embed(digests, [*phrases, *(f"a photo of {label}" for label in labels)])
    of_samples = embeddings.images[[rows[image] for image in images]]
    vectors = dict(zip(labels, embeddings.texts[len(phrases) :], strict=True))
    groups: list[SampleGroup] = []
    for column in classes:
        groups += _similar_classes(column, vectors)
    groups += _phrase_groups(of_samples, phrases, embeddings.texts[: len(phrases)])
    return groups


def _phrase_groups(images: Vectors, phrases: Sequence[str], vectors: Vectors) -> Iterator[SampleGroup]:
    for phrase, vector in zip(phrases, vectors, strict=True):
        similarity = images @ vector
        is_near = similarity >= np.quantile(similarity, 1 - PHRASE_SHARE, method="higher")
        yield SampleGroup(f'like "{phrase}"', PHRASES, is_near)


def _similar_classes(classes: InputColumn, vectors: Mapping[str, Float32[np.ndarray, " dim"]]) -> Iterator[SampleGroup]:
    """Yield the samples of each class and of the class whose name is nearest, nothing for two classes."""
    labels = sorted(set(classes.values.tolist()) - {""})
    if len(labels) <= 2:
        return
    of_labels = np.stack([vectors[label] for label in labels])
    similarity = of_labels @ of_labels.T
    np.fill_diagonal(similarity, -np.inf)
    pairs: Mapping[tuple[int, int], None] = dict.fromkeys(
        (min(one, int(other)), max(one, int(other))) for one, other in enumerate(similarity.argmax(axis=1))
    )
    for one, other in pairs:
        is_member = (classes.values == labels[one]) | (classes.values == labels[other])
        yield SampleGroup(f"{classes.name} = {labels[one]} or {labels[other]}", SIMILAR_CLASSES, is_member)
