"""Composition: which choices are lost, by subset, and how alike a caption and its false twin are."""

from collections.abc import Callable
from functools import partial

import numpy as np
from jaxtyping import Bool, Float64

from clipbench.results import numbers as fmt
from clipbench.results.record import EvaluationRecord
from clipbench.results.table import Table, columns
from clipbench.results.titles import subset_title
from clipbench_reports import figures
from clipbench_reports.galleries.gallery import (
    COSINES,
    Cosines,
    Fact,
    Failing,
    Gallery,
    around_difference,
    credits_of,
    gallery,
    images,
    known,
    note,
    one_image,
    words,
)
from clipbench_reports.galleries.images import PageBudget
from clipbench_reports.page.evidence import Evidence, MissingEvidence
from clipbench_reports.page.sentences.findings import (
    Finding,
    claim,
    headline_findings,
    mark_of,
    not_better,
    skill,
)
from clipbench_reports.page.text import quoted
from clipbench_reports.sections.section import SampleColumn, SampleImage, Section

MAX_CHOICES = 15
BAG_OF_WORDS = "The order of words does not count"
OF_CAPTIONS = "(text|group)_acc"
MARGINS = {
    True: "Margin: the cosine of the true caption less that of the false one.",
    False: "Margin: by how much the item was lost at its worst, its choices of captions and of images together.",
}
"""The meaning of an item's margin, by whether that of its captions was recorded."""
SENTENCES = {
    "text_acc": (
        "captions",
        "Puts the captions that are true of an image above the false ones in {value} of {n} items",
    ),
    "image_acc": ("images", "Puts the images that a caption is true of above the others in {value} of {n} items"),
}


def findings(evaluation: EvaluationRecord) -> list[Finding]:
    """Return whether true beats false on the whole, in which subsets no test shows it, and how alike twins are."""
    sentences = []
    for name, (side, sentence) in SENTENCES.items():
        metric = evaluation.metrics.get(f"micro/{name}") or evaluation.metrics.get(name)
        if metric is not None:
            sentences += [claim(sentence, metric, weakness=BAG_OF_WORDS), *_subsets(evaluation, name, side)]
    return [*sentences, *_twins(evaluation)] or headline_findings(evaluation)


def _subsets(evaluation: EvaluationRecord, name: str, side: str) -> list[Finding]:
    """Return the subsets in which no test shows that a model beats chance, where there are several."""
    metrics = {
        subset_title(subset, evaluation.subsets): metric
        for subset, metric in figures.by_subset(evaluation, name).items()
        if subset
    }

    def say(title: str) -> str:
        return f"{quoted(title)} ({fmt.percent(metrics[title].value)} %; chance {fmt.percent(metrics[title].chance)})"

    parts = [f"{how} in {', '.join(titles)}" for how, titles in not_better(metrics, say).items()]
    if not parts:
        return []
    lowest = min(map(skill, metrics.values()))
    text = f"Telling {side} apart: {'; '.join(parts)}."
    return [Finding(mark_of(metrics.values()), text, lowest, weakness=BAG_OF_WORDS)]


def _twins(evaluation: EvaluationRecord) -> list[Finding]:
    """Return how near a caption is to its twin, beside how near it is to any other caption."""
    twin, other = (evaluation.metrics.get(name) for name in ("twin_cosine", "other_cosine"))
    if twin is None or twin.value is None:
        return []
    text = f"A caption and its false twin have cosine {fmt.number(twin.value, twin.unit)} on average"
    if other is not None and other.value is not None:
        text += f"; a caption and an unrelated one {fmt.number(other.value, other.unit)}"
    return [Finding("plain", f"{text}.")]


def lost_choices(evidence: Evidence) -> Table:
    """Return the choices of captions that were lost by the widest margin.

    Raises:
        MissingEvidence: nothing was chosen among captions, or no choice was lost.
    """
    caption, preferred, subset = (evidence.words(name) for name in ("caption", "preferred", "subset"))
    title = partial(subset_title, subsets=evidence.evaluation.subsets)
    is_lost, margin = lost_captions(evidence)
    lost = np.flatnonzero(is_lost)
    if not len(lost):
        raise MissingEvidence("no choice among captions was lost")
    worst = lost[np.argsort(margin[lost], kind="stable")][:MAX_CHOICES]
    return Table(
        title=f"Lost choices, the widest margins first ({fmt.counted(len(lost), 'item')} lost in all)",
        facts=f"Shown is each item's image with the lowest margin. {MARGINS[evidence.has_column('text_margin')]}",
        columns=columns("True caption", "Preferred", "Subset", numbers=["Margin, cosine"]),
        rows=[
            [caption[row], preferred[row], title(subset[row]) or fmt.NONE, fmt.number(margin[row], "cosine")]
            for row in worst.tolist()
        ],
    )


