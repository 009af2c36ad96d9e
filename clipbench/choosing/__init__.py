"""Which of several models finds the photographs of one's own: a pool of candidates, their judgements, and the verdict."""
