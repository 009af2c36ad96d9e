"""``clipbench view``: a read-only site, on this machine alone, over all runs below a folder."""
