"""Accuracy on shifted data against accuracy on ImageNet: reference models, their line, and the models of some runs."""

from collections.abc import Sequence

import numpy as np

from clipbench.comparison.robustness import BASELINES, SHIFTS, Reference, Robustness, reference
from clipbench.results import numbers as fmt
from clipbench_reports.drawing.marks import MODELS, Chart, Dots, Line, Mark, Panel, Ranges, percent_axis
from clipbench_reports.page.evidence import MissingEvidence

TITLES = {
    "imagenetv2": "ImageNetV2",
    "imagenet-sketch": "ImageNet-Sketch",
    "imagenet-r": "ImageNet-R",
    "objectnet": "ObjectNet",
    "imagenet-a": "ImageNet-A",
}
NAMES = {"standard": "trained on ImageNet alone", "open_clip": "trained as CLIP, of open_clip's table"}
"""Of the reference models of each baseline."""
POINTS = 60
"""Points of a line."""
assert TITLES.keys() == set(SHIFTS) and NAMES.keys() == BASELINES.keys()


def robustness(found: Sequence[Sequence[Robustness]], names: Sequence[str], baseline: str) -> Chart:
    """Return a panel for each shift, with the models in it.

    Args:
        found: effective robustness of each model on its shifts.
        names: of the models.
        baseline: of the line.

    Raises:
        MissingEvidence: there are more models than can be told apart.
    """
    if len(names) > len(MODELS):
        raise MissingEvidence(f"{len(names)} models cannot be told apart in one panel: at most {len(MODELS)}")
    by_shift = {
        data: {
            name: each for name, of_model in zip(names, found, strict=True) for each in of_model if each.data == data
        }
        for data in SHIFTS
    }
    panels = [
        _panel(data, of_data, line, names, NAMES[baseline])
        for data, of_data in by_shift.items()
        if of_data and (line := reference(baseline, data)) is not None
    ]
    first = found[0][0]
    beyond = sorted({name for name, of_model in zip(names, found, strict=True) if not of_model[0].is_within})
    outside = f" The line is continued to {', '.join(beyond)}, beyond the reference models." if beyond else ""
    return Chart(
        title=f"{names[0]} lies {_points(first)} {'above' if first.value >= 0 else 'below'} the line on {TITLES[first.data]}"
        f" ({_ends(first)}).",
        panels=panels,
        n_columns=min(2, len(panels)),
        reading="Top-1 accuracy on shifted data against that on ImageNet, with 95 % intervals; effective robustness is the "
        f"distance to the line of models {NAMES[baseline]}, fitted to the logits of both (Taori et al., 2020), with the band "
        f"of its own doubt.{outside}",
        detail=" ".join(
            f"{name} on {TITLES[each.data]}: {fmt.percent(each.value)} percentage points ({_ends(each)})."
            for name, of_model in zip(names, found, strict=True)
            for each in of_model
        ),
    )


def _panel(
    data: str, found: dict[str, Robustness], line: Reference, names: Sequence[str], reference_name: str
) -> Panel:
    xs = [*line.original.tolist(), *(each.original for each in found.values())]
    ys = [*line.shifted.tolist(), *(each.shifted for each in found.values())]
    x, y = percent_axis(xs, "ImageNet, %"), percent_axis(ys, "Top-1 accuracy, %")
    along = np.linspace(max(float(x.low), 0.005), min(float(x.high), 0.995), POINTS)
    along = along[[y.low <= line.trend.expected(each) <= y.high for each in along.tolist()]]
    bands = [line.trend.band(each) for each in along.tolist()]
    marks: list[Mark] = [
        Dots(xs=line.original.tolist(), ys=line.shifted.tolist(), role="ink", name=reference_name, is_dense=True),
        Line(
            xs=along.tolist(),
            ys=[line.trend.expected(each) for each in along.tolist()],
            lows=[low for low, _ in bands],
            highs=[high for _, high in bands],
            role="chance",
            name="their line",
        ),
    ]  # fmt: skip
    for role, name in zip(MODELS, names, strict=False):
        if name in found:
            each = found[name]
            low, high = each.shifted_low, each.shifted_high
            marks.append(Ranges(xs=[each.original], ys=[each.shifted], lows=[low], highs=[high], role=role, name=name))
    return Panel(title=TITLES[data], x=x, y=y, marks=marks, aspect=0.8)


def _points(each: Robustness) -> str:
    return f"{fmt.percent(abs(each.value))} percentage points"


def _ends(each: Robustness) -> str:
    return f"{fmt.percent(each.low)} to {fmt.percent(each.high)}"
