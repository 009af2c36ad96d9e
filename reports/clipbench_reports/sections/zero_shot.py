"""Zero-shot classification: which class is taken for which, accuracy by confidence and by prompt template."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from jaxtyping import Float64, Shaped

from clipbench.metrics.classification import reliability as binned
from clipbench.results import numbers as fmt
from clipbench.results.blind_rules import blind_rule
from clipbench.results.record import EvaluationRecord, Metric
from clipbench.results.table import Table, columns
from clipbench.untrusted.reading import decode_json
from clipbench_reports.drawing.facets import Layer, Statement, chart, facet_chart, side_by_side
from clipbench_reports.drawing.marks import (
    Axis,
    Bars,
    Cells,
    Chart,
    Dots,
    Line,
    Mark,
    Panel,
    fraction_axis,
    percent_axis,
    rows_axis,
)
from clipbench_reports.evidence import Evidence, MissingEvidence, Models, read_each
from clipbench_reports.figures.curves import curve_line
from clipbench_reports.figures.shared import ends_of, value_line
from clipbench_reports.findings import Ability, Finding, claim
from clipbench_reports.galleries import FactColumn, Gallery, PageBudget, gallery, one_image
from clipbench_reports.sections.section import SampleColumn, Section, table_by_true_name
from clipbench_reports.text import quoted, shorten, two_lines

if TYPE_CHECKING:
    import pandas

N_NAMED = 12
"""Templates up to which each has a row with its name. More are dots."""
NAME_LENGTH = 20
"""Letters of a line of a name, of which there are two."""
ALONE, TOGETHER = "single template", "ensemble"


class _Templates(NamedTuple):
    names: list[str]
    scores: list[float]
    """Accuracy of each template, in descending order."""
    ensemble: Metric | None


def templates(models: Models) -> Chart:
    """Return the accuracy of each prompt template, and of their ensemble."""
    by_model = read_each(
        models, lambda evidence: _Templates(*ranked_templates(evidence), evidence.evaluation.metrics.get("acc1"))
    )
    names = list(dict.fromkeys(name for model_templates in by_model.all for name in model_templates.names))
    is_named = len(names) <= N_NAMED
    n_rows = len(names) if is_named else max(len(model_templates.names) for model_templates in by_model.all)
    values = [score for model_templates in by_model.all for score in model_templates.scores]
    values += ends_of(model_templates.ensemble for model_templates in by_model.all if model_templates.ensemble)
    rows = Axis(low=n_rows - 0.4, high=-0.6, label=f"{n_rows} prompt templates")
    if is_named:
        rows = rows_axis([two_lines(name, NAME_LENGTH) for name in names])
    # The spread is often a few percent: the axis has at least one, within 0 to 100.
    low, high = min(values), max(values)
    room = max(0.0, 0.01 - (high - low)) / 2
    x = percent_axis([max(0.0, low - room), min(1.0, high + room)], "Top-1 accuracy, %", n_steps=4)
    plane = Panel(x=x, y=rows, aspect=0.08 + 0.15 * n_rows if is_named else 0.72)
    ranking = names if is_named else None
    layers = by_model.map(
        lambda model_templates: Layer(_marks(model_templates, ranking), _state(model_templates, is_named=is_named))
    )
    first = next(iter(by_model.values))
    has_one_order = not is_named or all(
        model_templates.names == by_model.values[first].names for model_templates in by_model.all
    )
    return facet_chart(
        plane,
        layers,
        reading=(
            f"In descending order of {'accuracy' if has_one_order else f'the accuracy of {first.label}'}. The ensemble "
            "is the mean vector of all templates, which the metrics use, and its 95 % interval is shaded."
        ),
    )


def _marks(templates: _Templates, ranking: list[str] | None) -> list[Mark]:
    """Return one dot per template, at its rank among all models, or among its own templates if there is none."""
    ys = range(len(templates.names)) if ranking is None else [ranking.index(name) for name in templates.names]
    dots = Dots(xs=templates.scores, ys=ys, role="ink", name=ALONE, ids=templates.names)
    return [*reversed(value_line(templates.ensemble, TOGETHER)), dots]


def ranked_templates(evidence: Evidence) -> tuple[list[str], list[float]]:
    """Return the prompt templates and their accuracies, in descending order.

    Raises:
        MissingEvidence: the run kept no such curve, or used one template only.
    """
    if not (curves := evidence.curves_of("templates")):
        raise MissingEvidence("the run has only one prompt template, or separate ones per class")
    curve = curves[0]
    if len(curve.y) < 2:
        raise MissingEvidence("the spread over prompt templates needs two or more: the run used one")
    names = evidence.array("template_names")
    if names.shape != (len(curve.y),):
        raise MissingEvidence(f"the run kept {names.size} names for {len(curve.y)} prompt templates")
    order = np.argsort(-np.asarray(curve.y), kind="stable").tolist()
    return [str(names[row]) for row in order], [curve.y[row] for row in order]


def _state(templates: _Templates, *, is_named: bool) -> Statement:
    ends = f"From {quoted(templates.names[-1])} to {quoted(templates.names[0])}"
    low, high = fmt.percent(templates.scores[-1]), fmt.percent(templates.scores[0])
    reach = f"{high} %" if low == high else f"{low} to {high} %"
    return Statement(
        subject="Accuracy of single prompt templates",
        value=reach,
        reading="" if is_named else f"{ends}.",
    )


SEVERAL = "right_classes"
"""Column of the right classes of each image, if images have several."""
MAX_NAMED, MAX_CLASSES = 30, 120
"""Classes up to which each has a named row and column, and up to which each has a row of pixels, as a pattern."""
MAX_WRITTEN = 15
"""Classes up to which the shares are written into the cells."""
CONFUSION_NAME_LENGTH = 16
CONFUSION_N_NAMED = 9
"""Classes of a pattern that are named."""
MAP_NAME_LENGTH = 14

Counts = Float64[np.ndarray, "n n"]
"""Images of each true class (row) by answer (column). An image of several classes may count in parts."""
Shares = Float64[np.ndarray, "n n"]
"""The same as fractions of the class."""


def confusion(models: Models) -> Chart:
    """Return the confusion matrix: one row per true class, one column per answer, each row adds up to 100 %."""
    answers = read_each(models, read_answers)
    classes: set[str] = set()
    for counted_answers in answers.all:
        for name in (*counted_answers.true, *counted_answers.predicted):
            classes.add(str(name))
    names = sorted(classes, key=_natural_order)
    if len(names) > MAX_CLASSES:
        raise MissingEvidence(
            f"{len(names)} classes are too many for a confusion matrix. The table of confused classes has the"
            " most frequent mistakes"
        )
    by_model = answers.map(lambda of_model: _confusion_counts(names, of_model))
    if len(names) > MAX_NAMED:
        breadth = 1.0
        reading = (
            f"A row is a true class, a column an answer, {len(names)} of each. Right answers are on the diagonal. "
            "Shades grow with the square root of the fraction."
        )
    else:
        breadth = _breadth(names)
        reading = (
            "A row is the true class, a column the answer. A row adds up to 100 %. Shades grow with the square root"
            " of the share, so that rare mistakes can be seen."
        )
    panels = by_model.map(lambda counts: [_panel(names, _row_shares(counts))])
    statements = by_model.map(lambda counts: _state_confusion(names, counts))
    return chart([side_by_side(panels)], statements, reading=reading, breadth=breadth)


class CountedAnswers(NamedTuple):
    """True classes with the answers to them: one entry per image, or several if an image has several right classes.

    An image of several classes counts for its answer if that is right, otherwise for each class in equal parts.
    """

    true: Shaped[np.ndarray, " n"]
    predicted: Shaped[np.ndarray, " n"]
    size: Float64[np.ndarray, " n"]
    """How much of the image counts."""


def read_answers(evidence: Evidence) -> CountedAnswers:
    """Return the true classes and the answers of an evaluation, the first answer of several that are tied."""
    label, predicted = (evidence.words(name) for name in ("label", "predicted"))
    if not evidence.has_column(SEVERAL):
        return CountedAnswers(label, predicted, np.ones(len(label)))
    true, image, size = list[str](), list[int](), list[float]()
    for row, (names, answer) in enumerate(zip(read_right_classes(evidence), predicted.tolist(), strict=True)):
        counted = [answer] if answer in names else names
        true += counted
        image += [row] * len(counted)
        size += [1 / len(counted)] * len(counted)
    return CountedAnswers(np.array(true, object), predicted[image], np.array(size))


def read_right_classes(evidence: Evidence) -> list[list[str]]:
    """Return the names of the right classes of each image of data with several."""
    lists = []
    for text in evidence.words(SEVERAL).tolist():
        try:
            names = decode_json(text)
        except ValueError as error:
            raise evidence.damaged(f"the column '{SEVERAL}' holds {text:.40}, expected JSON lists") from error
        if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
            raise evidence.damaged(f"the column '{SEVERAL}' holds {text:.40}, expected lists of names")
        lists.append(names)
    return lists


def _confusion_counts(names: Sequence[str], answers: CountedAnswers) -> Counts:
    counts = np.zeros((len(names), len(names)))
    row_by_name = {name: row for row, name in enumerate(names)}
    rows = [row_by_name[name] for name in answers.true]
    columns = [row_by_name[name] for name in answers.predicted]
    # counts[...] += 1 would count a pair that occurs many times only once.
    np.add.at(counts, (rows, columns), answers.size)
    return counts


def _row_shares(counts: Counts) -> Shares:
    totals = counts.sum(axis=1, keepdims=True)
    return np.divide(counts, totals, out=np.zeros(counts.shape), where=totals > 0)


def _panel(names: Sequence[str], shares: Shares) -> Panel:
    """Return the confusion matrix, in which some of many classes are named."""
    n, rows, length = len(names), list(range(len(names))), CONFUSION_NAME_LENGTH
    if n > MAX_NAMED:
        rows = ((np.arange(CONFUSION_N_NAMED) + 0.5) * n / CONFUSION_N_NAMED).astype(int).tolist()
        length = MAP_NAME_LENGTH
    ticks, short = [row + 0.5 for row in rows], [shorten(names[row], length) for row in rows]
    # Less would be written as 0.
    written = np.argwhere(shares >= 0.005).tolist() if n <= MAX_WRITTEN else []
    words = [(row, column, f"{100 * shares[row, column]:.0f}") for row, column in written]
    cells = Cells(
        depths=np.sqrt(shares), values=shares, is_percent=True, names=(names, names), words=words, name="share"
    )
    return Panel(
        x=Axis(low=0, high=n, ticks=ticks, names=short, label="Answer", is_turned=True),
        y=Axis(low=n, high=0, ticks=ticks, names=short, label="True class"),
        marks=[cells],
        aspect=1.0,
        has_grid=False,
    )


def _breadth(names: list[str]) -> float:
    cell, longest = 0.06 if len(names) <= MAX_WRITTEN else 0.042, min(CONFUSION_NAME_LENGTH, max(map(len, names)))
    return max(1.0, 0.15 + 0.0185 * longest + cell * len(names))


def _natural_order(name: str) -> list[tuple[int, int, str]]:
    key = []
    for part in re.split(r"([0-9]+)", name):
        if part.isascii() and part.isdigit():
            key.append((0, int(part), ""))
        elif part:
            key.append((1, 0, part))
    return key


def _state_confusion(names: Sequence[str], counts: Counts) -> Statement:
    shares = _row_shares(counts)
    recalls = np.diag(shares)[shares.any(axis=1)]
    right, classes = f"{fmt.percent(float(recalls.mean()))} %", fmt.counted(len(recalls), "class", "classes")
    is_faultless = np.array_equal(counts, np.diag(np.diag(counts)))
    unnamed = "Only some classes are named, and the table of confused classes lists the most frequent pairs."
    return Statement(
        subject=f"Mean recall of {classes}",
        value=f"{right}, no image is taken for another class" if is_faultless else right,
        reading=unnamed if len(names) > MAX_NAMED else "",
    )


N_BINS = 20


def reliability(models: Models) -> Chart:
    """Return accuracy against confidence, over the distribution of confidence."""
    plane = Panel(x=fraction_axis("Confidence, %"), y=fraction_axis("Accuracy and samples, %"))
    return facet_chart(
        plane,
        read_each(models, _read_confidence),
        reading=(
            "Each dot is a bin of samples of similar confidence, and grows with their number. Below the dashed line the"
            " model is overconfident, above it underconfident. The bars are the distribution of confidence, "
            "in percent of all samples."
        ),
    )


def _read_confidence(evidence: Evidence) -> Layer:
    if not (curves := evidence.curves_of("reliability")):
        ece = evidence.evaluation.metrics.get("ece")
        raise MissingEvidence(f"no curves for “reliability”: {ece.reason if ece else 'the run kept none'}")
    curve = curves[0]
    confidence, right = (evidence.numbers(name) for name in ("confidence", "acc1"))
    is_defined = np.isfinite(confidence) & np.isfinite(right)
    if not is_defined.any():
        raise MissingEvidence("no sample has both a confidence and a score")
    counts, edges = np.histogram(confidence[is_defined], bins=N_BINS, range=(0, 1))
    sizes = [n for n in binned(confidence[is_defined], right[is_defined]).n_samples.tolist() if n]
    plane_marks: list[Mark] = [
        Bars(edges=edges.tolist(), counts=(counts / is_defined.sum()).tolist(), role="ink", name="samples"),
        Line(
            xs=[0, 1],
            ys=[0, 1],
            role="ink",
            name="perfectly calibrated",
            is_dashed=True,
            is_reference=True,
            of="accuracy",
        ),
        replace(curve_line(curve, "ink"), weights=sizes if len(sizes) == len(curve.x) else []),
    ]
    sure, accuracy = (fmt.percent(float(values[is_defined].mean())) for values in (confidence, right))
    statement = Statement(
        subject="Mean confidence and accuracy",
        value=f"{sure} and {accuracy} %",
    )
    return Layer(plane_marks, statement)


MAX_ROWS = 100
"""Rows of a per-class table. The classes beyond are counted, and are in the sample table."""
MAX_PAIRS = 15
WRONG_CLASS = "The right class is not named first"
NAMING = Ability("names classes", "does not name classes")


def findings(evaluation: EvaluationRecord) -> list[Finding]:
    """Return how often the right class comes first."""
    sentence = "Names the right class first for {value} of {n} images"
    accuracy = evaluation.metrics.get("acc1")
    if accuracy is None:
        return []
    rule = blind_rule(evaluation, "acc1")
    return [claim(sentence, accuracy, weakness=WRONG_CLASS, ability=NAMING, rule=rule)]


def describe_classes(evidence: Evidence) -> str:
    """Return the number of classes of a label set with three examples, empty if unknown."""
    accuracy = evidence.evaluation.metrics.get("acc1")
    if accuracy is None or not accuracy.chance or not evidence.has_column("label"):
        return ""
    n_classes = 1 / accuracy.chance
    names = np.unique(evidence.words("label")).tolist()
    if evidence.has_column(SEVERAL):
        right = read_right_classes(evidence)
        names = sorted({name for of_image in right for name in of_image})
        n_classes *= sum(map(len, right)) / len(right)  # chance is the mean fraction of right classes
    few = dict.fromkeys([names[0], names[len(names) // 2], names[-1]])
    return f"{fmt.count(round(n_classes))} classes, such as {', '.join(quoted(name) for name in few)}"


RECALL = (
    "The fraction of a class's images whose true class scores highest, in ascending order. Taken for: the wrong answer"
    " with the largest count in these images."
)
SEVERAL_RECALL = (
    "The fraction of what counts for a class that is answered by it, in ascending order. An image counts for its answer"
    " if that is right, otherwise for each of its classes in equal parts. Taken for: the wrong answer with the largest"
    " count."
)


def _recall_of_several(answers: CountedAnswers) -> "pandas.DataFrame":
    """Return one row per class that images count for, as ``table_by_true_name`` does."""
    import pandas

    is_right = answers.true == answers.predicted
    columns = {"true": answers.true, "predicted": answers.predicted, "n": answers.size}
    entries = pandas.DataFrame({**columns, "hits": answers.size * is_right})
    classes = entries.groupby("true")[["n", "hits"]].sum()
    wrong = entries[~is_right].groupby(["true", "predicted"])["n"].sum()
    taken_for: dict[object, tuple[object, float]] = {}
    for (name, answer), n in wrong.items():
        if n > taken_for.get(name, ("", 0.0))[1]:
            taken_for[name] = (answer, n)
    answers_of = [taken_for.get(name, (fmt.NONE, 0.0))[0] for name in classes.index]
    return pandas.DataFrame({"recall": classes["hits"] / classes["n"], "n": classes["n"], "taken_for": answers_of})


def _part_count(n: float) -> str:
    """Return a number of images, of which parts may count, as a text."""
    return fmt.count(round(n)) if abs(n - round(n)) < 1e-9 else f"{n:,.1f}"


def class_recall(evidence: Evidence) -> Table:
    """Return the recall of each class in ascending order, with the most common wrong answer."""
    if evidence.has_column(SEVERAL):
        classes, facts = _recall_of_several(read_answers(evidence)), SEVERAL_RECALL
    else:
        label, predicted = (evidence.words(name) for name in ("label", "predicted"))
        classes, facts = table_by_true_name(label, predicted, recall=evidence.numbers("acc1")), RECALL
    classes = classes.sort_values("recall", kind="stable")
    rows = []
    for name, recall, n, taken_for in classes.head(MAX_ROWS).itertuples():
        rows.append([name, taken_for, fmt.percent(recall), _part_count(n)])
    rest = len(classes) - len(rows)
    return Table(
        title=f"Recall of each class ({fmt.percent(classes.recall.min())} to {fmt.percent(classes.recall.max())} %)",
        facts=facts + (f" {fmt.count(rest)} classes with higher recall are only in the sample table." if rest else ""),
        columns=columns("Class", "Taken for", numbers=["Recall, %", "n"]),
        rows=rows,
    )


def confused_pairs(evidence: Evidence) -> Table:
    """Return the mistakes made most often."""
    answers = read_answers(evidence)
    is_wrong = answers.true != answers.predicted
    if not is_wrong.any():
        raise MissingEvidence("no sample was classified as another class")
    counts, totals = Counter[tuple[str, str]](), Counter[str]()
    for true, answer, size in zip(*answers, strict=True):
        totals[true] += size
        if true != answer:
            counts[true, answer] += size
    pairs = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))[:MAX_PAIRS]
    rows = []
    for (true, answer), n in pairs:
        rows.append([true, answer, _part_count(n), fmt.percent(n / totals[true])])
    n_mistakes = round(float(answers.size[is_wrong].sum()))
    return Table(
        title=f"Confused classes ({fmt.counted(n_mistakes, 'mistake')} in all)",
        facts=f"The first {len(rows)} of {fmt.counted(len(counts), 'pair')} of true class and answer, by their counts.",
        columns=columns("True class", "Answer", numbers=["Images", "Class share, %"]),
        rows=rows,
    )


def template_scores(evidence: Evidence) -> Table:
    """Return the accuracy of each prompt template, in descending order."""
    names, scores = ranked_templates(evidence)
    return Table(
        title=f"The {len(names)} prompt templates",
        facts="Accuracy of each template by itself, in descending order.",
        columns=columns("Template", numbers=["Top-1 accuracy, %"]),
        rows=[[name, fmt.percent(score)] for name, score in zip(names, scores, strict=True)],
    )


def misclassified_images(evidence: Evidence, budget: PageBudget) -> Gallery:
    """Return the images that were taken for another class by the widest margin."""
    return gallery(
        evidence,
        budget,
        title="Images taken for another class",
        note="Margin: the cosine of the true class minus the highest cosine of another class.",
        wrong=evidence.numbers("acc1") < 1,
        margin="margin",
        facts=[
            FactColumn("True class", "label", "target_cosine"),
            FactColumn("Taken for", "predicted", "predicted_cosine"),
            FactColumn("Margin", score="margin"),
            FactColumn("Confidence", "confidence", unit="fraction", is_optional=True),
        ],
        images=one_image(evidence, "An image of {label}, taken for {predicted}."),
    )


SECTION = Section(
    advice={
        WRONG_CLASS: (
            "Classes are often confused because of their names: a better name, and several prompts per class (Radford "
            "et al. 2021, arXiv:2103.00020, Pratt et al. 2023, arXiv:2209.03320), are the cheapest remedy. Fine-tuning "
            "helps where the model truly does not know a class. You can average the old and the new weights to keep "
            "robustness (Wortsman et al. 2022, arXiv:2109.01903)."
        ),
        "Confidence is not accuracy": (
            "A confidence that is not the accuracy comes from the logit scale: one "
            "temperature, fitted on held-out images, fixes most of it and changes no answer (Guo et al. 2017, "
            "arXiv:1706.04599)."
        ),
    },
    title="Zero-shot",
    figures=(confusion, reliability, templates),
    galleries=(misclassified_images,),
    tables=(confused_pairs, class_recall, template_scores),
    findings=findings,
    drawn_figures=("reliability", "templates"),
    describe_label_set=describe_classes,
    sample_columns=(
        SampleColumn(name="label", title="True class", is_of_sample=True),
        SampleColumn(name="predicted", title="Taken for"),
    ),
)
