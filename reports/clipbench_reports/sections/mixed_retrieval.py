"""Mixed retrieval: nDCG by the share of texts before and after centring, and the documents that came first instead."""

from collections.abc import Mapping

from clipbench.results import numbers as fmt
from clipbench.results.record import EvaluationRecord
from clipbench.results.table import Table, columns
from clipbench.results.titles import headlines
from clipbench_reports.drawing.marks import Chart, Line, Panel, Role, fraction_axis
from clipbench_reports.drawing.models import Panels, Statement, chart, facets
from clipbench_reports.evidence import ByModel, Evidence, MissingEvidence, Models, NotAsked, PlottedCurve, read_each
from clipbench_reports.figures.shared import CHANCE, JUDGED, curve_line, refuse_judged
from clipbench_reports.findings import Finding, claim
from clipbench_reports.sections.retrieval import relevance, unfound
from clipbench_reports.sections.section import Plot, SampleColumn, SampleImage, Section

WAYS: Mapping[str, tuple[str, Role]] = {"": ("as it is", "ink"), "_centred": ("each modality centred", "pair")}
"""The ends of the names of curves, with the names and roles of their lines."""
NDCG, PREFERENCE = "ndcg_by_share", "text_preference_by_share"

Curves = Mapping[str, PlottedCurve]


def mixed(models: Models) -> Chart:
    """Return nDCG and the preference for texts by the share of texts, as it is and with each modality centred."""
    by_model = read_each(models, _read)
    of_ndcg = next(iter(by_model.all))[NDCG].y_label
    return chart(
        [_panels(by_model, NDCG, of_ndcg), _panels(by_model, PREFERENCE, "Text before the right image")],
        by_model.map(_state),
        n_columns=2,
        reading=(
            "Each image is one document, as the image or as its first caption, and its other captions look for it. Text"
            " before the right image: share of captions with a text as nearest document, among those whose right"
            " document is an image. Bands: 95 % intervals."
        ),
    )


def _read(evidence: Evidence) -> dict[str, PlottedCurve]:
    curves = evidence.curves([f"{name}{end}" for name in (NDCG, PREFERENCE) for end in WAYS])
    refuse_judged(evidence)
    if NDCG not in curves or not curves[NDCG].x:
        raise MissingEvidence("the run kept no nDCG by the share of texts")
    return dict(curves)


def _panels(by_model: ByModel[dict[str, PlottedCurve]], name: str, label: str) -> Panels:
    plane = Panel(x=fraction_axis("Documents that are texts, %"), y=fraction_axis(f"{label}, %"))
    return facets(plane, by_model.map(lambda curves: _lines(curves, name)))


def _lines(curves: Curves, name: str) -> list[Line]:
    """Return a quantity as it is and centred; texts come first by chance as often as there are texts."""
    own = [
        curve_line(curves[f"{name}{end}"], role, words, is_dashed=bool(end))
        for end, (words, role) in WAYS.items()
        if f"{name}{end}" in curves
    ]
    if name != PREFERENCE or not own:
        return own
    ends = [own[0].xs[0], own[0].xs[-1]]
    return [Line(xs=ends, ys=ends, role="chance", name=CHANCE, is_reference=True), *own]


def _state(curves: Curves) -> Statement:
    """Return nDCG where half of the documents are texts; that centring changes it takes the test of the metrics."""
    label, whole = curves[NDCG].y_label, curves[NDCG]
    at = min(whole.x, key=lambda x: abs(x - 0.5))
    values = [fmt.percent(curves[f"{NDCG}{end}"].y[whole.x.index(at)]) for end in WAYS if f"{NDCG}{end}" in curves]
    words = f"{fmt.shortest(100 * at)} % of the documents are texts"
    centred = f", and {values[1]} % with each modality centred" if len(values) > 1 else ""
    return Statement(
        title=f"{label} is {values[0]} % where {words}{centred}.",
        subject=f"{label} where {words}, as it is and centred",
        value=f"{' and '.join(values)} %",
        detail=" ".join(
            f"{label}, {_in_words(words, curves[f'{NDCG}{end}'])}"
            for end, (words, _) in WAYS.items()
            if f"{NDCG}{end}" in curves
        ),
    )


