"""Introspection of a model for doctor and reports: tokens, preprocessing, modules, sizes and costs."""
