"""Zero-shot classification: classes, confusions, confidence and prompt templates."""

from collections import Counter

import numpy as np

from clipbench.results import numbers as fmt
from clipbench.results.record import EvaluationRecord
from clipbench.results.table import Table, columns
from clipbench_reports.evidence import Evidence, MissingEvidence
from clipbench_reports.figures import zero_shot
from clipbench_reports.findings import Finding, claim
from clipbench_reports.gallery import Fact, Gallery, PageBudget, cosines, gallery, one_image, words
from clipbench_reports.sections.section import SampleColumn, Section, by_name
from clipbench_reports.text import quoted

MAX_CLASSES = 100
"""Rows of a per-class table; the classes beyond are counted, and are in the sample table."""
MAX_PAIRS = 15
WRONG_CLASS = "The right class is not named first"


def findings(evaluation: EvaluationRecord) -> list[Finding]:
    """Return how often the right class comes first."""
    sentence = "Names the right class first for {value} of {n} images"
    accuracy = evaluation.metrics.get("acc1")
    return [] if accuracy is None else [claim(sentence, accuracy, weakness=WRONG_CLASS)]


def describe_classes(evidence: Evidence) -> str:
    """Return how many classes a label set has, and three of them; nothing where the run does not tell."""
    accuracy = evidence.evaluation.metrics.get("acc1")
    if accuracy is None or not accuracy.chance or not evidence.has_column("label"):
        return ""
    names = np.unique(evidence.words("label")).tolist()
    few = dict.fromkeys([names[0], names[len(names) // 2], names[-1]])
    return f"{fmt.count(round(1 / accuracy.chance))} classes, such as {', '.join(quoted(name) for name in few)}"


def class_recall(evidence: Evidence) -> Table:
    """Return the share of each class's samples that are right, in ascending order, with the most common wrong answer."""
    words_of = [evidence.words(name) for name in ("label", "predicted")]
    classes = by_name(*words_of, recall=evidence.numbers("acc1")).sort_values("recall", kind="stable")
    rows = [
        [name, taken_for, fmt.percent(recall), fmt.count(n)]
        for name, recall, n, taken_for in classes.head(MAX_CLASSES).itertuples()
    ]
    rest = len(classes) - len(rows)
    return Table(
        title=f"Recall of each class ({fmt.percent(classes.recall.min())} to {fmt.percent(classes.recall.max())} %)",
        facts="The share of a class's images whose true class scores highest, in ascending order. Taken for: the wrong "
        "answer with the largest count in these images."
        + (f" {fmt.count(rest)} classes with more are not shown; they are in the sample table." if rest else ""),
        columns=columns("Class", "Taken for", numbers=["Recall, %", "n"]),
        rows=rows,
    )


def confused_pairs(evidence: Evidence) -> Table:
    """Return the mistakes made most often."""
    label, predicted = (evidence.words(name) for name in ("label", "predicted"))
    wrong = label != predicted
    if not wrong.any():
        raise MissingEvidence("no sample was taken for another class")
    counts = Counter(zip(label[wrong], predicted[wrong], strict=True))
    pairs = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))[:MAX_PAIRS]
    rows = [[true, answer, fmt.count(n), fmt.percent(n / (label == true).sum())] for (true, answer), n in pairs]
    return Table(
        title=f"Confused classes ({fmt.counted(int(wrong.sum()), 'mistake')} in all)",
        facts=f"The first {len(rows)} of {fmt.counted(len(counts), 'pair')} of true class and answer, by their counts.",
        columns=columns("True class", "Answer", numbers=["Images", "Of the class, %"]),
        rows=rows,
    )


def template_scores(evidence: Evidence) -> Table:
    """Return each prompt template with what it reaches alone, in descending order."""
    names, scores = zero_shot.ranked(evidence)
    return Table(
        title=f"The {len(names)} prompt templates",
        facts="Accuracy of each template alone, in descending order.",
        columns=columns("Template", numbers=["Top-1 accuracy, %"]),
        rows=[[name, fmt.percent(score)] for name, score in zip(names, scores, strict=True)],
    )


def misnamed(evidence: Evidence, budget: PageBudget) -> Gallery:
    """Return the images that were taken for another class by the widest margin."""
    label, predicted, margin = words(evidence, "label"), words(evidence, "predicted"), evidence.numbers("margin")
    confidence = evidence.numbers("confidence") if evidence.has_column("confidence") else None

    written = cosines(evidence, margin)

    def facts(row: int) -> list[Fact]:
        right, chosen, by = written(row)
        return [
            Fact("True class", label[row], right),
            Fact("Taken for", predicted[row], chosen),
            Fact("Margin", "", by),
            Fact("Confidence", "" if confidence is None else f"{fmt.percent(float(confidence[row]))} %"),
        ]

    def say(row: int) -> str:
        return f"An image of {quoted(label[row])}, taken for {quoted(predicted[row])}."

    return gallery(
        evidence,
        budget,
        title="Images taken for another class",
        note="Margin: the cosine of the true class less that of the best other one.",
        wrong=evidence.numbers("acc1") < 1,
        margin=margin,
        facts=facts,
        images=one_image(evidence, say),
    )


SECTION = Section(
    advice={
        WRONG_CLASS: "Classes that take each other's place are often a matter of names: a better name, and several prompts for"
        " each class (Radford et al. 2021; Pratt et al. 2023), are the cheapest remedy. Fine-tuning helps where a"
        " class is truly unknown; averaging the old and the new weights keeps robustness (Wortsman et al. 2022).",
        "Confidence is not accuracy": "A confidence that is not the accuracy comes from the logit scale: one temperature, fitted on held-out "
        "images, fixes most of it and changes no answer (Guo et al. 2017).",
    },
    title="Zero-shot",
    figures=(zero_shot.confusion, zero_shot.reliability, zero_shot.templates),
    galleries=(misnamed,),
    tables=(confused_pairs, class_recall, template_scores),
    findings=findings,
    drawn_curves=frozenset({"reliability", "templates"}),
    describe_label_set=describe_classes,
    sample_columns=(
        SampleColumn(name="label", title="True class", is_of_sample=True),
        SampleColumn(name="predicted", title="Taken for"),
    ),
)
