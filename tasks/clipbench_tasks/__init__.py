"""The tasks that ship with clipbench: what is asked of a model, and how the answers are scored."""
