"""Long captions: recall by the tokens kept, the effective length, and a fact stated at places further and further
in.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64

from clipbench.results import numbers as fmt
from clipbench.results.metric_name import is_in_subset, subset_of
from clipbench.results.record import EvaluationRecord, Metric
from clipbench.results.titles import readable, subset_title, within_sentence
from clipbench_reports.drawing.facets import Layer, Statement, facet_chart
from clipbench_reports.drawing.marks import Axis, Bars, Chart, Mark, Panel, Rule, Shade, fraction_axis, nice_axis
from clipbench_reports.evidence import ByModel, Evidence, MissingEvidence, Models, NotAsked, read_each
from clipbench_reports.figures import matrices
from clipbench_reports.figures.curves import Curves, CurvesFigure
from clipbench_reports.figures.shared import chance_rule, intervals, value_line
from clipbench_reports.findings import (
    Ability,
    Finding,
    claim,
    defined,
    interval_in_brackets,
    mark_of,
    not_better,
    skill,
)
from clipbench_reports.galleries import FactColumn, Gallery, PageBudget, gallery, one_image, words
from clipbench_reports.sections.retrieval import (
    FAILURE_GALLERIES,
    RECALL,
    SAMPLE_COLUMNS,
    SAMPLE_IMAGES,
    failure_gallery,
)
from clipbench_reports.sections.section import Plot, Section
from clipbench_reports.text import NO_REASON, isolated, shorten

N_BINS = 30


def token_lengths(models: Models) -> Chart:
    """Return the distribution of the captions' lengths in tokens, with the window of the text tower."""
    by_model = read_each(models, _read_lengths)
    histograms: list[Bars] = []
    for layer in by_model.all:
        histograms += [mark for mark in layer.marks if isinstance(mark, Bars)]
    longest = [histogram.edges[-1] for histogram in histograms]
    windows = [_context_of(evidence) or 0 for _, evidence in models]
    highest = [max(histogram.counts) for histogram in histograms]
    plane = Panel(
        x=nice_axis([0, *longest, *windows], "Tokens of a caption"),
        y=nice_axis([0, *highest], "Captions"),
        aspect=0.55,
    )
    return facet_chart(
        plane,
        by_model,
        reading=(
            "Lengths by the model's own tokenizer before anything is cut off, including start and end of text. "
            "Tokens to the right of the window are never read."
        ),
        keys=["captions"],
    )


def _read_lengths(evidence: Evidence) -> Layer:
    if "caption_tokens" not in evidence.evaluation.metrics:
        raise MissingEvidence(f"the run has no lengths of captions in tokens ({_reason_of(evidence)})")
    lengths, context = evidence.numbers("image_retrieval/n_tokens"), _context_of(evidence)
    lengths = lengths[np.isfinite(lengths)]
    if not len(lengths):
        raise MissingEvidence("the number of tokens is unknown for every caption")
    if context is None:
        median = fmt.number(float(np.median(lengths)), "tokens")
        statement = Statement("Median length of the captions", f"{median} tokens")
    else:
        share = float((lengths > context).mean())
        subject = f"Captions that are longer than the window of {context} tokens"
        statement = Statement(subject, f"{fmt.percent(share)} %")
    return Layer([_histogram(lengths), *_window(context)], statement)


