"""The sections of the report, one module a task, found by entry points as those of other packages are."""
