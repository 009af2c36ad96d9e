"""One layout per file: how data sets are stored on disk, or on the Hub.

``fits(path)`` says whether a path has the layout, and ``load(path, options, id)`` returns its data set. A loader raises
UsageError for an option or a split that there is not, or a choice that only the user can make. It raises DataError for
malformed, incomplete or empty data, and Unavailable for images that are missing, with ``allow_partial`` only if all
are.
"""
