"""How often a written word is read right."""

from collections.abc import Mapping

from clipbench.results import numbers as fmt
from clipbench.results.record import Metric
from clipbench_reports.drawing.marks import Axis, Chart, Mark, Panel, Ranges, Rule, fraction_axis
from clipbench_reports.drawing.svg import shorten
from clipbench_reports.figures._figure import CHANCE, bounds
from clipbench_reports.page.evidence import Evidence, MissingEvidence

NAME = "reading_acc"
WORDS = {"word_alone": "a word alone", "with_object": "with an object"}
"""Subsets of the data that ship."""


def reading(evidence: Evidence) -> Chart:
    """Return the share of words that are read right, altogether and by subset, against guessing.

    Raises:
        MissingEvidence: there were no words to read.
    """
    metrics = {
        name.rpartition("/")[0]: metric
        for name, metric in evidence.evaluation.metrics.items()
        if name.rpartition("/")[2] == NAME and metric.value is not None
    }
    if "" not in metrics:
        raise MissingEvidence("the data hold no words to read")
    rows = {"all" if subset == "" else WORDS.get(subset, subset): metric for subset, metric in metrics.items()}
    names = [shorten(words, 16) for words in rows]
    return Chart(
        title=_claim(metrics[""]),
        panels=[
            Panel(
                x=fraction_axis("Read right, %"),
                y=Axis(low=len(rows) - 0.5, high=-0.5, ticks=range(len(rows)), names=names),
                marks=_marks(rows),
                aspect=0.1 + 0.13 * len(rows),
                has_grid=False,
            )
        ],
        reading="Dots: the nearest of the captions quotes the word that is written. "
        f"Bars: {fmt.interval_name(metrics.values())}s.",
        detail=" ".join(f"{words}: {fmt.percent(metric.value)} %." for words, metric in rows.items()),
        keys=["read right"],
        subject="Written words that are read right",
        value=f"{fmt.percent(metrics[''].value)} %",
    )


def _marks(rows: Mapping[str, Metric]) -> list[Mark]:
    lows, highs = bounds(rows.values())
    guesses: list[Mark] = [
        Rule(at=metric.chance, axis="x", role="chance", name=CHANCE, span=(place - 0.4, place + 0.4))
        for place, metric in enumerate(rows.values())
        if metric.chance is not None
    ]
    dots = Ranges(
        xs=[metric.value or 0.0 for metric in rows.values()],
        ys=range(len(rows)),
        lows=lows,
        highs=highs,
        role="text",
        name="read right",
        is_upright=False,
        ids=list(rows),
    )
    return [*guesses, dots]


def _claim(metric: Metric) -> str:
    against = f", where guessing gives {fmt.percent(metric.chance)} %" if metric.chance is not None else ""
    return f"Reads the written word right in {fmt.percent(metric.value)} % of {fmt.count(metric.n)} images{against}."