def _histogram(lengths: Float64[np.ndarray, " n"]) -> Bars:
    """Return counts over integer numbers of tokens, in at most ``N_BINS`` bins of equal width."""
    low, high = int(lengths.min()), int(lengths.max()) + 1
    width = max(1, -(-(high - low) // N_BINS))
    counts, edges = np.histogram(lengths, bins=np.arange(low, high + width, width))
    return Bars(edges=edges.tolist(), counts=counts.tolist(), role="text", name="captions")


def _references(evidence: Evidence, y_label: str) -> list[Mark]:
    """Return the effective length and the window."""
    length = evidence.evaluation.metrics.get("effective_length")
    return [*value_line(length, "effective length", of="text → image"), *_window(_context_of(evidence))]


def share_of_recall(evaluation: EvaluationRecord) -> str:
    """Return the fraction of the whole captions' recall, in per cent, that the effective length reaches."""
    return fmt.significant(100 * evaluation.params["share"])


def _state_recall(evidence: Evidence, curves: Curves) -> Statement:
    (length,) = defined(evidence.evaluation.metrics, "effective_length")
    share = share_of_recall(evidence.evaluation)
    curve = curves[0]
    few = f"{fmt.percent(curve.y[0])} % with {fmt.count(curve.x[0])} tokens"
    full = f"{fmt.percent(curve.y[-1])} % with {fmt.count(curve.x[-1])} tokens"
    value = f"{few}, {full}"
    if length is not None:
        value += f", of which {share} % takes {fmt.number(length.value, 'tokens')} tokens"
    return Statement(
        subject=f"Recall@1, {curve.series}",
        value=value,
        reading=(
            f"The effective length is where captions reach {share} % of their last point. Its interval is shaded."
        ),
    )


TOKENS_KEPT = CurvesFigure(
    name="tokens kept",
    reading=(
        "Each caption is cut to the first words that fit into this number of tokens. The last point is the whole"
        " caption. Bands: 95 % intervals."
    ),
    x_axis=lambda tokens, label: nice_axis([0, *tokens], label),
    references=_references,
    state=_state_recall,
    metric="effective_length",
)


def _context_of(evidence: Evidence) -> int | None:
    context = evidence.run.result.model.get("context_length")
    return context if isinstance(context, int) else None


def _reason_of(evidence: Evidence) -> str:
    length = evidence.evaluation.metrics.get("effective_length")
    return (length.reason if length is not None else None) or "the run does not say why"


def _window(context: int | None) -> list[Mark]:
    return [] if context is None else [Rule(at=context, axis="x", role="ink", name="end of the window")]


class FactPosition(NamedTuple):
    name: str
    token: float
    metric: Metric


def positions(models: Models) -> Chart:
    """Return how often the true caption is chosen, against the position of its deciding token."""
    by_model = read_each(models, _read)
    all_positions = [position for model_positions in by_model.all for position in model_positions]
    first = {position.name: position.token for position in by_model.all[0]}
    contexts = {model: _context_of(evidence) for model, evidence in models}
    windows = [context for context in contexts.values() if context is not None]
    x = nice_axis([0, *(position.token for position in all_positions), *windows], "Place of the deciding token")
    # Otherwise tokenizers differ, and the axis has numbers.
    if all(first.get(position.name) == position.token for position in all_positions):
        names = [f"{name}\n{fmt.significant(token)}" for name, token in first.items()]
        x = replace(x, ticks=list(first.values()), names=names)
    layers = {
        model: Layer(_marks(model_positions, contexts[model], x), _state(model_positions))
        for model, model_positions in by_model.values.items()
    }
    return facet_chart(
        Panel(x=x, y=fraction_axis("True caption chosen, %")),
        ByModel(layers, by_model.missing),
        reading=(
            "One sentence decides whether the caption is true, and all others fit any image. Each dot has the same"
            " sentences in another order. Bars: 95 % intervals. Beyond the window, the model can only guess."
        ),
        keys=["true caption chosen"],
    )


def _read(evidence: Evidence) -> list[FactPosition]:
    """Return the positions of facts with their accuracy, the nearest first."""
    if not evidence.curves_of("positions"):
        if any(is_in_subset(name, "text_acc") for name in evidence.evaluation.metrics):
            raise MissingEvidence(_reason_of(evidence))
        raise MissingEvidence("facts at several places, which this data does not have")
    names = evidence.words("place")
    tokens = evidence.numbers("fact_token")
    positions = []
    for name in dict.fromkeys(names.tolist()):
        metric = evidence.evaluation.metrics.get(f"{name}/text_acc")
        position_tokens = tokens[(names == name) & np.isfinite(tokens)]
        if metric is not None and metric.value is not None and len(position_tokens):
            title = within_sentence(subset_title(name, evidence.evaluation.subsets))
            positions.append(FactPosition(shorten(title, 16), float(np.median(position_tokens)), metric))
    if not positions:
        raise MissingEvidence("no place has an accuracy")
    return sorted(positions, key=lambda position: position.token)


def _marks(positions: Sequence[FactPosition], context: int | None, x: Axis) -> list[Mark]:
    chance = next((position.metric.chance for position in positions if position.metric.chance is not None), None)
    metrics = {position.name: position.metric for position in positions}
    tokens = [position.token for position in positions]
    dots = intervals(metrics, tokens, "ink", "true caption chosen", is_joined=True)
    beyond: list[Mark] = []
    if context and context < x.high:
        beyond.append(Shade(low=context, high=x.high, name="beyond the window"))
    return [*beyond, *chance_rule(chance), dots]


def _state(positions: Sequence[FactPosition]) -> Statement:
    shares = {position.name: f"{fmt.percent(position.metric.value)} %" for position in positions}
    values = ", ".join(f"{name} {share}" for name, share in shares.items())
    return Statement(subject="Accuracy by where the fact is stated", value=values)


UNREAD_END = "The end of a caption is not read"


def findings(evaluation: EvaluationRecord) -> list[Finding]:
    """Return whether captions find their images, how many tokens count, and at which positions facts count."""
    sentences = []
    recall = evaluation.metrics.get("image_retrieval_recall@1")
    if recall is not None:
        ability = Ability("follows long captions", "does not follow long captions")
        words = "Text-to-image R@1 of long captions: {value} of {n} captions"
        sentences.append(claim(words, recall, weakness=UNREAD_END, ability=ability))
    length = evaluation.metrics.get("effective_length")
    if length is not None:
        sentences.append(_tokens_used(evaluation, length))
    return [*sentences, *_findings_by_position(evaluation)]


def _tokens_used(evaluation: EvaluationRecord, length: Metric) -> Finding:
    if length.value is None:
        return Finding("missing", f"Effective length undefined ({length.reason or NO_REASON}).")
    tokens = f"{fmt.number(length.value, length.unit)} tokens{interval_in_brackets(length)}"
    text = f"Effective length: {tokens}, which give {share_of_recall(evaluation)} % of the recall of the whole caption"
    cut, lost = defined(evaluation.metrics, "truncated_fraction", "tokens_lost")
    if cut is None or lost is None:
        return Finding("plain", f"{text}.")
    if cut.value == 0:
        return Finding("plain", f"{text}. Every caption fits the model's context.")
    longer = f"Longer than the model's context: {fmt.bounded(cut)} of the captions"
    text = f"{text}. {longer}, which lose {fmt.number(lost.value, lost.unit)}{fmt.bounds(lost)} tokens on average."
    return Finding("plain", text, weakness=UNREAD_END)


def _findings_by_position(evaluation: EvaluationRecord) -> list[Finding]:
    """Return how often a true statement beats a false one by position, and where it is not shown to beat chance."""
    accuracies, read, unread = dict[str, Metric](), dict[str, Metric](), list[str]()
    for name, metric in evaluation.metrics.items():
        if is_in_subset(name, "text_acc") and metric.value is not None:
            subset = subset_of(name)
            title = within_sentence(subset_title(subset, evaluation.subsets))
            accuracies[title] = metric
            share_cut = evaluation.baselines.get(f"{subset}/beyond_window")
            if share_cut and share_cut.value == 1:
                unread.append(isolated(title))
            else:
                read[title] = metric
    if not accuracies:
        return []
    shares = []
    for title, metric in (read or accuracies).items():
        shares.append(f"{fmt.percent(metric.value)} % {fmt.interval(metric)} ({isolated(title)})")
    chance = fmt.percent(next(iter(accuracies.values())).chance)
    text = f"True over false fact: {', '.join(shares)}, chance {chance} %"
    beyond = Finding("plain", f"Facts in these places are cut off and not read: {', '.join(unread)}.", is_expected=True)
    if not read:
        return [Finding("plain", f"{text}."), beyond]
    finding = _finding_by_chance(text, read, "wherever the model reads them" if unread else "everywhere")
    return [finding, beyond] if unread else [finding]


def _finding_by_chance(text: str, accuracies: Mapping[str, Metric], everywhere: str) -> Finding:
    """Return a sentence with where the accuracies are not shown to beat chance, or that they do ``everywhere``."""
    mark = mark_of(accuracies.values())
    if mark == "good":
        clauses = [f"Better than chance {everywhere}"]
    else:
        clauses = [f"{readable(relation)}: {', '.join(titles)}" for relation, titles in not_better(accuracies).items()]
    sentence = ". ".join([text, *clauses]) + "."
    lowest = min(skill(metric) for metric in accuracies.values())
    weakness = UNREAD_END if mark in ("weak", "level") else ""
    return Finding(mark, sentence, 0.0 if mark == "plain" else lowest, weakness=weakness)


def misjudged_facts(evidence: Evidence, budget: PageBudget) -> Gallery:
    """Return the items of the position probe in which the false statement was preferred, by the widest margin."""
    if not evidence.has_column("place"):
        raise NotAsked("position")
    margin, subsets = evidence.numbers("margin"), evidence.evaluation.subsets
    is_asked = np.array([direction == "position" for direction in words(evidence, "direction")])
    positions = [within_sentence(subset_title(subset, subsets)) for subset in words(evidence, "place")]
    tokens = np.full(len(margin), np.nan)
    if evidence.has_column("fact_token"):
        tokens = evidence.numbers("fact_token")

    def describe_place(row: int) -> str:
        if not np.isfinite(tokens[row]):
            return positions[row]
        return f"{positions[row]}, token {fmt.count(tokens[row])}"

    return gallery(
        evidence,
        budget,
        title="Facts that were judged wrong",
        note=(
            "Margin: the cosine of the true caption minus the cosine of the false one, in which one fact differs. "
            "Ties, such as those from a fact beyond the window, are left out."
        ),
        wrong=is_asked & (margin < 0),
        margin="margin",
        facts=[
            FactColumn("True", "caption", "target_cosine", twin="predicted_caption"),
            FactColumn("Preferred", "predicted_caption", "predicted_cosine", twin="caption"),
            FactColumn("Margin", score="margin"),
            FactColumn("Place", describe_place),
        ],
        images=one_image(evidence, lambda row: f"The image of a statement {positions[row]} in its caption."),
    )


SECTION = Section(
    advice={
        UNREAD_END: (
            "Text beyond the context is cut off. Even of the text that fits, often only the first tokens count, because"
            " web captions are short. Longer position tables with fine-tuning on long captions help (Zhang et al. "
            "2024, arXiv:2403.15378, Long-CLIP). Without training: split the caption into sentences, and average "
            "their vectors or scores."
        ),
    },
    title="Long captions",
    figures=(TOKENS_KEPT, positions, token_lengths, matrices.similarity, RECALL),
    galleries=(*(failure_gallery(direction) for direction in FAILURE_GALLERIES), misjudged_facts),
    findings=findings,
    plots={
        "long-caption": Plot(
            summary="recall by tokens kept, and accuracy by where a fact is stated", draws=(TOKENS_KEPT, positions)
        )
    },
    drawn_figures=("positions",),
    sample_columns=SAMPLE_COLUMNS,
    sample_images=SAMPLE_IMAGES,
)
