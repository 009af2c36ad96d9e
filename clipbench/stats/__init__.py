"""Statistics: intervals, tests, and the measures that turn rows into metrics."""
