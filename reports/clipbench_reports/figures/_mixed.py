"""Retrieval in a corpus of images and texts: nDCG and the preference for texts, by the share of documents that are texts."""

from collections.abc import Mapping, Sequence

from clipbench.results import numbers as fmt
from clipbench_reports.drawing.marks import Chart, Line, Panel, Role, fraction_axis
from clipbench_reports.drawing.models import Panels, Statement, chart, facets
from clipbench_reports.figures._figure import CHANCE, curve_line
from clipbench_reports.figures._relevance import refuse_judged
from clipbench_reports.page.evidence import ByModel, Evidence, MissingEvidence, ModelEvidence, PlottedCurve, read_each

WAYS: Mapping[str, tuple[str, Role]] = {"": ("as it is", "ink"), "_centred": ("each modality centred", "pair")}
"""The ends of the names of curves, with the names and roles of their lines."""
NDCG, PREFERENCE = "ndcg_by_share", "text_preference_by_share"
BY_SHARE = frozenset(
    f"{name}{end}" for name in (NDCG, PREFERENCE, *(f"recall@{k}_by_share" for k in (1, 5, 10))) for end in WAYS
)
"""Curves that the figure or the table of the section shows."""

Curves = Mapping[str, PlottedCurve]


def mixed(models: Sequence[ModelEvidence]) -> Chart:
    """Return nDCG and the preference for texts by the share of texts, as it is and with each modality centred.

    Raises:
        MissingEvidence: no run kept nDCG by the share of texts.
    """
    by_model = read_each(models, _read)
    of_ndcg = next(iter(by_model.all))[NDCG].y_label
    return chart(
        [_panels(by_model, NDCG, of_ndcg), _panels(by_model, PREFERENCE, "Text before the right image")],
        by_model.map(_state),
        by_model,
        n_columns=2,
        reading="Each image is one document, as the image or as its first caption, and its other captions look for it. "
        "Text before the right image: share of captions with a text as nearest document, among those whose right document is an image. "
        "Bands: 95 % intervals.",
    )


def _read(evidence: Evidence) -> dict[str, PlottedCurve]:
    curves = evidence.curves([f"{name}{end}" for name in (NDCG, PREFERENCE) for end in WAYS])
    refuse_judged(evidence)
    if NDCG not in curves or not curves[NDCG].x:
        raise MissingEvidence("the run kept no nDCG by the share of texts")
    return dict(curves)


def _panels(by_model: ByModel[dict[str, PlottedCurve]], name: str, label: str) -> Panels:
    plane = Panel(x=fraction_axis("Documents that are texts, %"), y=fraction_axis(f"{label}, %"))
    return facets(plane, by_model.map(lambda curves: _lines(curves, name)), by_model)


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
