"""How often a written word is read right."""

from markupsafe import Markup

from clipbench.result import Metric
from clipbench_reports import format as fmt
from clipbench_reports.evidence import Evidence, Lacking
from clipbench_reports.figures._figure import Figure, figure
from clipbench_reports.svg import Axis, Plot, fraction_axis, shorten, text

NAME = "reading_acc"
ROW = 44
"""Height of a row, in pixels."""
WORDS = {"word_alone": "a word alone", "with_object": "with an object"}
"""Subsets of the data that ship."""


def reading(evidence: Evidence) -> Figure:
    """Return the share of words that are read right, altogether and by subset, against guessing.

    Raises:
        Lacking: there were no words to read.
    """
    metrics = {
        name.rpartition("/")[0]: metric
        for name, metric in evidence.evaluation.metrics.items()
        if name.rpartition("/")[2] == NAME and metric.value is not None
    }
    if "" not in metrics:
        raise Lacking("the data hold no words to read")
    rows = {"all" if subset == "" else WORDS.get(subset, subset): metric for subset, metric in metrics.items()}
    y = Axis(low=len(rows) - 0.5, high=-0.5, ticks=())
    plot = Plot(x=fraction_axis("Read right, %"), y=y, height=70 + ROW * len(rows), left=116, bottom=46)
    return figure(
        _claim(metrics[""]),
        [plot.frame(), *(_row(plot, place, *item) for place, item in enumerate(rows.items()))],
        height=plot.height,
        reading="Dots: the nearest of the captions quotes the word that is written. Bars: intervals. Dotted: guessing.",
        detail=" ".join(f"{words}: {fmt.percent(metric.value)} %." for words, metric in rows.items()),
    )


def _row(plot: Plot, place: int, words: str, metric: Metric) -> Markup:
    assert metric.value is not None, metric
    parts = [text(shorten(words, 16), plot.left - 10, plot.at(0, place)[1] + 4.5, anchor="end")]
    if metric.chance is not None:
        parts.append(plot.line([metric.chance] * 2, [place - 0.4, place + 0.4], "chance"))
    if metric.low is not None and metric.high is not None:
        parts.append(plot.line([metric.low, metric.high], [place, place], "text"))
    return Markup("").join([*parts, plot.dots([metric.value], [place], "text", radius=4.5)])


def _claim(metric: Metric) -> str:
    against = f", where guessing gives {fmt.percent(metric.chance)} %" if metric.chance is not None else ""
    return f"Reads the written word right in {fmt.percent(metric.value)} % of {fmt.count(metric.n)} pictures{against}."
