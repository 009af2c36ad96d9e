"""Places of panels, and the legend that explains them, whoever draws them."""

import pytest

from clipbench_reports.drawing.layout import Layout, lay_out
from clipbench_reports.drawing.marks import Axis, Chart, Dots, Line, Mark, Panel, Role, Rule, nice_axis

AXIS = Axis(low=0, high=10, ticks=[0, 5, 10])


def panel(*marks: Mark, label: str = "", title: str = "", is_broad: bool = False, aspect: float = 0.5) -> Panel:
    y = Axis(low=0, high=1, label=label)
    return Panel(x=AXIS, y=y, marks=marks, title=title, is_broad=is_broad, aspect=aspect)


def figure(*panels: Panel, n_columns: int = 1, keys: tuple[str, ...] = ()) -> Chart:
    return Chart(title="", panels=panels, reading="", n_columns=n_columns, keys=keys)


def line(name: str, role: Role = "ink") -> Line:
    return Line(xs=[0, 1], ys=[0, 1], role=role, name=name)


CHANCE = Rule(at=0.5, axis="y", role="chance", name="chance")


def names(layout: Layout) -> list[str]:
    return [mark.name for mark in layout.legend]


def own_names(layout: Layout) -> list[list[str]]:
    return [[mark.name for mark in cell.legend] for row in layout.rows for cell in row]


def shape(layout: Layout) -> list[int]:
    return [len(row) for row in layout.rows]


def test_one_legend_serves_panels_that_models_share_whatever_else_is_in_them() -> None:
    models, level = (line("base", "m0"), line("tuned", "m1")), Rule(at=0.9, axis="y", role="ink", name="90 %")
    layout = lay_out(figure(panel(*models, CHANCE), panel(*models, level), n_columns=2))
    assert names(layout) == ["base", "tuned", "90 %", "chance"] and own_names(layout) == [[], []]


def test_marks_of_one_name_share_an_entry_and_chance_comes_last() -> None:
    dots = Dots(xs=[0], ys=[0], role="image", name="b")
    layout = lay_out(figure(panel(CHANCE, line("b", "image"), line("a"), dots)))
    assert names(layout) == ["b", "a", "chance"]
    assert isinstance(layout.legend[0], Line)


def test_panels_fill_rows_and_a_broad_one_has_a_row_of_its_own() -> None:
    few, broad = panel(), panel(is_broad=True)
    assert shape(lay_out(figure(*[few] * 5, n_columns=2))) == [2, 2, 1]
    assert shape(lay_out(figure(broad, *[few] * 3, n_columns=2))) == [1, 2, 1]
    assert shape(lay_out(figure(few, broad, few, few, n_columns=2))) == [1, 1, 2]
    assert shape(lay_out(figure(few, n_columns=4))) == [1]


@pytest.mark.parametrize(
    ("n_columns", "at_most", "expected"), [(4, 99, 4), (4, 3, 2), (6, 5, 3), (5, 4, 1), (3, 2, 1), (2, 1, 1)]
)
def test_columns_that_do_not_fit_are_divided_evenly(n_columns: int, at_most: int, expected: int) -> None:
    layout = lay_out(figure(*[panel()] * (2 * n_columns), n_columns=n_columns), max_columns=at_most)
    assert layout.n_columns == expected
    assert set(shape(layout)) == {expected}


@pytest.mark.parametrize(
    ("x", "y", "aspect", "expected"),
    [
        ((0, 2), (0, 1), 1.0, ((0, 2), (-0.5, 1.5))),  # high as wide: y is widened around its middle
        ((0, 1), (0, 2), 1.0, ((-0.5, 1.5), (0, 2))),
        ((0, 2), (0, 2), 0.5, ((-1, 3), (0, 2))),
        ((0, 2), (0, 1), 0.5, ((0, 2), (0, 1))),  # to scale already
    ],
)
def test_to_scale_one_axis_is_widened_until_a_unit_is_as_long_on_both(
    x: tuple[float, float], y: tuple[float, float], aspect: float, expected: tuple[tuple[float, float], ...]
) -> None:
    axes = {name: Axis(low=low, high=high, ticks=[low]) for name, (low, high) in {"x": x, "y": y}.items()}
    panel = Panel(marks=[], aspect=aspect, is_to_scale=True, **axes)  # type: ignore[arg-type]
    result = lay_out(figure(panel)).rows[0][0].panel
    assert ((result.x.low, result.x.high), (result.y.low, result.y.high)) == expected
    assert list(result.x.ticks) == [x[0]] and list(result.y.ticks) == [y[0]]
    unit_x, unit_y = 1 / (result.x.high - result.x.low), aspect / (result.y.high - result.y.low)
    assert unit_x == pytest.approx(unit_y)


@pytest.mark.parametrize("largest", [3e-4, 1.2e-13, 4e-30])
def test_an_axis_of_values_near_0_has_a_breadth(largest: float) -> None:
    """The loss of a model that never errs."""
    axis = nice_axis([0.0, largest / 3, largest])
    assert axis.low == 0 and largest <= axis.high < 2 * largest and len(set(axis.ticks)) == len(axis.ticks) > 2
    assert axis.share(axis.high) == 1
