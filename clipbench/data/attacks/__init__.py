"""Typographic attacks: photographs of objects with written labels, and words written onto the images of any set."""

from clipbench.data.attacks.files import (
    described_rows,
    has_annotations,
    has_named_files,
    is_manifest,
    load_annotations,
    load_manifest,
    load_named_files,
)
from clipbench.data.attacks.photographs import Photograph, attack_dataset
from clipbench.data.attacks.schemas import dialect_of
from clipbench.data.attacks.written_words import N_PICTURES, WrittenImage, with_written_words

TASK = "text-in-image"
"""The task for which words are written onto the images of a classification set."""

__all__ = [
    "N_PICTURES",
    "TASK",
    "Photograph",
    "WrittenImage",
    "attack_dataset",
    "described_rows",
    "dialect_of",
    "has_annotations",
    "has_named_files",
    "is_manifest",
    "load_annotations",
    "load_manifest",
    "load_named_files",
    "with_written_words",
]
