"""The tables that fold out in a section."""
