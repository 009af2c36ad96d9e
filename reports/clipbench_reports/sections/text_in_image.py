"""Text in images: the effect of written words on classification, and which words are read."""

from collections import Counter
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
from clipbench_reports.drawing.marks import Chart, Mark, Panel, Ranges, Role, columns_axis, fraction_axis, rows_axis
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
    measured_kinds: set[str] = set()
    metrics: list[Metric] = []
    for shares in by_model.all:
        measured_kinds |= shares.right.keys()
        metrics += shares.right.values()
    kinds = [kind for kind in CONDITIONS if kind in measured_kinds]
    names = ["\n".join(CONDITIONS[kind]) for kind in kinds]
    bars = fmt.interval_name(metrics)
    return facet_chart(
        Panel(x=columns_axis(names), y=fraction_axis("Predicted class, %")),
        by_model.map(lambda shares: Layer(_marks(shares, kinds), _state(shares))),
        reading=(
            "The fraction of images that are classified as the object, and as the attacking word, whether or not it is "
            f"written, among all classes. Bars: {bars}s."
        ),
    )


def _read_shares(evidence: Evidence) -> _PredictedShares:
    evaluation = evidence.evaluation
    metrics = _with_value({**evaluation.baselines, **evaluation.metrics})
    right_names = {kind: f"{kind}_acc" for kind in CONDITIONS}
    fooled_names = {"clean": "clean_named_word", "blank": "blank_named_word", "attacked": "attack_success"}
    right = {kind: metrics[name] for kind, name in right_names.items() if name in metrics}
    fooled = {kind: metrics[name] for kind, name in fooled_names.items() if name in metrics}
    if "attacked" not in right:
        raise MissingEvidence("the data hold no objects with another thing's name written on them")
    return _PredictedShares(right, fooled)


def _with_value(metrics: Mapping[str, Metric]) -> dict[str, Metric]:
    return {name: metric for name, metric in metrics.items() if metric.value is not None}


def _marks(shares: _PredictedShares, kinds: Sequence[str]) -> list[Mark]:
    return [
        *chance_rule(shares.right["attacked"].chance),
        _joined_intervals(shares.right, kinds, IMAGE, OBJECT, -ASIDE),
        _joined_intervals(shares.fooled, kinds, TEXT, WORD, ASIDE),
    ]


def _joined_intervals(
    metrics: Mapping[str, Metric], kinds: Sequence[str], role: Role, name: str, aside: float
) -> Ranges:
    """Return the interval of each kind of overlay that the data has, at the position of the kind."""
    measured_kinds = [kind for kind in kinds if kind in metrics]
    positions = [kinds.index(kind) for kind in measured_kinds]
    labelled_metrics = {" ".join(CONDITIONS[kind]): metrics[kind] for kind in measured_kinds}
    return intervals(labelled_metrics, positions, role, name, is_joined=True, aside=aside)


def _state(shares: _PredictedShares) -> Statement:
    value = f"{fmt.percent(shares.right['attacked'].value)} % with another thing's name on the object"
    # Accuracy before the attack is without any overlay, or else with a blank one.
    for kind, overlay in (("clean", "without an overlay"), ("blank", "with a blank overlay")):
        if kind in shares.right:
            value = f"{fmt.percent(shares.right[kind].value)} % {overlay}, {value}"
            break
    if "attacked" in shares.fooled:
        value += f", attack success {fmt.percent(shares.fooled['attacked'].value)} %"
    return Statement(subject="Accuracy", value=value)


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
    recorded = evidence.evaluation.metrics
    if "linear_probe_attack_success" not in recorded:
        raise NotAsked("attacks on probes")
    metrics = _with_value(recorded)
    if "linear_probe_attack_success" not in metrics:
        raise MissingEvidence(recorded["linear_probe_attack_success"].reason or NO_REASON)
    marks: list[Mark] = chance_rule(metrics["linear_probe_attacked_acc"].chance)
    for series, (role, name, aside) in SERIES.items():
        shares, positions = dict[str, Metric](), list[int]()
        for position, (classifier, label) in enumerate(CLASSIFIERS.items()):
            if f"{classifier}_{series}" in metrics:
                shares[label] = metrics[f"{classifier}_{series}"]
                positions.append(position)
        if shares:
            marks.append(intervals(shares, positions, role, name, aside=aside))
    return Layer(marks, _state_probes(metrics))


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
    evaluation = evidence.evaluation
    by_subset = {}
    for name, metric in evaluation.metrics.items():
        if base_name(name) == NAME and metric.value is not None:
            by_subset[subset_of(name)] = metric
    if "" not in by_subset:
        raise MissingEvidence("the data hold no words to read")
    by_title = {}
    for subset, metric in by_subset.items():
        title = subset_title(subset, evaluation.subsets) if subset else ALL
        by_title[title] = metric
    return by_title


