"""The sections of the report, one module per task, loaded by entry points like sections of other packages."""
