"""The page of a comparison of two models: the verdict, the stage that differs, the inputs that differ most, the index."""

import base64
import io
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from clipbench.checks.agreement.fixed_inputs import FixedImage
from clipbench.checks.agreement.vector_agreement import inputs_of
from clipbench.evaluation.vector_comparison import VectorComparison
from clipbench_reports.page.html import assets, render_template, write_html
from clipbench_reports.text import sentence_case

THUMBNAIL = 240
"""Pixels of the longer side of a picture on the page."""


class ShownInput(NamedTuple):
    """One input that differs, as the page shows it."""

    id: str
    cosine: str
    text: str
    """The text, or size and kind of the picture."""
    image: str
    """Data URL of the picture, empty for a text."""


def write_against(comparison: VectorComparison, path: Path) -> None:
    """Write the page of a comparison, whole or not at all.

    Raises:
        UsageError: the file cannot be written.
    """
    page = render_template(
        "against.html.j2",
        **assets("against"),
        comparison=comparison,
        causes=[(cause, sentence_case(cause.evidence)) for cause in comparison.causes],
        worst={modality: [*_shown_inputs(comparison, modality)] for modality in comparison.towers},
    )
    write_html(page, path)


def _shown_inputs(comparison: VectorComparison, modality: str) -> Iterator[ShownInput]:
    """Yield the inputs of a tower that differ most."""
    for agreement in comparison.towers[modality].worst:
        item = inputs_of(modality)[agreement.input]
        cosine = f"{agreement.cosine:.6f}"
        if isinstance(item, FixedImage):
            yield ShownInput(item.id, cosine, f"{item.width} x {item.height}, {item.reading}", _data_url(item))
        else:
            yield ShownInput(item.id, cosine, item.text, "")


def _data_url(image: FixedImage) -> str:
    picture = image.thumbnail()
    picture.thumbnail((THUMBNAIL, THUMBNAIL))
    file = io.BytesIO()
    picture.save(file, "WEBP", quality=80)
    return f"data:image/webp;base64,{base64.b64encode(file.getvalue()).decode()}"
