"""A figure for print: its size, its fonts, its bytes, and what is said where it cannot be written."""

import re
import shutil
import struct
from itertools import pairwise
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from matplotlib.backends.backend_pgf import LatexManager
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure as Canvas

from clipbench.errors import ClipbenchError, UsageError
from clipbench_reports.drawing import paper
from clipbench_reports.drawing.marks import (
    Axis,
    Bars,
    Boxes,
    Cells,
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
)
from clipbench_reports.drawing.notebook import NotebookFigure
from clipbench_reports.drawing.paper_marks import LOOKS, ON_DARK, put
from clipbench_reports.figures._figure import HEAD, MAX_LINES

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
        Boxes(corners=[(1, 1, 2, 2)]),
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
    found = (saved / "figure.pdf").read_bytes()
    assert b"/FontFile2" in found and b"/Type3" not in found
    assert set(re.findall(rb"/BaseFont /(?:[A-Z]{6}\+)?(\w+)", found)) == {b"STIXGeneral"}


def test_only_dense_clouds_are_pixels(tmp_path: Path) -> None:
    cloud = [Dots(xs=[1, 2], ys=[1, 2], role="image", is_dense=is_dense) for is_dense in (True, False)]
    for dots, n in zip(cloud, (1, 0), strict=True):
        paper.save(figure(dots), tmp_path / "figure.svg")
        assert (tmp_path / "figure.svg").read_text().count("<image") == n


def test_no_file_says_when_it_was_made(saved: Path) -> None:
    for kind in ("svg", "pdf"):
        found = (saved / f"figure.{kind}").read_bytes()
        assert b"dc:date" not in found and b"CreationDate" not in found


def test_a_style_file_comes_before_ours(tmp_path: Path) -> None:
    style = tmp_path / "my.mplstyle"
    style.write_text("axes.facecolor: fedcba\nfont.family: DejaVu Sans\n")
    paper.save(everything(), tmp_path / "figure.pdf", style=style)
    paper.save(everything(), tmp_path / "figure.svg", style=style)
    assert b"DejaVuSans" in (tmp_path / "figure.pdf").read_bytes()
    assert "#fedcba" in (tmp_path / "figure.svg").read_text()


def test_the_settings_of_the_caller_neither_matter_nor_change(saved: Path, tmp_path: Path) -> None:
    with matplotlib.rc_context({"axes.facecolor": "#fedcba", "font.size": 20}):
        paper.save(everything(), tmp_path / "b.svg")
        assert matplotlib.rcParams["font.size"] == 20
    assert (saved / "figure.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()


def test_a_style_that_is_not_there_is_told_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"--style .*none\.mplstyle: .*expected a matplotlib style file") as failed:
        paper.save(everything(), tmp_path / "figure.svg", style=tmp_path / "none.mplstyle")
    assert "\n" not in str(failed.value)
    assert not list(tmp_path.iterdir())


def test_a_type_that_matplotlib_does_not_write_is_refused(tmp_path: Path) -> None:
    for name in ("figure.docx", "figure"):
        with pytest.raises(UsageError, match=r"matplotlib writes no '(docx|)', expected one of .*pdf"):
            paper.save(everything(), tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"cannot write the figure .*figure\.svg: No such file or directory"):
        paper.save(everything(), tmp_path / "none" / "figure.svg")


def test_pgf_without_tex_is_told_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    LatexManager._get_cached_or_new_impl.cache_clear()  # a TeX that another test has started would go on
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(
        ClipbenchError, match=r"figure\.pgf: pgf needs a TeX system .*: install one, or write pdf"
    ) as told:
        paper.save(everything(), tmp_path / "figure.pgf")
    assert "\n" not in str(told.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(shutil.which("xelatex") is None, reason="no TeX system on this machine")
def test_tex_takes_names_as_they_are(tmp_path: Path) -> None:
    name = "$5 & {c} #1 50 % a_b^c ~ \\frac"
    axis = Axis(low=0, high=3, ticks=[0.5], names=[name], label=name)
    dots = Dots(xs=[1], ys=[1], role="image", name=name, is_dense=True)
    paper.save(figure(dots, Words(words=name, x=1, y=1), x=axis), tmp_path / "figure.pgf", width=17.5)
    found = (tmp_path / "figure.pgf").read_text()
    assert found.count(r"\$5 \& \{c\} \#1 50 % a_b^c \textasciitilde{} \textbackslash{}frac") == 3
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".pgf", ".png"]  # the dense cloud lies beside it


