"""Reports made only from results: no model, no data set, no torch.

What a package needs to provide a section of the report for its own task is found here: a ``Section``, and what its
functions take and return. docs/plugins.md has an example.
"""

from clipbench.results.table import Table as Table
from clipbench.results.table import columns as columns
from clipbench_reports.drawing.facets import Layer as Layer
from clipbench_reports.drawing.facets import Panels as Panels
from clipbench_reports.drawing.facets import Statement as Statement
from clipbench_reports.drawing.facets import chart as chart
from clipbench_reports.drawing.facets import facet_chart as facet_chart
from clipbench_reports.drawing.facets import facets as facets
from clipbench_reports.drawing.facets import side_by_side as side_by_side
from clipbench_reports.drawing.marks import Axis as Axis
from clipbench_reports.drawing.marks import Bars as Bars
from clipbench_reports.drawing.marks import Cells as Cells
from clipbench_reports.drawing.marks import Chart as Chart
from clipbench_reports.drawing.marks import Dots as Dots
from clipbench_reports.drawing.marks import Hill as Hill
from clipbench_reports.drawing.marks import Line as Line
from clipbench_reports.drawing.marks import Panel as Panel
from clipbench_reports.drawing.marks import Ranges as Ranges
from clipbench_reports.drawing.marks import Rule as Rule
from clipbench_reports.drawing.marks import Shade as Shade
from clipbench_reports.drawing.marks import Threads as Threads
from clipbench_reports.drawing.marks import Words as Words
from clipbench_reports.drawing.marks import fraction_axis as fraction_axis
from clipbench_reports.drawing.marks import nice_axis as nice_axis
from clipbench_reports.evidence import Evidence as Evidence
from clipbench_reports.evidence import MissingEvidence as MissingEvidence
from clipbench_reports.evidence import ModelEvidence as ModelEvidence
from clipbench_reports.evidence import ModelKey as ModelKey
from clipbench_reports.evidence import NotAsked as NotAsked
from clipbench_reports.evidence import read_each as read_each
from clipbench_reports.figures.curves import CurvesFigure as CurvesFigure
from clipbench_reports.findings import Finding as Finding
from clipbench_reports.findings import claim as claim
from clipbench_reports.findings import headline_findings as headline_findings
from clipbench_reports.galleries import Fact as Fact
from clipbench_reports.galleries import FactColumn as FactColumn
from clipbench_reports.galleries import Gallery as Gallery
from clipbench_reports.galleries import GalleryImage as GalleryImage
from clipbench_reports.galleries import PageBudget as PageBudget
from clipbench_reports.galleries import gallery as gallery
from clipbench_reports.galleries import images as images
from clipbench_reports.galleries import nearest as nearest
from clipbench_reports.galleries import one_image as one_image
from clipbench_reports.sections.section import Plot as Plot
from clipbench_reports.sections.section import SampleColumn as SampleColumn
from clipbench_reports.sections.section import SampleImage as SampleImage
from clipbench_reports.sections.section import Section as Section
