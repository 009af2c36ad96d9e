"""Predictions as a model: a table with the predicted class of each image, as papers and other tools publish it."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float64, Int64

from clipbench.data.dataset import Dataset, check
from clipbench.data.given_labels import OPTION as LABELS_OPTION
from clipbench.data.given_labels import with_given_labels
from clipbench.data.images import ImageRef
from clipbench.data.labels import label_fields
from clipbench.data.prompts import read_class_names
from clipbench.errors import DataError, Unavailable, did_you_mean, model_option
from clipbench.models.adapters.vector_arrays import read_parquet
from clipbench.models.adapters.vectors import VectorRow
from clipbench.models.fingerprint import digest
from clipbench.models.options import LoadOptions
from clipbench.models.protocol import ClassEmbedder, ModelInfo, Predictions, Role, Vectors
from clipbench.untrusted.label_files import SEPARATOR, Classes, read_classes
from clipbench.untrusted.reading import open_file, shown
from clipbench.untrusted.text_tables import read_table

OWN_SAMPLES = "predictions"
"""Id of the data set in the file, whatever the file is called: files of two models hold the same samples."""
ID, LABEL, PREDICTION, CONFIDENCE = "id", "label", "prediction", "confidence"
NEEDED = (ID, LABEL, PREDICTION)
TEXT_FORMATS = (".csv", ".tsv", ".jsonl", ".json")


class PredictionTable(NamedTuple):
    """The columns of a predictions file, checked."""

    ids: list[str]
    labels: list[Classes]
    """The right classes of each image: one, or none to several if any cell holds several."""
    predictions: list[str]
    confidence: Float64[np.ndarray, " n"] | None
    unused: list[str]
    """Columns that have no meaning here."""


@dataclass(frozen=True, kw_only=True, eq=False)
class PredictedClasses(ClassEmbedder):
    """The predicted classes of a file."""

    info: ModelInfo
    dataset: Dataset
    """Images stand for rows of the file."""
    predicted: Int64[np.ndarray, " n"]
    """Rows of the class names."""
    confidence: Float64[np.ndarray, " n"] | None

    def predictions(self, images: Sequence[ImageRef]) -> Predictions:
        """Return the predicted class of each image of ``dataset``."""
        rows = np.array([image.row for image in images if isinstance(image, VectorRow)], np.int64)
        return Predictions(self.predicted[rows], None if self.confidence is None else self.confidence[rows])

    def encode(self, modality: str, items: Sequence[Any], role: Role = None) -> Vectors:
        """Raise Unavailable: a predicted class has no vector."""
        raise Unavailable(f"{self.info.id} holds predicted classes, no vectors: only zero-shot can be measured")


def load(body: str, options: LoadOptions) -> PredictedClasses:
    """Return the predictions of a CSV, TSV, JSON Lines, JSON or parquet file, with their samples.

    Classes are the distinct labels, or the lines of the file that the option ``classes`` names. The option ``labels``
    names a file with other labels.

    Raises:
        UsageError: an option that has no effect on predictions.
        DataError: the file cannot be read, a column is missing, or a cell does not fit.
    """
    reference = f"predictions:{body}"
    options.refuse_unknown(["classes", LABELS_OPTION], reference)
    options.refuse_precision(reference, "whose predictions are there already")
    options.refuse_device(reference, "whose predictions are there already")
    classes_file = options.options.get("classes")
    class_names = None if classes_file is None else _read_distinct_names(Path(classes_file))
    table = read_predictions(Path(body), class_names or ())
    names = class_names or tuple(sorted({name for classes in table.labels for name in classes}))
    predicted = _class_rows(body, PREDICTION, [(name,) for name in table.predictions], table.ids, names)
    right = _class_rows(body, LABEL, table.labels, table.ids, names)
    dataset = Dataset(
        id=OWN_SAMPLES,
        images=[VectorRow(row, name) for row, name in enumerate(table.ids)],
        image_ids=table.ids,
        class_names=names,
        notes=(f"columns without effect: {', '.join(table.unused)}",) if table.unused else (),
        missing=dict.fromkeys(("captions", "contrasts", "attacks"), "the file holds labels and predictions"),
        **label_fields(right),
    )
    label_file = options.options.get(LABELS_OPTION)
    if label_file is not None:
        dataset = with_given_labels(dataset, label_file, option=model_option(**{LABELS_OPTION: label_file}))
    confidence = "" if table.confidence is None else table.confidence.tobytes().hex()
    info = ModelInfo(
        ref=reference,
        id=reference,
        fingerprint=digest("predictions 1", repr((table.ids, table.predictions)), confidence),
        family="predictions",
        embed_dim=0,
        notes=("the file has only predicted classes, so metrics that need the scores of all classes are undefined",),
    )
    return PredictedClasses(
        info=info,
        dataset=check(dataset, allow_partial=True),
        predicted=np.array(predicted, np.int64).ravel(),
        confidence=table.confidence,
    )


def _read_distinct_names(path: Path) -> tuple[str, ...]:
    """Return the class names in a file, or raise DataError if one is there twice: predictions name classes."""
    names = read_class_names(path)
    line_of: dict[str, int] = {}
    for line, name in enumerate(names, start=1):
        if name in line_of:
            raise DataError(
                f"{path}, line {line}: got the class {shown(name)} again, after line {line_of[name]}: expected each"
                " class once, because predictions name their classes"
            )
        line_of[name] = line
    return names


def read_predictions(path: Path, class_names: Collection[str] = ()) -> PredictionTable:
    """Return the columns of a predictions file as text, and the confidence as numbers.

    Args:
        path: of the file.
        class_names: names that are one class even if they have a ``;``.

    Raises:
        DataError: the file cannot be read, a column is missing, or a cell is empty or no confidence.
    """
    if path.suffix.lower() == ".parquet":
        columns: Mapping[str, Sequence[object]] = _parquet_columns(path)
    elif path.suffix.lower() in TEXT_FORMATS:
        columns = read_table(path).columns
    else:
        raise DataError(
            f"cannot read {path}: got a file of type '{path.suffix}', expected .csv, .tsv, .jsonl or .parquet"
        )
    missing = next((name for name in NEEDED if name not in columns), None)
    if missing is not None:
        raise DataError(
            f"{path} has no column '{missing}': got {', '.join(columns)}, expected {', '.join(NEEDED)} and optionally"
            f" {CONFIDENCE}. Rename its columns ({did_you_mean(missing, columns)})"
        )
    ids, predictions = (_texts(path, name, columns[name]) for name in (ID, PREDICTION))
    labels = _labels(path, columns[LABEL], class_names)
    confidence = _confidence(path, columns[CONFIDENCE]) if CONFIDENCE in columns else None
    unused = [name for name in columns if name not in (*NEEDED, CONFIDENCE)]
    return PredictionTable(ids, labels, predictions, confidence, unused)


def _parquet_columns(path: Path) -> dict[str, list[object]]:
    try:
        open_file(path).close()
        return {name: column.tolist() for name, column in read_parquet(path).items()}
    except DataError:
        raise
    except Exception as error:  # pyarrow raises many kinds of error for damaged files
        reason = getattr(error, "strerror", None) or f"{type(error).__name__}: {error}".splitlines()[0]
        raise DataError(
            f"cannot read {path} ({reason}): expected a table with the columns {', '.join(NEEDED)}"
        ) from error


def _texts(path: Path, name: str, values: Sequence[object]) -> list[str]:
    """Return the cells of a column as text, or raise DataError for a cell that is empty, or neither text nor
    integer.
    """
    for row, value in enumerate(values):
        if isinstance(value, bool) or not isinstance(value, str | int) or value == "":
            raise DataError(
                f"{path}, row {row + 1}: column '{name}' is {shown(value)}, expected a text or an integer. "
                "Fill the cell"
            )
    return [str(value) for value in values]


def _labels(path: Path, values: Sequence[object], class_names: Collection[str]) -> list[Classes]:
    """Return the right classes of each row. Only if a cell holds several, an empty cell is an image without any."""
    classes = [read_classes(value, class_names) for value in values]
    has_lists = any(len(names or ()) > 1 for names in classes) or any(isinstance(value, list) for value in values)
    if not has_lists:
        return [(name,) for name in _texts(path, LABEL, values)]
    labels = []
    for row, names in enumerate(classes):
        if names is None:
            raise DataError(
                f"{path}, row {row + 1}: column '{LABEL}' is {shown(values[row])}, expected a class, or several with"
                f" '{SEPARATOR}' between them or as a list"
            )
        labels.append(names)
    return labels


def _confidence(path: Path, values: Sequence[object]) -> Float64[np.ndarray, " n"]:
    numbers = np.empty(len(values))
    for row, value in enumerate(values):
        try:
            numbers[row] = float(value)  # type: ignore[arg-type]
        except (TypeError, ValueError):
            numbers[row] = np.nan
        if not 0 <= numbers[row] <= 1:
            raise DataError(
                f"{path}, row {row + 1}: confidence is {shown(value)}, expected a number from 0 to 1. "
                "Correct the cell, or remove the column"
            )
    return numbers


def _class_rows(
    body: str, column: str, classes: Sequence[Classes], ids: Sequence[str], names: Sequence[str]
) -> list[list[int]]:
    """Return the rows of each image's classes in ``names``, or raise DataError for a class that is not there."""
    row_of = {name: row for row, name in enumerate(names)}
    rows = []
    for image_id, image_classes in zip(ids, classes, strict=True):
        unknown = [name for name in image_classes if name not in row_of]
        if unknown:
            raise DataError(
                f"{body}, id '{image_id}': unknown class in column '{column}': got {shown(unknown[0])}, expected one of"
                f" {len(names):,} classes. Correct it, or list all classes, one per line, in"
                f" {model_option(classes='FILE')}"
            )
        rows.append([row_of[name] for name in image_classes])
    return rows
