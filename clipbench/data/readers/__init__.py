"""One layout a file: how data sets lie on disk, or on the Hub."""
