"""Mixed retrieval: nDCG by the fraction of texts before and after centring, and the documents that came first
instead.
"""

from clipbench.results import numbers as fmt
from clipbench.results.metric_name import in_subset, without_cutoff
from clipbench.results.record import EvaluationRecord
from clipbench.results.table import Table, columns
from clipbench.results.titles import headlines
from clipbench_reports.drawing.facets import Statement
from clipbench_reports.drawing.marks import fraction_axis
from clipbench_reports.evidence import Evidence, NotAsked
from clipbench_reports.figures.curves import Curves, CurvesFigure
from clipbench_reports.figures.shared import refuse_judged
from clipbench_reports.findings import Finding, claim
from clipbench_reports.sections.retrieval import RELEVANCE, failure_gallery
from clipbench_reports.sections.section import Plot, SampleColumn, SampleImage, Section


def _state_at_half(evidence: Evidence, curves: Curves) -> Statement:
    """Return the statement about nDCG if half of the documents are texts."""
    first_curve = curves[0]
    half = min(first_curve.x, key=lambda x: abs(x - 0.5))
    values = []
    for curve in curves:
        if curve.y_label == first_curve.y_label and half in curve.x:
            at_half = curve.y[curve.x.index(half)]
            values.append(f"{curve.series} {fmt.percent(at_half)} %")
    subject = f"{first_curve.y_label} where {fmt.shortest(100 * half)} % of the documents are texts"
    return Statement(subject=subject, value=", ".join(values))


MIXED = CurvesFigure(
    name="fraction of texts",
    reading=(
        "Each image is one document, as the image or as its first caption, and its other captions look for it. Text"
        " before the right image: fraction of captions with a text as nearest document, among those whose right"
        " document is an image. Bands: 95 % intervals."
    ),
    x_axis=lambda shares, label: fraction_axis(f"{label}, %"),
    state=_state_at_half,
    check=refuse_judged,
    needs="captioned data",
)


HALF, CENTRED = "texts=50", "centred"
TEXTS_FIRST = "A text comes before the right image"
ONE = {"queries": "query", "captions": "caption"}


def findings(evaluation: EvaluationRecord) -> list[Finding]:
    """Return nDCG, recall@10 and the preference for texts if half of the documents are texts, and the centring gain."""
    metrics = evaluation.metrics
    is_judged = "mrr" in metrics
    subset = "" if is_judged else HALF
    ndcg_name = in_subset(subset, "ndcg")
    shown = headlines(evaluation).items()
    ndcg = next((metric for name, metric in shown if without_cutoff(name) == ndcg_name), None)
    preference = metrics.get(in_subset(subset, "text_preference"))
    if ndcg is None or preference is None:
        return []
    noun, where = ("queries", "") if is_judged else ("captions", "If half of the documents are texts, ")
    sentences = [claim(f"{where}{ndcg.title} is {{value}} over {{n}} {noun}", ndcg)]
    recall = None if is_judged else metrics.get(f"{HALF}/recall@10")
    if recall:
        sentences.append(claim("The first ten results hold the right document for {value} of {n} captions", recall))
    counted_noun = noun if preference.n != 1 else ONE[noun]
    texts_first = (
        f"For {{value}} of {{n}} {counted_noun} whose right document is an image, the nearest document is a text"
    )
    sentences.append(claim(texts_first, preference, weakness=TEXTS_FIRST))
    gain = metrics.get(in_subset(subset, "centring_gain"))
    if gain is not None and gain.value is not None:
        bounds = fmt.change_interval(gain.low, gain.high, gain.unit)
        change = f"{fmt.change(gain.value, gain.unit)} ({fmt.interval_name([gain])} {bounds})"
        sentences.append(Finding("plain", f"With each modality centred, {ndcg.title} changes by {change}."))
    return sentences


def table_by_share(evidence: Evidence) -> Table:
    """Return nDCG and recall by the fraction of texts, before and after centring."""
    curves = evidence.evaluation.curves
    drawn_curves = {}
    for name, curve in curves.items():
        is_preference = name.startswith("text_preference")
        if name.endswith("_by_share") and not is_preference:
            drawn_curves[name] = curve
    if not drawn_curves:
        raise NotAsked("nDCG by the fraction of texts takes captioned data")
    rows = []
    for index, share in enumerate(next(iter(drawn_curves.values())).x):
        row = [fmt.shortest(100 * share)]
        for name in drawn_curves:  # as it is and, where there is one, centred
            both = [curves[key] for key in (name, f"{name}_{CENTRED}") if key in curves]
            shares = [fmt.percent(curve.y[index]) for curve in both if index < len(curve.y)]
            row.append(" → ".join(shares))
        rows.append(row)
    return Table(
        title="By the fraction of texts",
        facts="In percent: before → after each modality is centred. Documents that are not texts are images.",
        columns=columns("Texts, %", numbers=[curve.y_label or name for name, curve in drawn_curves.items()]),
        rows=rows,
    )


SECTION = Section(
    advice={
        TEXTS_FIRST: (
            "Vectors of one modality are nearer to each other than to vectors of the other, so any text "
            "beats the right image. Subtract the mean of each modality, of documents and queries alike, and scale to "
            "length 1 again (GR-CLIP, Li et al. 2025, arXiv:2507.19054). It takes no training, and the figure shows "
            "what it does here. Where that is not enough, "
            "rank images and texts separately and merge the two lists by rank."
        ),
    },
    title="Mixed retrieval",
    figures=(MIXED, RELEVANCE),
    tables=(table_by_share,),
    galleries=(failure_gallery("mixed"), failure_gallery("judged")),
    findings=findings,
    plots={
        "mixed-retrieval": Plot(
            summary="nDCG and the preference for texts in a corpus of images and texts, by their share",
            definition="Centring subtracts the mean of each modality (GR-CLIP).",
            draws=(MIXED,),
        )
    },
    sample_columns=(
        SampleColumn(name="caption", title="Caption", is_of_sample=True),
        SampleColumn(name="mixed_rank", title="Rank", metrics=r"ndcg@[0-9]+|recall@[0-9]+"),
        SampleColumn(name="predicted_text", title="Came first"),
    ),
    sample_images=(SampleImage(name="target_image", role="right"), SampleImage(name="predicted_image", role="first")),
)
