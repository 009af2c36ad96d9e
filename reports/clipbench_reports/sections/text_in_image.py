"""Text in images: what written words do to classification, and which of them are read."""

from dataclasses import replace

import numpy as np

from clipbench.results import numbers as fmt
from clipbench.results.record import EvaluationRecord, Metric
from clipbench.results.table import Table, columns
from clipbench.stats.claims import against_chance, may_differ
from clipbench_reports.evidence import Evidence, MissingEvidence
from clipbench_reports.figures import text_in_image
from clipbench_reports.findings import Finding, Mark, claim, defined, interval_in_brackets, skill
from clipbench_reports.gallery import (
    Fact,
    Gallery,
    PageBudget,
    around_difference,
    cosines,
    credits_of,
    gallery,
    known,
    one_image,
    words,
)
from clipbench_reports.sections.section import Plot, SampleColumn, Section, by_name
from clipbench_reports.text import quoted

MAX_ROWS = 50
UNREAD, OBEYED = "Written words are not read", "A written label decides"


def findings(evaluation: EvaluationRecord) -> list[Finding]:
    """Return whether words are read, and how often a label decides."""
    sentences = []
    if (reading := evaluation.metrics.get("reading_acc")) is not None:
        sentences.append(claim("Reads the written word right in {value} of {n} images", reading, weakness=UNREAD))
    (success,) = defined(evaluation.metrics, "attack_success")
    if success is not None:
        sentences.append(_fooled(evaluation, success))
    if (probe := evaluation.metrics.get("linear_probe_attack_success")) is not None:
        sentences.append(_probe_fooled(evaluation, probe))
    return sentences


def _fooled(evaluation: EvaluationRecord, success: Metric) -> Finding:
    """Return how often the word's class is named under attack, and without the label, which is no attack.

    Only where a test tells the two apart is it said that the label does it.
    """
    (named,) = defined(evaluation.controls, "clean_named_word")
    against = skill(replace(success, chance=named.value if named else None))
    mark: Mark = "plain"
    if named is not None and may_differ(success, named):
        mark = "weak" if against < 0 else "good"
    start = "Fooled by a written label" if mark == "weak" else "Takes an object for the word on its label"
    share = f"{fmt.percent(success.value)} % of {fmt.count(success.n)} attacks"
    text = f"{start} in {share}{interval_in_brackets(success)}"
    if named is not None:
        text += f"; without the label its word is named in {fmt.percent(named.value)} %{interval_in_brackets(named)}"
    labels = {"clean_acc": "without a label", "blank_acc": "with a blank one", "attacked_acc": "under attack"}
    named_right = zip(labels.values(), defined(evaluation.metrics, *labels), strict=True)
    right = [f"{fmt.percent(metric.value)} % {words}" for words, metric in named_right if metric is not None]
    text += f"; names the object in {', '.join(right)}." if right else "."
    return Finding(mark, text, against, weakness=OBEYED if mark == "weak" else "")


def _probe_fooled(evaluation: EvaluationRecord, probe: Metric) -> Finding:
    """Return how often a linear probe is fooled where the prompts are, under attack and without a word."""
    metrics = evaluation.metrics
    difference, prompts = defined(metrics, "zero_shot_minus_linear_probe", "zero_shot_attack_success")
    if probe.value is None or difference is None or prompts is None:
        return claim("A linear probe is fooled in {value} of {n} attacks", probe)
    standing = against_chance(replace(difference, higher_is_better=True))[0] or "level"
    how = {"better": "fooled less often than the prompts: in", "worse": "fooled more often than the prompts: in"}
    text = (
        f"The linear probe trained here on the same image vectors is {how.get(standing, 'fooled in')} "
        f"{fmt.percent(probe.value)} % of {fmt.count(probe.n)} attacks, the prompts in {fmt.percent(prompts.value)} % among "
        f"the same classes; difference {fmt.number(difference.value, difference.unit)} {fmt.symbol(difference.unit)}"
        f"{interval_in_brackets(difference)}"
    )
    has_interval = difference.low is not None
    of_probe, of_prompts = defined(evaluation.controls, "linear_probe_plain_named_word", "zero_shot_plain_named_word")
    if of_probe is not None and of_prompts is not None:
        shares = f"in {fmt.percent(of_probe.value)} % of cases, the prompts in {fmt.percent(of_prompts.value)} %"
        text += f". Without the word, the probe names the word's class {shares}"
    if has_interval:
        text += ". The interval holds for the probes of this run alone: other training images give others"
    return Finding("plain", f"{text}.")


