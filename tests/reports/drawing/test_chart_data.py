"""The numbers that a page tells at the marks of a figure: those of its table, and where they lie."""

import json
import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from clipbench_reports.drawing import chart_data, svg_chart
from clipbench_reports.drawing.chart_data import chart_json, mark_rows
from clipbench_reports.drawing.marks import (
    Axis,
    Bars,
    Cells,
    Chart,
    Dots,
    Hill,
    Line,
    Mark,
    Panel,
    Ranges,
    Role,
    Rule,
    Shade,
    Threads,
    Words,
)

PLAIN = Axis(low=0, high=10)
ROLES: tuple[Role, ...] = ("image", "text")
EVERY: list[Mark] = [
    Line(xs=[0, 1], ys=[0.123456, 2], lows=[0, 1], highs=[1, 3], role="m1", name="line"),
    Ranges(xs=[1, 2], ys=[3, 4], lows=[2, np.nan], highs=[4, np.nan], role="ink", name="range", aside=0.5, ids=["a", "b"]),
    Dots(xs=[1, 2], ys=[3, 4], role="image", name="cloud", is_dense=True, ids=["p", "q"]),
    Hill(xs=[0, 1], ys=[5.1, 5.9], foot=5, role="text", name="hill", values=[0.01, 0.09], is_percent=True),
    Bars(edges=[0, 1, 2], counts=[3, 4], role="pair", name="bars"),
    Rule(at=0.5, axis="x", role="chance", name="chance", span=(1, 2)),
    Shade(low=1, high=2, name="shade"),
    Threads(starts=np.zeros((1, 2)), ends=np.ones((1, 2)), name="pair"),
    Words(words="words", x=1, y=1),
]  # fmt: skip


def chart(*marks: Mark, **changes: Any) -> Chart:
    panel = Panel(x=PLAIN, y=PLAIN, marks=marks)
    return Chart(**{"title": "Title.", "panels": [panel], "reading": "", **changes})


def rows_of(panels: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the rows that a page writes as CSV, by its rules."""
    result = []
    for panel in panels:
        for series in panel["series"]:
            if series["kind"] == "cells":
                n = series["columns"]
                values = series.get("value") or [series["filled"].get(str(k), 0) for k in range(series["n"])]
                cells = ({"x": k % n, "y": k // n, "value": value} for k, value in enumerate(values))
                result += [{"panel": panel["name"], "series": series["name"], **cell} for cell in cells]
                continue
            if isinstance(series.get("id"), int):
                series["id"] = panel["series"][series["id"]]["id"]
            columns = [name for name in chart_data.COLUMNS if isinstance(series.get(name), list)]
            for values in zip(*(series[name] for name in columns), strict=True):
                result.append(
                    {"panel": panel["name"], "series": series["name"], **dict(zip(columns, values, strict=True))}
                )
    return result


def test_every_mark_that_stands_for_a_number_is_told_with_it() -> None:
    cells = Cells(depths=np.eye(2), values=np.array([[0.5, 1e-9], [0.25, 1.0]]), name="cells")
    figure = chart(*EVERY, cells)
    result, expected = rows_of(json.loads(chart_json(figure))), list(chart_data.chart_rows(figure))
    assert len(result) == len(expected) == 16
    for one, other in zip(result, expected, strict=True):
        assert one.keys() == other.keys()
        for name, value in other.items():
            if isinstance(value, str):
                assert one[name] == value
            else:
                assert one[name] == (pytest.approx(value, rel=1e-4, abs=1e-4) if np.isfinite(value) else None)


def test_it_is_said_how_a_mark_lies_and_whose_it_is() -> None:
    line, ranges, cloud, hill, bars, rule, shade = json.loads(chart_json(chart(*EVERY)))[0]["series"]
    assert line["model"] == 1 and "model" not in ranges
    assert (ranges["upright"], ranges["aside"]) == (True, 0.5)
    assert cloud["cloud"] and (hill["heights"], hill["foot"], hill["percent"]) == ([5.1, 5.9], 5, True)
    assert (rule["axis"], rule["span"]) == ("x", [1, 2]) and bars["kind"] == "bars" and shade["name"] == "shade"


def test_of_a_matrix_that_is_hardly_filled_what_is_there_is_told() -> None:
    values = np.diag([0.5, 0.25, 1.0])
    names = ["a", "b", "c"]
    cells = Cells(depths=values, values=values, names=(names, names), name="cells")
    figure = chart(cells)
    (series,) = json.loads(chart_json(figure))[0]["series"]
    assert (series["filled"], series["n"], series["names"]) == ({"0": 0.5, "4": 0.25, "8": 1}, 9, names)
    assert "rows" not in series  # they are those of the columns
    assert [row["value"] for row in rows_of(json.loads(chart_json(figure)))] == values.ravel().tolist()


def test_names_that_two_series_share_are_there_once() -> None:
    clouds = [Dots(xs=[1, 2], ys=[3, 4], role=role, name=role, is_dense=True, ids=["p", "q"]) for role in ROLES]
    first, second = json.loads(chart_json(chart(*clouds)))[0]["series"]
    assert (first["id"], second["id"]) == (["p", "q"], 0)


def planes(text: str) -> list[list[float]]:
    return [[float(part) for part in plane.split()] for plane in re.findall(r'data-plane="([^"]*)"', text)]


def test_each_plane_of_a_drawing_knows_its_panel_its_place_and_its_axes() -> None:
    log = Panel(x=Axis(low=1, high=100, is_log=True), y=Axis(low=4, high=0), aspect=0.5)
    figure = chart(panels=[Panel(x=PLAIN, y=PLAIN, aspect=0.5), log])
    assert planes(svg_chart.draw(figure)) == [
        [0, 10, 12, 374, 187, 0, 10, 0, 0, 10, 0],
        [1, 10, 219, 374, 187, 1, 100, 1, 4, 0, 0],
    ]


def test_a_line_with_one_bound_has_no_column_that_is_not_drawn() -> None:
    line = Line(xs=[1, 2], ys=[3, 4], role="text", name="captions", lows=[0, 0])
    assert list(mark_rows(line)) == [{"x": 1, "y": 3}, {"x": 2, "y": 4}]
    assert next(mark_rows(replace(line, highs=[5, 5]))) == {"x": 1, "y": 3, "low": 0, "high": 5}
