"""Composition: whether a true caption scores above a false one made of the same words."""
