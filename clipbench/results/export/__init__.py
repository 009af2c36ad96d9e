"""Finished runs in the formats of others: tables, papers, model cards, CLIP_benchmark's notebooks. Needs no model."""
