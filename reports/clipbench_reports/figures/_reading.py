"""How often a written word is read right."""

from collections.abc import Mapping, Sequence

from clipbench.results import numbers as fmt
from clipbench.results.record import Metric
from clipbench_reports.drawing.marks import Axis, Chart, Mark, Panel, Ranges, Rule, fraction_axis
from clipbench_reports.drawing.models import Series, Statement, chart, facets
from clipbench_reports.drawing.svg import shorten
from clipbench_reports.figures._figure import CHANCE, bounds
from clipbench_reports.page.evidence import Evidence, MissingEvidence, ModelEvidence, read_each

NAME, ALL = "reading_acc", "all"
WORDS = {"word_alone": "a word alone", "with_object": "with an object"}
"""Subsets of the data that ship."""


def reading(models: Sequence[ModelEvidence]) -> Chart:
    """Return the share of words that are read right, altogether and by subset, against guessing.

    Raises:
        MissingEvidence: there were no words to read.
    """
    found = read_each(models, _read)
    rows = list(dict.fromkeys(words for metrics in found.values.values() for words in metrics))
    plane = Panel(
        x=fraction_axis("Read right, %"),
        y=Axis(low=len(rows) - 0.5, high=-0.5, ticks=range(len(rows)), names=[shorten(words, 16) for words in rows]),
        aspect=0.1 + 0.13 * len(rows),
        has_grid=False,
    )
    panels = facets(
        plane,
        [Series("read right", "text", found.map(lambda metrics: _dots(metrics, rows)))],
        found,
        references=found.map(lambda metrics: _guesses(metrics, rows)),
        keys=["read right"],
    )
    every = [metric for metrics in found.values.values() for metric in metrics.values()]
    return chart(
        [panels],
        found.map(_claim),
        found,
        reading=f"Dots: the nearest of the captions quotes the word that is written. Bars: {fmt.interval_name(every)}s.",
    )


def _read(evidence: Evidence) -> dict[str, Metric]:
    """Return the metric of all words, then of each subset."""
    metrics = {
        name.rpartition("/")[0]: metric
        for name, metric in evidence.evaluation.metrics.items()
        if name.rpartition("/")[2] == NAME and metric.value is not None
    }
    if "" not in metrics:
        raise MissingEvidence("the data hold no words to read")
    return {ALL if subset == "" else WORDS.get(subset, subset): metric for subset, metric in metrics.items()}


def _guesses(metrics: Mapping[str, Metric], rows: Sequence[str]) -> list[Mark]:
    return [
        Rule(
            at=metric.chance,
            axis="x",
            role="chance",
            name=CHANCE,
            span=(rows.index(name) - 0.4, rows.index(name) + 0.4),
        )
        for name, metric in metrics.items()
        if metric.chance is not None
    ]


def _dots(metrics: Mapping[str, Metric], rows: Sequence[str]) -> Ranges:
    lows, highs = bounds(metrics.values())
    return Ranges(
        xs=[metric.value or 0.0 for metric in metrics.values()],
        ys=[rows.index(name) for name in metrics],
        lows=lows,
        highs=highs,
        role="text",
        is_upright=False,
        ids=list(metrics),
    )


def _claim(metrics: Mapping[str, Metric]) -> Statement:
    metric = metrics[ALL]
    against = f", where guessing gives {fmt.percent(metric.chance)} %" if metric.chance is not None else ""
    right = f"{fmt.percent(metric.value)} %"
    return Statement(
        title=f"Reads the written word right in {right} of {fmt.count(metric.n)} images{against}.",
        subject="Written words that are read right",
        value=right,
        detail=" ".join(f"{words}: {fmt.percent(metric.value)} %." for words, metric in metrics.items()),
    )
