"""A figure with its words escaped for TeX."""

from dataclasses import replace

from clipbench_reports.drawing.marks import Axis, Cells, Chart, Mark, Words

SPECIAL = str.maketrans(
    {
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        **{letter: f"\\{letter}" for letter in "{}$&#"},
    }
)
"""Characters that matplotlib leaves to TeX; it takes care of ``%``, ``^`` and ``_`` itself."""


def escape(figure: Chart) -> Chart:
    """Return a figure with all words written so that TeX sets them as they are."""
    panels = [
        replace(
            panel,
            title=_words(panel.title),
            x=_axis(panel.x),
            y=_axis(panel.y),
            marks=[_mark(mark) for mark in panel.marks],
        )
        for panel in figure.panels
    ]
    return replace(figure, panels=panels, keys=[_words(key) for key in figure.keys])


def _words(words: str) -> str:
    return words.translate(SPECIAL)


def _axis(axis: Axis) -> Axis:
    return replace(axis, label=_words(axis.label), names=[_words(name) for name in axis.names])


def _mark(mark: Mark) -> Mark:
    named = replace(mark, name=_words(mark.name))
    if isinstance(named, Words):
        return replace(named, words=_words(named.words))
    if isinstance(named, Cells):
        return replace(named, words=[(row, column, _words(words)) for row, column, words in named.words])
    return named
