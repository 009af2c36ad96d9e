"""Tables that fold out: what the images cannot hold."""

from dataclasses import dataclass

import numpy as np

from clipbench.results import numbers as fmt
from clipbench_reports.figures import ranked
from clipbench_reports.page.evidence import Evidence, MissingEvidence

MAX_CLASSES = 100
"""Rows of a per-class table; the classes beyond are counted, and are in the sample table."""
MAX_PAIRS = 15


@dataclass(frozen=True, kw_only=True)
class Table:
    """A captioned table of words and numbers."""

    title: str
    """What folds out."""
    note: str
    """How to read it, and what is left out."""
    columns: list[str]
    rows: list[list[str]]
    n_words: int = 1
    """Leading columns that hold words; the others hold numbers."""


def class_recall(evidence: Evidence) -> Table:
    """Return the share of each class's samples that are right, the worst first, with the commonest wrong answer.

    Raises:
        MissingEvidence: samples have no single label and answer.
    """
    label, predicted = (evidence.column(name).astype(str) for name in ("label", "predicted"))
    right = evidence.column("acc1").astype(np.float64)
    names, codes = np.unique(label, return_inverse=True)
    totals = np.bincount(codes)
    recall = np.bincount(codes, weights=right) / totals
    worst = np.argsort(recall, kind="stable")[:MAX_CLASSES]
    rows = [
        [
            str(names[c]),
            commonest(predicted[(codes == c) & (predicted != label)]),
            fmt.percent(recall[c]),
            fmt.count(int(totals[c])),
        ]
        for c in worst.tolist()
    ]
    rest = len(names) - len(rows)
    return Table(
        title=f"Recall of each class ({fmt.percent(recall.min())} to {fmt.percent(recall.max())} %)",
        note="The share of a class's images that are named right first, the worst class on top."
        + (f" {fmt.count(rest)} better classes are not shown; they are in the sample table." if rest else ""),
        columns=["Class", "Most often taken for", "Recall, %", "n"],
        rows=rows,
        n_words=2,
    )


def confused_pairs(evidence: Evidence) -> Table:
    """Return the mistakes made most often.

    Raises:
        MissingEvidence: samples have no single label and answer, or there is no mistake.
    """
    label, predicted = (evidence.column(name).astype(str) for name in ("label", "predicted"))
    wrong = label != predicted
    if not wrong.any():
        raise MissingEvidence("no sample was taken for another class")
    pairs, counts = np.unique(np.stack([label[wrong], predicted[wrong]], axis=1), axis=0, return_counts=True)
    order = np.argsort(-counts, kind="stable")[:MAX_PAIRS]
    rows = [
        [true, answer, fmt.count(n), fmt.percent(n / (label == true).sum())]
        for (true, answer), n in zip(pairs[order].tolist(), counts[order].tolist(), strict=True)
    ]
    return Table(
        title=f"Classes confused most often ({fmt.counted(int(wrong.sum()), 'mistake')} in all)",
        note=f"The {len(rows)} commonest of {fmt.counted(len(pairs), 'pair')} of true class and answer.",
        columns=["True class", "Answer", "Images", "Of the class, %"],
        rows=rows,
        n_words=2,
    )


def template_scores(evidence: Evidence) -> Table:
    """Return each prompt template with what it reaches alone, the best first.

    Raises:
        MissingEvidence: the run kept no scores of single templates, or used one only.
    """
    names, scores = ranked(evidence)
    return Table(
        title=f"The {len(names)} prompt templates",
        note="Accuracy of each template alone, the best on top.",
        columns=["Template", "Right class first, %"],
        rows=[[name, fmt.percent(score)] for name, score in zip(names, scores, strict=True)],
    )


def commonest(answers: np.ndarray) -> str:
    """Return the answer that is given most often, the first in the alphabet among equals; a dash without any."""
    if not len(answers):
        return fmt.NONE
    names, counts = np.unique(answers, return_counts=True)
    return str(names[counts.argmax()])
