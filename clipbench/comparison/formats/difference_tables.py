"""The table of differences that all formats show, and a comparison in a line."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Literal, TypeVar

from clipbench.comparison.formats._many import verdict_summary
from clipbench.comparison.gate import OTHER_UNIT
from clipbench.comparison.gate_outcomes import FAILED, PASSED, UNDECIDED, GateResult, Outcome, Status
from clipbench.comparison.metric_difference import Difference, Flips, Verdict
from clipbench.comparison.records import WORDS, Comparison, RepresentationalSimilarity, verdict_line
from clipbench.comparison.relabelled import ChangedImage, Relabelled
from clipbench.results.grouping import group_values
from clipbench.results.metric_name import slice_suffix, subset_of
from clipbench.results.numbers import (
    NONE,
    change,
    change_interval,
    count,
    counted,
    interval,
    metric_value,
    p_value,
    quantity,
)
from clipbench.results.record import Metric, Metrics
from clipbench.results.table import Cell, Column, Row, Table, columns, note_number
from clipbench.results.titles import subset_legend, within_sentence

COLUMNS = (
    Column("metric", is_number=False, is_name=True),
    *(Column(header) for header in ("base", "candidate", "difference", "95 % interval", "p", "p (Holm)", "detectable")),
    Column("verdict", is_number=False),
    Column("flipped"),
)
"""``detectable``: the smallest difference that this number of samples detects in 4 of 5 cases."""
VERDICTS: Mapping[Verdict, str] = {
    "worse": "▲",
    "better": "●",
    "different": "■",
    "equivalent": "≈",
    "not shown": "○",
    "not tested": "–",
}
"""Verdicts in the order in which a reader looks for them, with their marks: a finding is filled, no finding hollow."""
TALLIED: Mapping[Verdict, str] = {
    "better": "better",
    "worse": "worse",
    "different": "changed where neither direction is better",
    "equivalent": "equivalent",
    "not shown": "not shown",
    "not tested": "not tested",
}
MODALITIES = {"image": "images", "text": "texts"}
NO_VERDICT = "alike is not better: no verdict"
R = TypeVar("R", Difference, RepresentationalSimilarity)
Rating = Literal["bad", "doubtful", "good", "open"]
"""How a comparison looks at first sight: red, yellow, green or grey."""
GATE_COLUMNS = (
    Column("metric", is_number=False, is_name=True),
    *(Column(header) for header in ("base", "candidate", "change, 95 % interval", "allowed")),
    Column("outcome", is_number=False),
)
STATUSES: Mapping[Status, tuple[str, str]] = {
    "regression": ("▲", "regression"),
    "unmet": ("▲", "not met"),
    "missing": ("✕", "missing"),
    "untested": ("✕", "untested"),
    "acknowledged": ("■", "known"),
    "not decided": ("○", "not decided"),
    "within": ("●", "within"),
    "pass": ("●", "passed"),
}
"""Mark and word of each outcome of a gated metric, the gravest first."""
FEW = 3
"""Candidates up to which each has a section of its own in a terminal."""
N_NAMED = 3
"""Metrics that are named in a line, before their number."""


def difference_table(title: str, differences: Sequence[Difference]) -> Table:
    """Return the differences of an evaluation as rows. An arrow marks a metric for which lower is better."""
    notes: list[str] = []
    subsets = {difference.name: difference.subset for difference in differences if not difference.grouping}
    legend = subset_legend(subsets, {subset_of(name): subset for name, subset in subsets.items()})
    rows = [_row(difference, notes) for difference in differences]
    return Table(title=title, facts=f"({legend})" if legend else "", columns=COLUMNS, rows=rows, notes=notes)


def by_grouping(comparison: Comparison) -> dict[str, list[Difference]]:
    """Return the headline metrics of the slices by ``task@data by grouping``, the gravest verdicts first."""
    groupings: dict[str, list[Difference]] = {}
    for difference in comparison.slices:
        if difference.candidate.is_headline:
            evaluation = difference.evaluation.removesuffix(slice_suffix(difference.grouping, difference.group))
            inside = ", ".join(filter(None, (difference.group, within_sentence(difference.subset))))
            row = replace(difference, name=f"{difference.group}/{difference.name}", subset=inside)
            groupings.setdefault(f"{evaluation} by {difference.grouping}", []).append(row)
    order = list(VERDICTS)
    for differences in groupings.values():
        differences.sort(key=lambda difference: (order.index(difference.verdict), difference.p_value or 0.0))
    return groupings


def similarity_lines(evaluation: str, similarities: Sequence[RepresentationalSimilarity]) -> list[str]:
    """Return the representational similarity of two models in plain lines: a heading, and one for each modality."""
    lines = [f"representational similarity, {_pair_count(similarities)} of {evaluation} ({NO_VERDICT})"]
    for similarity in similarities:
        words = []
        for name, metric in _metrics_by_label(similarity).items():
            if metric.value is None:
                words.append(f"{name} is undefined ({metric.reason})")
            else:
                bounds = "" if metric.low is None else f" {interval(metric)}"
                words.append(f"{name} {metric_value(metric)}{bounds}, chance {_chance_text(metric)}")
        lines.append(f"  {MODALITIES[similarity.modality]}: {'; '.join(words)}")
    return lines


def similarity_table(similarities: Sequence[RepresentationalSimilarity]) -> Table:
    """Return the representational similarity of two models as a table with a row for each modality and measure."""
    rows: list[Row] = []
    for similarity in similarities:
        modality = MODALITIES[similarity.modality].capitalize()
        for name, metric in _metrics_by_label(similarity).items():
            rows.append([f"{modality}: {name}", metric_value(metric), interval(metric), _chance_text(metric)])
    return Table(
        facts=_pair_count(similarities),
        columns=columns("measure", numbers=["value", "95 % interval", "chance"]),
        rows=rows,
    )


def relabelled_table(part: Relabelled) -> Table:
    """Return top-1 accuracy by the recorded labels and by others, on the same images, as a table."""
    rows: list[Row] = []
    for name, difference in (("recorded", part.recorded), ("new", part.relabelled)):
        values = [quantity(side.value, "fraction") for side in (difference.base, difference.candidate)]
        bounds = change_interval(difference.low, difference.high, "fraction")
        rows.append([name, *values, difference_text(difference), bounds, p_value(difference.p_value)])
    return Table(
        columns=columns("labels", numbers=["base", "candidate", "difference", "95 % interval", "p"]), rows=rows
    )


def changed_table(images: Sequence[ChangedImage]) -> Table:
    """Return images with both labels and both predictions, as a table."""
    rows: list[Row] = [
        [image.id, ", ".join(image.recorded), ", ".join(image.labels), image.base, image.candidate] for image in images
    ]
    return Table(columns=columns("image", "recorded label", "new labels", "base", "candidate"), rows=rows)


def metric_cell(difference: Difference) -> Cell:
    """Return the name of a metric, with its title."""
    arrow = " ↓" if difference.base.higher_is_better is False else ""
    return Cell(f"{difference.name}{arrow}", title=difference.title, sort_key=difference.title)


def difference_text(difference: Difference) -> str:
    """Return a difference with its unit."""
    return change(difference.value, difference.base.unit)


def _metrics_by_label(similarity: RepresentationalSimilarity) -> Metrics:
    return {"mutual k-NN": similarity.mutual_knn, "CKA": similarity.cka}


def _pair_count(similarities: Sequence[RepresentationalSimilarity]) -> str:
    return counted(similarities[0].mutual_knn.n, "pair")


def _chance_text(metric: Metric) -> str:
    return quantity(metric.chance, metric.unit) if metric.chance else "0"


def _row(difference: Difference, notes: list[str]) -> Row:
    unit = difference.base.unit
    faint = difference.verdict.replace(" ", "-")
    if difference.p_value is None:
        adjusted_p = Cell("no test", note=note_number(difference.test, notes), sort_key="")
    else:
        adjusted_p = Cell(p_value(difference.p_adjusted), sort_key=_sort_key(difference.p_adjusted))
    verdict = Cell(
        difference.verdict,
        mark=VERDICTS[difference.verdict],
        is_strong=difference.verdict in ("better", "worse"),
        sort_key=list(VERDICTS).index(difference.verdict),
        css=f"verdict {faint}",
    )
    return [
        metric_cell(difference),
        Cell(quantity(difference.base.value, unit), sort_key=difference.base.value),
        Cell(quantity(difference.candidate.value, unit), sort_key=difference.candidate.value),
        Cell(difference_text(difference), sort_key=difference.value, css=f"value {faint}"),
        Cell(change_interval(difference.low, difference.high, unit), sort_key=_sort_key(difference.low)),
        Cell(p_value(difference.p_value), sort_key=_sort_key(difference.p_value)),
        adjusted_p,
        Cell(change(difference.detectable, unit, is_signed=False), sort_key=_sort_key(difference.detectable)),
        verdict,
        _flips_cell(difference.flips),
    ]


def _sort_key(value: float | None) -> float | str:
    return "" if value is None else value


def _flips_cell(flips: Flips | None) -> Cell:
    if flips is None:
        return Cell("", sort_key="")
    gained, lost = len(flips.gained), len(flips.lost)
    n_in_part = len(flips.part_gained) + len(flips.part_lost)
    in_part = f", {count(n_in_part)} in part" if n_in_part else ""
    return Cell(f"+{count(gained)} −{count(lost)}{in_part}", sort_key=gained + lost + n_in_part)


def rating(comparison: Comparison) -> Rating:
    """Return how a comparison looks at first sight: what the gate decides, or the word if nothing is gated."""
    word, status, gate = comparison.verdict, comparison.exit_status, comparison.gate
    is_gated = bool(gate.counts)
    if status == FAILED or (word in ("worse", "mixed") and not is_gated):
        return "bad"
    if status == UNDECIDED or word in ("worse", "mixed") or gate.with_status("acknowledged"):
        return "doubtful"
    if word in ("better", "equal"):
        return "good"
    return "good" if is_gated and not gate.with_status("not decided") else "open"


def sort_worst_last(comparisons: Iterable[Comparison]) -> list[Comparison]:
    """Return comparisons in the order of their exit status and word, the worst last."""
    order = (PASSED, UNDECIDED, FAILED)
    return sorted(
        comparisons,
        key=lambda comparison: (
            order.index(comparison.exit_status),
            -WORDS.index(comparison.verdict),
            -_headline_gain(comparison),
        ),
    )


def _headline_gain(comparison: Comparison) -> float:
    """Return the change of the first headline metric with a direction, positive if it is better, 0 if none has one."""
    for difference in comparison.differences:
        if difference.is_headline and difference.base.higher_is_better is not None:
            return difference.value if difference.base.higher_is_better else -difference.value
    return 0.0


def verdict_lines(comparisons: Sequence[Comparison]) -> list[str]:
    """Return a line per comparison with its verdict, and the candidate's name if there are several, the worst last.

    More than ``FEW`` have one line: the worst candidate's verdict, and how many have which word.
    """
    if len(comparisons) == 1:
        return [verdict_line(comparisons[0].verdict, comparisons[0].reason)]
    if len(comparisons) > FEW:
        worst = sort_worst_last(comparisons)[-1]
        line = verdict_line(worst.verdict, f"{worst.reason}; {verdict_summary(comparisons)}", worst.candidate)
        return [line]
    return [
        verdict_line(comparison.verdict, comparison.reason, comparison.candidate)
        for comparison in sort_worst_last(comparisons)
    ]


def gate_table(outcomes: Sequence[Outcome]) -> Table:
    """Return the outcomes of a gate as rows: values of both sides, change with interval, allowed loss and outcome."""
    notes: list[str] = []
    return Table(columns=GATE_COLUMNS, rows=[_gate_row(outcome, notes) for outcome in outcomes], notes=notes)


def _gate_row(outcome: Outcome, notes: list[str]) -> Row:
    metric = outcome.base or outcome.candidate
    unit = "" if metric is None else metric.unit
    values = [quantity(side.value, unit) if side is not None else NONE for side in (outcome.base, outcome.candidate)]
    difference = outcome.difference
    shift, bounds = NONE, ""
    if difference is not None:
        shift = change(difference.value, unit)
        if difference.low is not None:
            bounds = change_interval(difference.low, difference.high, unit)
    title = outcome.title if outcome.title != outcome.metric else ""
    arrow = " ↓" if metric is not None and metric.higher_is_better is False else ""
    limit = outcome.limit
    if outcome.allowed is not None:
        limit = change(outcome.allowed, unit, is_signed=False)
    mark, word = STATUSES[outcome.status]
    status = Cell(
        word,
        mark=mark,
        note=note_number(outcome.reason, notes),
        is_strong=outcome.status in ("regression", "unmet"),
        css=f"verdict {outcome.status}",
    )
    return [
        Cell(f"{outcome.metric}{arrow}", title=title, sort_key=title or outcome.metric),
        *values,
        Cell(shift, aside=bounds),
        Cell(limit),
        status,
    ]


def ungated_lines(gate: GateResult) -> list[str]:
    """Return which metrics have another unit than their limit, and how many are not gated for another reason."""
    ungated = gate.with_status("not gated")
    lines = []
    in_other_unit = [outcome for outcome in ungated if outcome.reason == OTHER_UNIT]
    if in_other_unit:
        limits = " and ".join(dict.fromkeys(outcome.limit for outcome in in_other_unit))
        names = [outcome.metric for outcome in in_other_unit]
        more = f" and {len(names) - N_NAMED} more" if len(names) > N_NAMED else ""
        lines.append(f"not gated, another unit than {limits} (1% fits all): {', '.join(names[:N_NAMED])}{more}")
    reasons = Counter(outcome.message for outcome in ungated if outcome.reason != OTHER_UNIT)
    if reasons:
        words = [f"{counted(n, 'metric')} ({reason})" for reason, n in reasons.items()]
        lines.append(f"not gated: {', '.join(words)}")
    return lines


def tally(differences: Sequence[Difference]) -> str:
    """Return how many metrics have which verdict.

    Example:
        >>> tally([])
        'no metric compared'
    """
    headlines = [difference for difference in differences if difference.is_headline]
    explored = [difference for difference in differences if not difference.is_headline]
    parts = {"headline metrics": _verdict_counts(headlines), "others, explored": _verdict_counts(explored)}
    described = {name: words for name, words in parts.items() if words}
    if len(described) == 1:
        return next(iter(described.values()))
    return "; ".join(f"{name}: {words}" for name, words in described.items()) or "no metric compared"


def _verdict_counts(differences: Iterable[Difference]) -> str:
    counts = Counter(difference.verdict for difference in differences)
    return ", ".join(f"{counts[verdict]} {words}" for verdict, words in TALLIED.items() if counts[verdict])


def by_evaluation(records: Iterable[R]) -> dict[str, list[R]]:
    """Return differences, or representational similarities, by ``task@data``, in their order."""
    return group_values((record.evaluation, record) for record in records)
