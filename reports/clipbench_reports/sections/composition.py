"""Composition: which choices are lost, by subset, and how alike a caption and its hard negative are."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float64

from clipbench.results import numbers as fmt
from clipbench.results.metric_name import in_subset, subset_of
from clipbench.results.record import EvaluationRecord, Metric
from clipbench.results.table import Table, columns
from clipbench.results.titles import subset_title, within_sentence
from clipbench.stats.claims import order
from clipbench_reports.drawing.facets import Layer, Statement, facet_chart
from clipbench_reports.drawing.marks import Axis, Chart, Mark, Panel, Role, fraction_axis
from clipbench_reports.evidence import Evidence, MissingEvidence, Models, read_each
from clipbench_reports.figures.geometry import Distribution, histogram_shares, ridges
from clipbench_reports.figures.shared import chance_strokes, intervals
from clipbench_reports.findings import Ability, Finding, claim, defined, not_better, skill
from clipbench_reports.galleries import (
    FactColumn,
    Gallery,
    PageBudget,
    credits_of,
    gallery,
    images,
    one_image,
    words,
)
from clipbench_reports.sections.section import Plot, SampleColumn, SampleImage, Section
from clipbench_reports.text import quoted, sentence_case, two_lines

SPACE, ROW = 0.6, 0.085
"""Between two subsets, where a row is 1, and the height of a row, where the width of the plane is 1."""
NAME_LENGTH = 18
MEANS = ("micro", "macro")
"""Subsets of a metric's name that are means over all."""


class Side(NamedTuple):
    role: Role
    words: str
    meaning: str = ""


SIDES = {
    "text_acc": Side("text", "captions", "all captions of an image in the right order"),
    "image_acc": Side("image", "images", "all images of a caption"),
    "group_acc": Side("ink", "both"),
    "text_only_acc": Side("pair", "text only", "captions only, without the image"),
}
KINDS = {
    "hard_negative_cosine": Side("text", "its hard negative"),
    "shuffled_cosine": Side("pair", "its words shuffled"),
    "other_cosine": Side("ink", "an unrelated caption"),
}

Accuracies = Mapping[str, Mapping[str, Metric]]
"""Metrics by subset, then by side."""
Heights = Mapping[tuple[str, str], float]
"""The row of each side of each subset, from the top."""


def composition(models: Models) -> Chart:
    """Return the accuracy of each subset with its interval, against chance."""
    by_model = read_each(models, _read)
    rows = _sides_by_subset(by_model.all)
    measured_sides = set().union(*rows.values())
    used_sides = [side for side in SIDES if side in measured_sides]
    heights, foot = _heights(rows)
    middles = {}
    for subset, sides in rows.items():
        middles[subset] = float(np.mean([heights[subset, side] for side in sides]))
    if by_model.is_joint:  # each side has a panel, in which the models share the row of a subset
        heights = {(subset, side): middles[subset] for subset, side in heights}
    y = Axis(low=foot, high=0)
    if list(rows) != [""]:
        y = replace(y, ticks=list(middles.values()), names=[two_lines(subset, NAME_LENGTH) for subset in rows])

    def layer(accuracies: Accuracies) -> Layer:
        return Layer(_marks(accuracies, used_sides, heights), _state(accuracies, used_sides[0]))

    reading = "Bars are 95 % intervals."
    meanings = []
    for side in used_sides:
        words, meaning = SIDES[side].words, SIDES[side].meaning
        if meaning:
            meanings.append(f"{words}: {meaning}")
    if meanings:
        reading = f"{sentence_case('; '.join(meanings))}. {reading}"
    plane = Panel(x=fraction_axis("Accuracy, %"), y=y, aspect=ROW * foot, has_grid=False)
    return facet_chart(plane, by_model.map(layer), reading=reading)


def _sides_by_subset(accuracies_of_models: Sequence[Accuracies]) -> dict[str, list[str]]:
    """Return the sides that a model has an accuracy of, in the order of ``SIDES``, by subset."""
    measured: dict[str, set[str]] = {}
    for accuracies in accuracies_of_models:
        for subset, sides in accuracies.items():
            measured.setdefault(subset, set()).update(sides)
    sides_by_subset = {}
    for subset, measured_sides in measured.items():
        sides_by_subset[subset] = [side for side in SIDES if side in measured_sides]
    return sides_by_subset


def _read(evidence: Evidence) -> Accuracies:
    """Return the defined accuracies by the title of their subset, then by side, without means over subsets."""
    evaluation = evidence.evaluation
    metrics_of_sides = {side: by_subset(evaluation, side) for side in SIDES}
    accuracies = {}
    for subset in subsets_of(evaluation.metrics):
        sides = {side: metrics[subset] for side, metrics in metrics_of_sides.items() if subset in metrics}
        if sides:
            accuracies[subset_title(subset, evaluation.subsets)] = sides
    if not accuracies:
        raise MissingEvidence("no accuracy of choices was recorded")
    return accuracies


