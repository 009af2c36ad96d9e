"""The choice of a model for one's own photographs: a pool of candidates, their judgements, and the verdict."""
