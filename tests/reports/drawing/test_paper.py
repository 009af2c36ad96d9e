"""A figure for print: its size, its fonts, its bytes, and what is said where it cannot be written."""

import re
import struct
from pathlib import Path

import numpy as np
import pytest
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from clipbench.errors import UsageError
from clipbench_reports.drawing import paper
from clipbench_reports.drawing.marks import (
    Axis,
    Bars,
    Chart,
    Dots,
    Hill,
    Line,
    Mark,
    Panel,
    Ranges,
    Rule,
    Shade,
    Threads,
    Words,
    rows_axis,
)
from clipbench_reports.drawing.paper import NotebookFigure

AXIS = Axis(low=0, high=10, ticks=[0, 5, 10], label="axis")


def figure(*marks: Mark, x: Axis = AXIS, y: Axis = AXIS, **changes: object) -> Chart:
    panel = Panel(x=x, y=y, marks=marks, aspect=0.5)
    return Chart(**{"title": "Title.", "panels": [panel], "reading": "", **changes})  # type: ignore[arg-type]


def everything() -> Chart:
    """Return a figure with all kinds of marks."""
    rng = np.random.default_rng(0)
    points = rng.uniform(0, 10, (50, 2))
    return figure(
        Shade(low=1, high=2, name="shade"),
        Threads(starts=points[:5], ends=points[5:10], name="pair"),
        Dots(xs=points[:, 0].tolist(), ys=points[:, 1].tolist(), role="image", name="image", is_dense=True),
        Dots(xs=[1], ys=[1], role="text", name="text"),
        Line(xs=[0, 10], ys=[1, 2], lows=[0, 1], highs=[2, 3], role="ink", name="line", has_dots=True),
        Ranges(xs=[5, 6], ys=[5, 6], lows=[4, np.nan], highs=[6, np.nan], role="text", name="text", is_joined=True),
        Ranges(xs=[5], ys=[5], lows=[4], highs=[6], role="text", name="text", is_upright=False),
        Hill(xs=[0, 5, 10], ys=[8, 9, 8], foot=8, role="image", name="hill"),
        Bars(edges=[0, 5, 10], counts=[1, 2], role="ink", name="bars"),
        Rule(at=3, axis="y", role="chance", name="chance"),
        Rule(at=3, axis="x", role="ink", span=(0, 1), is_dashed=True),
        Words(words="words", x=5, y=5, lift=1),
    )


