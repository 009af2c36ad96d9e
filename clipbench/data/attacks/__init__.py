"""Typographic attacks: photographs of objects with written labels, and words written onto the images of any set.

``schemas`` tells tables apart by their columns, ``files`` reads attacks from disk, ``photographs`` makes a data set of
them; ``written_words`` makes one of any classification set.
"""

from clipbench.data.attacks.files import (
    has_annotations,
    has_named_files,
    is_manifest,
    load_annotations,
    load_manifest,
    load_named_files,
    read_attack_rows,
)
from clipbench.data.attacks.photographs import Photograph, attack_dataset
from clipbench.data.attacks.schemas import attack_schema
from clipbench.data.attacks.written_words import N_WRITTEN_IMAGES, WrittenImage, with_written_words

TASK = "text-in-image"
"""The task for which words are written onto the images of a classification set."""

__all__ = [
    "N_WRITTEN_IMAGES",
    "TASK",
    "Photograph",
    "WrittenImage",
    "attack_dataset",
    "attack_schema",
    "has_annotations",
    "has_named_files",
    "is_manifest",
    "load_annotations",
    "load_manifest",
    "load_named_files",
    "read_attack_rows",
    "with_written_words",
]