def _heights(rows: Mapping[str, Sequence[str]]) -> tuple[dict[tuple[str, str], float], float]:
    """Return the height of each side of each subset, and of the lower edge, from the top."""
    heights, top = dict[tuple[str, str], float](), SPACE / 2
    for subset, sides in rows.items():
        for index, side in enumerate(sides):
            heights[subset, side] = top + index + 0.5
        top += len(sides) + SPACE
    return heights, top - SPACE / 2


def _marks(accuracies: Accuracies, used_sides: Sequence[str], heights: Heights) -> list[Mark]:
    marks: list[Mark] = []
    for subset, sides in accuracies.items():
        for side, metric in sides.items():
            marks += chance_strokes([(heights[subset, side], metric)], half=0.5, of=SIDES[side].words)
    for side in used_sides:
        side_metrics = _of_side(accuracies, side)
        rows = [heights[subset, side] for subset in side_metrics]
        if side_metrics:
            marks.append(intervals(side_metrics, rows, SIDES[side].role, SIDES[side].words, is_upright=False))
    return marks


def _of_side(accuracies: Accuracies, side: str) -> dict[str, Metric]:
    """Return the metrics of a side by subset."""
    return {subset: sides[side] for subset, sides in accuracies.items() if side in sides}


def _state(accuracies: Accuracies, side: str) -> Statement:
    scored = _of_side(accuracies, side)
    words = sentence_case(SIDES[side].words)
    if len(scored) == 1:
        (metric,) = scored.values()
        chance = f", chance {fmt.percent(metric.chance)} %" if metric.chance is not None else ""
        value = f"{fmt.percent(metric.value)} % of {fmt.count(metric.n)} items{chance}"
        return Statement(subject=f"{words} told apart", value=value)
    return Statement(subject=f"{words} distinguished, over the subsets", value=_order(scored))


def _order(scored: Mapping[str, Metric]) -> str:
    """Return the best and the worst subset as far as tests show them, otherwise the range of the values."""

    def describe(subset: str) -> str:
        return f"{quoted(subset)} ({fmt.percent(scored[subset].value)} %)"

    ranking = order(scored)
    ends = {"best": ranking.highest, "worst": ranking.lowest}
    extremes = {degree: subset for degree, subset in ends.items() if subset is not None}
    if extremes:
        parts = " and ".join(f"{degree} in {describe(subset)}" for degree, subset in extremes.items())
        rest = [metric for subset, metric in scored.items() if subset not in extremes.values()]
        return f"{parts}, in the others in {_span(rest)}" if rest else parts
    if ranking.ends:
        low, high = map(describe, ranking.ends)
        return f"more often in {high} than in {low}"
    return f"in {_span(scored.values())} of the items of {len(scored)} subsets"


def _span(metrics: Iterable[Metric]) -> str:
    """Return the lowest and the highest value, without claiming an order of the metrics."""
    values = [metric.value or 0.0 for metric in metrics]
    low, high = fmt.percent(min(values)), fmt.percent(max(values))
    return f"{low} %" if low == high else f"{low} to {high} %"


def subsets_of(names: Iterable[str]) -> list[str]:
    """Return the subsets of metric names, without means over all and over a category. "" is a set without subsets.

    A subset is a category where others have its name and an underscore before their own, as ``swap`` and ``swap_att``.

    Example:
        >>> subsets_of(["macro/text_acc", "swap/text_acc", "swap_att/text_acc", "swap_obj/text_acc", "other_cosine"])
        ['swap_att', 'swap_obj', '']
    """
    subsets = list(dict.fromkeys(subset_of(name) for name in names))

    def is_category(subset: str) -> bool:
        return subset != "" and any(other.startswith(f"{subset}_") for other in subsets)

    return [subset for subset in subsets if subset not in MEANS and not is_category(subset)]


def by_subset(evaluation: EvaluationRecord, score: str) -> Mapping[str, Metric]:
    """Return a score's defined values by subset."""
    values = {}
    for subset in subsets_of(evaluation.metrics):
        metric = evaluation.metrics.get(in_subset(subset, score))
        if metric is not None and metric.value is not None:
            values[subset] = metric
    return values


