"""The page of an explanation: the groups that got worse, with images and answers of the samples that changed."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from clipbench.comparison.explanation_records import Claim, Explanation, net_change, share_text
from clipbench.results.metric_name import metric_of
from clipbench.results.numbers import change, percent
from clipbench.results.run import Run, read_run
from clipbench.results.short_names import last_parts
from clipbench.results.table import as_html
from clipbench_reports.figures.group_changes import group_changes
from clipbench_reports.galleries import MAX_BYTES, Gallery, PageBudget
from clipbench_reports.page.flipped import PairedTables
from clipbench_reports.page.html import assets, render_template, write_html
from clipbench_reports.text import sentence_case

N_SHOWN = 6
"""Samples of a claim that are shown, those whose images were kept first."""
MORE_COPIES = (
    "A run keeps small copies of the images of its worst mistakes only. `clipbench run --thumbnails N`, with N the"
    " number of images of the data, keeps all of them."
)
"""Names the option that keeps the images that are missing."""


def write_explanation(explanation: Explanation, runs: Sequence[Run | Path], path: Path) -> None:
    """Write the page of an explanation, whole or not at all.

    Args:
        runs: the base and the candidate, or their folders.

    Raises:
        UsageError: the file cannot be written.
    """
    part = explanation_part(explanation, runs)
    write_html(render_template("explanation.html.j2", **assets("explanation"), models=[], part=part), path)


def explanation_part(explanation: Explanation, runs: Sequence[Run | Path]) -> dict[str, object]:
    """Return what the templates of an explanation show, on a page of its own or in a section of a comparison."""
    base, candidate = (run if isinstance(run, Run) else read_run(run) for run in runs)
    claim_table = as_html(explanation.claim_table(), "claims") if explanation.claims else ""
    return {
        "explanation": explanation,
        "label": last_parts([explanation.base, explanation.candidate])[1],
        "verdict": sentence_case(explanation.verdict),
        "figure": group_changes(explanation),
        "claims": [*_shown_claims(explanation, base, candidate)],
        "table": claim_table,
    }


def _shown_claims(explanation: Explanation, base: Run, candidate: Run) -> Iterator[tuple[str, Gallery]]:
    """Yield the sentence of each claim, and its samples."""
    metric = metric_of(explanation.evaluation, explanation.metric)
    tables = PairedTables(explanation.evaluation, base, candidate)
    budget = PageBudget(MAX_BYTES, n_shares=len(explanation.claims))
    for claim in explanation.claims:
        yield _sentence(claim), _gallery(claim, metric, tables, budget.share())


def _gallery(claim: Claim, metric: str, tables: PairedTables, budget: PageBudget) -> Gallery:
    direction = "lost" if claim.claim.startswith("worse") else "gained"
    samples = tables.samples(claim.samples, metric, N_SHOWN, budget)
    note = f"Samples of the group that {direction} most."
    if tables.lacks_copies([sample.id for sample in samples], metric):
        note = f"{note} {MORE_COPIES}"
    return Gallery(title=claim.slice, note=note, failures=samples)


def _sentence(claim: Claim) -> str:
    """Return a claim in a sentence."""
    values = f"{percent(claim.base)} % in the base, {percent(claim.candidate)} % in the candidate"
    difference = change(claim.difference, "fraction")
    sentence = f"{sentence_case(claim.claim)}: {difference} of {claim.n:,} samples ({values})"
    if claim.share_of_loss is not None:
        sentence += f", {share_text(claim.share_of_loss)} of the whole loss"
    if claim.net_n < claim.n:
        sentence += f"; net of the groups above {net_change(claim)}"
    return f"{sentence}."
