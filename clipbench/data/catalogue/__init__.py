"""Data sets known by name, how they are fetched, and what of them is missing."""
