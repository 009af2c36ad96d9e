"""The figures of experiments/claims.md. The same outcomes give the same bytes. Imported only with matplotlib at hand."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import matplotlib as mpl
import numpy as np
from jaxtyping import Float64
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.transforms import ScaledTranslation

from claims_outcomes import SHOWN, Bounded, Runs, lead, recall

Places = Float64[np.ndarray, " n"]


class Look(NamedTuple):
    """A name in a figure, with a colour that colour-blind people tell apart (Okabe and Ito), and a marker, as that is
    not enough.
    """

    name: str
    colour: str
    marker: str


LOOKS = Look("InfoNCE", "#0072b2", "o"), Look("sigmoid loss", "#d55e00", "s")
LINES = (("#0072b2", "-"), ("#d55e00", "--"), ("#1c1c1e", ":"))
GREY = "#5f6064"


def draw_losses(duels: Sequence[tuple[Runs, Runs]], path: Path) -> None:
    """Draw recall@1 of both losses against batch size, and the sigmoid loss's lead: each seed, and means with
    intervals.
    """
    batches = np.array([float(clip[0].options.batch_size) for clip, _ in duels])
    with _figure(path, n_panels=2) as (left, right):
        for which, (look, shift) in enumerate(zip(LOOKS, (0.93, 1.07), strict=True)):
            _means(left, shift * batches, [recall(duel[which]) for duel in duels], look)
        left.set(ylabel="recall@1, mean of both directions, %", ylim=(0, None))
        left.legend(loc="best")
        right.axhline(0, color=GREY, linewidth=0.7)
        _means(right, batches, [lead(siglip, clip) for clip, siglip in duels], Look("", "#1c1c1e", "D"))
        right.set(ylabel="sigmoid loss minus InfoNCE, pp")
        for axes in (left, right):
            axes.set_xscale("log", base=2)
            axes.set_xticks(batches.tolist(), [f"{batch:,.0f}" for batch in batches])
            axes.set_xlabel("batch size, pairs")


def draw_gap(by_temperature: Sequence[Runs], path: Path) -> None:
    """Draw gap and both cones by step, at each temperature: a thin line for each seed, a thick one for the mean."""
    names = {
        "gap": "modality gap",
        "image_cone": "mean cosine of two images",
        "text_cone": "mean cosine of two texts",
    }
    with _figure(path, n_panels=3) as panels:
        for axes, (name, label) in zip(panels, names.items(), strict=True):
            for runs, (colour, line) in zip(by_temperature, LINES, strict=True):
                steps = [moment.step for moment in runs[0].history]
                each = np.array([[getattr(moment, name) for moment in run.history] for run in runs])
                axes.plot(steps, each.T, color=colour, linestyle=line, linewidth=0.6, alpha=0.5)
                axes.plot(steps, each.mean(axis=0), color=colour, linestyle=line, linewidth=1.8, label=runs[0].label)
            highest = None if name == "gap" else 1.0
            lowest = min(getattr(moment, name) for runs in by_temperature for run in runs for moment in run.history)
            axes.set(xlabel="step", ylabel=label, ylim=(min(0, 1.1 * lowest), highest), xlim=(0, None))
        figure = panels[0].figure
        assert isinstance(figure, Figure)
        figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper center", ncols=3, title="temperature")


def draw_weaknesses(runs: Mapping[str, Bounded], tiny: Mapping[str, Bounded], path: Path) -> None:
    """Draw a row for each measure: the mean of seeds with each seed, ``tiny``, and chance."""
    with _figure(path, n_panels=1, height=0.9 + 0.3 * len(SHOWN)) as (axes,):
        at = np.arange(len(SHOWN))[::-1].astype(np.float64)
        _means(axes, at + 0.12, [runs[name] for name in SHOWN], Look("runs", *LOOKS[0][1:]), is_row=True)
        _means(axes, at - 0.12, [tiny[name] for name in SHOWN], Look("tiny", *LOOKS[1][1:]), is_row=True)
        chances = [(100 * chance, y) for (_, chance), y in zip(SHOWN.values(), at, strict=True) if chance is not None]
        axes.plot(*zip(*chances, strict=True), "|", color="#1c1c1e", markersize=12, label="chance")
        axes.set_yticks(at, [title for title, _ in SHOWN.values()])
        axes.set(xlabel="%", xlim=(-1.5, 101.5))
        axes.grid(axis="y", color="#e4e4e7", linewidth=0.5)
        axes.set_axisbelow(True)
        figure = axes.figure
        assert isinstance(figure, Figure)
        figure.legend(loc="outside upper center", ncols=3)


@contextmanager
def _figure(path: Path, *, n_panels: int, height: float = 2.9) -> Iterator[Sequence[Axes]]:
    """Yield the axes of a figure that is written at the end; without pyplot, nothing is left behind."""
    with mpl.rc_context(
        {
            "svg.hashsalt": "clipbench",
            "font.size": 9,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.edgecolor": GREY,
            "axes.linewidth": 0.7,
            "legend.frameon": False,
        }
    ):
        figure = Figure(figsize=(7.2, height), layout="constrained")
        panels: Sequence[Axes] = np.atleast_1d(figure.subplots(1, n_panels)).tolist()
        yield panels
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, metadata={"Date": None, "Creator": None})


def _means(axes: Axes, at: Places, found: Sequence[Bounded], look: Look, *, is_row: bool = False) -> None:
    """Draw means with intervals in percent, and a dot for each seed; ``is_row`` for values along x."""
    values, lows, highs = (100 * np.array([each[part] for each in found]) for part in range(3))
    reach = np.array([values - lows, highs - values])
    axes.errorbar(
        *((values, at) if is_row else (at, values)),
        xerr=reach if is_row else None,
        yerr=None if is_row else reach,
        label=look.name,
        color=look.colour,
        marker=look.marker,
        linestyle="none" if is_row else "-",
        markersize=5,
        capsize=3,
        linewidth=1.2,
    )
    away = 5 / 72  # dots stand beside the bar, 5 points from it
    inches = axes.figure.dpi_scale_trans
    beside = axes.transData + ScaledTranslation(0 if is_row else -away, away if is_row else 0, inches)
    for place, each in zip(at, found, strict=True):
        if len(each.by_seed) > 1:
            dots = [place] * len(each.by_seed), [100 * seed for seed in each.by_seed]
            axes.plot(*(dots[::-1] if is_row else dots), ".", color=look.colour, markersize=4, transform=beside)
