"""The difference of two finished runs by other labels of the same images, from the predicted classes that they keep."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool, Float64

from clipbench.comparison import align
from clipbench.comparison.metric_difference import Difference
from clipbench.comparison.paired_tests import difference, sample_values
from clipbench.comparison.relabelled import ChangedImage, Relabelled
from clipbench.errors import ClipbenchError, DataError, NotComparable, UsageError
from clipbench.results.record import Metric
from clipbench.results.run import Run
from clipbench.untrusted.label_files import Classes, LabelFile
from clipbench.untrusted.reading import decode_json, shown

if TYPE_CHECKING:
    import pandas

TASK, METRIC = "zero-shot", "acc1"
NEEDED = ("label", "predicted", METRIC)
"""Columns of the samples: names of classes, and the credit by the recorded labels."""
SEVERAL = "right_classes"
"""The recorded classes of each sample as a JSON list, if images have several."""


def relabelled_differences(base: Run, candidate: Run, labels: LabelFile, alpha: float) -> list[Relabelled]:
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


def _relabelled(base: Run, candidate: Run, pair: align.EvaluationPair, labels: LabelFile, alpha: float) -> Relabelled:
    for run, record in zip((base, candidate), pair, strict=True):
        if not run.has_samples(record):
            raise NotComparable(
                f"{pair.name} has no samples in {run.label}: a comparison by other labels needs their predicted classes"
            )
    tables = align.align_samples(base, candidate, pair)
    for run, table in zip((base, candidate), tables, strict=True):
        if missing := [name for name in NEEDED if name not in table]:
            raise NotComparable(
                f"the samples of {pair.name} in {run.label} have no column '{missing[0]}': a comparison by other labels"
                " needs recorded classes and one predicted class per image"
            )
    if tables.base["label"].tolist() != tables.candidate["label"].tolist():
        raise NotComparable(f"the runs have different recorded labels in {pair.name}")
    recorded = _recorded_classes(tables.base, pair.name)
    ids = [str(name) for name in tables.base.index]
    of_file = labels.of_images(ids, pair.name)
    is_known = np.array([names is not None for names in of_file], bool)
    classes = _named_classes(labels, [names or () for names in of_file], tables)
    both_classes = list(zip(recorded, classes, strict=True))
    agrees = [not set(names).isdisjoint(new_names) for names, new_names in both_classes if new_names]
    labels.check_order(agrees, pair.name)
    _check_classes(pair, tables, recorded, classes, labels.file)
    has_classes = np.array([bool(names) for names in classes], bool)
    is_unlike = np.array([set(names) != set(new_names) for names, new_names in both_classes], bool)
    credits = [sample_values(table, METRIC) for table in tables]
    is_tied_in_one = np.any([(credit > 0) & (credit < 1) for credit in credits], axis=0)
    is_tied = has_classes & is_unlike & is_tied_in_one
    is_kept = has_classes & ~is_tied
    if not is_kept.any():
        raise DataError(
            f"{labels.file} leaves no image of {pair.name} to compare: on each image with other labels, classes are"
            " tied for first place"
        )
    new_credits = []
    for table, credit in zip(tables, credits, strict=True):
        new_credits.append(np.where(is_unlike, _hits(table, classes), credit))
    by_recorded = _difference(base, pair, tables, credits, is_kept, alpha)
    by_new = _difference(base, pair, tables, new_credits, is_kept, alpha)
    return Relabelled(
        evaluation=pair.name,
        labels=labels.file,
        n=int(is_kept.sum()),
        n_missing=int((~is_known).sum()),
        n_without=int((is_known & ~has_classes).sum()),
        n_tied=int(is_tied.sum()),
        n_several=sum(len(names) > 1 for names, counts in zip(classes, is_kept, strict=True) if counts),
        n_unlike=int((is_unlike & is_kept).sum()),
        recorded=by_recorded,
        relabelled=by_new,
        changed=_changed_images(tables, recorded, classes, is_kept, credits, new_credits),
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
    kept_tables, metrics = [], []
    for table, credit, record in zip(tables, credits, pair, strict=True):
        kept = table.assign(**{METRIC: credit})[is_kept]
        value, title = float(kept[METRIC].mean()), record.metrics[METRIC].title
        kept_tables.append(kept)
        metrics.append(Metric(value=value, n=len(kept), title=title, higher_is_better=True, column=METRIC))
    return difference(
        (metrics[0], metrics[1]),
        evaluation=pair.name,
        name=METRIC,
        tables=align.Tables(*kept_tables),
        seed=base.result.seed,
        alpha=alpha,
    )


def _hits(table: "pandas.DataFrame", classes: Sequence[Classes]) -> Float64[np.ndarray, " n"]:
    """Return 1 where the predicted class is one of the right ones, 0 elsewhere."""
    return np.array([name in names for name, names in zip(table["predicted"], classes, strict=True)], np.float64)


def _changed_images(
    tables: align.Tables,
    recorded: Sequence[Classes],
    classes: Sequence[Classes],
    is_kept: Bool[np.ndarray, " n"],
    credits: Sequence[Float64[np.ndarray, " n"]],
    new_credits: Sequence[Float64[np.ndarray, " n"]],
) -> tuple[ChangedImage, ...]:
    """Return the images whose part in the difference changes with the labels, by id."""
    gains, new_gains = credits[1] - credits[0], new_credits[1] - new_credits[0]
    is_changed = is_kept & (gains != new_gains)
    before, after = tables
    ids = before.index.to_numpy()
    changed = []
    for row in np.flatnonzero(is_changed).tolist():
        changed.append(
            ChangedImage(
                id=str(ids[row]),
                recorded=recorded[row],
                labels=classes[row],
                base=str(before["predicted"].iloc[row]),
                candidate=str(after["predicted"].iloc[row]),
                by_recorded=float(gains[row]),
                by_new=float(new_gains[row]),
            )
        )
    return tuple(changed)


def _recorded_classes(table: "pandas.DataFrame", evaluation: str) -> list[Classes]:
    """Return the recorded classes of each image."""
    if SEVERAL not in table:
        return [(str(name),) for name in table["label"]]
    try:
        return [tuple(map(str, decode_json(text))) for text in table[SEVERAL]]
    except (TypeError, ValueError) as error:
        raise ClipbenchError(
            f"the column '{SEVERAL}' of {evaluation} is not of JSON lists: a run is damaged, make it again"
        ) from error


def _named_classes(labels: LabelFile, classes: Sequence[Classes], tables: align.Tables) -> list[Classes]:
    """Return the classes by their names in the runs, if the file numbers the classes that the runs name."""
    names: dict[str, str] = {}
    for table in tables:
        for number, name in (("class", "label"), ("predicted_class", "predicted")):
            if number in table:
                names |= dict(zip(map(str, table[number].tolist()), map(str, table[name]), strict=True))
    has_names = not all(name.isdecimal() for name in names.values())
    if not names or not labels.are_numbers or not (labels.is_by_position or has_names):
        return [*classes]
    named_classes = []
    for numbers in classes:
        named_classes.append(tuple(names.get(number, number) for number in numbers))
    return named_classes


def _check_classes(
    pair: align.EvaluationPair,
    tables: align.Tables,
    recorded: Sequence[Classes],
    classes: Sequence[Classes],
    file: str,
) -> None:
    """Raise DataError if the labels name more classes than the data has.

    A run keeps the names of the classes that an image has or that is predicted, and by the chance level their number.
    """
    seen = set().union(*recorded, tables.base["predicted"], tables.candidate["predicted"])
    unseen: dict[str, str] = {}
    for image, names in zip(tables.base.index, classes, strict=True):
        unseen |= {name: image for name in names if name not in seen}
    chance = pair.base.metrics[METRIC].chance
    n_right = sum(map(len, recorded)) / len(recorded)
    n_classes = round(n_right / chance) if chance else len(seen)
    if len(unseen) > n_classes - len(seen):
        name, image = next(iter(unseen.items()))
        raise DataError(
            f"{file}, id '{image}': unknown class {shown(name)}, expected one of the {n_classes:,} classes of"
            f" {pair.name}, such as {shown(min(seen))}"
        )
