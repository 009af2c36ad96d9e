"""Compression: the smallest vectors that will do, and what each format costs."""

from collections.abc import Sequence

from clipbench.metrics.compression import Format
from clipbench.results import numbers as fmt
from clipbench.results.record import EvaluationRecord, Metric
from clipbench.results.table import Table, columns
from clipbench_reports import figures
from clipbench_reports.page.evidence import Evidence, NotAsked
from clipbench_reports.page.sentences.findings import Finding, headline_findings
from clipbench_reports.page.text import NO_REASON
from clipbench_reports.sections.section import MakeTable, Section


def findings(evaluation: EvaluationRecord) -> list[Finding]:
    """Return, for each question, the smallest vectors that lose less than a point, or why none are known to."""
    sentences = [
        Finding("plain", f"{title}: {metric.reason or NO_REASON}.")
        for question, (title, _) in figures.STORED_QUESTIONS.items()
        if (metric := evaluation.metrics.get(f"{question}_smallest")) is not None
    ]
    return sentences or headline_findings(evaluation)


def formats(question: str) -> MakeTable:
    """Return the function that lists bytes, quality and loss of each format for one question."""
    title = figures.STORED_QUESTIONS[question][0]

    def table(evidence: Evidence) -> Table:
        metrics, whole = evidence.evaluation.metrics, evidence.curves([f"float32/{question}_by_bytes"])
        if question not in metrics or not whole:
            raise NotAsked(f"{title} of stored vectors")
        n_bytes = int(next(iter(whole.values())).x[0])
        names = [name for name in metrics if name.endswith(f"/{question}")]
        forms = [form for name in names if (form := Format.named(name.partition("/")[0])) is not None]
        rows = [["float32", fmt.count(n_bytes), _shown(metrics[question]), fmt.NONE, fmt.NONE]]
        most_lost = _most_lost(
            evidence, question, [form for form in forms if metrics[f"{form.name}/{question}"].value is not None]
        )
        for form in sorted(forms, key=lambda form: -form.n_bytes):
            own = f"{form.name}/{question}"
            change = _shown(metrics.get(f"{own}_change"))
            lost = most_lost.get(form.name, fmt.NONE)
            rows.append([_label(form), fmt.count(form.n_bytes), _shown(metrics[own]), change, lost])
        points = evidence.evaluation.params.get("points", 1.0)
        margin = f"{fmt.shortest(points)} {'point' if points == 1 else 'points'}"
        return Table(
            title=f"{title} by format",
            facts=f"Stored: first dimensions, principal components (PCA) or signs. Bytes: of a vector, or MB of a million. Change: from float32, with 95 % "
            f"intervals. Loses at most: a bound that allows for several tests. The smallest that loses less than {margin} is chosen. Formats of a kind are "
            f"tested from the largest to the first not shown to lose less; smaller ones have no bound (–).",
            columns=columns("Stored", numbers=["Bytes", f"{title}, %", "Change, pp", "Loses at most, pp"]),
            rows=rows,
        )

    return table


def _label(form: Format) -> str:
    """Return the name of a format in a column, such as ``64 PCA, int8``."""
    what = {"pca": "PCA", "pca_int8": "PCA, int8", "binary": "signs"}.get(form.kind, form.number)
    return f"{fmt.count(form.dim)} {what}"


def _most_lost(evidence: Evidence, question: str, forms: Sequence[Format]) -> dict[str, str]:
    """Return what each tested format loses at most, by its name: the largest of a kind are tested; two may have as many bytes."""
    found: dict[str, str] = {}
    for kind in {form.kind for form in forms}:
        largest_first = sorted((form for form in forms if form.kind == kind), key=lambda form: -form.dim)
        for curve in evidence.curves([f"{kind}/{question}_most_lost"]).values():
            bounds = (fmt.number(y, "difference", 2) for y in reversed(curve.y))
            found |= {form.name: bound for form, bound in zip(largest_first, bounds, strict=False)}
    return found


def _shown(metric: Metric | None) -> str:
    if metric is None or metric.value is None:
        return fmt.NONE
    value = fmt.number(metric.value, metric.unit)
    return f"{value} {fmt.interval(metric)}" if metric.low is not None else value


SECTION = Section(
    title="Compression",
    figures=tuple(map(figures.compression, figures.STORED_QUESTIONS)),
    tables=tuple(map(formats, figures.STORED_QUESTIONS)),
    findings=findings,
    drawn_curves=figures.BY_BYTES,
    lists_metrics=False,
)
