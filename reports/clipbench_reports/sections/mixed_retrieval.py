"""Mixed retrieval: nDCG by the share of texts before and after centring, and the documents that came first instead."""

from clipbench.results import numbers as fmt
from clipbench.results.record import EvaluationRecord
from clipbench.results.table import Table, columns
from clipbench.results.titles import headlines
from clipbench_reports import figures
from clipbench_reports.galleries.unfound import unfound
from clipbench_reports.page.evidence import Evidence, NotAsked
from clipbench_reports.page.sentences.findings import Finding, claim, headline_findings
from clipbench_reports.sections.section import SampleColumn, SampleImage, Section

HALF, CENTRED = "texts=50", "centred"
TEXTS_FIRST = "A text comes before the right image"
ONE = {"queries": "query", "captions": "caption"}


def findings(evaluation: EvaluationRecord) -> list[Finding]:
    """Return nDCG and the preference for texts where half of the documents are texts, and the gain from centring."""
    metrics = evaluation.metrics
    is_judged = "mrr" in metrics
    subset = "" if is_judged else f"{HALF}/"
    ndcg = next((metric for name, metric in headlines(evaluation).items() if name.startswith(f"{subset}ndcg@")), None)
    preference, gain = (metrics.get(f"{subset}{name}") for name in ("text_preference", "centring_gain"))
    if ndcg is None or preference is None:
        return headline_findings(evaluation)
    asked, where = ("queries", "") if is_judged else ("captions", "If half of the documents are texts, ")
    sentences = [
        claim(f"{where}{ndcg.title} is {{value}} over {{n}} {asked}", ndcg),
        claim(
            f"For {{value}} of {{n}} {asked if preference.n != 1 else ONE[asked]} whose right document is an image, the nearest"
            " document is a text",
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
    """Return nDCG and recall by the share of texts, before and after centring.

    Raises:
        NotAsked: the data have judgements, whose documents are what they are.
    """
    curves = {name: curve for name, curve in evidence.evaluation.curves.items() if name.endswith("_by_share")}
    shown = {name: curve for name, curve in curves.items() if not name.startswith("text_preference")}
    if not shown:
        raise NotAsked("nDCG by the share of texts takes captioned data")
    shares = next(iter(shown.values())).x
    rows = [
        [fmt.shortest(100 * share), *(_before_and_after(evidence.evaluation, name, place) for name in shown)]
        for place, share in enumerate(shares)
    ]
    return Table(
        title="By the share of texts",
        facts="In percent, as it is → with each modality centred. Documents that are not texts are images.",
        columns=columns("Texts, %", numbers=[curve.y_label or name for name, curve in shown.items()]),
        rows=rows,
    )


def _before_and_after(evaluation: EvaluationRecord, name: str, place: int) -> str:
    """Return a value as it is and, where there is one, centred."""
    values = [
        evaluation.curves[each].y[place]
        for each in (name, f"{name}_{CENTRED}")
        if each in evaluation.curves and place < len(evaluation.curves[each].y)
    ]
    return " → ".join(map(fmt.percent, values))


ADVICE = {
    TEXTS_FIRST: "Vectors of one modality lie nearer to each other than to the other's, so that any text beats the right image. "
    "Subtract the mean of each modality, of documents and queries alike, and scale to length 1 again (GR-CLIP, Li et al. 2025): it "
    "takes no training, and the figure shows what it does here. Where that is not enough, rank images and texts apart and merge the two lists by rank."
}


SECTION = Section(
    advice=ADVICE,
    title="Mixed retrieval",
    figures=(figures.mixed, figures.relevance),
    tables=(by_share,),
    galleries=(unfound("mixed"), unfound("judged")),
    findings=findings,
    drawn_curves=figures.BY_SHARE | frozenset(figures.JUDGED),
    sample_columns=(
        SampleColumn(name="caption", title="Caption", is_of_sample=True),
        SampleColumn(name="mixed_rank", title="Rank", metrics=r"ndcg@[0-9]+|recall@[0-9]+"),
        SampleColumn(name="chosen_text", title="Came first"),
    ),
    sample_images=(
        SampleImage(name="right_image", role="right"),
        SampleImage(name="chosen_image", role="first"),
    ),
)
