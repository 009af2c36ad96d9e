"""The bundled CLIP: a model to read, to train on a laptop, and to measure. Nothing is imported before it is asked for."""
