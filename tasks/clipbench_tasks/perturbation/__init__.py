"""Disturbed images and texts: what a model loses against the clean ones."""
