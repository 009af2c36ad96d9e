"""Drawings: charts and their marks, charts of several models, and their rendering on a page and on paper."""
