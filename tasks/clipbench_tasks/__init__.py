"""The tasks that ship with clipbench, one module or folder each: questions to a model, and how answers are scored."""
