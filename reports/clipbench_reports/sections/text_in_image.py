"""Text in images: what written words do to classification, and which of them are read."""

from dataclasses import replace

import numpy as np

from clipbench.results import numbers as fmt
from clipbench.results.record import EvaluationRecord, Metric
from clipbench.results.table import Table, columns
from clipbench.stats.claims import against_chance, may_differ
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
    known,
    note,
    one_image,
    words,
)
from clipbench_reports.galleries.images import PageBudget
from clipbench_reports.page.evidence import Evidence, MissingEvidence
from clipbench_reports.page.sentences.findings import (
    Finding,
    Mark,
    claim,
    headline_findings,
    interval_in_brackets,
    skill,
)
from clipbench_reports.page.text import most_common, quoted
from clipbench_reports.sections.section import SampleColumn, Section

MAX_ROWS = 50
UNREAD, OBEYED = "Written words are not read", "A written label decides"


def findings(evaluation: EvaluationRecord) -> list[Finding]:
    """Return whether words are read, and how often a label decides."""
    sentences = []
    reading, success = (evaluation.metrics.get(name) for name in ("reading_acc", "attack_success"))
    if reading is not None:
        sentences.append(claim("Reads the written word right in {value} of {n} images", reading, weakness=UNREAD))
    if success is not None and success.value is not None:
        sentences.append(_fooled(evaluation, success))
    sentences += _probe_fooled(evaluation)
    return sentences or headline_findings(evaluation)


def _fooled(evaluation: EvaluationRecord, success: Metric) -> Finding:
    """Return how often the word's class is named under attack, and without the label, which is no attack.

    Only where a test tells the two apart is it said that the label does it.
    """
    named = evaluation.controls.get("clean_named_word")
    mark = _mark(success, named)
    share = f"{fmt.percent(success.value)} % of {fmt.count(success.n)} attacks"
    start = "Fooled by a written label" if mark == "weak" else "Takes an object for the word on its label"
    text = f"{start} in {share}{interval_in_brackets(success)}"
    labels = {"clean_acc": "without a label", "blank_acc": "with a blank one", "attacked_acc": "under attack"}
    right = [
        f"{fmt.percent(metric.value)} % {words}"
        for name, words in labels.items()
        if (metric := evaluation.metrics.get(name)) is not None and metric.value is not None
    ]
    if named is not None and named.value is not None:
        text += f"; without the label its word is named in {fmt.percent(named.value)} %{interval_in_brackets(named)}"
    text += f"; names the object in {', '.join(right)}." if right else "."
    against = skill(replace(success, chance=named.value if named else None))
    return Finding(mark, text, against, weakness=OBEYED if mark == "weak" else "")


def _probe_fooled(evaluation: EvaluationRecord) -> list[Finding]:
    """Return how often a linear probe is fooled where the prompts are, under attack and without a word; nothing where none was asked for."""
    metrics = evaluation.metrics
    probe, difference = metrics.get("linear_probe_attack_success"), metrics.get("zero_shot_minus_linear_probe")
    if probe is None:
        return []
    if probe.value is None or difference is None or difference.value is None:
        return [claim("A linear probe is fooled in {value} of {n} attacks", probe)]
    words = {"better": "fooled less often than the prompts: in", "worse": "fooled more often than the prompts: in"}
    standing = against_chance(replace(difference, higher_is_better=True))[0] or "level"
    prompts = metrics.get("zero_shot_attack_success")
    text = (
        f"The linear probe trained here on the same image vectors is {words.get(standing, 'fooled in')} {fmt.percent(probe.value)} % of "
        f"{fmt.count(probe.n)} attacks, the prompts in {fmt.percent(prompts.value if prompts else None)} % among the same "
        f"classes; difference {fmt.number(difference.value, difference.unit)} {fmt.symbol(difference.unit)}"
        f"{interval_in_brackets(difference)}"
    )
    has_interval = difference.low is not None
    text += ", not significant" if standing == "level" and has_interval else ""
    named = [evaluation.controls.get(f"{key}_plain_named_word") for key in ("linear_probe", "zero_shot")]
    shares = [fmt.percent(control.value) for control in named if control is not None and control.value is not None]
    if len(shares) == len(named):
        text += f". Without the word, the probe names the word's class in {shares[0]} % of cases, the prompts in {shares[1]} %"
    of_this = (
        " The interval holds for the probes of this run alone: other training images give others."
        if has_interval
        else ""
    )
    return [Finding("plain", f"{text}.{of_this}")]


