"""The galleries of the tasks that ship."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Bool, Float64

from clipbench_reports import format as fmt
from clipbench_reports.evidence import Evidence, Lacking
from clipbench_reports.gallery import Failing, Gallery, Picture, cosines, gallery, known, numbers, one_picture, words
from clipbench_reports.pictures import Room, address
from clipbench_reports.words import label_set_words

Make = Callable[[Evidence, Room], Gallery]

QUERIES = {
    "image_retrieval": ("Pictures that their caption did not find", "chosen_image"),
    "text_retrieval": ("Pictures that did not find their caption", "chosen_caption"),
}
"""Of each direction, what its failures are called, and the column that would say what came first instead."""


def misnamed(evidence: Evidence, room: Room) -> Gallery:
    """Return the pictures that were taken for another class by the widest margin.

    Raises:
        Lacking: samples have no single label and answer, or all are right.
    """
    label, predicted, margin = words(evidence, "label"), words(evidence, "predicted"), numbers(evidence, "margin")
    confidence = [f"{fmt.percent(share)} %" for share in numbers(evidence, "confidence").tolist()]

    def say(row: int) -> str:
        return f"A picture of {fmt.named(label[row])}, taken for {fmt.named(predicted[row])}."

    failing = Failing(
        title="Pictures taken for another class",
        note="Margin: the cosine of the true class less that of the best other one.",
        wrong=numbers(evidence, "acc1") < 1,
        margin=margin,
        terms={"Is": label, "Taken for": predicted, "Confidence": confidence, "Margin": cosines(margin)},
        pictures=one_picture(evidence, say),
    )
    return gallery(failing, room)


def unfound(direction: str) -> Make:
    """Return what makes the gallery of the queries of one direction whose right answer came last.

    Beside a query's picture and rank, a table may hold its ``caption``, and what came first instead:
    ``chosen_caption``, and ``chosen_image``, a content hash.
    """
    title, chosen = QUERIES[direction]

    def make(evidence: Evidence, room: Room) -> Gallery:
        asked = np.array([way == direction for way in words(evidence, "direction")])
        rank = np.where(asked, numbers(evidence, f"{direction}_rank"), np.nan)
        missing = {"caption": "the caption", chosen: "what came first instead"}
        lacking = [what for column, what in missing.items() if not evidence.has_column(column)]
        captions = {"Caption": known(evidence, "caption"), "Came first": known(evidence, "chosen_caption")}
        ranks = [f"at rank {fmt.significant(each)}" for each in rank.tolist()]
        failing = Failing(
            title=title,
            note=f"Not recorded: {' and '.join(lacking)}." if lacking else "",
            wrong=rank > 1,
            margin=-rank,
            terms={**{term: column for term, column in captions.items() if column}, "Right answer": ranks},
            pictures=_pair(evidence, rank),
        )
        return gallery(failing, room)

    return make


def mistaken(evidence: Evidence, room: Room) -> Gallery:
    """Return the pictures for which a false caption was preferred, by the widest margin.

    Raises:
        Lacking: nothing was chosen among captions, or every choice was right.
    """
    caption, preferred, subset = (words(evidence, name) for name in ("caption", "preferred", "subset"))
    lost, margin = lost_captions(evidence)
    told = [label_set_words(evidence.evaluation.dataset.id, each) or each for each in subset]

    def say(row: int) -> str:
        return f"A picture of {fmt.named(caption[row])}, for which {fmt.named(preferred[row])} was preferred."

    failing = Failing(
        title="False captions that were preferred",
        note=MARGINS[evidence.has_column("text_margin")],
        wrong=lost,
        margin=margin,
        terms={"True": caption, "Preferred": preferred, "Subset": told, "Margin": cosines(margin)},
        pictures=one_picture(evidence, say),
    )
    return gallery(failing, room)


MARGINS = {
    True: "Margin: the cosine of the true caption less that of the false one.",
    False: "Margin: by how much the item was lost at its worst, its choices of captions and of pictures together.",
}
"""What the margin of an item means, by whether that of its captions was recorded."""


def lost_captions(evidence: Evidence) -> tuple[Bool[np.ndarray, " n"], Float64[np.ndarray, " n"]]:
    """Return which choices among captions were lost, ties aside, and their margins: those that ``MARGINS`` says.

    Raises:
        Lacking: nothing was chosen among captions.
    """
    names = [name for name in evidence.columns if name.rpartition("/")[2] == "text_acc"]
    if not names:
        raise Lacking("the run kept no column “text_acc”")
    credit = np.fmin.reduce([numbers(evidence, name) for name in names])
    margin = numbers(evidence, "text_margin" if evidence.has_column("text_margin") else "margin")
    is_told = np.array([each != "" for each in words(evidence, "preferred")])
    return (credit < 1) & (margin < 0) & is_told, margin


def hijacked(evidence: Evidence, room: Room) -> Gallery:
    """Return the objects that were taken for something else under a written label, by the widest margin.

    Raises:
        Lacking: nothing was attacked, or every object was named right.
    """
    margin = numbers(evidence, "margin")
    thing, word, predicted = (words(evidence, name) for name in ("object", "word", "predicted"))

    def say(row: int) -> str:
        return (
            f"{fmt.named(thing[row])} with {fmt.named(word[row])} written on it, taken for {fmt.named(predicted[row])}."
        )

    failing = Failing(
        title="Objects misnamed under a written label",
        note="Margin: the cosine of the object's class less that of the best other one.",
        wrong=numbers(evidence, "attacked_acc") < 1,
        margin=margin,
        terms={"Is": thing, "Written on it": word, "Taken for": predicted, "Margin": cosines(margin)},
        pictures=one_picture(evidence, say),
    )
    return gallery(failing, room)


def misread(evidence: Evidence, room: Room) -> Gallery:
    """Return the written words that were read as another one, by the widest margin.

    Raises:
        Lacking: there were no words to read, or all were read right.
    """
    written, read, margin = words(evidence, "written"), words(evidence, "read"), numbers(evidence, "margin")

    def say(row: int) -> str:
        return f"A picture that is captioned {fmt.named(written[row])}, read as {fmt.named(read[row])}."

    failing = Failing(
        title="Words that were misread",
        note="Margin: the cosine of the true caption less that of the best other one.",
        wrong=numbers(evidence, "reading_acc") < 1,
        margin=margin,
        terms={"Written": written, "Read as": read, "Margin": cosines(margin)},
        pictures=one_picture(evidence, say),
    )
    return gallery(failing, room)


def _pair(evidence: Evidence, rank: Float64[np.ndarray, " n"]) -> Callable[[int], list[Picture]]:
    """Return a function that shows the right picture, beside the one that came first where that was recorded."""
    caption, chosen = known(evidence, "caption"), known(evidence, "chosen_image")

    def say(row: int) -> str:
        of = f" of {fmt.named(caption[row])}" if caption else ""
        return f"The picture{of}; the right answer came at rank {fmt.significant(float(rank[row]))}."

    right = one_picture(evidence, say)

    def show(row: int) -> list[Picture]:
        if not chosen or not chosen[row]:
            return right(row)
        first = Picture(address=address(evidence.run, chosen[row]), alt="What came first instead.", role="Came first")
        return [*(Picture(address=each.address, alt=each.alt, role="Right") for each in right(row)), first]

    return show