def test_names_are_written_as_they_are(tmp_path: Path, as_text: Path) -> None:
    names = ["$5 and $6", "<b>&amp;", "a_b^c \\frac"]
    axis = Axis(low=0, high=3, ticks=[0.5, 1.5, 2.5], names=names)
    lines = [Line(xs=[0], ys=[0], role="ink", name=name) for name in names[:2]]
    paper.save(figure(*lines, Words(words=names[0], x=1, y=1), y=axis), tmp_path / "figure.svg", style=as_text)
    found = (tmp_path / "figure.svg").read_text()
    assert found.count(">$5 and $6<") == 3 and found.count("&lt;b&gt;&amp;amp;") == 2 and ">a_b^c \\frac<" in found


def test_labels_that_would_touch_are_left_out(tmp_path: Path, as_text: Path) -> None:
    names = [f"class{k:02}" for k in range(24)]
    ticks = [k + 0.5 for k in range(24)]
    x = Axis(low=0, high=24, ticks=ticks, names=names, is_turned=True)
    y = Axis(low=24, high=0, ticks=ticks, names=names)
    depths = np.eye(24)
    words = [(k, k, "100") for k in range(24)]
    written = {}
    for width in (5.0, 40.0):
        paper.save(
            figure(Cells(depths=depths, values=depths, words=words), x=x, y=y),
            tmp_path / "figure.svg",
            width=width,
            style=as_text,
        )
        found = re.findall(r">([^<>\n]+)</text>", (tmp_path / "figure.svg").read_text())
        written[width] = [found.count("class00"), sum(name.startswith("class") for name in found), found.count("100")]
    assert written[40.0] == [2, 48, 24]
    assert written[5.0][0] == 2 and 6 < written[5.0][1] < 36 and written[5.0][2] == 0


def test_a_legend_is_read_by_rows_and_has_chance_last(tmp_path: Path, as_text: Path) -> None:
    names = [f"a name of some length {k}" for k in range(4)]
    chance = Rule(at=1, axis="y", role="chance", name="chance")
    paper.save(
        figure(chance, *(Line(xs=[0], ys=[0], role="ink", name=name) for name in names)),
        tmp_path / "figure.svg",
        style=as_text,
    )
    found = re.findall(r'x="([\d.]+)" y="([\d.]+)"[^>]*>([^<]+)</text>', (tmp_path / "figure.svg").read_text())
    places = {name: (float(y), float(x)) for x, y, name in found if name in [*names, "chance"]}
    assert sorted(places, key=lambda name: places[name]) == [*names, "chance"]


def test_a_figure_that_has_no_room_for_its_words_is_refused(tmp_path: Path) -> None:
    wide = Axis(low=0, high=2, ticks=[1], names=["a_long_name_of_a_metric@10"])
    with pytest.raises(UsageError, match=r"^a figure 3 cm wide has no room for its words: expected a larger --width$"):
        paper.save(figure(Rule(at=1, axis="x", role="ink"), y=wide), tmp_path / "figure.png", width=3.0)
    assert not list(tmp_path.iterdir())


def test_panels_stand_below_each_other_where_their_legends_would_touch() -> None:
    names = [f"a name of a line as long as some, {k}" for k in range(2)]
    panels = [
        Panel(x=AXIS, y=AXIS, marks=[Line(xs=[0, 1], ys=[0, 1], role="ink", name=each + end) for end in "ab"])
        for each in names
    ]
    two = Chart(title="", panels=panels, reading="", n_columns=2)
    with matplotlib.rc_context(paper.SETTINGS):
        canvases = [paper._fitted(two, width) for width in (3.25, 6.9)]
    assert [len({round(axes.get_position().y0, 3) for axes in canvas.axes}) for canvas in canvases] == [2, 1]


