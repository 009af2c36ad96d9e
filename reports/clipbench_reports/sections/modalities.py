"""Several modalities: how far apart every two lie, and how often items of each find their partners in each other one."""

from collections.abc import Mapping

from clipbench.results import numbers as fmt
from clipbench.results.record import EvaluationRecord, Metric
from clipbench.results.table import Table
from clipbench.results.table.model import Cell, Row, columns
from clipbench_reports import figures
from clipbench_reports.page.evidence import Evidence, MissingEvidence
from clipbench_reports.page.sentences.findings import Finding, claim, headline_findings
from clipbench_reports.sections.section import SampleColumn, Section

UNFOUND = "Items do not find their partners in another modality"
KINDS = {
    "gap": "Gap",
    "pair_cosine": "Cosine, matched",
    "cross_cosine": "Cosine, unmatched",
    "separability": "Separability, %",
}


def findings(evaluation: EvaluationRecord) -> list[Finding]:
    """Return recall over all directions and the range of gaps: no pair is picked for being the largest or smallest."""
    recall = evaluation.metrics.get("mean_recall@1")
    if recall is None:
        return headline_findings(evaluation)
    names = figures.modalities(evaluation.metrics)
    gaps = {
        (first, second): found.value
        for place, first in enumerate(names)
        for second in names[place + 1 :]
        if (found := evaluation.metrics.get(f"{first}-{second}/gap")) is not None and found.value is not None
    }
    linked = figures.linked(names, evaluation.metrics)  # others have no partners
    said = [
        claim(f"An item of {_listed(linked)} finds its partner first in {{value}} of cases", recall, weakness=UNFOUND)
    ]
    if len(gaps) == 1:
        ((pair, gap),) = gaps.items()
        words = f"The mean vectors of {' and '.join(map(_words, pair))} lie {fmt.number(gap, 'distance')} apart."
        said.append(Finding("plain", words))
    elif gaps:
        apart = f"{fmt.number(min(gaps.values()), 'distance')} to {fmt.number(max(gaps.values()), 'distance')} apart"
        which = "any two" if 2 * len(gaps) == len(names) * (len(names) - 1) else f"{len(gaps)} pairs"
        said.append(Finding("plain", f"The mean vectors of {which} of the {len(names)} modalities lie {apart}."))
    return said


def pairs_table(evidence: Evidence) -> Table:
    """Return a row for every two modalities, with the intervals of their measures.

    Raises:
        MissingEvidence: the run has no metrics of two modalities.
    """
    metrics = evidence.evaluation.metrics
    names = figures.modalities(metrics)
    if len(names) < 2:
        raise MissingEvidence("the run has no metrics of two modalities")
    rows: list[Row] = [
        [f"{_words(first)} and {_words(second)}", *_cells(metrics, first, second)]
        for place, first in enumerate(names)
        for second in names[place + 1 :]
    ]
    return Table(
        title="Every two modalities",
        facts="With 95 % intervals, each by itself. R@1 →: items of the first look for their partners in the second; ←: the "
        "reverse. Separability is 50 % by chance.",
        columns=columns("Modalities", numbers=[*KINDS.values(), "R@1 →, %", "R@1 ←, %", "Pairs"]),
        rows=rows,
    )


def _cells(metrics: Mapping[str, Metric], first: str, second: str) -> list[Cell]:
    pair = f"{first}-{second}"
    found = [metrics.get(f"{pair}/{kind}") for kind in KINDS]
    found += [metrics.get(f"{source}-to-{target}/recall@1") for source, target in ((first, second), (second, first))]
    gap = metrics.get(f"{pair}/gap")
    return [*map(_cell, found), Cell(fmt.count(gap.n) if gap is not None and gap.value is not None else "–")]


def _cell(metric: Metric | None) -> Cell:
    if metric is None or metric.value is None:
        return Cell("–")
    return Cell(fmt.number(metric.value, metric.unit), aside=fmt.interval(metric) if metric.low is not None else "")


def _words(name: str) -> str:
    return name.replace("_", " ")


def _listed(names: list[str]) -> str:
    words = list(map(_words, names))
    return f"{', '.join(words[:-1])} or {words[-1]}"


ADVICE = {
    UNFOUND: "Two modalities that were never trained with each other, and meet only through a third, find each other worst "
    "(Girdhar et al. 2023). If many items of a modality are alike, such as short recordings of one sound, the search among them is harder "
    "than the reverse. If unmatched pairs have as high a mean cosine as matched ones, partners are on average no nearer than others."
}


SECTION = Section(
    advice=ADVICE,
    title="Modalities",
    figures=(figures.modality_matrices, figures.modality_map),
    tables=(pairs_table,),
    findings=findings,
    has_cloud=True,
    sample_columns=(
        SampleColumn(name="query", title="Looked for the partner of", is_of_sample=True),
        SampleColumn(name="chosen", title="Came first"),
    ),
    lists_metrics=True,
)
