"""The parts that all pages share: templates, style, script, policy and contents."""

import base64
import hashlib
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from clipbench.files import write_atomic
from clipbench.results import numbers as fmt
from clipbench.results.short_names import shorten_names
from clipbench.results.table import Table, as_html
from clipbench.results.table.html import bind_percent_signs
from clipbench_reports.drawing import svg_chart
from clipbench_reports.drawing.alt_text import alt_text
from clipbench_reports.drawing.chart_data import chart_json
from clipbench_reports.drawing.marks import MODELS, Chart
from clipbench_reports.drawing.svg import DOT, dot
from clipbench_reports.text import slug

NO_TEXT = dict.fromkeys([*range(9), 11, 12, *range(14, 32), 127, *range(128, 160), *range(0xD800, 0xE000)], "\ufffd")
"""Control characters and halves of surrogate pairs: HTML may hold none of them, but a damaged file name may."""

SHEETS = ("page", "contents", "summary", "scorecard", "section", "figure", "failure")
"""The style sheets of the page's parts, in the order in which they are joined. The sheet for paper is the last."""
SCRIPTS = ("page", "contents", "summary", "scorecard", "figure", "download", "failure")
"""The scripts of the page's parts, in their order: a script uses names of the first one only."""


class Heading(NamedTuple):
    """A section in the contents."""

    anchor: str
    title: str
    data: str = ""
    """The data set, where several sections have the title."""


SUMMARY = Heading("summary", "Summary")
PROVENANCE = Heading("provenance", "Where the numbers come from")


def task_headings(sections: Iterable[Heading]) -> list[Heading]:
    """Return the headings of tasks on data sets, without the data of a title that only one section has.

    Example:
        >>> task_headings([Heading("a", "Zero-shot", "cars"), Heading("b", "Retrieval", "coco")])[0]
        Heading(anchor='a', title='Zero-shot', data='')
    """
    headings = list(sections)
    n_sections = Counter(heading.title for heading in headings)
    shortened_headings = []
    for heading in headings:
        needs_data = n_sections[heading.title] > 1
        shortened_headings.append(heading if needs_data else heading._replace(data=""))
    return shortened_headings


def write_html(text: str, path: Path) -> None:
    """Write a page, whole or not at all.

    Raises:
        UsageError: the file cannot be written.
    """
    write_atomic({path: text.encode()})


def renderer(package: str, filters: Mapping[str, Callable[..., Any]]) -> Callable[..., str]:
    """Return a function of a template in the folder ``templates`` of a package, and of the names in it.

    The function returns a page in which all text is escaped.
    """
    templates = Environment(
        loader=PackageLoader(package), undefined=StrictUndefined, autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    templates.filters.update(filters)
    return lambda template, **context: templates.get_template(template).render(**context).translate(NO_TEXT)


def assets(*sheets: str) -> dict[str, Markup]:
    """Return style and script of a page, and a policy under which it requests nothing and runs no other script.

    Args:
        sheets: further style sheets, which take precedence over the report's own.
    """
    style = "\n".join(_static(f"{name}.css") for name in (*SHEETS, *sheets, "print"))
    script = "\n".join(_static(f"{name}.js") for name in SCRIPTS)
    digest = base64.b64encode(hashlib.sha256(script.encode("utf-8")).digest()).decode()
    policy = f"default-src 'none'; style-src 'unsafe-inline'; img-src data:; script-src 'sha256-{digest}'"
    return {"style": Markup(style), "script": Markup(script), "policy": Markup(policy)}


def _static(name: str) -> str:
    return files("clipbench_reports").joinpath(f"static/{name}").read_text(encoding="utf-8")


def _prose(text: str) -> Markup:
    """Return a text in which what is between backticks is code."""
    return Markup(re.sub(r"`([^`]+)`", r'<code class="typed">\1</code>', str(escape(bind_percent_signs(text)))))


def _cut(name: str, *length: int) -> str:
    return shorten_names([name], *length)[0]


def _axis_position(fraction: float) -> str:
    """Return the place of a fraction on an axis. What is outside of the axis is at its end."""
    return f"{100 * min(1.0, max(0.0, fraction)):.4g}%"


def _listed_table(table: Table) -> Markup:
    return Markup(as_html(replace(table, title=""), "list"))


def _breakable(name: str) -> Markup:
    """Return a name that may be broken after a slash, an underscore or a colon."""
    return Markup(re.sub(r"([/_:])(?=\w)", r"\1<wbr>", str(escape(name))))


def _model_dot(position: int) -> Markup:
    return dot(0, 0, MODELS[position % len(MODELS)], radius=DOT)


def _json_content(figure: Chart) -> Markup:
    """Return the data of a figure as content of an element, in which quotation marks may stand."""
    return Markup(chart_json(figure).replace("&", "&amp;").replace("<", "&lt;"))


render_template = renderer(
    "clipbench_reports",
    {
        "number": fmt.number,
        "unit": fmt.symbol,
        "interval": fmt.interval,
        "count": fmt.count,
        "cut": _cut,
        "at": _axis_position,
        "prose": _prose,
        "listed": _listed_table,
        "slug": slug,
        "tight": bind_percent_signs,
        "breakable": _breakable,
        "dot": _model_dot,
        "drawn": svg_chart.draw,
        "told": _json_content,
        "drawn_narrow": svg_chart.draw_narrow,
        "drawn_apart": svg_chart.draw_by_model,
        "alt": alt_text,
    },
)
