"""A package of somebody else's that adds a task, its section of the report and a model to clipbench, by entry points
alone.
"""
