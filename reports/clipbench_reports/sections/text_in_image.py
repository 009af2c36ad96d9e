"""Text in images: the effect of written words on classification, and which words are read."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from clipbench.results import numbers as fmt
from clipbench.results.metric_name import base_name, subset_of
from clipbench.results.record import EvaluationRecord, Metric
from clipbench.results.table import Table, columns
from clipbench.results.titles import subset_title
from clipbench.stats.claims import against_chance, may_differ
from clipbench_reports.drawing.facets import Layer, Statement, facet_chart
from clipbench_reports.drawing.marks import Chart, Mark, Panel, Role, columns_axis, fraction_axis, rows_axis
from clipbench_reports.evidence import Evidence, MissingEvidence, Models, NotAsked, read_each
from clipbench_reports.figures.curves import CurvesFigure
from clipbench_reports.figures.shared import chance_rule, chance_strokes, intervals
from clipbench_reports.findings import Ability, Finding, claim, defined, interval_in_brackets, skill
from clipbench_reports.findings import Mark as FindingMark
from clipbench_reports.galleries import (
    FactColumn,
    Gallery,
    PageBudget,
    credits_of,
    gallery,
    one_image,
)
from clipbench_reports.sections.section import Plot, SampleColumn, Section, table_by_true_name
from clipbench_reports.text import NO_REASON, shorten

CONDITIONS = {
    "clean": ("no", "label"),
    "blank": ("blank", "label"),
    "benign": ("its own", "name"),
    "attacked": ("another", "name"),
}
"""The overlay on the object, in two lines."""

SETTINGS = ("height", "contrast", "offset")
"""The properties of an overlay that the data that ship vary."""


OBJECT, WORD = "object", "attacking word"
IMAGE: Role = "image"
TEXT: Role = "text"
ASIDE = 0.06
"""Distance from the middle of a condition, so that no interval hides another."""


class _PredictedShares(NamedTuple):
    right: Mapping[str, Metric]
    fooled: Mapping[str, Metric]


def typographic_attacks(models: Models) -> Chart:
    """Return how often the object and the word are predicted, without an overlay and with each kind of overlay."""
    by_model = read_each(models, _read_shares)
    kinds = [kind for kind in CONDITIONS if any(kind in shares.right for shares in by_model.all)]
    names = ["\n".join(CONDITIONS[kind]) for kind in kinds]
    bars = fmt.interval_name(metric for shares in by_model.all for metric in shares.right.values())
    return facet_chart(
        Panel(x=columns_axis(names), y=fraction_axis("Predicted class, %")),
        by_model.map(lambda shares: Layer(_marks(shares, kinds), _state(shares))),
        reading=(
            "The fraction of images that are classified as the object, and as the attacking word, whether or not it is "
            f"written, among all classes. Bars: {bars}s."
        ),
    )


def _read_shares(evidence: Evidence) -> _PredictedShares:
    metrics = {**evidence.evaluation.baselines, **evidence.evaluation.metrics}
    metrics_with_value = {name: metric for name, metric in metrics.items() if metric.value is not None}
    fooled = {"clean": "clean_named_word", "blank": "blank_named_word", "attacked": "attack_success"}
    shares = _PredictedShares(
        {kind: metrics_with_value[f"{kind}_acc"] for kind in CONDITIONS if f"{kind}_acc" in metrics_with_value},
        {kind: metrics_with_value[name] for kind, name in fooled.items() if name in metrics_with_value},
    )
    if "attacked" not in shares.right:
        raise MissingEvidence("the data hold no objects with another thing's name written on them")
    return shares


def _marks(shares: _PredictedShares, kinds: Sequence[str]) -> list[Mark]:
    marks = chance_rule(shares.right["attacked"].chance)
    for metrics, role, name, aside in ((shares.right, IMAGE, OBJECT, -ASIDE), (shares.fooled, TEXT, WORD, ASIDE)):
        labelled_metrics = {" ".join(CONDITIONS[kind]): metrics[kind] for kind in kinds if kind in metrics}
        positions = [position for position, kind in enumerate(kinds) if kind in metrics]
        marks.append(intervals(labelled_metrics, positions, role, name, is_joined=True, aside=aside))
    return marks


def _state(shares: _PredictedShares) -> Statement:
    right, fooled = ({kind: fmt.percent(metric.value) for kind, metric in metrics.items()} for metrics in shares)
    before = next((kind for kind in ("clean", "blank") if kind in right), None)
    on_it = {"clean": "without an overlay", "blank": "with a blank overlay"}
    start = f"{right[before]} % {on_it[before]}, " if before else ""
    end = f", attack success {fooled['attacked']} %" if "attacked" in fooled else ""
    end = f"{start}{right['attacked']} % with another thing's name on the object{end}"
    return Statement(subject="Accuracy", value=end)


def response_figure(name: str) -> CurvesFigure:
    """Return the figure of accuracy by one property of the overlay."""
    return CurvesFigure(name=f"by {name}", needs="overlays that were made in several ways")


CLASSIFIERS = {"zero_shot": "zero-shot", "linear_probe": "linear probe", "knn": "k-NN"}
SERIES: Mapping[str, tuple[Role, str, float]] = {
    "plain_acc": ("pair", "object, no word on it", -0.12),
    "attacked_acc": ("image", "object, under attack", 0.0),
    "attack_success": ("text", "attacking word", 0.12),
}
"""Role, name and place of the fractions of each classifier."""


def probe_attacks(models: Models) -> Chart:
    """Return how often each classifier names the object, and how often the word that is written on it.

    Raises:
        NotAsked: no run has attacked probes.
        MissingEvidence: the data has too few objects to train them on.
    """
    return facet_chart(
        Panel(x=columns_axis(list(CLASSIFIERS.values())), y=fraction_axis("Predicted class, %")),
        read_each(models, _read_probes),
        reading=(
            "The same attacks, among the same classes. The linear probe and k-NN are trained on vectors of images"
            " without a word. Cross-fitted classifiers saw no image of the attacked object, and classifiers with"
            " training images saw none that an attack shows. Bars: 95 % intervals for these probes: other training"
            " images give other probes."
        ),
    )


def _read_probes(evidence: Evidence) -> Layer:
    metrics = evidence.evaluation.metrics
    metrics_with_value = {name: metric for name, metric in metrics.items() if metric.value is not None}
    if "linear_probe_attack_success" not in metrics:
        raise NotAsked("attacks on probes")
    if "linear_probe_attack_success" not in metrics_with_value:
        raise MissingEvidence(metrics["linear_probe_attack_success"].reason or NO_REASON)
    marks: list[Mark] = chance_rule(metrics_with_value["linear_probe_attacked_acc"].chance)
    for series, (role, name, aside) in SERIES.items():
        held = [key for key in CLASSIFIERS if f"{key}_{series}" in metrics_with_value]
        shares = {CLASSIFIERS[key]: metrics_with_value[f"{key}_{series}"] for key in held}
        if shares:
            marks.append(intervals(shares, [list(CLASSIFIERS).index(key) for key in held], role, name, aside=aside))
    return Layer(marks, _state_probes(metrics_with_value))


def _state_probes(metrics: Mapping[str, Metric]) -> Statement:
    success = {key: fmt.percent(metrics[f"{key}_attack_success"].value) for key in CLASSIFIERS}
    shares = [f"{words} {success[key]} %" for key, words in CLASSIFIERS.items()]
    return Statement(subject="Attack success among the classes of the probe", value=", ".join(shares))


NAME, ALL = "reading_acc", "all"


def reading(models: Models) -> Chart:
    """Return the fraction of words that are read correctly, altogether and by subset, against guessing."""
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
        subset_of(name): metric
        for name, metric in evidence.evaluation.metrics.items()
        if base_name(name) == NAME and metric.value is not None
    }
    if "" not in metrics:
        raise MissingEvidence("the data hold no words to read")
    subsets = evidence.evaluation.subsets
    return {ALL if subset == "" else subset_title(subset, subsets): metric for subset, metric in metrics.items()}


def _layer_reading(metrics: Mapping[str, Metric], rows: Sequence[str]) -> Layer:
    positions, metric = [rows.index(name) for name in metrics], metrics[ALL]
    guesses = chance_strokes(zip(positions, metrics.values(), strict=True))
    against = f", where guessing gives {fmt.percent(metric.chance)} %" if metric.chance is not None else ""
    statement = Statement(
        subject="Written words that are read correctly",
        value=f"{fmt.percent(metric.value)} % of {fmt.count(metric.n)} images{against}",
    )
    return Layer([*guesses, intervals(metrics, positions, "text", "read correctly", is_upright=False)], statement)


MAX_ROWS = 50
UNREAD, OBEYED = "Written words are not read", "An overlay decides"
READING = Ability("reads words", "does not read words")
MISTAKING = Ability("names the word on an overlay, not the object", degree="reversed")


def findings(evaluation: EvaluationRecord) -> list[Finding]:
    """Return whether words are read, and how often an overlay decides."""
    sentences = []
    if (reading := evaluation.metrics.get("reading_acc")) is not None:
        sentences.append(
            claim("Reads the written word right in {value} of {n} images", reading, weakness=UNREAD, ability=READING)
        )
    (success,) = defined(evaluation.metrics, "attack_success")
    if success is not None:
        sentences.append(_attack_finding(evaluation, success))
    if (probe := evaluation.metrics.get("linear_probe_attack_success")) is not None:
        sentences.append(_probe_finding(evaluation, probe))
    return sentences


def _attack_finding(evaluation: EvaluationRecord, success: Metric) -> Finding:
    """Return how often the word's class is named under attack, and without the overlay.

    The finding names the overlay as the cause only if a test shows a difference.
    """
    (baseline,) = defined(evaluation.baselines, "clean_named_word")
    against = skill(replace(success, chance=baseline.value if baseline else None))
    mark: FindingMark = "plain"
    if baseline is not None and may_differ(success, baseline):
        mark = "weak" if against < 0 else "good"
    start = "Fooled by an overlay" if mark == "weak" else "Takes an object for the word on its overlay"
    text = f"{start} in {fmt.bounded(success)} of {fmt.count(success.n)} attacks"
    if baseline is not None:
        text += f", and without the overlay its word is named in {fmt.bounded(baseline)}"
    short = f"{text}."
    labels = {"clean_acc": "without an overlay", "blank_acc": "with a blank one", "attacked_acc": "under attack"}
    right_by_overlay = dict(zip(labels.values(), defined(evaluation.metrics, *labels), strict=True))
    right = [f"{fmt.bounded(metric)} {words}" for words, metric in right_by_overlay.items() if metric is not None]
    attacked = right_by_overlay["under attack"]
    text += f". The object is named in {', '.join(right)}" if right else ""
    text += f", where chance is {fmt.percent(attacked.chance)} %." if attacked is not None else "."
    if mark != "weak":
        return Finding(mark, text, against, short=short)
    return Finding(mark, text, against, weakness=OBEYED, short=short, ability=MISTAKING)


def _probe_finding(evaluation: EvaluationRecord, probe: Metric) -> Finding:
    """Return how often the linear probe and the prompts are fooled, under attack and without a word."""
    metrics = evaluation.metrics
    difference, prompts = defined(metrics, "zero_shot_minus_linear_probe", "zero_shot_attack_success")
    if probe.value is None or difference is None or prompts is None:
        return claim("A linear probe is fooled in {value} of {n} attacks", probe)
    relation = against_chance(replace(difference, higher_is_better=True))[0] or "level"
    how = {"better": "fooled less often than the prompts: in", "worse": "fooled more often than the prompts: in"}
    text = (
        f"The linear probe trained here on the same image embeddings is {how.get(relation, 'fooled in')} "
        f"{fmt.bounded(probe)} of {fmt.count(probe.n)} attacks, the prompts in {fmt.bounded(prompts)} among "
        f"the same classes: the difference is {fmt.number(difference.value, difference.unit)} "
        f"{fmt.symbol(difference.unit)}{interval_in_brackets(difference)}"
    )
    has_interval = difference.low is not None
    of_probe, of_prompts = defined(evaluation.baselines, "linear_probe_plain_named_word", "zero_shot_plain_named_word")
    if of_probe is not None and of_prompts is not None:
        shares = f"in {fmt.bounded(of_probe)} of cases, the prompts in {fmt.bounded(of_prompts)}"
        text += f". Without the word, the probe names the word's class {shares}"
    if has_interval:
        text += ". The interval holds only for the probes of this run: other training images give other probes"
    return Finding("plain", f"{text}.")


def attacked_objects(evidence: Evidence) -> Table:
    """Return how often each object is still named under attack, and its commonest wrong answer, the worst first."""
    fooled = evidence.numbers("attack_success")
    is_attacked = ~np.isnan(fooled)
    if not is_attacked.any():
        raise MissingEvidence("the data hold no objects with another thing's name written on them")
    objects, predicted = (evidence.words(name)[is_attacked] for name in ("object", "predicted"))
    right = evidence.numbers("attacked_acc")[is_attacked]
    things = table_by_true_name(objects, predicted, success=fooled[is_attacked], right=right)
    things = things.sort_values(["success", "right"], ascending=[False, True], kind="stable")
    rows = [
        [name, taken_for, fmt.percent(success), fmt.percent(right), fmt.count(n)]
        for name, success, right, n, taken_for in things.head(MAX_ROWS).itertuples()
    ]
    rest = len(things) - len(rows)
    return Table(
        title=(
            f"Each object under attack ({fmt.percent(things.success.min())} to {fmt.percent(things.success.max())} %"
            " taken for the word)"
        ),
        facts=(
            "The word: the attacking word's class comes first. Right: the object's own class does. Taken for: the wrong"
            " answer with the largest count in these images."
        )
        + (f" {fmt.count(rest)} more are in the sample table." if rest else ""),
        columns=columns("Object", "Taken for", numbers=["The word, %", "Right, %", "n"]),
        rows=rows,
    )


def misread_words(evidence: Evidence) -> Table:
    """Return the misread words by their counts, with the commonest wrong answer."""
    credit = evidence.numbers("reading_acc")
    is_asked = ~np.isnan(credit)
    if not is_asked.any():
        raise MissingEvidence("the data hold no words to read")
    wrong = credit[is_asked] < 1
    if not wrong.any():
        raise MissingEvidence("every word was read right")
    written, read = (evidence.words(name)[is_asked] for name in ("written", "read"))
    table = table_by_true_name(written[wrong], read[wrong])
    totals = dict(zip(*np.unique(written, return_counts=True), strict=True))
    rows = [
        [name, taken_for, fmt.count(n), fmt.count(totals[name])]
        for name, n, taken_for in table.sort_values("n", ascending=False, kind="stable").head(MAX_ROWS).itertuples()
    ]
    return Table(
        title=f"Words that are misread ({fmt.count(int(wrong.sum()))} of {fmt.counted(int(is_asked.sum()), 'word')})",
        facts="The caption that is true, and the one with the largest count in its place.",
        columns=columns("Written", "Read as", numbers=["Misread", "n"]),
        rows=rows,
    )


def misnamed_objects(evidence: Evidence, budget: PageBudget) -> Gallery:
    """Return the objects that were misnamed under an overlay, the widest margins first."""
    return gallery(
        evidence,
        budget,
        title="Objects misnamed under an overlay",
        note="Margin: the cosine of the object's class minus the highest cosine of another class.",
        wrong=credits_of(evidence, "attacked_acc", of_subsets=False) < 1,
        margin="margin",
        facts=[
            FactColumn("Object", "object", "target_cosine"),
            FactColumn("Taken for", "predicted", "predicted_cosine"),
            FactColumn("Margin", score="margin"),
            FactColumn("Overlay says", "word"),
            FactColumn("Linear probe says", "linear_probe_predicted", is_optional=True),
        ],
        images=one_image(evidence, "{object} with {word} written on it, taken for {predicted}."),
    )


def misread_images(evidence: Evidence, budget: PageBudget) -> Gallery:
    """Return the written words that were read as another one, by the widest margin."""
    return gallery(
        evidence,
        budget,
        title="Words that were misread",
        note="Margin: the cosine of the true caption minus the highest cosine of another caption.",
        wrong=credits_of(evidence, "reading_acc", of_subsets=False) < 1,
        margin="margin",
        facts=[
            FactColumn("Written", "written", "target_cosine", twin="read"),
            FactColumn("Read as", "read", "predicted_cosine", twin="written"),
            FactColumn("Margin", score="margin"),
        ],
        images=one_image(evidence, "An image that is captioned {written}, read as {read}."),
    )


RESPONSES = tuple(map(response_figure, SETTINGS))
SECTION = Section(
    advice={
        UNREAD: (
            "Higher resolution helps, and so do captions that quote the written words. Data without images with much "
            "text teach a model less about reading (Maini et al. 2024, arXiv:2307.03132)."
        ),
        OBEYED: (
            "Models that read well tend to obey overlays (Goh et al. 2021, "
            "distill.pub/2021/multimodal-neurons). Learned prefixes of prompts (Azuma and Matsui 2023, "
            "arXiv:2304.04512) or a projection without the directions of spelling (Materzyńska et al. 2022, "
            "arXiv:2206.07835) make attacks succeed less often. Few successful attacks on a model that cannot read do "
            "not mean that it is robust."
        ),
    },
    title="Text in images",
    figures=(typographic_attacks, probe_attacks, *RESPONSES, reading),
    galleries=(misnamed_objects, misread_images),
    tables=(attacked_objects, misread_words),
    findings=findings,
    plots={
        "typographic": Plot(
            summary="accuracy and attack success under typographic attacks",
            definition="An attack succeeds when the class of the written word scores highest.",
            draws=(typographic_attacks, probe_attacks, *RESPONSES),
        )
    },
    sample_columns=(
        SampleColumn(name="object", title="Object", is_of_sample=True),
        SampleColumn(name="word", title="Overlay says", is_of_sample=True),
        SampleColumn(name="written", title="Written", is_of_sample=True),
        SampleColumn(name="predicted", title="Taken for", metrics="(?!linear_probe_|knn_).*"),
        SampleColumn(name="linear_probe_predicted", title="Taken for", metrics="linear_probe_.*"),
        SampleColumn(name="read", title="Read as", metrics="reading_acc"),
    ),
)
