"""The inputs of a run's samples, from the data. Nothing here depends on an answer of a model."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool

from clipbench.comparison.column_file import read_columns
from clipbench.comparison.explanation_groups import InputColumn, SampleGroup, SampleGroups, Source, make_groups
from clipbench.comparison.phrase_groups import PHRASES, EmbedInputs, embedded_groups
from clipbench.errors import Unavailable, option
from clipbench.results.metric_name import split_subset
from clipbench.results.record import GROUP_COLUMN
from clipbench.results.sample_inputs import InputKind, Inputs, split_query_id

if TYPE_CHECKING:
    import pandas

Measures = Mapping[str, Mapping[str, float]]
"""Measured inputs of images, by content hash and name."""
ImageInputs = Callable[[Sequence[str]], Measures]
"""Returns the measured inputs of images by content hash, without images that have none."""
IMAGE, CLUSTER, LABEL = "image", "cluster", "label"
IMAGE_INPUTS = "image inputs"
TOKEN_TITLES: Mapping[InputKind, str] = {"tokens": "caption tokens", "tokens cut off": "caption tokens cut off"}
LEAST_MEASURED = 0.9
"""Fraction of the images that must be measured. With fewer, the measured ones may be of one kind."""


def no_image_inputs(digests: Sequence[str]) -> Measures:
    """Return no measured inputs."""
    return {}


def input_groups(
    table: "pandas.DataFrame",
    metric: str,
    kinds: Inputs,
    columns: Path | None,
    image_inputs: ImageInputs | None,
    embed: EmbedInputs | None = None,
) -> SampleGroups:
    """Return the groups that the samples of a metric are in, by their inputs.

    Args:
        table: the base's samples by id. Samples without a value of the metric only add captions to images.
        metric: name of the column of credits.
        kinds: what the columns of the samples are.
        columns: a file with more columns.
        image_inputs: finds the measured inputs of images, None if the run encoded none.
        embed: embeds images and texts with the base's model, None if the model is not named.
    """
    is_defined = table[metric].notna()
    samples = table if is_defined.all() else table[is_defined]
    has_queries = "query" in kinds.values()
    kinds = {name: kind for name, kind in kinds.items() if name in samples}
    queries = [split_query_id(str(sample_id)) for sample_id in samples.index]  # ids may be numbers
    is_query_image = np.array([has_queries and query.modality == IMAGE for query in queries])
    texts = _captions(samples, table, kinds, is_query_image)
    inputs = [*_recorded(samples, kinds)]
    if columns is not None:
        clusters = samples[CLUSTER].map(str).tolist() if CLUSTER in samples else None
        item_ids = [query.item for query in queries] if has_queries else None
        inputs += read_columns(columns, samples.index.tolist(), clusters, item_ids)
    inputs += _lengths(samples, kinds, texts)
    unavailable: dict[Source, str] = {}
    embedded: list[SampleGroup] = []
    if image_inputs is None:
        unavailable[IMAGE_INPUTS] = "the base run encoded no images"
    elif IMAGE in samples:
        measures = image_inputs(samples[IMAGE].tolist())
        n_images = samples[IMAGE].nunique()
        if len(measures) >= LEAST_MEASURED * n_images:
            inputs += _measured(samples, measures)
        else:
            unavailable[IMAGE_INPUTS] = (
                f"{len(measures):,} of {n_images:,} images were measured when they were encoded: run `clipbench cache"
                " prune --model` with the base's model, then the base again"
            )
        try:
            embedded = _embedded(samples, inputs, embed)
        except Unavailable as error:
            unavailable[PHRASES] = str(error)
    return make_groups(inputs, texts, unavailable, embedded)


def _recorded(samples: "pandas.DataFrame", kinds: Inputs) -> Iterator[InputColumn]:
    """Yield groups of the data, conditions and numbers of the task, and the classes of each label set."""
    for name in map(str, samples):
        kind = kinds.get(name)
        if kind == "number":
            yield InputColumn(name, "columns", samples[name].to_numpy(np.float64))
        if not name.startswith(GROUP_COLUMN) and kind not in ("class", "condition"):
            continue
        values = samples[name].fillna("").map(str).to_numpy(object)
        if len({*values}) < 2:  # a group of all samples
            continue
        if kind == "class":
            yield InputColumn(_class_title(name), "classes", values)
        else:
            yield InputColumn(name.removeprefix(GROUP_COLUMN), "columns", values)


def _class_title(column: str) -> str:
    """Return the title of a column of classes, such as ``kind class`` for ``kind/label``."""
    label_set, name = split_subset(column)
    return f"{label_set} {'class' if name == LABEL else name}".lstrip()


def _captions(
    samples: "pandas.DataFrame", table: "pandas.DataFrame", kinds: Inputs, is_query_image: Bool[np.ndarray, " n"]
) -> list[str] | None:
    """Return the captions of each sample, joined.

    A sample whose query is an image has all captions that the table has of this image.
    """
    caption = next((name for name, kind in kinds.items() if kind == "caption"), None)
    if caption is None:
        return None
    captions = samples[caption].fillna("").map(str)
    if IMAGE in samples and is_query_image.any():
        captioned = table[table[caption].fillna("") != ""]
        captions_of_image = captioned.groupby(IMAGE)[caption].agg(_joined)
        of_query = samples[IMAGE].map(captions_of_image).fillna(captions)
        captions = captions.where(~is_query_image, of_query)
    return captions.tolist() if (captions != "").any() else None


def _joined(captions: Iterable[object]) -> str:
    """Return the distinct captions of an image, one per line."""
    return "\n".join(sorted({*map(str, captions)}))


def _lengths(samples: "pandas.DataFrame", kinds: Inputs, texts: list[str] | None) -> Iterator[InputColumn]:
    """Yield the mean number of words of a sample's captions, and the base's tokens where the task counted them."""
    if texts is not None:
        n_words = []
        for captions in texts:
            n_words.append(np.mean([len(caption.split()) for caption in captions.split("\n")]))
        yield InputColumn("caption words", "caption length", np.array(n_words))
    for token_kind, title in TOKEN_TITLES.items():
        for name, kind in kinds.items():
            if kind == token_kind and samples[name].notna().any():
                yield InputColumn(title, "caption length", samples[name].to_numpy(np.float64))


def _measured(samples: "pandas.DataFrame", measures: Measures) -> Iterator[InputColumn]:
    names = dict.fromkeys(name for of_image in measures.values() for name in of_image)
    for name in names:
        values = np.array([measures.get(image, {}).get(name, np.nan) for image in samples[IMAGE]])
        yield InputColumn(name, IMAGE_INPUTS, values)


def _embedded(
    samples: "pandas.DataFrame", inputs: Iterable[InputColumn], embed: EmbedInputs | None
) -> list[SampleGroup]:
    """Return the groups that need embeddings of the images, or raise Unavailable."""
    if embed is None:
        raise Unavailable(f"they need the base's model: name it with {option('model')}")
    classes = [column for column in inputs if column.source == "classes"]
    return embedded_groups(samples[IMAGE].tolist(), classes, embed)
