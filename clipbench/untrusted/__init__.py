"""Files, texts and names that others made: read, checked against types, and printed without harm."""