def hard_negatives(models: Models) -> Chart:
    """Return the distributions of cosines of a caption with its hard negative, its shuffled words and others."""
    return ridges(
        read_each(models, _cosines),
        "Mean cosine of a caption",
        lambda distribution: f"with {distribution.label} {distribution.mean_words}",
        reading="Cosines between text embeddings. Each distribution is scaled to the same height, and the upright "
        "stroke is its mean. If a caption is as near to its hard negative as to itself (cosine 1), no image can "
        "distinguish the two.",
    )


def _cosines(evidence: Evidence) -> list[Distribution]:
    distributions = []
    for name, side in KINDS.items():
        values = evidence.numbers(name) if evidence.has_column(name) else np.zeros(0)
        values = values[np.isfinite(values)]
        if len(values):
            distributions.append(Distribution(side.words, side.role, *histogram_shares(values), float(values.mean())))
    if not distributions:
        raise MissingEvidence("the run kept no cosines between captions")
    return distributions


MAX_CHOICES = 15
MAX_SUBSETS = 2
"""Subsets that a sentence names. It counts the others, which the scorecard has."""
BAG_OF_WORDS = "The order of words does not count"
OF_CAPTIONS = "(text|group)_acc"
MARGIN = "Margin: the cosine of the true caption minus the cosine of the false one."
SENTENCES = {
    "text_acc": (
        "caption",
        "Text score: {value} of {n} items have their true captions above the false ones",
    ),
    "image_acc": ("image", "Image score: {value} of {n} items have their true images above the others"),
}
CHOICES = {
    "below chance": "Below chance at choosing the right {}",
    "no difference shown": "No difference from chance shown at choosing the right {}",
}
"""The choices of a model among subsets of items, by their relation to chance."""


def findings(evaluation: EvaluationRecord) -> list[Finding]:
    """Return whether true beats false, in which subsets no test shows it, and how similar hard negatives are."""
    sentences = []
    for name, (side, sentence) in SENTENCES.items():
        metric = evaluation.metrics.get(f"micro/{name}") or evaluation.metrics.get(name)
        if metric is not None:
            choice = f"right {side}s from wrong ones"
            ability = Ability(f"distinguishes {choice}", f"does not distinguish {choice}", f"prefers the wrong {side}")
            sentences.append(claim(sentence, metric, weakness=BAG_OF_WORDS, ability=ability))
            sentences += _subsets(evaluation, name, side)
    return [*sentences, *_twins(evaluation)]


def _subsets(evaluation: EvaluationRecord, name: str, side: str) -> list[Finding]:
    """Return the subsets in which no test shows that the model beats chance, if there are several."""
    metrics = {}
    for subset, metric in by_subset(evaluation, name).items():
        if subset:
            metrics[subset_title(subset, evaluation.subsets)] = metric

    def describe(title: str) -> str:
        metric = metrics[title]
        value = f"{fmt.percent(metric.value)} % {fmt.interval(metric)}"
        return f"{quoted(title)} {value}, chance {fmt.percent(metric.chance)} %"

    not_above_chance = not_better(metrics, describe)
    relations = [relation for relation in CHOICES if relation in not_above_chance]
    if not relations:
        return []
    clauses = []
    for relation in relations:
        choice = CHOICES[relation].format(side)
        named = not_above_chance[relation]
        more = f" and {len(named) - MAX_SUBSETS} more" if len(named) > MAX_SUBSETS else ""
        clauses.append(f"{choice}: {'; '.join(named[:MAX_SUBSETS])}{more}")
    first_relation = relations[0]  # the gravest
    first_subset = not_above_chance[first_relation][0]
    finding = Finding(
        "level",
        f"{'. '.join(clauses)}.",
        min(skill(metric) for metric in metrics.values()),
        weakness=BAG_OF_WORDS,
        short=f"{CHOICES[first_relation].format(side)}: {first_subset}.",
    )
    if first_relation != "below chance":
        return [finding]
    title = next(title for title in metrics if describe(title) == first_subset)
    failure = f"prefers the wrong {side} with {within_sentence(title)}"
    return [finding._replace(mark="weak", ability=Ability(failure, degree="reversed"))]


def _twins(evaluation: EvaluationRecord) -> list[Finding]:
    negative, other = defined(evaluation.metrics, "hard_negative_cosine", "other_cosine")
    if negative is None:
        return []
    text = f"A caption and its hard negative have cosine {fmt.bounded(negative)} on average"
    if other is not None:
        text += f", and a caption and an unrelated one {fmt.bounded(other)}"
    return [Finding("plain", f"{text}.")]


