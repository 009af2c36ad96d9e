"""The pictures of the report, one function each: from what a run left behind to a captioned SVG."""

from clipbench_reports.figures._confusion import confusion
from clipbench_reports.figures._cosines import cosines
from clipbench_reports.figures._curve import curve
from clipbench_reports.figures._figure import Figure
from clipbench_reports.figures._map import vector_map
from clipbench_reports.figures._recall import ACROSS, WITHIN, recall, recall_within
from clipbench_reports.figures._reliability import reliability
from clipbench_reports.figures._similarity import similarity
from clipbench_reports.figures._templates import ranked, templates

__all__ = [
    "ACROSS",
    "WITHIN",
    "Figure",
    "confusion",
    "cosines",
    "curve",
    "ranked",
    "recall",
    "recall_within",
    "reliability",
    "similarity",
    "templates",
    "vector_map",
]
