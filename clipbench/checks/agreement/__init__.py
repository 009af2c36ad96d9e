"""Do two ways to run the same weights give the same vectors: fixed inputs, both sides' vectors, and what differs."""
