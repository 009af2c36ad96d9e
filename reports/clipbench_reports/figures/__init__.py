"""The figures, one function each, from the evidence of one model or several to a ``drawing.marks.Chart``."""

from clipbench_reports.figures._across import across
from clipbench_reports.figures._attacks import RESPONSES, SETTINGS, hijacking, response
from clipbench_reports.figures._calibration import KINDS, reliability, similarity_calibration
from clipbench_reports.figures._composition import by_subset, composition, twins
from clipbench_reports.figures._compression import BY_BYTES, STORED_QUESTIONS, compression
from clipbench_reports.figures._conformity import CONFORMITY, conformity
from clipbench_reports.figures._confusion import confusion
from clipbench_reports.figures._cosines import COSINES, cones
from clipbench_reports.figures._curve import curve
from clipbench_reports.figures._differences import (
    compare,
    difference_axis,
    difference_panel,
    doubt,
    most_telling,
    row_names,
)
from clipbench_reports.figures._few_shot import BY_LABELS, few_shot
from clipbench_reports.figures._gap import PROJECTIONS, gap
from clipbench_reports.figures._mixed import BY_SHARE, mixed
from clipbench_reports.figures._modalities import linked, modalities, modality_map, modality_matrices
from clipbench_reports.figures._operating_points import BY_COSINE, CURVES, QUESTIONS, SHOWN, operating_points
from clipbench_reports.figures._positions import BY_POSITION, positions
from clipbench_reports.figures._probe_attacks import probe_attacks
from clipbench_reports.figures._reading import reading
from clipbench_reports.figures._recall import ACROSS, WITHIN, recall, recall_within
from clipbench_reports.figures._relevance import JUDGED, relevance
from clipbench_reports.figures._representations import representational_similarity
from clipbench_reports.figures._robustness import robustness
from clipbench_reports.figures._scorecard import scorecard
from clipbench_reports.figures._shift import MOVED, corrections, shift
from clipbench_reports.figures._similarity import similarity
from clipbench_reports.figures._slices import slices
from clipbench_reports.figures._spectrum import DRAWN, spectrum
from clipbench_reports.figures._templates import ranked, templates
from clipbench_reports.figures._tokens import KEPT, share_of_recall, token_lengths, tokens_kept
from clipbench_reports.figures._track import progress, track

GEOMETRY = frozenset({*COSINES, *CONFORMITY, *DRAWN, *MOVED, *KINDS})
"""Curves that the figures of the modality gap show."""

__all__ = [
    "ACROSS",
    "BY_BYTES",
    "BY_COSINE",
    "BY_LABELS",
    "BY_POSITION",
    "BY_SHARE",
    "CONFORMITY",
    "CURVES",
    "GEOMETRY",
    "JUDGED",
    "KEPT",
    "PROJECTIONS",
    "QUESTIONS",
    "RESPONSES",
    "SETTINGS",
    "SHOWN",
    "STORED_QUESTIONS",
    "WITHIN",
    "across",
    "by_subset",
    "compare",
    "composition",
    "compression",
    "cones",
    "conformity",
    "confusion",
    "corrections",
    "curve",
    "difference_axis",
    "difference_panel",
    "doubt",
    "few_shot",
    "gap",
    "hijacking",
    "linked",
    "mixed",
    "modalities",
    "modality_map",
    "modality_matrices",
    "most_telling",
    "operating_points",
    "positions",
    "probe_attacks",
    "progress",
    "ranked",
    "reading",
    "recall",
    "recall_within",
    "relevance",
    "reliability",
    "representational_similarity",
    "response",
    "robustness",
    "row_names",
    "scorecard",
    "share_of_recall",
    "shift",
    "similarity",
    "similarity_calibration",
    "slices",
    "spectrum",
    "templates",
    "token_lengths",
    "tokens_kept",
    "track",
    "twins",
]
