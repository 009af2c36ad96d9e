"""A model on tasks becomes a run: what a task is, suites, one evaluation, reuse of finished runs, thumbnails."""
