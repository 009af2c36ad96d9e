"""How sure a number is: intervals, tests, and the measures that turn rows into metrics."""
