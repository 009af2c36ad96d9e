"""Data sets: images as references, with labels, captions or both, from folders, tables, archives and the Hub."""

from importlib import import_module
from typing import TYPE_CHECKING

from clipbench.data.catalogue.entries import CatalogueEntry
from clipbench.data.dataset import DataOptions, Dataset
from clipbench.data.images import DrawnImage, EncodedImage, FileImage, ImageRef
from clipbench.data.labels import Groups, LabelSet
from clipbench.data.prompts import Prompts, prompts_of, read_prompts
from clipbench.data.questions import Attack, Contrast
from clipbench.data.subset import random_subset

if TYPE_CHECKING:
    from clipbench.data.dataset_loading import adapt_to_form, depends_on_form, load_data

__all__ = [
    "Attack",
    "CatalogueEntry",
    "Contrast",
    "DataOptions",
    "Dataset",
    "DrawnImage",
    "EncodedImage",
    "FileImage",
    "Groups",
    "ImageRef",
    "LabelSet",
    "Prompts",
    "adapt_to_form",
    "depends_on_form",
    "load_data",
    "prompts_of",
    "random_subset",
    "read_prompts",
]


def __getattr__(name: str) -> object:
    """Import a function of ``dataset_loading`` when it is first used, as it imports all readers of files."""
    if name not in ("depends_on_form", "adapt_to_form", "load_data"):
        raise AttributeError(f"module 'clipbench.data' has no attribute '{name}'")
    return getattr(import_module("clipbench.data.dataset_loading"), name)
