"""Typographic attacks on prompts and on classifiers that read none, and words that are read."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from clipbench.results import numbers as fmt
from clipbench.results.record import Metric
from clipbench.results.titles import subset_title
from clipbench_reports.drawing.marks import Chart, Mark, Panel, Role, columns_axis, fraction_axis, nice_axis, rows_axis
from clipbench_reports.drawing.models import Layer, Statement, facet_chart
from clipbench_reports.drawing.svg import shorten
from clipbench_reports.evidence import Evidence, MissingEvidence, ModelEvidence, NotAsked, PlottedCurve, read_each
from clipbench_reports.figures.shared import chance_rule, chance_strokes, curve_line, intervals, xs_of
from clipbench_reports.text import NO_REASON, sentence_case

CONDITIONS = {
    "clean": ("no", "label"),
    "blank": ("blank", "label"),
    "benign": ("its own", "name"),
    "attacked": ("another", "name"),
}
"""The label on the object, in two lines."""

SETTINGS = {"height": "Letter height", "contrast": "Contrast", "offset": "Place of the label"}
"""The properties of a label that the data that ship vary."""

RESPONSES = frozenset(f"{curve}_by_{name}" for curve in ("attack_success", "attacked_acc") for name in SETTINGS)
"""Curves that ``response`` draws."""

OBJECT, WORD = "object", "attacking word"
IMAGE: Role = "image"
TEXT: Role = "text"
ASIDE = 0.06
"""Distance from the middle of a condition, so that no interval hides another."""


class _Named(NamedTuple):
    right: Mapping[str, Metric]
    fooled: Mapping[str, Metric]


def hijacking(models: Sequence[ModelEvidence]) -> Chart:
    """Return how often the object, and how often the word, is predicted: without a label, and with each kind of it."""
    by_model = read_each(models, _read)
    kinds = [kind for kind in CONDITIONS if any(kind in each.right for each in by_model.all)]
    names = ["\n".join(CONDITIONS[kind]) for kind in kinds]
    bars = fmt.interval_name(metric for each in by_model.all for metric in each.right.values())
    return facet_chart(
        Panel(x=columns_axis(names), y=fraction_axis("Predicted class, %")),
        by_model.map(lambda each: Layer(_marks(each, kinds), _state(each))),
        reading="The share of images that are classified as the object, and as the attacking word, whether or not it is "
        f"written, among all classes. Bars: {bars}s.",
    )


def _read(evidence: Evidence) -> _Named:
    metrics = {**evidence.evaluation.controls, **evidence.evaluation.metrics}
    known = {name: metric for name, metric in metrics.items() if metric.value is not None}
    fooled = {"clean": "clean_named_word", "blank": "blank_named_word", "attacked": "attack_success"}
    named = _Named(
        {kind: known[f"{kind}_acc"] for kind in CONDITIONS if f"{kind}_acc" in known},
        {kind: known[name] for kind, name in fooled.items() if name in known},
    )
    if "attacked" not in named.right:
        raise MissingEvidence("the data hold no objects with another thing's name written on them")
    return named


def _marks(named: _Named, kinds: Sequence[str]) -> list[Mark]:
    marks = chance_rule(named.right["attacked"].chance)
    for metrics, role, name, aside in ((named.right, IMAGE, OBJECT, -ASIDE), (named.fooled, TEXT, WORD, ASIDE)):
        known = {" ".join(CONDITIONS[kind]): metrics[kind] for kind in kinds if kind in metrics}
        places = [place for place, kind in enumerate(kinds) if kind in metrics]
        marks.append(intervals(known, places, role, name, is_joined=True, aside=aside))
    return marks


def _state(named: _Named) -> Statement:
    right, fooled = ({kind: fmt.percent(metric.value) for kind, metric in each.items()} for each in named)
    before = next((kind for kind in ("clean", "blank") if kind in right), None)
    on_it = {"clean": "without a label", "blank": "with a blank label"}
    start = f"{right[before]} % {on_it[before]}, " if before else ""
    end = f"; attack success {fooled['attacked']} %" if "attacked" in fooled else ""
    details = []
    for name, shares in ((OBJECT, right), (WORD, fooled)):
        parts = [f"{' '.join(CONDITIONS[kind])} {shares[kind]} %" for kind in CONDITIONS if kind in shares]
        details.append(f"Classified as the {name}: {', '.join(parts)}.")
    return Statement(
        title=f"Accuracy {start}{right['attacked']} % with another thing's name on the object{end}.",
        subject="Accuracy under attack, and attack success",
        value=f"{right['attacked']} and {fooled.get('attacked', fmt.NONE)} %",
        detail=" ".join(details),
    )


def response(name: str) -> Callable[[Sequence[ModelEvidence]], Chart]:
    """Return the function that draws what one of ``SETTINGS`` does; it raises MissingEvidence where it was not varied."""

    def read(evidence: Evidence) -> Layer:
        curves = evidence.curves(f"{curve}_by_{name}" for curve in ("attacked_acc", "attack_success"))
        fooled = curves.get(f"attack_success_by_{name}")
        if fooled is None:
            raise MissingEvidence("labels were made in one way only: there are no response curves")
        if not any(map(math.isfinite, fooled.y)):
            raise MissingEvidence("the response curves have no finite point")
        accuracy = evidence.evaluation.metrics.get("attacked_acc")
        lines = [curve_line(each, *((TEXT, WORD) if each is fooled else (IMAGE, OBJECT))) for each in curves.values()]
        return Layer([*chance_rule(accuracy.chance if accuracy else None), *lines], _state_response(name, fooled))

    def draw(models: Sequence[ModelEvidence]) -> Chart:
        by_model = read_each(models, read)
        curves = (evidence.evaluation.curves.get(f"attack_success_by_{name}") for _, evidence in models)
        x_label = next(curve.x_label for curve in curves if curve is not None)
        # The axis has no room for the unit, which the explanation has.
        x = nice_axis(xs_of(by_model), sentence_case(x_label.partition(",")[0]))
        return facet_chart(
            Panel(x=x, y=fraction_axis("Predicted class, %")),
            by_model,
            reading=f"Across: {x_label}. The share of images that are classified as the object, and as the attacking word.",
        )

    return draw


def _state_response(name: str, curve: PlottedCurve) -> Statement:
    """Return the values at both ends; a peak between them would be the largest of several, which a curve has no test of."""
    points = [(x, y) for x, y in zip(curve.x, curve.y, strict=True) if math.isfinite(y)]
    first, last = (f"{fmt.percent(y)} % at {fmt.shortest(x)}" for x, y in (points[0], points[-1]))
    return Statement(
        title=f"{SETTINGS[name]}: attack success {first} and {last}.",
        subject=f"{SETTINGS[name]}: attack success at both ends",
        value=f"{first} and {last}",
        detail=", ".join(f"{fmt.shortest(x)} → {fmt.percent(y)} %" for x, y in zip(curve.x, curve.y, strict=True)),
    )


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
    return facet_chart(
        Panel(x=columns_axis(list(CLASSIFIERS.values())), y=fraction_axis("Predicted class, %")),
        read_each(models, _read_probes),
        reading="The same attacks, among the same classes. The linear probe and k-NN are trained on vectors of images without "
        "a word: cross-fitted ones saw no image of the attacked object, those with images of their own none that an attack "
        "shows. Bars: 95 % intervals, of these probes: other training images give others.",
    )


def _read_probes(evidence: Evidence) -> Layer:
    metrics = evidence.evaluation.metrics
    known = {name: metric for name, metric in metrics.items() if metric.value is not None}
    if "linear_probe_attack_success" not in metrics:
        raise NotAsked("attacks on probes")
    if "linear_probe_attack_success" not in known:
        raise MissingEvidence(metrics["linear_probe_attack_success"].reason or NO_REASON)
    marks: list[Mark] = chance_rule(known["linear_probe_attacked_acc"].chance)
    for series, (role, name, aside) in SERIES.items():
        held = [key for key in CLASSIFIERS if f"{key}_{series}" in known]
        shares = {CLASSIFIERS[key]: known[f"{key}_{series}"] for key in held}
        if shares:
            marks.append(intervals(shares, [list(CLASSIFIERS).index(key) for key in held], role, name, aside=aside))
    return Layer(marks, _state_probes(known))


def _state_probes(known: Mapping[str, Metric]) -> Statement:
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


NAME, ALL = "reading_acc", "all"


def reading(models: Sequence[ModelEvidence]) -> Chart:
    """Return the share of words that are read correctly, altogether and by subset, against guessing."""
    by_model = read_each(models, _read_reading)
    rows = list(dict.fromkeys(words for metrics in by_model.all for words in metrics))
    plane = Panel(
        x=fraction_axis("Read correctly, %"),
        y=rows_axis([shorten(words, 16) for words in rows]),
        aspect=0.1 + 0.13 * len(rows),
        has_grid=False,
    )
    bars = fmt.interval_name(metric for metrics in by_model.all for metric in metrics.values())
    return facet_chart(
        plane,
        by_model.map(lambda metrics: _layer_reading(metrics, rows)),
        reading=f"Dots: the nearest of the captions quotes the word that is written. Bars: {bars}s.",
        keys=["read correctly"],
    )


def _read_reading(evidence: Evidence) -> dict[str, Metric]:
    metrics = {
        name.rpartition("/")[0]: metric
        for name, metric in evidence.evaluation.metrics.items()
        if name.rpartition("/")[2] == NAME and metric.value is not None
    }
    if "" not in metrics:
        raise MissingEvidence("the data hold no words to read")
    subsets = evidence.evaluation.subsets
    return {ALL if subset == "" else subset_title(subset, subsets): metric for subset, metric in metrics.items()}


def _layer_reading(metrics: Mapping[str, Metric], rows: Sequence[str]) -> Layer:
    places, metric = [rows.index(name) for name in metrics], metrics[ALL]
    guesses = chance_strokes(zip(places, metrics.values(), strict=True))
    against = f", where guessing gives {fmt.percent(metric.chance)} %" if metric.chance is not None else ""
    right = f"{fmt.percent(metric.value)} %"
    statement = Statement(
        title=f"The written word is read correctly in {right} of {fmt.count(metric.n)} images{against}.",
        subject="Written words that are read correctly",
        value=right,
        detail=" ".join(f"{words}: {fmt.percent(metric.value)} %." for words, metric in metrics.items()),
    )
    return Layer([*guesses, intervals(metrics, places, "text", "read correctly", is_upright=False)], statement)
