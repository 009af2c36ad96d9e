"""The HTML pages: the report of runs and the page of a comparison."""