def attacked_objects(evidence: Evidence) -> Table:
    """Return each object with how often it is still named under attack, and what it is taken for, in descending order."""
    fooled = evidence.numbers("attack_success")
    is_attacked = ~np.isnan(fooled)
    if not is_attacked.any():
        raise MissingEvidence("the data hold no objects with another thing's name written on them")
    objects, predicted = (evidence.words(name)[is_attacked] for name in ("object", "predicted"))
    right = evidence.numbers("attacked_acc")[is_attacked]
    things = by_name(objects, predicted, success=fooled[is_attacked], right=right)
    things = things.sort_values(["success", "right"], ascending=[False, True], kind="stable")
    rows = [
        [name, taken_for, fmt.percent(success), fmt.percent(right), fmt.count(n)]
        for name, success, right, n, taken_for in things.head(MAX_ROWS).itertuples()
    ]
    rest = len(things) - len(rows)
    return Table(
        title=f"Each object under attack ({fmt.percent(things.success.min())} to {fmt.percent(things.success.max())} % taken for the word)",
        facts="The word: the attacking word's class comes first. Right: the object's own class does. Taken for: the wrong "
        "answer with the largest count in these images."
        + (f" {fmt.count(rest)} more are in the sample table." if rest else ""),
        columns=columns("Object", "Taken for", numbers=["The word, %", "Right, %", "n"]),
        rows=rows,
    )


def misread_words(evidence: Evidence) -> Table:
    """Return the words that are read wrong, by their counts, and what they are taken for."""
    credit = evidence.numbers("reading_acc")
    is_asked = ~np.isnan(credit)
    if not is_asked.any():
        raise MissingEvidence("the data hold no words to read")
    wrong = credit[is_asked] < 1
    if not wrong.any():
        raise MissingEvidence("every word was read right")
    written, read = (evidence.words(name)[is_asked] for name in ("written", "read"))
    table = by_name(written[wrong], read[wrong])
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


def hijacked(evidence: Evidence, budget: PageBudget) -> Gallery:
    """Return the objects that were taken for something else under a written label, by the widest margin."""
    credit, margin = credits_of(evidence, "attacked_acc", of_subsets=False), evidence.numbers("margin")
    thing, word, predicted = (words(evidence, name) for name in ("object", "word", "predicted"))
    by_probe = known(evidence, "linear_probe_predicted")

    written = cosines(evidence, margin)

    def facts(row: int) -> list[Fact]:
        right, chosen, by = written(row)
        return [
            Fact("Object", thing[row], right),
            Fact("Taken for", predicted[row], chosen),
            Fact("Margin", "", by),
            Fact("Label says", word[row]),
            Fact("Linear probe says", by_probe[row] if by_probe else ""),
        ]

    def say(row: int) -> str:
        return f"{quoted(thing[row])} with {quoted(word[row])} written on it, taken for {quoted(predicted[row])}."

    return gallery(
        evidence,
        budget,
        title="Objects misnamed under a written label",
        note="Margin: the cosine of the object's class less that of the best other one.",
        wrong=credit < 1,
        margin=margin,
        facts=facts,
        images=one_image(evidence, say),
    )


def misread(evidence: Evidence, budget: PageBudget) -> Gallery:
    """Return the written words that were read as another one, by the widest margin."""
    credit, margin = credits_of(evidence, "reading_acc", of_subsets=False), evidence.numbers("margin")
    written, read = (evidence.words(name).tolist() for name in ("written", "read"))

    in_words = cosines(evidence, margin)

    def facts(row: int) -> list[Fact]:
        (true, false), (right, chosen, by) = around_difference(written[row], read[row]), in_words(row)
        return [
            Fact("Written", true, right, whole=written[row]),
            Fact("Read as", false, chosen, whole=read[row]),
            Fact("Margin", "", by),
        ]

    def say(row: int) -> str:
        return f"An image that is captioned {quoted(written[row])}, read as {quoted(read[row])}."

    return gallery(
        evidence,
        budget,
        title="Words that were misread",
        note="Margin: the cosine of the true caption less that of the best other one.",
        wrong=credit < 1,
        margin=margin,
        facts=facts,
        images=one_image(evidence, say),
    )


SECTION = Section(
    advice={
        UNREAD: "Higher resolution, and captions that quote what is written. Data from which "
        "images with much text were removed teach less of it (Maini et al. 2024).",
        OBEYED: "Models that read well tend to obey labels (Goh et al. 2021); learned prefixes of "
        "prompts (Azuma and Matsui 2023) or a projection without the directions of spelling (Materzyńska et al. "
        "2022) lower that. Few successful attacks on a model that cannot read are no strength.",
    },
    title="Text in images",
    figures=(
        text_in_image.hijacking,
        text_in_image.probe_attacks,
        *map(text_in_image.response, text_in_image.SETTINGS),
        text_in_image.reading,
    ),
    galleries=(hijacked, misread),
    tables=(attacked_objects, misread_words),
    findings=findings,
    plots={
        "typographic": Plot(
            summary="accuracy and attack success under typographic attacks",
            definition="An attack succeeds when the class of the written word scores highest.",
            draws=(
                text_in_image.hijacking,
                text_in_image.probe_attacks,
                *map(text_in_image.response, text_in_image.SETTINGS),
            ),
        )
    },
    drawn_curves=text_in_image.RESPONSES,
    sample_columns=(
        SampleColumn(name="object", title="Object", is_of_sample=True),
        SampleColumn(name="word", title="Label says", is_of_sample=True),
        SampleColumn(name="written", title="Written", is_of_sample=True),
        SampleColumn(name="predicted", title="Taken for", metrics="(?!linear_probe_|knn_).*"),
        SampleColumn(name="linear_probe_predicted", title="Taken for", metrics="linear_probe_.*"),
        SampleColumn(name="read", title="Read as", metrics="reading_acc"),
    ),
)
