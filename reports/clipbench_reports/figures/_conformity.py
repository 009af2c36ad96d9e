"""Distributions of conformity: how near each item lies to all others of its modality."""

from collections.abc import Sequence

import numpy as np

from clipbench.results import numbers as fmt
from clipbench_reports.drawing.marks import Chart, Role
from clipbench_reports.drawing.models import Statement, chart
from clipbench_reports.figures._cosines import Distribution, ridges
from clipbench_reports.figures._figure import why_lacking
from clipbench_reports.page.evidence import Evidence, MissingEvidence, ModelEvidence, read_each

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
    by_model = read_each(models, _read)
    return chart(
        [ridges(by_model)],
        by_model.map(_state),
        by_model,
        reading="Conformity is an item’s mean cosine with all others of its modality: common items lie to the right, unusual "
        "ones to the left. Each distribution is scaled to the same height; the upright stroke is its mean, the width of "
        "the cone.",
    )


def _read(evidence: Evidence) -> list[Distribution]:
    distributions = []
    for name, (label, role, metric_name) in CONFORMITY.items():
        if name not in evidence.evaluation.curves:
            raise MissingEvidence(f"the run kept no distribution of conformity: {why_lacking(evidence, metric_name)}")
        curve, metric = evidence.curve(name), evidence.evaluation.metrics.get(metric_name)
        mean = metric.value if metric is not None and metric.value is not None else float(np.dot(curve.x, curve.y))
        distributions.append(Distribution(label, role, curve.x, curve.y, mean))
    return distributions


def _state(distributions: Sequence[Distribution]) -> Statement:
    means = " and ".join(f"{fmt.number(each.mean, 'cosine')} ({each.label})" for each in distributions)
    return Statement(
        title=f"Mean cosine of an item with all others of its modality: {means}.",
        subject="Mean cosine of an item with all others of its modality",
        value=means,
    )
