"""``clipbench view``: a read-only site, only on this machine, over all runs below a folder."""