def lost_choices(evidence: Evidence) -> Table:
    """Return the choices of captions that were lost by the widest margin."""
    caption, preferred, subset = (evidence.words(name) for name in ("caption", "preferred", "subset"))
    is_lost, margin = lost_captions(evidence)
    lost = np.flatnonzero(is_lost)
    if not len(lost):
        raise MissingEvidence("no choice among captions was lost")
    worst = lost[np.argsort(margin[lost], kind="stable")][:MAX_CHOICES]
    rows = []
    for row in worst.tolist():
        title = subset_title(subset[row], evidence.evaluation.subsets) or fmt.NONE
        rows.append([caption[row], preferred[row], title, fmt.number(margin[row], "cosine")])
    return Table(
        title=f"Lost choices, the widest margins first ({fmt.counted(len(lost), 'item')} lost in all)",
        facts=f"Shown is each item's image with the lowest margin. {MARGIN}",
        columns=columns("True caption", "Preferred", "Subset", numbers=["Margin, cosine"]),
        rows=rows,
    )


def preferred_false_captions(evidence: Evidence, budget: PageBudget) -> Gallery:
    """Return the images for which a hard negative was preferred, by the widest margin."""
    return gallery(
        evidence,
        budget,
        title="Hard negatives that were preferred",
        note=MARGIN,
        wrong=lost_captions(evidence)[0],
        margin="text_margin",
        facts=[
            FactColumn("True", "caption", "target_cosine", twin="preferred"),
            FactColumn("Preferred", "preferred", "predicted_cosine", twin="caption"),
            FactColumn("Margin", score="text_margin"),
            _subset_column(evidence),
        ],
        images=one_image(evidence, "An image of {caption}, for which {preferred} was preferred."),
    )


def lost_captions(evidence: Evidence) -> tuple[Bool[np.ndarray, " n"], Float64[np.ndarray, " n"]]:
    """Return which choices among captions were lost, ties aside, and their margins.

    Raises:
        NotAsked: nothing was chosen among captions.
    """
    credit = credits_of(evidence, "text_acc")
    margin = evidence.numbers("text_margin")
    has_choice = np.array([caption != "" for caption in words(evidence, "preferred")])
    return (credit < 1) & (margin < 0) & has_choice, margin


def preferred_false_images(evidence: Evidence, budget: PageBudget) -> Gallery:
    """Return the captions for which a false image was preferred, by the widest margin."""
    caption = words(evidence, "query_caption")
    return gallery(
        evidence,
        budget,
        title="False images that were preferred",
        note="Margin: the caption's cosine with the right image minus its cosine with the false one.",
        wrong=(credits_of(evidence, "image_acc") < 1) & (evidence.numbers("image_margin") < 0),
        margin="image_margin",
        facts=[
            FactColumn("Caption", "query_caption"),
            FactColumn("Right", score="target_image_cosine"),
            FactColumn("Preferred", score="predicted_image_cosine"),
            FactColumn("Margin", score="image_margin"),
            _subset_column(evidence),
        ],
        images=images(
            evidence,
            ("Right", "target_image"),
            ("Preferred", "predicted_image"),
            say=lambda row, role: f"{role} for {quoted(caption[row])}.",
        ),
    )


def _subset_column(evidence: Evidence) -> FactColumn:
    subsets = words(evidence, "subset")
    return FactColumn("Subset", lambda row: subset_title(subsets[row], evidence.evaluation.subsets))


SECTION = Section(
    advice={
        BAG_OF_WORDS: "A contrastive loss can be solved with the words of a caption as a bag, because few batches"
        " hold two captions of the same words. Training with such captions as hard negatives helps (Yuksekgonul "
        "et al. 2023, arXiv:2210.01936). Some of that gain is a habit of the benchmark (Hsieh et al. 2023, "
        "arXiv:2306.14610): compare the score with the blind rules among the baselines.",
    },
    title="Composition",
    figures=(composition, hard_negatives),
    galleries=(preferred_false_captions, preferred_false_images),
    tables=(lost_choices,),
    findings=findings,
    plots={
        "composition": Plot(
            summary="accuracy by subset, and cosines of a caption with its hard negative",
            draws=(composition, hard_negatives),
        )
    },
    # Of several true captions, and of several images, a row names those that its model came nearest to failing with.
    sample_columns=(
        SampleColumn(name="caption", title="True", metrics=r"(?!image_acc).*"),
        SampleColumn(name="preferred", title="Preferred", metrics=OF_CAPTIONS, right="caption", margin="text_margin"),
        SampleColumn(name="text_margin", title="Margin, captions", metrics=OF_CAPTIONS),
        SampleColumn(name="query_caption", title="Asked for", metrics="image_acc"),
        SampleColumn(name="image_margin", title="Margin, images", metrics="(image|group)_acc"),
    ),
    sample_images=(
        SampleImage(name="target_image", role="right", metrics="image_acc"),
        SampleImage(
            name="predicted_image", role="preferred", metrics="image_acc", right="target_image", margin="image_margin"
        ),
    ),
)
