"""Reports made from results alone: no model, no data set, no torch.

What a package needs to bring a section of the report for its own task is found here: a ``Section``, and what its
functions take and return. docs/plugins.md has an example.
"""

from clipbench.results.table import Table, columns
from clipbench_reports.drawing.marks import (
    Axis,
    Bars,
    Boxes,
    Cells,
    Chart,
    Dots,
    Hill,
    Line,
    Panel,
    Ranges,
    Rule,
    Shade,
    Threads,
    Words,
    fraction_axis,
    nice_axis,
)
from clipbench_reports.drawing.models import Layer, Panels, Statement, beside, chart, facet_chart, facets
from clipbench_reports.evidence import Evidence, MissingEvidence, ModelEvidence, ModelKey, NotAsked, read_each
from clipbench_reports.findings import Finding, claim, headline_findings
from clipbench_reports.gallery import Fact, Gallery, GalleryImage, PageBudget, gallery, images, nearest, one_image
from clipbench_reports.sections.section import Plot, SampleColumn, SampleImage, Section

__all__ = [
    "Axis",
    "Bars",
    "Boxes",
    "Cells",
    "Chart",
    "Dots",
    "Evidence",
    "Fact",
    "Finding",
    "Gallery",
    "GalleryImage",
    "Hill",
    "Layer",
    "Line",
    "MissingEvidence",
    "ModelEvidence",
    "ModelKey",
    "NotAsked",
    "PageBudget",
    "Panel",
    "Panels",
    "Plot",
    "Ranges",
    "Rule",
    "SampleColumn",
    "SampleImage",
    "Section",
    "Shade",
    "Statement",
    "Table",
    "Threads",
    "Words",
    "beside",
    "chart",
    "claim",
    "columns",
    "facet_chart",
    "facets",
    "fraction_axis",
    "gallery",
    "headline_findings",
    "images",
    "nearest",
    "nice_axis",
    "one_image",
    "read_each",
]
