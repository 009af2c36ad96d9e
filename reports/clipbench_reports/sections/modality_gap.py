"""The modality gap: two cones, what carries the gap, and what closing it does."""

from clipbench.results import numbers as fmt
from clipbench.results.record import EvaluationRecord
from clipbench_reports import figures
from clipbench_reports.page.sentences.findings import Finding, headline_findings
from clipbench_reports.sections.section import Section

APART = "Images and texts lie apart"
USUAL_SEPARABILITY = 0.99
"""Share that nearly every CLIP reaches, trained or not."""


def findings(evaluation: EvaluationRecord) -> list[Finding]:
    """Return the size of the gap, without praise or blame: no direction is better."""
    gap, separability = (evaluation.metrics.get(name) for name in ("gap", "separability"))
    if gap is None or gap.value is None:
        return headline_findings(evaluation)
    text = f"The mean image and the mean text vector lie {fmt.number(gap.value, gap.unit)} apart."
    said = [Finding("plain", text, weakness=APART)]
    if separability is not None and separability.value is not None:
        share = f"A linear classifier tells images from texts in {fmt.percent(separability.value)} % of cases"
        is_usual = separability.value >= USUAL_SEPARABILITY
        said.append(
            Finding("plain", f"{share}{', as it does with nearly any CLIP' if is_usual else ''}.", is_expected=is_usual)
        )
    return said


ADVICE = {
    APART: "A gap is there in nearly every CLIP from the first step on, and the loss keeps it (Liang et al. 2022). "
    "It matters where cosines of different kinds are compared or mixed, such as image with image beside image"
    " with text. "
    "Subtracting the mean of each modality is the usual remedy. Closing the gap alone improves recall little "
    "or not at all (Liang et al. 2022; Schrodi et al. 2025): the corrections above show what it does here."
}


SECTION = Section(
    advice=ADVICE,
    title="Modality gap",
    figures=(
        figures.gap,
        figures.cones,
        figures.conformity,
        figures.spectrum,
        figures.shift,
        figures.corrections,
        figures.similarity_calibration,
    ),
    findings=findings,
    drawn_curves=figures.GEOMETRY,
    has_cloud=True,
)