def _layer_reading(metrics: Mapping[str, Metric], rows: Sequence[str]) -> Layer:
    positions = [rows.index(name) for name in metrics]
    guesses = chance_strokes(zip(positions, metrics.values(), strict=True))
    credits = intervals(metrics, positions, "text", "read correctly", is_upright=False)
    all_words = metrics[ALL]
    value = f"{fmt.percent(all_words.value)} % of {fmt.count(all_words.n)} images"
    if all_words.chance is not None:
        value += f", where guessing gives {fmt.percent(all_words.chance)} %"
    return Layer([*guesses, credits], Statement(subject="Written words that are read correctly", value=value))


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
    text = f"Attack success: {fmt.bounded(success)} of {fmt.count(success.n)} attacks"
    if baseline is not None:
        relation = "more than" if mark == "weak" else "and"
        text += f", {relation} {fmt.bounded(baseline)} without the overlay"
    finding = Finding(mark, f"{text}{_named_objects(evaluation)}.", against, short=f"{text}.")
    if mark == "weak":
        return finding._replace(weakness=OBEYED, ability=MISTAKING)
    return finding


def _named_objects(evaluation: EvaluationRecord) -> str:
    """Return how often the object is named with each kind of overlay, as a further sentence without its full stop."""
    clean, blank, attacked = defined(evaluation.metrics, "clean_acc", "blank_acc", "attacked_acc")
    shares = []
    for metric, overlay in ((clean, "without an overlay"), (blank, "with a blank one"), (attacked, "under attack")):
        if metric is not None:
            shares.append(f"{fmt.bounded(metric)} {overlay}")
    text = f". Object named: {', '.join(shares)}" if shares else ""
    if attacked is not None:
        text += f", chance {fmt.percent(attacked.chance)} %"
    return text


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
    plain_probe, plain_prompts = defined(
        evaluation.baselines, "linear_probe_plain_named_word", "zero_shot_plain_named_word"
    )
    if plain_probe is not None and plain_prompts is not None:
        shares = f"in {fmt.bounded(plain_probe)} of cases, the prompts in {fmt.bounded(plain_prompts)}"
        text += f". Without the word, the probe names the word's class {shares}"
    if difference.low is not None:
        text += ". The interval holds only for the probes of this run: other training images give other probes"
    return Finding("plain", f"{text}.")


def attacked_objects(evidence: Evidence) -> Table:
    """Return how often each object is still named under attack, and its commonest wrong answer, the worst first."""
    fooled = evidence.numbers("attack_success")
    is_attacked = ~np.isnan(fooled)
    if not is_attacked.any():
        raise MissingEvidence("the data hold no objects with another thing's name written on them")
    objects = table_by_true_name(
        evidence.words("object")[is_attacked],
        evidence.words("predicted")[is_attacked],
        success=fooled[is_attacked],
        right=evidence.numbers("attacked_acc")[is_attacked],
    )
    worst_first = objects.sort_values(["success", "right"], ascending=[False, True], kind="stable")
    rows = []
    for name, success, right, n, taken_for in worst_first.head(MAX_ROWS).itertuples():
        rows.append([name, taken_for, fmt.percent(success), fmt.percent(right), fmt.count(n)])
    facts = (
        "The word: the attacking word's class comes first. Right: the object's own class does. Taken for: the wrong"
        " answer with the largest count in these images."
    )
    n_left = len(objects) - len(rows)
    if n_left:
        facts += f" {fmt.count(n_left)} more are in the sample table."
    lowest, highest = fmt.percent(objects.success.min()), fmt.percent(objects.success.max())
    return Table(
        title=f"Each object under attack ({lowest} to {highest} % taken for the word)",
        facts=facts,
        columns=columns("Object", "Taken for", numbers=["The word, %", "Right, %", "n"]),
        rows=rows,
    )


def misread_words(evidence: Evidence) -> Table:
    """Return the misread words by their counts, with the commonest wrong answer."""
    credit = evidence.numbers("reading_acc")
    is_asked = ~np.isnan(credit)
    if not is_asked.any():
        raise MissingEvidence("the data hold no words to read")
    is_wrong = credit[is_asked] < 1
    if not is_wrong.any():
        raise MissingEvidence("every word was read right")
    written = evidence.words("written")[is_asked]
    read = evidence.words("read")[is_asked]
    misread = table_by_true_name(written[is_wrong], read[is_wrong])
    commonest = misread.sort_values("n", ascending=False, kind="stable").head(MAX_ROWS)
    totals = Counter(written)
    rows = []
    for name, n, taken_for in commonest.itertuples():
        rows.append([name, taken_for, fmt.count(n), fmt.count(totals[name])])
    n_wrong, n_asked = int(is_wrong.sum()), int(is_asked.sum())
    return Table(
        title=f"Words that are misread ({fmt.count(n_wrong)} of {fmt.counted(n_asked, 'word')})",
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


RESPONSES = tuple(response_figure(setting) for setting in SETTINGS)
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
