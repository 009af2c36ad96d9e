"""Typographic attacks: photographs of objects with overlays, and words written onto the images of any set.

``attack_files`` reads attacks from disk, ``written_words`` makes them from any classification set.
"""

FORM = "attacks"
"""The form of data for which words are written onto the images of a classification set."""
NUMBER = "n"
"""The option that says how many images words are written onto."""
