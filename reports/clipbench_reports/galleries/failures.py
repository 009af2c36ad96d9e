"""The galleries of the tasks that choose among a few answers."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Bool, Float64

from clipbench.results import numbers as fmt
from clipbench_reports.galleries.gallery import (
    Cosines,
    Fact,
    Failing,
    Gallery,
    gallery,
    images,
    note,
    numbers,
    one_image,
    told_apart,
    whole,
    words,
)
from clipbench_reports.galleries.images import PageBudget
from clipbench_reports.page.evidence import Evidence, MissingEvidence, NotAsked
from clipbench_reports.page.sentences.words import TERMS, label_set_words
from clipbench_reports.page.text import quoted

Make = Callable[[Evidence, PageBudget], Gallery]

COSINES = {"right_cosine": "the two cosines"}
"""What older runs did not record."""

MARGINS = {
    True: "Margin: the cosine of the true caption less that of the false one.",
    False: "Margin: by how much the item was lost at its worst, its choices of captions and of images together.",
}
"""What the margin of an item means, by whether that of its captions was recorded."""


def misnamed(evidence: Evidence, room: PageBudget) -> Gallery:
    """Return the images that were taken for another class by the widest margin.

    Raises:
        MissingEvidence: samples have no single label and answer, or all are right.
    """
    label, predicted, margin = words(evidence, "label"), words(evidence, "predicted"), numbers(evidence, "margin")
    confidence, cosines = numbers(evidence, "confidence"), Cosines.of(evidence, margin)

    def facts(row: int) -> list[Fact]:
        right, chosen, by = cosines.told(row)
        return [
            Fact(TERMS["label"], label[row], right),
            Fact(TERMS["predicted"], predicted[row], chosen),
            Fact("Margin", "", by),
            Fact("Confidence", f"{fmt.percent(float(confidence[row]))} %"),
        ]

    def say(row: int) -> str:
        return f"An image of {quoted(label[row])}, taken for {quoted(predicted[row])}."

    failing = Failing(
        title="Images taken for another class",
        note=note(evidence, "Margin: the cosine of the true class less that of the best other one.", COSINES),
        wrong=numbers(evidence, "acc1") < 1,
        margin=margin,
        facts=facts,
        images=one_image(evidence, say),
    )
    return gallery(failing, room)


def mistaken(evidence: Evidence, room: PageBudget) -> Gallery:
    """Return the images for which a false caption was preferred, by the widest margin.

    Raises:
        NotAsked: nothing was chosen among captions.
        MissingEvidence: every choice was right.
    """
    lost, margin = lost_captions(evidence)
    caption, preferred, subset = whole(evidence, "caption"), whole(evidence, "preferred"), _subsets(evidence)
    cosines = Cosines.of(evidence, margin)

    def facts(row: int) -> list[Fact]:
        right, chosen, by = cosines.told(row)
        true, false = told_apart(caption[row], preferred[row])
        return [Fact("True", true, right), Fact(TERMS["preferred"], false, chosen), Fact("Margin", "", by), subset(row)]

    def say(row: int) -> str:
        return f"An image of {quoted(caption[row])}, for which {quoted(preferred[row])} was preferred."

    failing = Failing(
        title="False captions that were preferred",
        note=note(evidence, MARGINS[evidence.has_column("text_margin")], COSINES),
        wrong=lost,
        margin=margin,
        facts=facts,
        images=one_image(evidence, say),
    )
    return gallery(failing, room)


def lost_captions(evidence: Evidence) -> tuple[Bool[np.ndarray, " n"], Float64[np.ndarray, " n"]]:
    """Return which choices among captions were lost, ties aside, and their margins: those that ``MARGINS`` says.

    Raises:
        NotAsked: nothing was chosen among captions.
    """
    credit = _credit(evidence, "text_acc")
    margin = numbers(evidence, "text_margin" if evidence.has_column("text_margin") else "margin")
    is_told = np.array([each != "" for each in words(evidence, "preferred")])
    return (credit < 1) & (margin < 0) & is_told, margin


def misplaced(evidence: Evidence, room: PageBudget) -> Gallery:
    """Return the captions for which a false image was preferred, by the widest margin.

    Raises:
        NotAsked: nothing was chosen among images.
        MissingEvidence: every choice was right, or the run is older than what is shown here.
    """
    credit = _credit(evidence, "image_acc")
    if not evidence.has_column("asked_caption"):
        raise MissingEvidence("false images that were preferred: run composition again to have them")
    margin, caption, subset = numbers(evidence, "image_margin"), words(evidence, "asked_caption"), _subsets(evidence)
    cosines = Cosines.of(evidence, margin, right="right_image_cosine", chosen="preferred_image_cosine")

    def facts(row: int) -> list[Fact]:
        right, chosen, by = cosines.told(row)
        told = [Fact("Right", "", right), Fact(TERMS["preferred"], "", chosen), Fact("Margin", "", by)]
        return [Fact(TERMS["caption"], caption[row]), *told, subset(row)]

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
    )
    return gallery(failing, room)


def hijacked(evidence: Evidence, room: PageBudget) -> Gallery:
    """Return the objects that were taken for something else under a written label, by the widest margin.

    Raises:
        NotAsked: nothing was attacked.
        MissingEvidence: every object was named right.
    """
    credit, margin = _credit(evidence, "attacked_acc", of_subsets=False), numbers(evidence, "margin")
    thing, word, predicted = (words(evidence, name) for name in ("object", "word", "predicted"))
    cosines = Cosines.of(evidence, margin)

    def facts(row: int) -> list[Fact]:
        right, chosen, by = cosines.told(row)
        said = [
            Fact(TERMS["predicted"], predicted[row], chosen),
            Fact("Margin", "", by),
            Fact(TERMS["word"], word[row]),
        ]
        return [Fact(TERMS["object"], thing[row], right), *said]

    def say(row: int) -> str:
        return f"{quoted(thing[row])} with {quoted(word[row])} written on it, taken for {quoted(predicted[row])}."

    failing = Failing(
        title="Objects misnamed under a written label",
        note=note(evidence, "Margin: the cosine of the object's class less that of the best other one.", COSINES),
        wrong=credit < 1,
        margin=margin,
        facts=facts,
        images=one_image(evidence, say),
    )
    return gallery(failing, room)


def misread(evidence: Evidence, room: PageBudget) -> Gallery:
    """Return the written words that were read as another one, by the widest margin.

    Raises:
        NotAsked: there were no words to read.
        MissingEvidence: all were read right.
    """
    credit, margin = _credit(evidence, "reading_acc", of_subsets=False), numbers(evidence, "margin")
    written, read, cosines = whole(evidence, "written"), whole(evidence, "read"), Cosines.of(evidence, margin)

    def facts(row: int) -> list[Fact]:
        right, chosen, by = cosines.told(row)
        true, false = told_apart(written[row], read[row])
        return [Fact(TERMS["written"], true, right), Fact(TERMS["read"], false, chosen), Fact("Margin", "", by)]

    def say(row: int) -> str:
        return f"An image that is captioned {quoted(written[row])}, read as {quoted(read[row])}."

    failing = Failing(
        title="Words that were misread",
        note=note(evidence, "Margin: the cosine of the true caption less that of the best other one.", COSINES),
        wrong=credit < 1,
        margin=margin,
        facts=facts,
        images=one_image(evidence, say),
    )
    return gallery(failing, room)


def _credit(evidence: Evidence, name: str, *, of_subsets: bool = True) -> Float64[np.ndarray, " n"]:
    """Return the least credit of each sample in a column, or in those of all subsets.

    Raises:
        NotAsked: there is no such column.
    """
    names = [each for each in evidence.columns if each == name or (of_subsets and each.endswith(f"/{name}"))]
    if not names:
        raise NotAsked(name)
    return np.fmin.reduce([numbers(evidence, each) for each in names])


def _subsets(evidence: Evidence) -> Callable[[int], Fact]:
    """Return a function that says what subset a row is of."""
    named = words(evidence, "subset")
    return lambda row: Fact("Subset", label_set_words(evidence.evaluation.dataset.id, named[row]) or named[row])
