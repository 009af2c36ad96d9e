"""Distributions of conformity: how near each item lies to all others of its modality."""

from collections.abc import Sequence

from clipbench.results import numbers as fmt
from clipbench_reports.drawing.marks import Chart, Role
from clipbench_reports.drawing.models import Statement, chart
from clipbench_reports.figures._cosines import Distribution, distributions, ridges
from clipbench_reports.page.evidence import ModelEvidence, read_each

CONFORMITY: dict[str, tuple[str, Role, str]] = {
    "conformity_image": ("images", "image", "image_cone"),
    "conformity_text": ("texts", "text", "text_cone"),
}
"""Curves with the name, the role and the metric that is the mean of each."""


def conformity(models: Sequence[ModelEvidence]) -> Chart:
    """Return the distributions of the mean cosine that an item has with all others of its modality.

    Raises:
        MissingEvidence: no run holds such distributions.
    """
    by_model = read_each(models, lambda evidence: distributions(evidence, CONFORMITY, "conformity"))
    return chart(
        [ridges(by_model)],
        by_model.map(_state),
        by_model,
        reading="Conformity is an item’s mean cosine with all others of its modality: common items lie to the right, unusual "
        "ones to the left. Each distribution is scaled to the same height; the upright stroke is its mean, the width of "
        "the cone.",
    )


def _state(of_modalities: Sequence[Distribution]) -> Statement:
    means = " and ".join(f"{fmt.number(each.mean, 'cosine')} ({each.label})" for each in of_modalities)
    return Statement(
        title=f"Mean cosine of an item with all others of its modality: {means}.",
        subject="Mean cosine of an item with all others of its modality",
        value=means,
    )
