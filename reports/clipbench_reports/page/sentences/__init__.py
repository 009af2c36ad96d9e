"""The sentences of a report, made by rules."""