def _mark(success: Metric, named: Metric | None) -> Mark:
    """Return whether attacks succeed more often than the word is named anyway, by a test."""
    if named is None or success.value is None or named.value is None or not may_differ(success, named):
        return "plain"
    return "weak" if success.value > named.value else "good"


def attacked_objects(evidence: Evidence) -> Table:
    """Return each object with how often it is still named under attack, and what it is taken for, in descending order.

    Raises:
        MissingEvidence: nothing was attacked.
    """
    fooled = evidence.numbers("attack_success")
    is_attacked = ~np.isnan(fooled)
    if not is_attacked.any():
        raise MissingEvidence("the data hold no objects with another thing's name written on them")
    objects, predicted = (evidence.words(name)[is_attacked] for name in ("object", "predicted"))
    right, fooled = evidence.numbers("attacked_acc")[is_attacked], fooled[is_attacked]
    names, codes = np.unique(objects, return_inverse=True)
    totals = np.bincount(codes)
    success = np.bincount(codes, weights=fooled) / totals
    still = np.bincount(codes, weights=right) / totals
    order = np.lexsort((still, -success))[:MAX_ROWS].tolist()
    rows = [
        [
            str(names[c]),
            most_common(predicted[(codes == c) & (predicted != objects)]),
            fmt.percent(success[c]),
            fmt.percent(still[c]),
            fmt.count(int(totals[c])),
        ]
        for c in order
    ]
    return Table(
        title=f"Each object under attack ({fmt.percent(success.min())} to {fmt.percent(success.max())} % taken for the word)",
        facts="The word: the attacking word's class comes first. Right: the object's own class does. Taken for: the wrong "
        "answer with the largest count in these images."
        + (f" {fmt.count(len(names) - len(rows))} more are in the sample table." if len(names) > len(rows) else ""),
        columns=columns("Object", "Taken for", numbers=["The word, %", "Right, %", "n"]),
        rows=rows,
    )


def misread_words(evidence: Evidence) -> Table:
    """Return the words that are read wrong, by their counts, and what they are taken for.

    Raises:
        MissingEvidence: there were no words to read, or all were read.
    """
    credit = evidence.numbers("reading_acc")
    is_asked = ~np.isnan(credit)
    written, read = (evidence.words(name)[is_asked] for name in ("written", "read"))
    if not is_asked.any():
        raise MissingEvidence("the data hold no words to read")
    wrong = credit[is_asked] < 1
    if not wrong.any():
        raise MissingEvidence("every word was read right")
    names, codes = np.unique(written, return_inverse=True)
    misses, totals = np.bincount(codes, weights=wrong), np.bincount(codes)
    order = np.argsort(-misses, kind="stable")[:MAX_ROWS].tolist()
    rows = [
        [
            str(names[c]),
            most_common(read[(codes == c) & (read != written)]),
            fmt.count(misses[c]),
            fmt.count(int(totals[c])),
        ]
        for c in order
        if misses[c]
    ]
    return Table(
        title=f"Words that are misread ({fmt.count(int(wrong.sum()))} of {fmt.counted(int(is_asked.sum()), 'word')})",
        facts="The caption that is true, and the one with the largest count in its place.",
        columns=columns("Written", "Read as", numbers=["Misread", "n"]),
        rows=rows,
    )


