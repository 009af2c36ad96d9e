"""Text in images: reading a written word, and attacks in which a written word hijacks the class."""
