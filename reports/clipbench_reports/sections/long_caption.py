"""Long captions: recall by the tokens kept, the effective length, and a fact stated at places further and further in."""

from clipbench.results import numbers as fmt
from clipbench.results.record import EvaluationRecord, Metric
from clipbench.results.titles import subset_title, within_sentence
from clipbench_reports import figures
from clipbench_reports.galleries.unfound import SEARCHES, misjudged, unfound
from clipbench_reports.page.sentences.findings import (
    Finding,
    claim,
    headline_findings,
    interval_in_brackets,
    mark_of,
    not_better,
    skill,
)
from clipbench_reports.page.text import NO_REASON, isolated
from clipbench_reports.sections.retrieval import SAMPLE_COLUMNS, SAMPLE_IMAGES
from clipbench_reports.sections.section import Section

UNREAD_END = "The end of a caption is not read"


def findings(evaluation: EvaluationRecord) -> list[Finding]:
    """Return whether captions find their images, how much of them counts, and where a fact is still told."""
    sentences = []
    recall, length = (evaluation.metrics.get(name) for name in ("image_retrieval_recall@1", "effective_length"))
    if recall is not None:
        sentences.append(
            claim("A long caption finds its image first in {value} of {n} cases", recall, weakness=UNREAD_END)
        )
    if length is not None:
        sentences.append(_tokens_used(evaluation, length))
    return [*sentences, *_by_place(evaluation)] or headline_findings(evaluation)


def _tokens_used(evaluation: EvaluationRecord, length: Metric) -> Finding:
    if length.value is None:
        return Finding("missing", f"Effective length undefined ({length.reason or NO_REASON}).")
    tokens = f"{fmt.number(length.value, length.unit)} tokens{interval_in_brackets(length)}"
    text = f"The first {tokens} of a caption give {figures.share_of_recall(evaluation)} % of the recall of the whole"
    cut, lost = (evaluation.metrics.get(name) for name in ("truncated_fraction", "tokens_lost"))
    if cut is None or cut.value is None or lost is None or lost.value is None:
        return Finding("plain", f"{text}.")
    if cut.value == 0:
        return Finding("plain", f"{text}; every caption fits the model's context.")
    longer = f"{fmt.percent(cut.value)} % of the captions are longer than the model's context"
    text = f"{text}; {longer} and lose {fmt.number(lost.value, lost.unit)} tokens on average."
    return Finding("plain", text, weakness=UNREAD_END)


def _by_place(evaluation: EvaluationRecord) -> list[Finding]:
    """Return how often a true statement beats a false one, by where it stands, and where no test tells it from guessing."""
    keys = {
        within_sentence(subset_title(place, evaluation.subsets)): place
        for name, metric in evaluation.metrics.items()
        if (place := name.removesuffix("/text_acc")) != name and metric.value is not None
    }
    places = {name: evaluation.metrics[f"{place}/text_acc"] for name, place in keys.items()}
    if not places:
        return []
    read = {name: metric for name, metric in places.items() if not _is_unread(evaluation, keys[name])}
    shares = ", ".join(f"{fmt.percent(metric.value)} % ({isolated(name)})" for name, metric in (read or places).items())
    text = f"Prefers a true caption to one with a single false fact in {shares}"
    unread = [isolated(name) for name in places if name not in read]
    beyond = Finding("plain", f"Facts beyond the model's context cannot differ: {', '.join(unread)}.", is_expected=True)
    if not read:
        return [Finding("plain", f"{text}."), beyond]
    mark, lowest = mark_of(read.values()), min(map(skill, read.values()))
    parts = [f"{how}: {', '.join(names)}" for how, names in not_better(read).items()]
    if mark == "good":
        parts = [f"better than chance {'wherever the model reads them' if unread else 'everywhere'}"]
    weakness = UNREAD_END if mark in ("weak", "level") else ""
    said = Finding(mark, f"{'; '.join([text, *parts])}.", 0.0 if mark == "plain" else lowest, weakness=weakness)
    return [said, beyond] if unread else [said]


def _is_unread(evaluation: EvaluationRecord, place: str) -> bool:
    """Return whether the model reads none of the facts at a place, where it can only score what chance does."""
    cut = evaluation.controls.get(f"{place}/beyond_window")
    return cut is not None and cut.value == 1


ADVICE = {
    UNREAD_END: "Text beyond the context is cut off; of what fits, often only the first tokens count, because web "
    "captions are short. Longer position tables with fine-tuning on long captions help (Zhang et al. 2024, "
    "Long-CLIP). "
    "Without training: split the caption into sentences, and average their vectors or scores."
}


SECTION = Section(
    advice=ADVICE,
    title="Long captions",
    figures=(figures.tokens_kept, figures.positions, figures.token_lengths, figures.similarity, figures.recall),
    galleries=(*map(unfound, SEARCHES), misjudged),
    findings=findings,
    drawn_curves=frozenset({*figures.ACROSS, *figures.WITHIN, *figures.KEPT, figures.BY_POSITION}),
    sample_columns=SAMPLE_COLUMNS,
    sample_images=SAMPLE_IMAGES,
)
