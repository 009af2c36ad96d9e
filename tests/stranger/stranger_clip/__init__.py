"""A package of somebody else's that adds a task and a model to clipbench, by entry points alone."""
