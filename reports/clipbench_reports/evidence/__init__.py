"""Evidence that a run left behind, by label set, and sentences on its numbers."""
