"""Is the candidate better than the base: pairing, tests, verdicts, the gate, and its formats."""
