"""The modality gap: two cones, what carries the gap, and what closing it does."""

from clipbench.results import numbers as fmt
from clipbench.results.record import EvaluationRecord
from clipbench_reports import figures
from clipbench_reports.page.sentences.findings import Finding, headline_findings
from clipbench_reports.sections.section import Section


def findings(evaluation: EvaluationRecord) -> list[Finding]:
    """Return the size of the gap, without praise or blame: no direction is better."""
    gap, separability = (evaluation.metrics.get(name) for name in ("gap", "separability"))
    if gap is None or gap.value is None:
        return headline_findings(evaluation)
    text = f"The mean image and the mean text vector lie {fmt.number(gap.value, gap.unit)} apart"
    if separability is not None and separability.value is not None:
        text += f"; a linear classifier tells images from texts in {fmt.percent(separability.value)} % of cases"
    return [Finding("plain", f"{text}.")]


SECTION = Section(
    figures=(
        figures.cones,
        figures.gap,
        figures.spectrum,
        figures.shift,
        figures.corrections,
        figures.similarity_calibration,
    ),
    findings=findings,
    drawn_curves=figures.GEOMETRY,
    has_cloud=True,
)
