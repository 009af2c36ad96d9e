"""The difference of two finished runs by other labels of the same images, from the predicted classes that they keep."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from jaxtyping import Bool, Float64

from clipbench.comparison import align
from clipbench.comparison.metric_difference import Difference
from clipbench.comparison.paired_tests import difference, sample_values
from clipbench.comparison.relabelled import ChangedImage, Relabelled
from clipbench.data.readers import manifest
from clipbench.errors import DataError, NotComparable, UsageError
from clipbench.results.record import Metric
from clipbench.results.run import Run
from clipbench.untrusted.reading import shown

if TYPE_CHECKING:
    import pandas

TASK, METRIC = "zero-shot", "acc1"
NEEDED = ("label", "predicted", METRIC)
"""Columns of the samples: names of classes, and the credit by the recorded labels."""


class NewLabels(NamedTuple):
    """The right classes of images, by id."""

    file: str
    classes: Mapping[str, tuple[str, ...]]
    """None, one or several names of each image."""


def read_labels(path: Path) -> NewLabels:
    """Return the labels of a CSV, TSV, JSON Lines or JSON file with the columns ``id`` and ``label``.

    Several right classes are separated by ``;``, or are a list in JSON. An empty cell or list is an image without any.

    Raises:
        UsageError: it is of another kind.
        DataError: it cannot be read, has no rows, lacks a column, names an id twice, or a cell holds something else.
    """
    if path.suffix.lower() not in manifest.READERS:
        kinds = ", ".join(manifest.READERS)
        raise UsageError(f"cannot read labels from {path}: got a file of type '{path.suffix}', expected {kinds}")
    columns = manifest.read_table(path).columns
    if missing := [name for name in ("id", "label") if name not in columns]:
        raise DataError(f"{path} has no column '{missing[0]}': got {', '.join(columns)}, expected id and label")
    ids = [_text(path, row, "id", value) for row, value in enumerate(columns["id"], 1)]
    if repeated := [name for name, n in Counter(ids).items() if n > 1]:
        raise DataError(f"{path} has the id '{repeated[0]}' twice: expected one row per image")
    classes = [_classes(path, row, value) for row, value in enumerate(columns["label"], 1)]
    return NewLabels(str(path), dict(zip(ids, classes, strict=True)))


def relabelled_differences(base: Run, candidate: Run, labels: NewLabels, alpha: float) -> list[Relabelled]:
    """Return the difference of top-1 accuracy by both sets of labels, for each classification that both runs have.

    Where the labels of an image are just its recorded class, its credit is the recorded one, ties included.

    Raises:
        UsageError: no classification is in both runs.
        NotComparable: one has no samples.
        DataError: the labels are of other images, or name unknown classes.
    """
    pairs = [pair for pair in align.pair_evaluations(base, candidate) if pair.base.task == TASK]
    if not pairs:
        names = ", ".join(record.name for record in base.result.evaluations)
        raise UsageError(f"labels are for {TASK}, which the runs do not have in common: {base.label} has {names}")
    return [_relabelled(base, candidate, pair, labels, alpha) for pair in pairs]


def _relabelled(base: Run, candidate: Run, pair: align.EvaluationPair, labels: NewLabels, alpha: float) -> Relabelled:
    for run, record in zip((base, candidate), pair, strict=True):
        if not run.has_samples(record):
            raise NotComparable(f"{pair.name} has no samples in {run.label}: other labels need its predicted classes")
    tables = align.align_samples(base, candidate, pair)
    for run, table in zip((base, candidate), tables, strict=True):
        if missing := [name for name in NEEDED if name not in table]:
            raise NotComparable(
                f"the samples of {pair.name} in {run.label} have no column '{missing[0]}': other labels need one"
                " recorded class and one predicted class per image"
            )
    recorded = tables.base["label"].tolist()
    if recorded != tables.candidate["label"].tolist():
        raise NotComparable(f"the runs have different recorded labels in {pair.name}")
    ids = [str(name) for name in tables.base.index]
    is_known = np.array([name in labels.classes for name in ids], bool)
    if not is_known.any():
        raise DataError(
            f"{labels.file} names none of the {len(ids):,} images of {pair.name}: got '{next(iter(labels.classes))}',"
            f" expected such as '{ids[0]}'"
        )
    classes = [labels.classes.get(name, ()) for name in ids]
    _check_classes(pair, tables, ids, classes, labels.file)
    has_classes = np.array([bool(names) for names in classes], bool)
    is_unlike = np.array([set(names) != {label} for names, label in zip(classes, recorded, strict=True)], bool)
    credits = [sample_values(table, METRIC) for table in tables]
    is_tied = has_classes & is_unlike & np.any([(credit > 0) & (credit < 1) for credit in credits], axis=0)
    is_kept = has_classes & ~is_tied
    if not is_kept.any():
        raise DataError(f"{labels.file} has a class for none of the {len(ids):,} images of {pair.name}")
    new_credits = [
        np.where(is_unlike, _hits(table, classes), credit) for table, credit in zip(tables, credits, strict=True)
    ]
    by_recorded, by_new = (
        _difference(base, pair, tables, columns, is_kept, alpha) for columns in (credits, new_credits)
    )
    return Relabelled(
        evaluation=pair.name,
        labels=labels.file,
        n=int(is_kept.sum()),
        n_missing=int((~is_known).sum()),
        n_without=int((is_known & ~has_classes).sum()),
        n_tied=int(is_tied.sum()),
        n_several=sum(len(names) > 1 for names, kept in zip(classes, is_kept, strict=True) if kept),
        n_unlike=int((is_unlike & is_kept).sum()),
        recorded=by_recorded,
        relabelled=by_new,
        changed=_changed_images(tables, classes, is_kept, credits, new_credits),
    )


def _difference(
    base: Run,
    pair: align.EvaluationPair,
    tables: align.Tables,
    credits: Sequence[Float64[np.ndarray, " n"]],
    is_kept: Bool[np.ndarray, " n"],
    alpha: float,
) -> Difference:
    """Return the difference of top-1 accuracy on some images, as ``compare`` makes it of all."""
    kept = align.Tables(
        *(table.assign(**{METRIC: credit})[is_kept] for table, credit in zip(tables, credits, strict=True))
    )
    metrics = tuple(
        Metric(
            value=float(table[METRIC].mean()),
            n=len(table),
            title=record.metrics[METRIC].title,
            higher_is_better=True,
            column=METRIC,
        )
        for table, record in zip(kept, pair, strict=True)
    )
    return difference(
        (metrics[0], metrics[1]),
        evaluation=pair.name,
        name=METRIC,
        tables=kept,
        seed=base.result.seed,
        alpha=alpha,
    )


def _hits(table: "pandas.DataFrame", classes: Sequence[tuple[str, ...]]) -> Float64[np.ndarray, " n"]:
    """Return 1 where the predicted class is one of the right ones, 0 elsewhere."""
    return np.array([name in names for name, names in zip(table["predicted"], classes, strict=True)], np.float64)


def _changed_images(
    tables: align.Tables,
    classes: Sequence[tuple[str, ...]],
    is_kept: Bool[np.ndarray, " n"],
    credits: Sequence[Float64[np.ndarray, " n"]],
    new_credits: Sequence[Float64[np.ndarray, " n"]],
) -> tuple[ChangedImage, ...]:
    """Return the images whose part in the difference changes with the labels, by id."""
    gains, new_gains = (after - before for before, after in (credits, new_credits))
    is_changed = is_kept & (gains != new_gains)
    before, after = tables
    return tuple(
        ChangedImage(
            id=str(before.index[row]),
            recorded=str(before["label"].iloc[row]),
            labels=classes[row],
            base=str(before["predicted"].iloc[row]),
            candidate=str(after["predicted"].iloc[row]),
        )
        for row in np.flatnonzero(is_changed)
    )


def _check_classes(
    pair: align.EvaluationPair,
    tables: align.Tables,
    ids: Sequence[str],
    classes: Sequence[tuple[str, ...]],
    file: str,
) -> None:
    """Raise DataError if the labels name more classes than the data has.

    A run keeps the names of the classes that an image has or that is predicted, and by the chance level their number.
    """
    seen = {*tables.base["label"], *tables.base["predicted"], *tables.candidate["predicted"]}
    unseen = {name: image for image, names in zip(ids, classes, strict=True) for name in names if name not in seen}
    chance = pair.base.metrics[METRIC].chance
    n_classes = round(1 / chance) if chance else len(seen)
    if len(unseen) > n_classes - len(seen):
        name, image = next(iter(unseen.items()))
        raise DataError(
            f"{file}, id '{image}': unknown class {shown(name)}, expected one of the {n_classes:,} classes of"
            f" {pair.name}, such as {shown(min(seen))}"
        )


def _text(path: Path, row: int, column: str, value: object) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int) or value == "":
        raise DataError(f"{path}, row {row}: column '{column}' is {shown(value)}, expected a text or an integer")
    return str(value)


def _classes(path: Path, row: int, value: object) -> tuple[str, ...]:
    """Return the distinct classes of a cell."""
    if value is None or value == "":
        return ()
    values = value if isinstance(value, list) else str(value).split(";") if isinstance(value, str) else [value]
    names = [_text(path, row, "label", item.strip() if isinstance(item, str) else item) for item in values]
    return tuple(dict.fromkeys(names))
