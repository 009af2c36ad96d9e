"""Warnings of the checks that were made before runs, for their comparison."""

from clipbench.results.grouping import group_values
from clipbench.results.run import Run


def check_warnings(*runs: Run) -> list[str]:
    """Return a line for each warning or fault of the checks of these runs, which says whose it is.

    Example:
        ``runs/candidate: determinism: the same input encoded twice gives vectors 0.67 apart``
    """
    labels_by_finding = group_values(
        (f"{finding.check}: {finding.seen}", run.label) for run in runs for finding in run.result.preflight or ()
    )
    return [f"{' and '.join(dict.fromkeys(labels))}: {words}" for words, labels in labels_by_finding.items()]
