"""Towers of models that adapters build with a library at hand. Imported only when a model is loaded."""
