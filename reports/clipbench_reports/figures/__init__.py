"""The pictures of the report, one function each: from what a run left behind to a captioned SVG."""

from clipbench_reports.figures._attacks import RESPONSES, SETTINGS, hijacking, response
from clipbench_reports.figures._composition import composition, twins
from clipbench_reports.figures._confusion import confusion
from clipbench_reports.figures._cosines import cosines
from clipbench_reports.figures._curve import curve
from clipbench_reports.figures._figure import Figure
from clipbench_reports.figures._map import vector_map
from clipbench_reports.figures._positions import BY_POSITION, positions
from clipbench_reports.figures._reading import reading
from clipbench_reports.figures._recall import ACROSS, WITHIN, recall, recall_within
from clipbench_reports.figures._reliability import reliability
from clipbench_reports.figures._similarity import similarity
from clipbench_reports.figures._templates import ranked, templates
from clipbench_reports.figures._token_lengths import token_lengths
from clipbench_reports.figures._tokens_kept import KEPT, tokens_kept

__all__ = [
    "ACROSS",
    "BY_POSITION",
    "KEPT",
    "RESPONSES",
    "SETTINGS",
    "WITHIN",
    "Figure",
    "composition",
    "confusion",
    "cosines",
    "curve",
    "hijacking",
    "positions",
    "ranked",
    "reading",
    "recall",
    "recall_within",
    "reliability",
    "response",
    "similarity",
    "templates",
    "token_lengths",
    "tokens_kept",
    "twins",
    "vector_map",
]
