"""Finished runs in the formats of others: tables, papers, model cards, CLIP_benchmark's notebooks. Needs no model."""

from clipbench.results.export.formats import FORMATS, Exported, export
from clipbench.results.export.rendered import Format, Rendered

__all__ = ["FORMATS", "Exported", "Format", "Rendered", "export"]
