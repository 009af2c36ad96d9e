"""Models by reference: one adapter a file. Importing this imports neither torch nor any of the libraries."""

from clipbench.models.reference import Alias, aliases, holds_samples, load_model, reference_rows

__all__ = ["Alias", "aliases", "holds_samples", "load_model", "reference_rows"]
