"""Several modalities: the gap of every two, and how often items find their partners in another modality."""

from collections.abc import Mapping
from itertools import combinations

from clipbench.results import numbers as fmt
from clipbench.results.record import EvaluationRecord, Metric
from clipbench.results.table import Table
from clipbench.results.table.cells import Cell, Row, columns
from clipbench_reports.evidence import Evidence
from clipbench_reports.figures import maps, matrices
from clipbench_reports.findings import Finding, claim, defined
from clipbench_reports.sections.section import Plot, SampleColumn, Section

UNFOUND = "Items do not find their partners in another modality"
KINDS = {
    "gap": "Gap",
    "pair_cosine": "Cosine, matched",
    "cross_cosine": "Cosine, unmatched",
    "separability": "Separability, %",
}


def findings(evaluation: EvaluationRecord) -> list[Finding]:
    """Return recall over all directions, and the gap of each pair: none is picked for being the largest or smallest."""
    recall = evaluation.metrics.get("mean_recall@1")
    if recall is None:
        return []
    names = matrices.modalities(evaluation.metrics)
    linked = matrices.paired_modalities(names, evaluation.metrics)  # others have no partners
    items = fmt.listed([_words(name) for name in linked], "or")
    sentences = [claim(f"An item of {items} finds its partner first in {{value}} of cases", recall, weakness=UNFOUND)]
    distances = []
    for first, second in combinations(names, 2):
        (gap,) = defined(evaluation.metrics, f"{first}-{second}/gap")
        if gap is not None:
            noise = f"{fmt.number(gap.chance, gap.unit)} without a gap"
            distances.append(f"{fmt.bounded(gap)} ({_words(first)} and {_words(second)}, {noise})")
    if distances:
        text = f"Distance between the mean vectors of two modalities: {', '.join(distances)}."
        sentences.append(Finding("plain", text))
    return sentences


def pairs_table(evidence: Evidence) -> Table:
    """Return a row for every two modalities, with the intervals of their measures."""
    metrics = matrices.metrics_of(evidence)
    names = matrices.modalities(metrics)
    rows: list[Row] = []
    for first, second in combinations(names, 2):
        rows.append([f"{_words(first)} and {_words(second)}", *_cells(metrics, first, second)])
    return Table(
        title="Every two modalities",
        facts=(
            "With separate 95 % intervals. R@1 →: items of the first modality look for their partners in the second."
            " R@1 ←: the reverse. Separability is 50 % by chance."
        ),
        columns=columns("Modalities", numbers=[*KINDS.values(), "R@1 →, %", "R@1 ←, %", "Pairs"]),
        rows=rows,
    )


def _cells(metrics: Mapping[str, Metric], first: str, second: str) -> list[Cell]:
    names = [f"{first}-{second}/{kind}" for kind in KINDS]
    names += [f"{first}-to-{second}/recall@1", f"{second}-to-{first}/recall@1"]
    cells = []
    for metric in defined(metrics, *names):
        if metric is None:
            cells.append(Cell(fmt.NONE))
        else:
            interval = fmt.interval(metric) if metric.low is not None else ""
            cells.append(Cell(fmt.number(metric.value, metric.unit), aside=interval))
    (gap,) = defined(metrics, f"{first}-{second}/gap")
    return [*cells, Cell(fmt.count(gap.n) if gap is not None else fmt.NONE)]


def _words(name: str) -> str:
    return name.replace("_", " ")


DEFINITION = (
    "The modality gap is the distance between the centroids of the vectors of two modalities (Liang et al., 2022)."
)
SECTION = Section(
    advice={
        UNFOUND: (
            "Two modalities that were never trained with each other, and meet only through a third, find "
            "each other worst (Girdhar et al. 2023, arXiv:2305.05665). If many items of a modality are alike, such as"
            " short recordings of one sound, the search among them is harder than the reverse. If unmatched pairs "
            "have as high a mean cosine as matched ones, partners are on average no nearer than others."
        ),
    },
    title="Modalities",
    figures=(matrices.modality_matrices, maps.modality_map),
    tables=(pairs_table,),
    findings=findings,
    plots={
        "modalities": Plot(
            summary="gap, cosines, recall@1 and separability of every two modalities",
            definition=DEFINITION,
            draws=(matrices.modality_matrices,),
        ),
        "modality-map": Plot(
            summary="items of all modalities as points of a plane",
            definition=DEFINITION,
            draws=(maps.modality_map,),
            is_projected=True,
        ),
    },
    has_cloud=True,
    sample_columns=(
        SampleColumn(name="query", title="Looked for the partner of", is_of_sample=True),
        SampleColumn(name="chosen", title="Came first"),
    ),
    lists_metrics=True,
)
