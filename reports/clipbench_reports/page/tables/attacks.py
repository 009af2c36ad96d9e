"""Tables of written words: which objects they hijack, and which words are misread."""

import numpy as np

from clipbench.results import numbers as fmt
from clipbench_reports.page.evidence import Evidence, MissingEvidence
from clipbench_reports.page.tables.classes import Table, commonest

MAX_ROWS = 50


def attacked_objects(evidence: Evidence) -> Table:
    """Return each object with how often it is still named under attack, and what it is taken for, the worst first.

    Raises:
        MissingEvidence: nothing was attacked.
    """
    fooled = evidence.column("attack_success").astype(np.float64)
    kept = ~np.isnan(fooled)
    if not kept.any():
        raise MissingEvidence("the data hold no objects with another thing's name written on them")
    objects, predicted = (evidence.column(name)[kept].astype(str) for name in ("object", "predicted"))
    right, fooled = evidence.column("attacked_acc")[kept].astype(np.float64), fooled[kept]
    names, codes = np.unique(objects, return_inverse=True)
    totals = np.bincount(codes)
    success = np.bincount(codes, weights=fooled) / totals
    still = np.bincount(codes, weights=right) / totals
    order = np.lexsort((still, -success))[:MAX_ROWS].tolist()
    rows = [
        [
            str(names[c]),
            commonest(predicted[(codes == c) & (predicted != objects)]),
            fmt.percent(success[c]),
            fmt.percent(still[c]),
            fmt.count(int(totals[c])),
        ]
        for c in order
    ]
    return Table(
        title=f"Each object under attack ({fmt.percent(success.min())} to {fmt.percent(success.max())} % fooled)",
        note="Fooled: the attacking word's class comes first. Right: the object's own class does."
        + (f" {fmt.count(len(names) - len(rows))} more are in the sample table." if len(names) > len(rows) else ""),
        columns=["Object", "Most often taken for", "Fooled, %", "Right, %", "n"],
        rows=rows,
        n_words=2,
    )


def misread_words(evidence: Evidence) -> Table:
    """Return the words that are read wrong most often, and what they are taken for.

    Raises:
        MissingEvidence: there were no words to read, or all were read.
    """
    credit = evidence.column("reading_acc").astype(np.float64)
    kept = ~np.isnan(credit)
    written, read = (evidence.column(name)[kept].astype(str) for name in ("written", "read"))
    if not kept.any():
        raise MissingEvidence("the data hold no words to read")
    wrong = credit[kept] < 1
    if not wrong.any():
        raise MissingEvidence("every word was read right")
    names, codes = np.unique(written, return_inverse=True)
    misses, totals = np.bincount(codes, weights=wrong), np.bincount(codes)
    order = np.argsort(-misses, kind="stable")[:MAX_ROWS].tolist()
    rows = [
        [
            str(names[c]),
            commonest(read[(codes == c) & (read != written)]),
            fmt.count(misses[c]),
            fmt.count(int(totals[c])),
        ]
        for c in order
        if misses[c]
    ]
    return Table(
        title=f"Words that are misread ({fmt.count(int(wrong.sum()))} of {fmt.counted(int(kept.sum()), 'word')})",
        note="The caption that is true, and the one that is most often chosen in its place.",
        columns=["Written", "Most often read as", "Misread", "n"],
        rows=rows,
        n_words=2,
    )
