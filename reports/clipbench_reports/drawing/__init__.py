"""A drawing: what it is made of, how those of several models become one, and how it is drawn on a page and on paper."""
