"""The sides of a search or a classification that are disturbed, one at a time: images, and captions or class names."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from clipbench.data.dataset import Dataset
from clipbench.data.images import ImageRef, image_size
from clipbench.data.modalities import IMAGE, TEXT
from clipbench.data.prompts import Prompts
from clipbench.metrics.classification import class_scores
from clipbench.metrics.ranking import chance_recall_at_k, cross_answers, recall_at_k
from clipbench.models.protocol import Embedder
from clipbench_tasks.perturbation.disturbances import (
    DOWNSCALE,
    IMAGE_DISTURBANCES,
    TEMPLATE,
    TEXT_DISTURBANCES,
    Disturbance,
    disturb_image,
    disturb_text,
)
from clipbench_tasks.tables import Column, Table, Vectors, captions_of, labels_of, text_column
from clipbench_tasks.zero_shot import class_vectors, prompt_vectors

ACCURACY, TO_TEXT, TO_IMAGE = "acc1", "text_retrieval_recall@1", "image_retrieval_recall@1"
"""The scores of zero-shot and retrieval."""


class Answer(NamedTuple):
    """The credit of each sample, and the class or caption that was chosen."""

    credit: Column
    chosen: np.ndarray


class DisturbedSide(NamedTuple):
    """What is disturbed, images or texts, and how its vectors are scored."""

    modality: str
    noun: str
    """What is disturbed, in the plural."""
    disturbances: Mapping[str, Disturbance]
    score: str
    chance: float
    sources: Sequence[Any]
    """The clean images or texts."""
    clean: Vectors
    """Their scoring vectors."""
    disturb: Callable[[str, int], list[Any]]
    """Returns the copies of all sources, by disturbance and severity."""
    encode: Callable[[str, Sequence[Any]], Vectors]
    """Returns scoring vectors of copies of a disturbance."""
    answer: Callable[[Vectors], Answer]
    blind: Callable[[Vectors], Answer]
    """Returns the answers with the mean of all queries for each query."""
    table: Table
    """Columns of the samples that are scored, among them the right answer: ``label`` or ``caption``."""


def zero_shot_sides(dataset: Dataset, embedder: Embedder, prompts: Prompts) -> Iterator[DisturbedSide]:
    """Yield the images and, unless the prompts are written for each class, the class names."""
    labels, names = labels_of(dataset)

    def classify(images: Vectors, classes: Vectors) -> Answer:
        scores = class_scores(images, classes, labels)
        return Answer(scores.credit(), text_column(names)[scores.predicted])

    def encode_names(disturbance: str, copies: Sequence[str]) -> Vectors:
        templates = Prompts(templates=("{c}",)) if disturbance == TEMPLATE else prompts
        return class_vectors(prompt_vectors(templates.render(copies), embedder), embedder)

    clean = embedder.scoring_vectors(embedder.encode(IMAGE, dataset.images, "query"))
    classes = encode_names("", names)

    def classify_disturbed(images: Vectors) -> Answer:
        return classify(images, classes)

    def classify_by_disturbed(vectors: Vectors) -> Answer:
        return classify(clean, vectors)

    def classify_blind(vectors: Vectors) -> Answer:
        return classify(_mean_query(clean, embedder), vectors)

    images = _image_side(
        dataset,
        embedder,
        score=ACCURACY,
        chance=1 / len(names),
        clean=clean,
        answer=classify_disturbed,
        table={"label": text_column(names)[labels]},
    )
    yield images
    if prompts.by_class is None:
        yield images._replace(
            modality=TEXT,
            noun="class names",
            disturbances=TEXT_DISTURBANCES,
            sources=names,
            clean=classes,
            disturb=_text_disturber(names),
            encode=encode_names,
            answer=classify_by_disturbed,
            blind=classify_blind,
        )


def retrieval_sides(dataset: Dataset, embedder: Embedder) -> Iterator[DisturbedSide]:
    """Yield the images, which search the captions, and the captions, which search the images."""
    captions, owner = captions_of(dataset)
    words, ids = text_column(captions), dataset.caption_names()
    texts, images = embedder.encode_sides(TEXT, captions), embedder.encode_sides(IMAGE, dataset.images)
    _, first_captions = np.unique(owner, return_index=True)

    def search_texts(vectors: Vectors) -> Answer:
        by_image, _ = cross_answers(vectors, texts.document, owner)
        return Answer(recall_at_k(by_image.ranks, 1), words[by_image.first])

    def search_images(vectors: Vectors) -> Answer:
        _, by_text = cross_answers(images.document, vectors, owner)
        return Answer(recall_at_k(by_text.ranks, 1), words[first_captions][by_text.first])

    def encode_captions(disturbance: str, copies: Sequence[str]) -> Vectors:
        return embedder.scoring_vectors(embedder.encode(TEXT, copies, "query"))

    def search_images_blind(vectors: Vectors) -> Answer:
        return search_images(_mean_query(vectors, embedder))

    search = _image_side(
        dataset,
        embedder,
        score=TO_TEXT,
        chance=chance_recall_at_k(np.bincount(owner), len(captions), 1),
        clean=images.query,
        answer=search_texts,
        table={"caption": words[first_captions]},
    )
    yield search
    yield search._replace(
        modality=TEXT,
        noun="captions",
        disturbances=TEXT_DISTURBANCES,
        score=TO_IMAGE,
        chance=1 / len(dataset),
        sources=captions,
        clean=texts.query,
        disturb=_text_disturber(captions),
        encode=encode_captions,
        answer=search_images,
        blind=search_images_blind,
        table={
            "sample_id": text_column(f"text:{id}" for id in ids),
            "cluster": text_column(dataset.image_ids)[owner],
            "image": owner,
            "caption": words,
        },
    )


def _image_side(  # noqa: PLR0913  fields of a side, each by its name
    dataset: Dataset,
    embedder: Embedder,
    *,
    score: str,
    chance: float,
    clean: Vectors,
    answer: Callable[[Vectors], Answer],
    table: Table,
) -> DisturbedSide:
    """Return the side of the images. Other arguments are fields of the side, ``table`` without ids of the images."""
    images, digests = dataset.images, embedder.digests(dataset.images)

    @cache  # for all severities: it reads the image
    def longer_side(row: int) -> int:
        return max(image_size(images[row]))

    def disturb(name: str, severity: int) -> list[ImageRef]:
        max_side = IMAGE_DISTURBANCES[DOWNSCALE].levels[severity - 1] if name == DOWNSCALE else 0
        copies = []
        for row, (image, digest) in enumerate(zip(images, digests, strict=True)):
            is_small = max_side > 0 and longer_side(row) <= max_side  # it stays as it is
            copies.append(image if is_small else disturb_image(image, digest, name, severity))
        return copies

    def encode(disturbance: str, copies: Sequence[ImageRef]) -> Vectors:
        return embedder.scoring_vectors(embedder.encode(IMAGE, copies, "query"))

    def answer_blind(vectors: Vectors) -> Answer:
        return answer(_mean_query(vectors, embedder))

    return DisturbedSide(
        modality=IMAGE,
        noun="images",
        disturbances=IMAGE_DISTURBANCES,
        score=score,
        chance=chance,
        sources=images,
        clean=clean,
        disturb=disturb,
        encode=encode,
        answer=answer,
        blind=answer_blind,
        table={
            "sample_id": text_column(f"image:{id}" for id in dataset.image_ids),
            "cluster": text_column(dataset.image_ids),
            "image": np.arange(len(dataset)),
            **table,
        },
    )


def _text_disturber(texts: Sequence[str]) -> Callable[[str, int], list[str]]:
    """Return the function that disturbs all texts."""

    def disturb(name: str, severity: int) -> list[str]:
        return [disturb_text(text, name, severity) for text in texts]

    return disturb


def _mean_query(queries: Vectors, embedder: Embedder) -> Vectors:
    """Return the mean of all queries for each of them."""
    mean = queries.mean(axis=0, dtype=np.float64, keepdims=True).astype(np.float32)
    return np.broadcast_to(embedder.scoring_vectors(mean), queries.shape)
