"""Files, texts and names that others made: read within limits, checked against types, and printed without harm."""
