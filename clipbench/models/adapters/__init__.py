"""One adapter a file: from the rest of a reference to a model. None imports its library at import."""
