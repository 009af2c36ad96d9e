"""Models that may not be trusted: foreign code, remote code that is pinned, and limits of configurations."""
