"""Typographic attacks on classifiers that read no prompt, beside the prompts, on the same attacks among the same classes."""

from collections.abc import Mapping, Sequence

from clipbench.results import numbers as fmt
from clipbench.results.record import Metric
from clipbench_reports.drawing.marks import Axis, Chart, Mark, Panel, Ranges, Role, fraction_axis
from clipbench_reports.drawing.models import Layer, Statement, facet_chart
from clipbench_reports.figures._figure import bounds, chance_rule
from clipbench_reports.page.evidence import Evidence, MissingEvidence, ModelEvidence, NotAsked, read_each
from clipbench_reports.page.text import NO_REASON

CLASSIFIERS = {"zero_shot": "zero-shot", "linear_probe": "linear probe", "knn": "k-NN"}
SERIES: Mapping[str, tuple[Role, str, float]] = {
    "plain_acc": ("pair", "object, no word on it", -0.12),
    "attacked_acc": ("image", "object, under attack", 0.0),
    "attack_success": ("text", "attacking word", 0.12),
}
"""Role, name and place of the shares of each classifier."""


def probe_attacks(models: Sequence[ModelEvidence]) -> Chart:
    """Return how often each classifier names the object, and how often the word that is written on it.

    Raises:
        NotAsked: no run has attacked probes.
        MissingEvidence: the data have too few objects to train them on.
    """
    plane = Panel(
        x=Axis(low=-0.4, high=len(CLASSIFIERS) - 0.6, ticks=range(len(CLASSIFIERS)), names=list(CLASSIFIERS.values())),
        y=fraction_axis("Predicted class, %"),
    )
    return facet_chart(
        plane,
        read_each(models, _read),
        reading="The same attacks, among the same classes. The linear probe and k-NN are trained on vectors of images without "
        "a word: cross-fitted ones saw no image of the attacked object, those with images of their own none that an attack "
        "shows. Bars: 95 % intervals, of these probes: other training images give others.",
    )


def _read(evidence: Evidence) -> Layer:
    metrics = evidence.evaluation.metrics
    known = {name: metric for name, metric in metrics.items() if metric.value is not None}
    if "linear_probe_attack_success" not in metrics:
        raise NotAsked("attacks on probes")
    if "linear_probe_attack_success" not in known:
        raise MissingEvidence(metrics["linear_probe_attack_success"].reason or NO_REASON)
    marks: list[Mark] = chance_rule(known["linear_probe_attacked_acc"].chance)
    for series, (role, name, aside) in SERIES.items():
        shares = {key: known[f"{key}_{series}"] for key in CLASSIFIERS if f"{key}_{series}" in known}
        if not shares:
            continue
        lows, highs = bounds(shares.values())
        marks.append(
            Ranges(
                xs=[list(CLASSIFIERS).index(key) for key in shares],
                ys=[metric.value or 0.0 for metric in shares.values()],
                lows=lows,
                highs=highs,
                role=role,
                name=name,
                aside=aside,
                ids=[CLASSIFIERS[key] for key in shares],
            )
        )
    return Layer(marks, _state(known))


def _state(known: Mapping[str, Metric]) -> Statement:
    success = {key: fmt.percent(known[f"{key}_attack_success"].value) for key in CLASSIFIERS}
    shares = [f"{words} {success[key]} %" for key, words in CLASSIFIERS.items()]
    details = [
        f"{name.capitalize()}: "
        + ", ".join(
            f"{words} {fmt.percent(known[f'{key}_{series}'].value)} %"
            for key, words in CLASSIFIERS.items()
            if f"{key}_{series}" in known
        )
        for series, (_, name, _) in SERIES.items()
        if any(f"{key}_{series}" in known for key in CLASSIFIERS)
    ]
    return Statement(
        title=f"Attack success by classifier: {', '.join(shares)}.",
        subject="Attack success by zero-shot and a linear probe",
        value=f"{success['zero_shot']} and {success['linear_probe']} %",
        detail=". ".join(details) + ".",
    )
