"""A run on disk: its record, reading and writing it, export, and the result files of other tools."""