def mistaken(evidence: Evidence, budget: PageBudget) -> Gallery:
    """Return the images for which a false caption was preferred, by the widest margin.

    Raises:
        NotAsked: nothing was chosen among captions.
        MissingEvidence: every choice was right.
    """
    lost, margin = lost_captions(evidence)
    caption, preferred, subset = (
        evidence.words("caption").tolist(),
        evidence.words("preferred").tolist(),
        _subset_of(evidence),
    )
    cosines = Cosines.of(evidence, margin)

    def facts(row: int) -> list[Fact]:
        right, chosen, by = cosines.written(row)
        true, false = around_difference(caption[row], preferred[row])
        return [
            Fact("True", true, right, whole=caption[row]),
            Fact("Preferred", false, chosen, whole=preferred[row]),
            Fact("Margin", "", by),
            subset(row),
        ]

    def say(row: int) -> str:
        return f"An image of {quoted(caption[row])}, for which {quoted(preferred[row])} was preferred."

    failing = Failing(
        title="False captions that were preferred",
        note=note(evidence, MARGINS[evidence.has_column("text_margin")], COSINES),
        wrong=lost,
        margin=margin,
        facts=facts,
        images=one_image(evidence, say),
        ids=known(evidence, "sample_id"),
    )
    return gallery(failing, budget)


def lost_captions(evidence: Evidence) -> tuple[Bool[np.ndarray, " n"], Float64[np.ndarray, " n"]]:
    """Return which choices among captions were lost, ties aside, and their margins: those that ``MARGINS`` says.

    Raises:
        NotAsked: nothing was chosen among captions.
    """
    credit = credits_of(evidence, "text_acc")
    margin = evidence.numbers("text_margin" if evidence.has_column("text_margin") else "margin")
    has_choice = np.array([each != "" for each in words(evidence, "preferred")])
    return (credit < 1) & (margin < 0) & has_choice, margin


def misplaced(evidence: Evidence, budget: PageBudget) -> Gallery:
    """Return the captions for which a false image was preferred, by the widest margin.

    Raises:
        NotAsked: nothing was chosen among images.
        MissingEvidence: every choice was right, or the run is older than what is shown here.
    """
    credit = credits_of(evidence, "image_acc")
    if not evidence.has_column("asked_caption"):
        raise MissingEvidence("false images that were preferred: run composition again to have them")
    margin, caption, subset = evidence.numbers("image_margin"), words(evidence, "asked_caption"), _subset_of(evidence)
    cosines = Cosines.of(evidence, margin, right="right_image_cosine", chosen="preferred_image_cosine")

    def facts(row: int) -> list[Fact]:
        right, chosen, by = cosines.written(row)
        scores = [Fact("Right", "", right), Fact("Preferred", "", chosen), Fact("Margin", "", by)]
        return [Fact("Caption", caption[row]), *scores, subset(row)]

    failing = Failing(
        title="False images that were preferred",
        note=note(evidence, "Margin: the caption's cosine with the right image less that with the false one."),
        wrong=(credit < 1) & (margin < 0),
        margin=margin,
        facts=facts,
        images=images(
            evidence,
            ("Right", "right_image"),
            ("Preferred", "preferred_image"),
            say=lambda row, role: f"{role} for {quoted(caption[row])}.",
        ),
        ids=known(evidence, "sample_id"),
    )
    return gallery(failing, budget)


def _subset_of(evidence: Evidence) -> Callable[[int], Fact]:
    """Return a function that says of which subset a row is."""
    subsets = words(evidence, "subset")
    return lambda row: Fact("Subset", subset_title(subsets[row], evidence.evaluation.subsets))


ADVICE = {
    BAG_OF_WORDS: "A contrastive loss can be solved with the words of a caption as a bag, because few batches hold two "
    "captions of the same words. Training with such captions as hard negatives helps (Yuksekgonul et al. "
    "2023). "
    "Some of what that gains is a habit of the benchmark (Hsieh et al. 2023): read the score beside the blind"
    " rules among the controls."
}


SECTION = Section(
    advice=ADVICE,
    title="Composition",
    figures=(figures.composition, figures.twins),
    galleries=(mistaken, misplaced),
    tables=(lost_choices,),
    findings=findings,
    # Of several true captions, and of several images, a row names those that its model came nearest to failing with.
    sample_columns=(
        SampleColumn(name="caption", title="True", metrics=r"(?!image_acc).*"),
        SampleColumn(name="preferred", title="Preferred", metrics=OF_CAPTIONS, right="caption", margin="text_margin"),
        SampleColumn(name="text_margin", title="Margin, captions", metrics=OF_CAPTIONS),
        SampleColumn(name="asked_caption", title="Asked for", metrics="image_acc"),
        SampleColumn(name="image_margin", title="Margin, images", metrics="(image|group)_acc"),
    ),
    sample_images=(
        SampleImage(name="right_image", role="right", metrics="image_acc"),
        SampleImage(
            name="preferred_image", role="preferred", metrics="image_acc", right="right_image", margin="image_margin"
        ),
    ),
)
