"""Contrasts in Hugging Face data sets, which hold their images: Winoground, ColorSwap, BiVLC, and mteb's copies."""

from typing import TYPE_CHECKING

from clipbench.data.contrasts.questions import Asked, ImageKey, Question, dataset_of, read_question
from clipbench.data.contrasts.schemas import Schema, schema_of
from clipbench.data.dataset import DataOptions, Dataset
from clipbench.data.huggingface_rows import ImageColumn, RowImage, Rows
from clipbench.data.images import ImageRef

if TYPE_CHECKING:
    import datasets


def image_columns(rows: "datasets.Dataset") -> list[str]:
    """Return the columns that hold images."""
    from datasets import Image

    return [name for name, feature in rows.features.items() if isinstance(feature, Image)]


def schema_of_rows(rows: "datasets.Dataset") -> Schema | None:
    """Return the schema of rows that are contrasts; None for others."""
    return schema_of(rows.column_names) if image_columns(rows) else None


def from_rows(opened: Rows, schema: Schema, options: DataOptions, id: str) -> Dataset:
    """Return the contrasts of one split.

    Raises:
        DataError: a malformed row.
        Unavailable: rows lack images; with ``allow_partial``, only if all do.
    """
    options.refuse_unknown(("split", "revision"), id)
    columns = {name: ImageColumn(opened.rows, name) for name in image_columns(opened.rows)}
    missing = {name: set(column.missing()) for name, column in columns.items()}
    questions: dict[str, Question] = {}
    images: dict[ImageKey, ImageRef] = {}
    for number, row in enumerate(opened.rows.remove_columns(list(columns))):
        # In place of its image, a column holds its own name.
        question = read_question(schema.read, {**row, **{name: name for name in columns}}, f"{id}, row {number}")
        names = [image.name for image in question.images]
        shown = tuple(ImageKey(f"{number}/{name}" if len(names) > 1 else str(number)) for name in names)
        images |= {
            image: RowImage(columns[name], id, number)
            for image, name in zip(shown, names, strict=True)
            if number not in missing[name]
        }
        questions[str(number)] = question._replace(images=shown)
    return dataset_of(
        Asked(questions, images),
        id,
        allow_partial=options.allow_partial,
        where="its rows",
        split=opened.split,
        revision=opened.revision,
    )