def hijacked(evidence: Evidence, budget: PageBudget) -> Gallery:
    """Return the objects that were taken for something else under a written label, by the widest margin.

    Raises:
        NotAsked: nothing was attacked.
        MissingEvidence: every object was named right.
    """
    credit, margin = credits_of(evidence, "attacked_acc", of_subsets=False), evidence.numbers("margin")
    thing, word, predicted = (words(evidence, name) for name in ("object", "word", "predicted"))
    cosines = Cosines.of(evidence, margin)
    by_probe = known(evidence, "linear_probe_predicted")

    def facts(row: int) -> list[Fact]:
        right, chosen, by = cosines.written(row)
        said = [
            Fact("Taken for", predicted[row], chosen),
            Fact("Margin", "", by),
            Fact("Label says", word[row]),
        ]
        if by_probe and by_probe[row]:
            said.append(Fact("Linear probe says", by_probe[row]))
        return [Fact("Object", thing[row], right), *said]

    def say(row: int) -> str:
        return f"{quoted(thing[row])} with {quoted(word[row])} written on it, taken for {quoted(predicted[row])}."

    failing = Failing(
        title="Objects misnamed under a written label",
        note=note(evidence, "Margin: the cosine of the object's class less that of the best other one.", COSINES),
        wrong=credit < 1,
        margin=margin,
        facts=facts,
        images=one_image(evidence, say),
        ids=known(evidence, "sample_id"),
    )
    return gallery(failing, budget)


def misread(evidence: Evidence, budget: PageBudget) -> Gallery:
    """Return the written words that were read as another one, by the widest margin.

    Raises:
        NotAsked: there were no words to read.
        MissingEvidence: all were read right.
    """
    credit, margin = credits_of(evidence, "reading_acc", of_subsets=False), evidence.numbers("margin")
    written, read, cosines = (
        evidence.words("written").tolist(),
        evidence.words("read").tolist(),
        Cosines.of(evidence, margin),
    )

    def facts(row: int) -> list[Fact]:
        right, chosen, by = cosines.written(row)
        true, false = around_difference(written[row], read[row])
        return [
            Fact("Written", true, right, whole=written[row]),
            Fact("Read as", false, chosen, whole=read[row]),
            Fact("Margin", "", by),
        ]

    def say(row: int) -> str:
        return f"An image that is captioned {quoted(written[row])}, read as {quoted(read[row])}."

    failing = Failing(
        title="Words that were misread",
        note=note(evidence, "Margin: the cosine of the true caption less that of the best other one.", COSINES),
        wrong=credit < 1,
        margin=margin,
        facts=facts,
        images=one_image(evidence, say),
        ids=known(evidence, "sample_id"),
    )
    return gallery(failing, budget)


ADVICE = {
    UNREAD: "Higher resolution, and captions that quote what is written. Data from which "
    "images with much text were removed teach less of it (Maini et al. 2024).",
    OBEYED: "Models that read well tend to obey labels (Goh et al. 2021); learned prefixes of "
    "prompts (Azuma and Matsui 2023) or a projection without the directions of spelling (Materzyńska et al. "
    "2022) lower that. Few successful attacks on a model that cannot read are no strength.",
}


SECTION = Section(
    advice=ADVICE,
    title="Text in images",
    figures=(figures.hijacking, figures.probe_attacks, *map(figures.response, figures.SETTINGS), figures.reading),
    galleries=(hijacked, misread),
    tables=(attacked_objects, misread_words),
    findings=findings,
    drawn_curves=figures.RESPONSES,
    sample_columns=(
        SampleColumn(name="object", title="Object", is_of_sample=True),
        SampleColumn(name="word", title="Label says", is_of_sample=True),
        SampleColumn(name="written", title="Written", is_of_sample=True),
        SampleColumn(name="predicted", title="Taken for", metrics="(?!linear_probe_|knn_).*"),
        SampleColumn(name="linear_probe_predicted", title="Taken for", metrics="linear_probe_.*"),
        SampleColumn(name="read", title="Read as", metrics="reading_acc"),
    ),
)
