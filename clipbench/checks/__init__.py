"""Is the adapter right, and can its numbers be believed? Checks of a model and of data, each with what it saw and the
fix.
"""
