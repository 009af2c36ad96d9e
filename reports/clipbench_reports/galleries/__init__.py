"""Samples with their images: the failures of a task, what changed between two models, the points of a scatter."""