def test_on_dark_planes_nothing_is_drawn_in_black(tmp_path: Path) -> None:
    drawn = figure(*(Line(xs=[0, 9], ys=[k, k], role=role) for k, role in enumerate(LOOKS)))
    paper.save(drawn, tmp_path / "dark.svg", style=Path("dark_background"))
    colours = set(re.findall(r"stroke: (#[0-9a-f]{6})", (tmp_path / "dark.svg").read_text()))
    light = {LOOKS[role].colour for role in ON_DARK}
    assert set(ON_DARK.values()) <= colours and not light & colours


def test_a_cloud_of_texts_is_told_from_one_of_images_without_colour() -> None:
    axes = Canvas().add_subplot()
    for role in ("image", "text"):
        put(Dots(xs=[5], ys=[5], role=role, is_dense=True), axes)
    assert [len(cloud.get_facecolor()) for cloud in axes.collections] == [1, 0]


def test_a_model_that_lacks_all_of_a_panel_takes_no_room_in_it() -> None:
    heights = []
    for ys in ([], [np.nan]):
        lacking = Ranges(xs=[5.0] * len(ys), ys=ys, lows=ys, highs=ys, role="m1", name="lacking")
        there = Ranges(xs=[5], ys=[5], lows=[4], highs=[6], role="m0", name="there")
        panels = figure(there, lacking).panels
        charts = [Chart(title="", panels=several, reading="") for several in (panels, [*panels] * 6)]
        heights.append([paper.draw(chart).get_figheight() for chart in charts])
    assert all(many < 6.5 * one for one, many in heights)


def test_ticks_of_planes_beside_each_other_keep_apart(tmp_path: Path) -> None:
    ticks = Axis(low=-0.6, high=0.6, ticks=[-0.5, -0.25, 0, 0.25, 0.5], label="axis")
    panels = [Panel(x=ticks, y=AXIS, marks=[Dots(xs=[0], ys=[1], role="image")]) for _ in range(2)]
    drawn = paper.draw(figure(panels=panels, n_columns=2))
    drawn.draw_without_rendering()
    for axes in drawn.axes:
        boxes = [each.get_window_extent() for each in axes.get_xticklabels() if each.get_visible()]
        assert len(boxes) == 3 and all(b.x0 - a.x1 > 8 for a, b in pairwise(boxes))


def test_rows_with_names_are_as_high_as_a_line_at_any_width() -> None:
    names = [f"row {k}" for k in range(30)]
    rows = Axis(low=29.5, high=-0.5, ticks=range(30), names=names)
    panel = Panel(x=AXIS, y=rows, marks=[Dots(xs=[1], ys=[1], role="ink")], aspect=3.0, n_rows=30)
    heights = [paper.draw(figure(panels=[panel]), width=width).get_figheight() * 2.54 for width in (8.25, 17.5)]
    assert heights[0] == pytest.approx(heights[1], rel=0.05) and max(heights) < 13


def test_half_as_many_rows_as_a_scorecard_may_have_fit_on_half_a_page() -> None:
    n_rows = int(MAX_LINES / 2 - 2 * HEAD) // 2
    rows = Axis(low=n_rows - 0.5, high=-0.5, ticks=range(n_rows), names=["Top-1 accuracy (kind of object)"] * n_rows)
    dots = Dots(xs=[1], ys=[1], role="ink")
    panels = [Panel(x=AXIS, y=rows, marks=[dots], title=f"task {k}", aspect=0.5, n_rows=n_rows) for k in range(2)]
    assert paper.draw(figure(panels=panels), width=17.5).get_figheight() * 2.54 < 12.5


def test_dots_are_as_large_as_their_samples_are_many() -> None:
    line = Line(xs=[0, 5], ys=[1, 2], role="ink", has_dots=True, weights=[25, 100])
    (dots,) = paper.draw(figure(line)).axes[0].collections
    assert isinstance(dots, PathCollection)
    small, large = dots.get_sizes()
    assert large == pytest.approx(4 * small)


def test_a_figure_for_slides_is_saved_with_its_pixels(tmp_path: Path) -> None:
    figure = NotebookFigure(figsize=(1, 1), dpi=300)
    figure.file_dpi = 600
    figure.savefig(tmp_path / "figure.png")
    assert png_size(tmp_path / "figure.png") == (600, 600)
    figure.savefig(tmp_path / "figure.png", dpi=50)
    assert png_size(tmp_path / "figure.png") == (50, 50)
