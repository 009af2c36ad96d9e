"""The share of written words that are read correctly."""

from collections.abc import Mapping, Sequence

from clipbench.results import numbers as fmt
from clipbench.results.record import Metric
from clipbench.results.titles import subset_title
from clipbench_reports.drawing.marks import Axis, Chart, Mark, Panel, Ranges, Rule, fraction_axis
from clipbench_reports.drawing.models import Layer, Statement, facet_chart
from clipbench_reports.drawing.svg import shorten
from clipbench_reports.figures._figure import CHANCE, bounds
from clipbench_reports.page.evidence import ByModel, Evidence, MissingEvidence, ModelEvidence, read_each

NAME, ALL = "reading_acc", "all"


def reading(models: Sequence[ModelEvidence]) -> Chart:
    """Return the share of words that are read correctly, altogether and by subset, against guessing.

    Raises:
        MissingEvidence: there were no words to read.
    """
    by_model = read_each(models, _read)
    rows = list(dict.fromkeys(words for metrics in by_model.all for words in metrics))
    plane = Panel(
        x=fraction_axis("Read correctly, %"),
        y=Axis(low=len(rows) - 0.5, high=-0.5, ticks=range(len(rows)), names=[shorten(words, 16) for words in rows]),
        aspect=0.1 + 0.13 * len(rows),
        has_grid=False,
    )
    intervals = fmt.interval_name(metric for metrics in by_model.all for metric in metrics.values())
    return facet_chart(
        plane,
        ByModel(by_model.map(lambda metrics: Layer(_marks(metrics, rows), _state(metrics))), by_model.missing),
        reading=f"Dots: the nearest of the captions quotes the word that is written. Bars: {intervals}s.",
        keys=["read correctly"],
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
    subsets = evidence.evaluation.subsets
    return {ALL if subset == "" else subset_title(subset, subsets): metric for subset, metric in metrics.items()}


def _marks(metrics: Mapping[str, Metric], rows: Sequence[str]) -> list[Mark]:
    places = {name: rows.index(name) for name in metrics}
    lows, highs = bounds(metrics.values())
    guesses: list[Mark] = [
        Rule(at=metric.chance, axis="x", role="chance", name=CHANCE, span=(places[name] - 0.4, places[name] + 0.4))
        for name, metric in metrics.items()
        if metric.chance is not None
    ]
    dots = Ranges(
        xs=[metric.value or 0.0 for metric in metrics.values()],
        ys=list(places.values()),
        lows=lows,
        highs=highs,
        role="text",
        name="read correctly",
        is_upright=False,
        ids=list(metrics),
    )
    return [*guesses, dots]


def _state(metrics: Mapping[str, Metric]) -> Statement:
    metric = metrics[ALL]
    against = f", where guessing gives {fmt.percent(metric.chance)} %" if metric.chance is not None else ""
    right = f"{fmt.percent(metric.value)} %"
    return Statement(
        title=f"The written word is read correctly in {right} of {fmt.count(metric.n)} images{against}.",
        subject="Written words that are read correctly",
        value=right,
        detail=" ".join(f"{words}: {fmt.percent(metric.value)} %." for words, metric in metrics.items()),
    )