@pytest.fixture
def as_text(tmp_path: Path) -> Path:
    """Return a style file by which letters stay letters in an SVG."""
    style = tmp_path / "text.mplstyle"
    style.write_text("svg.fonttype: none\n")
    return style


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the figure of all kinds of marks in each format."""
    folder = tmp_path_factory.mktemp("saved")
    for kind in ("svg", "pdf", "png"):
        paper.save(everything(), folder / f"figure.{kind}")
    return folder


def png_size(path: Path) -> tuple[int, int]:
    width, height = struct.unpack(">II", path.read_bytes()[16:24])
    return width, height


@pytest.mark.parametrize("kind", ["svg", "pdf", "png"])
def test_equal_figures_give_equal_bytes(saved: Path, tmp_path: Path, kind: str) -> None:
    paper.save(everything(), tmp_path / f"figure.{kind}")
    assert (tmp_path / f"figure.{kind}").read_bytes() == (saved / f"figure.{kind}").read_bytes()


@pytest.mark.parametrize("width", [8.25, 17.5, 12.0])
def test_a_figure_is_as_wide_as_it_was_asked_to_be(tmp_path: Path, width: float) -> None:
    for kind in ("png", "pdf", "svg"):
        paper.save(figure(Dots(xs=[1], ys=[1], role="text")), tmp_path / f"figure.{kind}", width=width)
    assert abs(png_size(tmp_path / "figure.png")[0] - width / 2.54 * 300) <= 1
    box = re.search(rb"/MediaBox \[ 0 0 ([\d.]+) ", (tmp_path / "figure.pdf").read_bytes())
    assert box and float(box[1]) == pytest.approx(width / 2.54 * 72, abs=0.01)
    head = re.search(r'<svg[^>]* width="([\d.]+)pt"', (tmp_path / "figure.svg").read_text())
    assert head and float(head[1]) == pytest.approx(width / 2.54 * 72, abs=0.01)


def test_a_figure_is_as_high_as_what_it_holds(tmp_path: Path) -> None:
    heights = []
    for aspect in (0.3, 0.6):
        panel = Panel(x=AXIS, y=AXIS, marks=[], aspect=aspect)
        paper.save(Chart(title="", panels=[panel], reading=""), tmp_path / "figure.png")
        width, height = png_size(tmp_path / "figure.png")
        heights.append(height)
    inner = (heights[1] - heights[0]) / 0.3  # the width of the plane, by which the aspect is multiplied
    assert 0.8 * width < inner < width
    assert heights[0] - 0.3 * inner < 0.5 * 300  # what stands around the plane, in pixels of half an inch


def test_fonts_are_embedded_as_truetype(saved: Path) -> None:
    content = (saved / "figure.pdf").read_bytes()
    assert b"/FontFile2" in content and b"/Type3" not in content
    assert set(re.findall(rb"/BaseFont /(?:[A-Z]{6}\+)?(\w+)", content)) == {b"STIXGeneral"}


def test_only_dense_clouds_are_pixels(tmp_path: Path) -> None:
    cloud = [Dots(xs=[1, 2], ys=[1, 2], role="image", is_dense=is_dense) for is_dense in (True, False)]
    for dots, n in zip(cloud, (1, 0), strict=True):
        paper.save(figure(dots), tmp_path / "figure.svg")
        assert (tmp_path / "figure.svg").read_text().count("<image") == n


def test_a_style_file_comes_before_ours(tmp_path: Path) -> None:
    style = tmp_path / "my.mplstyle"
    style.write_text("axes.facecolor: fedcba\nfont.family: DejaVu Sans\n")
    paper.save(everything(), tmp_path / "figure.pdf", style=style)
    paper.save(everything(), tmp_path / "figure.svg", style=style)
    assert b"DejaVuSans" in (tmp_path / "figure.pdf").read_bytes()
    assert "#fedcba" in (tmp_path / "figure.svg").read_text()


def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"cannot write .*figure\.svg: No such file or directory"):
        paper.save(everything(), tmp_path / "none" / "figure.svg")


def test_names_are_written_as_they_are(tmp_path: Path, as_text: Path) -> None:
    names = ["$5 and $6", "<b>&amp;", "a_b^c \\frac"]
    axis = Axis(low=0, high=3, ticks=[0.5, 1.5, 2.5], names=names)
    lines = [Line(xs=[0], ys=[0], role="ink", name=name) for name in names[:2]]
    paper.save(figure(*lines, Words(words=names[0], x=1, y=1), y=axis), tmp_path / "figure.svg", style=as_text)
    text = (tmp_path / "figure.svg").read_text()
    assert text.count(">$5 and $6<") == 3 and text.count("&lt;b&gt;&amp;amp;") == 2 and ">a_b^c \\frac<" in text


def test_rows_get_higher_for_names_in_several_lines() -> None:
    long = [f"Linear separability of the modalities of all photographs, number {number}" for number in range(4)]
    heights = []
    for names in (["A", "B", "C", "D"], long):
        chart = paper.draw(figure(Rule(at=1, axis="x", role="ink"), y=rows_axis(names)))
        labels = [label.get_text() for label in chart.axes[0].get_yticklabels() if label.get_visible()]
        assert [label.replace("\n", " ") for label in labels] == names
        heights.append(chart.get_figheight())
    assert heights[1] > heights[0]


def test_a_figure_that_has_no_room_for_its_words_is_refused(tmp_path: Path) -> None:
    wide = Axis(low=0, high=2, ticks=[1], names=["a_long_name_of_a_metric@10"])
    with pytest.raises(
        UsageError,
        match=r"^no room for the words of the figure: got a width of 3 cm, expected more\. Use a larger width, such as full",
    ):
        paper.save(figure(Rule(at=1, axis="x", role="ink"), y=wide), tmp_path / "figure.png", width=3.0)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("width", "n_panels"), [(3.0, 1), (5.0, 1), (8.25, 1), (8.25, 2), (17.5, 2)])
def test_every_word_of_a_figure_is_inside_it_or_the_figure_is_refused(width: float, n_panels: int) -> None:
    names = ["a name of four words", "Linear-separability-of-all-modalities", "i", "a_name_without_spaces"]
    ticks = [0.5, 1.5, 2.5, 3.5]
    x, y = Axis(low=0, high=4, ticks=ticks, names=names, label="Names, from left to right"), rows_axis(names)
    lines = [Line(xs=[0, 4], ys=[k, k], role="ink", name=name) for k, name in enumerate(names)]
    panel = Panel(x=x, y=y, marks=lines, title="A title that is longer than a column", n_rows=4)
    try:
        figure = paper.draw(Chart(title="", panels=n_panels * [panel], reading="", n_columns=n_panels), width=width)
    except UsageError:
        assert width / n_panels < 8
        return
    figure.draw_without_rendering()
    visible_texts = [text for text in figure.findobj(Text) if text.get_visible() and text.get_text()]
    written = " ".join(text.get_text().replace("-\n", "-").replace("\n", " ") for text in visible_texts)
    assert all(written.count(name) >= 3 for name in names if name != "i")  # in the legend and at both axes
    outer_box = figure.bbox.padded(paper.OUTSIDE * figure.dpi)
    outside = [text.get_text() for text in visible_texts if not _is_within(text.get_window_extent(), outer_box)]
    assert not outside


def _is_within(box: Bbox, bbox: Bbox) -> bool:
    return bool(box.x0 >= bbox.x0 and box.x1 <= bbox.x1 and box.y0 >= bbox.y0 and box.y1 <= bbox.y1)


def test_a_figure_for_slides_is_saved_with_its_pixels(tmp_path: Path) -> None:
    figure = NotebookFigure(figsize=(1, 1), dpi=300)
    figure.file_dpi = 600
    figure.savefig(tmp_path / "figure.png")
    assert png_size(tmp_path / "figure.png") == (600, 600)
    figure.savefig(tmp_path / "figure.png", dpi=50)
    assert png_size(tmp_path / "figure.png") == (50, 50)
