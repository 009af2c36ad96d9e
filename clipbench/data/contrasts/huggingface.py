"""Contrasts in Hugging Face data sets, which hold their images: Winoground, ColorSwap, BiVLC, and mteb's copies."""

from dataclasses import replace
from typing import TYPE_CHECKING

from clipbench.data.contrasts.questions import ImageKey, Question, dataset_of, read_question
from clipbench.data.contrasts.schemas import Schema, schema_of
from clipbench.data.dataset import DataOptions, Dataset
from clipbench.data.huggingface_rows import ImageColumn, RowImage, SplitRows
from clipbench.data.images import ImageRef

if TYPE_CHECKING:
    import datasets


def schema_of_rows(rows: "datasets.Dataset") -> Schema | None:
    """Return the schema of rows that are contrasts; None for others."""
    return schema_of(rows.column_names) if _image_columns(rows) else None


def from_rows(split: SplitRows, schema: Schema, options: DataOptions, id: str) -> Dataset:
    """Return the contrasts of one split.

    Raises:
        DataError: a malformed row.
        Unavailable: rows lack images; with ``allow_partial``, only if all do.
    """
    options.refuse_unknown(("split", "revision"), id)
    columns = {name: ImageColumn(split.rows, name) for name in _image_columns(split.rows)}
    missing = {name: set(column.missing()) for name, column in columns.items()}
    questions: dict[str, Question] = {}
    images: dict[ImageKey, ImageRef] = {}
    for number, row in enumerate(split.rows.remove_columns(list(columns))):
        # The schemas read names of images from files: here each column's own name stands in for its image.
        question = read_question(schema.read, {**row, **{name: name for name in columns}}, f"{id}, row {number}")
        names = [image.name for image in question.images]
        keys = tuple(ImageKey(f"{number}/{name}" if len(names) > 1 else str(number)) for name in names)
        images |= {
            key: RowImage(columns[name], id, number)
            for key, name in zip(keys, names, strict=True)
            if number not in missing[name]
        }
        questions[str(number)] = question._replace(images=keys)
    dataset = dataset_of(questions, images, id, allow_partial=options.allow_partial, places="its rows")
    return replace(dataset, split=split.name, revision=split.revision)


def _image_columns(rows: "datasets.Dataset") -> list[str]:
    from datasets import Image

    return [name for name, feature in rows.features.items() if isinstance(feature, Image)]
