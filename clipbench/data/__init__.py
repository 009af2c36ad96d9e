"""Data sets: images as references, with labels, captions or both, from folders, tables, archives and the Hub."""

from clipbench.data.catalogue.entries import CatalogueEntry
from clipbench.data.dataset import DataOptions, Dataset
from clipbench.data.images import DrawnImage, EncodedImage, FileImage, ImageRef
from clipbench.data.labels import Groups, LabelSet
from clipbench.data.prompts import Prompts, prompts_of, read_prompts
from clipbench.data.questions import Attack, Contrast
from clipbench.data.subset import random_subset

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
    "prompts_of",
    "random_subset",
    "read_prompts",
]
