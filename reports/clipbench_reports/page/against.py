"""The page of a comparison of two models: the verdict, the stage and the inputs that differ, one index for both."""

import base64
import io
from pathlib import Path
from typing import TYPE_CHECKING

from clipbench_reports.page.html import assets, render_template, write_html
from clipbench_reports.text import sentence_case

if TYPE_CHECKING:
    from PIL import Image

    from clipbench.evaluation.vector_comparison import VectorComparison

THUMBNAIL = 240
"""Pixels of the longer side of a picture on the page."""


def write_against(comparison: "VectorComparison", path: Path) -> None:
    """Write the page of a comparison, whole or not at all.

    Raises:
        UsageError: the file cannot be written.
    """
    page = render_template(
        "against.html.j2",
        **assets("against"),
        comparison=comparison,
        causes=[(cause, sentence_case(cause.evidence)) for cause in comparison.causes],
        worst={modality: [*comparison.shown_inputs(modality)] for modality in comparison.towers},
        data_url=_data_url,
    )
    write_html(page, path)


def _data_url(picture: "Image.Image") -> str:
    small = picture.copy()
    small.thumbnail((THUMBNAIL, THUMBNAIL))
    file = io.BytesIO()
    small.save(file, "WEBP", quality=80)
    return f"data:image/webp;base64,{base64.b64encode(file.getvalue()).decode()}"