def _in_words(label: str, curve: PlottedCurve) -> str:
    points = ", ".join(
        f"{fmt.percent(y)} % at {fmt.shortest(100 * x)} %" for x, y in zip(curve.x, curve.y, strict=True)
    )
    return f"{label}: {points}."


HALF, CENTRED = "texts=50", "centred"
TEXTS_FIRST = "A text comes before the right image"
ONE = {"queries": "query", "captions": "caption"}


def findings(evaluation: EvaluationRecord) -> list[Finding]:
    """Return nDCG, what the first ten results hold and the preference for texts where half of the documents are texts,
    and the gain from centring.
    """
    metrics = evaluation.metrics
    is_judged = "mrr" in metrics
    subset = "" if is_judged else f"{HALF}/"
    ndcg = next((metric for name, metric in headlines(evaluation).items() if name.startswith(f"{subset}ndcg@")), None)
    preference, gain = (metrics.get(f"{subset}{name}") for name in ("text_preference", "centring_gain"))
    if ndcg is None or preference is None:
        return []
    asked, where = ("queries", "") if is_judged else ("captions", "If half of the documents are texts, ")
    seen = None if is_judged else metrics.get(f"{HALF}/recall@10")
    sentences = [
        claim(f"{where}{ndcg.title} is {{value}} over {{n}} {asked}", ndcg),
        *([claim("The first ten results hold the right document for {value} of {n} captions", seen)] if seen else []),
        claim(
            f"For {{value}} of {{n}} {asked if preference.n != 1 else ONE[asked]} whose right document is an image, the"
            " nearest document is a text",
            preference,
            weakness=TEXTS_FIRST,
        ),
    ]
    if gain is None or gain.value is None:
        return sentences
    bounds = fmt.change_interval(gain.low, gain.high, gain.unit)
    change = f"{fmt.change(gain.value, gain.unit)} ({fmt.interval_name([gain])} {bounds})"
    return [*sentences, Finding("plain", f"With each modality centred, {ndcg.title} changes by {change}.")]


def by_share(evidence: Evidence) -> Table:
    """Return nDCG and recall by the share of texts, before and after centring."""
    curves = {name: curve for name, curve in evidence.evaluation.curves.items() if name.endswith("_by_share")}
    shown = {name: curve for name, curve in curves.items() if not name.startswith("text_preference")}
    if not shown:
        raise NotAsked("nDCG by the share of texts takes captioned data")
    rows = []
    for place, share in enumerate(next(iter(shown.values())).x):
        row = [fmt.shortest(100 * share)]
        for name in shown:  # as it is and, where there is one, centred
            both = evidence.curves([name, f"{name}_{CENTRED}"]).values()
            row.append(" → ".join(fmt.percent(curve.y[place]) for curve in both if place < len(curve.y)))
        rows.append(row)
    return Table(
        title="By the share of texts",
        facts="In percent, as it is → with each modality centred. Documents that are not texts are images.",
        columns=columns("Texts, %", numbers=[curve.y_label or name for name, curve in shown.items()]),
        rows=rows,
    )


SECTION = Section(
    advice={
        TEXTS_FIRST: (
            "Vectors of one modality lie nearer to each other than to the other's, so that any text "
            "beats the right image. Subtract the mean of each modality, of documents and queries alike, and scale to "
            "length 1 again (GR-CLIP, Li et al. 2025, arXiv:2507.19054): it takes no training, and the figure shows "
            "what it does here. Where that is not enough, rank images and texts apart and merge the two lists by "
            "rank."
        ),
    },
    title="Mixed retrieval",
    figures=(mixed, relevance),
    tables=(by_share,),
    galleries=(unfound("mixed"), unfound("judged")),
    findings=findings,
    plots={
        "mixed-retrieval": Plot(
            summary="nDCG and the preference for texts in a corpus of images and texts, by their share",
            definition="Centring subtracts the mean of each modality (GR-CLIP).",
            draws=(mixed,),
        )
    },
    drawn_curves=(*(f".*_by_share{end}" for end in WAYS), *JUDGED),
    sample_columns=(
        SampleColumn(name="caption", title="Caption", is_of_sample=True),
        SampleColumn(name="mixed_rank", title="Rank", metrics=r"ndcg@[0-9]+|recall@[0-9]+"),
        SampleColumn(name="chosen_text", title="Came first"),
    ),
    sample_images=(SampleImage(name="right_image", role="right"), SampleImage(name="chosen_image", role="first")),
)
