"""Checks of a model and of data before its numbers are believed, each with an observation and a fix."""
