"""Few labels: accuracy by the number of labels, the labels that the prompts are worth, and images named wrongly with all."""

from clipbench.results import numbers as fmt
from clipbench.results.record import EvaluationRecord, Metric
from clipbench.results.table import Table, columns
from clipbench_reports import figures
from clipbench_reports.galleries.gallery import Fact, Failing, Gallery, gallery, known, nearest, note, one_image, words
from clipbench_reports.galleries.images import PageBudget
from clipbench_reports.page.evidence import Evidence, MissingEvidence
from clipbench_reports.page.sentences.findings import Finding, claim, headline_findings, interval_in_brackets
from clipbench_reports.page.text import NO_REASON, quoted
from clipbench_reports.sections.section import SampleColumn, Section

METHODS = {"knn": "k-NN", "linear_probe": "Linear probe", "prompt_probe": "Prompt-initialised probe"}
ALL = "all"
LINEAR = "linear_probe_acc1@"
FEW = 4
"""Labels a class up to which the prompts are worth few."""
FEW_LABELS_ENOUGH = "A few labels are as good as the prompts"


def findings(evaluation: EvaluationRecord) -> list[Finding]:
    """Return how many labels the prompts are worth, and what a linear probe reaches with all."""
    worth, accuracy = (evaluation.metrics.get(name) for name in ("zero_shot_worth", f"{LINEAR}{ALL}"))
    if worth is None or accuracy is None:
        return headline_findings(evaluation)
    sentence = "A linear probe with all labels names the right class first for {value} of {n} images"
    return [_worth(worth, evaluation.metrics.get("zero_shot_acc1")), claim(sentence, accuracy)]


def _worth(worth: Metric, zero_shot: Metric | None) -> Finding:
    if worth.value is None:
        reason = worth.reason or NO_REASON
        weakness = FEW_LABELS_ENOUGH if reason.startswith("reached") else ""
        return Finding("plain", f"The accuracy of the prompts is {reason}.", weakness=weakness)
    prompts = "" if zero_shot is None or zero_shot.value is None else f", {fmt.percent(zero_shot.value)} %"
    text = (
        f"The prompts are worth {fmt.number(worth.value, worth.unit)} labels a class{interval_in_brackets(worth)}: with so "
        f"many, a linear probe reaches their accuracy{prompts}."
    )
    is_few = worth.high is not None and worth.high <= FEW
    return Finding("plain", text, weakness=FEW_LABELS_ENOUGH if is_few else "")


def by_labels(evidence: Evidence) -> Table:
    """Return the accuracy of each classifier with each number of labels.

    Raises:
        MissingEvidence: the run has no such metric.
    """
    metrics = evidence.evaluation.metrics
    numbers = [name.removeprefix(LINEAR) for name in metrics if name.startswith(LINEAR)]
    if not numbers:
        raise MissingEvidence("the run has no accuracy of a linear probe")
    rows = [
        [number, *(_with_interval(metrics.get(f"{method}_acc1@{number}")) for method in METHODS)] for number in numbers
    ]
    zero_shot = metrics.get("zero_shot_acc1")
    return Table(
        title="Accuracy by the number of labels",
        facts="Top-1 accuracy in percent, with 95 % intervals. The prompts, which need no labels, have "
        f"{_with_interval(zero_shot)} on the same images.",
        columns=columns("Labels a class", numbers=list(METHODS.values())),
        rows=rows,
    )


def _with_interval(metric: Metric | None) -> str:
    if metric is None or metric.value is None:
        return fmt.NONE
    return (
        f"{fmt.percent(metric.value)} {fmt.interval(metric)}" if metric.low is not None else fmt.percent(metric.value)
    )


def misnamed(evidence: Evidence, budget: PageBudget) -> Gallery:
    """Return the images that a linear probe with all labels takes for another class by the widest margin.

    Raises:
        MissingEvidence: the run kept no answers, or all are right.
    """
    label, predicted, by_prompt = (words(evidence, name) for name in ("label", "predicted", "by_prompt"))
    margin = evidence.numbers("margin")

    def facts(row: int) -> list[Fact]:
        return [
            Fact("True class", label[row]),
            Fact("Probe", predicted[row]),
            Fact("Prompts", by_prompt[row]),
            Fact("Margin", fmt.quantity(float(margin[row]), "difference")),
        ]

    def say(row: int) -> str:
        return f"An image of {quoted(label[row])}, taken for {quoted(predicted[row])}."

    failing = Failing(
        title="Images that a linear probe takes for another class",
        note=note(
            evidence, "Margin: the probability of the true class minus that of the best other one, with all labels."
        ),
        wrong=evidence.numbers(f"{LINEAR}{ALL}") < 1,  # undefined in the rows of draws
        margin=margin,
        facts=facts,
        images=one_image(evidence, say),
        ids=known(evidence, "sample_id"),
        nearest=nearest(evidence),
    )
    return gallery(failing, budget)


ADVICE = {
    FEW_LABELS_ENOUGH: "The vectors tell the classes apart better than the prompts name them: better names and several prompts come "
    "first. With labels, a probe that starts at the prompts is safer than a plain one while they are few (Silva-Rodríguez et "
    "al. 2024); averaging its weights with the prompts keeps robustness (Wortsman et al. 2022).",
}


SECTION = Section(
    advice=ADVICE,
    title="Few labels",
    figures=(figures.few_shot,),
    galleries=(misnamed,),
    tables=(by_labels,),
    findings=findings,
    drawn_curves=frozenset(figures.BY_LABELS),
    sample_columns=(
        SampleColumn(name="label", title="True class", is_of_sample=True),
        SampleColumn(name="predicted", title="By the probe, all labels"),
        SampleColumn(name="by_prompt", title="By the prompts"),
    ),
)
