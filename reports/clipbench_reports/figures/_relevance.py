"""Judged relevance by rank: nDCG and recall of the first k documents."""

from collections.abc import Mapping, Sequence

from clipbench.results import numbers as fmt
from clipbench_reports.drawing.marks import Chart, Panel, Role, fraction_axis, log_axis
from clipbench_reports.drawing.models import Layer, Statement, facet_chart
from clipbench_reports.figures._figure import curve_line, lines_of, on_queries, points_in_words
from clipbench_reports.page.evidence import Evidence, ModelEvidence, NotAsked, PlottedCurve, read_each

JUDGED: Mapping[str, tuple[Role, str]] = {
    "judged_ndcg": ("ink", "nDCG@k"),
    "judged_recall": ("pair", "recall@k of relevant documents"),
}
"""Curves of data with judgements: their role, and their label."""


def relevance(models: Sequence[ModelEvidence]) -> Chart:
    """Return nDCG@k and recall@k of the documents that were judged relevant.

    Raises:
        MissingEvidence: no run kept either curve.
    """
    by_model = read_each(models, _read)
    ks = [k for line in lines_of(by_model) for k in line.xs]
    return facet_chart(
        Panel(x=log_axis(ks, "k"), y=fraction_axis("nDCG@k and recall@k, %")),
        by_model,
        reading="nDCG@k: the grades of the first k documents, each divided by the logarithm of its rank + 1, as a share of "
        "what the best order would have. Recall@k: the share of a query's relevant documents among the first k. Bands: 95 % "
        "intervals.",
    )


def refuse_judged(evidence: Evidence) -> None:
    """Raise NotAsked for data with judgements, which have figures of their own."""
    if any(name in evidence.evaluation.curves for name in JUDGED):
        raise NotAsked("data with judgements have nDCG and recall of relevant documents instead")


def _read(evidence: Evidence) -> Layer:
    curves = {name: curve for name, curve in evidence.curves(JUDGED).items() if curve.x and curve.x[0] > 0}
    if not curves:
        raise NotAsked("nDCG and recall of relevant documents take data with judgements")
    lines = [curve_line(curve, *JUDGED[name], is_dashed=name == "judged_recall") for name, curve in curves.items()]
    return Layer(lines, _state(curves, on_queries(evidence.evaluation)))


def _state(curves: Mapping[str, PlottedCurve], reading: str) -> Statement:
    """Return the values at 10, or at the last k of a smaller set."""
    k = next(k for k in (10, *reversed(next(iter(curves.values())).x)) if _at(curves, k))
    values = {JUDGED[name][1].replace("@k", f"@{fmt.count(k)}"): value for name, value in _at(curves, k).items()}
    return Statement(
        title=f"{', '.join(f'{name} {value} %' for name, value in values.items())}.",
        subject=" and ".join(values),
        value=f"{' and '.join(values.values())} %",
        detail=" ".join(points_in_words(JUDGED[name][1], curve) for name, curve in curves.items()),
        reading=reading,
    )


def _at(curves: Mapping[str, PlottedCurve], k: float) -> dict[str, str]:
    """Return the values of all curves at k, nothing where one has none."""
    found = {name: fmt.percent(curve.y[curve.x.index(k)]) for name, curve in curves.items() if k in curve.x}
    return found if len(found) == len(curves) else {}
