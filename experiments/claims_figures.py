"""The two figures of docs/claims.md. The same outcomes give the same bytes. Imported only with matplotlib at hand."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from claims_outcomes import Outcome, lead, recall

LOOKS = {"clip": ("InfoNCE", "#0072b2", "o"), "siglip": ("sigmoid loss", "#d55e00", "s")}
"""Names, colours that colour-blind people tell apart (Okabe and Ito), and markers, as colour is not enough."""
LINES = (("#0072b2", "-"), ("#d55e00", "--"), ("#1c1c1e", ":"))


def draw_losses(by_loss: dict[str, list[Outcome]], path: Path) -> None:
    """Draw recall@1 of both losses against batch size, and the sigmoid loss's lead, each with 95 % intervals."""
    with _figure(path, n_panels=2) as (left, right):
        for (loss, outcomes), shift in zip(by_loss.items(), (0.95, 1.05), strict=True):
            name, colour, marker = LOOKS[loss]
            at = [shift * outcome.options.batch_size for outcome in outcomes]  # side by side, so that bars are seen
            _bars(left, at, [tuple(recall(each)) for each in outcomes], label=name, color=colour, marker=marker)
        left.set(ylabel="recall@1, mean of both directions, %", ylim=(0, None))
        left.legend(loc="best")
        pairs = list(zip(by_loss["siglip"], by_loss["clip"], strict=True))
        batches = [float(first.options.batch_size) for first, _ in pairs]
        right.axhline(0, color="#5f6064", linewidth=0.7)
        _bars(right, batches, [tuple(lead(*pair)) for pair in pairs], label="", color="#1c1c1e", marker="D")
        right.set(ylabel="sigmoid loss minus InfoNCE, pp")
        for axes in (left, right):
            axes.set_xscale("log", base=2)
            axes.set_xticks(batches, [f"{batch:,.0f}" for batch in batches])
            axes.set_xlabel("batch size, pairs")


def draw_gap(outcomes: Sequence[Outcome], path: Path) -> None:
    """Draw gap and both cones by step, a line for each temperature."""
    names = {
        "gap": "modality gap",
        "image_cone": "mean cosine of two images",
        "text_cone": "mean cosine of two texts",
    }
    with _figure(path, n_panels=3) as panels:
        for axes, (name, label) in zip(panels, names.items(), strict=True):
            for outcome, (colour, line) in zip(outcomes, LINES, strict=True):
                steps = [moment.step for moment in outcome.history]
                values = [getattr(moment, name) for moment in outcome.history]
                axes.plot(steps, values, color=colour, linestyle=line, linewidth=1.6, label=outcome.label)
            highest = None if name == "gap" else 1.0
            lowest = min(getattr(moment, name) for outcome in outcomes for moment in outcome.history)
            axes.set(xlabel="step", ylabel=label, ylim=(min(0, 1.1 * lowest), highest), xlim=(0, None))
        panels[0].figure.legend(
            *panels[0].get_legend_handles_labels(), loc="outside upper center", ncols=3, title="temperature"
        )


@contextmanager
def _figure(path: Path, *, n_panels: int) -> Iterator[Sequence[Axes]]:
    """Yield the axes of a figure that is written at the end; without pyplot, nothing is left behind."""
    with mpl.rc_context(
        {
            "svg.hashsalt": "clipbench",
            "font.size": 9,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.edgecolor": "#5f6064",
            "axes.linewidth": 0.7,
            "legend.frameon": False,
        }
    ):
        figure = Figure(figsize=(7.2, 2.9), layout="constrained")
        panels: Sequence[Axes] = figure.subplots(1, n_panels)
        yield panels
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, metadata={"Date": None, "Creator": None})


def _bars(
    axes: Axes, at: list[float], bounded: list[tuple[float, ...]], *, label: str, color: str, marker: str
) -> None:
    values, lows, highs = ([100 * each[part] for each in bounded] for part in range(3))
    below = [value - low for value, low in zip(values, lows, strict=True)]
    above = [high - value for value, high in zip(values, highs, strict=True)]
    axes.errorbar(
        at, values, yerr=[below, above], label=label, color=color, marker=marker, markersize=5, capsize=3, linewidth=1.2
    )
